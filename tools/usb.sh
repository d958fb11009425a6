#!/bin/bash
# SPDX-License-Identifier: MIT
# usage: tools/usb.sh [--yes] [--force] DEVICE IMAGE.iso
# Writes Corbel's image to a USB stick, which loses all it holds, and makes the rest of the stick a
# FAT partition, CORBEL-DATA, for kernels of your own and a menu for them.
#   --yes    do not ask
#   --force  also a disk that does not call itself removable, or a plain file
set -euo pipefail

fail() {
    echo "usb: $*" >&2
    exit 1
}

yes='' force=''
while [ $# -gt 0 ]; do
    case $1 in
    --yes) yes=1 ;;
    --force) force=1 ;;
    --help | -h) sed -n '3,7s/^# //p' "$0"; exit 0 ;;
    --) shift; break ;;
    -*) fail "unknown option $1" ;;
    *) break ;;
    esac
    shift
done
[ $# -eq 2 ] || fail "give the stick and the image: make usb DEV=/dev/sdX"
device=$1 image=$2
[ -f "$image" ] || fail "$image is not there"
PATH=$PATH:/usr/sbin:/sbin
for program in sgdisk mformat mmd mcopy lsblk blockdev; do
    command -v "$program" >/dev/null || fail "$program is missing (packages gdisk, mtools, util-linux)"
done
SYSFS=${SYSFS:-/sys} # its tests have their own

# ---- is this what it should be? -----------------------------------------------------------------
# Mounted, swapped to, or the ground of a volume of any kind.
used_by() {
    lsblk -nro MOUNTPOINT "$device" || fail "lsblk cannot tell whether $device is in use"
    find "$1/" -path '*/holders/*' -printf '%f\n' # the slash: it is a link
}

[ -e "$device" ] || fail "$device is not there"
if [ -b "$device" ]; then
    name=$(basename "$(readlink -f "$device")")
    sys=$SYSFS/class/block/$name
    [ -e "$sys/" ] || fail "$device is no disk that the system knows"
    [ ! -e "$sys/partition" ] || fail "$device is a partition: name the whole disk"
    used=$(used_by "$sys") || exit 1
    used=$(echo "$used" | sed '/^$/d' | sort -u | paste -sd ' ')
    [ -z "$used" ] || fail "$device is in use ($used): unmount it first"
    [ -w "$device" ] || fail "$device cannot be written: try it with sudo"
    [ "$(cat "$sys/ro")" = 0 ] || fail "$device is write-protected"
    if [ "$(cat "$sys/removable")" != 1 ] && [ -z "$force" ]; then
        fail "$device does not call itself removable; if it is the stick all the same, say FORCE=1"
    fi
    size=$(blockdev --getsize64 "$device")
    [ "$size" != 0 ] || fail "$device has no medium in it"
    what=$(lsblk -dnro VENDOR,MODEL "$device" | sed 's/\\x20/ /g')
elif [ -f "$device" ] && [ -n "$force" ]; then
    size=$(stat -c %s "$device")
    what="a file"
else
    fail "$device is not a disk"
fi

sector=512
image_size=$(stat -c %s "$image")
# The image's own end holds its second partition table, which moves to the end of the stick.
start=$(((image_size + (1 << 20) - 1) / (1 << 20) * (1 << 20) / sector))
[ "$size" -ge $((start * sector + (8 << 20))) ] ||
    fail "$device has $((size >> 20)) MiB, which is too small"

if [ -z "$yes" ]; then
    echo "All that is on $device ($what, $((size >> 20)) MiB) will be lost."
    read -r -p "Type yes to go on: " answer
    [ "$answer" = yes ] || fail "nothing was written"
fi

# ---- write ----------------------------------------------------------------------------------------
echo "usb: writing $((image_size >> 10)) KiB to $device"
dd if="$image" of="$device" bs=1M conv=notrunc,fsync status=none
# What is read back comes from the stick, not from memory: worn and forged ones keep nothing.
[ ! -b "$device" ] || blockdev --flushbufs "$device"
cmp -s -n "$image_size" "$image" "$device" || fail "$device did not keep what was written to it"
echo "usb: making the data partition"
# The table is right whatever the kernel thinks of it, which sgdisk warns about.
sgdisk --move-second-header --new="0:$start:0" --typecode=0:0700 --change-name=0:CORBEL-DATA \
    "$device" >/dev/null
# It wrote the MBR anew, without the active partition that some BIOSes want (tools/mkiso.sh).
dd if="$image" of="$device" bs=1 skip=462 seek=462 count=48 conv=notrunc status=none
at="$device@@$((start * sector))"
sectors=$((size / sector - start - 33))
mformat -i "$at" -T "$sectors" -h 64 -s 32 -v CORBELDATA ::
mmd -i "$at" ::/corbel
mcopy -i "$at" "$(dirname "$0")/menu-example.cfg" ::/corbel/menu.cfg
sync "$device"
# So that the new partition shows up; a desktop may be faster and hold it already.
[ ! -b "$device" ] || blockdev --rereadpt "$device" 2>/dev/null || true
echo "usb: done: boot it, or put kernels into the partition CORBELDATA (corbel/menu.cfg says how)"
