#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Packs a small Linux: the directories that any has, and files.

usage: tools/initramfs.py OUT NAME=FILE...

NAME is what it will be called there, such as bin/busybox. Everything may be executed. The same inputs give the same file. Linux describes the format in its documentation, "initramfs
buffer format"; it is made here because it holds a device node, which takes root to make on a disk.
"""
import pathlib
import stat
import sys


def entry(number, name, mode, data=b"", device=(0, 0)):
    """One file in cpio's "newc" form: 13 numbers of 8 hexadecimal digits, name, contents."""
    links = 2 if stat.S_ISDIR(mode) else 1
    numbers = (number, mode, 0, 0, links, 0, len(data), 0, 0, *device, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08x" % n for n in numbers) + name.encode() + b"\0"
    return padded(head) + padded(data)


def padded(data):
    return data + bytes(-len(data) % 4)


def pack(files):
    """files: (name, mode, contents, device) in the order they are to be made."""
    parts = [entry(number, *file) for number, file in enumerate(files, 1)]
    parts.append(entry(0, "TRAILER!!!", 0))
    return b"".join(parts)


def contents(named):
    """named: {name in the archive: contents}."""
    directories = {"bin", "dev", "etc", "proc", "root", "sys", "tmp"}
    directories |= {name.rpartition("/")[0] for name in named if "/" in name}
    files = [(name, stat.S_IFDIR | 0o755) for name in sorted(directories)]
    # The first process's console is opened before it can mount /dev.
    files.append(("dev/console", stat.S_IFCHR | 0o600, b"", (5, 1)))
    return files + [(name, stat.S_IFREG | 0o755, data) for name, data in named.items()]


def main():
    if len(sys.argv) < 2 or not all("=" in word for word in sys.argv[2:]):
        sys.exit(__doc__)
    names = dict(word.split("=", 1) for word in sys.argv[2:])
    data = pack(contents({name: pathlib.Path(file).read_bytes() for name, file in names.items()}))
    pathlib.Path(sys.argv[1]).write_bytes(data)


if __name__ == "__main__":
    main()
