// SPDX-License-Identifier: MIT
// A file without a header: its bytes go to 1 MiB, its first byte is its entry, and it is entered as
// a Multiboot kernel is, boot information included, so that a plain binary needs no more than an
// origin.
#include "arch/x86_64/lib/err.h"
#include "guest/multiboot.h"
#include "guest/pc.h"

int flat_load(struct vm *vm, const struct kernel_boot *boot, struct guest_start *start)
{
    struct multiboot mb = {.vm = vm, .boot = boot, .layout = {.entry = PC_HIGH_RAM}};
    const struct layout_segment all = {
        .at = PC_HIGH_RAM,
        .memory_size = boot->kernel.size,
        .file_size = boot->kernel.size,
    };

    int err = layout_add(vm, &mb.layout, &boot->kernel, all);
    if (err == OK)
        err = multiboot_place(&mb);
    if (err)
        return err;
    multiboot1_write_info(&mb);
    multiboot_start(&mb, MULTIBOOT1_BOOTED, start);
    return OK;
}
