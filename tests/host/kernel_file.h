// SPDX-License-Identifier: MIT
// Kernel files made up for tests: ELF executables of either class with the segments asked for, and
// the loading of them into a VM that is only memory.
#pragma once

#include <stdlib.h>

#include "guest/kernel.h"
#include "guest/le.h"
#include "tests/host/guest_ram.h"

#define KIB 1024ull
#define MIB (1024 * KIB)

struct kernel_segment {
    u64 vaddr, paddr;
    u64 offset, file_size, memory_size;
};

static u8 kernel_data[128 * KIB];
static u8 initrd_data[20 * KIB + 3];
static struct guest_ram g;
static struct kernel_boot boot;
static struct guest_start start;

static inline void kernel_fill(void)
{
    for (u32 i = 0; i < sizeof(kernel_data); i++)
        kernel_data[i] = (u8)(i * 5 + (i >> 8) + 3);
    for (u32 i = 0; i < sizeof(initrd_data); i++)
        initrd_data[i] = (u8)(i * 11 + (i >> 7) + 1);
}

static inline void kernel_vm(u64 size)
{
    guest_ram_open(&g, size, size <= 64 * MIB ? 512 * KIB : 0);
    kernel_fill();
    boot = (struct kernel_boot){
        .kernel = {kernel_data, sizeof(kernel_data)},
        .cmdline = "root=/dev/zero verbose",
        .memory = &g.memory,
    };
    memset(&start, 0xee, sizeof(start));
}

static inline void put_wide(u8 *at, u64 value, bool wide)
{
    if (wide)
        put_le64(at, value);
    else
        put_le32(at, (u32)value);
}

// Offsets of what tests break: program header number i, and fields in it.
static inline u32 elf_phdr(bool wide, unsigned i)
{
    return wide ? 64 + i * 56 : 52 + i * 32;
}

static inline void elf_put(bool wide, u64 entry, const struct kernel_segment *segments, unsigned n)
{
    u8 *f = kernel_data;
    memset(f, 0, elf_phdr(wide, n));
    memcpy(f, "\177ELF", 4);
    f[4] = wide ? 2 : 1;
    f[5] = 1;
    f[6] = 1;
    put_le16(f + 16, 2);
    put_le16(f + 18, wide ? 62 : 3);
    put_le32(f + 20, 1);
    put_wide(f + 24, entry, wide);
    put_wide(f + (wide ? 32 : 28), elf_phdr(wide, 0), wide);
    put_le16(f + (wide ? 54 : 42), wide ? 56 : 32);
    put_le16(f + (wide ? 56 : 44), (u16)n);
    for (unsigned i = 0; i < n; i++) {
        const struct kernel_segment *s = &segments[i];
        u8 *p = f + elf_phdr(wide, i);
        put_le32(p, 1);
        put_wide(p + (wide ? 8 : 4), s->offset, wide);
        put_wide(p + (wide ? 16 : 8), s->vaddr, wide);
        put_wide(p + (wide ? 24 : 12), s->paddr, wide);
        put_wide(p + (wide ? 32 : 16), s->file_size, wide);
        put_wide(p + (wide ? 40 : 20), s->memory_size, wide);
    }
}

// Loads from copies of exactly the files' sizes, so that the sanitizer sees one byte too many.
static inline int kernel_try(void)
{
    struct kernel_boot copy = boot;
    u8 *kernel = malloc(boot.kernel.size ? boot.kernel.size : 1);
    u8 *disk = malloc(boot.initrd.size ? boot.initrd.size : 1);
    CHECK(kernel && disk);
    memcpy(kernel, boot.kernel.data, boot.kernel.size);
    if (boot.initrd.size)
        memcpy(disk, boot.initrd.data, boot.initrd.size);
    copy.kernel.data = kernel;
    copy.initrd.data = boot.initrd.size ? disk : NULL;
    guest_ram_forget_log();
    int err = kernel_load(&g.vm, &copy, &start);
    free(kernel);
    free(disk);
    return err;
}

#define loads()                                                                                    \
    do {                                                                                           \
        int loads_err = kernel_try();                                                              \
        if (loads_err)                                                                             \
            fail_msg("%s: %s", err_name(loads_err), guest_ram_log);                                \
    } while (0)

// Refused with this error and text, nothing done and nothing to start the guest with.
#define refused(want, text)                                                                        \
    do {                                                                                           \
        struct guest_start refused_before = start;                                                 \
        int refused_err = kernel_try();                                                            \
        if (refused_err != (want) || !strstr(guest_ram_log, text))                                 \
            fail_msg("%s, \"%s\" instead of %s, \"%s\"", err_name(refused_err), guest_ram_log,     \
                     err_name(want), text);                                                        \
        assert_non_null(strstr(guest_ram_log, "error: vm rig: kernel: "));                         \
        assert_true(guest_ram_is_clear(&g, 0, g.memory.low_end));                                  \
        assert_memory_equal(&start, &refused_before, sizeof(start));                               \
    } while (0)

// The state that both Multiboot specifications promise.
#define enters(at, magic)                                                                          \
    do {                                                                                           \
        assert_int_equal(start.mode, IMAGE_PROTECTED);                                             \
        assert_true(start.unpaged);                                                                \
        assert_int_equal(start.rip, at);                                                           \
        assert_int_equal(start.rax, magic);                                                        \
        assert_int_equal(start.cr3, 0);                                                            \
    } while (0)
