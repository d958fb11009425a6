// SPDX-License-Identifier: MIT
// The bzImage loader on images made up here: what a kernel is handed, and each thing that is
// refused.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "guest/kernel.h"
#include "guest/le.h"
#include "tests/host/guest_ram.h"

#define K 1024ull
#define M (1024 * K)

// A kernel as Debian's are: relocatable, 2 MiB aligned, at home at 16 MiB.
#define SETUP_SIZE (5 * 512u)
#define CODE_SIZE  (40 * 16u * 256)
#define FILE_SIZE  (SETUP_SIZE + CODE_SIZE)
#define PREF       (16 * M)
#define INIT_SIZE  (8 * M)

static u8 image[FILE_SIZE + 64];
static u8 initrd[300 * K + 5];
static struct guest_ram g;
static struct kernel_boot boot;
static struct guest_start start;

static void make_image(void)
{
    for (u32 i = 0; i < sizeof(image); i++)
        image[i] = (u8)(i * 5 + (i >> 8) + 3);
    memset(image + 0x1f1, 0, 0x290 - 0x1f1);
    image[0x1f1] = 4;
    put_le32(image + 0x1f4, CODE_SIZE / 16);
    put_le16(image + 0x1fe, 0xaa55);
    image[0x200] = 0xeb;
    image[0x201] = 0x6a;
    memcpy(image + 0x202, "HdrS", 4);
    put_le16(image + 0x206, 0x20f);
    image[0x211] = 0x01;
    put_le32(image + 0x214, 0x100000);
    put_le32(image + 0x22c, 0x7fffffff);
    put_le32(image + 0x230, 0x200000);
    image[0x234] = 1;
    image[0x235] = 21;
    put_le16(image + 0x236, 0x7f);
    put_le32(image + 0x238, 2047);
    put_le64(image + 0x258, PREF);
    put_le32(image + 0x260, INIT_SIZE);
}

static void open_vm(u64 size)
{
    // As many pieces as the table of regions takes.
    guest_ram_open(&g, size, size <= 64 * M ? 2 * M : 0);
    make_image();
    for (u32 i = 0; i < sizeof(initrd); i++)
        initrd[i] = (u8)(i * 11 + (i >> 7) + 1);
    boot = (struct kernel_boot){
        .kernel = {image, FILE_SIZE},
        .cmdline = "console=ttyS0 quiet",
        .memory = &g.memory,
        .rsdp = GPA(0xe0000),
    };
    memset(&start, 0xee, sizeof(start));
}

// Loads from copies of exactly the files' sizes, so that the sanitizer sees one byte too many.
static int load(void)
{
    struct kernel_boot copy = boot;
    u8 *kernel = malloc(boot.kernel.size ? boot.kernel.size : 1);
    u8 *disk = malloc(boot.initrd.size ? boot.initrd.size : 1);
    assert_true(kernel && disk);
    memcpy(kernel, boot.kernel.data, boot.kernel.size);
    if (boot.initrd.size)
        memcpy(disk, boot.initrd.data, boot.initrd.size);
    copy.kernel.data = kernel;
    copy.initrd.data = boot.initrd.size ? disk : NULL;
    guest_ram_forget_log();
    int err = linux_load(&g.vm, &copy, &start);
    free(kernel);
    free(disk);
    return err;
}

static void refused(int want, const char *text)
{
    struct guest_start before = start;
    int err = load();
    if (err != want || !strstr(guest_ram_log, text))
        fail_msg("%s, \"%s\" instead of %s, \"%s\"", err_name(err), guest_ram_log, err_name(want),
                 text);
    assert_non_null(strstr(guest_ram_log, "error: vm rig: kernel: "));
    // Nothing half done is left in the guest, and nothing to start it with.
    assert_true(guest_ram_is_clear(&g, 0, g.memory.low_end));
    assert_memory_equal(&start, &before, sizeof(start));
}

// ---- what the kernel finds --------------------------------------------------------------------

static void params(u8 *p)
{
    assert_true(guest_ram_read(&g, start.rsi, p, 4096));
}

static void machine_state(void **state)
{
    (void)state;
    u8 gdt[32];
    open_vm(64 * M);
    assert_int_equal(load(), OK);
    assert_int_equal(start.mode, IMAGE_LONG);
    assert_false(start.unpaged);
    assert_int_equal(start.rip, PREF + 0x200);
    // Selectors 10H and 18H, and a table that has them.
    assert_int_equal(start.cs, 0x10);
    assert_int_equal(start.ds, 0x18);
    assert_int_equal(start.gdt_size, 32);
    assert_true(guest_ram_read(&g, start.gdt.raw, gdt, sizeof(gdt)));
    assert_int_equal(le64(gdt), 0);
    assert_int_equal(le64(gdt + 0x10), 0x00af9b000000ffff); // 64-bit code, execute/read
    assert_int_equal(le64(gdt + 0x18), 0x00cf93000000ffff); // data, read/write
    guest_ram_close(&g);
}

// Walks the kernel's first page tables for a linear address below 4 GiB and some.
static bool translate(u64 linear, u64 *physical)
{
    u8 entry[8];
    u64 table = start.cr3;
    for (unsigned shift = 39; shift >= 21; shift -= 9) {
        u64 index = linear >> shift & 511;
        assert_true(guest_ram_read(&g, table + index * 8, entry, 8));
        u64 e = le64(entry);
        if ((e & 3) != 3)
            return false;
        if (e & 0x80) {
            assert_int_equal(shift, 21);
            *physical = (e & 0x000fffffffe00000) + (linear & 0x1fffff);
            return true;
        }
        table = e & 0x000ffffffffff000;
    }
    return false;
}

static void page_tables_lead_everywhere_to_itself(void **state)
{
    (void)state;
    open_vm(64 * M);
    assert_int_equal(load(), OK);
    u64 physical;
    for (u64 at = 0; at < 1ull << 32; at += 0x123456) {
        assert_true(translate(at, &physical));
        assert_int_equal(physical, at);
    }
    assert_true(translate(0xffffffff, &physical));
    assert_int_equal(physical, 0xffffffff);
    assert_false(translate(1ull << 32, &physical));
    assert_false(translate(1ull << 39, &physical));
    guest_ram_close(&g);
}

static void boot_params(void **state)
{
    (void)state;
    u8 p[4096], text[32];
    open_vm(64 * M);
    boot.initrd = (struct boot_file){initrd, sizeof(initrd)};
    memset(vm_ptr(&g.vm, GPA(0x10000), 0x10000), 0xff, 0x10000); // what was there does not show
    assert_int_equal(load(), OK);
    params(p);
    assert_memory_equal(p + 0x202, "HdrS", 4);
    assert_int_equal(le16(p + 0x206), 0x20f);
    assert_int_equal(p[0x210], 0xff);
    assert_int_equal(p[0x211], 0x01);
    assert_int_equal(le32(p + 0x214), PREF);
    assert_int_equal(le64(p + 0x070), 0xe0000);
    assert_int_equal(le32(p + 0x21c), sizeof(initrd));
    assert_int_equal(le32(p + 0x0c0), 0); // upper halves
    assert_int_equal(le32(p + 0x0c4), 0);
    assert_int_equal(le32(p + 0x0c8), 0);
    assert_int_equal(p[0x1ef], 0); // the sentinel: this zero page is not the file's own bytes
    assert_memory_equal(p + 0x230, image + 0x230, 0x26c - 0x230);
    // Nothing of the file behind the header's end.
    for (u32 i = 0x26c; i < 0x2d0; i++)
        assert_int_equal(p[i], 0);

    assert_int_equal(p[0x1e8], g.memory.nmap);
    assert_memory_equal(p + 0x2d0, g.memory.map, g.memory.nmap * 20);
    assert_int_equal(p[0x2d0 + g.memory.nmap * 20], 0);

    assert_true(guest_ram_read(&g, le32(p + 0x228), text, sizeof(text)));
    assert_string_equal((char *)text, "console=ttyS0 quiet");
    guest_ram_close(&g);
}

static void a_header_that_says_it_is_longer_is_cut(void **state)
{
    (void)state;
    u8 p[4096];
    open_vm(64 * M);
    image[0x201] = 0xff;
    memset(image + 0x290, 0xaa, 0x400 - 0x290);
    assert_int_equal(load(), OK);
    params(p);
    for (u32 i = 0x290; i < 0x2d0; i++)
        assert_int_equal(p[i], 0);
    guest_ram_close(&g);
}

// The RAM that was written: everything that is told of, and nothing more.
static void parts_do_not_overlap(void **state)
{
    (void)state;
    u8 p[4096];
    open_vm(64 * M);
    boot.initrd = (struct boot_file){initrd, sizeof(initrd)};
    assert_int_equal(load(), OK);
    params(p);
    u64 initrd_at = le32(p + 0x218), initrd_end = initrd_at + sizeof(initrd);
    assert_int_equal(initrd_at % 4096, 0);
    assert_true(initrd_at >= PREF + INIT_SIZE);
    assert_true(initrd_end <= g.memory.low_end && g.memory.low_end - initrd_end < 4096);
    assert_true(guest_ram_holds(&g, PREF, image + SETUP_SIZE, CODE_SIZE));
    assert_true(guest_ram_holds(&g, initrd_at, initrd, sizeof(initrd)));

    assert_true(guest_ram_is_clear(&g, 0, 0x10000));
    assert_true(guest_ram_is_clear(&g, 0x20000, PREF));
    assert_true(guest_ram_is_clear(&g, PREF + CODE_SIZE, initrd_at));
    assert_true(guest_ram_is_clear(&g, initrd_end, g.memory.low_end));
    // The decompressor's own ground below 640 KiB, and what a BIOS has at the bottom.
    const u64 handed[] = {start.rsi, start.cr3, start.gdt.raw, le32(p + 0x228)};
    for (unsigned i = 0; i < ARRAY_SIZE(handed); i++)
        assert_in_range(handed[i], 0x1000, 0x9c000);
    guest_ram_close(&g);
}

// ---- placing ----------------------------------------------------------------------------------

static void where_the_kernel_goes(void **state)
{
    (void)state;
    static const struct {
        u64 pref;
        u32 align;
        u8 relocatable;
        u64 at;
    } rows[] = {
        {16 * M,     0x200000, 1, 16 * M},
        {16 * M + 1, 0x200000, 1, 18 * M},
        {0,          0x200000, 1, 2 * M }, // above 1 MiB
        {0,          0x1000,   1, 1 * M },
        {17 * M,     0x200000, 0, 17 * M}, // goes there whatever its alignment says
        {17 * M,     3,        0, 17 * M},
        {0,          0,        0, 1 * M },
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        open_vm(64 * M);
        put_le64(image + 0x258, rows[i].pref);
        put_le32(image + 0x230, rows[i].align);
        image[0x234] = rows[i].relocatable;
        assert_int_equal(load(), OK);
        assert_int_equal(start.rip, rows[i].at + 0x200);
        assert_true(guest_ram_holds(&g, rows[i].at, image + SETUP_SIZE, CODE_SIZE));
        guest_ram_close(&g);
    }
}

static void memory_to_the_byte(void **state)
{
    (void)state;
    open_vm(PREF + INIT_SIZE);
    assert_int_equal(load(), OK);
    guest_ram_close(&g);

    open_vm(PREF + INIT_SIZE - 4 * K);
    refused(E_RANGE, "too little memory: it needs 8192 KiB from 1000000H on, RAM ends at 17ff000H");
    guest_ram_close(&g);

    // What the file has counts where the header's size is nonsense.
    open_vm(PREF + CODE_SIZE);
    put_le32(image + 0x260, 0);
    assert_int_equal(load(), OK);
    guest_ram_close(&g);
    open_vm(PREF + CODE_SIZE - 4 * K);
    put_le32(image + 0x260, 0);
    refused(E_RANGE, "too little memory");
    guest_ram_close(&g);

    static const u64 far[] = {64 * M + 1, 1ull << 32, 1ull << 40, ~0ull, ~0ull - 0x1fffff};
    for (unsigned i = 0; i < ARRAY_SIZE(far); i++) {
        for (u8 relocatable = 0; relocatable < 2; relocatable++) {
            open_vm(64 * M);
            put_le64(image + 0x258, far[i]);
            image[0x234] = relocatable;
            refused(E_RANGE, "too little memory");
            guest_ram_close(&g);
        }
    }
    open_vm(1 * M);
    refused(E_RANGE, "RAM ends at 100000H");
    guest_ram_close(&g);
}

static void where_the_initrd_goes(void **state)
{
    (void)state;
    u8 p[4096];
    static const struct {
        u64 memory;
        u32 most; // initrd_addr_max
        u64 end;  // of the page that its last byte lies in
    } rows[] = {
        {64 * M,   0x7fffffff, 64 * M        },
        {64 * M,   0xffffffff, 64 * M        },
        {64 * M,   0x37ffffff, 64 * M        },
        {64 * M,   0x027fffff, 40 * M        },
        {64 * M,   0x027ffffe, 40 * M - 4 * K}, // a byte less costs a page at most
        {3072 * M, 0xffffffff, 3072 * M      },
        {5000 * M, 0xffffffff, 3072 * M      }, // never above 4 GiB
        {5000 * M, 0x7fffffff, 2048 * M      },
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        open_vm(rows[i].memory);
        put_le32(image + 0x22c, rows[i].most);
        boot.initrd = (struct boot_file){initrd, 2 * 4096};
        assert_int_equal(load(), OK);
        params(p);
        u64 at = le32(p + 0x218);
        assert_int_equal(align_up(at + 2 * 4096, 4096), rows[i].end);
        assert_true(at + 2 * 4096 - 1 <= rows[i].most);
        assert_true(guest_ram_holds(&g, at, initrd, 2 * 4096));
        guest_ram_close(&g);
    }
}

static void an_initrd_that_does_not_fit(void **state)
{
    (void)state;
    u64 need = align_up(sizeof(initrd), 4096);
    open_vm(PREF + INIT_SIZE + need);
    boot.initrd = (struct boot_file){initrd, sizeof(initrd)};
    assert_int_equal(load(), OK);
    guest_ram_close(&g);

    open_vm(PREF + INIT_SIZE + need - 4096);
    boot.initrd = (struct boot_file){initrd, sizeof(initrd)};
    refused(E_RANGE, "the initrd of 300 KiB does not fit between the kernel's end at 1800000H and "
                     "184b000H");
    guest_ram_close(&g);

    static const u32 limits[] = {0, 4095, 0x17fffff, 0x1800fff, 0x1800000 + sizeof(initrd) - 2};
    for (unsigned i = 0; i < ARRAY_SIZE(limits); i++) {
        open_vm(64 * M);
        boot.initrd = (struct boot_file){initrd, sizeof(initrd)};
        put_le32(image + 0x22c, limits[i]);
        refused(E_RANGE, "the initrd of 300 KiB does not fit");
        guest_ram_close(&g);
    }
    // One that is larger than all memory is not copied to find that out.
    open_vm(64 * M);
    boot.initrd = (struct boot_file){initrd, ~0ull};
    guest_ram_forget_log();
    assert_int_equal(linux_load(&g.vm, &boot, &start), E_RANGE);
    assert_true(guest_ram_is_clear(&g, 0, g.memory.low_end));
    guest_ram_close(&g);
}

static void without_an_initrd_none_is_told_of(void **state)
{
    (void)state;
    u8 p[4096];
    open_vm(64 * M);
    assert_int_equal(load(), OK);
    params(p);
    assert_int_equal(le32(p + 0x218), 0);
    assert_int_equal(le32(p + 0x21c), 0);
    guest_ram_close(&g);
}

// ---- refusals ---------------------------------------------------------------------------------

static void truncated_kernels(void **state)
{
    (void)state;
    open_vm(64 * M);
    assert_int_equal(load(), OK);
    guest_ram_close(&g);
    open_vm(64 * M);
    boot.kernel.size = FILE_SIZE - 1;
    refused(E_TRUNC, "truncated: 166399 bytes, its header says 166400");
    for (u64 size = 0; size < 0x264; size += 4) {
        boot.kernel.size = size;
        refused(E_TRUNC, "end inside the setup header");
    }
    static const u64 sizes[] = {0x264, 512 * 3, SETUP_SIZE - 1, SETUP_SIZE, SETUP_SIZE + 1};
    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        boot.kernel.size = sizes[i];
        refused(E_TRUNC, "truncated: ");
    }
    boot.kernel.size = FILE_SIZE;
    put_le32(image + 0x1f4, 0xffffffff);
    refused(E_TRUNC, "its header says 68719479280");
    // More than the header says is not loaded: a signature, as distributions append.
    put_le32(image + 0x1f4, CODE_SIZE / 16 - 1);
    assert_int_equal(load(), OK);
    assert_true(guest_ram_is_clear(&g, PREF + CODE_SIZE - 16, PREF + CODE_SIZE));
    guest_ram_close(&g);
}

static void setup_sectors(void **state)
{
    (void)state;
    open_vm(64 * M);
    image[0x1f1] = 0; // means 4
    assert_int_equal(load(), OK);
    assert_true(guest_ram_holds(&g, PREF, image + SETUP_SIZE, CODE_SIZE));
    guest_ram_close(&g);
    open_vm(64 * M);
    image[0x1f1] = 5;
    put_le32(image + 0x1f4, CODE_SIZE / 16 - 32);
    assert_int_equal(load(), OK);
    assert_true(guest_ram_holds(&g, PREF, image + SETUP_SIZE + 512, CODE_SIZE - 512));
    guest_ram_close(&g);
}

static void kernels_of_other_kinds(void **state)
{
    (void)state;
    open_vm(64 * M);
    image[0x205] = 's';
    refused(E_FORMAT, "wrong magic: no \"HdrS\" at 202H");
    make_image();
    put_le16(image + 0x206, 0x20b);
    refused(E_UNSUPP, "boot protocol 2.11 is too old: 2.12 is the first");
    put_le16(image + 0x206, 0x20c);
    assert_int_equal(load(), OK);
    guest_ram_close(&g);

    open_vm(64 * M);
    image[0x211] = 0xfe;
    refused(E_UNSUPP, "a zImage");
    make_image();
    put_le16(image + 0x236, 0x7e);
    refused(E_UNSUPP, "no 64-bit entry");
    make_image();
    put_le32(image + 0x230, 0);
    refused(E_FORMAT, "its alignment of 0H is no power of two");
    put_le32(image + 0x230, 0x300000);
    refused(E_FORMAT, "its alignment of 300000H");
    make_image();
    put_le32(image + 0x1f4, 0x200 / 16);
    refused(E_FORMAT, "no code behind the setup sectors");
    put_le32(image + 0x1f4, 0x200 / 16 + 1);
    assert_int_equal(load(), OK);
    guest_ram_close(&g);
}

static void command_lines(void **state)
{
    (void)state;
    static char line[40000];
    u8 p[4096];
    memset(line, 'x', sizeof(line) - 1);

    open_vm(64 * M);
    boot.cmdline = line + sizeof(line) - 1 - 2047;
    assert_int_equal(load(), OK);
    params(p);
    assert_true(guest_ram_holds(&g, le32(p + 0x228), boot.cmdline, 2048));
    guest_ram_close(&g);

    open_vm(64 * M);
    boot.cmdline = line + sizeof(line) - 1 - 2048;
    refused(E_RANGE, "the command line has 2048 characters, it takes 2047");
    // Where the kernel takes more than there is room for.
    put_le32(image + 0x238, 0xffffffff);
    boot.cmdline = line + sizeof(line) - 1 - 32768;
    refused(E_RANGE, "the command line has 32768 characters, it takes 32767");
    boot.cmdline++;
    assert_int_equal(load(), OK);
    guest_ram_close(&g);

    open_vm(64 * M);
    boot.cmdline = "";
    put_le32(image + 0x238, 0);
    assert_int_equal(load(), OK);
    guest_ram_close(&g);
}

static void a_vm_without_the_ram_of_its_map(void **state)
{
    (void)state;
    open_vm(64 * M);
    g.vm.nram = 3;
    guest_ram_forget_log();
    assert_int_equal(load(), E_RANGE);
    assert_non_null(strstr(guest_ram_log, "the VM lacks RAM that its memory map has"));
    g.vm.nram = 0;
    assert_int_equal(load(), E_RANGE);
    guest_ram_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(machine_state),
        cmocka_unit_test(page_tables_lead_everywhere_to_itself),
        cmocka_unit_test(boot_params),
        cmocka_unit_test(a_header_that_says_it_is_longer_is_cut),
        cmocka_unit_test(parts_do_not_overlap),
        cmocka_unit_test(where_the_kernel_goes),
        cmocka_unit_test(memory_to_the_byte),
        cmocka_unit_test(where_the_initrd_goes),
        cmocka_unit_test(an_initrd_that_does_not_fit),
        cmocka_unit_test(without_an_initrd_none_is_told_of),
        cmocka_unit_test(truncated_kernels),
        cmocka_unit_test(setup_sectors),
        cmocka_unit_test(kernels_of_other_kinds),
        cmocka_unit_test(command_lines),
        cmocka_unit_test(a_vm_without_the_ram_of_its_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
