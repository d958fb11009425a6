#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What a terminal shows of the text a guest sent, as lines or as a picture.

usage: tools/vt.py CONSOLE.txt [UNTIL [OUT.png]]

UNTIL: only what came up to there, a regular expression. It knows as much of a VT102 as the Debian
installer and screen(1) use.
"""
import pathlib
import re
import sys

import screentext
from screenshot import Picture

WIDTH, HEIGHT = 80, 24
# The line drawing set, of which the installer's boxes are made.
LINES = str.maketrans("jklmnqtuvwxa", "┘┐┌└┼─├┤┴┬│▒")
TOKEN = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z@`])|\x1b([()][A-Z0-9]|[=>78DEMc])"
                   r"|([\x00-\x1f\x7f])|([^\x00-\x1f\x7f]+)|\x1b")
COLOURS = ((0, 0, 0), (170, 0, 0), (0, 170, 0), (170, 85, 0),
           (0, 0, 170), (170, 0, 170), (0, 170, 170), (170, 170, 170))
PLAIN = (7, 0)  # colours of foreground and background


class Screen:
    def __init__(self):
        self.cells = [[(" ", PLAIN)] * WIDTH for _ in range(HEIGHT)]
        self.x = self.y = 0
        self.sets = ["B", "0"]  # G0 and G1
        self.shift = 0
        self.colours = PLAIN
        self.reverse = self.inserting = False

    def feed(self, text):
        for match in TOKEN.finditer(text):
            parameters, final, escape, control, characters = match.groups()
            if characters:
                for char in characters:
                    self._put(char)
            elif control:
                self._control(control)
            elif final:
                self._sequence(parameters, final)
            elif escape and escape[0] in "()":
                self.sets["()".index(escape[0])] = escape[1]
        return self

    def lines(self):
        return ["".join(char for char, _ in row).rstrip() for row in self.cells]

    def _pen(self):
        return self.colours[::-1] if self.reverse else self.colours

    def _put(self, char):
        if self.x == WIDTH:
            self.x = 0
            self._line_feed()
        if self.sets[self.shift] == "0":
            char = char.translate(LINES)
        row = self.cells[self.y]
        if self.inserting:
            row.insert(self.x, (" ", PLAIN))
            row.pop()
        row[self.x] = (char, self._pen())
        self.x += 1

    def _line_feed(self):
        if self.y + 1 < HEIGHT:
            self.y += 1
        else:
            self.cells = self.cells[1:] + [[(" ", PLAIN)] * WIDTH]

    def _control(self, char):
        if char == "\r":
            self.x = 0
        elif char == "\n":
            self._line_feed()
        elif char == "\b":
            self.x = max(min(self.x, WIDTH - 1) - 1, 0)
        elif char == "\t":
            self.x = min((self.x | 7) + 1, WIDTH - 1)
        elif char in "\x0e\x0f":
            self.shift = int(char == "\x0e")

    def _sequence(self, parameters, final):
        numbers = [int(n) if n.isdigit() else 0 for n in parameters.split(";")]
        count = max(numbers[0], 1)
        if final in "Hf":
            self.y = min(count, HEIGHT) - 1
            self.x = min(max(numbers[1] if len(numbers) > 1 else 1, 1), WIDTH) - 1
        elif final in "ABCD":
            across, down = {"A": (0, -1), "B": (0, 1), "C": (1, 0), "D": (-1, 0)}[final]
            self.x = min(max(self.x + across * count, 0), WIDTH - 1)
            self.y = min(max(self.y + down * count, 0), HEIGHT - 1)
        elif final == "J":
            self._erase(numbers[0], range(self.y + 1, HEIGHT), range(self.y))
            self._erase_line(numbers[0])
        elif final == "K":
            self._erase_line(numbers[0])
        elif final == "m":
            for number in numbers:
                self._rendition(number)
        elif final in "hl" and numbers[0] == 4 and not parameters.startswith("?"):
            self.inserting = final == "h"

    def _erase(self, which, after, before):
        for y in (*(after if which != 1 else ()), *(before if which else ())):
            self.cells[y] = [(" ", self._pen())] * WIDTH

    def _erase_line(self, which):
        start = self.x if which == 0 else 0
        end = self.x + 1 if which == 1 else WIDTH
        for x in range(start, min(end, WIDTH)):
            self.cells[self.y][x] = (" ", self._pen())

    def _rendition(self, number):
        if number == 0:
            self.colours, self.reverse = PLAIN, False
        elif number in (7, 27):
            self.reverse = number == 7
        elif 30 <= number <= 37:
            self.colours = (number - 30, self.colours[1])
        elif 40 <= number <= 47:
            self.colours = (self.colours[0], number - 40)


def picture(screen):
    """The screen in the VGA's font."""
    font = screentext.rom_font(screentext.ROMS[0])
    glyphs = {char: rows for rows, char in font.glyphs.items()}
    result = Picture(WIDTH * font.width, HEIGHT * font.height)
    pixels = bytearray()
    for row in screen.cells:
        for y in range(font.height):
            for char, (ink, paper) in row:
                bits = glyphs.get(char, glyphs[" "])[y]
                for x in reversed(range(font.width)):
                    pixels += bytes(COLOURS[ink if bits >> x & 1 else paper])
    result.pixels = pixels
    return result


def main():
    if not 2 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    # One character a byte, as the runner reads it: the installer draws with the line set.
    text = pathlib.Path(sys.argv[1]).read_bytes().decode("latin-1")
    if len(sys.argv) > 2:
        match = re.search(sys.argv[2], text)
        if not match:
            sys.exit(f"vt: {sys.argv[1]} does not hold /{sys.argv[2]}/")
        text = text[:match.end()]
    screen = Screen().feed(text)
    print("\n".join(screen.lines()))
    if len(sys.argv) > 3:
        picture(screen).write_png(sys.argv[3])


if __name__ == "__main__":
    main()
