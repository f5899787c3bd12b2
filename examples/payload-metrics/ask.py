#!/usr/bin/env python3
"""Asks the model `digits` about images with an Open Inference client, and prints what it has sent and got.

    ask.py http://127.0.0.1:10000 --users 100

Every fifth user's images lack their first pixels. One line of JSON for each version that answered.
"""
import argparse
import collections
import json
import pathlib
import sys

import httpx
from open_inference.openapi.client import OpenInferenceClient
from open_inference.openapi.types import InferenceRequest, RequestInput

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "models"))
import digits  # noqa: E402

GAP = 3  # pixels that some images lack


def lacking(url, headers, request):
    """Sends an image without its first pixels. The typed client cannot send null, so this goes by plain HTTP."""
    request = json.loads(request.json())
    data = request["inputs"][0]["data"]
    data[:GAP] = [None] * GAP
    answer = httpx.post(f"{url}/v2/models/digits/infer", headers=headers, json=request)
    answer.raise_for_status()
    return answer.json()


def ask(url, number, image):
    """Asks as the nth user; returns the answer as JSON, and how many pixels were missing."""
    headers = {"x-user-id": f"user-{number}"}
    request = InferenceRequest(inputs=[
        RequestInput(name="image", shape=[1, digits.PIXELS], datatype="FP32", data=image.tolist())
    ])
    if number % 5 == 0:
        return lacking(url, headers, request), GAP
    with httpx.Client(headers=headers) as http:
        answer = OpenInferenceClient(base_url=url, httpx_client=http).model_infer("digits", request=request)
    return json.loads(answer.json()), 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--users", type=int, default=100)
    arguments = parser.parse_args()
    _, (images, _) = digits.data()
    versions = collections.defaultdict(collections.Counter)
    labels = collections.defaultdict(collections.Counter)
    for number in range(arguments.users):
        answer, missing = ask(arguments.url, number, images[number])
        version = answer["model_version"]
        versions[version].update(requests=1, pixels=digits.PIXELS, missing=missing)
        labels[version][str(int(answer["outputs"][0]["data"][0]))] += 1
    for version, counts in sorted(versions.items()):
        print(json.dumps({"version": version, **counts, "labels": dict(sorted(labels[version].items()))}))


if __name__ == "__main__":
    main()
