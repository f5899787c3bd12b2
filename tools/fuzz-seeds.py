#!/usr/bin/env python3
"""Writes the recorded messages as seeds for fuzzing: fuzz/corpus/TARGET/NAME, in the form of fuzz/src/lib.rs."""
import pathlib
import zlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROTOCOLS = {"open_inference": ("mlserver", "triton", "kserve-v2"), "tf_serving": ("kserve-v1",), "openai": ("vllm",)}


def body_and_headers(recorded):
    head, _, body = recorded.partition(b"\r\n\r\n")
    lines = [line.partition(b": ") for line in head.lower().split(b"\r\n")]
    headers = {name.decode(): value.decode() for name, _, value in lines}
    if headers.get("transfer-encoding") == "chunked":
        whole = b""
        while body:
            size, _, body = body.partition(b"\r\n")
            whole, body = whole + body[:int(size, 16)], body[int(size, 16) + 2:]
        body = whole
    return headers, body


def main():
    for file in sorted((ROOT / "tests/fixtures/payload").glob("*.http")):
        headers, body = body_and_headers(file.read_bytes())
        kind = 1 if ".request." in file.name else 0
        kind |= {"gzip": 2, "deflate": 4}.get(headers.get("content-encoding"), 0)
        kind |= 8 if headers.get("content-type", "").startswith("text/event-stream") else 0
        kind |= 32 if "inference-header-content-length" in headers else 0
        for target, prefixes in (PROTOCOLS | {"json": ("",), "reader": ("",)}).items():
            if file.name.startswith(prefixes):
                folder = ROOT / "fuzz/corpus" / target
                folder.mkdir(parents=True, exist_ok=True)
                head = bytes([40]) if target == "reader" else bytes([kind, 40])
                (folder / file.stem).write_bytes(head + body)
        # A pair of the same answer, without compression; 128 splits it in the middle.
        if ".response." in file.name:
            folder = ROOT / "fuzz/corpus/pair"
            folder.mkdir(parents=True, exist_ok=True)
            plain = zlib.decompress(body, 47) if kind & 6 else body
            (folder / file.stem).write_bytes(bytes([kind & 8 and 16, 128]) + plain + plain)
    # Messages of gRPC, behind flag and length.
    for file in sorted((ROOT / "tests/fixtures/payload").glob("*.pb")):
        kind = 16 | (1 if ".request." in file.name else 0)
        message = file.read_bytes()
        (ROOT / "fuzz/corpus/open_inference" / file.stem).write_bytes(
            bytes([kind, 40, 0]) + len(message).to_bytes(4, "big") + message)

    # A receipt of each way in which it may come back, and a decision for each place of the label.
    seeds = {"receipt": [bytes([what, 40]) + bytes(range(100)) for what in range(8)],
             "decision": [bytes([how]) + body for how in (8, 9, 10, 11, 24) for body in (
                 b'{"label":"cat","confidence":0.93,"annotation":{"label":"\\u00fc;"},"a":[7],"b":[0.1,0.9]}', b'"cat"')]}
    for target, all_seeds in seeds.items():
        folder = ROOT / "fuzz/corpus" / target
        folder.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(all_seeds):
            (folder / f"seed-{number}").write_bytes(seed)


main()
