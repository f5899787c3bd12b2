#!/usr/bin/env python3
"""A second implementation of the assignment that docs/assignment.md describes, and its test vectors.

    assignment-vectors.py > docs/assignment-vectors.json

Written from the description, not from the filter's code: `make test` compares the two, natively and on
wasm32. Software that computes a user's version elsewhere can start from here.
"""
import json
import random

MASK = (1 << 64) - 1
BUCKETS = 10_000


def siphash24(k0, k1, data):
    """SipHash-2-4 (https://www.aumasson.jp/siphash/siphash.pdf)."""
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def rotl(x, bits):
        return (x << bits | x >> (64 - bits)) & MASK

    def rounds(count):
        for _ in range(count):
            v[0] = (v[0] + v[1]) & MASK
            v[1] = rotl(v[1], 13) ^ v[0]
            v[0] = rotl(v[0], 32)
            v[2] = (v[2] + v[3]) & MASK
            v[3] = rotl(v[3], 16) ^ v[2]
            v[0] = (v[0] + v[3]) & MASK
            v[3] = rotl(v[3], 21) ^ v[0]
            v[2] = (v[2] + v[1]) & MASK
            v[1] = rotl(v[1], 17) ^ v[2]
            v[2] = rotl(v[2], 32)

    whole = len(data) - len(data) % 8
    words = [int.from_bytes(data[at:at + 8], "little") for at in range(0, whole, 8)]
    words.append(int.from_bytes(data[whole:], "little") | (len(data) & 0xFF) << 56)
    for word in words:
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xFF
    rounds(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def bucket(release, key):
    salt = release.encode()
    return siphash24(siphash24(0, 0, salt), siphash24(0, 1, salt), key) % BUCKETS


def segments(shares):
    """[(name, start, end)] from left to right, for the versions besides stable: {name: basis points}."""
    names = sorted(shares)
    inner = names[2:]
    line = [[name, 0, shares[name]] for name in names[:1]]
    for nth, name in enumerate(inner, 1):
        start = BUCKETS * nth // (len(inner) + 1) - shares[name] // 2
        line.append([name, start, start + shares[name]])
    line += [[name, BUCKETS - shares[name], BUCKETS] for name in names[1:2]]
    free = 0
    for segment in line:
        shift = max(0, free - segment[1])
        segment[1] += shift
        segment[2] += shift
        free = segment[2]
    free = BUCKETS
    for segment in reversed(line):
        shift = max(0, segment[2] - free)
        segment[1] -= shift
        segment[2] -= shift
        free = segment[1]
    return [tuple(segment) for segment in line]


def version(stable, shares, at):
    return next((name for name, start, end in segments(shares) if start <= at < end), stable)


SPLITS = [
    {"green": 500},
    {"green": 10_000},
    {"amber": 2_000, "green": 3_000},
    {"amber": 25, "green": 1},
    {"amber": 1_000, "green": 500, "red": 2_000},
    {"amber": 4_000, "green": 4_000, "red": 2_000},
    {"amber": 6_000, "green": 100, "red": 3_001, "teal": 899},
    {"a": 10, "b": 20, "c": 30, "d": 4_001, "e": 3_999, "f": 7},
]


def main():
    rng = random.Random(20261124)
    keys = ["", "u1", "user@example.com", "10.0.0.1", "2001:db8::1", "größe", "a b", "0" * 32, "x" * 1_000, "\0", "%"]
    raw = [b"\xff", b"\x80\x81\x82", bytes(range(256)), b"\xf0\x28\x8c\x28"]
    keys = [key.encode() for key in keys] + raw + [b"%x" % rng.getrandbits(64) for _ in range(10)]
    releases = ["2026-11-24.1", "recommender", "", "ü"]
    assignments = []
    for number, key in enumerate(keys * len(releases)):
        release = releases[number // len(keys)]
        shares = SPLITS[number % len(SPLITS)]
        at = bucket(release, key)
        assignments.append({
            "release": release, "key_hex": key.hex(), "bucket": at,
            "weights": shares, "version": version("blue", shares, at),
        })
    splits = [
        {"weights": shares, "segments": [{"version": n, "start": s, "end": e} for n, s, e in segments(shares) if s < e]}
        for shares in SPLITS
    ]

    def lines(rows):
        return ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in rows)

    print('{"about": "docs/assignment.md describes this. Stable is blue; weights are hundredths of a percent.",')
    print(f' "assignments": [\n{lines(assignments)}],')
    print(f' "splits": [\n{lines(splits)}]}}')


if __name__ == "__main__":
    main()
