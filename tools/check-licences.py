#!/usr/bin/env python3
"""Checks the licences of all crates this project is built from, offline, from what their packages declare.

Each crate must offer at least one licence (or one combination of them) that a user of Apache-2.0 software can
accept without thinking. Advisories need a database that only the network has: `cargo audit` where there is one.
"""
import json
import re
import shutil
import subprocess
import sys

ACCEPTED = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC",
    "MIT", "MIT-0", "Unicode-3.0", "Unlicense", "Zlib",
}


def acceptable(expression):
    """Evaluates an SPDX expression: AND, OR and parentheses; WITH belongs to the licence before it."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))
    terms = []
    for token in tokens:
        if terms and terms[-1].endswith(" WITH"):
            terms[-1] += f" {token}"
        elif token == "WITH":
            terms[-1] += " WITH"
        else:
            terms.append(token)
    words = {"AND": "and", "OR": "or", "(": "(", ")": ")"}
    # Only these words and True/False are evaluated.
    return eval(" ".join(words.get(term, str(term in ACCEPTED)) for term in terms))


def main():
    metadata = json.loads(subprocess.run(
        ["cargo", "metadata", "--format-version=1", "--all-features"], check=True, capture_output=True, text=True,
    ).stdout)
    bad = [
        f"{package['name']} {package['version']}: {package['license'] or 'no licence declared'}"
        for package in metadata["packages"]
        if not (package["license"] and acceptable(package["license"]))
    ]
    for line in bad:
        print(f"licence not accepted: {line}", file=sys.stderr)
    if shutil.which("cargo-audit"):
        subprocess.run(["cargo", "audit", "--no-fetch", "--quiet"], check=True)
    print(f"licences of {len(metadata['packages'])} crates: {'see above' if bad else 'all accepted'}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
