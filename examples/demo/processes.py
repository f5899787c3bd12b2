"""The processes of the demo: two model servers and Envoy, in a directory of their own under target/."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time

import counters

ROOT = pathlib.Path(__file__).resolve().parents[2]
LISTENER, ADMIN, CONTROL = 10000, 9901, 9911
MODELS = {"logreg": 8001, "svm": 8002}
PEOPLE = 8003
DEADLINE = 30  # seconds


class Failed(Exception):
    """Something the demo cannot go on without; the text says what to do."""


def wait_for(what, condition, deadline=DEADLINE):
    """The first true value of `condition`, asked again and again."""
    until = time.monotonic() + deadline
    while time.monotonic() < until:
        try:
            value = condition()
        except OSError:
            value = None
        if value:
            return value
        time.sleep(0.01)
    raise Failed(f"waited {deadline} s in vain for {what}")


def holds_within(seconds, condition):
    """Whether `condition` becomes true in time."""
    try:
        return bool(wait_for("", condition, seconds))
    except Failed:
        return False


def free_ports():
    """Fails when another process has one of the ports."""
    owners = {LISTENER: "Envoy", ADMIN: "Envoy's admin interface", CONTROL: "Envoy's control listener", 8001: "logreg",
              8002: "svm", PEOPLE: "the reviewers"}
    for port, whose in owners.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                raise Failed(f"port {port}, for {whose}, is taken: stop what listens there (ss -ltnp) and try again")


def automation():
    """examples/automation/envoy.yaml with this machine's addresses in place of the containers', and at degree human until it is promoted."""
    text = (ROOT / "examples" / "automation" / "envoy.yaml").read_text()
    for theirs, ours in (
        ("/etc/envoy/changeover.wasm", "target/changeover.wasm"),
        ("address: 0.0.0.0", "address: 127.0.0.1"),
        ("address: reviewers, port_value: 8080", f"address: 127.0.0.1, port_value: {PEOPLE}"),
        ("address: svm, port_value: 8080", f"address: 127.0.0.1, port_value: {MODELS['svm']}"),
        # Until the demo promotes it.
        ("pause: {duration: 30s}", "pause: {}"),
    ):
        assert theirs in text, f"examples/automation/envoy.yaml has `{theirs}`"
        text = text.replace(theirs, ours)
    return text


class Processes:
    """Starts them, and leaves none behind."""

    def __init__(self, envoy, module, cli=None):
        self.envoy_binary = pathlib.Path(envoy).resolve()
        if not self.envoy_binary.exists():
            raise Failed(f"{envoy} is not there: `make demo` installs it on Linux; elsewhere use --envoy PATH")
        if not pathlib.Path(module).exists():
            raise Failed(f"{module} is not there: run `make build`")
        if cli and not pathlib.Path(cli).exists():
            raise Failed(f"{cli} is not there: run `cargo build --bin changeover`")
        self.cli = cli
        free_ports()
        # The shipped YAML names files relative to the repository's top: here it finds copies that may change.
        self.directory = ROOT / "target" / "demo"
        shutil.rmtree(self.directory, ignore_errors=True)
        shutil.copytree(ROOT / "envoy", self.directory / "envoy")
        (self.directory / "envoy" / "automation.yaml").write_text(automation())
        (self.directory / "target").mkdir()
        shutil.copy(module, self.directory / "target" / "changeover.wasm")
        self.children = []
        self.envoy = None
        # What the filter counted in Envoys that are gone.
        self.counted_before = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for child in reversed(self.children):
            child.terminate()
        for child in self.children:
            try:
                child.wait(5)
            except subprocess.TimeoutExpired:
                child.kill()

    def spawn(self, name, command):
        log = open(self.directory / f"{name}.log", "ab")
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "examples" / "models")}
        child = subprocess.Popen(
            command, cwd=self.directory, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )
        self.children.append(child)
        return child

    def log(self, name="envoy"):
        return (self.directory / f"{name}.log").read_text(errors="replace")

    def start_models(self):
        server = ROOT / "examples" / "models" / "server.py"
        for model, port in MODELS.items():
            self.spawn(model, [sys.executable, server, "--model", model, "--port", str(port)])
        for model, port in MODELS.items():
            url = f"http://127.0.0.1:{port}/v2/health/ready"
            wait_for(f"{model} to be trained (log: {self.directory}/{model}.log)", lambda: counters.fetch(url))

    def start_people(self):
        """Reviewers, scripted: they answer like a model."""
        server = ROOT / "examples" / "automation" / "reviewer.py"
        self.spawn("people", [sys.executable, server, "--port", str(PEOPLE)])
        wait_for("the reviewers", self.tasks_of_people)

    def tasks_of_people(self):
        """{"tasks": what the reviewers have decided, "suggested": of these with a suggestion that they could read}."""
        return json.loads(counters.fetch(f"http://127.0.0.1:{PEOPLE}/stats"))

    def start_envoy(self, bootstrap):
        self.envoy = self.spawn("envoy", [
            self.envoy_binary, "--config-path", bootstrap, "--concurrency", "2", "--disable-hot-restart",
            "--log-level", "warning", "--component-log-level", "wasm:info",
        ])

        def ready():
            if self.envoy.poll() is not None:
                tail = "\n".join(self.log().splitlines()[-15:])
                raise Failed(f"Envoy does not start; the end of its log:\n{tail}")
            return counters.fetch(f"http://127.0.0.1:{ADMIN}/ready").strip() == "LIVE"

        wait_for("Envoy to serve", ready)

    def misbehave(self, model, **switches):
        """Sets a model server's switches."""
        url = f"http://127.0.0.1:{MODELS[model]}/admin/behaviour"
        counters.fetch(url, json.dumps(switches).encode())

    def status(self, rollout):
        """{name: sentence}, as `changeover status` prints them."""
        printed = self.changeover("status", rollout).stdout
        # Names have ten columns.
        return {line[:10].strip(): line[10:] for line in printed.splitlines()}

    def promote(self, rollout):
        """Begins the next step, as a person does."""
        # The API has the release once the filter's first second is over.
        wait_for("the release to be promoted", lambda: self.changeover("promote", rollout).returncode == 0)

    def changeover(self, *words):
        """Runs a command of the command line against Envoy's control listener."""
        command = [self.cli, *words, "--endpoint", f"http://127.0.0.1:{CONTROL}"]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def stop_envoy(self):
        self.counted_before = self.filter_counts()
        self.children.remove(self.envoy)
        self.envoy.terminate()
        self.envoy.wait(DEADLINE)

    def series(self):
        return counters.parse(counters.fetch(f"http://127.0.0.1:{ADMIN}/stats/prometheus"))

    def filter_counts(self):
        """{version: requests the filter has counted}, in all Envoys of this run."""
        return counters.add(self.counted_before, counters.requests_by_version(self.series()))

    def model_counts(self):
        """{version: requests its model server has received}."""
        return {model: counters.inferences(port) for model, port in MODELS.items()}

    def stat(self, name):
        """One of Envoy's own statistics."""
        for line in counters.fetch(f"http://127.0.0.1:{ADMIN}/stats?filter={name}").splitlines():
            key, _, value = line.rpartition(": ")
            if key == name:
                return int(value)
        return 0
