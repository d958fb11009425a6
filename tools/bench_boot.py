#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures how long Corbel takes from GRUB's jump to the first instruction of its guest.

usage: tools/bench_boot.py BUILD [CONSOLE.txt]

The emulated machine itself takes the time (tools/run.py --stopwatch), from start32 to the XCHG BX,
BX with which the built-in guest begins. Each row is a line "figure", name, ticks, with tabs between,
on standard output, or added to the console of run=bench for tools/bench.py. The exit status is 1 if
one takes more than it may.
"""
import json
import pathlib
import shutil
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
LINKED_AT = 0xffffffff80000000  # linker.ld: an address there less this is where GRUB puts it
BOOTS = (("boot_1g", 1024, 8_000_000), ("boot_2g", 2047, 9_000_000))  # MiB, ticks at most


def entry(kernel):
    """Where GRUB jumps to."""
    symbols = subprocess.run(["nm", kernel], check=True, capture_output=True, text=True).stdout
    for line in symbols.splitlines():
        if line.endswith(" start32"):
            return int(line.split()[0], 16) - LINKED_AT
    sys.exit(f"bench_boot: {kernel} has no start32")


def boot(build, name, mem):
    """Ticks. The log is at errors only: what is said takes time, and how much depends on the UART."""
    log = build / "bench-boot" / name
    shutil.rmtree(log, ignore_errors=True)
    subprocess.run([sys.executable, TOP / "tools/run.py", "--build", build, "--machine", "bochs",
                    "--mem", str(mem), "--cmdline", "log=error console=e9", "--quiet", "--log", log,
                    "--stopwatch", hex(entry(build / "corbel.elf"))],
                   check=False, stderr=subprocess.DEVNULL)  # its last word is not an error
    stops = json.loads((log / "result.json").read_text())["stops"]
    if len(stops) != 2:
        sys.exit(f"bench_boot: {name}: the machine stopped {len(stops)} times, not 2: see {log}")
    return stops[1] - stops[0]


def main(argv):
    if len(argv) not in (2, 3):
        sys.exit(__doc__)
    build = pathlib.Path(argv[1])
    rows = [(name, boot(build, name, mem), most) for name, mem, most in BOOTS]
    text = "".join(f"figure\t{name}\t{ticks}\n" for name, ticks, _ in rows)
    if len(argv) == 3:
        with open(argv[2], "a", encoding="utf-8") as console:
            console.write(text)
    else:
        sys.stdout.write(text)
    slow = [f"bench_boot: {name} took {ticks} ticks, {most} are allowed"
            for name, ticks, most in rows if ticks > most]
    if slow:
        sys.exit("\n".join(slow))


if __name__ == "__main__":
    main(sys.argv)
