#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the self-tests in Bochs again and again and compares: the console and the ticks of every run
must be those of the first.

usage: tools/repeat.py BUILD RUNS [CMDLINE]
"""
import hashlib
import json
import pathlib
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent


def one(build, number, cmdline):
    log = build / "repeat"
    subprocess.run([sys.executable, TOP / "tools/run.py", "--build", build, "--kernel",
                    build / "corbel.elf", "--machine", "bochs", "--cmdline", cmdline, "--quiet",
                    "--log", log], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    result = json.loads((log / "result.json").read_text())
    console = (log / "console.txt").read_bytes()
    summary = [line for line in console.decode(errors="replace").splitlines() if " passed, " in line]
    print(f"  run {number}: {summary[-1] if summary else 'no summary'}, status {result['status']},"
          f" {result['ticks']:,} ticks, console {hashlib.sha256(console).hexdigest()[:16]}",
          flush=True)
    return result["status"], result["ticks"], console


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    build, runs = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    cmdline = sys.argv[3] if len(sys.argv) == 4 else "run=selftest"
    results = [one(build, number, cmdline) for number in range(1, runs + 1)]
    different = sum(result != results[0] for result in results)
    print(f"repeat: {runs} runs, {different} differ from the first")
    sys.exit(1 if different or results[0][0] != 0 else 0)


if __name__ == "__main__":
    main()
