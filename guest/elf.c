// SPDX-License-Identifier: MIT
#include "guest/elf.h"

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/string.h"
#include "guest/le.h"

// "ELF Header": what differs by class is in the table below.
#define IDENT_CLASS   4u // 1: 32-bit, 2: 64-bit
#define IDENT_DATA    5u // 1: little-endian
#define TYPE          16u
#define TYPE_EXEC     2u
#define MACHINE       18u
#define MACHINE_386   3u
#define MACHINE_AMD64 62u
#define PT_LOAD       1u

// Offsets by class. Fields that are addresses, offsets or sizes are as wide as the class.
struct elf_class {
    u32 wide; // bytes of such a field
    u32 header_size;
    u32 entry, phoff, phentsize, phnum;                        // in the header
    u32 p_size, p_offset, p_vaddr, p_paddr, p_filesz, p_memsz; // in a program header
};

static const struct elf_class classes[] = {
    {4, 52, 24, 28, 42, 44, 32, 4, 8,  12, 16, 20},
    {8, 64, 24, 32, 54, 56, 56, 8, 16, 24, 32, 40},
};

struct elf {
    const struct vm *vm;
    const struct boot_file *file;
    const struct elf_class *class;
};

static u64 field(const struct elf *elf, u64 at)
{
    return elf->class->wide == 8 ? le64(elf->file->data + at) : le32(elf->file->data + at);
}

static int check_header(struct elf *elf)
{
    const u8 *f = elf->file->data;

    if (elf->file->size < classes[0].header_size || memcmp(f, "\177ELF", 4) != 0)
        return kernel_refuse(elf->vm, E_FORMAT, "not an ELF file, and no addresses in its header");
    if (f[IDENT_CLASS] < 1 || f[IDENT_CLASS] > 2 || f[IDENT_DATA] != 1)
        return kernel_refuse(elf->vm, E_FORMAT, "ELF class %u, data encoding %u: not a PC's",
                             f[IDENT_CLASS], f[IDENT_DATA]);
    elf->class = &classes[f[IDENT_CLASS] - 1];
    if (elf->file->size < elf->class->header_size)
        return kernel_refuse(elf->vm, E_TRUNC, "truncated: %llu bytes end inside the ELF header",
                             (ull)elf->file->size);
    if (le16(f + MACHINE) != MACHINE_386 && le16(f + MACHINE) != MACHINE_AMD64)
        return kernel_refuse(elf->vm, E_UNSUPP, "an ELF file for machine %u, not for a PC",
                             le16(f + MACHINE));
    if (le16(f + TYPE) != TYPE_EXEC)
        return kernel_refuse(elf->vm, E_UNSUPP, "ELF type %u: only executables are supported",
                             le16(f + TYPE));
    return OK;
}

static int check_table(const struct elf *elf, u64 table, u32 entry_size, u32 count)
{
    if (entry_size < elf->class->p_size)
        return kernel_refuse(elf->vm, E_FORMAT, "its program headers of %u bytes are too short",
                             entry_size);
    if (table > elf->file->size || (u64)entry_size * count > elf->file->size - table)
        return kernel_refuse(elf->vm, E_TRUNC,
                             "truncated: %u program headers at %llu, the file has %llu bytes",
                             count, (ull)table, (ull)elf->file->size);
    return OK;
}

static int add_segment(const struct elf *elf, u64 header, struct layout *layout)
{
    const struct elf_class *c = elf->class;
    const struct layout_segment segment = {
        .at = field(elf, header + c->p_paddr),
        .memory_size = field(elf, header + c->p_memsz),
        .offset = field(elf, header + c->p_offset),
        .file_size = field(elf, header + c->p_filesz),
    };
    u64 entry = field(elf, c->entry);
    u64 vaddr = field(elf, header + c->p_vaddr);

    if (entry >= vaddr && entry - vaddr < segment.memory_size)
        layout->entry = entry - vaddr + segment.at;
    return layout_add(elf->vm, layout, elf->file, segment);
}

int elf_layout(const struct vm *vm, const struct boot_file *file, struct layout *layout)
{
    struct elf elf = {.vm = vm, .file = file};

    int err = check_header(&elf);
    if (err)
        return err;
    u64 table = field(&elf, elf.class->phoff);
    u32 entry_size = le16(file->data + elf.class->phentsize);
    u32 count = le16(file->data + elf.class->phnum);
    err = check_table(&elf, table, entry_size, count);
    layout->entry = field(&elf, elf.class->entry);
    for (u32 i = 0; err == OK && i < count; i++) {
        u64 header = table + (u64)i * entry_size;
        if (le32(file->data + header) == PT_LOAD)
            err = add_segment(&elf, header, layout);
    }
    return err;
}
