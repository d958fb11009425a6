#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests of the table that sets Corbel's exits beside KVM's."""
import pathlib
import sys
import unittest

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / "tools"))

import bench  # noqa: E402
import bench_kvm  # noqa: E402


def console(medians):
    """What the guest prints, with these medians, among other lines."""
    lines = [f"bench\t{name}\t{max(median - 1, 0)}\t{median}\t{median + 1}\t{median + 9}\t0\t0\t7\t8"
             for name, median in medians.items()]
    return "\n".join(["[    0.1] quiet", *lines, "bench-kvm: done", ""])


def compared(*medians):
    return list(bench_kvm.compare(*(bench.measurements(console(m)) for m in medians)))


def everything(median):
    return {name: median for name in (*bench_kvm.EXITS, *bench_kvm.NO_EXITS)}


class Table(unittest.TestCase):
    def test_columns(self):
        row, = compared({"cpuid": 1000}, {"cpuid": 900}, {"cpuid": 200}, {"cpuid": 100})
        self.assertEqual(row, ["cpuid", 999, 1000, 1001, 1009, None, None, 899, 900, 901, 909,
                               199, 200, 201, 209, 99, 100, 101, 109, 5.0, 9.0])
        self.assertEqual(len(row), len(bench_kvm.HEAD))
        self.assertEqual(bench_kvm.HEAD[:7], ("name", "min", "median", "p99", "max", "vmreads",
                                              "vmwrites"))

    def test_what_one_lacks(self):
        ours = {"cpuid": 100, "xsetbv": 50}
        rows = compared({"cpuid": 300, "more": 3}, {"cpuid": 200}, ours, ours)
        self.assertEqual([row[0] for row in rows], ["cpuid", "xsetbv", "more"])
        self.assertEqual(rows[1][1:5] + rows[1][-2:], [None] * 6)
        self.assertEqual("\t".join(map(bench_kvm.shown, rows[1][-6:])), "49\t50\t51\t59\t-\t-")

    def test_no_ticks_have_no_ratio(self):
        row, = compared(*[{"cr3_write": 0}] * 4)
        self.assertEqual(row[-2:], [None, None])

    def test_people_see_medians(self):
        head, line = bench_kvm.table(compared(*({"cpuid": n} for n in (1000, 900, 200, 100))))
        self.assertEqual(head.split(), "median, ticks Corbel KVM ratio off: Corbel KVM ratio".split())
        self.assertEqual(line.split(), "cpuid 200 1000 5.0 100 900 9.0".split())


class Judgement(unittest.TestCase):
    def judge(self, kvm=1000, kvm_off=900, corbel=200, corbel_off=100):
        boots = (n if isinstance(n, dict) else everything(n)
                 for n in (kvm, kvm_off, corbel, corbel_off))
        return list(bench_kvm.too_close(compared(*boots)))

    def test_content(self):
        self.assertEqual(self.judge(), [])

    def test_too_slow(self):
        self.assertEqual(self.judge(corbel=everything(200) | {"deadline_hlt": 260}),
                         ["bench-kvm: deadline_hlt: ratio 3.85, not 4"])
        self.assertEqual(self.judge(corbel_off=everything(100) | {"vmcall": 181}),
                         ["bench-kvm: vmcall: off_ratio 4.97, not 5"])

    def test_no_exit_is_not_judged(self):
        ours = everything(100) | {name: 4000 for name in bench_kvm.NO_EXITS}
        self.assertEqual(self.judge(corbel=ours, corbel_off=ours), [])

    def test_missing(self):
        lacks = everything(900)
        del lacks["ept_fill"]
        self.assertEqual(self.judge(kvm_off=lacks), ["bench-kvm: ept_fill: no off_median"])
        self.assertEqual(len(self.judge({}, {}, {}, {})), len(everything(0)))


if __name__ == "__main__":
    unittest.main()
