#!/usr/bin/env python3
"""Prints the notifications that come, each in a few lines; the second time an id comes it is not printed."""
import http.server
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "notify"))

import relay  # noqa: E402


def show(event):
    print("\n".join([f"{event['time']} {relay.title(event)}", *(f"  {line}" for line in relay.lines(event))]), flush=True)
    return 204


class Handler(relay.handler(lambda event: event, show)):
    def do_GET(self):
        self.answer(200)


def main():
    http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Handler).serve_forever()


if __name__ == "__main__":
    main()
