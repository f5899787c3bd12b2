"""Asks about so many images of handwritten digits, one after the other, and prints which version has answered how many.

    ask.py URL FIRST COUNT
"""
import collections
import json
import sys
import urllib.request

import digits

url, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
_, (images, _) = digits.data()
answered = collections.Counter()
for number in range(first, first + count):
    pixels = images[number % len(images)].tolist()
    tensor = {"name": "image", "shape": [1, digits.PIXELS], "datatype": "FP32", "data": pixels}
    with urllib.request.urlopen(url, json.dumps({"inputs": [tensor]}).encode()) as answer:
        answer.read()  # a caller that leaves before has no decision
        answered[answer.headers["x-changeover-version"]] += 1
print(*(f"{version} {answers}" for version, answers in sorted(answered.items())), sep="\n")
