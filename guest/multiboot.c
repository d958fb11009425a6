// SPDX-License-Identifier: MIT
#include "guest/multiboot.h"

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/check.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/string.h"
#include "guest/guest_memory.h"
#include "guest/pc.h"

// The boot information lies at the first of these that the kernel leaves free. Below the first is
// the kernel's stack, should it use the one it is not promised.
#define INFO_FIRST 0x10000u
#define INFO_LAST  0x80000u

// What the command line may take of it; the rest has a fixed size.
#define CMDLINE_MAX (MULTIBOOT_INFO_SIZE / 2)

static int place_info(struct multiboot *mb)
{
    u64 length = strlen(mb->boot->cmdline);

    if (length > CMDLINE_MAX)
        return kernel_refuse(mb->vm, E_RANGE, "the command line has %llu characters, %u fit",
                             (ull)length, CMDLINE_MAX);
    for (u64 at = INFO_FIRST; at <= INFO_LAST; at += MULTIBOOT_INFO_SIZE) {
        if (layout_overlaps(&mb->layout, at, MULTIBOOT_INFO_SIZE))
            continue;
        mb->info_at = at;
        mb->info = vm_ptr(mb->vm, GPA(at), MULTIBOOT_INFO_SIZE);
        if (!mb->info)
            return kernel_refuse(mb->vm, E_RANGE, "the VM lacks RAM that its memory map has");
        memset(mb->info, 0, MULTIBOOT_INFO_SIZE);
        return OK;
    }
    return kernel_refuse(mb->vm, E_RANGE,
                         "the kernel leaves no room for the boot information below "
                         "1 MiB");
}

// Right behind the kernel, where boot loaders put it: kernels map that much and little more.
static int place_module(struct multiboot *mb)
{
    const struct boot_file *file = &mb->boot->initrd;
    u64 at = layout_end(&mb->layout), end = mb->boot->memory->low_end;

    if (!file->size)
        return OK;
    at = align_up(at < PC_HIGH_RAM ? PC_HIGH_RAM : at, PAGE_SIZE);
    if (at > end || file->size > end - at)
        return kernel_refuse(
            mb->vm, E_RANGE,
            "the initrd of %llu KiB does not fit between the kernel's end at %llxH "
            "and the end of RAM at %llxH",
            (ull)file->size >> 10, (ull)at, (ull)end);
    mb->module_at = at;
    if (guest_write(mb->vm, GPA(at), file->data, file->size) != OK)
        return kernel_refuse(mb->vm, E_RANGE, "the VM lacks RAM that its memory map has");
    return OK;
}

int multiboot_place(struct multiboot *mb)
{
    int err = layout_check(mb->vm, &mb->layout, mb->boot->memory);
    if (err == OK)
        err = place_info(mb);
    if (err == OK)
        err = place_module(mb);
    return err ? err : layout_write(mb->vm, &mb->layout, &mb->boot->kernel);
}

u8 *multiboot_take(struct multiboot *mb, u32 size, u32 align, u32 *at)
{
    u32 offset = (u32)align_up(mb->used, align);

    CHECK(offset <= MULTIBOOT_INFO_SIZE && size <= MULTIBOOT_INFO_SIZE - offset);
    mb->used = offset + size;
    if (at)
        *at = (u32)mb->info_at + offset;
    return mb->info + offset;
}

u32 multiboot_text(struct multiboot *mb, const char *text)
{
    u32 at, size = (u32)strlen(text) + 1;
    memcpy(multiboot_take(mb, size, 1, &at), text, size);
    return at;
}

u32 multiboot_mem_upper(const struct multiboot *mb)
{
    return (u32)((mb->boot->memory->low_end - PC_HIGH_RAM) >> 10);
}

void multiboot_start(const struct multiboot *mb, u32 magic, struct guest_start *start)
{
    log_debug("vm %s: kernel at %llxH to %llxH, entry %llxH, boot information at %llxH, initrd at "
              "%llxH",
              mb->vm->name, (ull)layout_start(&mb->layout), (ull)layout_end(&mb->layout),
              (ull)mb->layout.entry, (ull)mb->info_at, (ull)mb->module_at);
    *start = (struct guest_start){
        .mode = IMAGE_PROTECTED,
        .unpaged = true,
        .rip = mb->layout.entry,
        .rsp = INFO_FIRST,
        .rax = magic,
        .rbx = mb->info_at,
    };
}
