#!/usr/bin/env python3
"""Takes the pictures of the live page for the README and docs/page.md: `make screenshots`.

They show a release of the demo's models that walks to half of the traffic, fails there, and is rolled back.
"""
import argparse
import io
import os
import pathlib
import sys
import threading
import time

from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("examples/demo", "examples/models", "tests/page")]

import browser  # noqa: E402
import client  # noqa: E402
import processes  # noqa: E402

IMAGES = ROOT / "docs" / "images"
PAGE = f"http://127.0.0.1:{processes.CONTROL}/"
PER_SECOND = 160

RELEASE = """
            mirror: {to: svm, percent: 25, methods: [POST], mode: compare, compare: {label: /outputs/0/data/0, ignore: [/outputs/1]}}
            payload: {protocol: open_inference}
            steps:
            - {set_weight: 5}
            - {pause: {duration: 10s}}
            - {set_weight: 25}
            - {pause: {duration: 20s}}
            - {set_weight: 50}
            - {pause: {duration: 5m}}
            analysis:
              metrics: [{name: error_rate}, {name: latency}, {name: unanswered}, {name: output.null}, {name: output.length}, {name: input.length}]
"""
# What else there is to see: releases that wait, and one that is done.
OTHERS = """
          - {name: fraud-score, release: "2026.11.3", match: {prefix: /v2/models/fraud}, versions: {xgb-41: {cluster: digits-logreg},
             xgb-42: {cluster: digits-svm}}, stable: xgb-41, candidate: xgb-42, steps: [{set_weight: 10}, {pause: {}}]}
          - {name: recommender, release: "2026-11-20.2", match: {prefix: /v2/models/recommender}, versions: {two-tower: {cluster: digits-logreg},
             transformer: {cluster: digits-svm}}, stable: two-tower, candidate: transformer, blue_green: {active: two-tower}}
"""


def configuration():
    text = (ROOT / "envoy/ecds/changeover.yaml").read_text()
    flips = "            # Flip: write `active: svm` into a copy of this file and move the copy over it.\n"
    text = text.replace(flips, "")
    assert text.count("            blue_green: {active: logreg}\n") == 1, "the shipped ECDS file has one `blue_green`"
    text = text.replace("            blue_green: {active: logreg}\n", RELEASE.lstrip("\n"))
    return text.rstrip("\n") + OTHERS


class Traffic:
    """Requests at a steady pace, in proportion to a connection's turn."""

    def __init__(self, images, clients=8):
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=self.work, args=(images, at, clients)) for at in range(clients)]

    def work(self, images, at, clients):
        asked, number, due = client.Client(images), at, time.monotonic()
        while not self.stopped.is_set():
            asked.ask(number)
            number += clients
            due += clients / PER_SECOND
            self.stopped.wait(max(0, due - time.monotonic()))

    def __enter__(self):
        for thread in self.threads:
            thread.start()

    def __exit__(self, *_):
        self.stopped.set()
        for thread in self.threads:
            thread.join()


def push(running):
    path = running.directory / "envoy/ecds/changeover.yaml"
    new = path.with_suffix(".new")
    new.write_text(configuration())
    os.replace(new, path)


def take(page, name, **options):
    IMAGES.mkdir(parents=True, exist_ok=True)
    picture = Image.open(io.BytesIO(page.screenshot(animations="disabled", **options)))
    # A palette is a third of the size, and nothing that one sees is lost.
    picture.convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(IMAGES / f"{name}.png", optimize=True)
    print(f"docs/images/{name}.png: {(IMAGES / f'{name}.png').stat().st_size:,} bytes")


def run(arguments):
    with processes.Processes(arguments.envoy, arguments.module) as running, browser.chromium() as chromium:
        running.start_models()
        running.start_envoy("envoy/envoy-ecds.yaml")
        desktop = {"viewport": {"width": 1280, "height": 1240}}
        pages = {
            "page-light": chromium.new_page(color_scheme="light", **desktop),
            "page-dark": chromium.new_page(color_scheme="dark", **desktop),
            "page-phone": chromium.new_page(
                color_scheme="light", viewport={"width": 390, "height": 844}, device_scale_factor=2, is_mobile=True,
            ),
        }
        with Traffic(client.Images()):
            # What has just started answers slowly, Envoy's connections as well.
            time.sleep(5)
            push(running)
            light = pages["page-light"]
            light.goto(f"{PAGE}#fraud-score")
            light.locator("h1").filter(has_text="fraud-score").wait_for()
            for page in pages.values():
                page.goto(f"{PAGE}#digits")
            light.get_by_text("svm at 50 %", exact=False).first.wait_for(timeout=60_000)
            time.sleep(arguments.calm)
            running.misbehave("svm", fail_percent=arguments.fail, delay_ms=2)
            light.locator(".phase.bad").first.wait_for(timeout=60_000)
            time.sleep(2)
            for name, page in pages.items():
                page.locator(".title .phase.bad").wait_for()
                take(page, name, full_page=arguments.full)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envoy", default="target/envoy/1.40.0/envoy/_bin/envoy", help="the Envoy to run")
    parser.add_argument("--module", default="target/changeover.wasm", help="the filter")
    parser.add_argument("--calm", type=float, default=15, help="seconds at half of the traffic before it fails")
    parser.add_argument("--fail", type=float, default=5, help="percent of the candidate's answers that fail then")
    parser.add_argument("--full", action="store_true", help="the whole page, not what fits on a screen")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
