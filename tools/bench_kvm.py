#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures the same guest under Corbel and under Debian's KVM in the same emulated machine, prints
the two side by side and writes BUILD/bench-kvm.tsv.

Four boots of Bochs: Corbel with run=bench, and the initramfs of tools/linux/init-kvm on Debian's
kernel, each with the mitigations it chooses itself and with none. In the file the first columns are
those of BUILD/bench.tsv, for KVM as it comes: "-" for what nobody counts there.
"""
import argparse
import pathlib
import re
import subprocess
import sys

import bench
import budgets

TOP = pathlib.Path(__file__).resolve().parent.parent
# The model with the least for Linux to stumble over. On corei7_skylake_x it takes CPUID leaf 15H
# for the truth about Bochs' TSC, KVM then does without the preemption timer, and without XSAVE.
CPU = "broadwell_ult"
MEM = 512  # MiB
# It is the exits that are measured: words that keep the boot before them short.
APPEND = "console=ttyS0,115200 quiet nokaslr tsc=reliable no_timer_check cryptomgr.notests"
TICKS = ("min", "median", "p99", "max")
OTHERS = ("off", "corbel", "corbel_off")  # prefixes of further columns
HEAD = (*bench.HEAD, *(f"{prefix}_{name}" for prefix in OTHERS for name in TICKS),
        "ratio", "off_ratio")
# How many times as long KVM takes at least, each with its mitigations and both with none: --check.
LEAST = {"ratio": 4, "off_ratio": 5}
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


def boot_corbel(options, name, words):
    # As KVM, which does without the CPU's help there (docs/performance.md).
    return boot(options, name, "--cmdline", f"run=bench {words} {bench.SOFTWARE}")


def measure(options):
    """The console of each boot."""
    boots = (("KVM", lambda: boot_kvm(options, "kvm", "")),
             ("KVM, mitigations=off", lambda: boot_kvm(options, "kvm-off", "mitigations=off")),
             ("Corbel", lambda: boot_corbel(options, "corbel", "mitigations=auto")),
             ("Corbel, mitigations=off",
              lambda: boot_corbel(options, "corbel-off", "mitigations=off")))
    for number, (what, run) in enumerate(boots, 1):
        print(f"  bench-kvm: {what} ({number} of {len(boots)})", flush=True)
        yield run()


def ticks(rows, name):
    """Minimum, median, 99th percentile, maximum; what a CPU lacks is not measured there."""
    return [int(cell) for cell in rows[name][bench.TICKS]] if name in rows else [None] * len(TICKS)


def ratio(theirs, ours):
    return theirs / ours if ours and theirs is not None else None


def compare(kvm, kvm_off, corbel, corbel_off):
    """A list of HEAD's columns for each measurement, None for what there is not."""
    for name in budgets.Table.here().in_order(corbel | kvm):
        theirs, theirs_off, ours, ours_off = (ticks(rows, name)
                                              for rows in (kvm, kvm_off, corbel, corbel_off))
        yield [name, *theirs, None, None, *theirs_off, *ours, *ours_off,
               ratio(theirs[1], ours[1]), ratio(theirs_off[1], ours_off[1])]


def too_close(rows):
    """What is missing, or not LEAST times shorter than KVM: a line each."""
    rows = {row[0]: dict(zip(HEAD, row)) for row in rows}
    medians = [name for name in HEAD if name.endswith("median")]
    for name in (*EXITS, *NO_EXITS):
        cells = rows.get(name, {})
        lacking = [column for column in medians if cells.get(column) is None]
        if lacking:
            yield f"bench-kvm: {name}: no {', no '.join(lacking)}"
        elif name in EXITS:
            yield from (f"bench-kvm: {name}: {column} {cells[column]:.2f}, not {least}"
                        for column, least in LEAST.items() if cells[column] < least)


def shown(cell):
    return "-" if cell is None else f"{cell:.1f}" if isinstance(cell, float) else str(cell)


def table(rows):
    """Lines for people."""
    yield (f"{'median, ticks':<20}{'Corbel':>9}{'KVM':>9}{'ratio':>8}{'off: Corbel':>13}{'KVM':>9}"
           f"{'ratio':>8}")
    columns = (("corbel_median", 9), ("median", 9), ("ratio", 8), ("corbel_off_median", 13),
               ("off_median", 9), ("off_ratio", 8))
    for row in rows:
        cells = dict(zip(HEAD, row))
        yield f"{cells['name']:<20}" + "".join(f"{shown(cells[c]):>{w}}" for c, w in columns)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=TOP / "build")
    parser.add_argument("--cpu", default=CPU, help="Bochs' CPU model (%(default)s)")
    parser.add_argument("--check", action="store_true",
                        help="fail where a row is missing, or KVM not so much longer as is usual")
    parser.add_argument("--update", action="store_true",
                        help="write the table into README.md and docs/performance.md")
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
    kernel = re.search(r"^bench-kvm: Linux (\S+),", consoles[0], re.M)
    lines = [f"Bochs' {options.cpu}, Linux {kernel[1] if kernel else 'of an unknown version'}",
             *table(rows)]
    print("\n".join(lines))
    if options.update:
        for document in (TOP / "README.md", bench.DOCUMENT):
            bench.put_into(document, "make bench-kvm", lines)
    wrong = list(too_close(rows)) if options.check else []
    print("\n".join([*wrong, f"bench-kvm: {len(rows)} measurements in {out}"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
