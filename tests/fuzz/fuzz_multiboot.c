// SPDX-License-Identifier: MIT
// The loaders of ELF kernels with a Multiboot or Multiboot2 header, and of flat images: sound files
// with the input's changes, the checksums put right again. What is accepted must lie in RAM.
#include <stdlib.h>

#include "guest/guest_memory.h"
#include "guest/image.h"
#include "guest/kernel.h"
#include "guest/le.h"
#include "tests/host/guest_ram.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

#define FILE_MAX 2048u
#define MB       512u // where the Multiboot header is
#define MEMORY   (2ull << 20)

static struct guest_ram g;

static void put_wide(u8 *at, u64 value, bool wide)
{
    if (wide)
        put_le64(at, value);
    else
        put_le32(at, (u32)value);
}

static void put_elf(u8 *f, bool wide)
{
    u32 table = wide ? 64 : 52;

    memcpy(f, "\177ELF", 4);
    f[4] = wide ? 2 : 1;
    f[5] = 1;
    put_le16(f + 16, 2);
    put_le16(f + 18, wide ? 62 : 3);
    put_wide(f + 24, 0x100010, wide);
    put_wide(f + (wide ? 32 : 28), table, wide);
    put_le16(f + (wide ? 54 : 42), wide ? 56 : 32);
    put_le16(f + (wide ? 56 : 44), 3);
    for (u32 i = 0; i < 3; i++) {
        u8 *p = f + table + i * (wide ? 56 : 32);
        put_le32(p, 1);
        put_wide(p + (wide ? 8 : 4), i * 512, wide);
        put_wide(p + (wide ? 16 : 8), 0x100000 + i * 0x1000, wide);
        put_wide(p + (wide ? 24 : 12), 0x100000 + i * 0x1000, wide);
        put_wide(p + (wide ? 32 : 16), 512, wide);
        put_wide(p + (wide ? 40 : 20), 0x800, wide);
    }
}

static void put_tag(u8 **at, u16 type, u32 size)
{
    put_le16(*at, type);
    put_le32(*at + 4, size);
    *at += align_up(size, 8);
}

static void put_header(u8 *h, bool second, bool addresses)
{
    put_le32(h, second ? 0xe85250d6 : 0x1badb002);
    u8 *fields = h + 12;
    if (second) {
        u8 *tag = h + 16;
        put_tag(&tag, 1, 16);
        put_tag(&tag, 10, 24);
        fields = tag + 8;
        if (addresses) {
            put_tag(&tag, 2, 24);
            put_le32(tag + 8, 0x100000);
            put_tag(&tag, 3, 12);
        }
        put_tag(&tag, 0, 8);
        put_le32(h + 8, (u32)(tag - h));
    } else {
        put_le32(h + 4, addresses ? 0x10000 : 3);
    }
    if (addresses) {
        put_le32(fields, 0x100000 + MB);
        put_le32(fields + 4, 0x100000);
        put_le32(fields + 8, 0);
        put_le32(fields + 12, 0x101000);
        if (!second)
            put_le32(fields + 16, 0x100000);
    }
}

static void put_checksum(u8 *h, bool second)
{
    u32 sum = le32(h) + le32(h + 4) + (second ? le32(h + 8) : 0);
    put_le32(h + (second ? 12 : 8), 0 - sum);
}

// The header is outside what the input may change by accident only: its magic stays.
static u64 make_file(u8 *file, const u8 *data, size_t size)
{
    u8 kind = size ? data[0] : 0;
    bool second = kind & 2;
    u64 length = FILE_MAX;

    memset(file, 0, FILE_MAX);
    if (kind & 1)
        put_elf(file, kind & 8);
    put_header(file + MB, second, kind & 4);
    for (size_t i = 1; i + 3 <= size; i += 3) {
        u32 where = le16(data + i);
        if (where & 0x8000)
            length = where % (FILE_MAX + 1);
        else
            file[where % 1024] ^= data[i + 2];
    }
    put_le32(file + MB, second ? 0xe85250d6 : 0x1badb002);
    put_checksum(file + MB, second);
    return length;
}

static void check(const struct guest_start *start)
{
    CHECK(start->mode == IMAGE_PROTECTED && start->unpaged);
    CHECK(guest_is_ram(&g.vm, GPA(start->rip), 1));
    CHECK(guest_is_ram(&g.vm, GPA(start->rbx), 0x10000) && start->rbx + 0x10000 <= 0x90000);
    CHECK(start->rax == 0x2badb002 || start->rax == 0x36d76289);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    u8 file[FILE_MAX];
    struct guest_start start;

    if (!g.arena)
        guest_ram_open(&g, MEMORY, 256 << 10);
    guest_ram_forget_log();
    u64 length = make_file(file, data, size);
    u8 *copy = malloc(length ? length : 1);
    CHECK(copy);
    memcpy(copy, file, length);
    const struct kernel_boot boot = {
        .kernel = {copy, length               },
        .initrd = {copy, size % 3 ? length : 0},
        .cmdline = "a=b",
        .memory = &g.memory,
    };
    int err = kernel_load(&g.vm, &boot, &start);
    if (err == OK)
        check(&start);
    else
        CHECK(strstr(guest_ram_log, "error: vm rig: kernel: "));
    free(copy);
    return 0;
}
