#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests of tools/bench_boot.py: what it lets pass, and what it writes."""
import contextlib
import io
import pathlib
import sys
import tempfile
import unittest
from unittest import mock

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / "tools"))

import bench_boot  # noqa: E402


class BenchBoot(unittest.TestCase):
    def run_it(self, ticks, *words):
        """(what was printed, what it ended with) when a boot takes so many ticks by its name."""
        out = io.StringIO()
        with mock.patch.object(bench_boot, "boot", lambda build, name, mem: ticks[name]):
            with contextlib.redirect_stdout(out):
                try:
                    bench_boot.main(["bench_boot.py", "build", *words])
                    return out.getvalue(), None
                except SystemExit as end:
                    return out.getvalue(), end.code

    def test_limits(self):
        printed, end = self.run_it({"boot_1g": 8_000_000, "boot_2g": 9_000_000})
        self.assertEqual(printed, "figure\tboot_1g\t8000000\nfigure\tboot_2g\t9000000\n")
        self.assertIsNone(end)
        for slow, ticks in (("boot_1g", 8_000_001), ("boot_2g", 9_000_001)):
            printed, end = self.run_it({"boot_1g": 1, "boot_2g": 1, slow: ticks})
            self.assertIn(f"figure\t{slow}\t{ticks}\n", printed)
            self.assertIn(f"{slow} took {ticks} ticks", end)

    def test_console(self):
        with tempfile.TemporaryDirectory() as directory:
            console = pathlib.Path(directory) / "console.txt"
            console.write_text("figure\tbefore\t1\n")
            printed, _ = self.run_it({"boot_1g": 5, "boot_2g": 6}, str(console))
            self.assertEqual(printed, "")
            self.assertEqual(console.read_text(), "figure\tbefore\t1\nfigure\tboot_1g\t5\n"
                             "figure\tboot_2g\t6\n")

    def test_stops(self):
        """Without the guest's first instruction there is no measurement."""
        with tempfile.TemporaryDirectory() as directory:
            build = pathlib.Path(directory)

            def run(argv, **_):
                log = build / "bench-boot" / "boot_1g"
                log.mkdir(parents=True)
                (log / "result.json").write_text('{"stops": [17]}')
            with mock.patch.object(bench_boot, "entry", lambda kernel: 0x200080), \
                    mock.patch.object(bench_boot.subprocess, "run", run), \
                    self.assertRaises(SystemExit) as end:
                bench_boot.boot(build, "boot_1g", 1024)
            self.assertIn("stopped 1 times", str(end.exception))


if __name__ == "__main__":
    unittest.main()
