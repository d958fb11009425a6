#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Grades a CPU's VM entry: boots run=grade, writes what it prints as TSV, and compares it with what
is expected of that CPU model.

usage: tools/grade.py [--build DIR] [--check] [MODEL...]   in Bochs; the first goes to grade.tsv
       tools/grade.py --console FILE OUT.tsv               from a console or serial log

An expectation is tests/grade/MODEL.tsv: a line for each verdict with its count, and one for each
rule whose verdict is not "agree", with the reason. --check is for the tests: an expectation has to
be there and to hold.
"""
import argparse
import collections
import pathlib
import re
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
MODELS = ("corei7_skylake_x", "corei5_lynnfield_750")
HEAD = ("rule", "section", "predicted", "observed", "verdict")
VERDICTS = ("agree", "CPU accepts", "CPU rejects otherwise", "not offered", "skipped")
SUM = re.compile(r"grade: (\d+) rules: (.*)")


class Wrong(Exception):
    """What was read is not what it should be; the text says why."""


def kind(verdict):
    """The verdict without the words that follow some."""
    return verdict.split(":")[0]


def grades(text):
    """The rows of a console, and the lines that say what machine it is."""
    rows, about, total = [], [], None
    for line in text.splitlines():
        line = line.rstrip("\r")
        fields = line.split("\t")
        if fields[0] == "grade":
            if len(fields) != 1 + len(HEAD) or kind(fields[5]) not in VERDICTS:
                raise Wrong(f"not a grade: {line!r}")
            rows.append(fields[1:])
        elif SUM.match(line):
            total = SUM.match(line)
        elif line.startswith("grade: "):
            about.append(line[7:])
    if not total:
        raise Wrong("the console has no grade, or not the whole of it")
    counts = collections.Counter(kind(row[4]) for row in rows)
    said = dict((name, int(n)) for n, name in
                (part.split(" ", 1) for part in total[2].split(", ")))
    if int(total[1]) != len(rows) or any(counts[v] != said.get(v) for v in VERDICTS):
        raise Wrong(f"{total[0]!r}, but the lines say {dict(counts)}")
    if len({row[0] for row in rows}) != len(rows):
        raise Wrong("a rule stands there twice")
    return rows, about


def expectation(text):
    """({verdict: count}, {rule: (verdict, reason)}) of an expectation file."""
    counts, rules = {}, {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split("\t")
        if fields[0] in VERDICTS and len(fields) == 2 and fields[1].isdigit():
            counts[fields[0]] = int(fields[1])
        elif len(fields) == 3 and fields[1] in VERDICTS[1:] and len(fields[2].split()) >= 3:
            if fields[0] in rules:
                raise Wrong(f"line {number}: {fields[0]} for the second time")
            rules[fields[0]] = (fields[1], fields[2])
        else:
            raise Wrong(f"line {number}: neither a count nor a rule with its verdict and reason")
    if set(counts) != set(VERDICTS):
        raise Wrong(f"no count of {', '.join(sorted(set(VERDICTS) - set(counts)))}")
    for verdict in VERDICTS[1:]:
        listed = sum(v == verdict for v, _ in rules.values())
        if listed != counts[verdict]:
            raise Wrong(f"{counts[verdict]} {verdict}, but {listed} are listed")
    return counts, rules


def differences(rows, counts, rules):
    """What is not as expected, a line each."""
    seen = collections.Counter(kind(row[4]) for row in rows)
    lines = [f"{verdict}: {seen[verdict]}, expected {counts[verdict]}" for verdict in VERDICTS
             if seen[verdict] != counts[verdict]]
    for rule, _, _, observed, verdict in rows:
        expected = rules.get(rule, ("agree", ""))[0]
        if kind(verdict) != expected:
            lines.append(f"{rule}: {verdict} ({observed}), expected {expected}")
    lines += [f"{rule}: not graded" for rule in rules.keys() - {row[0] for row in rows}]
    return lines


def write(path, rows):
    path.write_text("".join("\t".join(row) + "\n" for row in [HEAD, *rows]))


def summary(rows):
    counts = collections.Counter(kind(row[4]) for row in rows)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS)


def boot(build, model):
    log = build / f"grade-{model}"
    status = subprocess.run([sys.executable, TOP / "tools/run.py", "--build", build, "--machine",
                             "bochs", "--cpu", model, "--cmdline", "run=grade console=e9", "--log",
                             log, "--quiet"], check=False).returncode
    if status:
        raise Wrong(f"the run ended with status {status}")
    return (log / "console.txt").read_text(errors="replace")


def grade(build, model, path, check):
    """Returns whether all is as expected."""
    rows, about = grades(boot(build, model))
    write(path, rows)
    print(f"{model}: {'; '.join(about)}")
    for row in rows:
        if kind(row[4]) in VERDICTS[1:3]:
            print(f"  {row[0]}: predicted {row[2]}, observed {row[3]}: {row[4]}")
    print(f"  {len(rows)} rules: {summary(rows)}; {path}")
    expected = TOP / "tests/grade" / f"{model}.tsv"
    if not expected.exists():
        print(f"  nothing is expected of {model}: there is no {expected.relative_to(TOP)}")
        return not check
    try:
        wrong = differences(rows, *expectation(expected.read_text()))
    except Wrong as error:
        wrong = [f"{expected.relative_to(TOP)}: {error}"]
    for line in wrong:
        print(f"  not as expected: {line}")
    if not wrong:
        print(f"  as {expected.relative_to(TOP)} has it")
    return not wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=TOP / "build")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--console", nargs=2, type=pathlib.Path, metavar=("FILE", "OUT.tsv"))
    parser.add_argument("models", nargs="*", metavar="MODEL")
    options = parser.parse_args()
    try:
        if options.console:
            rows, about = grades(options.console[0].read_text(errors="replace"))
            write(options.console[1], rows)
            print(*about, f"{len(rows)} rules: {summary(rows)}", sep="\n")
            return 0
        good = True
        for i, model in enumerate(options.models or MODELS):
            name = "grade.tsv" if i == 0 and not options.check else f"grade-{model}.tsv"
            good = grade(options.build, model, options.build / name, options.check) and good
        return 0 if good else 1
    except (Wrong, OSError) as error:
        print(f"grade: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
