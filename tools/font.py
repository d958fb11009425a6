#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes the C file of the framebuffer console's fonts (arch/x86_64/font.h) from PSF fonts.

usage: font.py NAME=FONT.psf[.gz] ... > font.c
Takes ASCII 20H to 7EH and, at 7FH, U+FFFD or the nearest thing to it that the font has.
"""
import gzip
import sys

MAX_WIDTH = 16
REPLACEMENTS = (0xFFFD, 0x25A0, 0x2588, ord("?"))


def read_psf(data):
    """Width, height, glyphs (lines of 16 bits each) and the map from code point to glyph; both PSF
    versions."""
    if data[:2] == b"\x36\x04":
        mode, size = data[2], data[3]
        count = 512 if mode & 1 else 256
        start, height, width, unicode = 4, size, 8, mode & 6
    elif data[:4] == b"\x72\xb5\x4a\x86":
        words = [int.from_bytes(data[i:i + 4], "little") for i in range(4, 32, 4)]
        _, start, unicode, count, size, height, width = words
    else:
        sys.exit("font.py: not a PSF font")
    if width > MAX_WIDTH:
        sys.exit(f"font.py: the font is {width} pixels wide, more than {MAX_WIDTH}")
    step = (width + 7) // 8
    lines = [int.from_bytes(data[at:at + step], "big") << (16 - 8 * step)
             for at in range(start, start + count * size, step)]
    glyphs = [lines[i * height:(i + 1) * height] for i in range(count)]
    table = data[start + count * size:] if unicode else b""
    codes = read_map(table, data[0] == 0x36) if table else {i: i for i in range(count)}
    return width, height, glyphs, codes


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


def write_font(name, path):
    with open(path, "rb") as file:
        data = file.read()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    width, height, glyphs, codes = read_psf(data)
    missing = [chr(c) for c in range(0x20, 0x7F) if c not in codes]
    if missing:
        sys.exit(f"font.py: {path} lacks {missing}")
    replacement = next(c for c in REPLACEMENTS if c in codes)
    print()
    print(f"static const u16 {name}_lines[] = {{")
    for code in [*range(0x20, 0x7F), replacement]:
        print("    " + ", ".join(f"{line:#06x}" for line in glyphs[codes[code]]) + ",")
    print("};")
    print(f"const struct font {name} = {{{width}, {height}, {name}_lines}};")


def main():
    fonts = [word.split("=", 1) for word in sys.argv[1:]]
    if not fonts or any(len(font) != 2 for font in fonts):
        sys.exit(__doc__)
    print("// Made by tools/font.py; whose fonts these are is said in tools/font.mk.")
    print('#include "arch/x86_64/font.h"')
    for name, path in fonts:
        write_font(name, path)


if __name__ == "__main__":
    main()
