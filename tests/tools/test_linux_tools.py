#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests of the tools that boot a Linux and talk to it."""
import os
import pathlib
import pty
import socket
import subprocess
import sys
import tempfile
import termios
import unittest

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / "tools"))

import image  # noqa: E402
import initramfs  # noqa: E402
import machine  # noqa: E402
import scripts  # noqa: E402
import talk  # noqa: E402
import vt  # noqa: E402


class Conversation(unittest.TestCase):
    def test_waits_in_order(self):
        seen = []

        def script(it):
            match = yield r"^login: $"
            seen.append(match.group(0))
            it.send("root\n")
            yield r"^# "
            it.send("ls\n")

        it = talk.Talk(script)
        it.hear(b"nologin: \n")
        self.assertEqual(it.take(), b"")
        it.hear(b"log")
        it.hear(b"in: ")
        self.assertEqual((it.take(), it.done), (b"root\n", False))
        # What was said before the answer is not looked at again.
        it.hear(b"root\r\n# ")
        self.assertEqual((it.take(), it.done, seen), (b"ls\n", True, ["login: "]))

    def test_two_matches_in_one_piece(self):
        def script(_):
            yield "one"
            yield "two"
        it = talk.Talk(script)
        it.hear(b"two one two")
        self.assertTrue(it.done)

    def test_one_match_is_not_two(self):
        def script(_):
            yield "one"
            yield "one"
        it = talk.Talk(script)
        it.hear(b"one")
        self.assertFalse(it.done)

    @staticmethod
    def ask(it, seen):
        seen.append((yield from it.command("ls")))

    def test_command(self):
        seen = []
        it = talk.Talk(lambda it: self.ask(it, seen))
        self.assertEqual(it.take(), b"ls; echo ::$?\n")
        # The terminal repeats the line, which is not its end.
        it.hear(b"\r\n# ls; echo ::$?\r\na\r\nb\r\n::")
        self.assertFalse(it.done)
        it.hear(b"0\r\n# ")
        self.assertEqual((seen, it.done, it.failure), (["a\nb\n"], True, ""))

    def test_command_that_fails(self):
        it = talk.Talk(lambda it: self.ask(it, []))
        it.hear(b"ls; echo ::$?\r\nno such file\r\n::1\r\n")
        self.assertTrue(it.done)
        self.assertIn("'ls' ended with 1: 'no such file'", it.failure)


def answers(text):
    """A generator's stand-in for talk.command() that gives this text to every command."""
    class Answering:
        def command(self, _):
            return text
            yield
    return Answering()


class Judgement(unittest.TestCase):
    """What the scripts let pass."""
    GOOD = ("           CPU0\n  0:        133   IO-APIC   2-edge      timer\n"
            "  4:         48   IO-APIC   4-edge      ttyS0\n"
            "  8:          0   IO-APIC   8-edge      rtc0\n"
            "  9:          0   IO-APIC   9-fasteoi   acpi\n"
            "LOC:        725   Local timer interrupts\nERR:          0\n")

    def judge(self, part, text):
        for _ in part(answers(text)):
            self.fail("nothing is to be awaited")

    def test_interrupts(self):
        self.judge(lambda it: scripts.interrupts(it, [scripts.PIT]), self.GOOD)
        for right, wrong in (("IO-APIC   2-edge", "XT-PIC   0"), ("  9-fasteoi", "  9-edge"),
                             ("48   IO", "0   IO"), ("725", "0"), ("ERR:          0", "ERR: 1"),
                             ("  8:          0   IO-APIC   8-edge      rtc0\n", "")):
            with self.assertRaises(talk.TalkError):
                self.judge(scripts.interrupts, self.GOOD.replace(right, wrong))

    DMESG = ("[    0.1] TSC deadline timer available\n[    1.0] ACPI: Using IOAPIC for interrupt"
             " routing\n[    1.1] 00:01: ttyS0 at I/O 0x3f8 (irq = 4, base_baud = 115200) is a"
             " 16550A\n[    1.2] rtc_cmos 00:02: registered as rtc0\n"
             "[    1.3] clocksource: Switched to clocksource tsc\n")

    def test_messages(self):
        self.judge(scripts.messages, self.DMESG)
        for line in ("WARNING: CPU: 0 PID: 1 at x.c:1", "BUG: kernel NULL pointer dereference",
                     "Marking TSC unstable due to clocksource watchdog",
                     "unchecked MSR access error: RDMSR from 0x1a0",
                     "[Firmware Bug]: TSC_DEADLINE disabled due to Errata"):
            with self.assertRaisesRegex(talk.TalkError, "dmesg complains"):
                self.judge(scripts.messages, self.DMESG + f"[    2.0] {line}\n")
        for line in self.DMESG.splitlines(keepends=True):
            with self.assertRaises(talk.TalkError):
                self.judge(scripts.messages, self.DMESG.replace(line, ""))

    def test_sleep(self):
        self.judge(lambda it: scripts.sleep(it, 1), "10.00\n0\n11.00\n100500000\n")
        for wrong in ("10.00\n0\n11.00\n90000000\n", "10.00\n0\n11.50\n100500000\n",
                      "10.00\n0\n11.00\n120000000\n"):
            with self.assertRaises(talk.TalkError):
                self.judge(lambda it: scripts.sleep(it, 1), wrong)


class Installer(unittest.TestCase):
    """Its screen as its own program draws it: boxes of the line drawing set, placed by the cursor."""

    @staticmethod
    def drawn(lines):
        text = "\x1b[H\x1b[J"
        for y, line in enumerate(lines, 5):
            text += f"\x1b[{y};3H"
            for char in line:
                index = "┘┐┌└┼─├┤┴┬│".find(char)
                text += char if index < 0 else f"\x1b(0{'jklmnqtuvwx'[index]}\x1b(B"
        return (text + "\x1b[24;1H").encode()

    def judge(self, lines):
        it = talk.Talk(scripts.installer)
        it.hear(self.drawn(lines))
        return it

    def test_screen(self):
        it = self.judge(scripts.INSTALLER_SCREEN)
        self.assertEqual((it.done, it.failure, it.take()), (True, "", talk.LEAVE))

    def test_wrong_screen(self):
        lines = list(scripts.INSTALLER_SCREEN)
        lines[3], lines[4] = lines[4], lines[3]
        self.assertIn("'│ Language:", self.judge(lines).failure)


class Terminal(unittest.TestCase):
    def lines(self, text):
        return vt.Screen().feed(text).lines()

    def test_cursor_and_erasing(self):
        lines = self.lines("one\r\ntwo\x1b[5;3Hthree\b\b\x1b[K\x1b[A\x1b[2Dx\x1b[1;2H\x1b[1K")
        self.assertEqual(lines[:6], ["  e", "two", "", "   x", "  thr", ""])
        self.assertEqual(self.lines("gone\x1b[2;1Hgone\x1b[H\x1b[J"), [""] * vt.HEIGHT)

    def test_scrolling_and_wrapping(self):
        lines = self.lines("".join(f"{n}\r\n" for n in range(vt.HEIGHT)) + "y" * 81)
        self.assertEqual((lines[0], lines[-2], lines[-1]), ("2", "y" * 80, "y"))

    def test_inserting(self):
        self.assertEqual(self.lines("bc\r\x1b[4ha\x1b[4l\x1b[?25l")[0], "abc")

    def test_picture(self):
        screen = vt.Screen().feed("\x1b[31;44mA\x1b[7mB")
        self.assertEqual([cell for cell in screen.cells[0][:2]], [("A", (1, 4)), ("B", (4, 1))])
        picture = vt.picture(screen)
        self.assertEqual((picture.width, picture.height), (640, 384))
        self.assertEqual(bytes(picture.pixels[:3]), bytes(vt.COLOURS[4]))
        self.assertEqual(bytes(picture.pixels[24:27]), bytes(vt.COLOURS[1]))


class SerialLine(unittest.TestCase):
    def test_both_ways(self):
        with tempfile.TemporaryDirectory() as directory:
            file = pathlib.Path(directory) / "serial.txt"
            line = talk.Line(file)
            with socket.create_connection(("127.0.0.1", line.port)) as guest:
                self.assertEqual(line.read(), b"")  # it was the call itself
                guest.sendall(b"hello")
                self.assertEqual(line.read(), b"hello")
                line.waiting = b"answer"
                self.assertEqual(line.sinks(), line.sources())
                line.write()
                self.assertEqual((guest.recv(100), line.sinks()), (b"answer", []))
            self.assertEqual((line.read(), line.sources()), (b"", []))
            line.close()
            self.assertEqual(file.read_bytes(), b"hello")

    def test_terminal_is_restored(self):
        master, slave = pty.openpty()
        before = termios.tcgetattr(slave)
        stdin, sys.stdin = sys.stdin, open(slave)
        try:
            with self.assertRaises(KeyError), talk.Terminal() as terminal:
                self.assertNotEqual(termios.tcgetattr(slave), before)
                os.write(master, b"\x03\r")
                self.assertEqual(terminal.read(), b"\x03\r")
                raise KeyError
        finally:
            sys.stdin.close()
            sys.stdin = stdin
        self.assertEqual(termios.tcgetattr(master), before)
        os.close(master)


class BochsOutput(unittest.TestCase):
    def test_beginnings_are_withheld(self):
        box = machine.Bochs(machine.Spec(image=pathlib.Path("x"), work=pathlib.Path(".")))
        box.sift(b"Time breakpoint inserted. Delta = 1\n")
        for piece, held in ((b"linux# ", 0), (b"(initramfs) ", 0), (b"x (0) Caught", 10),
                            (b"Next at t=12", 12), (b"Next: ", 0), (b"# (0)", 3), (b"(", 1)):
            self.assertEqual(box.withheld(piece), held, piece)


class Files(unittest.TestCase):
    def test_grub_without_corbel(self):
        text = image.grub_config_bare([("0-vmlinuz", "kernel vm=a mem=8M -- console=ttyS0 x"),
                                       ("1-cpio", "initrd vm=a")], "text")
        self.assertIn("\nlinux /boot/0-vmlinuz 'console=ttyS0' 'x'\ninitrd /boot/1-cpio\n", text)

    def test_archive(self):
        named = {"init": b"#!", "bin/busybox": b"busybox!", "kvm/a.ko": b"ko"}
        data = initramfs.pack(initramfs.contents(named))
        self.assertEqual(data, initramfs.pack(initramfs.contents(named)))
        names = {}
        at = 0
        while True:
            self.assertEqual(data[at:at + 6], b"070701")
            mode, size, major, minor, length = (
                int(data[at + 6 + 8 * i:at + 14 + 8 * i], 16) for i in (1, 6, 9, 10, 11))
            start = at + 110
            name = data[start:start + length - 1].decode()
            body = (start + length + 3) & ~3
            if name == "TRAILER!!!":
                break
            names[name] = (mode, data[body:body + size], major, minor)
            at = (body + size + 3) & ~3
        self.assertEqual(names["bin/busybox"], (0o100755, b"busybox!", 0, 0))
        self.assertEqual(names["dev/console"], (0o020600, b"", 5, 1))
        self.assertEqual(names["etc"][0], 0o040755)
        self.assertEqual(names["kvm/a.ko"], (0o100755, b"ko", 0, 0))
        # A directory comes before what is in it, once.
        self.assertLess(list(names).index("kvm"), list(names).index("kvm/a.ko"))

    def test_ticks(self):
        with tempfile.TemporaryDirectory() as directory:
            program = f"{directory}/ticks"
            subprocess.run(["gcc", "-Os", "-static", "-nostdlib", "-ffreestanding", "-fno-pic",
                            "-no-pie", "-fno-stack-protector", "-o", program,
                            TOP / "tools/linux/ticks.c"], check=True)
            first, second = (int(subprocess.run([program], capture_output=True, check=True).stdout)
                             for _ in range(2))
        self.assertLess(first, second)


if __name__ == "__main__":
    unittest.main()
