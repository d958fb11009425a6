#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Takes kernels and programs out of Debian's packages, without installing any.

usage: tools/debian.py DIR NAME...

NAME is cloud, generic, installer, kvm or busybox. DIR/NAME/ is filled with the files of that name, from
a package that apt downloads (no root needed) and that is kept in DIR/packages: nothing is fetched
twice. Remove DIR to take the newest again.
"""
import fcntl
import fnmatch
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile

# Name: (package, its real name where the first only depends on it, {file here: file in it}).
INSTALLER = "./usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64"
WANTED = {
    "cloud": ("linux-image-cloud-amd64", r"linux-image-6\.1\.\S+-cloud-amd64",
              {"vmlinuz": "./boot/vmlinuz-*"}),
    "generic": ("linux-image-amd64", r"linux-image-6\.1\.\S+-amd64",
                {"vmlinuz": "./boot/vmlinuz-*"}),
    "installer": ("debian-installer-12-netboot-amd64", None,
                  {"vmlinuz": f"{INSTALLER}/linux", "initrd.gz": f"{INSTALLER}/initrd.gz"}),
    # The cloud kernel again: modules load into the very kernel they were built with only.
    "kvm": ("linux-image-cloud-amd64", r"linux-image-6\.1\.\S+-cloud-amd64",
            {"vmlinuz": "./boot/vmlinuz-*", "irqbypass.ko": "*/virt/lib/irqbypass.ko",
             "kvm.ko": "*/arch/x86/kvm/kvm.ko", "kvm-intel.ko": "*/arch/x86/kvm/kvm-intel.ko"}),
    "busybox": ("busybox-static", None, {"busybox": "./bin/busybox"}),
}


class PackageError(Exception):
    """A package cannot be had; the text says why and what to do."""


def said(process):
    """The last line of what apt complained about."""
    lines = [line for line in process.stderr.splitlines() if line.startswith(("E:", "Err:"))]
    return lines[-1] if lines else f"exit status {process.returncode}"


class Apt:
    """Debian's package archive as this computer's sources name it."""

    def __init__(self, directory):
        self.directory = directory / "packages"
        self.directory.mkdir(parents=True, exist_ok=True)
        self.own_lists = []

    def run(self, *words):
        # C: what depends() reads is not translated then.
        environment = dict(os.environ, LC_ALL="C")
        try:
            return subprocess.run([words[0], "-q", "-o", "Acquire::Retries=3", *self.own_lists,
                                   *words[1:]], cwd=self.directory, text=True, check=False,
                                  capture_output=True, stdin=subprocess.DEVNULL, env=environment)
        except OSError as error:
            raise PackageError(f"{error.filename} is not there: this needs Debian; or name your "
                               "own kernel with KERNEL=") from None

    def refresh(self):
        """Reads the archive's lists anew, into a place of our own, for want of root."""
        lists = self.directory.resolve() / "lists"
        (lists / "partial").mkdir(parents=True, exist_ok=True)
        self.own_lists = ["-o", f"Dir::State::Lists={lists}", "-o",
                          f"Dir::Cache={self.directory.resolve()}"]
        print("  linux: reading the archive's package lists", flush=True)
        update = self.run("apt-get", "update")
        if update.returncode:
            raise PackageError(f"the package lists cannot be read: {said(update)}")

    def depends(self, package, pattern):
        out = self.run("apt-cache", "depends", package).stdout
        found = re.search(rf"^\s*Depends: ({pattern})$", out, re.M)
        return found and found.group(1)

    def try_download(self, package, real):
        """The package's file; None where the lists are absent or out of date."""
        name = self.depends(package, real) if real else package
        if not name:
            return None, f"no package {package} in the lists"
        print(f"  linux: downloading {name}", flush=True)
        before = set(self.directory.glob("*.deb"))
        # Into a directory of root's own apt could not step down to its own user, and says so.
        download = self.run("apt-get", "-o", "APT::Sandbox::User=root", "download", name)
        if download.returncode:
            return None, said(download)
        new = set(self.directory.glob("*.deb")) - before
        return (new or set(self.directory.glob(f"{name}_*.deb"))).pop(), ""

    def download(self, package, real):
        file, _ = self.try_download(package, real)
        if not file and not self.own_lists:
            self.refresh()
            file, why = self.try_download(package, real)
            if not file:
                raise PackageError(f"{package} cannot be downloaded: {why}")
        return file


def field(package, name):
    return subprocess.run(["dpkg-deb", "-f", package, name], text=True, check=True,
                          capture_output=True).stdout.strip()


def unpack(package, files, out):
    """files: {name in out: pattern of a name in the package}."""
    left = dict(files)
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as dpkg:
        with tarfile.open(fileobj=dpkg.stdout, mode="r|") as tar:
            for member in tar:
                name = next((n for n, p in left.items() if fnmatch.fnmatch(member.name, p)), None)
                if name and member.isfile():
                    with open(out / name, "wb") as file:
                        shutil.copyfileobj(tar.extractfile(member), file)
                    del left[name]
                if not left:
                    break
        dpkg.kill()  # it has more to give than is wanted
    if left:
        raise PackageError(f"{package.name} holds no {', '.join(left.values())}")


def provide(directory, name, apt):
    """Fills directory/name and returns what package that is."""
    out = directory / name
    label = out / "package.txt"
    if label.exists():
        label.touch()  # newer than this program: make need not ask again
        return label.read_text().strip()
    package, real, files = WANTED[name]
    kept = [p for p in apt.directory.glob("*.deb")
            if re.fullmatch(real or re.escape(package), p.name.split("_")[0])]
    # A cloud kernel's name is a generic kernel's too.
    kept = [p for p in kept if ("-cloud-" in p.name) == ("-cloud-" in (real or ""))]
    file = kept[0] if kept else apt.download(package, real)
    out.mkdir(exist_ok=True)
    unpack(file, files, out)
    what = f"{field(file, 'Package')} {field(file, 'Version')}"
    label.write_text(what + "\n")  # last: it says that all is there
    return what


def main():
    directory, names = pathlib.Path(sys.argv[1]), sys.argv[2:]
    apt = Apt(directory)
    # make asks for several at once, and apt works for one at a time.
    lock = os.open(apt.directory, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        for name in names:
            print(f"  linux: {name}: {provide(directory, name, apt)}")
    except (PackageError, subprocess.CalledProcessError, OSError, tarfile.TarError) as error:
        print(f"debian: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 3 or any(name not in WANTED for name in sys.argv[2:]):
        sys.exit(__doc__)
    sys.exit(main())
