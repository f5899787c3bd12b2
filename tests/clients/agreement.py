#!/usr/bin/env python3
"""Asks about so many images, each once, and prints how often the two digits classifiers agree about them.

    agreement.py 127.0.0.1:10000 800

The classifiers are trained here as in their servers, so the figures owe nothing to Envoy. Only which model answered does.
"""
import concurrent.futures
import json
import pathlib
import sys
import urllib.request

import numpy
from sklearn.metrics import cohen_kappa_score, confusion_matrix

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "examples/models"))
import digits  # noqa: E402


def ask(address, pixels):
    """(the model that answered, its label)"""
    tensor = {"name": "image", "shape": [1, len(pixels)], "datatype": "FP32", "data": pixels}
    body = json.dumps({"inputs": [tensor]}).encode()
    with urllib.request.urlopen(f"http://{address}/v2/models/digits/infer", body) as answer:
        document = json.load(answer)
    return document["model_version"], document["outputs"][0]["data"][0]


def main():
    address, count = sys.argv[1], int(sys.argv[2])
    _, (images, _) = digits.data()
    images = images[:count]
    stable, shadow = (digits.classify(digits.train(name), images)[0] for name in ("logreg", "svm"))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda pixels: ask(address, pixels), images.tolist()))
    assert answers == [("logreg", label) for label in stable], "the clients saw other answers than stable's"
    cells = confusion_matrix(stable, shadow, labels=range(10))
    pairs = [[row, column, int(cells[row, column])] for row, column in numpy.argwhere(cells).tolist()]
    print(json.dumps({
        "compared": len(images),
        "matched": sum(one == other for one, other in zip(stable, shadow)),
        "kappa": cohen_kappa_score(stable, shadow),
        "pairs": pairs,
    }))


if __name__ == "__main__":
    main()
