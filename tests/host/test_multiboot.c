// SPDX-License-Identifier: MIT
// Multiboot kernels and flat images: what they are handed, and each thing that is refused. The ELF
// reader and the placing of segments are tested through them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "guest/guest_memory.h"
#include "tests/host/kernel_file.h"

#define HEADER 4096u // where the header is in the file
#define BOOTED 0x2badb002u

static void put_header(u32 flags)
{
    put_le32(kernel_data + HEADER, 0x1badb002);
    put_le32(kernel_data + HEADER + 4, flags);
    put_le32(kernel_data + HEADER + 8, 0u - 0x1badb002 - flags);
}

static void put_addresses(u32 header, u32 load, u32 load_end, u32 bss_end, u32 entry)
{
    put_header(0x10000);
    put_le32(kernel_data + HEADER + 12, header);
    put_le32(kernel_data + HEADER + 16, load);
    put_le32(kernel_data + HEADER + 20, load_end);
    put_le32(kernel_data + HEADER + 24, bss_end);
    put_le32(kernel_data + HEADER + 28, entry);
}

static const struct kernel_segment plain[] = {
    {0x100000, 0x100000, 0x1000, 0x3000, 0x3000},
    {0x104000, 0x104000, 0x4000, 0x1234, 0x9000},
};

static void open_elf(bool wide)
{
    kernel_vm(16 * MIB);
    elf_put(wide, 0x100040, plain, 2);
    put_header(3);
}

// ---- ELF --------------------------------------------------------------------------------------

static void elf_segments_lie_where_they_say(void **state)
{
    (void)state;
    for (int wide = 0; wide < 2; wide++) {
        open_elf(wide);
        loads();
        enters(0x100040, BOOTED);
        assert_true(guest_ram_holds(&g, 0x100000, kernel_data + 0x1000, 0x3000));
        assert_true(guest_ram_is_clear(&g, 0x103000, 0x104000));
        assert_true(guest_ram_holds(&g, 0x104000, kernel_data + 0x4000, 0x1234));
        assert_true(guest_ram_is_clear(&g, 0x105234, 16 * MIB));
        guest_ram_close(&g);
    }
}

static void elf_bss_is_cleared(void **state)
{
    (void)state;
    open_elf(false);
    memset(vm_ptr(&g.vm, GPA(0x104000), 0x9000), 0xff, 0x9000);
    loads();
    assert_true(guest_ram_is_clear(&g, 0x105234, 0x10d000));
    guest_ram_close(&g);
}

static void elf_high_half_kernels_are_entered_at_the_physical_place(void **state)
{
    (void)state;
    static const struct kernel_segment high[] = {
        {0xffffffff80000000, 0x200000, 0x1000, 0x1000, 0x1000},
        {0xffffffff80100000, 0x400000, 0x2000, 0x1000, 0x1000},
    };
    static const struct {
        u64 entry, at; // 0: refused
    } rows[] = {
        {0xffffffff80000000, 0x200000},
        {0xffffffff80000fff, 0x200fff},
        {0xffffffff80001000, 0       },
        {0xffffffff80100010, 0x400010},
        {0xffffffff80100fff, 0x400fff},
        {0xffffffff80101000, 0       },
        {0xffffffff7fffffff, 0       },
        {0x200020,           0x200020}, // physical already
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        kernel_vm(16 * MIB);
        elf_put(true, rows[i].entry, high, 2);
        put_header(0);
        if (rows[i].at) {
            loads();
            enters(rows[i].at, BOOTED);
        } else {
            refused(E_FORMAT, "is in none of its 2 segments");
        }
        guest_ram_close(&g);
    }
    static const struct kernel_segment high32 = {0xc0200000, 0x300000, 0x1000, 0x1000, 0x1000};
    kernel_vm(16 * MIB);
    elf_put(false, 0xc0200123, &high32, 1);
    put_header(0);
    loads();
    enters(0x300123, BOOTED);
    guest_ram_close(&g);
}

static void elf_headers_that_are_none_of_ours(void **state)
{
    (void)state;
    static const struct {
        u32 offset;
        u8 value;
        int err;
        const char *text;
    } rows[] = {
        {4,  0,    E_FORMAT, "ELF class 0, data encoding 1"             },
        {4,  3,    E_FORMAT, "ELF class 3"                              },
        {5,  2,    E_FORMAT, "data encoding 2"                          },
        {18, 40,   E_UNSUPP, "an ELF file for machine 40, not for a PC" },
        {16, 1,    E_UNSUPP, "ELF type 1: only executables"             },
        {16, 3,    E_UNSUPP, "ELF type 3: only executables"             },
        {42, 31,   E_FORMAT, "its program headers of 31 bytes"          },
        {44, 0,    E_FORMAT, "its entry 100040H is in none of its 0"    },

        {25, 0x3f, E_FORMAT, "its entry 103f40H is in none of its 2 seg"},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        open_elf(false);
        kernel_data[rows[i].offset] = rows[i].value;
        refused(rows[i].err, rows[i].text);
        guest_ram_close(&g);
    }
    // Neither ELF nor addresses.
    open_elf(false);
    kernel_data[1] = 'e';
    refused(E_FORMAT, "not an ELF file, and no addresses in its header");
    guest_ram_close(&g);
}

static void elf_files_that_end_too_early(void **state)
{
    (void)state;
    for (int wide = 0; wide < 2; wide++) {
        open_elf(wide);
        boot.kernel.size = 0x5234;
        loads();
        guest_ram_close(&g);

        open_elf(wide);
        boot.kernel.size = 0x5233;
        refused(E_TRUNC, "truncated: the segment at 104000H has 4660 bytes from 16384 on, the file "
                         "21043 in all");
        boot.kernel.size = 0x3fff;
        refused(E_TRUNC, "truncated: the segment at 100000H");
        boot.kernel.size = HEADER + 12;
        refused(E_TRUNC, "truncated: the segment at 100000H");
        boot.kernel.size = sizeof(kernel_data);

        // The table of program headers out of the file.
        u8 *phoff = kernel_data + (wide ? 32 : 28);
        put_wide(phoff, sizeof(kernel_data) - 2 * (wide ? 56 : 32) + 1, wide);
        refused(E_TRUNC, "truncated: 2 program headers at ");
        put_wide(phoff, sizeof(kernel_data) + 1, wide);
        refused(E_TRUNC, "truncated: 2 program headers");
        put_wide(phoff, ~0ull, wide);
        refused(E_TRUNC, "truncated: 2 program headers");
        put_wide(phoff, elf_phdr(wide, 0), wide);
        put_le16(kernel_data + (wide ? 56 : 44), 0xffff);
        refused(E_TRUNC, "truncated: 65535 program headers");
        guest_ram_close(&g);
    }
    // A 64-bit header in a file that ends behind a 32-bit one: a Multiboot header within is needed
    // to come this far.
    kernel_vm(16 * MIB);
    elf_put(true, 0x100040, plain, 0);
    memcpy(kernel_data + 40, "\x02\xb0\xad\x1b\0\0\0\0\xfe\x4f\x52\xe4", 12);
    boot.kernel.size = 63;
    refused(E_TRUNC, "truncated: 63 bytes end inside the ELF header");
    guest_ram_close(&g);
}

static void elf_segments_that_are_none(void **state)
{
    (void)state;
    // Not to be loaded, and without memory.
    open_elf(false);
    put_le32(kernel_data + elf_phdr(false, 1), 6);
    loads();
    assert_true(guest_ram_is_clear(&g, 0x103000, 16 * MIB));
    guest_ram_close(&g);
    open_elf(false);
    put_le32(kernel_data + elf_phdr(false, 1) + 16, 0);
    put_le32(kernel_data + elf_phdr(false, 1) + 20, 0);
    put_le32(kernel_data + elf_phdr(false, 1) + 12,
             0xfee00000); // where it does not lie matters not
    loads();
    guest_ram_close(&g);

    open_elf(false);
    put_le32(kernel_data + elf_phdr(false, 0) + 20, 0x2fff);
    refused(E_FORMAT, "the segment at 100000H has 12288 bytes for 12287 of memory");
    guest_ram_close(&g);

    static struct kernel_segment many[17];
    for (unsigned i = 0; i < 17; i++)
        many[i] =
            (struct kernel_segment){0x100000 + i * 0x1000, 0x100000 + i * 0x1000, 0x2000, 16, 16};
    kernel_vm(16 * MIB);
    elf_put(false, 0x100000, many, 16);
    put_header(0);
    loads();
    guest_ram_close(&g);
    kernel_vm(16 * MIB);
    elf_put(false, 0x100000, many, 17);
    put_header(0);
    refused(E_FORMAT, "more than 16 segments");
    guest_ram_close(&g);
}

// ---- memory -----------------------------------------------------------------------------------

static void segments_lie_in_free_ram_only(void **state)
{
    (void)state;
    static const struct {
        u64 at, size;
        bool good;
    } rows[] = {
        {0x9ec00,           0x1000,          true },
        {0x9ec00,           0x1001,          false}, // into the BIOS's data
        {0x9fc00,           0x10,            false},
        {0xa0000,           0x10,            false},
        {0xb8000,           0x10,            false},
        {0xe0000,           0x10,            false}, // ACPI's tables
        {0xfffff,           0x10,            false},
        {0x100000,          15 * MIB,        true },
        {0x100000,          15 * MIB + 1,    false},
        {16 * MIB - 0x1000, 0x1000,          true },
        {16 * MIB - 0x1000, 0x1001,          false},
        {16 * MIB,          0x10,            false},
        {0xfee00000,        0x10,            false},
        {0xfffff000,        0x1000,          false},
        {~0ull,             1,               false},
        {~0ull - 0xf,       0x1000,          false},
        {0x100000,          ~0ull,           false},
        {0x100000,          ~0ull - 0xfffff, false},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct kernel_segment s = {rows[i].at, rows[i].at, 0x2000, 16, rows[i].size};
        if (s.file_size > s.memory_size)
            s.file_size = s.memory_size;
        kernel_vm(16 * MIB);
        elf_put(true, rows[i].at, &s, 1);
        put_header(0);
        if (rows[i].good) {
            loads();
            enters(rows[i].at, BOOTED);
        } else {
            refused(E_RANGE, "too little memory: its ");
            assert_non_null(strstr(guest_ram_log, "which ends at 1000000H"));
        }
        guest_ram_close(&g);
    }
    // RAM above 4 GiB is out of reach in protected mode.
    struct kernel_segment s = {1ull << 32, 1ull << 32, 0x2000, 16, 16};
    guest_ram_open(&g, 4096 * MIB, 0);
    boot.memory = &g.memory;
    elf_put(true, 1ull << 32, &s, 1);
    put_header(0);
    assert_int_equal(kernel_try(), E_RANGE);
    guest_ram_close(&g);
}

static void segments_do_not_overlap(void **state)
{
    (void)state;
    static const struct {
        u64 a, a_size, b, b_size;
        bool good;
    } rows[] = {
        {0x200000, 0x1000, 0x201000, 0x1000, true },
        {0x201000, 0x1000, 0x200000, 0x1000, true },
        {0x200000, 0x1001, 0x201000, 0x1000, false},
        {0x201000, 0x1000, 0x200000, 0x1001, false},
        {0x200000, 0x1000, 0x200000, 0x1000, false},
        {0x200000, 0x9000, 0x203000, 0x1000, false},
        {0x203000, 0x1000, 0x200000, 0x9000, false},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct kernel_segment s[] = {
            {rows[i].a, rows[i].a, 0x2000, 16, rows[i].a_size},
            {rows[i].b, rows[i].b, 0x2000, 16, rows[i].b_size},
        };
        kernel_vm(16 * MIB);
        elf_put(false, rows[i].a, s, 2);
        put_header(0);
        if (rows[i].good)
            loads();
        else
            refused(E_FORMAT, "overlap");
        guest_ram_close(&g);
    }
}

// ---- address fields ---------------------------------------------------------------------------

static void addresses_instead_of_elf(void **state)
{
    (void)state;
    static const struct {
        u32 header, load, load_end, bss_end;
        u32 offset; // in the file of what goes to load
        u32 size, memory;
    } rows[] = {
        {0x201000, 0x200000, 0x208000, 0x20c000, 0,      0x8000,              0xc000             },
        {0x201000, 0x200000, 0,        0,        0,      sizeof(kernel_data), sizeof(kernel_data)},
        {0x201000, 0x200000, 0,        0x300000, 0,      sizeof(kernel_data), 0x100000           },
        {0x201000, 0x200000, 0x208000, 0,        0,      0x8000,              0x8000             },
        {0x200000, 0x200000, 0x200020, 0x200020, 0x1000, 0x20,                0x20               },
        {0x200010, 0x200000, 0x200020, 0x200040, 0xff0,  0x20,                0x40               },
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        kernel_vm(16 * MIB);
        // An ELF header is there too: the fields go before it.
        elf_put(false, 0x100040, plain, 2);
        put_addresses(rows[i].header, rows[i].load, rows[i].load_end, rows[i].bss_end,
                      rows[i].load + 4);
        memset(vm_ptr(&g.vm, GPA(0x200000), 0x1000), 0xff, 0x1000);
        loads();
        enters(rows[i].load + 4, BOOTED);
        assert_true(guest_ram_holds(&g, 0x200000, kernel_data + rows[i].offset, rows[i].size));
        assert_true(guest_ram_is_clear(&g, 0x200000 + rows[i].size, 0x200000 + rows[i].memory));
        guest_ram_close(&g);
    }
}

static void addresses_that_make_no_sense(void **state)
{
    (void)state;
    static const struct {
        u32 header, load, load_end, bss_end, entry;
        int err;
        const char *text;
    } rows[] = {
        {0x200000,   0x200001,   0,        0,         0x200000,   E_FORMAT,
         "goes to 200000H, what is loaded starts at 200001H"                                                },
        {0x201001,   0x200000,   0,        0,         0x200000,   E_FORMAT, "its header at 4096 in the file"},
        {0x201000,   0x200000,   0x1fffff, 0,         0x200000,   E_FORMAT,
         "it is loaded from 200000H to 1fffffH"                                                             },
        {0x201000,   0x200000,   0x208000, 0x207fff,  0x200000,   E_FORMAT, "its memory ends at 207fffH"    },
        {0x201000,   0x200000,   0x200000, 0x200000,  0x200000,   E_FORMAT,
         "is in none of its 0 segments"                                                                     },
        {0x201000,   0x200000,   0x220001, 0,         0x200000,   E_TRUNC,
         "truncated: the segment at 200000H has 131073"                                                     },
        {0x201000,   0x200000,   0,        0,         0x220000,   E_FORMAT, "its entry 220000H"             },
        {0x201000,   0x200000,   0,        0,         0x1fffff,   E_FORMAT, "its entry 1fffffH"             },
        {0x201000,   0x200000,   0,        0x2000000, 0x200000,   E_RANGE,
         "too little memory: its 30720 KiB at 200000H"                                                      },
        {0xffffffff, 0xfffff000, 0,        0,         0xfffff000, E_RANGE,  "too little memory"             },
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        kernel_vm(16 * MIB);
        put_addresses(rows[i].header, rows[i].load, rows[i].load_end, rows[i].bss_end,
                      rows[i].entry);
        refused(rows[i].err, rows[i].text);
        guest_ram_close(&g);
    }
}

static void requirements_that_are_refused(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 32; bit++) {
        open_elf(false);
        put_header(1u << bit);
        if (bit == 2) {
            refused(E_UNSUPP, "it requires a video mode, and the VM has no screen");
        } else if (bit > 2 && bit < 16) {
            refused(E_UNSUPP, "it requires unknown features: flags ");
        } else if (bit != 16) {
            loads();
        }
        guest_ram_close(&g);
    }
}

// ---- boot information -------------------------------------------------------------------------

static u8 info[0x10000];

static u32 at(u32 offset)
{
    return le32(info + offset);
}

static void read_info(void)
{
    assert_int_equal(start.rbx % 8, 0);
    assert_in_range(start.rbx, 0x1000, 0x90000);
    assert_true(guest_ram_read(&g, start.rbx, info, sizeof(info)));
}

static const char *text_at(u32 address)
{
    assert_in_range(address, start.rbx, start.rbx + sizeof(info) - 1);
    return (const char *)info + (address - start.rbx);
}

static void the_information_structure(void **state)
{
    (void)state;
    open_elf(false);
    memset(vm_ptr(&g.vm, GPA(0x10000), 0x10000), 0xff, 0x10000); // what was there does not show
    loads();
    read_info();
    assert_int_equal(at(0), 1 | 4 | 8 | 0x40 | 0x200);
    assert_int_equal(at(4), 639);
    assert_int_equal(at(8), 15 * 1024);
    assert_string_equal(text_at(at(16)), "root=/dev/zero verbose");
    assert_string_equal(text_at(at(64)), "Corbel");
    assert_int_equal(at(20), 0); // no module
    // What the flags do not announce is 0.
    static const u32 zero[] = {12, 28, 32, 36, 40, 52, 56, 60, 68, 72, 76, 80, 84, 88, 116};
    for (unsigned i = 0; i < ARRAY_SIZE(zero); i++)
        assert_int_equal(at(zero[i]), 0);

    u32 length = at(44), entry = at(48), n = 0;
    for (u32 done = 0; done < length; n++) {
        const u8 *e = info + (entry - start.rbx) + done;
        assert_int_equal(le32(e), 20);
        assert_memory_equal(e + 4, &g.memory.map[n], 20);
        done += le32(e) + 4;
    }
    assert_int_equal(n, g.memory.nmap);
    // It is the last of what is there.
    assert_true(guest_ram_is_clear(&g, entry + length, start.rbx + sizeof(info)));
    guest_ram_close(&g);
}

static void the_module_follows_the_kernel(void **state)
{
    (void)state;
    open_elf(true);
    boot.initrd = (struct boot_file){initrd_data, sizeof(initrd_data)};
    loads();
    read_info();
    assert_int_equal(at(20), 1);
    const u8 *module = info + (at(24) - start.rbx);
    u32 from = le32(module), to = le32(module + 4);
    assert_int_equal(from, 0x10d000); // the page behind the last segment
    assert_int_equal(to - from, sizeof(initrd_data));
    assert_true(guest_ram_holds(&g, from, initrd_data, sizeof(initrd_data)));
    assert_true(guest_ram_is_clear(&g, to, 16 * MIB));
    assert_string_equal(text_at(le32(module + 8)), "initrd");
    assert_int_equal(le32(module + 12), 0);
    guest_ram_close(&g);
}

static void a_module_has_its_pages_to_itself(void **state)
{
    (void)state;
    // A kernel that ends amid a page, and one that lies below 1 MiB.
    static const struct {
        struct kernel_segment segment;
        u64 module;
    } rows[] = {
        {{0x300000, 0x300000, 0x2000, 16, 0x1001}, 0x302000},
        {{0x300000, 0x300000, 0x2000, 16, 0x1000}, 0x301000},
        {{0x40000, 0x40000, 0x2000, 16, 0x1000},   0x100000},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        kernel_vm(16 * MIB);
        elf_put(false, rows[i].segment.paddr, &rows[i].segment, 1);
        put_header(0);
        boot.initrd = (struct boot_file){initrd_data, sizeof(initrd_data)};
        loads();
        read_info();
        assert_int_equal(le32(info + (at(24) - start.rbx)), rows[i].module);
        guest_ram_close(&g);
    }
}

static void a_module_that_does_not_fit(void **state)
{
    (void)state;
    u64 top = 16 * MIB - 6 * 4096; // 5 pages and some are needed
    for (int i = 0; i < 2; i++) {
        struct kernel_segment s = {0x200000, 0x200000, 0x2000, 16, top + (u64)i - 0x200000};
        kernel_vm(16 * MIB);
        elf_put(false, 0x200000, &s, 1);
        put_header(0);
        boot.initrd = (struct boot_file){initrd_data, sizeof(initrd_data)};
        if (i == 0)
            loads();
        else
            refused(E_RANGE,
                    "the initrd of 20 KiB does not fit between the kernel's end at ffb000H "
                    "and the end of RAM at 1000000H");
        guest_ram_close(&g);
    }
    open_elf(false);
    boot.initrd = (struct boot_file){initrd_data, ~0ull};
    assert_int_equal(kernel_load(&g.vm, &boot, &start), E_RANGE);
    guest_ram_close(&g);
}

// The information gives way to kernels that live below 1 MiB.
static void the_information_avoids_the_kernel(void **state)
{
    (void)state;
    static const struct {
        u64 from, to, info; // 0: no room
    } rows[] = {
        {0x08000, 0x10000, 0x10000},
        {0x08000, 0x10001, 0x20000},
        {0x1ffff, 0x20000, 0x20000},
        {0x10000, 0x80000, 0x80000},
        {0x10000, 0x80001, 0      },
        {0x01000, 0x9fc00, 0      },
        {0x90000, 0x9fc00, 0x10000},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct kernel_segment s = {rows[i].from, rows[i].from, 0x2000, 1,
                                   rows[i].to - rows[i].from};
        kernel_vm(16 * MIB);
        elf_put(false, rows[i].from, &s, 1);
        put_header(0);
        if (rows[i].info) {
            loads();
            assert_int_equal(start.rbx, rows[i].info);
            assert_true(guest_ram_holds(&g, rows[i].from, kernel_data + 0x2000, 1));
        } else {
            refused(E_RANGE, "leaves no room for the boot information");
        }
        guest_ram_close(&g);
    }
}

static void long_command_lines(void **state)
{
    (void)state;
    static char line[0x8002];
    memset(line, 'y', sizeof(line) - 1);
    open_elf(false);
    boot.cmdline = line + 1;
    loads();
    read_info();
    assert_string_equal(text_at(at(16)), line + 1);
    assert_string_equal(text_at(at(64)), "Corbel");
    guest_ram_close(&g);
    open_elf(false);
    boot.cmdline = line;
    refused(E_RANGE, "the command line has 32769 characters, 32768 fit");
    guest_ram_close(&g);
}

// ---- flat images and the choice of the loader -------------------------------------------------

static void flat_images(void **state)
{
    (void)state;
    static const u64 sizes[] = {1, 511, 4096, 100001, sizeof(kernel_data)};
    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        kernel_vm(2 * MIB);
        boot.kernel.size = sizes[i];
        boot.initrd = (struct boot_file){initrd_data, sizeof(initrd_data)};
        loads();
        enters(0x100000, BOOTED);
        assert_true(guest_ram_holds(&g, 0x100000, kernel_data, sizes[i]));
        read_info();
        assert_int_equal(at(0), 1 | 4 | 8 | 0x40 | 0x200);
        u32 module = le32(info + (at(24) - start.rbx));
        assert_int_equal(module, 0x100000 + align_up(sizes[i], 4096));
        assert_true(guest_ram_holds(&g, module, initrd_data, sizeof(initrd_data)));
        // A stack that is RAM and nobody's.
        assert_true(guest_is_ram(&g.vm, GPA(start.rsp - 0x8000), 0x8000));
        assert_true(guest_ram_is_clear(&g, 0x1000, start.rsp));
        guest_ram_close(&g);
    }
    kernel_vm(1 * MIB);
    refused(E_RANGE, "too little memory: its 128 KiB at 100000H");
    guest_ram_close(&g);
}

static void files_that_were_meant_for_something_else(void **state)
{
    (void)state;
    static const struct {
        u32 offset, size;
        const char *bytes, *text;
    } rows[] = {
        {0x202, 4, "HdrS",             "wrong magic: a Linux setup header, but no 55AAH at 1FEH"    },
        {0x1fe, 2, "\x55\xaa",         "wrong magic: a boot sector, but no Linux's \"HdrS\" at 202H"},
        {0,     2, "MZ",               "an EFI or DOS program"                                      },
        {0,     6, "070701",           "a cpio archive: an initial RAM disk rather than a kernel"   },
        {0,     2, "\x1f\x8b",         "a gzip file"                                                },
        {0,     6,
         "\xfd"
         "7zXZ\0",                     "an xz file"                                                 },
        {0,     4, "\x28\xb5\x2f\xfd", "a zstd file"                                                },
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        u64 end = rows[i].offset + rows[i].size;
        kernel_vm(2 * MIB);
        memcpy(kernel_data + rows[i].offset, rows[i].bytes, rows[i].size);
        refused(E_FORMAT, rows[i].text);
        boot.kernel.size = end;
        refused(E_FORMAT, rows[i].text);
        boot.kernel.size = end - 1; // not known as such
        loads();
        boot.kernel.size = end;
        kernel_data[end - 1] ^= 1;
        loads();
        guest_ram_close(&g);
    }
}

static void files_that_nothing_can_start(void **state)
{
    (void)state;
    kernel_vm(16 * MIB);
    boot.kernel.size = 0;
    refused(E_TRUNC, "truncated: 0 bytes end inside the header of a flat image");
    boot.kernel.size = sizeof(kernel_data);
    elf_put(false, 0x100000, plain, 2);
    refused(E_UNSUPP, "ELF without a Multiboot header: not a kernel");
    memcpy(kernel_data, "UGTCrbel", 8);
    refused(E_UNSUPP, "Corbel guest image: not a kernel");
    guest_ram_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elf_segments_lie_where_they_say),
        cmocka_unit_test(elf_bss_is_cleared),
        cmocka_unit_test(elf_high_half_kernels_are_entered_at_the_physical_place),
        cmocka_unit_test(elf_headers_that_are_none_of_ours),
        cmocka_unit_test(elf_files_that_end_too_early),
        cmocka_unit_test(elf_segments_that_are_none),
        cmocka_unit_test(segments_lie_in_free_ram_only),
        cmocka_unit_test(segments_do_not_overlap),
        cmocka_unit_test(addresses_instead_of_elf),
        cmocka_unit_test(addresses_that_make_no_sense),
        cmocka_unit_test(requirements_that_are_refused),
        cmocka_unit_test(the_information_structure),
        cmocka_unit_test(the_module_follows_the_kernel),
        cmocka_unit_test(a_module_has_its_pages_to_itself),
        cmocka_unit_test(a_module_that_does_not_fit),
        cmocka_unit_test(the_information_avoids_the_kernel),
        cmocka_unit_test(long_command_lines),
        cmocka_unit_test(flat_images),
        cmocka_unit_test(files_that_were_meant_for_something_else),
        cmocka_unit_test(files_that_nothing_can_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
