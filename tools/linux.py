#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Boots a Linux in a VM of Corbel's, its console on this terminal. Ctrl-] leaves.

usage: tools/linux.py [options] [-- options of tools/run.py]
"""
import argparse
import pathlib
import sys

import machine
import run

TOP = pathlib.Path(__file__).resolve().parent.parent
# Host memory for Corbel and for GRUB's copies of kernel and initrd, beside the VM's.
FOR_CORBEL = 256
LINUX_CPU = "broadwell_ult"  # Bochs' model with the least for Linux to complain about

# kind: (initrd, MiB, what to add to the kernel's command line)
KINDS = {
    "cloud": ("initramfs.cpio", 256, "console=ttyS0"),
    "generic": ("initramfs.cpio", 512, "console=ttyS0"),
    "installer": ("installer/initrd.gz", 1024, "console=ttyS0"),
}


class Guest:
    """What is booted: a kernel of Debian's, or one's own."""

    def __init__(self, build, kind, kernel="", initrd="", append="", mem=0):
        default_initrd, default_mem, default_append = KINDS[kind]
        files = build / "linux"
        self.kernel = pathlib.Path(kernel) if kernel else files / kind / "vmlinuz"
        if initrd:
            self.initrd = pathlib.Path(initrd)
        else:
            # To a kernel of one's own, whose root may be anywhere, nothing is added.
            self.initrd = None if kernel else files / default_initrd
        self.append = append or default_append
        self.mem = mem or default_mem

    def modules(self, name="linux"):
        """The words for run.py that hand it over."""
        words = ["--module", str(self.kernel), f"kernel vm={name} mem={self.mem}M -- {self.append}"]
        if self.initrd:
            words += ["--module", str(self.initrd), f"initrd vm={name}"]
        return words

    def machine_memory(self):
        files = [self.kernel, *([self.initrd] if self.initrd else [])]
        return self.mem + FOR_CORBEL + 2 * sum(f.stat().st_size for f in files) // (1 << 20)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--build", type=pathlib.Path, default=TOP / "build")
    add("--kind", choices=KINDS, default="cloud", help="which of Debian's (%(default)s)")
    add("--kernel", default="", help="a kernel of one's own")
    add("--initrd", default="", help="its initial RAM disk")
    add("--append", default="", help="its command line")
    add("--mem", type=int, default=0, metavar="MiB", help="the VM's memory")
    add("--machine", choices=("auto", "bochs", "kvm"), default="auto")
    add("--cpu", default="", help=f"CPU model (Bochs: {LINUX_CPU})")
    add("--cmdline", default="console=e9", help="Corbel's command line (%(default)s)")
    add("--bare", action="store_true", help="on the machine itself, without Corbel")
    add("more", nargs="*", help="options of tools/run.py, after --")
    return parser.parse_args()


def main():
    options = arguments()
    guest = Guest(options.build, options.kind, options.kernel, options.initrd, options.append,
                  options.mem)
    bochs = options.machine == "bochs" or (options.machine == "auto"
                                           and not machine.kvm_usable())
    cpu = options.cpu or (LINUX_CPU if bochs else "")
    try:
        memory = guest.machine_memory()
    except OSError as error:
        sys.exit(f"linux: {error.filename}: {error.strerror}")
    print(f"  linux: {guest.kernel}, {guest.mem} MiB, command line \"{guest.append}\"")
    print(f"  linux: on {'Bochs' if bochs else 'KVM'}{', bare' if options.bare else ''};"
          " Ctrl-] leaves", flush=True)
    words = ["--build", str(options.build), "--machine", options.machine, "--cpu", cpu,
             "--mem", str(memory), "--media", "disk", "--timeout", "1e9", *guest.modules()]
    words += ["--bare"] if options.bare else ["--cmdline", options.cmdline]
    if not any(word.startswith("--script") for word in options.more):
        words.append("--terminal")
    return run.main(words + options.more)


if __name__ == "__main__":
    sys.exit(main())
