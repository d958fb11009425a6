# SPDX-License-Identifier: MIT
"""Measures how long Corbel takes from GRUB's jump to the first instruction of its guest.

The emulated machine itself takes the time (tools/run.py --stopwatch), from start32 to the XCHG BX,
BX with which the built-in guest begins.
"""
import json
import pathlib
import shutil
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
LINKED_AT = 0xffffffff80000000  # linker.ld: an address there less this is where GRUB puts it
BOOTS = {"boot_1g": 1024, "boot_2g": 2047}  # MiB


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


def measure(build):
    """{name: ticks}."""
    return {name: boot(build, name, mem) for name, mem in BOOTS.items()}
