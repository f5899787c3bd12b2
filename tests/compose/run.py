#!/usr/bin/env python3
"""Follows the READMEs of the compose examples word by word, and compares what they promise with what happens.

    run.py [EXAMPLE…]      canary, blue-green, shadow, shadow-compare, payload-metrics, fleet, automation

Every line behind a `$ ` in a ```console block is run; the lines below it are what must come out, literally. (A
command without lines below it only has to succeed.) Runs in a copy, so that no file of the repository changes.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ["canary", "blue-green", "shadow", "shadow-compare", "payload-metrics", "fleet", "automation"]
IMAGES = ["envoyproxy/envoy:v1.40.0", "python:3.11-slim"]
DEADLINE = 900  # seconds for one command; the models install scikit-learn when they start, as fast as the network allows
ETCD = "quay.io/coreos/etcd:v3.4.23"
STAND_INS = ROOT.parent / "shared" / "tools" / "local-images"


def works(*command):
    try:
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0
    except OSError:
        return False


def compose():
    """How Compose is called here: v2 is part of docker, 1.29 a program of its own."""
    if works("docker", "compose", "version"):
        return "docker compose"
    return "docker-compose" if works("docker-compose", "version") else None


def steps(readme):
    """[(command, expected output)] of a README's console blocks."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```$", readme, re.S | re.M):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return [(command, "\n".join(output)) for command, output in found]


def follow(example, directory, compose_command):
    """Runs a README's commands in one shell, as a reader would; returns what was wrong."""
    shell = subprocess.Popen(
        ["bash"], cwd=directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    for command, expected in steps((ROOT / "examples" / example / "README.md").read_text()):
        if command.startswith("make "):
            continue  # the module is built already
        command = command.replace("docker compose", compose_command)
        print(f"  $ {command}", flush=True)
        # The commands themselves are the shell's input: none of them may read it.
        shell.stdin.write(f"{{ {command}\n}} </dev/null\nstatus=$?; echo; echo ended:$status\n")
        shell.stdin.flush()
        deadline = threading.Timer(DEADLINE, shell.kill)
        deadline.start()
        output, ended = [], "not ended"
        for line in shell.stdout:
            if line.startswith("ended:"):
                ended = line.strip()
                break
            output.append(line.rstrip("\n"))
        deadline.cancel()
        found = "\n".join(output).strip("\n")
        if ended != "ended:0" or (expected and found != expected):
            return f"$ {command}\nexpected:\n{expected}\nfound ({ended}):\n{found}"
    shell.stdin.close()
    shell.wait()
    return None


def image_answers():
    """Whether the command line's image can be built, and starts."""
    tag = "changeover-cli:test"
    build = ["docker", "build", "--quiet", "--file", "Dockerfile.cli", "--tag", tag, "."]
    if not works("env", "-C", ROOT, *build):
        return False
    said = subprocess.run(["docker", "run", "--rm", tag, "--version"], capture_output=True, text=True, check=False)
    return said.stdout.startswith("changeover ")


def etcd_is_there():
    """The image of etcd; where it cannot be pulled, Debian's etcd in a stand-in of its name."""
    if works("docker", "image", "inspect", ETCD) or works("docker", "pull", "--quiet", ETCD):
        return True
    programs = ROOT / "target" / "etcd" / "usr" / "bin"
    dockerfile = "FROM debian:bookworm-slim\nCOPY etcd etcdctl /usr/local/bin/\nCMD [\"etcd\"]\n"
    build = ["docker", "build", "--quiet", "--tag", ETCD, "--file", "-", programs]
    return subprocess.run(build, input=dockerfile, text=True, stdout=subprocess.DEVNULL, check=False).returncode == 0


def main():
    examples = sys.argv[1:] or EXAMPLES
    command = compose()
    if not (command and works("docker", "info")):
        print("compose examples: SKIPPED, there is no docker with compose here")
        return 1 if os.environ.get("CI") else 0
    if not sys.argv[1:] and not image_answers():
        print("Dockerfile.cli: FAILED, its image does not say its version")
        return 1
    if not all(works("docker", "image", "inspect", image) or works("docker", "pull", "--quiet", image) for image in IMAGES):
        if not STAND_INS.exists():
            print("compose examples: SKIPPED, no image can be pulled here")
            return 1 if os.environ.get("CI") else 0
        subprocess.run([STAND_INS], check=True)
    if "fleet" in examples and not etcd_is_there():
        print("examples/fleet: FAILED, the image of etcd is missing")
        return 1
    for example in examples:
        print(f"examples/{example}", flush=True)
        with tempfile.TemporaryDirectory() as directory:
            copy = pathlib.Path(directory)
            copy.chmod(0o755)
            shutil.copytree(ROOT / "examples", copy / "examples")
            (copy / "target").mkdir()
            shutil.copy(ROOT / "target" / "changeover.wasm", copy / "target")
            (copy / "target" / "cli").mkdir()
            shutil.copy(ROOT / "target" / "cli" / "changeover", copy / "target" / "cli")
            try:
                wrong = follow(example, copy, command)
            finally:
                file = f"examples/{example}/compose.yaml"
                ended = [*command.split(), "-f", file]
                logs = subprocess.run([*ended, "logs", "--tail", "30"], cwd=copy, capture_output=True, text=True, check=False)
                subprocess.run([*ended, "down", "--volumes"], cwd=copy, stderr=subprocess.DEVNULL, check=False)
        if wrong:
            # What was wrong comes last: a CI may keep only the end.
            print(f"--- logs ---\n{logs.stdout}\n--- examples/{example}: FAILED ---\n{wrong}")
            return 1
        print(f"examples/{example}: ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
