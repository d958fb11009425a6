# SPDX-License-Identifier: MIT
"""Tests of what is said where KVM cannot run Corbel, on computers made of a few files."""
import pathlib
import sys
import tempfile
import unittest

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / "tools"))

import machine  # noqa: E402

SPEC = machine.Spec(image=pathlib.Path("x.iso"), work=pathlib.Path("."))


class Computer(unittest.TestCase):
    """One where all is well; each test spoils something."""

    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.directory.name)
        self.put("proc/cpuinfo", "processor\t: 0\nvendor_id\t: GenuineIntel\n"
                                 "flags\t\t: fpu vme vmx ept lm\n\nprocessor\t: 1\n")
        self.put("dev/kvm", "")
        self.put("sys/module/kvm_intel/parameters/nested", "Y\n")
        self.put("sys/module/kvm_intel/parameters/ept", "Y\n")

    def tearDown(self):
        self.directory.cleanup()

    def put(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def trouble(self, allowed=True):
        return machine.kvm_trouble(self.root, lambda path, mode: allowed)

    def test_all_is_well(self):
        self.assertEqual(self.trouble(), "")
        for value in ("1\n", "Y", "1"):
            self.put("sys/module/kvm_intel/parameters/nested", value)
            self.assertEqual(self.trouble(), "")

    def test_amd(self):
        self.put("proc/cpuinfo", "vendor_id\t: AuthenticAMD\nflags\t\t: fpu svm lm\n")
        self.assertIn("AuthenticAMD: Corbel needs Intel's VT-x", self.trouble())

    def test_a_vm(self):
        self.put("proc/cpuinfo", "vendor_id\t: GenuineIntel\nflags\t\t: fpu hypervisor\n")
        self.assertIn("is itself a VM", self.trouble())

    def test_no_vmx(self):
        # A flag of another name, and no flags at all.
        for text in ("vendor_id\t: GenuineIntel\nflags\t\t: fpu novmx\n", ""):
            self.put("proc/cpuinfo", text)
            self.assertIn("firmware setup", self.trouble())
        (self.root / "proc/cpuinfo").unlink()
        self.assertIn("firmware setup", self.trouble())

    def test_no_device(self):
        (self.root / "dev/kvm").unlink()
        self.assertIn("sudo modprobe kvm_intel nested=1", self.trouble())

    def test_no_permission(self):
        self.assertIn("sudo usermod -aG kvm", self.trouble(allowed=False))

    def test_not_nested(self):
        for value in ("N\n", "0\n"):
            self.put("sys/module/kvm_intel/parameters/nested", value)
            self.assertIn("modprobe kvm_intel nested=1", self.trouble())
            self.assertIn("/etc/modprobe.d/", self.trouble())

    def test_no_ept(self):
        self.put("sys/module/kvm_intel/parameters/ept", "N\n")
        self.assertIn("does without EPT", self.trouble())

    def test_a_kernel_without_the_parameter(self):
        (self.root / "sys/module/kvm_intel/parameters/ept").unlink()
        self.assertEqual(self.trouble(), "")


class Choice(unittest.TestCase):
    """MACHINE=auto takes KVM where it can run Corbel, and never stops for lack of it."""

    def choose(self, name, trouble):
        real, machine.kvm_trouble = machine.kvm_trouble, lambda: trouble
        try:
            return machine.choose(name, SPEC)
        finally:
            machine.kvm_trouble = real

    def test_auto(self):
        self.assertEqual(self.choose("auto", "KVM does not nest").name, "bochs")
        self.assertEqual(self.choose("auto", "").name, "kvm")

    def test_named(self):
        with self.assertRaisesRegex(machine.MachineError, "does not nest"):
            self.choose("kvm", "KVM does not nest")

    def test_command_line(self):
        with tempfile.TemporaryDirectory() as work:
            spec = machine.Spec(image=pathlib.Path("x.iso"), work=pathlib.Path(work), cpus=4)
            real, machine.kvm_trouble = machine.kvm_trouble, lambda: ""
            try:
                words = machine.Qemu(spec, kvm=True).command()
            finally:
                machine.kvm_trouble = real
        self.assertEqual(words[words.index("-machine") + 1], "q35,accel=kvm")
        self.assertEqual(words[words.index("-cpu") + 1], "host,+vmx")
        self.assertEqual(words[words.index("-smp") + 1], "4")
        self.assertIn("isa-debug-exit,iobase=0xf4,iosize=4", words)


if __name__ == "__main__":
    unittest.main()
