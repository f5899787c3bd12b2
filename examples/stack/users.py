#!/usr/bin/env python3
"""Users who ask the model `digits`: a few of them often, most of them rarely, more by day than by night.

    users.py http://127.0.0.1:10000 --users 5000 --per-second 20

Every five seconds one line of JSON says what they got. With --answered FILE the file is touched then, if an answer was good.
"""
import argparse
import collections
import json
import math
import pathlib
import random
import sys
import threading
import time
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "models"))

DAY = 300  # seconds
EVERY = 5  # seconds between two lines
GAP = 3  # pixels that some images lack


def user(users):
    """One of them: the first ones ask often, most of them once in a while."""
    return int(20 * (random.paretovariate(0.5) - 1)) % users + 1


def rate(mean, second):
    """Requests per second at a time of the day."""
    return mean * (1 + 0.6 * math.sin(2 * math.pi * second / DAY))


def body(number, image):
    """An image; every fifth user's lacks its first pixels."""
    data = image.tolist()
    if number % 5 == 0:
        data[:GAP] = [None] * GAP
    return json.dumps({"inputs": [{"name": "image", "shape": [1, len(data)], "datatype": "FP32", "data": data}]}).encode()


def ask(url, number, image):
    """(what came of it, by which version)."""
    headers = {"content-type": "application/json", "x-user-id": f"user-{number}"}
    request = urllib.request.Request(f"{url}/v2/models/digits/infer", body(number, image), headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            null = json.loads(answer.read())["outputs"][0]["data"] == [None]
            return "null" if null else "ok", answer.headers.get("x-changeover-version", "")
    except urllib.error.HTTPError as error:
        return f"status {error.code}", error.headers.get("x-changeover-version", "")
    except OSError:
        return "no answer", ""


class Counts:
    def __init__(self):
        self.lock = threading.Lock()
        self.results = collections.Counter()

    def add(self, result):
        with self.lock:
            self.results[result] += 1

    def take(self):
        with self.lock:
            taken, self.results = self.results, collections.Counter()
        return taken


def line(results):
    by_result, by_version = collections.Counter(), collections.Counter()
    for (result, version), count in results.items():
        by_result[result] += count
        by_version[version or "unknown"] += count
    return json.dumps({"answers": dict(sorted(by_result.items())), "versions": dict(sorted(by_version.items()))})


def has_good(results):
    return any(result == "ok" for result, _ in results)


def main():
    import digits

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--users", type=int, default=5_000)
    parser.add_argument("--per-second", type=float, default=20)
    parser.add_argument("--threads", type=int, default=32)
    parser.add_argument("--answered", type=pathlib.Path, metavar="FILE")
    options = parser.parse_args()
    _, (images, _) = digits.data()
    counts, begun = Counts(), time.monotonic()

    def work():
        while True:
            pause = options.threads / rate(options.per_second, time.monotonic() - begun)
            time.sleep(random.expovariate(1 / pause))
            number = user(options.users)
            counts.add(ask(options.url, number, images[number % len(images)]))

    for _ in range(options.threads):
        threading.Thread(target=work, daemon=True).start()
    while True:
        time.sleep(EVERY)
        taken = counts.take()
        print(line(taken), flush=True)
        if options.answered and has_good(taken):
            options.answered.touch()


if __name__ == "__main__":
    main()
