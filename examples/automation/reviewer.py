#!/usr/bin/env python3
"""People, scripted: an HTTP queue whose reviewers read digits, and are wrong about every hundredth image.

    reviewer.py --port 8080

It speaks the Open Inference Protocol as far as it needs to, so that a caller cannot tell people from a model. `GET /stats` says how
many tasks the reviewers have decided, and how many of them came with a suggestion that they could read.
"""
import argparse
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import digits
import protocol

SUGGESTION = "x-changeover-suggestion"


def known():
    """The digit in each image."""
    labels = {}
    for images, digits_in in digits.data():
        for image, digit in zip(images, digits_in):
            labels[name(image)] = int(digit)
    return labels


def name(image):
    """Identifies an image by its pixels."""
    return hashlib.sha256(",".join(f"{float(pixel):g}" for pixel in image).encode()).hexdigest()


def decide(labels, image):
    """What a reviewer reads: the digit, or in one image of a hundred the next one."""
    key = name(image)
    digit = labels.get(key, 0)
    return (digit + 1) % 10 if int(key, 16) % 100 == 0 else digit


def handler(labels):
    counted = {"tasks": 0, "suggested": 0}
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            """The proxy in front logs."""

        def answer(self, status, body):
            payload = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def do_GET(self):
            self.answer(200, dict(counted))

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            try:
                images = protocol.images(json.loads(body), digits.PIXELS)
            except (protocol.Invalid, ValueError) as error:
                return self.answer(400, {"error": str(error)})
            with lock:
                counted["tasks"] += 1
                counted["suggested"] += SUGGESTION in self.headers
            decided = [decide(labels, image) for image in images]
            return self.answer(200, protocol.answer("digits", "people", json.loads(body), decided, [1.0] * len(decided)))

    return Handler


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    ThreadingHTTPServer((arguments.host, arguments.port), handler(known())).serve_forever()


if __name__ == "__main__":
    main()
