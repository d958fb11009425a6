# SPDX-License-Identifier: MIT
"""What is known of what Corbel costs: tests/budgets.tsv, and the judgement of measurements by it."""
import dataclasses
import pathlib
import re
import subprocess

PATH = pathlib.Path(__file__).resolve().parent.parent / "tests/budgets.tsv"
COMPILER = "# compiler: "
ADVICE = "if that has to be, `make budgets` writes it into tests/budgets.tsv, and the commit says why"
# Other compilers make other instructions: there it is only looked for what takes much longer.
STRANGE = 1.2


@dataclasses.dataclass
class Row:
    budget: int | None  # the most it may ever take; None: nobody said
    missed: bool  # it takes more, and why is in docs/performance.md
    ticks: int  # what it takes
    slack: int  # by how much it may differ from that


class Table:
    """The file. Its order of rows is that of every table made from it."""

    def __init__(self, text):
        self.lines = text.splitlines()
        self.compiler = ""
        self.rows = {}
        for line in self.lines:
            if line.startswith(COMPILER):
                self.compiler = line.removeprefix(COMPILER)
            elif line and not line.startswith(("#", "name\t")):
                name, budget, ticks, slack = line.split("\t")
                self.rows[name] = Row(None if budget == "-" else int(budget.strip("()")),
                                      budget.startswith("("), int(ticks), int(slack))

    @classmethod
    def here(cls):
        return cls(PATH.read_text())

    def in_order(self, names):
        """Those of the table first, the others as they come."""
        names = list(names)
        return [n for n in self.rows if n in names] + [n for n in names if n not in self.rows]

    def updated(self, ticks, compiler):
        """The file's text with these ticks, {name: ticks}. What is new comes last and has no budget;
        what is no longer measured goes."""
        out = []
        for line in self.lines:
            name = line.split("\t")[0]
            if line.startswith(COMPILER):
                out.append(COMPILER + compiler)
            elif name not in self.rows:
                out.append(line)
            elif name in ticks:
                _, budget, _, slack = line.split("\t")
                out.append(f"{name}\t{budget}\t{ticks[name]}\t{slack}")
        out += [f"{name}\t-\t{n}\t0" for name, n in ticks.items() if name not in self.rows]
        return "\n".join(out) + "\n"


def compiler_of(kernel):
    """What the compiler says of itself in the kernel that it made."""
    out = subprocess.run(["readelf", "-p", ".comment", kernel], check=True, capture_output=True,
                         text=True).stdout
    return ", ".join(re.findall(r"^\s*\[\s*[0-9a-f]+\]\s+(.*\S)", out, re.M))


def judge_exactly(name, row, ticks):
    more = ticks - row.ticks
    if row.budget is not None and (ticks > row.budget) != row.missed:
        yield f"{name} takes {ticks}, its budget is {row.budget}{', and not missed' * row.missed}"
    if abs(more) > row.slack:
        yield f"{name} takes {ticks}, {abs(more)} {'more' if more > 0 else 'less'} than it did"


def judge(table, ticks, compiler):
    """What is wrong with {name: ticks} of a kernel by this compiler, a line each."""
    for name in table.in_order({**table.rows, **ticks}):
        if name not in ticks:
            yield f"{name} was not measured"
        elif name not in table.rows:
            yield f"{name} has no row"
        elif compiler == table.compiler:
            yield from judge_exactly(name, table.rows[name], ticks[name])
        elif ticks[name] > table.rows[name].ticks * STRANGE + table.rows[name].slack:
            yield (f"{name} takes {ticks[name]}, {table.rows[name].ticks} with"
                   f" {table.compiler}: too much for the difference to {compiler}")
