#!/usr/bin/env python3
"""Changeover in action: real models behind a real Envoy. `make demo` runs this with all it needs.

Starts two model servers, scripted reviewers and Envoy with the YAML this repository ships, sends them traffic, and compares what
clients saw with what the model servers and the filter counted. Ends by itself; exit status 1 when something
that was promised did not happen.
"""
import argparse
import pathlib
import signal
import sys
import time

sys.path[:0] = [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parents[1] / "models")]

import acts  # noqa: E402
import client  # noqa: E402
import processes  # noqa: E402
import show  # noqa: E402

URLS = """
Envoy      http://127.0.0.1:10000   configured by target/demo/envoy/envoy-ecds.yaml
releases   cargo run --quiet -- status --watch
metrics    curl -s http://127.0.0.1:9901/stats/prometheus | grep ^changeover
models     http://127.0.0.1:8001/stats  http://127.0.0.1:8002/stats
ask        curl -s http://127.0.0.1:10000/v2/models/digits -i
flip       sed 's/active: logreg/active: svm/' envoy/ecds/changeover.yaml > target/demo/envoy/ecds/next.yaml &&
           mv target/demo/envoy/ecds/next.yaml target/demo/envoy/ecds/changeover.yaml

Ctrl-C ends it."""


def run(arguments):
    began = time.monotonic()
    promises = show.Promises()
    with processes.Processes(arguments.envoy, arguments.module, arguments.cli) as running:
        show.heading("Starting two models and Envoy")
        running.start_models()
        running.start_envoy("envoy/envoy.yaml")
        for model, port in processes.MODELS.items():
            show.say(f"{model}: a classifier of handwritten digits on http://127.0.0.1:{port}")
        show.say(f"Envoy with the filter on http://127.0.0.1:{processes.LISTENER}")
        demo = acts.Demo(running, client.Images(), promises)
        demo.canary(arguments.requests)
        demo.users()
        demo.blue_green()
        demo.releases()
        demo.shadow()
        demo.proven()
        demo.people()
        demo.summary()
        if promises.broken:
            print(f"\n{len(promises.broken)} promises were broken; logs are in {running.directory}")
        else:
            print(f"\nAll {len(promises.all)} promises were kept, in {time.monotonic() - began:.0f} s.")
        if arguments.keep:
            print(URLS, flush=True)
            signal.pause()
    return 1 if promises.broken else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envoy", default="target/envoy/1.40.0/envoy/_bin/envoy", help="the Envoy to run")
    parser.add_argument("--module", default="target/changeover.wasm", help="the filter")
    parser.add_argument("--cli", default="target/debug/changeover", help="the command line")
    parser.add_argument("--requests", type=int, default=2_000, help="of the canary")
    parser.add_argument("--keep", action="store_true", help="stay up until Ctrl-C")
    # The children are stopped on the way out, also when the demo is interrupted.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return run(parser.parse_args())
    except processes.Failed as failed:
        print(f"\n{failed}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
