#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks who includes whom: a file may include its own folder and folders of a lower rank.

Prints each offending include as FILE:LINE and exits 1 if there is one.
"""
import pathlib
import re
import sys

RANK = {
    "arch/x86_64/lib": 0,
    "arch/x86_64/regs": 1,
    "arch/x86_64": 2,
    "ept": 2,
    "devices": 2,
    "guest": 3,
    "vmx": 4,
    "boot": 5,
    "tests": 6,
}
# Programs that run inside a guest see the vocabulary and the interface they share with Corbel.
GUEST_PROGRAMS = ("guest/tiny", "tests/guest")
GUEST_MAY = ("arch/x86_64/lib", "arch/x86_64/regs", "guest/abi.h", "guest/tiny", "tests/guest")
# The fewest assembly lines: inline assembly lives here only.
ASM_OK = ("vmx/asm-offsets.c.in", "arch/x86_64/insn.h", "arch/x86_64/lib/clock.h", "guest/tiny", "tests")


def folder(path):
    best = ""
    for name in RANK:
        if path.startswith(name + "/") and len(name) > len(best):
            best = name
    return best


def main():
    top = pathlib.Path(__file__).resolve().parent.parent
    bad = 0
    seen = 0
    for pattern in ("*.c", "*.h", "*.c.in"):
        for path in sorted(top.rglob(pattern)):
            name = path.relative_to(top).as_posix()
            mine = folder(name)
            if not mine or name.startswith("build/"):
                continue
            seen += 1
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if re.search(r"\b(__asm__|asm)\b\s*(volatile|goto|\()", line) and not name.startswith(ASM_OK):
                    print(f"{name}:{number}: inline assembly belongs in arch/x86_64/insn.h")
                    bad += 1
                match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
                if not match:
                    continue
                target = match.group(1)
                if name.startswith(GUEST_PROGRAMS):
                    if not target.startswith(GUEST_MAY):
                        print(f"{name}:{number}: a guest program may not include {target}")
                        bad += 1
                    continue
                other = folder(target)
                if not other and not target.startswith("asm-offsets"):
                    print(f"{name}:{number}: {target} is not named from the top of the tree")
                    bad += 1
                elif other and other != mine and RANK[other] >= RANK[mine]:
                    print(f"{name}:{number}: {mine} (rank {RANK[mine]}) may not include {target}"
                          f" (rank {RANK[other]})")
                    bad += 1
    print(f"layers: {seen} files, {bad} offences")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
