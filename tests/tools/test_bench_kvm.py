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
        row, = compared({"cpuid": 100}, {"cpuid": 1000}, {"cpuid": 900})
        self.assertEqual(row, ["cpuid", 999, 1000, 1001, 1009, None, None, 899, 900, 901, 909,
                               99, 100, 101, 109, 10.0, 9.0])
        self.assertEqual(len(row), len(bench_kvm.HEAD))
        self.assertEqual(bench_kvm.HEAD[:7], ("name", "min", "median", "p99", "max", "vmreads",
                                              "vmwrites"))

    def test_what_one_lacks(self):
        rows = compared({"cpuid": 100, "xsetbv": 50}, {"cpuid": 300, "more": 3}, {"cpuid": 200})
        self.assertEqual([row[0] for row in rows], ["cpuid", "xsetbv", "more"])
        self.assertEqual(rows[1][1:5] + rows[1][-2:], [None] * 6)
        self.assertEqual("\t".join(map(bench_kvm.shown, rows[1][-6:])), "49\t50\t51\t59\t-\t-")

    def test_no_ticks_have_no_ratio(self):
        row, = compared({"cr3_write": 0}, {"cr3_write": 0}, {"cr3_write": 0})
        self.assertEqual(row[-2:], [None, None])


class Judgement(unittest.TestCase):
    def judge(self, corbel, kvm, off):
        return list(bench_kvm.too_close(compared(corbel, kvm, off), 3))

    def test_content(self):
        self.assertEqual(self.judge(everything(100), everything(300), everything(290)), [])

    def test_too_slow(self):
        wrong = self.judge(everything(100) | {"deadline_hlt": 101}, everything(300), everything(290))
        self.assertEqual(wrong, ["bench-kvm: deadline_hlt: KVM takes 3.0 times as long, not 3"])

    def test_no_exit_is_not_judged(self):
        ours = everything(100) | {name: 400 for name in bench_kvm.NO_EXITS}
        self.assertEqual(self.judge(ours, everything(300), everything(290)), [])

    def test_missing(self):
        lacks = everything(300)
        del lacks["ept_fill"]
        self.assertEqual(self.judge(everything(100), everything(300), lacks),
                         ["bench-kvm: ept_fill: no off_median"])
        self.assertEqual(len(self.judge({}, {}, {})), len(everything(0)))


if __name__ == "__main__":
    unittest.main()
