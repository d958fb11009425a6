#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Takes the measurements out of run=bench consoles, prints the table and writes it as TSV.

usage: tools/bench.py CONSOLE.txt COUNTED.txt OUT.tsv [BUDGETS.tsv]
A measurement is a line "bench", name, minimum, median, p99, maximum, VMREADs, VMWRITEs, and the TSC
where the last run of it began and ended, with tabs between; the counts are "-" unless the kernel
counts them. CONSOLE is the run of the ordinary kernel, whose ticks count; COUNTED that of the
counting one. A line "figure", name, value is any other number. BUDGETS has a name and the most
ticks its median may take on each line: exit status 1 if one takes more, or is not there.
"""
import pathlib
import sys

HEAD = ("name", "min", "median", "p99", "max", "vmreads", "vmwrites")
TICKS = slice(0, 4)
COUNTS = slice(4, 6)


def measurements(text):
    rows = {}
    for line in text.splitlines():
        fields = line.rstrip("\r").split("\t")
        if fields[0] != "bench":
            continue
        if len(fields) != len(HEAD) + 3 or not all(f.isdigit() for f in fields[2:6]):
            sys.exit(f"bench: not a measurement: {line!r}")
        rows[fields[1]] = fields[2:]
    return rows


def figures(text):
    lines = (line.rstrip("\r").split("\t") for line in text.splitlines())
    return [(fields[1], fields[2]) for fields in lines if fields[0] == "figure"]


def merge(plain, counted):
    """Ticks from the one, counts from the other."""
    if plain.keys() != counted.keys():
        sys.exit(f"bench: the two runs differ in {sorted(plain.keys() ^ counted.keys())}")
    return [[name, *row[TICKS], *counted[name][COUNTS]] for name, row in plain.items()]


def read_budgets(path):
    lines = pathlib.Path(path).read_text().splitlines()
    rows = (line.split("\t") for line in lines if line and not line.startswith("#"))
    return {name: int(ticks) for name, ticks in rows}


def over_budget(rows, budgets):
    """What is wrong, a line each."""
    medians = {row[0]: int(row[2]) for row in rows}
    for name, most in budgets.items():
        if name not in medians:
            yield f"bench: {name} was not measured; its budget is {most}"
        elif medians[name] > most:
            yield f"bench: {name} takes {medians[name]} ticks, its budget is {most}"


def main(argv):
    if len(argv) not in (4, 5):
        sys.exit(__doc__)
    plain_text, counted_text = (pathlib.Path(p).read_text(errors="replace") for p in argv[1:3])
    plain = measurements(plain_text)
    if not plain:
        sys.exit("bench: the console shows no measurement")
    rows = merge(plain, measurements(counted_text))
    budgets = read_budgets(argv[4]) if len(argv) == 5 else {}
    others = figures(plain_text)

    lines = ["\t".join(row) for row in [HEAD, *rows, *others]]
    pathlib.Path(argv[3]).write_text("\n".join(lines) + "\n")
    for row in [HEAD, *rows]:
        budget = "budget" if row is HEAD else budgets.get(row[0], "")
        print(f"{row[0]:<20}" + "".join(f"{cell:>9}" for cell in [*row[1:], budget]))
    for name, value in others:
        print(f"{name:<36}{value:>20}")
    wrong = list(over_budget(rows, budgets))
    print("\n".join([*wrong, f"bench: {len(rows)} measurements in {argv[3]}"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
