#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests of the tool that judges the grades, and of the expectations that it judges by."""
import pathlib
import re
import sys
import unittest

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / "tools"))

import grade  # noqa: E402
import test_steps  # noqa: E402

LINES = ["grade: CPU: X, microcode revision 1", "grade: outer hypervisor: none",
         "grade\tE1\tBasic\t#UD\t#UD\tagree", "grade\tC1\tControls\terror 7\tentered, exit 52\tCPU accepts",
         "grade\tC2\tControls\terror 7\t-\tskipped: for a reason",
         "grade: 3 rules: 1 agree, 1 CPU accepts, 0 CPU rejects otherwise, 0 not offered, 1 skipped"]
EXPECTED = ("# words\nagree\t1\nCPU accepts\t1\nCPU rejects otherwise\t0\nnot offered\t0\nskipped\t1\n"
            "C1\tCPU accepts\tit is so lax\nC2\tskipped\tno way to try\n")


def differences(lines, expected=EXPECTED):
    return grade.differences(grade.grades("\n".join(lines))[0], *grade.expectation(expected))


class Console(unittest.TestCase):
    def test_rows_and_machine(self):
        rows, about = grade.grades("boot log\n" + "\r\n".join(LINES) + "\r\n")
        self.assertEqual([row[0] for row in rows], ["E1", "C1", "C2"])
        self.assertEqual(about, ["CPU: X, microcode revision 1", "outer hypervisor: none"])

    def test_refused(self):
        for spoilt in (LINES[:-1], LINES[:2] + LINES[3:], [*LINES[:3], LINES[2], *LINES[4:]],
                       ["grade\tE1\tx", *LINES], [LINES[2].replace("agree", "agrees"), *LINES[3:]]):
            with self.assertRaises(grade.Wrong):
                grade.grades("\n".join(spoilt))


class Expectation(unittest.TestCase):
    def test_holds(self):
        self.assertEqual(differences(LINES), [])

    def test_another_verdict(self):
        lines = [line.replace("error 7\tentered, exit 52\tCPU accepts", "error 7\terror 7\tagree")
                 for line in LINES]
        lines[-1] = lines[-1].replace("1 agree, 1 CPU", "2 agree, 0 CPU")
        self.assertEqual(len(differences(lines)), 3)  # two counts and the rule

    def test_rule_that_is_gone(self):
        lines = [*LINES[:4], LINES[-1].replace("3 rules", "2 rules").replace("1 skip", "0 skip")]
        self.assertIn("C2: not graded", differences(lines))

    def test_unlisted_rule(self):
        with self.assertRaises(grade.Wrong):
            differences(LINES, EXPECTED.replace("C1\tCPU accepts\tit is so lax\n", ""))

    def test_refused(self):
        for old, new in (("it is so lax", ""), ("it is so lax", "lax"), ("skipped\t1\n", ""),
                         ("C2\tskipped", "C2\tagree"), ("C2\tskipped", "C1\tskipped"),
                         ("accepts\t1", "accepts\t2")):
            with self.assertRaises(grade.Wrong):
                grade.expectation(EXPECTED.replace(old, new))

    def test_those_there_are(self):
        rules = set(test_steps.entry_rules(TOP))
        files = sorted((TOP / "tests/grade").glob("*.tsv"))
        self.assertGreaterEqual(len(files), 2)
        for path in files:
            counts, listed = grade.expectation(path.read_text())
            self.assertEqual(sum(counts.values()), len(rules), path)
            self.assertLessEqual(set(listed), rules, path)

    def test_document(self):
        """docs/vm-entry.md has the same counts."""
        rows = re.findall(r"^\| (\w+)[^|\n]*((?:\| \d+ ){5})\|$",
                          (TOP / "docs/vm-entry.md").read_text(), re.M)
        self.assertGreaterEqual(len(rows), 2)
        for model, numbers in rows:
            counts, _ = grade.expectation((TOP / "tests/grade" / f"{model}.tsv").read_text())
            self.assertEqual([int(n) for n in numbers.split("|")[1:]],
                             [counts[verdict] for verdict in grade.VERDICTS], model)


if __name__ == "__main__":
    unittest.main()
