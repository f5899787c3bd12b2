#!/usr/bin/env python3
"""Brings examples/stack up, breaks the candidate, and sees what a user is promised: the live page, the ramp, the rollback, the alert
in Prometheus, the notification as the README shows it, and that users get good answers again.

    stack.py [errors|nulls|slow …]     all three by default, in one stack
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

import run

FILE = "examples/stack/compose.yaml"
DEADLINE = 600  # seconds for anything; the models install MLServer when they start
PROMETHEUS = "http://127.0.0.1:9090"
PAGE = "http://127.0.0.1:9911"
BUILT = ("changeover.wasm", "cli/changeover")
README = run.ROOT / "examples" / "stack" / "README.md"
# Seconds of the candidate's traffic: four times those of `make stack`, so that a busy machine is at 50 % by then, too.
BREAK_AFTER = 240

# By which metric each way to break is found.
RULES = {"errors": "error_rate", "nulls": "output.null", "slow": "latency"}


class Stack:
    """The stack of a copy of this repository, so that no file of it changes."""

    def __init__(self, folder):
        self.folder, self.compose = folder, [*run.compose().split(), "-f", FILE]
        self.environment = {**os.environ, "BREAK": "", "BREAK_AFTER": str(BREAK_AFTER)}

    def make(self, *arguments, check=True):
        """What the Makefile does; what it would build is there."""
        built = [argument for file in BUILT for argument in ("-o", f"target/{file}")]
        return self.run("make", "--no-print-directory", *built, *arguments, check=check)

    def __call__(self, *arguments, check=True):
        return self.run(*self.compose, *arguments, check=check)

    def run(self, *arguments, check):
        ran = subprocess.run(
            arguments, cwd=self.folder, env=self.environment, check=False, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        if check and ran.returncode:
            raise AssertionError(f"{arguments}: {ran.stdout[-3_000:]}")
        return ran.stdout

    def lines(self, service):
        """What a container has printed, without Compose's name for it in front."""
        return [line.partition("| ")[2] for line in self("logs", "--no-color", service).splitlines() if "| " in line]

    def health(self, service):
        container = self("ps", "--quiet", service).split()[0]
        health = "--format={{.State.Health.Status}}"
        return subprocess.run(["docker", "inspect", health, container], check=True, capture_output=True, text=True).stdout.strip()


def wait_for(what, look):
    print(f"  waiting for {what}", flush=True)
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        try:
            found = look()
        except OSError:
            found = None
        if found:
            return found
        time.sleep(1)
    raise AssertionError(f"waited in vain for {what}")


def prometheus(path, **parameters):
    query = urllib.parse.urlencode(parameters)
    with urllib.request.urlopen(f"{PROMETHEUS}{path}?{query}", timeout=10) as answer:
        return json.load(answer)["data"]


def value(expression):
    """The value of the only series of an expression; `None` without one."""
    result = prometheus("/api/v1/query", query=expression)["result"]
    return float(result[0]["value"][1]) if result else None


def rollout():
    """The release, as the page's own requests read it."""
    with urllib.request.urlopen(f"{PAGE}/v1/rollouts/digits", timeout=10) as answer:
        return json.load(answer)


def page():
    with urllib.request.urlopen(f"{PAGE}/", timeout=10) as answer:
        return answer.headers.get_content_type(), answer.read().decode()


def masked(line):
    """A line of the inbox without what differs from run to run: times, counts of users and the evidence that they are."""
    line = re.sub(r"^\S+Z ", "TIME ", line)
    line = re.sub(r"^  so far: .* evidence \S+ to 1, of", "  so far: SEEN of", line)
    line = re.sub(r"\d+ of \d+ users \([\d.]+ %\)", "USERS", line)
    return re.sub(r"evidence against svm: \S+ to 1 ", "evidence against svm: ODDS ", line)


def shown_in_the_readme():
    """What the inbox ends with, as the README says."""
    _, behind = README.read_text().split("the inbox ends like this.", 1)[1].split("\n\n```\n", 1)
    return behind.split("\n```\n")[0].splitlines()


def firing():
    alerts = prometheus("/api/v1/alerts")["alerts"]
    return {alert["labels"]["alertname"]: alert for alert in alerts if alert["state"] == "firing"}


def answers(stack):
    """What users got, by intervals, oldest first."""
    lines = (line[line.index("{"):] for line in stack.lines("users") if '{"answers"' in line)
    return [json.loads(line) for line in lines]


def is_good(interval):
    """Whether stable alone has answered, and well."""
    return set(interval["answers"]) == {"ok"} and set(interval["versions"]) == {"logreg"}


def rolled_back(stack):
    """How often the inbox was told."""
    return sum("digits 2026-11-24.1: rollback" in line for line in stack.lines("inbox"))


def begin(stack):
    """A stack whose candidate does not break."""
    printed = stack.make("stack")
    for address in (PAGE, f"{PROMETHEUS}/alerts"):
        assert address in printed, printed
    wait_for("the candidate's answers", lambda: any("svm" in interval["versions"] for interval in answers(stack)))


def story(stack, how):
    before = rolled_back(stack)
    stack.make("stack", f"BREAK={how}")
    kind, html = page()
    assert kind == "text/html" and html.startswith("<!doctype html>"), (kind, html[:200])
    release = wait_for("the release on the page", rollout)["release"]
    assert release == "2026-11-24.1", release
    for service in ("prometheus", "users"):
        wait_for(f"{service} to be healthy", lambda service=service: stack.health(service) == "healthy")
    wait_for("Prometheus to have scraped", lambda: value('up{job="envoy"} == 1'))
    wait_for("the release at 25 %", lambda: value('changeover:weight:ratio{version="svm"}') == 0.25)
    wait_for("the candidate's answers", lambda: any("svm" in interval["versions"] for interval in answers(stack)))
    wait_for("the release at 50 %", lambda: value('changeover:weight:ratio{version="svm"}') == 0.5)
    assert not firing(), "nothing is wrong yet"
    wait_for("the rollback", lambda: value('changeover_phase{phase="failed"} == 1'))
    alert = wait_for("the alert", lambda: firing().get("ChangeoverRolledBack"))
    assert alert["labels"]["rollout"] == "digits", alert
    wait_for("the notification", lambda: rolled_back(stack) > before)
    assert rolled_back(stack) == before + 1, stack.lines("inbox")
    assert any(f"svm is worse than logreg ({RULES[how]}" in line for line in stack.lines("inbox")), stack.lines("inbox")
    if how == "errors":
        expected = shown_in_the_readme()
        found = [masked(line) for line in stack.lines("inbox")[-len(expected):]]
        assert found == [masked(line) for line in expected], "\n".join(["the README shows another inbox:", *stack.lines("inbox")])
    assert rollout()["phase"] == "failed", rollout()
    before = len(answers(stack))
    wait_for("good answers again", lambda: len(answers(stack)) > before + 1 and is_good(answers(stack)[-1]))
    assert value('changeover:weight:ratio{version="svm"}') == 0
    shown = stack("exec", "-T", "envoy", "changeover", "status", "digits", check=False)
    assert "failed" in shown, shown
    for result in ("refused", "expired", "dropped"):
        assert value(f'changeover_notifications_total{{result="{result}"}}') is None, result


def main():
    if not (run.compose() and run.works("docker", "info")):
        print("examples/stack: SKIPPED, there is no docker with compose here")
        return 1 if os.environ.get("CI") else 0
    images = [*run.IMAGES, "prom/prometheus:v2.42.0"]
    if not all(run.works("docker", "image", "inspect", image) or run.works("docker", "pull", "--quiet", image) for image in images):
        if not run.STAND_INS.exists():
            print("examples/stack: SKIPPED, no image can be pulled here")
            return 1 if os.environ.get("CI") else 0
        subprocess.run([run.STAND_INS], check=True)
    with tempfile.TemporaryDirectory() as directory:
        copy = pathlib.Path(directory)
        copy.chmod(0o755)
        for folder in ("examples", "envoy"):
            shutil.copytree(run.ROOT / folder, copy / folder)
        shutil.copy(run.ROOT / "Makefile", copy)
        for file in BUILT:
            (copy / "target" / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(run.ROOT / "target" / file, copy / "target" / file)
        stack = Stack(copy)
        try:
            begin(stack)
            for how in sys.argv[1:] or RULES:
                print(f"examples/stack, {how}", flush=True)
                story(stack, how)
        except AssertionError as wrong:
            print(f"{stack('logs', '--tail', '40', check=False)}\n{wrong}\nexamples/stack: FAILED")
            return 1
        finally:
            stack.make("stack-down", check=False)
    print("examples/stack: ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
