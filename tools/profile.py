#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Shows where the instructions of one VM exit go: a histogram by function, from Bochs' own trace.

usage: tools/profile.py [--build DIR] [--list] [--cmdline WORDS] OP...
OP is a measurement of run=bench (cpuid, pit_read, ...). Corbel is booted once to learn at which tick
the last run of each began and ended, and once more with the debugger tracing between those ticks:
the same image gives the same run to the tick. A row is a function as the source has it; one that
the compiler put into another stands below the function that is called, indented. --list shows the
instructions in their order too.
"""
import argparse
import collections
import pathlib
import re
import subprocess
import sys
import tempfile

import bench
import machine
import run

# (0).[104857600] [0x000000201234] 0008:ffffffff80201234 (unk. ctxt): mov rax, rbx   ; 4889d8
TRACED = re.compile(rb"^\(\d+\)\.\[(\d+)\] \[0x[0-9a-f]+\] [0-9a-f]+:([0-9a-f]+) \(.*?\): (.*?)\s*;")
IMAGE = 0xffff_ffff_8000_0000  # where Corbel is linked; all below is the guest's
GUEST = "(the guest)"


class Tracer(machine.Bochs):
    """Bochs that traces some windows of ticks and then ends."""

    def __init__(self, spec, windows):
        super().__init__(spec)
        self.windows = windows

    def command(self):
        command = super().command()
        script = []
        for start, end in self.windows:
            script += [f"sba {start}", "c", "trace on", f"sba {end}", "c", "trace off"]
        (self.spec.work / "bochs.dbg").write_text("\n".join([*script, "q"]) + "\n")
        return command


def boot(options, work):
    """The console of one whole run."""
    line = [sys.executable, str(run.TOP / "tools/run.py"), "--build", str(options.build),
            "--machine", "bochs", "--cmdline", options.cmdline, "--quiet", "--log", str(work)]
    if subprocess.run(line).returncode != 0:
        sys.exit("profile: the run that is to be traced fails")
    return (work / "console.txt").read_text(errors="replace")


def windows_of(console, ops):
    """(name, first tick, end) of each, in the order of time."""
    rows = bench.measurements(console)
    for op in ops:
        if op not in rows:
            sys.exit(f"profile: {op} is not measured; there are: {' '.join(rows)}")
    return sorted(((op, int(rows[op][-2]), int(rows[op][-1])) for op in ops), key=lambda w: w[1])


def trace(options, windows):
    """[(tick, address, instruction)] of all windows."""
    with tempfile.TemporaryDirectory(prefix="profile.", dir=options.build) as directory:
        work = pathlib.Path(directory)
        arguments = run.parse_arguments(["--build", str(options.build), "--machine", "bochs",
                                         "--cmdline", options.cmdline])
        _, spec = run.prepare(arguments, work, None)
        command = Tracer(spec, [window[1:] for window in windows]).command()
        out = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, timeout=600).stdout
    found = (TRACED.match(line) for line in out.splitlines())
    return [(int(m[1]), int(m[2], 16), m[3].decode()) for m in found if m]


def name_addresses(kernel, addresses):
    """For each address the functions it is in, outermost first: the one called, then what is
    inlined there."""
    wanted = sorted(a for a in addresses if a >= IMAGE)
    out = subprocess.run(["addr2line", "-a", "-i", "-f", "-e", str(kernel)], check=True, text=True,
                         input="\n".join(hex(a) for a in wanted), capture_output=True).stdout
    names, chain = {}, None
    for line in out.splitlines():
        if line.startswith("0x"):
            chain = names.setdefault(int(line, 16), [])
        elif line.startswith("/") or line.startswith("?"):
            continue
        elif ":" not in line:
            chain.insert(0, line)
    symbols = symbol_table(kernel)
    return {a: tuple(names[a]) if names.get(a) else (symbol_at(symbols, a),) for a in wanted}


def symbol_table(kernel):
    out = subprocess.run(["nm", "-n", str(kernel)], check=True, text=True,
                         capture_output=True).stdout
    rows = (line.split() for line in out.splitlines())
    return [(int(row[0], 16), row[2]) for row in rows if len(row) == 3 and row[1] in "tT"]


def symbol_at(symbols, address):
    """Assembly's names, which no debug information has as functions."""
    below = [name for at, name in symbols if at <= address and not name.startswith(".")]
    return below[-1] if below else "?"


def show(op, steps, names, listing):
    def chain(address):
        return names[address] if address >= IMAGE else (GUEST,)

    counts = collections.Counter()
    for _, address, _ in steps:
        for depth in range(len(chain(address))):
            counts[chain(address)[:depth + 1]] += 1
    print(f"{op}: {len(steps)} instructions")
    tops = sorted((key for key in counts if len(key) == 1), key=lambda key: -counts[key])

    def rows(key):
        below = [k for k in counts if len(k) == len(key) + 1 and k[:len(key)] == key]
        own = counts[key] - sum(counts[k] for k in below)
        print(f"  {counts[key]:6} {own:6}  {'  ' * (len(key) - 1)}{key[-1]}")
        for k in sorted(below, key=lambda k: -counts[k]):
            rows(k)

    print("   whole    own  function")
    for key in tops:
        rows(key)
    if listing:
        for tick, address, text in steps:
            print(f"  {tick} {address:x} {' > '.join(chain(address)):<50} {text}")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=run.TOP / "build")
    parser.add_argument("--cmdline", default=f"run=bench {bench.WAYS[0].words}")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("op", nargs="+")
    options = parser.parse_args()
    kernel = options.build / "corbel.elf"
    with tempfile.TemporaryDirectory(prefix="profile.", dir=options.build) as work:
        windows = windows_of(boot(options, pathlib.Path(work)), options.op)
    steps = trace(options, windows)
    names = name_addresses(kernel, {address for _, address, _ in steps})
    for op, start, end in windows:
        show(op, [step for step in steps if start <= step[0] < end], names, options.list)


if __name__ == "__main__":
    main()
