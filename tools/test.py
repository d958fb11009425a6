#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs Corbel's tests (tools/test_steps.py) and says for each how it went.

Every step's output is kept in build/test/NAME.log, a boot's other files in build/test/NAME/. The
last line is "N passed, N failed"; the exit status is 0 if nothing failed.
"""
import argparse
import concurrent.futures
import fnmatch
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import time

import machine
import screenshot
import screentext
import test_steps
from test_steps import Boot, Command, Fuzz, Host

TOP = pathlib.Path(__file__).resolve().parent.parent
EMULATORS = 2  # at most: each wants a core
FAIL_TAIL = 15  # lines of a failed step's log that are shown
MAKE_PROGRESS = re.compile(r"^  [A-Z]+ +\S")  # what else went well hides what did not


class Failure(Exception):
    """The step failed; the text says why in a line."""


class NotRun(Failure):
    """It was not even started."""


class Outcome:
    def __init__(self):
        self.passed = self.failed = 0
        self.why = ""
        self.has_log = True
        self.seconds = 0.0
        self.note = ""


class Tester:
    def __init__(self, options):
        self.options = options
        # As make names it when called by hand: its dependency files hold these names.
        self.build = pathlib.Path(os.path.relpath(options.build, TOP))
        self.logs = self.build / "test"
        self.lock = threading.Lock()
        self.shown = 0
        self.total = 0
        self.failed_names = set()
        self.outcomes = []
        # Makes started from here are not children of the make that started this.
        self.environment = {k: v for k, v in os.environ.items()
                            if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")}

    # -- running one step -----------------------------------------------------------------------
    def run(self, step):
        outcome = Outcome()
        started = time.monotonic()
        lacking = [name for name in step.needs if name in self.failed_names]
        try:
            if lacking:
                raise NotRun(f"{', '.join(lacking)} failed")
            {Command: self.command, Host: self.host, Fuzz: self.command,
             Boot: self.boot}[type(step)](step, outcome)
            if not outcome.failed:
                outcome.passed = max(outcome.passed, 1)
        except Failure as failure:
            outcome.why = str(failure)
            outcome.has_log = not isinstance(failure, NotRun)
            outcome.failed = max(outcome.failed, 1)
        outcome.seconds = time.monotonic() - started
        with self.lock:
            if outcome.failed:
                self.failed_names.add(step.name)
            self.outcomes.append(outcome)
            self.tell(step, outcome)

    def tell(self, step, outcome):
        self.shown += 1
        cases = f", {outcome.passed} cases" if outcome.passed > 1 else ""
        width = len(str(self.total))
        head = f"[{self.shown:{width}}/{self.total}] {step.name} ..."
        if not outcome.failed:
            print(f"{head} ok ({outcome.seconds:.0f} s{cases}{outcome.note})", flush=True)
            return
        if not outcome.has_log:
            print(f"{head} NOT RUN: {outcome.why}", flush=True)
            return
        print(f"{head} FAILED ({outcome.seconds:.0f} s): {outcome.why}", flush=True)
        log = self.log_path(step)
        if log.exists():
            lines = log.read_text(errors="replace").splitlines()
            for line in [line for line in lines if not MAKE_PROGRESS.match(line)][-FAIL_TAIL:]:
                print(f"      | {line}")
            print(f"      | (the whole of it: {os.path.relpath(log)})", flush=True)

    def log_path(self, step):
        return self.logs / f"{step.name.replace('/', '-')}.log"

    def spawn(self, step, argv, timeout):
        """The exit status and the output, which is also in the step's log."""
        log = self.log_path(step)
        with open(log, "wb") as out:
            out.write(f"$ {' '.join(map(str, argv))}\n".encode())
            out.flush()
            try:
                status = subprocess.run(argv, cwd=TOP, stdin=subprocess.DEVNULL, stdout=out,
                                        stderr=subprocess.STDOUT, timeout=timeout, check=False,
                                        env=self.environment).returncode
            except subprocess.TimeoutExpired:
                raise Failure(f"not done after {timeout} s") from None
            except OSError as error:
                raise Failure(str(error)) from None
        return status, log.read_text(errors="replace")

    def command(self, step, outcome):
        argv = [word.replace("@BUILD@", str(self.build)) for word in step.argv]
        status, output = self.spawn(step, argv, step.timeout)
        cases = re.search(r"^Ran (\d+) tests? in", output, re.M)  # as Python's unittest says it
        if cases and not status:
            outcome.passed = int(cases.group(1))
        if status:
            raise Failure(f"exit status {status}")

    def host(self, step, outcome):
        status, output = self.spawn(step, [self.build / "host" / step.program], step.timeout)
        outcome.passed = sum(map(int, re.findall(r"\[  PASSED  \] (\d+) test", output)))
        outcome.failed = sum(map(int, re.findall(r"\[  FAILED  \] (\d+) test", output)))
        if status or outcome.failed:
            raise Failure(f"{outcome.failed} cases failed" if outcome.failed
                          else f"exit status {status}")
        if not outcome.passed:
            raise Failure("it ran no case")

    # -- boots ----------------------------------------------------------------------------------
    def boot(self, step, outcome):
        first = self.boot_once(step, outcome, self.logs / step.name)
        if step.twice:
            second = self.boot_once(step, outcome, self.logs / (step.name + "-again"))
            if first != second:
                raise Failure("a second run differs: compare the two directories' console.txt "
                              "and result.json")

    def boot_once(self, step, outcome, directory):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        status, _ = self.spawn(step, self.boot_command(step, directory), step.timeout + 60)
        console = self.text_of(directory / "console.txt")
        self.count_selftests(step, outcome, console)
        result = self.text_of(directory / "result.json")
        if status != step.status:
            raise Failure(f"status {status}, not {step.status}")
        self.match(console, step.expect, step.forbid, "the console")
        if step.serial:
            self.match(self.text_of(directory / "serial.txt"), step.serial, (), "the serial line")
        if step.screen:
            self.check_screen(step, directory)
        ticks = re.search(r'"ticks": (\d+)', result)
        if ticks:
            outcome.note = f", {int(ticks.group(1)) / 1e6:.0f}M ticks"
        return console, ticks and ticks.group(1)

    def boot_command(self, step, directory):
        argv = [sys.executable, str(TOP / "tools/run.py"), "--build", str(self.build),
                "--machine", step.machine, "--firmware", step.firmware, "--media", step.media,
                "--mem", str(step.mem), "--cpus", str(step.cpus), "--ticks", str(step.ticks),
                "--uart", step.uart, "--boots", str(step.boots),
                "--keys", str(step.keys), "--timeout", str(step.timeout), "--log", str(directory)]
        if step.image:
            argv += ["--image", str(self.build / step.image)]
        else:
            argv += ["--cmdline", step.cmdline]
        if step.script:
            argv += ["--script", step.script]
        if step.cpu:
            argv += ["--cpu", step.cpu]
        if step.video:
            argv += ["--video", step.video]
        if step.screen:
            argv += ["--screenshot", str(directory / "screen.png")]
            argv += [f"--shows={pattern}" for pattern in step.screen]
        for number, (contents, line) in enumerate(step.modules):
            file = directory / f"module{number}"
            if isinstance(contents, str):
                file = self.build / contents
            else:
                file.write_bytes(contents(self.build) if callable(contents) else contents)
            argv += ["--module", str(file), line]
        return argv

    @staticmethod
    def text_of(path):
        return path.read_text(errors="replace") if path.exists() else ""

    @staticmethod
    def match(text, expect, forbid, where):
        """Every pattern of expect must be found, in this order; none of forbid anywhere."""
        at = 0
        for pattern in expect:
            match = re.compile(pattern, re.M).search(text, at)
            if not match:
                again = "again " if re.search(pattern, text, re.M) else ""
                raise Failure(f"{where} does not show {again}/{pattern}/")
            at = match.end()
        for pattern in forbid:
            match = re.search(pattern, text, re.M)
            if match:
                raise Failure(f"{where} shows {match.group(0)!r}")

    def check_screen(self, step, directory):
        try:
            picture = screenshot.Picture.read_png(directory / "screen.png")
        except (OSError, ValueError) as error:
            raise Failure(f"no screenshot: {error}") from None
        text = "\n".join(screentext.read_screen(picture))
        (directory / "screen.txt").write_text(text + "\n")
        self.match(text, step.screen, (), "the screen")

    @staticmethod
    def count_selftests(step, outcome, console):
        """Self-tests count one by one. Those that had to be skipped are told, not counted."""
        if not step.selftests:
            return
        match = re.search(r"^(\d+) passed, (\d+) failed, (\d+) skipped", console, re.M)
        if not match:
            raise Failure("the self-tests did not end with their count")
        passed, failed, skipped = map(int, match.groups())
        outcome.passed += passed
        outcome.failed += failed
        if passed < step.selftests:
            raise Failure(f"only {passed} self-tests passed, {step.selftests} are wanted")
        if failed:
            names = re.findall(r"^FAIL:? (\S+)", console, re.M)
            raise Failure(f"{failed} self-tests failed: {' '.join(names)}")
        if skipped > step.skips:
            raise Failure(f"{skipped} self-tests were skipped, at most {step.skips} may be")

    # -- all of them ----------------------------------------------------------------------------
    def go(self, steps):
        self.logs.mkdir(parents=True, exist_ok=True)
        self.total = len(steps)
        for step in steps:
            if step.alone:
                self.run(step)
        with concurrent.futures.ThreadPoolExecutor(self.options.jobs) as pool:
            # The long ones first: the end is not a wait for one of them.
            rest = sorted((s for s in steps if not s.alone), key=lambda s: -s.about)
            list(pool.map(self.run, rest))
        passed = sum(outcome.passed for outcome in self.outcomes)
        failed = sum(outcome.failed for outcome in self.outcomes)
        return passed, failed


def selected(options):
    """The steps to run, and the names of those this machine cannot run."""
    steps = test_steps.all_steps(TOP)
    if options.matrix:
        needed = {name for step in steps if step.matrix for name in step.needs}
        steps = [step for step in steps if step.matrix or step.name in needed]
    elif not options.only:
        steps = [step for step in steps if step.sample or not step.matrix]
    if options.fast:
        steps = [step for step in steps if step.fast]
    if options.only:
        chosen = {s.name for s in steps if fnmatch.fnmatch(s.name, options.only)}
        # What a chosen step needs is run too.
        for step in reversed(steps):
            if step.name in chosen:
                chosen |= set(step.needs)
        steps = [step for step in steps if step.name in chosen]
    kvm = machine.kvm_usable()
    away = [s.name for s in steps if isinstance(s, Boot) and s.machine == "kvm" and not kvm]
    return [step for step in steps if step.name not in away], away


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fast", action="store_true", help="only what takes seconds")
    parser.add_argument("--matrix", action="store_true",
                        help="the self-tests on every machine of the matrix")
    parser.add_argument("--only", metavar="GLOB", help="only the steps of such names")
    parser.add_argument("--list", action="store_true", help="name the steps and stop")
    parser.add_argument("--jobs", type=int, default=EMULATORS, help="steps at a time")
    parser.add_argument("--build", type=pathlib.Path, default=TOP / "build")
    options = parser.parse_args()
    steps, away = selected(options)
    if options.list:
        for step in steps:
            print(f"{step.name:36}{step.says}")
        return 0
    started = time.monotonic()
    tester = Tester(options)
    os.chdir(TOP)
    try:
        passed, failed = tester.go(steps)
    except KeyboardInterrupt:
        print("\ntest: interrupted")
        return 130
    if away:
        print(f"not run, for want of VT-x under KVM here: {', '.join(away)}")
    if not steps:
        print(f"no step's name matches {options.only}")
        failed = 1
    print(f"{time.monotonic() - started:.0f} s")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
