"""What the filter and the model servers have counted."""

import json
import re
import urllib.request

SERIES = re.compile(r"^(?P<name>[A-Za-z_:][\w:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def fetch(url, data=None):
    """The text behind a URL."""
    request = urllib.request.Request(url, data=data, method="POST" if data is not None else "GET")
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.read().decode()


def parse(text):
    """Prometheus' text format → [(name, {label: value}, number)]."""
    found = []
    for line in text.splitlines():
        match = None if line.startswith("#") else SERIES.match(line)
        if match:
            labels = dict(LABEL.findall(match["labels"] or ""))
            found.append((match["name"], labels, float(match["value"])))
    return found


def sums(series, metric, label):
    """{value of the label: what the metric's series with it add up to}."""
    counts = {}
    for name, labels, value in series:
        if name == metric:
            counts[labels[label]] = counts.get(labels[label], 0) + int(value)
    return counts


def requests_by_version(series):
    """{version: requests that the filter has counted}."""
    return sums(series, "changeover_requests_total", "version")


def mirrored(series):
    """Requests that the filter has asked Envoy to copy, or has copied itself."""
    return sum(
        int(value) for name, labels, value in series
        if name == "changeover_mirror_requests_total" and labels["result"] in ("asked", "sent")
    )


def nulls(series):
    """Answers without a value that the filter has counted."""
    return sum(int(value) for name, _, value in series if name == "changeover_output_null_total")


def tasks(series):
    """{who decides: tasks that the filter has counted}; `audit`: the model, and people as well."""
    return sums(series, "changeover_tasks_total", "route")


def hashes(series):
    """{worker: the hash of the configuration it uses}."""
    return {labels["worker"]: int(value) for name, labels, value in series if name == "changeover_config_hash"}


def inferences(port):
    """Inference requests that a model server has received."""
    return json.loads(fetch(f"http://127.0.0.1:{port}/stats"))["inferences"]


def within(count, total, share, deviations=4):
    """Whether `count` of `total` fits a probability, within that many standard deviations of a binomial."""
    spread = deviations * (total * share * (1 - share)) ** 0.5
    return abs(count - total * share) <= spread


def add(one, other):
    """The sum of two {version: count}."""
    return {key: one.get(key, 0) + other.get(key, 0) for key in {*one, *other}}


def subtract(one, other):
    """The difference of two {version: count}."""
    return {key: one.get(key, 0) - other.get(key, 0) for key in {*one, *other}}
