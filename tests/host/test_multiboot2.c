// SPDX-License-Identifier: MIT
// Multiboot2 kernels: header tags, boot information tags, and each thing that is refused. What ELF
// files and segments may be is tested in test_multiboot.c.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "guest/acpi_tables.h"
#include "tests/host/kernel_file.h"

#define HEADER 4096u // where the header is in the file
#define BOOTED 0x36d76289u

static u32 header_end; // offset in the file behind the last tag

static void begin_header(void)
{
    header_end = HEADER + 16;
}

static u8 *add_tag(u16 type, u16 flags, u32 size)
{
    u8 *tag = kernel_data + header_end;
    memset(tag, 0, size);
    put_le16(tag, type);
    put_le16(tag + 2, flags);
    put_le32(tag + 4, size);
    header_end += (u32)align_up(size, 8);
    return tag + 8;
}

static void close_header(void)
{
    u32 length = header_end - HEADER;
    put_le32(kernel_data + HEADER, 0xe85250d6);
    put_le32(kernel_data + HEADER + 4, 0);
    put_le32(kernel_data + HEADER + 8, length);
    put_le32(kernel_data + HEADER + 12, 0u - 0xe85250d6 - length);
}

static void end_header(void)
{
    add_tag(0, 0, 8);
    close_header();
}

static const struct kernel_segment plain[] = {
    {0x200000, 0x200000, 0x1000, 0x3000, 0x3000},
    {0x204000, 0x204000, 0x4000, 0x1234, 0x9000},
};

// An ELF kernel whose header still lacks its tags.
static void open_elf(void)
{
    kernel_vm(16 * MIB);
    elf_put(true, 0x200040, plain, 2);
    begin_header();
}

// ---- header tags ------------------------------------------------------------------------------

static void elf_kernels(void **state)
{
    (void)state;
    open_elf();
    end_header();
    loads();
    enters(0x200040, BOOTED);
    assert_true(guest_ram_holds(&g, 0x200000, kernel_data + 0x1000, 0x3000));
    assert_true(guest_ram_holds(&g, 0x204000, kernel_data + 0x4000, 0x1234));
    assert_true(guest_ram_is_clear(&g, 0x205234, 16 * MIB));
    guest_ram_close(&g);
}

static void an_entry_tag_goes_before_the_file(void **state)
{
    (void)state;
    open_elf();
    put_le32(add_tag(3, 0, 12), 0x204004);
    end_header();
    loads();
    enters(0x204004, BOOTED);
    guest_ram_close(&g);
    open_elf();
    put_le32(add_tag(3, 0, 12), 0x20d000);
    end_header();
    refused(E_FORMAT, "its entry 20d000H is in none of its 2 segments");
    guest_ram_close(&g);
}

static void put_addresses(u32 header, u32 load, u32 load_end, u32 bss_end)
{
    u8 *tag = add_tag(2, 0, 24);
    put_le32(tag, header);
    put_le32(tag + 4, load);
    put_le32(tag + 8, load_end);
    put_le32(tag + 12, bss_end);
}

static void address_tags(void **state)
{
    (void)state;
    static const struct {
        u32 header, load, load_end, bss_end;
        u32 at, offset, size;
    } rows[] = {
        {0x301000, 0x300000, 0x304000, 0x308000, 0x300000, 0,      0x4000             },
        {0x300000, 0x300000, 0x301000, 0,        0x300000, 0x1000, 0x1000             },
        {0x301000, ~0u,      0,        0,        0x300000, 0,      sizeof(kernel_data)}, // whole
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        open_elf();
        put_addresses(rows[i].header, rows[i].load, rows[i].load_end, rows[i].bss_end);
        put_le32(add_tag(3, 0, 12), rows[i].at + 8);
        end_header();
        loads();
        enters(rows[i].at + 8, BOOTED);
        assert_true(guest_ram_holds(&g, rows[i].at, kernel_data + rows[i].offset, rows[i].size));
        assert_true(guest_ram_is_clear(&g, rows[i].at + rows[i].size, 16 * MIB));
        guest_ram_close(&g);
    }
    open_elf();
    put_addresses(0x301000, 0x300000, 0, 0);
    end_header();
    refused(E_FORMAT, "an address tag without an entry tag");
    guest_ram_close(&g);
    open_elf();
    put_addresses(0x300000, 0x300001, 0, 0);
    put_le32(add_tag(3, 0, 12), 0x300008);
    end_header();
    refused(E_FORMAT, "its header at 4096 in the file goes to 300000H");
    guest_ram_close(&g);
    // From its beginning, to before the start of memory.
    open_elf();
    put_addresses(0xfff, ~0u, 0, 0);
    put_le32(add_tag(3, 0, 12), 8);
    end_header();
    refused(E_FORMAT, "its header at 4096 in the file goes to fffH");
    guest_ram_close(&g);
}

static void features_that_a_vm_has_or_has_not(void **state)
{
    (void)state;
    static const struct {
        u16 type;
        u32 size;
        u32 value;        // behind type and size
        const char *text; // NULL: accepted even as a requirement
    } rows[] = {
        {4,   12, 3, "Multiboot2: it requires a screen, and the VM has none"        },
        {4,   12, 2, NULL                                                           }, // text if there is one
        {5,   20, 0, "Multiboot2: it requires a framebuffer, and the VM has no scre"},
        {6,   8,  0, NULL                                                           },
        {7,   8,  0, "Multiboot2: it requires EFI boot services, and the VM has no "},
        {8,   12, 0, NULL                                                           },
        {9,   12, 0, NULL                                                           },
        {10,  24, 0, NULL                                                           },
        {11,  8,  0, "Multiboot2: it requires an unknown feature, header tag 11"    },
        {999, 64, 0, "Multiboot2: it requires an unknown feature, header tag 999"   },
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        for (u16 optional = 0; optional < 2; optional++) {
            open_elf();
            u8 *tag = add_tag(rows[i].type, optional, rows[i].size);
            if (rows[i].size >= 12)
                put_le32(tag, rows[i].value);
            end_header();
            if (rows[i].text && !optional)
                refused(E_UNSUPP, rows[i].text);
            else
                loads();
            guest_ram_close(&g);
        }
    }
}

static void information_requests(void **state)
{
    (void)state;
    for (u16 optional = 0; optional < 2; optional++) {
        open_elf();
        u8 *tag = add_tag(1, optional, 8 + 21 * 4);
        for (u32 i = 0; i < 21; i++)
            put_le32(tag + i * 4, i + 1);
        end_header();
        loads();
        guest_ram_close(&g);

        open_elf();
        tag = add_tag(1, optional, 8 + 2 * 4);
        put_le32(tag, 6);
        put_le32(tag + 4, 22);
        end_header();
        if (optional)
            loads();
        else
            refused(E_UNSUPP, "Multiboot2: it requires unknown boot information, type 22");
        guest_ram_close(&g);
    }
    // Half a number at the end is none.
    open_elf();
    u8 *tag = add_tag(1, 0, 16);
    put_le32(tag, 0xffffffff);
    put_le32(tag - 4, 11);
    end_header();
    loads();
    guest_ram_close(&g);
}

static void headers_that_make_no_sense(void **state)
{
    (void)state;
    open_elf();
    end_header();
    put_le32(kernel_data + HEADER + 4, 4);
    put_le32(kernel_data + HEADER + 12, 0u - 0xe85250d6 - 4 - 24);
    refused(E_UNSUPP, "Multiboot2: it is for architecture 4, not a PC");
    guest_ram_close(&g);

    open_elf();
    close_header();
    refused(E_FORMAT, "Multiboot2: its header has no end tag");
    guest_ram_close(&g);
    open_elf();
    add_tag(6, 0, 8);
    close_header();
    refused(E_FORMAT, "Multiboot2: its header has no end tag");
    guest_ram_close(&g);

    static const struct {
        u16 type;
        u32 size;
    } rows[] = {
        {6,  0         },
        {6,  7         },
        {2,  23        },
        {3,  11        },
        {4,  8         },
        {10, 16        },
        {6,  25        },
        {6,  0xffffffff},
        {77, 4         },
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        open_elf();
        u8 *tag = add_tag(rows[i].type, 1, 16);
        end_header();
        put_le32(tag - 4, rows[i].size);
        refused(E_FORMAT, "has a size of ");
        guest_ram_close(&g);
    }
}

static void a_header_at_the_files_end(void **state)
{
    (void)state;
    open_elf();
    // The last tag ends with the file, but not at a multiple of 8.
    elf_put(true, 0x200040, plain, 1);
    put_le32(kernel_data + elf_phdr(true, 0) + 32, 16);
    add_tag(6, 0, 12);
    header_end -= 4;
    close_header();
    boot.kernel.size = header_end;
    refused(E_FORMAT, "no end tag");
    guest_ram_close(&g);
}

// ---- boot information -------------------------------------------------------------------------

static u8 info[0x10000];

// The tag of this type, or NULL; fails unless all tags are where they should be.
static const u8 *find(u32 type)
{
    const u8 *found = NULL;
    assert_int_equal(start.rbx % 8, 0);
    assert_true(guest_ram_read(&g, start.rbx, info, sizeof(info)));
    u32 total = le32(info);
    assert_in_range(total, 16, sizeof(info));
    assert_int_equal(le32(info + 4), 0);
    for (u32 at = 8;;) {
        assert_true(at + 8 <= total);
        u32 t = le32(info + at), size = le32(info + at + 4);
        assert_true(size >= 8 && size <= total - at);
        if (t == 0) {
            assert_int_equal(size, 8);
            assert_int_equal(at + 8, total);
            assert_true(guest_ram_is_clear(&g, start.rbx + total, start.rbx + sizeof(info)));
            return type ? found : info + at;
        }
        if (t == type) {
            assert_null(found); // once
            found = info + at;
        }
        at += (u32)align_up(size, 8);
    }
}

static void the_tags_of_a_plain_kernel(void **state)
{
    (void)state;
    open_elf();
    end_header();
    loads();
    const u8 *t = find(1);
    assert_non_null(t);
    assert_string_equal((const char *)t + 8, "root=/dev/zero verbose");
    assert_int_equal(le32(t + 4), 8 + sizeof("root=/dev/zero verbose"));
    t = find(2);
    assert_non_null(t);
    assert_string_equal((const char *)t + 8, "Corbel");
    t = find(4);
    assert_non_null(t);
    assert_int_equal(le32(t + 4), 16);
    assert_int_equal(le32(t + 8), 639);
    assert_int_equal(le32(t + 12), 15 * 1024);
    // No module, no ACPI, nothing of relocation.
    static const u32 absent[] = {3, 14, 15, 21, 5, 7, 8, 9, 11, 12, 17};
    for (unsigned i = 0; i < ARRAY_SIZE(absent); i++)
        assert_null(find(absent[i]));
    guest_ram_close(&g);
}

static void the_memory_map(void **state)
{
    (void)state;
    open_elf();
    end_header();
    loads();
    const u8 *t = find(6);
    assert_non_null(t);
    assert_int_equal(le32(t + 8), 24);
    assert_int_equal(le32(t + 12), 0);
    u32 n = (le32(t + 4) - 16) / 24;
    assert_int_equal(n, g.memory.nmap);
    for (u32 i = 0; i < n; i++) {
        assert_memory_equal(t + 16 + i * 24, &g.memory.map[i], 20);
        assert_int_equal(le32(t + 16 + i * 24 + 20), 0);
    }
    guest_ram_close(&g);
}

static void the_module(void **state)
{
    (void)state;
    open_elf();
    end_header();
    boot.initrd = (struct boot_file){initrd_data, sizeof(initrd_data)};
    loads();
    const u8 *t = find(3);
    assert_non_null(t);
    assert_int_equal(le32(t + 8), 0x20d000);
    assert_int_equal(le32(t + 12), 0x20d000 + sizeof(initrd_data));
    assert_string_equal((const char *)t + 16, "initrd");
    assert_int_equal(le32(t + 4), 16 + sizeof("initrd"));
    assert_true(guest_ram_holds(&g, 0x20d000, initrd_data, sizeof(initrd_data)));
    guest_ram_close(&g);
}

static void copies_of_the_rsdp(void **state)
{
    (void)state;
    u8 rsdp[36];
    open_elf();
    end_header();
    assert_int_equal(acpi_tables_write(&g.vm, &(struct acpi_config){0}, &boot.rsdp), OK);
    loads();
    assert_true(guest_ram_read(&g, boot.rsdp.raw, rsdp, sizeof(rsdp)));
    const u8 *t = find(14);
    assert_non_null(t);
    assert_int_equal(le32(t + 4), 8 + 20);
    assert_memory_equal(t + 8, rsdp, 20);
    t = find(15);
    assert_non_null(t);
    assert_int_equal(le32(t + 4), 8 + 36);
    assert_memory_equal(t + 8, rsdp, 36);
    guest_ram_close(&g);
}

static void relocatable_kernels_are_told_where_they_are(void **state)
{
    (void)state;
    open_elf();
    add_tag(10, 0, 24);
    end_header();
    loads();
    const u8 *t = find(21);
    assert_non_null(t);
    assert_int_equal(le32(t + 4), 12);
    assert_int_equal(le32(t + 8), 0x200000);
    guest_ram_close(&g);
}

static void long_command_lines(void **state)
{
    (void)state;
    static char line[0x8002];
    memset(line, 'y', sizeof(line) - 1);
    open_elf();
    end_header();
    boot.cmdline = line + 1;
    boot.initrd = (struct boot_file){initrd_data, sizeof(initrd_data)};
    loads();
    assert_string_equal((const char *)find(1) + 8, line + 1);
    guest_ram_close(&g);
    open_elf();
    end_header();
    boot.cmdline = line;
    refused(E_RANGE, "the command line has 32769 characters, 32768 fit");
    guest_ram_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elf_kernels),
        cmocka_unit_test(an_entry_tag_goes_before_the_file),
        cmocka_unit_test(address_tags),
        cmocka_unit_test(features_that_a_vm_has_or_has_not),
        cmocka_unit_test(information_requests),
        cmocka_unit_test(headers_that_make_no_sense),
        cmocka_unit_test(a_header_at_the_files_end),
        cmocka_unit_test(the_tags_of_a_plain_kernel),
        cmocka_unit_test(the_memory_map),
        cmocka_unit_test(the_module),
        cmocka_unit_test(copies_of_the_rsdp),
        cmocka_unit_test(relocatable_kernels_are_told_where_they_are),
        cmocka_unit_test(long_command_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
