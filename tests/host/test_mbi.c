// SPDX-License-Identifier: MIT
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "boot/mbi.h"
#include "boot/multiboot2.h"

// ---- building boot information ----------------------------------------------------------------
static u8 image[32768];
static u32 used;

static void start(void)
{
    memset(image, 0xcc, sizeof(image)); // padding is whatever it is
    used = 8;
}

static void put(const void *data, size_t size)
{
    assert_true(used + size <= sizeof(image));
    memcpy(image + used, data, size);
    used += (u32)size;
}

static void put32(u32 value)
{
    put(&value, 4);
}

static void put64(u64 value)
{
    put(&value, 8);
}

// Returns the tag's place, for end_tag.
static u32 begin_tag(u32 type)
{
    used = (u32)align_up(used, 8);
    put32(type);
    put32(0);
    return used - 8;
}

static void end_tag(u32 at)
{
    u32 size = used - at;
    memcpy(image + at + 4, &size, 4);
}

static void tag(u32 type, const void *data, size_t size)
{
    u32 at = begin_tag(type);
    put(data, size);
    end_tag(at);
}

static void tag_string(u32 type, const char *text)
{
    tag(type, text, strlen(text) + 1);
}

static void tag_module(u32 first, u32 end, const char *line)
{
    u32 at = begin_tag(MB2_TAG_MODULE);
    put32(first);
    put32(end);
    put(line, strlen(line) + 1);
    end_tag(at);
}

static void mmap_entry(u64 base, u64 length, u32 type, u32 entry_size)
{
    put64(base);
    put64(length);
    put32(type);
    for (u32 i = 20; i < entry_size; i += 4)
        put32(0xdeadbeef);
}

static void tag_mmap(void)
{
    u32 at = begin_tag(MB2_TAG_MMAP);
    put32(24);
    put32(0);
    mmap_entry(0, 0x9fc00, 1, 24);
    mmap_entry(0x100000, 0x7ee0000, 1, 24);
    end_tag(at);
}

static void efi_entry(u32 type, u64 base, u64 pages, u32 descr_size)
{
    put32(type);
    put32(0xdeadbeef);
    put64(base);
    put64(0);
    put64(pages);
    put64(0xf);
    for (u32 i = 40; i < descr_size; i += 4)
        put32(0xdeadbeef);
}

static void set_total(u32 total)
{
    memcpy(image, &total, 4);
}

static struct boot_info info;
static struct why why;

// Parses a copy that is exactly as long as it says, at an odd address.
static int parse_sized(u32 size)
{
    u8 *copy = malloc(size + 1);
    assert_non_null(copy);
    memcpy(copy + 1, image, size);
    memset(&info, 0xee, sizeof(info));
    memset(&why, 0, sizeof(why));
    int err = mbi_parse(copy + 1, size, &info, &why);
    free(copy);
    assert_int_equal(why.text[0] != '\0', err != OK);
    assert_null(strchr(why.text, '\n'));
    return err;
}

static int finish_without_end(void)
{
    set_total(used);
    return parse_sized(used);
}

static int finish(void)
{
    tag(MB2_TAG_END, "", 0);
    return finish_without_end();
}

static void refused(int err, const char *text)
{
    int got = finish();
    if (got != err || strcmp(why.text, text) != 0)
        fail_msg("%s \"%s\", not %s \"%s\"", err_name(got), why.text, err_name(err), text);
}

// ---- what is read -----------------------------------------------------------------------------
static void strings_modules_and_memory(void **state)
{
    (void)state;
    start();
    tag_string(MB2_TAG_CMDLINE, "run=selftest log=debug");
    tag_string(MB2_TAG_LOADER_NAME, "GRUB 2.06");
    tag(MB2_TAG_BASIC_MEMINFO, "\1\2\3\4\5\6\7\10", 8);
    tag(MB2_TAG_APM, "x", 1);
    tag(4711, "?", 1);
    tag_module(0x200000, 0x345678, "kernel vm=a mem=64M -- console=ttyS0");
    tag_module(0xfffff000, 0xfffff000, "");
    tag_mmap();
    assert_int_equal(finish(), OK);
    assert_int_equal(info.size, used);
    assert_string_equal(info.cmdline, "run=selftest log=debug");
    assert_string_equal(info.loader, "GRUB 2.06");
    assert_int_equal(info.nmodules, 2);
    assert_int_equal(info.modules[0].start, 0x200000);
    assert_int_equal(info.modules[0].size, 0x145678);
    assert_string_equal(info.modules[0].line, "kernel vm=a mem=64M -- console=ttyS0");
    assert_int_equal(info.modules[1].size, 0);
    assert_string_equal(info.modules[1].line, "");
    assert_int_equal(info.nmemory, 2);
    assert_int_equal(info.memory[1].base, 0x100000);
    assert_int_equal(info.memory[1].size, 0x7ee0000);
    assert_int_equal(info.memory[1].type, MEM_USABLE);
    assert_int_equal(info.framebuffer.kind, BOOT_FB_NONE);
    assert_int_equal(info.rsdp_size, 0);
    assert_int_equal(info.efi_bits, 0);
    assert_false(info.has_load_base);
    assert_false(info.memory_from_efi);
}

static void memory_types_and_entry_size(void **state)
{
    (void)state;
    static const enum mem_kind want[] = {MEM_RESERVED, MEM_USABLE, MEM_RESERVED, MEM_ACPI_RECLAIM,
                                         MEM_NVS,      MEM_BAD,    MEM_RESERVED};
    start();
    u32 at = begin_tag(MB2_TAG_MMAP);
    put32(32);
    put32(7);
    for (u32 type = 0; type < 7; type++)
        mmap_entry(type * 0x100000, 0x1000, type, 32);
    put32(0); // a piece of an entry is left over: not an entry
    end_tag(at);
    assert_int_equal(finish(), OK);
    assert_int_equal(info.nmemory, 7);
    for (unsigned i = 0; i < 7; i++) {
        assert_int_equal(info.memory[i].base, i * 0x100000);
        assert_int_equal(info.memory[i].size, 0x1000);
        assert_int_equal(info.memory[i].type, want[i]);
    }
}

static void efi_map_serves_when_alone(void **state)
{
    (void)state;
    static const enum mem_kind want[] = {
        MEM_RESERVED, MEM_USABLE,   MEM_USABLE,   MEM_USABLE,       MEM_USABLE, MEM_RESERVED,
        MEM_RESERVED, MEM_USABLE,   MEM_BAD,      MEM_ACPI_RECLAIM, MEM_NVS,    MEM_RESERVED,
        MEM_RESERVED, MEM_RESERVED, MEM_RESERVED, MEM_RESERVED,
    };
    for (unsigned with_mmap = 0; with_mmap < 2; with_mmap++) {
        start();
        u32 at = begin_tag(MB2_TAG_EFI_MMAP);
        put32(48);
        put32(1);
        for (u32 type = 0; type < ARRAY_SIZE(want); type++)
            efi_entry(type, type * 0x100000, 3, 48);
        efi_entry(7, 0x100000000, ~0ull, 48);
        end_tag(at);
        if (with_mmap)
            tag_mmap(); // after it: the order must not matter
        assert_int_equal(finish(), OK);
        assert_int_equal(info.memory_from_efi, !with_mmap);
        assert_int_equal(info.nmemory, with_mmap ? 2 : ARRAY_SIZE(want) + 1);
        for (unsigned i = 0; !with_mmap && i < ARRAY_SIZE(want); i++) {
            assert_int_equal(info.memory[i].base, i * 0x100000);
            assert_int_equal(info.memory[i].size, 0x3000);
            assert_int_equal(info.memory[i].type, want[i]);
        }
        if (!with_mmap) // not 2^64 pages wrapped to something small
            assert_int_equal(info.memory[ARRAY_SIZE(want)].size, ~0ull);
    }
}

static void adjoining_entries_are_joined(void **state)
{
    (void)state;
    start();
    u32 at = begin_tag(MB2_TAG_EFI_MMAP);
    put32(40);
    put32(1);
    for (u32 i = 0; i < 600; i++)
        efi_entry(i % 2 ? EFI_CONVENTIONAL : EFI_BOOT_SERVICES_DATA, 0x100000 + i * 0x1000, 1, 40);
    efi_entry(EFI_CONVENTIONAL, 0x100000 + 600 * 0x1000, ~0ull, 40); // wraps: not joined
    end_tag(at);
    assert_int_equal(finish(), OK);
    assert_int_equal(info.nmemory, 2);
    assert_int_equal(info.memory[0].size, 600 * 0x1000);
}

static void framebuffers(void **state)
{
    (void)state;
    for (u8 kind = 0; kind < 4; kind++) {
        start();
        tag_mmap();
        u32 at = begin_tag(MB2_TAG_FRAMEBUFFER);
        put64(0x4000000000);
        put32(5120);
        put32(1280);
        put32(800);
        put((u8[]){32, kind, 0, 0}, 4);
        if (kind == MB2_FRAMEBUFFER_RGB)
            put((u8[]){16, 8, 9, 7, 1, 6}, 6);
        end_tag(at);
        assert_int_equal(finish(), OK);
        static const enum boot_framebuffer_kind want[] = {BOOT_FB_INDEXED, BOOT_FB_RGB,
                                                          BOOT_FB_EGA_TEXT, BOOT_FB_NONE};
        assert_int_equal(info.framebuffer.kind, want[kind]);
        if (kind == 3)
            continue;
        assert_int_equal(info.framebuffer.address, 0x4000000000);
        assert_int_equal(info.framebuffer.pitch, 5120);
        assert_int_equal(info.framebuffer.width, 1280);
        assert_int_equal(info.framebuffer.height, 800);
        assert_int_equal(info.framebuffer.bpp, 32);
        if (kind != MB2_FRAMEBUFFER_RGB)
            continue;
        assert_int_equal(info.framebuffer.red.position, 16);
        assert_int_equal(info.framebuffer.red.size, 8);
        assert_int_equal(info.framebuffer.green.position, 9);
        assert_int_equal(info.framebuffer.green.size, 7);
        assert_int_equal(info.framebuffer.blue.position, 1);
        assert_int_equal(info.framebuffer.blue.size, 6);
    }
}

static void newer_rsdp_wins_in_either_order(void **state)
{
    (void)state;
    u8 old[20], new[40];
    memset(old, 1, sizeof(old));
    memset(new, 2, sizeof(new));
    for (unsigned order = 0; order < 3; order++) {
        start();
        tag_mmap();
        if (order == 0)
            tag(MB2_TAG_ACPI_NEW, new, sizeof(new));
        tag(MB2_TAG_ACPI_OLD, old, sizeof(old));
        if (order == 1)
            tag(MB2_TAG_ACPI_NEW, new, sizeof(new));
        assert_int_equal(finish(), OK);
        assert_int_equal(info.rsdp_size, order < 2 ? 36 : 20);
        assert_int_equal(info.rsdp[0], order < 2 ? 2 : 1);
        assert_int_equal(info.rsdp[info.rsdp_size - 1], order < 2 ? 2 : 1);
    }
}

static void efi_and_load_base(void **state)
{
    (void)state;
    start();
    tag_mmap();
    tag(MB2_TAG_EFI64, "\x10\x32\x54\x76\x98\x00\x00\x00", 8);
    tag(MB2_TAG_EFI32, "\x44\x33\x22\x11", 4);
    tag(MB2_TAG_LOAD_BASE, "\x00\x00\x60\x00", 4);
    assert_int_equal(finish(), OK);
    assert_int_equal(info.efi_bits, 64);
    assert_int_equal(info.efi_system_table, 0x9876543210);
    assert_true(info.has_load_base);
    assert_int_equal(info.load_base, 0x600000);
    start();
    tag_mmap();
    tag(MB2_TAG_EFI32, "\x44\x33\x22\x11", 4);
    assert_int_equal(finish(), OK);
    assert_int_equal(info.efi_bits, 32);
    assert_int_equal(info.efi_system_table, 0x11223344);
}

static void unterminated_strings_end_with_their_tag(void **state)
{
    (void)state;
    start();
    tag_mmap();
    tag(MB2_TAG_CMDLINE, "log=infoX", 8);
    tag(MB2_TAG_LOADER_NAME, "", 0);
    u32 at = begin_tag(MB2_TAG_MODULE);
    put64(0);
    put("disk vm=a", 9);
    end_tag(at);
    assert_int_equal(finish(), OK);
    assert_string_equal(info.cmdline, "log=info");
    assert_string_equal(info.loader, "");
    assert_string_equal(info.modules[0].line, "disk vm=a");
}

// ---- what is refused --------------------------------------------------------------------------
static void wrong_totals(void **state)
{
    (void)state;
    start();
    tag_mmap();
    assert_int_equal(finish(), OK);
    u32 whole = used;
    for (u32 size = 0; size < whole; size++) // cut off anywhere
        assert_int_equal(parse_sized(size), E_TRUNC);
    for (u32 total = 0; total < whole; total++) { // or claiming to be shorter than it is
        set_total(total);
        assert_int_equal(parse_sized(whole), E_TRUNC);
    }
    set_total(whole + 1);
    assert_int_equal(parse_sized(whole), E_TRUNC);
    set_total(~0u);
    assert_int_equal(parse_sized(whole), E_TRUNC);
}

static void no_end_tag(void **state)
{
    (void)state;
    start();
    tag_mmap();
    assert_int_equal(finish_without_end(), E_TRUNC);
    assert_string_equal(why.text, "boot information: 72 bytes without an end tag");
}

static void wrong_tag_sizes(void **state)
{
    (void)state;
    static const u32 sizes[] = {0, 1, 7, 17, 1000, 0x7fffffff, 0xfffffff8, 0xffffffff};
    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        start();
        tag_mmap();
        u32 at = begin_tag(MB2_TAG_APM);
        memcpy(image + at + 4, &sizes[i], 4);
        assert_int_equal(finish(), E_TRUNC);
        assert_non_null(strstr(why.text, "boot information: tag 10 at offset 72 has "));
    }
    assert_string_equal(why.text,
                        "boot information: tag 10 at offset 72 has 4294967295 bytes of 16");
}

// Each tag one byte shorter than its fixed part.
static void short_tags(void **state)
{
    (void)state;
    static const struct {
        u32 type, least;
    } rows[] = {
        {MB2_TAG_MODULE,      16},
        {MB2_TAG_MMAP,        16},
        {MB2_TAG_FRAMEBUFFER, 32},
        {MB2_TAG_EFI32,       12},
        {MB2_TAG_EFI64,       16},
        {MB2_TAG_ACPI_OLD,    28},
        {MB2_TAG_ACPI_NEW,    44},
        {MB2_TAG_EFI_MMAP,    16},
        {MB2_TAG_LOAD_BASE,   12},
    };
    static const u8 zeros[64];
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        start();
        if (rows[i].type != MB2_TAG_MMAP)
            tag_mmap();
        tag(rows[i].type, zeros, rows[i].least - 8 - 1);
        assert_int_equal(finish(), E_TRUNC);
        assert_non_null(strstr(why.text, " tag has "));
    }
    start();
    tag(MB2_TAG_LOAD_BASE, zeros, 3);
    refused(E_TRUNC, "boot information: the load base tag has 11 bytes, not 12 or more");
}

static void short_rgb(void **state)
{
    (void)state;
    start();
    tag_mmap();
    u8 body[24 + 5] = {[21] = MB2_FRAMEBUFFER_RGB};
    tag(MB2_TAG_FRAMEBUFFER, body, sizeof(body));
    refused(E_TRUNC, "the framebuffer tag has 37 bytes, too few for RGB");
}

static void twice(void **state)
{
    (void)state;
    start();
    tag_mmap();
    tag_mmap();
    refused(E_FORMAT, "boot information: there are two memory map tags");
    start();
    tag_mmap();
    tag_string(MB2_TAG_CMDLINE, "a");
    tag_string(MB2_TAG_CMDLINE, "a");
    refused(E_FORMAT, "boot information: there are two command line tags");
}

static void too_long(void **state)
{
    (void)state;
    char line[BOOT_LINE_MAX + 1];
    memset(line, 'x', sizeof(line));
    line[BOOT_LINE_MAX - 1] = '\0';
    start();
    tag_mmap();
    tag_string(MB2_TAG_CMDLINE, line);
    tag_module(0, 0, line);
    assert_int_equal(finish(), OK);
    assert_string_equal(info.cmdline, line);
    assert_string_equal(info.modules[0].line, line);

    line[BOOT_LINE_MAX - 1] = 'x';
    line[BOOT_LINE_MAX] = '\0';
    start();
    tag_mmap();
    tag_string(MB2_TAG_CMDLINE, line);
    refused(E_NOMEM, "the command line is longer than 1023 characters");
    start();
    tag_mmap();
    tag_module(0, 0, "");
    tag_module(0, 0, line);
    refused(E_NOMEM, "the line of module 2 is longer than 1023 characters");
    start();
    tag_mmap();
    tag_string(MB2_TAG_LOADER_NAME, line);
    assert_int_equal(finish(), OK);
    assert_int_equal(strlen(info.loader), sizeof(info.loader) - 1);
}

static void too_many(void **state)
{
    (void)state;
    start();
    tag_mmap();
    for (unsigned i = 0; i < BOOT_MODULES_MAX; i++)
        tag_module(i, i + 1, "x");
    assert_int_equal(finish(), OK);
    assert_int_equal(info.nmodules, BOOT_MODULES_MAX);
    used -= 8;
    tag_module(0, 1, "x");
    refused(E_NOMEM, "there are more than 16 modules");

    start();
    u32 at = begin_tag(MB2_TAG_MMAP);
    put32(24);
    put32(0);
    for (u32 i = 0; i < MEM_ENTRIES_MAX; i++)
        mmap_entry(i * 0x2000, 0x1000, 1, 24);
    end_tag(at);
    assert_int_equal(finish(), OK);
    used -= 8;
    mmap_entry(0x10000000, 0x1000, 1, 24);
    end_tag(at);
    refused(E_NOMEM, "the memory map has more than 256 entries");
}

static void nonsense(void **state)
{
    (void)state;
    start();
    tag_mmap();
    tag_module(0x2000, 0x1fff, "x");
    refused(E_FORMAT, "module 1 ends at 0x1fff, before its start at 0x2000");

    start();
    tag_string(MB2_TAG_CMDLINE, "x");
    refused(E_NOENT, "the boot loader gave no memory map");

    start();
    tag(MB2_TAG_MMAP, "\x18\0\0\0\0\0\0\0", 8);
    refused(E_NOENT, "the boot loader gave no memory map");

    start();
    tag_mmap();
    tag(MB2_TAG_EFI_BOOT_SERVICES, "", 0);
    refused(E_UNSUPP, "the boot loader left the EFI boot services running");
    for (u32 entry_size = 0; entry_size < 24; entry_size++) {
        start();
        u32 at = begin_tag(MB2_TAG_MMAP);
        put32(entry_size);
        put32(0);
        mmap_entry(0, 0x1000, 1, 24);
        end_tag(at);
        assert_int_equal(finish(), E_FORMAT);
    }
    assert_string_equal(why.text, "the memory map's entries have 23 bytes, not 24 or more");
    for (u32 descr_size = 0; descr_size < 40; descr_size++) {
        start();
        u32 at = begin_tag(MB2_TAG_EFI_MMAP);
        put32(descr_size);
        put32(0);
        efi_entry(7, 0, 1, 40);
        end_tag(at);
        assert_int_equal(finish(), E_FORMAT);
    }
    assert_string_equal(why.text, "the EFI memory map's descriptors have 39 bytes, not 40 or more");
}

// ---- what is reserved -------------------------------------------------------------------------
static bool listed(const struct mem_range *list, unsigned n, u64 base, u64 size)
{
    for (unsigned i = 0; i < n; i++) {
        if (list[i].base == base && list[i].size == size)
            return true;
    }
    return false;
}

static void reserved_at_boot(void **state)
{
    (void)state;
    struct mem_range list[BOOT_RESERVED_MAX];
    start();
    tag_mmap();
    for (u32 i = 0; i < BOOT_MODULES_MAX; i++)
        tag_module(0x1000000 + i * 0x10000, 0x1000000 + i * 0x10000 + 0x123, "x");
    u8 body[24] = {[3] = 0xe0, [9] = 0x10, [17] = 3, [21] = MB2_FRAMEBUFFER_INDEXED};
    tag(MB2_TAG_FRAMEBUFFER, body, sizeof(body)); // E0000000, pitch 4096, height 768
    assert_int_equal(finish(), OK);
    unsigned n = boot_reserved(&info, (struct mem_range){0x200000, 0x87654}, 0x9000, 0x9fc00, list);
    assert_int_equal(n, 5 + BOOT_MODULES_MAX);
    assert_true(listed(list, n, 0, 0x1000));
    assert_true(listed(list, n, 0x9fc00, 0x60400));
    assert_true(listed(list, n, 0x200000, 0x87654));
    assert_true(listed(list, n, 0x9000, used));
    assert_true(listed(list, n, 0xe0000000, 4096 * 768));
    for (u32 i = 0; i < BOOT_MODULES_MAX; i++)
        assert_true(listed(list, n, 0x1000000 + i * 0x10000, 0x123));
    // No EBDA, or what cannot be one.
    static const u64 none[] = {0, 0x400, 0xa0000, 0xf0000};
    for (unsigned i = 0; i < ARRAY_SIZE(none); i++) {
        n = boot_reserved(&info, (struct mem_range){0, 0}, 0, none[i], list);
        assert_true(listed(list, n, 0xa0000, 0x60000));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_modules_and_memory),
        cmocka_unit_test(memory_types_and_entry_size),
        cmocka_unit_test(efi_map_serves_when_alone),
        cmocka_unit_test(adjoining_entries_are_joined),
        cmocka_unit_test(framebuffers),
        cmocka_unit_test(newer_rsdp_wins_in_either_order),
        cmocka_unit_test(efi_and_load_base),
        cmocka_unit_test(unterminated_strings_end_with_their_tag),
        cmocka_unit_test(wrong_totals),
        cmocka_unit_test(no_end_tag),
        cmocka_unit_test(wrong_tag_sizes),
        cmocka_unit_test(short_tags),
        cmocka_unit_test(short_rgb),
        cmocka_unit_test(twice),
        cmocka_unit_test(too_long),
        cmocka_unit_test(too_many),
        cmocka_unit_test(nonsense),
        cmocka_unit_test(reserved_at_boot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
