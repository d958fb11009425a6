#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes the C file of the symbol table (arch/x86_64/symbols.h) from `nm -n` on standard input.

With --empty it makes the table of no symbols, for the first link. The table holds functions only:
32-bit offsets from the first one, and their names one after another in the same order. What lies
between functions, such as the data before the laboratory's text, has an empty name.
"""
import sys

REACH = 1 << 32


def read_nm(lines):
    """The text symbols as (address, name), the first name of each address, and where they end."""
    symbols = []
    limit = 0
    for line in lines:
        fields = line.split()
        if len(fields) != 3:
            continue
        address, kind, name = int(fields[0], 16), fields[1], fields[2]
        if kind in "tT" and name.startswith("."):
            continue  # a label in a macro of NASM's
        if kind in "tT":
            if limit:
                symbols.append((limit, ""))
            if not symbols or address > symbols[-1][0] or limit == address:
                symbols.append((address, name))
            limit = 0
        elif symbols and not limit and address > symbols[-1][0]:
            limit = address
    if symbols and not limit:
        limit = symbols[-1][0] + 1
    return symbols, limit


def table(symbols, limit):
    """The C file's text. Symbols out of a 32-bit offset's reach of the last one are left out."""
    symbols = [s for s in symbols if limit - s[0] < REACH]
    if symbols and not symbols[0][1]:
        symbols = symbols[1:]
    base = symbols[0][0] if symbols else 0
    lines = [
        "// Made by tools/symbols.py.",
        '#include "arch/x86_64/symbols.h"',
        "",
        'static const u32 offsets[] SECTION(".ksyms") = {',
        *[f"    {address - base:#x}," for address, _ in symbols],
        "    0,",
        "};",
        'static const char names[] SECTION(".ksyms") =',
        *[f'    "{name}\\0"' for _, name in symbols],
        '    "";',
        'const struct symbol_table symbol_table SECTION(".ksyms") = {',
        f"    {base:#x}ull, {limit - base if symbols else 0:#x}, {len(symbols)}, offsets, names,",
        "};",
    ]
    return "\n".join(lines) + "\n"


def main():
    if sys.argv[1:] == ["--empty"]:
        sys.stdout.write(table([], 0))
    elif not sys.argv[1:]:
        symbols, limit = read_nm(sys.stdin)
        if not symbols:
            sys.exit("symbols.py: no text symbols on standard input")
        sys.stdout.write(table(symbols, limit))
    else:
        sys.exit("usage: nm -n FILE | symbols.py, or symbols.py --empty")


if __name__ == "__main__":
    main()
