#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests of the picture in docs/performance.md, as far as it can be judged without looking."""
import pathlib
import sys
import tempfile
import unittest

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / "tools"))

import bench_kvm  # noqa: E402
import plot  # noqa: E402


def rows(medians):
    """A table as it is read back, {name: (KVM, KVM off, Corbel, Corbel off)}."""
    columns = ("median", "off_median", "corbel_median", "corbel_off_median")
    return {name: dict(zip(columns, map(str, cells))) for name, cells in medians.items()}


def everything():
    return {name: (1000 + n, 900 + n, 200 + n, 100 + n) for n, name in enumerate(bench_kvm.EXITS)}


class Points(unittest.TestCase):
    def test_the_quickest_first(self):
        table = everything() | {"ept_fill": (1000, 900, 60, 50), "cpuid": (2000, 1900, 800, 700)}
        names = [point[0] for point in plot.points(rows(table))]
        self.assertEqual((names[0], names[-1]), ("ept_fill", "cpuid"))
        self.assertEqual(sorted(names), sorted(bench_kvm.EXITS))

    def test_nothing_is_missing(self):
        table = everything()
        del table["vmcall"]
        with self.assertRaises(KeyError):
            list(plot.points(rows(table)))

    def test_script(self):
        text = plot.script(list(plot.points(rows(everything()))), "out.png")
        self.assertIn('set output "out.png"', text)
        self.assertIn('"cpuid" 1', text)
        self.assertIn(r'"tsc\\_deadline\\_write"', text)
        self.assertIn("\n1 100.0 200.0 900.0 1000.0\n", text)
        self.assertIn('set y2tics ("9.0" 1,', text)

    def test_reads_what_bench_kvm_writes(self):
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory) / "bench-kvm.tsv"
            path.write_text("\t".join(bench_kvm.HEAD) + "\ncpuid" + "\t7" * (len(bench_kvm.HEAD) - 1) + "\n")
            self.assertEqual(plot.read(path)["cpuid"]["corbel_off_median"], "7")


if __name__ == "__main__":
    unittest.main()
