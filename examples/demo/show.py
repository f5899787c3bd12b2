"""What the demo prints: headings, progress, tables, promises kept or broken."""

import os
import sys
import threading

TERMINAL = sys.stdout.isatty()
COLOURS = TERMINAL and not os.environ.get("NO_COLOR")


def paint(code, text):
    return f"\033[{code}m{text}\033[0m" if COLOURS else text


def heading(text):
    print(f"\n{paint('1', text)}", flush=True)


def say(text):
    print(f"  {text}", flush=True)


def table(header, rows):
    """The lines of a table; the first column is text, the others stand to the right."""
    cells = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]

    def line(row):
        first, *others = [cell.ljust(width) if not at else cell.rjust(width)
                          for at, (cell, width) in enumerate(zip(row, widths))]
        return "  ".join([first, *others]).rstrip()

    return [line(cells[0]), "  ".join("─" * width for width in widths), *map(line, cells[1:])]


class Progress:
    """A line that counts up while something runs; on a terminal only."""

    def __init__(self, what, total=None):
        self.what, self.total, self.done = what, total, 0
        self.lock = threading.Lock()

    def step(self):
        with self.lock:
            self.done += 1
            if TERMINAL and self.done % 25 == 0:
                of = f" of {self.total:,}" if self.total else ""
                print(f"\r  {self.what}: {self.done:,}{of} ", end="", flush=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if TERMINAL:
            print("\r\033[K", end="", flush=True)


class Promises:
    """What the demo set out to show, and whether it was so."""

    def __init__(self):
        self.all = []

    def keep(self, kept, text, otherwise=""):
        """Notes a promise; `otherwise` says what was seen when it is broken."""
        self.all.append((bool(kept), text))
        mark = paint("32", "✓") if kept else paint("31;1", "✗")
        say(f"{mark} {text}{'' if kept or not otherwise else f': {otherwise}'}")

    @property
    def broken(self):
        return [text for kept, text in self.all if not kept]
