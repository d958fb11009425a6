#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Boots Corbel in an emulator, shows its console and exits with Corbel's own status.

Exit status:
  0  success                               4  Corbel crashed
  1  a VM or a self-test failed            5  Corbel did not end, or not as it said
  2  bad command line or module            6  the machine could not be started
  3  this machine cannot run guests        130  interrupted
"""
import argparse
import contextlib
import json
import os
import pathlib
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import image
import machine
import screenshot
import screentext
import scripts
import talk

TOP = pathlib.Path(__file__).resolve().parent.parent
DONE = re.compile(rb"^corbel: done: status (\d+)\s*$")
MEANING = ("success", "a VM or a self-test failed", "bad command line or module",
           "this machine cannot run guests", "Corbel crashed",
           "Corbel did not end, or not as it said", "the machine could not be started")
FAILED, NOT_ENDED, NOT_STARTED = 1, 5, 6
TICKS = 20_000_000_000
GRACE = 20  # seconds from the last word to the machine's end
SCREEN_PAUSE = 0.2  # seconds between two looks at a screen that does not show yet what it is to
BARE_GRACE = 2  # the same where nobody is to end the machine


class Console:
    """What Corbel has written: shown as it comes, kept in a file, watched for the last word."""

    def __init__(self, path, show):
        self.file = open(path, "wb")
        self.show = show
        self.line = b""
        self.status = None
        self.ends = 0  # last words

    def write(self, data):
        if not data:
            return
        self.file.write(data)
        self.file.flush()
        if self.show:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        self.line += data
        *whole, self.line = self.line.split(b"\n")
        for line in whole:
            match = DONE.search(line)
            if match:
                self.status = int(match.group(1))
                self.ends += 1


class Run:
    """One boot, from the emulator's start to its end."""
    PAUSE = 0.05  # seconds without a word, after which the beginning of a line is shown
    LONG_PAUSE = 0.5  # and after which it is not taken for the beginning of the debugger's words

    def __init__(self, box, spec, options, console, line=None, conversation=None):
        self.box = box
        self.spec = spec
        self.options = options
        self.console = console
        self.line = line
        self.talk = conversation
        self.terminal = None
        self.screen = None
        self.rest = b""  # the line that is not complete
        self.heard_at = 0
        self.stopped = ""  # why the runner stopped the machine itself
        self.left = False  # Ctrl-] was pressed
        self.state = ""

    def go(self):
        # setpriv: the emulator goes when this program goes, however it goes.
        command = ["setpriv", "--pdeathsig", "KILL", *self.box.command()]
        (self.spec.work / "command.txt").write_text(shlex.join(command[3:]) + "\n")
        with open(self.spec.work / "stderr.txt", "wb") as errors:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL,
                                            stdout=subprocess.PIPE, stderr=errors,
                                            start_new_session=True)
        try:
            with contextlib.ExitStack() as stack:
                if self.options.terminal:
                    self.terminal = stack.enter_context(talk.Terminal())
                self._follow()
        finally:
            self.process.kill()  # harmless where it has ended
            self.process.wait()
            self.process.stdout.close()
            if self.screen:
                self.screen.close()
            if self.line:
                self.line.close()

    def _follow(self):
        deadline = time.monotonic() + self.options.timeout
        done_at = None
        while not self.stopped and self._pump():
            now = time.monotonic()
            self._watch_screen()
            if done_at is None and (self.console.status is not None or self._talk_over()):
                done_at = now
            if done_at is not None and self._over(now - done_at):
                break
            if now > deadline:
                self._stop(f"no end after {self.options.timeout} s")
        self._show(self.rest)
        if not self.stopped:
            try:
                self.process.wait(timeout=GRACE)
            except subprocess.TimeoutExpired:
                self._stop("the emulator closed its output and did not end")

    # -- bytes ----------------------------------------------------------------------------------
    def _pump(self):
        """Moves what there is to move. False: the emulator closed its output."""
        output = self.process.stdout.fileno()
        ends = [end for end in (self.line, self.terminal) if end]
        sources = [source for end in ends for source in end.sources()]
        ready, writable, _ = select.select([output, *sources],
                                           self.line.sinks() if self.line else [], [], self.PAUSE)
        if writable:
            self.line.write()
        if self.terminal and any(source in ready for source in self.terminal.sources()):
            self._type(self.terminal.read())
        if self.line and any(source in ready for source in self.line.sources()):
            data = self.line.read()
            if self.options.bare:
                self._hear(data)
        if output not in ready:
            self._show_beginning()
            return True
        data = os.read(output, 65536)
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self._show(line + b"\n")
        self.heard_at = time.monotonic()
        return bool(data)

    def _show_beginning(self):
        """A prompt, say. But what may be the debugger's must be known to the end of its line."""
        withheld = self.box.withheld(self.rest)
        if withheld < len(self.rest) and time.monotonic() - self.heard_at > self.LONG_PAUSE:
            withheld = 0
        shown = len(self.rest) - withheld
        beginning, self.rest = self.rest[:shown], self.rest[shown:]
        self._show(beginning)

    def _show(self, line):
        data = self.box.sift(line) if line else b""
        if data and not self.options.bare:
            self._hear(data)

    def _hear(self, data):
        self.console.write(data)
        if self.talk:
            self.talk.hear(data)
            self.line.waiting += self.talk.take()

    def _type(self, data):
        """Ctrl-] is Corbel's to answer; where it does not, or is not there, a second one ends."""
        if talk.LEAVE in data:
            if self.left or self.options.bare:
                self.stopped = "left with Ctrl-]"
            self.left = True
        self.line.waiting += data

    # -- the end --------------------------------------------------------------------------------
    def _talk_over(self):
        """Whether the script has come to an end with which the run ends too."""
        return self.talk and self.talk.done and (self.options.bare or self.talk.failure)

    def _over(self, since_done):
        """Whether nothing more is to be awaited, the last word being said."""
        if self.talk and self.talk.failure:
            self._stop("stopped")
            return True
        if self.options.bare and since_done > BARE_GRACE:
            self.stopped = "all is said"
            return True
        if self.console.ends < self.options.boots:
            return False
        if self.spec.halts:
            self._press_keys()
            self._take_screenshot()
            self.stopped = "halted, as it was told to"
            return True
        if "end=reboot" in self.options.cmdline.split() and self.box.resets() >= self.options.boots:
            self.stopped = "rebooted, as it was told to"
            return True
        if since_done > GRACE:
            self._stop(f"still running {GRACE} s after its last word")
            return True
        return False

    def _stop(self, why):
        self.stopped = why
        self._take_screenshot()
        if isinstance(self.box, machine.Qemu):
            try:
                qmp = screenshot.Qmp(self.spec.work / "qmp")
                self.state = qmp.monitor("info registers -a")
                self.state = re.sub(r"^(FPR|XMM).*\n", "", self.state, flags=re.M)
                qmp.close()
            except OSError as error:
                self.state = f"(no registers: {error})\n"

    def _watch_screen(self):
        if self.spec.screen and not self.screen and isinstance(self.box, machine.Bochs):
            port = self.box.rfb_port()
            if port:
                self.screen = screenshot.RfbScreen(port)

    def _press_keys(self):
        """The keys that turn the pages of the results, each when its page is there to be turned."""
        for number in range(1, self.options.keys + 1):
            self._await_screen([f"^-- page {number} of"])
            qmp = screenshot.Qmp(self.spec.work / "qmp")
            qmp.command("send-key", keys=[{"type": "qcode", "data": "spc"}])
            qmp.close()

    def _await_screen(self, patterns):
        """The screen once it shows all of them, or as it is after a while."""
        end = time.monotonic() + GRACE
        while True:
            picture = self._picture()
            if not patterns:
                return picture
            text = "\n".join(screentext.read_screen(picture))
            if (all(re.search(pattern, text, re.M) for pattern in patterns)
                    or time.monotonic() > end):
                return picture
            time.sleep(SCREEN_PAUSE)

    def _picture(self):
        if self.screen:
            return self.screen.picture()
        qmp = screenshot.Qmp(self.spec.work / "qmp")
        picture = qmp.picture(self.spec.work / "screen.ppm")
        qmp.close()
        return picture

    def _take_screenshot(self):
        if not self.spec.screen:
            return
        try:
            self._await_screen(self.options.shows).write_png(self.options.screenshot)
        except (OSError, ValueError) as error:
            print(f"run: no screenshot: {error}", file=sys.stderr)

    def verdict(self):
        """(exit status, what happened, ticks)."""
        said = self.console.status
        if said is None:
            said = serial_status(self.spec.work / "serial.txt")
        if self.stopped:
            ending = machine.Ending(self.stopped, clean=self.stopped.endswith("told to"),
                                    state=self.state)
        else:
            errors = (self.spec.work / "stderr.txt").read_text(errors="replace")
            ending = self.box.ending(self.process.returncode, errors)
            if (ending.what.startswith("the machine was reset")
                    and "end=reboot" in self.options.cmdline.split()):
                ending.clean = True
        self.state = ending.state
        if self.talk and not self.talk.done:
            awaited = self.talk.awaited.pattern
            return FAILED, f"the guest did not say /{awaited}/; {ending.what}", ending.ticks
        if self.talk and self.talk.failure:
            return FAILED, self.talk.failure, ending.ticks
        if self.options.bare:
            return 0, ending.what, ending.ticks
        if said is None:
            return NOT_ENDED, f"no last word from Corbel; {ending.what}", ending.ticks
        if not ending.clean:
            return NOT_ENDED, f"Corbel said status {said}, but: {ending.what}", ending.ticks
        if ending.status not in (None, said):
            what = f"Corbel said status {said}, the machine ended with {ending.status}"
            return NOT_ENDED, what, ending.ticks
        if ending.success not in (None, said == 0):
            word = "success" if ending.success else "failure"
            what = f"Corbel said status {said}, the machine ended as for {word}"
            return NOT_ENDED, what, ending.ticks
        return said, ending.what, ending.ticks


def serial_status(path):
    """The status in the last word on the serial line, for a console that is only there."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return None
    found = [match for match in map(DONE.search, lines) if match]
    return int(found[-1].group(1)) if found else None


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.print_usage(sys.stderr)
        self.exit(NOT_STARTED, f"run: {message}\n")


def parse_arguments(argv):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--machine", choices=("auto", "bochs", "kvm", "qemu"), default="auto",
        help="auto: KVM where the CPU has VT-x and /dev/kvm is usable, else Bochs")
    add("--cpu", default="", help=f"CPU model (Bochs: {machine.FULL_CPU})")
    add("--cpus", type=int, default=1, metavar="N", help="how many CPUs")
    add("--firmware", choices=("bios", "uefi"), default="bios")
    add("--media", choices=("cd", "disk", "usb"), default="cd")
    add("--mem", type=int, default=512, metavar="MiB")
    add("--boots", type=int, default=1, metavar="N",
        help="with end=reboot: let the machine start N times (%(default)s)")
    add("--uart", choices=("pc", "pci", "spcr"), default="pc",
        help="the serial port: COM1, on PCI, or where ACPI's SPCR says (QEMU)")
    add("--video", default=None,
        help="GRUB's gfxpayload (text; auto under UEFI, but in Bochs keep: no screen)")
    add("--cmdline", default="", help="Corbel's command line")
    add("--module", nargs=2, action="append", default=[], metavar=("FILE", "LINE"),
        help="a module and its line; may be given again")
    add("--kernel", type=pathlib.Path, default=None, metavar="ELF", help="build/corbel.elf")
    add("--image", type=pathlib.Path, help="boot this image as it is; no --cmdline, no --module")
    add("--bare", action="store_true",
        help="boot the kernel module on the machine itself, without Corbel; its COM1 is shown")
    add("--terminal", action="store_true",
        help="what is typed goes to COM1; Ctrl-] leaves")
    add("--script", choices=sorted(scripts.SCRIPTS),
        help="what is to be said to the guest, and what it is to answer (tools/scripts.py)")
    add("--stopwatch", type=lambda text: int(text, 0), default=0, metavar="ADDRESS",
        help="Bochs: take the time from there to the next XCHG BX, BX, into result.json")
    add("--ticks", type=int, default=None, metavar="N",
        help=f"Bochs: stop after this many instructions; 0: never ({TICKS:,}; never where"
        " somebody talks to the guest)")
    add("--timeout", type=float, default=900, metavar="S",
        help="stop after this many seconds (%(default)s)")
    add("--log", type=pathlib.Path, metavar="DIR", help="keep console, logs and result there")
    add("--screenshot", type=pathlib.Path, metavar="FILE.png",
        help="the screen at the end; adds end=halt to the command line if there is no end=")
    add("--shows", action="append", default=[], metavar="REGEX",
        help="take the screenshot when the screen shows this; may be given again")
    add("--keys", type=int, default=0, metavar="N",
        help="QEMU: press the space bar N times before the screenshot")
    add("--extra", action="append", default=[], metavar="LINE",
        help="a line for Bochs' configuration, words for QEMU's command line")
    add("--build", type=pathlib.Path, default=TOP / "build", help=argparse.SUPPRESS)
    add("--quiet", action="store_true", help="do not show the console")
    options = parser.parse_args(argv)
    if options.image and (options.cmdline or options.module or options.kernel):
        parser.error("--image is booted as it is: no --cmdline, --module or --kernel with it")
    if options.screenshot and not options.image and "end=" not in options.cmdline:
        options.cmdline = (options.cmdline + " end=halt").strip()
    if options.terminal and options.script:
        parser.error("--terminal and --script: only one can talk to the guest")
    if options.ticks is None:
        options.ticks = 0 if options.terminal or options.script else TICKS
    options.kernel = options.kernel or options.build / "corbel.elf"
    return options


def prepare(options, work, line):
    """Builds the image where none was given; returns the machine and its specification."""
    medium = options.image and options.image.resolve()
    # QEMU without the exit port is as a real machine: Corbel then halts by itself.
    halts = "end=halt" in options.cmdline.split() or (
        options.machine in ("qemu", "kvm") and options.image is not None
        and options.screenshot is not None)
    spec = machine.Spec(image=medium or work / "image.iso", work=work, cpu=options.cpu,
                        cpus=options.cpus, memory=options.mem, firmware=options.firmware,
                        media=options.media, ticks=options.ticks,
                        screen=options.screenshot is not None, halts=halts,
                        bare=options.bare, stopwatch=options.stopwatch,
                        line=line.port if line else 0, uart=options.uart,
                        restarts=options.boots > 1,
                        real_time=options.terminal and sys.stdin.isatty(),
                        extra=tuple(options.extra))
    if spec.screen:
        # A halted machine's time flies: the limit would come before the screen is taken.
        spec.ticks = 0
    box = machine.choose(options.machine, spec)
    if not medium:
        kernel = None if options.bare else options.kernel
        if kernel and not kernel.exists():
            raise machine.MachineError(f"{kernel} is not there; make it first")
        video = options.video or box.default_video(options.firmware)
        image.build(spec.image, kernel, options.cmdline, options.module, video, work)
    return box, spec


def report(options, box, run, seconds):
    status, what, ticks = run.verdict()
    meaning = MEANING[status] if status < len(MEANING) else "no such status"
    spent = f"{ticks:,} ticks, " if ticks else ""
    if run.state:
        (run.spec.work / "state.txt").write_text(run.state)
        where = machine.symbolize(None if options.image else options.kernel, run.state)
        if not options.quiet:
            print("\n" + run.state.strip())
        what += f"; {where}" if where else ""
    if not options.quiet or status >= NOT_ENDED:
        sys.stdout.flush()
        print(f"run: {box.name}: {what} ({spent}{seconds:.1f} s): status {status}, {meaning}",
              file=sys.stderr)
    result = {"status": status, "what": what, "ticks": ticks, "seconds": round(seconds, 1),
              "stops": getattr(box, "stops", [])}
    (run.spec.work / "result.json").write_text(json.dumps(result) + "\n")
    return status


def keep_logs(work, log):
    log.mkdir(parents=True, exist_ok=True)
    for path in work.iterdir():
        if path.is_file() and path.suffix not in (".iso", ".lock", ".ppm"):
            shutil.copy(path, log / path.name)


def as_ctrl_c(*_):
    """Everything is cleaned up on the way out."""
    raise KeyboardInterrupt


def main(argv=None):
    options = parse_arguments(argv)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, as_ctrl_c)
    options.build.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="run.", dir=options.build) as directory:
        work = pathlib.Path(directory)
        try:
            talks = options.terminal or options.script or options.bare
            line = talk.Line(work / "serial.txt") if talks else None
            script = options.script and talk.Talk(scripts.SCRIPTS[options.script],
                                                  options.build / "linux")
            box, spec = prepare(options, work, line)
            run = Run(box, spec, options, Console(work / "console.txt", not options.quiet), line,
                      script)
            run.go()
            return report(options, box, run, time.monotonic() - started)
        except (KeyboardInterrupt, BrokenPipeError):
            print("\nrun: interrupted", file=sys.stderr)
            return 130
        except (machine.MachineError, subprocess.CalledProcessError, OSError) as error:
            print(f"run: {error}", file=sys.stderr)
            return NOT_STARTED
        finally:
            if options.log:
                keep_logs(work, options.log)


if __name__ == "__main__":
    sys.exit(main())
