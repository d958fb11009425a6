#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests of the tools that judge the other tests: what they let pass would pass everywhere."""
import pathlib
import sys
import tempfile
import unittest

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / "tools"))

import image  # noqa: E402
import machine  # noqa: E402
import run  # noqa: E402
import screentext  # noqa: E402
import test as tester  # noqa: E402
from screenshot import Picture  # noqa: E402

BANNER = b"Next at t=0\n(0) [0x0000fffffff0] f000:fff0 (unk. ctxt): jmpf\n"
ARMED = b"Time breakpoint inserted. Delta = 1000\n"


def bochs(**more):
    return machine.Bochs(machine.Spec(image=pathlib.Path("x.iso"), work=pathlib.Path("."), **more))


def sifted(box, text):
    return b"".join(box.sift(line) for line in text.splitlines(keepends=True))


class BochsOutput(unittest.TestCase):
    """Only Corbel's bytes pass, and the machine's end is told rightly."""

    def test_limit(self):
        box = bochs()
        out = sifted(box, BANNER + ARMED + b"hello\n(0) not the debugger\nprompt> "
                     b"(0) Caught time breakpoint\nNext at t=1000\nrip: 00000000_00100000\n")
        self.assertEqual(out, b"hello\n(0) not the debugger\nprompt> ")
        ending = box.ending(0, "")
        self.assertFalse(ending.clean)
        self.assertEqual(ending.ticks, 1000)
        self.assertIn("00100000", ending.state)

    def test_debug_port_is_success(self):
        box = bochs()
        sifted(box, BANNER + ARMED + b"bye\nNext at t=42\n(0) [0x1] x\n")
        ending = box.ending(0, "")
        self.assertEqual((ending.clean, ending.success, ending.ticks), (True, True, 42))

    def test_shutdown_port_is_failure(self):
        box = bochs()
        sifted(box, BANNER + ARMED + b"bye\n(0).[77] [0x0000] halt\n")
        ending = box.ending(1, "Bochs is exiting with the following message:\n"
                               "[UNMAP ] Shutdown port: shutdown requested\n")
        self.assertEqual((ending.clean, ending.success, ending.ticks), (True, False, 77))

    def test_triple_fault(self):
        box = bochs()
        sifted(box, BANNER + ARMED + b"oops\n(0).[9] [0x0000] int3\n")
        ending = box.ending(1, "Bochs is exiting with the following message:\n"
                               "[CPU0  ] exception(): 3rd (13) exception with no resolution\n")
        self.assertFalse(ending.clean)
        self.assertIn("3rd (13) exception", ending.what)

    def test_refused_configuration(self):
        self.assertFalse(bochs().ending(1, "X.rc:3: memory directive malformed\n").clean)


class QemuEnding(unittest.TestCase):
    def setUp(self):
        spec = machine.Spec(image=pathlib.Path("x"), work=pathlib.Path("."))
        self.box = machine.Qemu(spec)

    def test_exit_port(self):
        ending = self.box.ending(7, "")
        self.assertEqual((ending.clean, ending.status), (True, 3))

    def test_own_failure_is_not_a_status(self):
        self.assertFalse(self.box.ending(1, "qemu: could not open disk\n").clean)

    def test_reset(self):
        self.assertFalse(self.box.ending(0, "").clean)


class Verdict(unittest.TestCase):
    """Corbel's last word counts only if the machine ended accordingly."""

    def verdict(self, said, returncode, epilogue=b"", stderr=""):
        with tempfile.TemporaryDirectory() as directory:
            work = pathlib.Path(directory)
            (work / "stderr.txt").write_text(stderr)
            spec = machine.Spec(image=work / "x", work=work)
            box = machine.Qemu(spec) if not epilogue else machine.Bochs(spec)
            sifted(box, BANNER + ARMED + epilogue)
            console = run.Console(work / "console.txt", False)
            console.write(said)
            console.file.close()
            boot = run.Run(box, spec, run.parse_arguments([]), console)
            boot.process = type("Process", (), {"returncode": returncode})
            return boot.verdict()[0]

    def test_agreement(self):
        self.assertEqual(self.verdict(b"corbel: done: status 3\r\n", 7), 3)
        self.assertEqual(self.verdict(b"corbel: done: status 0\n", 1), 0)

    def test_disagreement(self):
        self.assertEqual(self.verdict(b"corbel: done: status 0\n", 7), run.NOT_ENDED)

    def test_no_last_word(self):
        self.assertEqual(self.verdict(b"corbel: done: status\n", 7), run.NOT_ENDED)
        self.assertEqual(self.verdict(b"", 1), run.NOT_ENDED)

    def test_reset_after_the_last_word(self):
        self.assertEqual(self.verdict(b"corbel: done: status 0\n", 0), run.NOT_ENDED)

    def test_success_said_and_failure_shown(self):
        shutdown = ("Bochs is exiting with the following message:\n"
                    "[UNMAP ] Shutdown port: shutdown requested\n")
        last = b"(0).[9] [0x0] x\n"
        self.assertEqual(self.verdict(b"corbel: done: status 0\n", 1, last, shutdown), run.NOT_ENDED)
        self.assertEqual(self.verdict(b"corbel: done: status 2\n", 1, last, shutdown), 2)
        self.assertEqual(self.verdict(b"corbel: done: status 2\n", 0, b"Next at t=4\n"),
                         run.NOT_ENDED)


class Matching(unittest.TestCase):
    def match(self, expect, forbid=()):
        tester.Tester.match("one\ntwo\nthree\n", expect, forbid, "it")

    def test_found_in_order(self):
        self.match(("^one$", "^three$"))

    def test_wrong_order_missing_and_forbidden(self):
        for expect, forbid in ((("two", "one"), ()), (("four",), ()), ((), ("^two",))):
            with self.assertRaises(tester.Failure):
                self.match(expect, forbid)


class GrubWords(unittest.TestCase):
    def test_quoting(self):
        self.assertEqual(image.quoted("test=a*  x;y 'z"), r"'test=a*' 'x;y' ''\''z'")


class ScreenText(unittest.TestCase):
    """Text drawn with a font is read back, and what is not text is not."""

    def draw(self, font, pitch, lines, scale=1, size=(720, 400)):
        picture = Picture(*size, bytearray(b"\x20\x20\x40" * (size[0] * size[1])))
        shapes = {char: rows for rows, char in font.glyphs.items()}
        for row, line in enumerate(lines):
            for column, char in enumerate(line):
                for y in range(font.height * scale):
                    for x in range(font.width * scale):
                        if shapes[char][y // scale] >> (font.width - 1 - x // scale) & 1:
                            at = (row * font.height * scale + y) * size[0]
                            at += column * pitch * scale + x
                            picture.pixels[3 * at:3 * at + 3] = b"\xff\xff\xff"
        return picture

    LINES = ["Corbel: no VT-x (CPUID.1:ECX[5])", "corbel: done: status 3"]

    def test_text_mode(self):
        for font in screentext.fonts()[:1]:
            lines = screentext.read_screen(self.draw(font, 9, self.LINES))
            self.assertEqual([line for line in lines if line], self.LINES)

    def test_framebuffer(self):
        font = screentext.fonts()[-1]
        for scale in (1, 2):
            picture = self.draw(font, font.width, self.LINES, scale, (1024, 768))
            lines = screentext.read_screen(picture)
            self.assertEqual([line for line in lines if line], self.LINES)

    def test_one_wrong_pixel(self):
        picture = self.draw(screentext.fonts()[0], 9, ["status 3"])
        at = 3 * (5 * 720 + 9 * 7 + 1)
        picture.pixels[at:at + 3] = b"\xff\xff\xff"
        self.assertEqual(screentext.read_screen(picture)[0], "status " + screentext.UNKNOWN)

    def test_png_round_trip(self):
        picture = self.draw(screentext.fonts()[0], 9, ["x"])
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory) / "x.png"
            picture.write_png(path)
            again = Picture.read_png(path)
        self.assertEqual((again.width, again.height, again.pixels),
                         (picture.width, picture.height, picture.pixels))


if __name__ == "__main__":
    unittest.main()
