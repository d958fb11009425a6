#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Reads the text on a screenshot by matching its character cells with the fonts in use.

usage: tools/screentext.py FILE.png

No recognition: a cell is a character when its pixels are exactly that character's in the font. The
fonts are the VGA BIOS ROM's (text mode) and the framebuffer console's.
"""
import gzip
import pathlib
import re
import struct
import sys

from screenshot import Picture

# Both emulators' BIOSes carry the VGA's 8x16 font.
ROMS = ("/usr/share/bochs/VGABIOS-lgpl-latest", "/usr/share/seabios/vgabios-stdvga.bin")
# The framebuffer console's fonts are named there.
FONT_MK = pathlib.Path(__file__).resolve().parent / "font.mk"
# Character 1, a face, after the blank character 0: how the font is found in a ROM.
FACE = bytes.fromhex("00007e81a58181bd9981817e00000000")
UNKNOWN = "\N{REPLACEMENT CHARACTER}"


class Font:
    """glyphs: a cell's rows, as integers of width bits, to its character."""

    def __init__(self, name, width, height, glyphs):
        self.name = name
        self.width = width
        self.height = height
        self.glyphs = glyphs


def remember(glyphs, rows, char):
    """Of characters that look the same the ASCII one is meant."""
    if rows not in glyphs or char.isascii():
        glyphs[rows] = char


def rom_font(path):
    data = pathlib.Path(path).read_bytes()
    base = data.index(bytes(16) + FACE)
    glyphs = {}
    for code in range(256):
        rows = tuple(data[base + 16 * code:base + 16 * code + 16])
        remember(glyphs, rows, bytes([code]).decode("cp437") if code >= 32 else UNKNOWN)
    glyphs[(0,) * 16] = " "
    return Font(path, 8, 16, glyphs)


def psf_font(path):
    """A PC Screen Font, version 1 or 2, with its Unicode table; see psf(5)."""
    data = pathlib.Path(path).read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    if data[:2] == b"\x36\x04":
        mode, size = data[2], data[3]
        count, start, width, height = 512 if mode & 1 else 256, 4, 8, size
        names = psf1_names(data[start + count * size:])
    elif data[:4] == b"\x72\xb5\x4a\x86":
        _, start, _, count, size, height, width = struct.unpack("<7I", data[4:32])
        names = psf2_names(data[start + count * size:])
    else:
        raise ValueError(f"{path} is not a PC Screen Font")
    step = (width + 7) // 8
    glyphs = {}
    for code in range(count):
        cell = data[start + code * size:start + (code + 1) * size]
        rows = tuple(int.from_bytes(cell[y * step:(y + 1) * step], "big") >> (8 * step - width)
                     for y in range(height))
        for char in names[code] if code < len(names) else ():
            remember(glyphs, rows, char)
    glyphs[(0,) * height] = " "
    return Font(str(path), width, height, glyphs)


def psf1_names(table):
    names, here = [], []
    for code, in struct.iter_unpack("<H", table[:len(table) & ~1]):
        if code == 0xFFFF:
            names.append(here)
            here = []
        elif code != 0xFFFE:
            here.append(chr(code))
    return names


def psf2_names(table):
    return [list(entry.split(b"\xfe")[0].decode("utf-8", "replace"))
            for entry in table.split(b"\xff")]


def fonts():
    found = [rom_font(path) for path in ROMS if pathlib.Path(path).exists()]
    console = re.findall(r"^FONT_\w+ := (\S+)$", FONT_MK.read_text(), re.M)
    return found + [psf_font(path) for path in console if pathlib.Path(path).exists()]


class Grid:
    """Rows as strings of pixels, each pixel one character that stands for a colour."""

    def __init__(self, rows):
        self.rows = rows
        self.width, self.height = len(rows[0]), len(rows)

    @staticmethod
    def of(picture):
        colours = {}
        pixels = picture.pixels
        text = "".join(chr(colours.setdefault(pixel, len(colours)))
                       for pixel in zip(pixels[0::3], pixels[1::3], pixels[2::3]))
        return Grid([text[y * picture.width:(y + 1) * picture.width]
                     for y in range(picture.height)])

    def shrunk(self, scale):
        return Grid([row[::scale] for row in self.rows[::scale]])

    def cell(self, font, x, y):
        """The cell's character, None if it is no character of the font."""
        rows = [row[x:x + font.width] for row in self.rows[y:y + font.height]]
        colours = set("".join(rows))
        if len(colours) == 1:
            return " "
        if len(colours) != 2:
            return None
        for ink in colours:
            bits = tuple(int("".join("1" if p == ink else "0" for p in row), 2) for row in rows)
            char = font.glyphs.get(bits)
            if char is not None:
                return char
        return None


def read_with(grid, font, pitch):
    """(characters recognised, cells that are not blank, lines) in cells pitch pixels wide."""
    known = marked = 0
    lines = []
    for y in range(0, grid.height - font.height + 1, font.height):
        line = ""
        for x in range(0, grid.width - font.width + 1, pitch):
            char = grid.cell(font, x, y)
            marked += char != " "
            known += char not in (" ", None)
            line += char or UNKNOWN
        lines.append(line.rstrip())
    return known, marked, lines


def read_screen(picture):
    """The lines on the picture, by the font that fits best; [] if none does."""
    whole = Grid.of(picture)
    best = (0, 0, [])
    # The framebuffer console doubles or triples its pixels on a large screen.
    for scale in (1, 2, 3):
        grid = whole.shrunk(scale)
        for font in fonts():
            # In VGA text mode a cell may be 9 pixels wide, the last one blank.
            for pitch in {font.width, 9} if whole.width == 720 else {font.width}:
                result = read_with(grid, font, pitch)
                if result[0] > best[0]:
                    best = result
                if result[0] and result[0] >= 0.98 * result[1]:
                    return result[2]
    return best[2]


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        lines = read_screen(Picture.read_png(sys.argv[1]))
    except (OSError, ValueError) as error:
        sys.exit(f"screentext: {error}")
    while lines and not lines[-1]:
        lines.pop()
    print("\n".join(lines))


if __name__ == "__main__":
    main()
