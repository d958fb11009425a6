# SPDX-License-Identifier: MIT
"""What is said to the echo guest (guest/tiny/echo.c), which says it all back: the tests of the
terminal between the user and the VMs."""
import random

from talk import TalkError

END = "\x04"  # Ctrl-D ends the guest
LEAVE = "\x1d"  # Ctrl-]
NEXT = "\x1c"  # Ctrl-\
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789 .,-"


def lines(length, seed):
    """At least so many characters of lines, short and long."""
    chance = random.Random(seed)
    text = ""
    while len(text) < length:
        text += "".join(chance.choice(LETTERS) for _ in range(chance.randint(1, 300))) + "\n"
    return text


def checksum(text):
    """As the guest computes it: it knows each byte and its place."""
    value = 0
    for byte in text.encode():
        value = ((value << 1 | value >> 31) & 0xffffffff) ^ byte
    return value


def received(text, label=""):
    """Waits for the guest's account of what it has received, which is to be this text."""
    match = yield rf"^{label}echo: (\d+) bytes, sum ([0-9a-f]+)\r?\n"
    found = (int(match.group(1)), int(match.group(2), 16))
    if found != (len(text), checksum(text)):
        raise TalkError(f"{len(text)} bytes with sum {checksum(text):08x} were typed, and the guest"
                        f" has {match.group(0)!r}")


def paste(talk):
    """Several KiB at once, to a guest that is deaf after each line."""
    yield r"^echo: ready\r?$"
    text = lines(6000, 1)
    talk.send(text + END)
    yield from received(text + END)
    if text not in talk.text.replace("\r", ""):
        raise TalkError("what the guest echoed is not shown as it was typed")


def leave(talk):
    """Ctrl-] behind more than the guest can have read."""
    yield r"^echo: ready\r?$"
    talk.send(lines(7000, 1) + LEAVE)
    yield r"^vm \S+: stopped: left \(Ctrl-\]\)\r?$"


def keyboard(talk):
    """Two VMs, one and two: each line is labelled, each hears what is typed for it."""
    yield r"^\[one\] echo: ready\r?$"
    for_one, for_two = "hello, one\n" + lines(2000, 1) + END, lines(3000, 2) + END
    talk.send("hello, one\n")
    yield r"^\[one\] hello, one\r?$"
    talk.send(NEXT)
    yield r"^vm two: has the keyboard\r?$"
    talk.send(for_two.removesuffix(END) + NEXT + for_one.removeprefix("hello, one\n"))
    yield from received(for_one, r"\[one\] ")
    yield r"^vm two: has the keyboard\r?$"
    talk.send(END)
    yield from received(for_two, r"\[two\] ")


SCRIPTS = (paste, leave, keyboard)
