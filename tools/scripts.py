# SPDX-License-Identifier: MIT
"""What is said to a Linux guest, and what it must answer: see talk.Talk for what a script is."""
import hashlib
import pathlib
import re

import echo_scripts
import vt
from echo_scripts import NEXT
from talk import LEAVE, TalkError

READY = r"^linux# "
# What the installer's first screen shows, from the top down.
INSTALLER_SCREEN = (
    "┌───────────────────────┤ [!!] Select a language ├────────────────────────┐",
    "│ Choose the language to be used for the installation process. The        │",
    "│ selected language will also be the default language for the installed   │",
    "│ system.                                                                 │",
    "│ Language:                                                               │",
    "│                               C                                         │",
    "│                               English                                   │",
    "│     <Go Back>                                                           │",
    "└─────────────────────────────────────────────────────────────────────────┘",
    "<Tab> moves; <Space> selects; <Enter> activates buttons",
)
ALLOWED = pathlib.Path(__file__).resolve().parent / "linux" / "dmesg-allowed.txt"
# What a kernel says when the machine is not as it should be.
COMPLAINT = re.compile(r"WARNING|BUG|Call Trace|unstable|[Uu]nhandled|unchecked MSR"
                       r"|Firmware Bug|ACPI (BIOS )?(Error|Warning)|[Ee]rror|[Ff]ailed|Invalid"
                       r"|lost|spurious|nobody cared|soft lockup|stall|not functional|[Bb]roken")
TICKS_A_SECOND = 100_000_000  # of Bochs' TSC: the machine's ips


def wants(condition, what):
    if not condition:
        raise TalkError(what)


# ---- parts of scripts -------------------------------------------------------------------------

def uname(talk):
    output = yield from talk.command("uname -a")
    wants(re.match(r"Linux \(none\) 6\.1\.\S+-amd64 #1 SMP .* x86_64 GNU/Linux", output),
          f"uname -a: {output!r}")


# A Linux that knows its TSC's frequency and has the TSC-deadline timer leaves the 8254 alone.
PIT = ("0", "IO-APIC 2-edge timer")


def interrupts(talk, more=()):
    """Each interrupt takes the way it takes on a PC, and those that must have come have come."""
    output = yield from talk.command("cat /proc/interrupts")
    rows = {}
    for line in output.splitlines():
        match = re.match(r" *(\w+): +(\d+) *(.*?) *$", line)
        if match:
            rows[match.group(1)] = (int(match.group(2)), re.sub(" +", " ", match.group(3)))
    for row, what in (("4", "IO-APIC 4-edge ttyS0"), ("8", "IO-APIC 8-edge rtc0"),
                      ("9", "IO-APIC 9-fasteoi acpi"), ("LOC", "Local timer interrupts"), *more):
        wants(row in rows, f"/proc/interrupts has no row {row}")
        wants(rows[row][1] == what, f"/proc/interrupts, row {row}: {rows[row][1]!r}")
    wants("XT-PIC" not in output, "/proc/interrupts: the 8259 pair is in use")
    for row in ("4", "LOC"):
        wants(rows[row][0] > 0, f"/proc/interrupts, row {row}: not one")
    for row in ("ERR", "MIS", "SPU"):
        wants(rows.get(row, (0,))[0] == 0, f"/proc/interrupts, row {row}: {rows.get(row)}")


def time_sources(talk, timer="lapic-deadline"):
    output = yield from talk.command("cat /sys/devices/system/clock*/clock*0/current*")
    wants(output.split() == [timer, "tsc"], f"time is taken from {output.split()}")


def copy(talk):
    """64 MiB through a tmpfs: what is read is what was written."""
    size = 64 << 20
    yield from talk.command("mkdir /tmp/d; mount -t tmpfs -o size=80m d /tmp/d")
    yield from talk.command("many() { while cat /bin/busybox; do :; done; }")
    yield from talk.command("many | dd of=/tmp/d/a bs=64k count=1024 iflag=fullblock")
    output = yield from talk.command("dd if=/tmp/d/a bs=1M | md5sum")
    once = (talk.files / "busybox/busybox").read_bytes()
    sum_here = hashlib.md5((once * (size // len(once) + 1))[:size]).hexdigest()
    wants(re.search(rf"^{sum_here} ", output, re.M), f"64 MiB came back as {output!r}")
    yield from talk.command("umount /tmp/d")


def sleep(talk, seconds):
    """The guest's second is the machine's. The TSC, which counts Bochs' instructions, tells."""
    yield from talk.command("now() { cut -d' ' -f1 /proc/uptime; ticks; }")
    output = yield from talk.command(f"now; sleep {seconds}; now")
    before, start, after, end = output.split()
    slept = (int(end) - int(start)) / TICKS_A_SECOND
    counted = float(after) - float(before)
    wants(0 <= slept - seconds < 0.1, f"sleep {seconds} took {slept:.3f} s by the TSC")
    # /proc/uptime counts hundredths, twice.
    wants(abs(counted - slept) <= 0.02 + seconds / 1000,
          f"{slept:.3f} s by the TSC were {counted:.3f} s to Linux")


def clock_chip(talk):
    """A minute of the CMOS clock is a minute of Linux's."""
    # At the start of a second; the shell reads by itself, without a process for each.
    yield from talk.command("rtc=/sys/class/rtc/rtc0/since_epoch; get() { read t <$rtc; }")
    yield from talk.command("next() { o=$t; while [ $o = $t ]; do get; done; }")
    yield from talk.command("edge() { get; next; echo $t; ticks; }")
    output = yield from talk.command("edge; sleep 59; edge")
    before, start, after, end = map(int, output.split())
    wants(after - before == 60, f"the CMOS clock went {after - before} s in a minute")
    minute = (end - start) / TICKS_A_SECOND
    wants(abs(minute - 60) < 0.06, f"a minute of the CMOS clock took {minute:.4f} s by the TSC")


def allowed_complaints():
    """Patterns of tools/linux/dmesg-allowed.txt: each stands below the reason why."""
    lines = ALLOWED.read_text().splitlines()
    return [re.compile(line) for line in lines if line and not line.startswith("#")]


def messages(talk):
    """The kernel's log tells of the timer in use and complains of nothing but what is allowed."""
    output = yield from talk.command("dmesg")
    allowed = allowed_complaints()
    bad = [line for line in output.splitlines()
           if COMPLAINT.search(line) and not any(a.search(line) for a in allowed)]
    wants(not bad, "dmesg complains: " + " | ".join(bad))
    for pattern in (r"TSC deadline timer available", r"clocksource: Switched to clocksource tsc$",
                    r"ACPI: Using IOAPIC for interrupt routing", r"ttyS0 at I/O 0x3f8 .* 16550A",
                    r"rtc_cmos .*: registered as rtc0"):
        wants(re.search(pattern, output, re.M), f"dmesg does not say /{pattern}/")


# ---- scripts ----------------------------------------------------------------------------------

def shell(talk):
    """A boot, everything that is to be seen from a shell, a reboot and a power-off."""
    yield r"^corbel-init: Linux 6\.1\.\S+, 1 CPU"
    yield READY
    yield from uname(talk)
    yield from interrupts(talk)
    yield from time_sources(talk)
    yield from copy(talk)
    yield from sleep(talk, 1)
    yield from clock_chip(talk)
    yield from messages(talk)
    yield from again(talk)


def poweroff(talk):
    talk.send("poweroff\n")
    yield r"reboot: Power down"


def boot(talk):
    """A boot to the shell and a power-off."""
    yield READY
    yield from uname(talk)
    yield from poweroff(talk)


def beside(talk):
    """The same for one of several VMs, whose lines are labelled."""
    yield r"^\[\w+\] linux# "
    yield from poweroff(talk)


def clocks(talk):
    """A boot to the shell and all about time."""
    yield READY
    yield from interrupts(talk)
    yield from time_sources(talk)
    yield from sleep(talk, 1)
    yield from clock_chip(talk)
    yield from poweroff(talk)


def one_shot(talk):
    """The same where Linux was told not to use the TSC-deadline timer."""
    yield READY
    yield from interrupts(talk, [PIT])
    yield from time_sources(talk, "lapic")
    yield from sleep(talk, 1)
    yield from poweroff(talk)


def two(talk):
    """Two VMs, a and b. One has the keyboard, then the other, and both say who they are."""
    yield r"^\[(a|b)\] linux# "
    yield r"^\[(a|b)\] linux# "
    talk.send("echo $((6 * 7)) for a; reboot\n")
    yield r"^\[a\] 42 for a\r?$"
    talk.send(NEXT)
    yield r"^vm b: has the keyboard\r?$"
    talk.send("echo $((6 * 7)) for b; sleep 1; ticks\n")
    yield r"^\[b\] 42 for b\r?$"
    yield r"^\[b\] \d+\r?$"
    talk.send(NEXT)
    yield r"^\[a\] linux# "
    talk.send("poweroff\n")
    yield r"^vm b: has the keyboard\r?$"
    talk.send("poweroff\n")
    yield r"^vm b: stopped: powered off"


def again(talk):
    """A boot to the shell, a reboot to it and a power-off."""
    yield READY
    talk.send("reboot\n")
    yield r"reboot: Restarting system"
    yield from boot(talk)


def installer(talk):
    """The Debian installer to its first screen, which must look as it should."""
    yield r"Select a language"
    match = yield r"<Enter> activates buttons"
    lines = vt.Screen().feed(talk.text[:match.end()]).lines()
    at = -1
    for wanted in INSTALLER_SCREEN:
        found = [y for y in range(at + 1, len(lines)) if wanted in lines[y]]
        wants(found, f"the installer's screen has no {wanted!r}, or not in its place")
        at = found[0]
    talk.send(LEAVE.decode())


def stopwatch(talk):
    """For rdinit=/bin/ticks: it is over when that has told the time."""
    yield r"^\d+\r?$"
    talk.send(LEAVE.decode())


def look(talk):
    """Prints much, judges nothing: for people who look into a boot."""
    yield READY
    for line in ("uname -a", "cat /proc/interrupts", "cat /proc/iomem", "cat /proc/ioports",
                 "cat /proc/cpuinfo", "cat /sys/devices/system/clock*/clock*0/current*",
                 "dmesg", "cat /proc/timer_list"):
        yield from talk.try_command(line)
    yield from poweroff(talk)


SCRIPTS = {script.__name__: script
           for script in (shell, boot, beside, clocks, one_shot, two, again, installer, stopwatch,
                          look, *echo_scripts.SCRIPTS)}
