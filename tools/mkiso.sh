#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: tools/mkiso.sh OUT.iso KERNEL.elf GRUB.cfg [FILE...]
# Makes an image that boots from CD, disk and USB stick, under BIOS and UEFI. Each FILE is put in
# /boot under its own name. The same inputs give the same image, byte for byte. Silent unless it
# fails. KERNEL may be - for none: the image's GRUB can then load Linux too.
set -eu

[ $# -ge 3 ] || { echo "usage: $0 OUT.iso KERNEL.elf GRUB.cfg [FILE...]" >&2; exit 2; }
out=$1 kernel=$2 config=$3
shift 3

# All GRUB needs to show a menu, set a video mode and load a kernel. Its own start asks for the
# partition maps (part_*) and complains on the screen without them.
modules="normal multiboot2 all_video gfxterm test echo ls cat reboot halt search configfile fat part_acorn
    part_amiga part_apple part_bsd part_dfly part_dvh part_gpt part_msdos part_plan part_sun part_sunpc"

[ "$kernel" != - ] || modules="$modules linux"

# The epoch stands for "when": GRUB names a file after it, ISO 9660 stamps every file with it.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-1700000000}
TZ=UTC
export SOURCE_DATE_EPOCH TZ

work=$(mktemp -d "$out.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
mkdir -p "$work/tree/boot/grub"
# Debug information would only be read from the CD, slowly.
[ "$kernel" = - ] || strip -o "$work/tree/boot/corbel.elf" "$kernel"
cp "$config" "$work/tree/boot/grub/grub.cfg"
for file in "$@"; do
    cp "$file" "$work/tree/boot/"
done
find "$work/tree" -exec touch -d "@$SOURCE_DATE_EPOCH" {} +

date=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S00)
# mbr_force_bootable: some BIOSes (Dell's, HP's, Lenovo's) boot no disk without an active partition,
# and UEFI wants the one that stands for its table not to be. So there is an empty one that is.
if ! grub-mkrescue -o "$work/image" --install-modules="$modules" --locales= --fonts= --themes= \
    "$work/tree" -- -volid CORBEL -volume_date uuid "$date" -volume_date all_file_dates "$date" \
    -boot_image any mbr_force_bootable=on \
    >"$work/log" 2>&1; then
    cat "$work/log" >&2
    echo "mkiso: grub-mkrescue failed" >&2
    exit 1
fi

# mformat draws the serial number of the EFI system partition by lot: 4 bytes at offset 39 of its
# boot sector.
efi=$(xorriso -indev "$work/image" -report_el_torito plain 2>/dev/null |
    awk '/boot img/ && / UEFI / { print $NF }')
printf CRBL | dd of="$work/image" bs=1 seek=$((efi * 2048 + 39)) conv=notrunc status=none
mv "$work/image" "$out"
