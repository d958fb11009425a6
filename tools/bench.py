#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Takes the measurements out of run=bench consoles, prints the table and writes it as TSV.

usage: tools/bench.py CONSOLE.txt COUNTED.txt OUT.tsv
A measurement is a line "bench", name, minimum, median, maximum, VMREADs, VMWRITEs, with tabs
between; the last two are "-" unless the kernel counts them. CONSOLE is the run of the ordinary
kernel, whose ticks count; COUNTED that of the counting one.
"""
import pathlib
import sys

HEAD = ("name", "min", "median", "max", "vmreads", "vmwrites")


def measurements(text):
    rows = {}
    for line in text.splitlines():
        fields = line.rstrip("\r").split("\t")
        if fields[0] != "bench":
            continue
        if len(fields) != 1 + len(HEAD) or not all(f.isdigit() for f in fields[2:5]):
            sys.exit(f"bench: not a measurement: {line!r}")
        rows[fields[1]] = fields[2:]
    return rows


def merge(plain, counted):
    """Ticks from the one, counts from the other."""
    if plain.keys() != counted.keys():
        sys.exit(f"bench: the two runs differ in {sorted(plain.keys() ^ counted.keys())}")
    return [[name, *row[:3], *counted[name][3:]] for name, row in plain.items()]


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    plain, counted = (measurements(pathlib.Path(p).read_text(errors="replace"))
                      for p in sys.argv[1:3])
    if not plain:
        sys.exit("bench: the console shows no measurement")
    rows = merge(plain, counted)
    lines = ["\t".join(row) for row in [HEAD, *rows]]
    pathlib.Path(sys.argv[3]).write_text("\n".join(lines) + "\n")
    for row in [HEAD, *rows]:
        print(f"{row[0]:<30}" + "".join(f"{cell:>9}" for cell in row[1:]))
    print(f"bench: {len(rows)} measurements in {sys.argv[3]}")


if __name__ == "__main__":
    main()
