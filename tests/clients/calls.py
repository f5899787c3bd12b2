#!/usr/bin/env python3
"""Calls the model `digits` over gRPC with MLServer's own client, and prints what it has sent and got, by version.

    calls.py 127.0.0.1:10000 100

Images alternate between typed and raw contents. Every fifth lacks its first pixels, which are NaN then.
"""
import collections
import json
import math
import pathlib
import struct
import sys

import grpc
from mlserver.grpc import dataplane_pb2 as messages
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "examples/models"))
import digits  # noqa: E402

GAP = 3  # pixels that some images lack


def request(number, pixels):
    """The nth request."""
    tensor = {"name": "image", "datatype": "FP32", "shape": [1, len(pixels)]}
    if number % 2:
        raw = struct.pack(f"<{len(pixels)}f", *pixels)
        return messages.ModelInferRequest(model_name="digits", inputs=[tensor], raw_input_contents=[raw])
    return messages.ModelInferRequest(model_name="digits", inputs=[tensor | {"contents": {"fp32_contents": pixels}}])


def labels_of(answer):
    """The labels of an answer, which has the form of its request."""
    if answer.raw_output_contents:
        raw = answer.raw_output_contents[0]
        return struct.unpack(f"<{len(raw) // 8}q", raw)
    return answer.outputs[0].contents.int64_contents


def main():
    _, (images, _) = digits.data()
    versions = collections.defaultdict(collections.Counter)
    labels = collections.defaultdict(collections.Counter)
    with grpc.insecure_channel(sys.argv[1]) as channel:
        stub = GRPCInferenceServiceStub(channel)
        for number in range(int(sys.argv[2])):
            pixels = images[number].tolist()
            missing = 0 if number % 5 else GAP
            pixels[:missing] = [math.nan] * missing
            asked = request(number, pixels)
            answer = stub.ModelInfer(asked, metadata=[("x-user-id", f"user-{number}")])
            versions[answer.model_version].update(
                requests=1, pixels=len(pixels), missing=missing, bytes_in=asked.ByteSize(), bytes_out=answer.ByteSize())
            labels[answer.model_version].update(str(label) for label in labels_of(answer))
    for version, counts in sorted(versions.items()):
        print(json.dumps({"version": version, **counts, "labels": dict(sorted(labels[version].items()))}))


if __name__ == "__main__":
    main()
