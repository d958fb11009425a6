#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: tools/check-kernel.sh CORBEL.elf CORBEL.iso
# What must be true of the kernel and its image whatever is in them. Prints each fault.
set -u

elf=$1 iso=$2
faults=0

fault() {
    echo "check-kernel: $*"
    faults=$((faults + 1))
}

grub-file --is-x86-multiboot2 "$elf" || fault "$elf is no multiboot2 kernel"

# Nothing saves the host's vector registers around an exit: Corbel must never touch them.
vectors=$(objdump -d --no-show-raw-insn "$elf" | grep -c '%[xyz]mm[0-9]\|%st(')
[ "$vectors" = 0 ] || fault "$vectors instructions use vector or x87 registers"

readelf -lW "$elf" | grep -q ' RWE ' && fault "a segment is both writable and executable"

undefined=$(nm -u "$elf")
[ -z "$undefined" ] || fault "undefined symbols: $undefined"

size=$(stat -c %s "$elf")
[ "$size" -lt 4194304 ] || fault "$elf has $size bytes, more than 4 MiB"
size=$(stat -c %s "$iso")
[ "$size" -lt 16777216 ] || fault "$iso has $size bytes, more than 16 MiB"

# The same inputs give the same image.
tools/mkiso.sh "$iso.again" "$elf" tools/grub.cfg || fault "the image cannot be made again"
cmp -s "$iso" "$iso.again" || fault "made again, the image differs"
rm -f "$iso.again"

[ "$faults" = 0 ]
