#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Takes the measurements out of a run=bench console.

usage: tools/bench.py CONSOLE.txt OUT.tsv
A measurement is a line "bench", operation, minimum, median, 90th percentile, with tabs between.
"""
import pathlib
import sys

HEAD = ("operation", "minimum", "median", "p90")


def measurements(text):
    rows = []
    for line in text.splitlines():
        fields = line.split("\t")
        if fields[0] != "bench":
            continue
        if len(fields) != 1 + len(HEAD) or not all(f.strip().isdigit() for f in fields[2:]):
            sys.exit(f"bench: not a measurement: {line!r}")
        rows.append(fields[1:])
    return rows


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    rows = measurements(pathlib.Path(sys.argv[1]).read_text(errors="replace"))
    if not rows:
        sys.exit("bench: the console shows no measurement")
    lines = ["\t".join(row) for row in [HEAD, *rows]]
    pathlib.Path(sys.argv[2]).write_text("\n".join(lines) + "\n")
    print(f"bench: {len(rows)} measurements in {sys.argv[2]}")


if __name__ == "__main__":
    main()
