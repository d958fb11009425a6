// SPDX-License-Identifier: MIT
// Multiboot kernels: Multiboot specification 0.6.96, "The layout of Multiboot header" and "Boot
// information format".
#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/string.h"
#include "guest/elf.h"
#include "guest/le.h"
#include "guest/multiboot.h"

// The header: u32 fields at these offsets.
#define FLAGS         4u
#define HEADER_ADDR   12u
#define LOAD_ADDR     16u
#define LOAD_END_ADDR 20u
#define BSS_END_ADDR  24u
#define ENTRY_ADDR    28u

// Flags. Bits 15:0 are requirements; 0 (modules on pages) and 1 (memory information) are always
// met.
#define FLAG_MET       BITS(1, 0)
#define FLAG_VIDEO     BIT32(2)
#define FLAG_REQUIRED  BITS(15, 0)
#define FLAG_ADDRESSES BIT32(16)

static int check_flags(const struct vm *vm, u32 flags)
{
    if (flags & FLAG_VIDEO)
        return kernel_refuse(vm, E_UNSUPP,
                             "Multiboot: it requires a video mode, and the VM has no "
                             "screen");
    if (flags & FLAG_REQUIRED & ~FLAG_MET)
        return kernel_refuse(vm, E_UNSUPP, "Multiboot: it requires unknown features: flags %xH",
                             flags);
    return OK;
}

// The address fields in place of what an executable's format says.
static int layout_by_addresses(struct multiboot *mb, u64 header)
{
    const struct boot_file *file = &mb->boot->kernel;
    const u8 *h = file->data + header;
    const struct layout_addresses a = {
        .header_offset = header,
        .header = le32(h + HEADER_ADDR),
        .load = le32(h + LOAD_ADDR),
        .load_end = le32(h + LOAD_END_ADDR),
        .bss_end = le32(h + BSS_END_ADDR),
    };

    mb->layout.entry = le32(h + ENTRY_ADDR);
    return layout_add_addresses(mb->vm, &mb->layout, file, &a);
}

// ---- boot information -------------------------------------------------------------------------

#define INFO_SIZE        120u
#define INFO_FLAGS       0u
#define INFO_MEM_LOWER   4u
#define INFO_MEM_UPPER   8u
#define INFO_CMDLINE     16u
#define INFO_MODS_COUNT  20u
#define INFO_MODS_ADDR   24u
#define INFO_MMAP_LENGTH 44u
#define INFO_MMAP_ADDR   48u
#define INFO_LOADER_NAME 64u

#define HAS_MEMORY  BIT32(0)
#define HAS_CMDLINE BIT32(2)
#define HAS_MODULES BIT32(3)
#define HAS_MMAP    BIT32(6)
#define HAS_LOADER  BIT32(9)

#define MODULE_SIZE 16u // start, end, string, 0
#define MMAP_SIZE   24u // size of the rest, base, length, type

static void write_mmap(struct multiboot *mb, u8 *info)
{
    const struct pc_memory *memory = mb->boot->memory;
    u32 at;
    u8 *entry = multiboot_take(mb, memory->nmap * MMAP_SIZE, 8, &at);

    put_le32(info + INFO_MMAP_LENGTH, memory->nmap * MMAP_SIZE);
    put_le32(info + INFO_MMAP_ADDR, at);
    for (unsigned i = 0; i < memory->nmap; i++, entry += MMAP_SIZE) {
        put_le32(entry, MMAP_SIZE - 4);
        memcpy(entry + 4, &memory->map[i], sizeof(memory->map[i]));
    }
}

static void write_module(struct multiboot *mb, u8 *info)
{
    u32 at;
    u8 *module = multiboot_take(mb, MODULE_SIZE, 4, &at);

    put_le32(info + INFO_MODS_COUNT, mb->module_at ? 1 : 0);
    put_le32(info + INFO_MODS_ADDR, at);
    put_le32(module, (u32)mb->module_at);
    put_le32(module + 4, (u32)(mb->module_at + mb->boot->initrd.size));
    put_le32(module + 8, multiboot_text(mb, MULTIBOOT_MODULE));
}

void multiboot1_write_info(struct multiboot *mb)
{
    u8 *info = multiboot_take(mb, INFO_SIZE, 8, NULL);

    put_le32(info + INFO_FLAGS, HAS_MEMORY | HAS_CMDLINE | HAS_MODULES | HAS_MMAP | HAS_LOADER);
    put_le32(info + INFO_MEM_LOWER, MULTIBOOT_MEM_LOWER);
    put_le32(info + INFO_MEM_UPPER, multiboot_mem_upper(mb));
    put_le32(info + INFO_CMDLINE, multiboot_text(mb, mb->boot->cmdline));
    put_le32(info + INFO_LOADER_NAME, multiboot_text(mb, MULTIBOOT_LOADER));
    write_module(mb, info);
    write_mmap(mb, info);
}

int multiboot1_load(struct vm *vm, const struct kernel_boot *boot, u64 header,
                    struct guest_start *start)
{
    struct multiboot mb = {.vm = vm, .boot = boot};
    u32 flags = le32(boot->kernel.data + header + FLAGS);

    int err = check_flags(vm, flags);
    if (err == OK)
        err = flags & FLAG_ADDRESSES ? layout_by_addresses(&mb, header)
                                     : elf_layout(vm, &boot->kernel, &mb.layout);
    if (err == OK)
        err = multiboot_place(&mb);
    if (err)
        return err;
    multiboot1_write_info(&mb);
    multiboot_start(&mb, MULTIBOOT1_BOOTED, start);
    return OK;
}
