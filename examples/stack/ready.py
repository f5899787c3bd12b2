#!/usr/bin/env python3
"""Waits until every address answers with 200.

    ready.py http://127.0.0.1:9911/ http://127.0.0.1:9090/-/ready

`docker compose up --wait` is for Compose v2 only, and some versions of it take a container that has done its work for one that failed.
"""
import argparse
import sys
import time
import urllib.request

PAUSE = 0.5  # seconds between two attempts


def answers(address):
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def missing(addresses, seconds):
    """The addresses that have not answered in time."""
    end = time.monotonic() + seconds
    while True:
        addresses = [address for address in addresses if not answers(address)]
        if not addresses or time.monotonic() > end:
            return addresses
        time.sleep(PAUSE)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("addresses", nargs="+", metavar="ADDRESS")
    parser.add_argument("--seconds", type=float, default=120)
    options = parser.parse_args()
    silent = missing(options.addresses, options.seconds)
    for address in silent:
        print(f"{address} does not answer", file=sys.stderr)
    return 1 if silent else 0


if __name__ == "__main__":
    sys.exit(main())
