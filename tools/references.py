#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Finds references into parts of the image whose memory may have gone to guests.

usage: references.py DIRECTORY

Looks at every relocation of the kernel's object files below DIRECTORY. Each section belongs to the
part that stays, to the start or to the laboratory (INIT_FILES and LAB in tools/image.mk, INIT in
arch/x86_64/lib/types.h). What stays may not refer to the start, nor the start and what stays to the
laboratory, but for the gates below, which know when the part is there. Prints each that does and
exits 1; exits 2 if a gate is not used: then nothing was looked at.
"""
import pathlib
import re
import subprocess
import sys

STAYS, START, LAB = "what stays", "the start", "the laboratory"
# (where a reference is from and what it leads to): both parts of it may be there only then.
GATES = {(START, "boot/main.o", "bring_up"), (LAB, "boot/run.o", None)}


def part_of(section):
    if section.startswith(".lab."):
        return LAB
    if section.startswith(".init.") or section in (".text.0init", ".rodata.0init"):
        return START
    return STAYS


def parse(text):
    """What `objdump -tr` says: (file, symbol) and (None, global symbol) to the section it lies in,
    and the relocations as (file, section, symbol)."""
    home, relocations = {}, []
    file = section = None
    for line in text.splitlines():
        if match := re.match(r"(\S+): +file format ", line):
            file = match[1]
        elif match := re.match(r"[0-9a-f]{16} (.{7}) (\S+)\t[0-9a-f]+ (?:\.hidden )?(\S+)$", line):
            flags, where, name = match.groups()
            if where not in ("*UND*", "*ABS*", "*COM*"):
                home[file, name] = where
                if flags[0] in "gu":
                    home[None, name] = where
        elif match := re.match(r"RELOCATION RECORDS FOR \[(.*)\]:", line):
            section = match[1]
        elif match := re.match(r"[0-9a-f]{16} R_\S+ +(\S+?)([-+]0x[0-9a-f]+)?$", line):
            relocations.append((file, section, match[1]))
    return home, relocations


def is_loaded(section):
    # The table of fixups holds addresses to compare with, and none that is followed.
    return section.startswith((".text", ".rodata", ".data", ".init.", ".lab.", ".boot")) \
        and "fixups" not in section


def judge(home, relocations):
    """The references that may not be, and the gates that were used."""
    bad, used = set(), set()
    for file, section, symbol in relocations:
        if not is_loaded(section):
            continue
        target = home.get((file, symbol)) or home.get((None, symbol)) or symbol
        here, there = part_of(section), part_of(target)
        if there == STAYS or here in (there, LAB):
            continue
        for gate in GATES:
            if gate[0] == there and file.endswith(gate[1]) and gate[2] in (None, symbol):
                used.add(gate)
                break
        else:
            bad.add(f"{file}: {section} is of {here} and refers to {symbol}, of {there}")
    return sorted(bad), used


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: references.py DIRECTORY")
    files = [str(path) for path in pathlib.Path(sys.argv[1]).rglob("*.o")
             if not path.name.startswith("symbols")]
    if not files:
        sys.exit(f"references.py: no object files below {sys.argv[1]}")
    text = subprocess.run(["objdump", "-tr", *files], check=True, capture_output=True, text=True).stdout
    bad, used = judge(*parse(text))
    for line in bad:
        print(line)
    if bad:
        sys.exit(1)
    if used != GATES:
        print(f"references.py: no reference by {GATES - used}: is this the kernel?")
        sys.exit(2)


if __name__ == "__main__":
    main()
