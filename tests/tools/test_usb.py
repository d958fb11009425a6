# SPDX-License-Identifier: MIT
"""Tests of tools/usb.sh: what it refuses to overwrite, and what it leaves on a stick.

The disks are device nodes without a driver, and a few files in place of /sys, lsblk and blockdev:
whatever went wrong, nothing could be written anywhere.
"""
import os
import pathlib
import shutil
import stat
import subprocess
import tempfile
import unittest

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
USB = TOP / "tools/usb.sh"
MIB = 1 << 20
PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"
HAVE_TOOLS = all(shutil.which(name, path=PATH) for name in ("sgdisk", "mformat"))


def usb(*words, answer="", **environment):
    return subprocess.run(["bash", str(USB), *map(str, words)], input=answer, text=True,
                          capture_output=True, check=False, env={**os.environ, **environment})


@unittest.skipUnless(HAVE_TOOLS, "gdisk or mtools is not installed")
class Stick(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.top = pathlib.Path(self.directory.name)
        self.image = self.top / "image.iso"
        self.image.write_bytes(bytes(4 * MIB))

    def tearDown(self):
        self.directory.cleanup()


class Writing(Stick):
    """Onto a plain file, which takes --force."""

    def setUp(self):
        super().setUp()
        self.stick = self.top / "stick"
        self.stick.write_bytes(b"\xee" * (32 * MIB))

    def sgdisk(self, *words):
        return subprocess.run(["sgdisk", *words], text=True, check=True, capture_output=True,
                              env={**os.environ, "PATH": PATH})

    def test_the_stick_has_image_and_data_partition(self):
        self.sgdisk("--new=1:2048:4095", str(self.image))
        active = bytes((0x80, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0))
        with open(self.image, "r+b") as image:
            image.seek(0x1ce)
            image.write(active)
        result = usb("--yes", "--force", self.stick, self.image)
        self.assertEqual(result.returncode, 0, result.stderr)
        written = self.stick.read_bytes()
        self.assertEqual(len(written), 32 * MIB)
        # The empty active partition that some BIOSes want, beside the one that covers the disk.
        self.assertEqual(written[0x1ce:0x1de], active)
        self.assertEqual(written[0x1c2], 0xee)
        self.assertEqual(written[0x1be], 0)
        # The image's own partition, and the data after the image: FAT, with the example menu.
        start = 4 * MIB // 512
        table = self.sgdisk("--print", str(self.stick))
        rows = [line.split() for line in table.stdout.splitlines() if line.strip()[:1].isdigit()]
        self.assertEqual([row[:2] for row in rows], [["1", "2048"], ["2", str(start)]])
        self.assertIn("CORBEL-DATA", rows[1])
        self.assertNotIn("aution", table.stdout + table.stderr)
        at = f"{self.stick}@@{4 * MIB}"
        menu = subprocess.run(["mtype", "-i", at, "::/corbel/menu.cfg"], check=True,
                              capture_output=True).stdout
        self.assertEqual(menu, (TOP / "tools/menu-example.cfg").read_bytes())

    def test_it_asks(self):
        result = usb("--force", self.stick, self.image, answer="no\n")
        self.assertEqual(result.returncode, 1)
        self.assertIn("will be lost", result.stdout)
        self.assertIn("nothing was written", result.stderr)
        self.assertEqual(self.stick.read_bytes(), b"\xee" * (32 * MIB))
        for answer in ("", "y\n", "YES\n"):
            self.assertEqual(usb("--force", self.stick, self.image, answer=answer).returncode, 1)
        self.assertEqual(self.stick.read_bytes(), b"\xee" * (32 * MIB))
        self.assertEqual(usb("--force", self.stick, self.image, answer="yes\n").returncode, 0)

    def test_too_small(self):
        self.stick.write_bytes(bytes(11 * MIB))
        result = usb("--yes", "--force", self.stick, self.image)
        self.assertEqual(result.returncode, 1)
        self.assertIn("11 MiB, which is too small", result.stderr)

    def test_a_file_is_not_a_disk(self):
        self.assertIn("is not a disk", usb("--yes", self.stick, self.image).stderr)
        self.assertIn("is not a disk", usb("--yes", "--force", self.top, self.image).stderr)

    def test_nothing_there(self):
        self.assertIn("is not there", usb("--yes", self.top / "none", self.image).stderr)
        self.assertIn("is not there", usb("--yes", self.stick, self.top / "none").stderr)
        self.assertIn("unknown option", usb("--no", self.stick, self.image).stderr)
        self.assertIn("make usb DEV=", usb(self.stick).stderr)


class Disk(Stick):
    """A disk that is good for writing; each test spoils something. dd is a program that fails."""

    def setUp(self):
        super().setUp()
        self.disk = self.top / "sdx"
        try:
            os.mknod(self.disk, stat.S_IFBLK | 0o600, os.makedev(240, 0))  # of local use
        except PermissionError:
            self.skipTest("making device nodes takes root")
        self.sys = self.top / "class/block/sdx"
        (self.sys / "holders").mkdir(parents=True)
        self.put("sys/removable", "1")
        self.put("sys/ro", "0")
        self.program("lsblk", 'case $* in *MOUNTPOINT*) echo;; *) echo "Brand\\x20Stick";; esac')
        self.program("blockdev", "echo 33554432")
        self.program("dd", 'echo "dd: $*" >&2; exit 1')

    def put(self, name, text):
        (self.sys / name.removeprefix("sys/")).write_text(text + "\n")

    def program(self, name, body):
        path = self.top / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def write(self, *options):
        return usb("--yes", *options, self.disk, self.image, SYSFS=str(self.top),
                   PATH=f"{self.top}/bin:{os.environ['PATH']}")

    def refused(self, why, *options):
        result = self.write(*options)
        self.assertEqual(result.returncode, 1)
        self.assertIn(why, result.stderr)
        self.assertNotIn("dd:", result.stderr)

    def accepted(self, *options):
        self.assertIn(f"dd: if={self.image} of={self.disk}", self.write(*options).stderr)

    def test_good(self):
        self.accepted()

    def test_partition(self):
        self.put("partition", "1")
        self.refused("is a partition: name the whole disk", "--force")

    def test_mounted(self):
        self.program("lsblk", "printf '\\n/media/me/STICK\\n[SWAP]\\n'")
        self.refused("is in use (/media/me/STICK [SWAP])", "--force")

    def test_part_of_a_volume(self):
        (self.sys / "holders/dm-0").mkdir()
        self.refused("is in use (dm-0)", "--force")

    def test_a_partition_of_it_is_part_of_a_volume(self):
        (self.sys / "sdx2/holders/md127").mkdir(parents=True)
        self.refused("is in use (md127)", "--force")

    def test_use_not_known(self):
        self.program("lsblk", "exit 32")
        self.refused("lsblk cannot tell", "--force")

    def test_not_removable(self):
        self.put("removable", "0")
        self.refused("does not call itself removable")
        self.accepted("--force")

    def test_write_protected(self):
        self.put("ro", "1")
        self.refused("is write-protected", "--force")

    def test_empty_reader(self):
        self.program("blockdev", "echo 0")
        self.refused("has no medium in it", "--force")

    def test_too_small(self):
        self.program("blockdev", f"echo {8 * MIB}")
        self.refused("8 MiB, which is too small", "--force")

    def test_unknown_to_the_system(self):
        shutil.rmtree(self.sys)
        self.refused("is no disk that the system knows", "--force")

    def test_a_stick_that_keeps_nothing(self):
        self.program("dd", "exit 0")
        self.program("cmp", "exit 1")
        result = self.write()
        self.assertEqual(result.returncode, 1)
        self.assertIn("did not keep what was written", result.stderr)


if __name__ == "__main__":
    unittest.main()
