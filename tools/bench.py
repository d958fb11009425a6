#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures VM exits and what else Corbel costs, prints the table and writes BUILD/bench.tsv.

Corbel is booted with run=bench, once for each of WAYS. Arguments that are not known here go to
tools/run.py. On Bochs' full model the same kernel takes the same ticks each time, so there they are
compared with tests/budgets.tsv, and the exit status is 1 if one differs.

On the console a measurement is a line "bench", name, minimum, median, p99, maximum, VMREADs,
VMWRITEs, and the TSC where the last run of it began and ended, with tabs between; the counts are "-"
unless the kernel counts them. A line "figure", name, value is any other number.
"""
import argparse
import dataclasses
import pathlib
import re
import subprocess
import sys

import bench_boot
import budgets
import machine

TOP = pathlib.Path(__file__).resolve().parent.parent
DOCUMENT = TOP / "docs/performance.md"
HEAD = ("name", "min", "median", "p99", "max", "vmreads", "vmwrites")
TICKS = slice(0, 4)
COUNTS = slice(4, 6)


@dataclasses.dataclass(frozen=True)
class Way:
    """Words of the command line with which everything is measured; the prefix is of its rows."""
    prefix: str
    words: str
    says: str


# Words for the local APIC in software alone, whatever the CPU could do of it.
SOFTWARE = "without=tpr-shadow"

# Budgets are for the first, and the figures are from there.
WAYS = (
    Way("", f"mitigations=off {SOFTWARE}", "mitigations=off"),
    Way("auto_", f"mitigations=auto {SOFTWARE}", "mitigations=auto"),
    Way("apicv_", "mitigations=off", "mitigations=off, the local APIC by the CPU"),
)


class BenchError(Exception):
    """No measurement; the text says why."""


# ---- what a console says ----------------------------------------------------------------------

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
    return {fields[1]: int(fields[2]) for fields in lines if fields[0] == "figure"}


def merge(plain, counted):
    """{name: HEAD's other columns}: ticks from the one, counts from the other."""
    if plain.keys() != counted.keys():
        raise BenchError(f"the two runs differ in {sorted(plain.keys() ^ counted.keys())}")
    return {name: [*row[TICKS], *counted[name][COUNTS]] for name, row in plain.items()}


# ---- measuring --------------------------------------------------------------------------------

@dataclasses.dataclass
class Measured:
    """rows: {name: HEAD's other columns}; figures: {name: value}; cpu: what it says of itself."""
    rows: dict
    figures: dict
    cpu: str

    def ticks(self):
        return {name: int(row[1]) for name, row in self.rows.items()} | self.figures

    def table(self):
        """All as rows of HEAD's columns. Of a figure there is but one value."""
        return ([[name, *row] for name, row in self.rows.items()] +
                [[name, *[str(value)] * 4, "-", "-"] for name, value in self.figures.items()])


def boot(options, way, kernel, name):
    """The console of one run."""
    log = options.build / "bench" / f"{way.prefix}{name}"
    print(f"  bench: {way.says}: {name}", flush=True)
    status = subprocess.run(
        [sys.executable, TOP / "tools/run.py", "--build", options.build, "--kernel", kernel,
         "--cmdline", f"run=bench {way.words}", "--log", log, "--quiet", "--machine",
         options.machine, "--cpu", options.cpu, *options.run]).returncode
    text = (log / "console.txt").read_text(errors="replace")
    if status != 0 or not measurements(text):
        raise BenchError(f"the run ended with status {status}: see {log}/console.txt")
    return text


def measure_way(options, way):
    """The console, and the rows."""
    text = boot(options, way, options.build / "corbel.elf", "ticks")
    rows = counted = measurements(text)
    if options.counting:
        counted = measurements(boot(options, way, options.counting, "counts"))
    return text, {way.prefix + name: row for name, row in merge(rows, counted).items()}


def measure(options):
    first, rows = measure_way(options, WAYS[0])
    cpu = re.search(r"^bench: (CPU: .*?)\r?$", first, re.M)
    measured = Measured(rows, figures(first), cpu[1] if cpu else "an unknown CPU")
    if options.machine == "bochs":
        print("  bench: from GRUB's jump to a guest", flush=True)
        measured.figures |= bench_boot.measure(options.build)
    for way in WAYS[1:]:
        measured.rows |= measure_way(options, way)[1]
    return measured


# ---- showing ----------------------------------------------------------------------------------

def budget_of(table, name):
    row = table.rows.get(name)
    if row is None or row.budget is None:
        return ""
    return f"({row.budget})" if row.missed else str(row.budget)


def exits_shown(measured, table):
    """Lines for people, with the median of each other way in a column of its own."""
    others = [way.prefix for way in WAYS if way.prefix]

    def line(cells):
        return (f"{cells[0]:<20}" + "".join(f"{cell:>9}" for cell in cells[1:])).rstrip()

    yield line([*HEAD, "budget", *(prefix.rstrip("_") for prefix in others)])
    for name in table.in_order(measured.rows):
        if not name.startswith(tuple(others)):
            medians = [measured.rows.get(prefix + name, ["-"] * 2)[1] for prefix in others]
            yield line([name, *measured.rows[name], budget_of(table, name), *medians])


def figures_shown(measured, table):
    yield f"{'name':<24}{'value':>10}{'budget':>10}"
    for name in table.in_order(measured.figures):
        value = measured.figures[name]
        yield f"{name:<24}{value:>10}{budget_of(table, name):>10}".rstrip()


def put_into(path, name, lines):
    """Replaces what a document has between the comments "NAME" and "end of NAME"."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, rest = path.read_text().split(begin)
    after = rest.split(end)[1]
    block = "".join(f"    {line}\n" for line in lines)
    path.write_text(f"{before}{begin}\n{block}\n{end}{after}")


def update(measured, table, compiler):
    budgets.PATH.write_text(table.updated(measured.ticks(), compiler))
    put_into(DOCUMENT, "make budgets: exits", exits_shown(measured, table))
    put_into(DOCUMENT, "make budgets: figures", figures_shown(measured, table))


def arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=TOP / "build")
    parser.add_argument("--counting", type=pathlib.Path, metavar="ELF",
                        help="a kernel built with -DCOUNT_VMCS: boot that too, for the counts")
    parser.add_argument("--update", action="store_true",
                        help="write what was measured into tests/budgets.tsv and docs/performance.md")
    parser.add_argument("--machine", default="bochs")
    parser.add_argument("--cpu", default="")
    options, options.run = parser.parse_known_args(argv)
    options.machine = machine.resolve(options.machine)
    options.cpu = options.cpu or (machine.FULL_CPU if options.machine == "bochs" else "")
    if options.update and not options.counting:
        parser.error("--update needs --counting: the document shows the counts")
    return options


def main(argv):
    options = arguments(argv)
    comparable = options.machine == "bochs" and options.cpu == machine.FULL_CPU
    table = budgets.Table.here()
    compiler = budgets.compiler_of(options.build / "corbel.elf")
    try:
        measured = measure(options)
    except (BenchError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"bench: {error}")
    out = options.build / "bench.tsv"
    rows = {row[0]: row for row in measured.table()}
    ordered = [rows[name] for name in table.in_order(rows)]
    out.write_text("".join("\t".join(row) + "\n" for row in [HEAD, *ordered]))
    unit = "ticks of Bochs, an instruction each" if options.machine == "bochs" else "cycles of the TSC"
    print(f"{measured.cpu}: {unit}", *exits_shown(measured, table), *figures_shown(measured, table),
          f"bench: {len(rows)} rows in {out}", sep="\n")
    if not comparable:
        print(f"bench: tests/budgets.tsv is about Bochs' {machine.FULL_CPU}: nothing to compare")
        return 0
    if options.update:
        update(measured, table, compiler)
        table = budgets.Table.here()
    wrong = list(budgets.judge(table, measured.ticks(), compiler))
    for line in [*wrong, budgets.ADVICE] if wrong else []:
        print(f"bench: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
