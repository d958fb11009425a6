#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: tools/check-kernel.sh CORBEL.elf CORBEL.iso
# What must be true of the kernel and its image whatever is in them. Prints each fault, and the
# image's sizes.
set -u

elf=$1 iso=$2
objects=$(dirname "$elf")/k
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

# Parts of the image whose memory may have gone to guests (INIT and LAB in tools/image.mk): who else
# refers to one is a fault, but for the file in each that knows when it is there. Prints the
# references into sections that begin with $1, from files that do not match $2 and have none of their
# own that begin with $1 or $3.
references() {
    find "$objects" -name '*.o' ! -name 'symbols*' -exec objdump -ht {} + |
        awk -v part="$1" -v may="$2" -v also="$3" '
        / file format / { file = $1; sub(/:$/, "", file) }
        $2 ~ "^" part "[.]" || (also && $2 ~ "^" also "[.]") { friend[file] = 1 }
        / g / && index($0, " " part ".") { home[$NF] = file }
        /\*UND\*/ { wants[file " " $NF] = 1 }
        END {
            for (want in wants) {
                split(want, pair, " ")
                if ((pair[2] in home) && !(pair[1] in friend) && pair[1] !~ may)
                    print pair[1] ": " pair[2]
            }
        }'
}

# The laboratory is there in the runs that use it, and where it is the start stays too.
strangers=$(references .lab '/boot/run[.]o$' '')
[ -z "$strangers" ] || fault "these refer to the laboratory, which may not be there: $strangers"
strangers=$(references .init '/boot/main[.]o$|/boot/start[.]asm[.]o$' .lab)
[ -z "$strangers" ] || fault "these refer to the start, which may be over: $strangers"
# What was found is nothing because it was looked for in the right place.
[ -n "$(references .lab nobody '')" ] || fault "the references of boot/run.c are not seen"
[ -n "$(references .init nobody .lab)" ] || fault "the references of boot/main.c are not seen"

# BIOSes that look for an active partition, and UEFI: tools/mkiso.sh.
flags=$(od -v -An -tx1 -j446 -N64 -w16 "$iso" | awk '{ printf "%s ", $1 }')
[ "$flags" = "00 80 00 00 " ] || fault "the active partitions of $iso are $flags"

size=$(stat -c %s "$elf")
[ "$size" -lt 4194304 ] || fault "$elf has $size bytes, more than 4 MiB"
size=$(stat -c %s "$iso")
[ "$size" -lt 16777216 ] || fault "$iso has $size bytes, more than 16 MiB"

# docs/performance.md says what counts as what; linker.ld asserts the budget.
address() {
    echo "0x$(nm "$elf" | awk -v name="$1" '$3 == name { print substr($1, 9) }')"
}
between() {
    echo "$((($(address "$2") - $(address "$1") + 1023) / 1024)) KiB"
}
echo "check-kernel: text $(between text_start text_end)," \
     "read-only data $(between rodata_start ksyms_start)," \
     "names of functions $(between ksyms_start rodata_end)," \
     "data $(between data_start data_end), start $(between init_start lab_start)," \
     "laboratory $(between lab_start image_end)"

# The same inputs give the same image.
tools/mkiso.sh "$iso.again" "$elf" tools/grub.cfg || fault "the image cannot be made again"
cmp -s "$iso" "$iso.again" || fault "made again, the image differs"
rm -f "$iso.again"

[ "$faults" = 0 ]
