#!/usr/bin/env python3
"""A small model server: a classifier of handwritten digits behind the Open Inference Protocol v2.

    server.py --model logreg --port 8001
    server.py --model svm --port 8002 --delay-ms 50 --fail-percent 5 --null-percent 1 --random-percent 1

The last four make a version slow, failing, answering nulls or answering at random; `POST /admin/behaviour` changes them while it
runs. `GET /stats` returns what it has counted.
"""
import argparse
import json
import random
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import digits
import protocol

NAME = "digits"
LARGEST_BODY = 10_000_000


class Model:
    """A trained version, its switches and its counters."""

    def __init__(self, version, behaviour):
        self.version = version
        self.classifier = digits.train(version)
        self.behaviour = behaviour
        self.lock = threading.Lock()
        self.reset()

    def reset(self):
        with self.lock:
            self.by_status = {}
            self.inferences = 0

    def count(self, status, inference):
        with self.lock:
            self.by_status[str(status)] = self.by_status.get(str(status), 0) + 1
            self.inferences += inference

    def stats(self):
        with self.lock:
            return {"model": self.version, "requests": dict(self.by_status), "inferences": self.inferences}

    def infer(self, request):
        """Returns (status, body)."""
        rows = protocol.images(request, digits.PIXELS)
        behaviour = self.behaviour
        time.sleep(behaviour["delay_ms"] / 1_000)
        if random.uniform(0, 100) < behaviour["fail_percent"]:
            return 500, {"error": "told to fail"}
        labels, confidence = digits.classify(self.classifier, rows)
        if random.uniform(0, 100) < behaviour["null_percent"]:
            labels = [None] * len(labels)
        if random.uniform(0, 100) < behaviour["random_percent"]:
            labels = [random.randrange(10) for _ in labels]
        return 200, protocol.answer(NAME, self.version, request, labels, confidence)


def change(behaviour, changes):
    """The behaviour with some switches set; `Invalid` for anything else."""
    if not isinstance(changes, dict) or not set(changes) <= set(behaviour):
        raise protocol.Invalid(f"expected an object with some of {sorted(behaviour)}")
    if not all(isinstance(value, (int, float)) and value >= 0 for value in changes.values()):
        raise protocol.Invalid("every switch is a number that is not negative")
    return {**behaviour, **changes}


def handler(model):
    """The request handler of a server for `model`."""
    model_path = f"/v2/models/{NAME}"
    gets = {
        "/v2": lambda: {"name": "changeover-example", "version": "1", "extensions": []},
        "/v2/health/live": lambda: {"live": True},
        "/v2/health/ready": lambda: {"ready": True},
        model_path: lambda: protocol.metadata(NAME, model.version, digits.PIXELS),
        f"{model_path}/ready": lambda: {"name": NAME, "ready": True},
        "/stats": model.stats,
        "/admin/behaviour": lambda: model.behaviour,
    }

    def set_behaviour(changes):
        model.behaviour = change(model.behaviour, changes)
        return 200, model.behaviour

    def reset(_):
        model.reset()
        return 200, model.stats()

    posts = {f"{model_path}/infer": model.infer, "/admin/behaviour": set_behaviour, "/stats/reset": reset}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet
        disable_nagle_algorithm = True

        def log_message(self, *_):
            """The proxy in front logs."""

        def path_without_query(self):
            return self.path.split("?", 1)[0]

        def answer(self, status, body):
            payload = json.dumps(body).encode()
            # Its own interface is not part of what it counts.
            path = self.path_without_query()
            if path.startswith("/v2/models"):
                model.count(status, path.endswith("/infer"))
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(payload)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(payload)
            self.wfile.flush()

        def refuse(self, status, error):
            self.answer(status, {"error": error})

        def do_GET(self):
            get = gets.get(self.path_without_query())
            if get:
                self.answer(200, get())
            elif self.path_without_query() in posts:
                self.refuse(405, "use POST")
            else:
                self.refuse(404, f"no such path; the model is {model_path}")

        do_HEAD = do_GET

        def do_POST(self):
            length = self.headers.get("content-length")
            if length is None or not length.isdigit():
                self.close_connection = True
                return self.refuse(411, "the body's length is missing")
            if int(length) > LARGEST_BODY:
                self.close_connection = True
                return self.refuse(413, f"the body is over {LARGEST_BODY} bytes")
            body = self.rfile.read(int(length))
            post = posts.get(self.path_without_query())
            if not post:
                known = self.path_without_query() in gets
                return self.refuse(405 if known else 404, "use GET" if known else f"the model is {model_path}")
            try:
                return self.answer(*post(json.loads(body or b"null")))
            except (protocol.Invalid, ValueError) as error:
                return self.refuse(400, str(error))

    return Handler


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(digits.models()), required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    switches = ("delay_ms", "fail_percent", "null_percent", "random_percent")
    for switch in switches:
        parser.add_argument(f"--{switch.replace('_', '-')}", type=float, default=0)
    arguments = parser.parse_args()
    behaviour = {switch: getattr(arguments, switch) for switch in switches}
    server = Server((arguments.host, arguments.port), handler(Model(arguments.model, behaviour)))
    # shutdown() waits for serve_forever(), which the handler interrupts: so from another thread.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"{arguments.model} on http://{arguments.host}:{server.server_port}/v2/models/{NAME}", flush=True)
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
