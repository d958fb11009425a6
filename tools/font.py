#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes the C file of the framebuffer console's font (arch/x86_64/font.h) from an 8x16 PSF font.

usage: font.py FONT.psf[.gz] > font.c
Takes ASCII 20H to 7EH and, at 7FH, U+FFFD or the nearest thing to it that the font has.
"""
import gzip
import sys

WIDTH, HEIGHT = 8, 16
REPLACEMENTS = (0xFFFD, 0x25A0, 0x2588, ord("?"))


def read_psf(data):
    """The glyphs (bytes each) and the map from code point to glyph; both PSF versions."""
    if data[:2] == b"\x36\x04":
        mode, size = data[2], data[3]
        count = 512 if mode & 1 else 256
        start, height, width, unicode = 4, size, 8, mode & 6
    elif data[:4] == b"\x72\xb5\x4a\x86":
        words = [int.from_bytes(data[i:i + 4], "little") for i in range(4, 32, 4)]
        _, start, unicode, count, size, height, width = words
    else:
        sys.exit("font.py: not a PSF font")
    if (width, height) != (WIDTH, HEIGHT):
        sys.exit(f"font.py: the font is {width}x{height}, not {WIDTH}x{HEIGHT}")
    glyphs = [data[start + i * size:start + (i + 1) * size] for i in range(count)]
    table = data[start + count * size:] if unicode else b""
    return glyphs, read_map(table, data[0] == 0x36) if table else {i: i for i in range(count)}


def read_map(table, version1):
    """Each glyph's code points; sequences of several (after FFFEH or FEH) are not used."""
    codes = {}
    glyph = 0
    if version1:
        skipping = False
        for i in range(0, len(table) - 1, 2):
            value = int.from_bytes(table[i:i + 2], "little")
            if value == 0xFFFF:
                glyph, skipping = glyph + 1, False
            elif value == 0xFFFE:
                skipping = True
            elif not skipping:
                codes.setdefault(value, glyph)
        return codes
    for entry in table.split(b"\xff"):
        for character in entry.split(b"\xfe")[0].decode():
            codes.setdefault(ord(character), glyph)
        glyph += 1
    return codes


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: font.py FONT.psf[.gz]")
    with open(sys.argv[1], "rb") as file:
        data = file.read()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    glyphs, codes = read_psf(data)
    missing = [chr(c) for c in range(0x20, 0x7F) if c not in codes]
    if missing:
        sys.exit(f"font.py: the font lacks {missing}")
    replacement = next(c for c in REPLACEMENTS if c in codes)
    print("// Made by tools/font.py.")
    print('#include "arch/x86_64/font.h"')
    print()
    print("const u8 font[FONT_LAST - FONT_FIRST + 1][FONT_HEIGHT] = {")
    for code in [*range(0x20, 0x7F), replacement]:
        print("    {" + ", ".join(f"{b:#04x}" for b in glyphs[codes[code]]) + "},")
    print("};")


if __name__ == "__main__":
    main()
