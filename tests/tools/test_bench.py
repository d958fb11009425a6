#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests of what judges the measurements, and of the tables in the repository."""
import pathlib
import re
import sys
import tempfile
import unittest
from unittest import mock

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / "tools"))

import bench  # noqa: E402
import bench_boot  # noqa: E402
import budgets  # noqa: E402

GCC = "GCC: 12"
FILE = f"""# words
# compiler: {GCC}
name\tbudget\tticks\tslack
cpuid\t100\t98\t0
wrmsr\t-\t104\t0
boot_1g\t9000\t5000\t50
"""
TICKS = {"cpuid": 98, "wrmsr": 104, "boot_1g": 5000}


def judge(compiler=GCC, **changes):
    return list(budgets.judge(budgets.Table(FILE), TICKS | changes, compiler))


class Judgement(unittest.TestCase):
    def one(self, wrong, *words):
        self.assertEqual(len(wrong), 1, wrong)
        for word in words:
            self.assertIn(word, wrong[0])

    def test_the_same(self):
        self.assertEqual(judge(), [])

    def test_one_tick_more(self):
        self.one(judge(wrmsr=105), "wrmsr takes 105, 1 more")

    def test_one_tick_less(self):
        self.one(judge(cpuid=97), "cpuid takes 97, 1 less")

    def test_slack(self):
        self.assertEqual(judge(boot_1g=5050) + judge(boot_1g=4950), [])
        self.one(judge(boot_1g=5051), "51 more")
        self.one(judge(boot_1g=4949), "51 less")

    def test_over_budget_whatever_the_table_says(self):
        table = budgets.Table(FILE.replace("\t98\t", "\t101\t"))
        wrong = list(budgets.judge(table, TICKS | {"cpuid": 101}, GCC))
        self.one(wrong, "cpuid takes 101, its budget is 100")

    def test_budget_that_is_missed(self):
        table = budgets.Table(FILE.replace("\t100\t98\t", "\t(100)\t101\t"))
        self.assertEqual(list(budgets.judge(table, TICKS | {"cpuid": 101}, GCC)), [])
        wrong = list(budgets.judge(table, TICKS | {"cpuid": 100}, GCC))
        self.assertEqual(len(wrong), 2)  # it is another number, too
        self.assertIn("cpuid takes 100, its budget is 100, and not missed", wrong[0])

    def test_missing_and_new(self):
        table = budgets.Table(FILE)
        self.one(list(budgets.judge(table, {"cpuid": 98, "wrmsr": 104}, GCC)), "boot_1g was not")
        self.one(judge(more=3), "more has no row")

    def test_another_compiler(self):
        """No tick is compared, but a fifth more is too much."""
        self.assertEqual(judge("clang", cpuid=117, wrmsr=90, boot_1g=6050), [])
        self.one(judge("clang", cpuid=118), "cpuid takes 118, 98 with GCC: 12", "clang")


class File(unittest.TestCase):
    def test_update(self):
        text = budgets.Table(FILE).updated({"cpuid": 97, "boot_1g": 4000, "new": 3}, "GCC: 13")
        self.assertEqual(text, "# words\n# compiler: GCC: 13\nname\tbudget\tticks\tslack\n"
                         "cpuid\t100\t97\t0\nboot_1g\t9000\t4000\t50\nnew\t-\t3\t0\n")

    def test_order(self):
        self.assertEqual(budgets.Table(FILE).in_order(["b", "wrmsr", "a", "cpuid"]),
                         ["cpuid", "wrmsr", "b", "a"])

    def test_the_one_here(self):
        """Every way is in it, and nothing over its budget."""
        table = budgets.Table.here()
        own = [n for n in table.rows if "median" in self.kind(n)]
        for way in bench.WAYS[1:]:
            self.assertTrue([n for n in own if n.startswith(way.prefix)], way)
        self.assertEqual([n for n, row in table.rows.items()
                          if row.budget is not None and (row.ticks > row.budget) != row.missed], [])

    @staticmethod
    def kind(name):
        return "figure" if name.split("_")[0] in ("image", "boot") else "median"


class Console(unittest.TestCase):
    TEXT = ("noise\r\nbench\tcpuid\t97\t98\t99\t200\t-\t-\t5\t6\r\nfigure\tboot_1g\t5000\r\n")

    def test_rows(self):
        self.assertEqual(bench.measurements(self.TEXT),
                         {"cpuid": ["97", "98", "99", "200", "-", "-", "5", "6"]})
        self.assertEqual(bench.figures(self.TEXT), {"boot_1g": 5000})

    def test_refused(self):
        with self.assertRaises(SystemExit):
            bench.measurements("bench\tcpuid\t97\tx\t99\t200\t-\t-\t5\t6\n")

    def test_counts(self):
        plain = bench.measurements(self.TEXT)
        counted = bench.measurements(self.TEXT.replace("-\t-", "5\t2").replace("\t98\t", "\t150\t"))
        self.assertEqual(bench.merge(plain, counted), {"cpuid": ["97", "98", "99", "200", "5", "2"]})
        with self.assertRaises(bench.BenchError):
            bench.merge(plain, {})

    def test_all_columns_in_every_row(self):
        measured = bench.Measured({"cpuid": ["1", "2", "3", "4", "5", "6"]}, {"boot_1g": 7}, "")
        self.assertEqual(measured.table(), [["cpuid", "1", "2", "3", "4", "5", "6"],
                                            ["boot_1g", "7", "7", "7", "7", "-", "-"]])
        self.assertEqual(measured.ticks(), {"cpuid": 2, "boot_1g": 7})


class Document(unittest.TestCase):
    def test_put_into(self):
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory) / "a.md"
            path.write_text("a\n<!-- x -->\nold\n<!-- end of x -->\nb\n")
            bench.put_into(path, "x", ["one", "two"])
            self.assertEqual(path.read_text(),
                             "a\n<!-- x -->\n\n    one\n    two\n\n<!-- end of x -->\nb\n")

    def test_shows_the_table(self):
        """What docs/performance.md shows is what tests/budgets.tsv says."""
        text = bench.DOCUMENT.read_text()
        table = budgets.Table.here()
        exits = re.findall(r"^    (\w+) +\d+ +(\d+) +\d+ +\d+ +[\d-]+ +[\d-]+", text, re.M)
        others = re.findall(r"^    (\w+) +(\d+)(?: +\(?\d+\)?)?$", text.split("make budgets: figures")[1], re.M)
        shown = {name: int(ticks) for name, ticks in exits + others}
        plain = {n: row.ticks for n, row in table.rows.items()
                 if not any(way.prefix and n.startswith(way.prefix) for way in bench.WAYS)}
        self.assertEqual(shown, plain)


class Boot(unittest.TestCase):
    def test_stops(self):
        """Without the guest's first instruction there is no measurement."""
        with tempfile.TemporaryDirectory() as directory:
            build = pathlib.Path(directory)

            def run(argv, **_):
                log = build / "bench-boot" / "boot_1g"
                log.mkdir(parents=True)
                (log / "result.json").write_text('{"stops": [17]}')
            with mock.patch.object(bench_boot, "entry", lambda kernel: 0x200080), \
                    mock.patch.object(bench_boot.subprocess, "run", run), \
                    self.assertRaises(SystemExit) as end:
                bench_boot.boot(build, "boot_1g", 1024)
            self.assertIn("stopped 1 times", str(end.exception))


if __name__ == "__main__":
    unittest.main()
