#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures the same guest under Corbel and under Debian's KVM in the same emulated machine, prints
the two side by side and writes BUILD/bench-kvm.tsv.

Three boots of Bochs: Corbel with run=bench, and twice the initramfs of tools/linux/init-kvm on
Debian's kernel, with the mitigations it chooses itself and with none. In the file the first columns
are those of BUILD/bench.tsv, for KVM as it comes: "-" for what nobody counts there.
"""
import argparse
import pathlib
import re
import subprocess
import sys

import bench

TOP = pathlib.Path(__file__).resolve().parent.parent
# The model with the least for Linux to stumble over. On corei7_skylake_x it takes CPUID leaf 15H
# for the truth about Bochs' TSC, KVM then does without the preemption timer, and without XSAVE.
CPU = "broadwell_ult"
MEM = 512  # MiB
# It is the exits that are measured: words that keep the boot before them short.
APPEND = "console=ttyS0,115200 quiet nokaslr tsc=reliable no_timer_check cryptomgr.notests"
TICKS = ("min", "median", "p99", "max")
HEAD = (*bench.HEAD, *(f"off_{name}" for name in TICKS), *(f"corbel_{name}" for name in TICKS),
        "ratio", "off_ratio")
# What --least is about.
EXITS = ("cpuid", "vmcall", "rdmsr", "wrmsr", "xsetbv", "pit_read", "pic_read", "pic_write",
         "uart_write", "uart_lsr", "rep_outsb_64", "ioapic_read", "xapic_timer_read", "xapic_eoi",
         "xapic_tpr", "x2apic_timer_read", "x2apic_timer_write", "x2apic_eoi", "self_ipi",
         "tsc_deadline_write", "deadline_spin", "deadline_hlt", "ept_fill")
NO_EXITS = ("cr0_write", "cr3_write", "cr4_write")  # under either hypervisor


class BenchError(Exception):
    """No measurement; the text says why."""


def boot(options, name, *words):
    """The console of one boot."""
    log = options.build / "bench-kvm" / name
    subprocess.run([sys.executable, TOP / "tools/run.py", "--build", options.build, "--machine",
                    "bochs", "--cpu", options.cpu, "--mem", str(MEM), "--media", "disk", "--log",
                    log, "--quiet", *words], check=True)
    return (log / "console.txt").read_text(errors="replace")


def boot_kvm(options, name, append):
    files = options.build / "linux"
    console = boot(options, name, "--bare", "--module", files / "kvm/vmlinuz",
                   f"kernel vm=kvm mem={MEM}M -- {APPEND} {append}",
                   "--module", files / "kvm.cpio", "initrd vm=kvm")
    if not re.search(r"^bench-kvm: done\r?$", console, re.M):
        why = re.search(r"^.*\b(bench-kvm: failed|kvm-bench: ).*$", console, re.M)
        raise BenchError(f"{why.group(0) if why else 'no end'}: see {options.build}/bench-kvm/{name}")
    return console


def measure(options):
    """The console of each boot."""
    boots = (("Corbel", lambda: boot(options, "corbel", "--cmdline",
                                    "run=bench mitigations=off")),
             ("KVM", lambda: boot_kvm(options, "kvm", "")),
             ("KVM, mitigations=off", lambda: boot_kvm(options, "kvm-off", "mitigations=off")))
    for number, (what, run) in enumerate(boots, 1):
        print(f"  bench-kvm: {what} ({number} of {len(boots)})", flush=True)
        yield run()


def ticks(rows, name):
    """Minimum, median, 99th percentile, maximum; what a CPU lacks is not measured there."""
    return [int(cell) for cell in rows[name][bench.TICKS]] if name in rows else [None] * len(TICKS)


def ratio(theirs, ours):
    return theirs / ours if ours and theirs is not None else None


def compare(corbel, kvm, off):
    """A list of HEAD's columns for each measurement, None for what there is not."""
    names = list(corbel) + [name for name in kvm if name not in corbel]
    for name in names:
        ours, theirs, best = (ticks(rows, name) for rows in (corbel, kvm, off))
        yield [name, *theirs, None, None, *best, *ours, ratio(theirs[1], ours[1]),
               ratio(best[1], ours[1])]


def too_close(rows, least):
    """What is missing, or not so many times shorter than KVM as it comes: a line each."""
    rows = {row[0]: dict(zip(HEAD, row)) for row in rows}
    for name in (*EXITS, *NO_EXITS):
        cells = rows.get(name, {})
        lacking = [column for column in ("median", "off_median", "corbel_median")
                   if cells.get(column) is None]
        if lacking:
            yield f"bench-kvm: {name}: no {', no '.join(lacking)}"
        elif name in EXITS and cells["ratio"] is not None and cells["ratio"] < least:
            yield f"bench-kvm: {name}: KVM takes {cells['ratio']:.1f} times as long, not {least:g}"


def shown(cell):
    return "-" if cell is None else f"{cell:.1f}" if isinstance(cell, float) else str(cell)


def print_table(rows):
    print(f"{'median, ticks':<20}{'Corbel':>9}{'KVM':>9}{'ratio':>8}{'KVM off':>9}{'ratio':>8}")
    for row in rows:
        cells = dict(zip(HEAD, row))
        columns = (("corbel_median", 9), ("median", 9), ("ratio", 8), ("off_median", 9),
                   ("off_ratio", 8))
        print(f"{cells['name']:<20}" + "".join(f"{shown(cells[c]):>{w}}" for c, w in columns))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=TOP / "build")
    parser.add_argument("--cpu", default=CPU, help="Bochs' CPU model (%(default)s)")
    parser.add_argument("--least", type=float, default=0, metavar="N",
                        help="fail where KVM takes less than N times as long, or where a row is missing")
    return parser.parse_args()


def main():
    options = arguments()
    try:
        consoles = list(measure(options))
        rows = list(compare(*(bench.measurements(text) for text in consoles)))
    except (BenchError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"bench-kvm: {error}")
    out = options.build / "bench-kvm.tsv"
    out.write_text("".join("\t".join(map(shown, row)) + "\n" for row in [HEAD, *rows]))
    kernel = re.search(r"^bench-kvm: Linux (\S+),", consoles[1], re.M)
    print(f"Bochs' {options.cpu}, Linux {kernel.group(1) if kernel else 'of an unknown version'}")
    print_table(rows)
    wrong = list(too_close(rows, options.least)) if options.least else []
    print("\n".join([*wrong, f"bench-kvm: {len(rows)} measurements in {out}"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
