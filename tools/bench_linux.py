#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures what Corbel costs a Linux: ticks from the kernel's entry to its first process, under
Corbel and on the bare emulated machine, with the same kernel, initramfs and command line.

usage: tools/bench_linux.py BUILD OUT.tsv [RATIO]

With RATIO it fails where a boot under Corbel takes more than so many times the bare machine's ticks.
The machine itself takes the time (tools/run.py --stopwatch): nothing is subtracted, and no clock of
the guest's is trusted. Bochs repeats exactly, so one boot of each is enough.
"""
import json
import pathlib
import re
import struct
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
CPU = "broadwell_ult"
MEM = 256  # MiB, of the VM and of the bare machine: initialising memory is a part of the boot
# The words that keep a boot short: it is the hypervisor that is measured, not self-tests.
SHORT = ("console=ttyS0 quiet nokaslr mitigations=off tsc=reliable no_timer_check"
         " cryptomgr.notests rdinit=/bin/ticks")
# The first is the command line that KVM was measured with.
BOOTS = (("acpi=off", SHORT + " acpi=off"), ("ACPI", SHORT))
ENTRY_64 = 0x200  # the 64-bit entry, from the start of the code


class BenchError(Exception):
    """No measurement; the text says why."""


def preferred_address(kernel):
    """Where the kernel wants to be loaded: the boot protocol's field pref_address."""
    with open(kernel, "rb") as file:
        return struct.unpack_from("<Q", file.read(0x260), 0x258)[0]


def boot(build, kernel, append, bare):
    """(ticks, exits) of one boot; no exits where there is no hypervisor."""
    log = build / "bench-linux" / f"{'bare' if bare else 'corbel'}"
    # GRUB enters the kernel in 32-bit mode at its start, Corbel in 64-bit mode.
    entry = preferred_address(kernel) + (0 if bare else ENTRY_64)
    words = ["--bare", "--mem", str(MEM)] if bare else ["--mem", str(2 * MEM), "--cmdline",
                                                        "console=e9"]
    subprocess.run([sys.executable, TOP / "tools/run.py", "--build", build, "--machine", "bochs",
                    "--cpu", CPU, "--media", "disk", "--quiet", "--log", log, "--script",
                    "stopwatch", "--stopwatch", hex(entry), *words,
                    "--module", kernel, f"kernel vm=linux mem={MEM}M -- {append}",
                    "--module", build / "linux/initramfs.cpio", "initrd vm=linux"], check=True)
    stops = json.loads((log / "result.json").read_text())["stops"]
    if len(stops) != 2:
        raise BenchError(f"the machine stopped {len(stops)} times, not 2: see {log}")
    console = (log / "console.txt").read_text(errors="replace")
    exits = re.search(r"^stats: vm linux: (\d+) exits$", console, re.M)
    if not bare and not exits:
        raise BenchError(f"Corbel did not say how many exits there were: see {log}")
    return stops[1] - stops[0], exits and int(exits.group(1))


def measure(build):
    kernel = build / "linux/cloud/vmlinuz"
    number = 0
    for name, append in BOOTS:
        for bare in (True, False):
            number += 1
            machine = "bare" if bare else "Corbel"
            print(f"  bench-linux: {machine}, {name} ({number} of {2 * len(BOOTS)})", flush=True)
            ticks, exits = boot(build, kernel, append, bare)
            reference = ticks if bare else reference
            yield name, machine, ticks, exits, ticks / reference


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    build, out = map(pathlib.Path, sys.argv[1:3])
    try:
        rows = list(measure(build))
    except (BenchError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"bench-linux: {error}")
    table = ["boot\tmachine\tticks\texits\tratio"]
    table += [f"{name}\t{machine}\t{ticks}\t{exits or '-'}\t{ratio:.4f}"
              for name, machine, ticks, exits, ratio in rows]
    out.write_text("\n".join(table) + "\n")
    print(f"{'kernel entry to first process':30} {'machine':8}{'ticks':>14}{'exits':>9}{'ratio':>8}")
    for name, machine, ticks, exits, ratio in rows:
        print(f"{name:30} {machine:8}{ticks:14,}{exits or '-':>9}{ratio:8.4f}")
    worst = max(ratio for *_, ratio in rows)
    if len(sys.argv) == 4 and worst > float(sys.argv[3]):
        sys.exit(f"bench-linux: the ratio {worst:.4f} is above {sys.argv[3]}")


if __name__ == "__main__":
    main()
