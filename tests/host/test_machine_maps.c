// SPDX-License-Identifier: MIT
// Memory maps as machines' kernels printed them, with the worst habits of firmware added: given to
// Corbel as a boot loader would, and compared page by page with the lines themselves.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "boot/lastlog.h"
#include "boot/mbi.h"
#include "boot/multiboot2.h"

#define LINES_MAX 30u

// A line of a kernel's log: "BIOS-e820: [mem first-last] type", or of an EFI map.
struct line {
    u64 first, last;
    u32 type;
};

enum { RAM = 1, RES = 2, ACPI = 3, NVS = 4, BAD = 5 }; // ACPI specification, "INT 15H, E820H"
enum { LCODE = 1, LDATA, BCODE, BDATA, RCODE, RDATA, CONV, UNUSABLE, EACPI, ENVS }; // UEFI

struct map {
    const char *name;
    bool efi;
    struct line lines[LINES_MAX]; // up to one of all zeros
};

// Where there is a project and a number, the lines are those of that issue of its tracker, as far
// as they are given there.
static const struct map maps[] = {
    {"Bochs, BIOS, 512 MiB",
     false, {{0x0, 0x9efff, RAM},
      {0x9f000, 0x9ffff, RES},
      {0xe8000, 0xfffff, RES},
      {0x100000, 0x1ffeffff, RAM},
      {0x1fff0000, 0x1fffffff, ACPI},
      {0xfffc0000, 0xffffffff, RES}}               },
    {"QEMU Q35, SeaBIOS, 8 GiB",
     false, {{0x0, 0x9fbff, RAM},
      {0x9fc00, 0x9ffff, RES},
      {0xf0000, 0xfffff, RES},
      {0x100000, 0x7ffdffff, RAM},
      {0x7ffe0000, 0x7fffffff, RES},
      {0xb0000000, 0xbfffffff, RES},
      {0xfed1c000, 0xfed1ffff, RES},
      {0xfeffc000, 0xfeffffff, RES},
      {0xfffc0000, 0xffffffff, RES},
      {0x100000000, 0x27fffffff, RAM},
      {0xfd00000000, 0xffffffffff, RES}}           },
    {"coreboot under QEMU, tables of type 16 (u-root#1858)",
     false, {{0x0, 0xfff, 16},
      {0x1000, 0x9ffff, RAM},
      {0xa0000, 0xfffff, RES},
      {0x100000, 0x7ff62fff, RAM},
      {0x7ff63000, 0x7fffffff, 16},
      {0xb0000000, 0xbfffffff, RES},
      {0x100000000, 0x27fffffff, RAM}}             },
    {"Xen HVM guest (XenGT-Preview-kernel#7)",
     false, {{0x0, 0x9fbff, RAM},
      {0x9fc00, 0x9ffff, RES},
      {0xf0000, 0xfffff, RES},
      {0x100000, 0x7f7fefff, RAM},
      {0x7f7ff000, 0x7f7fffff, RES},
      {0xfc000000, 0xfdffcfff, RES},
      {0xfdffd000, 0xfdffffff, NVS},
      {0xfe000000, 0xffffffff, RES}}               },
    {"after tboot, with unusable memory and gaps (xenclient-oe#890)",
     false, {{0x0, 0x57fff, RAM},
      {0x58000, 0x58fff, RES},
      {0x59000, 0x5efff, RAM},
      {0x5f000, 0x5ffff, RES},
      {0x60000, 0x9efff, RAM},
      {0x9f000, 0x9ffff, RES},
      {0x100000, 0x7fffff, RAM},
      {0x800000, 0xb5efff, BAD},
      {0xb5f000, 0xbcbfefff, RAM},
      {0xbcbff000, 0xd92a4fff, RES},
      {0xd92a5000, 0xd92d5fff, ACPI},
      {0xd92d6000, 0xd9a5dfff, RES},
      {0xd9a5e000, 0xda1cefff, NVS},
      {0xda1cf000, 0xdb6fffff, RES},
      {0xdbef0000, 0xdbffffff, RES},
      {0xdd000000, 0xdf7fffff, RES},
      {0xf8000000, 0xfbffffff, RES},
      {0xfec00000, 0xfec00fff, RES},
      {0xfed00000, 0xfed03fff, RES},
      {0xfed1c000, 0xfed2ffff, RES},
      {0xfed40000, 0xfed44fff, RES},
      {0xfee00000, 0xfee00fff, RES},
      {0xff000000, 0xffffffff, RES},
      {0x100000000, 0x41e7fffff, RAM}}             },
    {"HP Z8 G4 workstation, 160 GiB (nvmevirt#60)",
     false, {{0x0, 0x5cfff, RAM},
      {0x5d000, 0x5efff, RES},
      {0x5f000, 0x9ffff, RAM},
      {0xa0000, 0xfffff, RES},
      {0x100000, 0x68792fff, RAM},
      {0x68793000, 0x69f7dfff, RES},
      {0x69f7e000, 0x6a9adfff, NVS},
      {0x6a9ae000, 0x6abbffff, ACPI},
      {0x6abc0000, 0x6f7fffff, RAM},
      {0x6f800000, 0x8fffffff, RES},
      {0xfe000000, 0xfe010fff, RES},
      {0x100000000, 0x287fffffff, RAM}}            },
    {"2 GiB in nine pieces, page 0 is NVS (home-assistant/operating-system#1634)",
     false, {{0x0, 0xfff, NVS},
      {0x1000, 0x9ffff, RAM},
      {0xc0000, 0xfffff, RES},
      {0x100000, 0xcfa8fff, RAM},
      {0xcfa9000, 0xcfb1fff, RES},
      {0xcfb2000, 0xcfc4fff, RAM},
      {0xcfc5000, 0xcfcafff, RES},
      {0xcfcb000, 0xcfdafff, RAM},
      {0xcfdb000, 0xcfdffff, RES},
      {0xcfe0000, 0xdef8fff, RAM},
      {0xdef9000, 0xdf68fff, RES},
      {0xdf69000, 0xdf84fff, ACPI},
      {0xdf85000, 0xdf88fff, NVS},
      {0xdf89000, 0x7fffffff, RAM},
      {0xffc00000, 0xffc29fff, RES}}               },
    {"Fujitsu CX2550 M2, 256 GiB (singularity#4774)",
     false, {{0xe0000, 0xfffff, RES},
      {0x100000, 0x760f1fff, RAM},
      {0x760f2000, 0x77678fff, RES},
      {0x77679000, 0x776dafff, ACPI},
      {0x776db000, 0x7b85ffff, NVS},
      {0x7b860000, 0x7bd27fff, RES},
      {0x7bd28000, 0x7bd28fff, RAM},
      {0x7bd29000, 0x7bd4efff, RES},
      {0x7bd4f000, 0x7bffffff, RAM},
      {0x7c000000, 0x8fffffff, RES},
      {0xfed1c000, 0xfed44fff, RES},
      {0xff000000, 0xff3fffff, RES},
      {0xff500000, 0xffffffff, RES},
      {0x100000000, 0x407fffffff, RAM}}            },
    {"small PC with type 20, and a hole at 256 MiB (DietPi#4817)",
     false, {{0x0, 0x3efff, RAM},
      {0x3f000, 0x3ffff, RES},
      {0x40000, 0x9dfff, RAM},
      {0x9e000, 0xfffff, RES},
      {0x100000, 0xfffffff, RAM},
      {0x10000000, 0x12150fff, RES},
      {0x12151000, 0x77b0afff, RAM},
      {0x77b0b000, 0x79c28fff, RES},
      {0x79c29000, 0x79c41fff, ACPI},
      {0x79c42000, 0x79ca1fff, NVS},
      {0x79ca2000, 0x7a03efff, RES},
      {0x7a03f000, 0x7a08afff, 20},
      {0x7a08b000, 0x7a3f8fff, RAM}}               },
    {"desktop of 2010, part of a page usable (bcachefs#91)",
     false, {{0x0, 0x97fff, RAM},
      {0x9f800, 0x9ffff, RES},
      {0xf0000, 0xfffff, RES},
      {0x100000, 0xbfdeffff, RAM},
      {0xbfdf0000, 0xbfdf2fff, NVS},
      {0xbfdf3000, 0xbfdfffff, ACPI},
      {0xbfe00000, 0xbfefffff, RES},
      {0xe0000000, 0xefffffff, RES}}               },
    {"UEFI laptop by its e820 map (Bumblebee#654)",
     false, {{0x0, 0x57fff, RAM},
      {0x58000, 0x58fff, RES},
      {0x59000, 0x9dfff, RAM},
      {0x9e000, 0x9ffff, RES},
      {0x100000, 0xad852fff, RAM},
      {0xad853000, 0xad859fff, NVS},
      {0xad85a000, 0xae0d2fff, RAM},
      {0xae0d3000, 0xae373fff, RES},
      {0xae374000, 0xbd8c5fff, RAM},
      {0xbd8c6000, 0xbdacefff, RES},
      {0xbdacf000, 0xbde00fff, RAM},
      {0xbde01000, 0xbeb05fff, NVS},
      {0xbeb06000, 0xbeffefff, RES},
      {0xbefff000, 0xbeffffff, RAM}}               },
    {"Sandy Bridge: graphics errata take pages at 512 MiB and 1 GiB (88x2bu#1)",
     false, {{0x0, 0x9d7ff, RAM},
      {0x9d800, 0x9ffff, RES},
      {0xe0000, 0xfffff, RES},
      {0x100000, 0x1fffffff, RAM},
      {0x20000000, 0x201fffff, RES},
      {0x20200000, 0x40003fff, RAM},
      {0x40004000, 0x40004fff, RES}}               },
    {"server with NVS in low memory (ltfs#229)",
     false, {{0x0, 0x6bfff, RAM},
      {0x6c000, 0x6cfff, NVS},
      {0x6d000, 0x9efff, RAM},
      {0x9f000, 0x9ffff, NVS},
      {0x100000, 0x7d244fff, RAM},
      {0x7d245000, 0x7d26ffff, RES},
      {0x7d270000, 0x7d29afff, RAM},
      {0x7d29b000, 0x7d2c5fff, RES},
      {0x7d2c6000, 0x7d6dcfff, RAM}}               },
    {"Gigabyte X570, 96 GiB (hid-tmff2#22)",
     false, {{0xe0000, 0xfffff, RES},
      {0x100000, 0x9e01fff, RAM},
      {0x9e02000, 0x9ffffff, RES},
      {0xa000000, 0xa1fffff, RAM},
      {0xa200000, 0xa20bfff, NVS},
      {0xdb5fe000, 0xdb78dfff, RES},
      {0xdb78e000, 0xdb911fff, RAM},
      {0xdb912000, 0xdbd30fff, NVS},
      {0xdbd31000, 0xdcc9cfff, RES},
      {0xdcc9d000, 0xdeffffff, RAM},
      {0xdf000000, 0xdfffffff, RES},
      {0xf8000000, 0xfbffffff, RES},
      {0xfd000000, 0xffffffff, RES},
      {0x100000000, 0x181f37ffff, RAM}}            },
    {"MacBook (systemd#3306)",
     false, {{0xa0000, 0xbffff, RES},
      {0x100000, 0x8ad00fff, RAM},
      {0x8ad01000, 0x8ad48fff, NVS},
      {0x8ad49000, 0x8ad60fff, RAM},
      {0x8ad61000, 0x8ad8efff, ACPI},
      {0x8ad8f000, 0x8ae39fff, RAM},
      {0x8ae3a000, 0x8ae8efff, RES},
      {0x8ae8f000, 0x8aecbfff, RAM},
      {0x8aecc000, 0x8aefefff, RES},
      {0x8aeff000, 0x8afa9fff, RAM},
      {0x8afaa000, 0x8afdefff, RES},
      {0x8afdf000, 0x8affffff, RAM},
      {0x8b000000, 0x8fffffff, RES},
      {0xe00f8000, 0xe00f8fff, RES}}               },
    {"two sockets with reserved ends above 4 GiB (hyperenclave#24)",
     false, {{0xfedc0000, 0xfedc0fff, RES},
      {0xfedc2000, 0xfedc5fff, RES},
      {0xfedc7000, 0xfedc7fff, RES},
      {0xfedc9000, 0xfedcafff, RES},
      {0xff000000, 0xffffffff, RES},
      {0x100000000, 0x3066bbffff, RAM},
      {0x3066bc0000, 0x306fffffff, RES},
      {0x3070000000, 0x604fdbffff, RAM},
      {0x604fdc0000, 0x604fffffff, RES}}           },
    {"1.5 TiB, persistent memory of types 7 and 12 (made up)",
     false, {{0x0, 0x9bfff, RAM},
      {0x9c000, 0x9ffff, RES},
      {0xe0000, 0xfffff, RES},
      {0x100000, 0x6c8fbfff, RAM},
      {0x6c8fc000, 0x6e8fbfff, RES},
      {0x6e8fc000, 0x6fffefff, NVS},
      {0x6ffff000, 0x6fffffff, RAM},
      {0x70000000, 0x8fffffff, RES},
      {0xfd000000, 0xffffffff, RES},
      {0x100000000, 0x1807fffffff, RAM},
      {0x18080000000, 0x207ffffffff, 7},
      {0x20800000000, 0x20fffffffff, 12}}          },
    {"OVMF virtual machine, 4 GiB (home-assistant/operating-system#1443)",
     false, {{0x0, 0x9ffff, RAM},
      {0x100000, 0x7fffff, RAM},
      {0x800000, 0x807fff, NVS},
      {0x808000, 0x80ffff, RAM},
      {0x810000, 0x8fffff, NVS},
      {0x900000, 0xbf8eefff, RAM},
      {0xbf8ef000, 0xbfb6efff, RES},
      {0xbfb6f000, 0xbfb7efff, ACPI},
      {0xbfb7f000, 0xbfbfefff, NVS},
      {0xbfbff000, 0xbff3ffff, RAM},
      {0xbff40000, 0xbff5ffff, RES},
      {0xbff60000, 0xbfffffff, NVS},
      {0x100000000, 0x13fffffff, RAM}}             },
    {"OVMF's own map (xv7#3)",
     true,  {{0x0, 0xfff, BCODE},
      {0x1000, 0x9ffff, CONV},
      {0x100000, 0x7fffff, CONV},
      {0x800000, 0x807fff, ENVS},
      {0x808000, 0x80ffff, CONV},
      {0x810000, 0x8fffff, ENVS},
      {0x900000, 0x13fffff, BDATA},
      {0x1400000, 0xbf35fff, CONV}}                 },
    {"UEFI laptop, the middle of its map (Bumblebee#654)",
     true,  {{0xad853000, 0xad859fff, ENVS},
      {0xad85a000, 0xad9adfff, BDATA},
      {0xad9ae000, 0xae093fff, BCODE},
      {0xae094000, 0xae0affff, BDATA},
      {0xae0b0000, 0xae0c9fff, BCODE},
      {0xae0ca000, 0xae0d2fff, BDATA},
      {0xae0d3000, 0xae373fff, RDATA},
      {0xae374000, 0xae382fff, BDATA},
      {0xae383000, 0xae38ffff, CONV},
      {0xae390000, 0xae391fff, LDATA},
      {0xae392000, 0xbaf20fff, CONV},
      {0xbaf21000, 0xbaf54fff, BDATA},
      {0xbaf55000, 0xbaf6cfff, CONV}}               },
    {"Atom, the end of its map (coreos/bugs#209)",
     true,  {{0x78de0000, 0x79125fff, BCODE},
      {0x79126000, 0x79155fff, 0},
      {0x79156000, 0x79165fff, EACPI},
      {0x79166000, 0x798d6fff, ENVS},
      {0x798d7000, 0x79b5dfff, RDATA},
      {0x79b5e000, 0x79babfff, RCODE},
      {0x79bac000, 0x79bacfff, BDATA},
      {0x79bad000, 0x79beefff, RDATA},
      {0x79bef000, 0x79d5cfff, BDATA},
      {0x79d5d000, 0x79ff9fff, RDATA},
      {0x79ffa000, 0x79ffffff, BDATA}}              },
    {"a broken map, far beyond any address space (Limine#356)",
     true,  {{0x100000, 0x7fffffff, CONV},
      {0x6a9f00000000000, 0x6aaefffffffffff, BCODE},
      {0x6aaf00000000000, 0x6ab1fffffffffff, BDATA},
      {0x6ab200000000000, 0x6acccffffffffff, BCODE}}},
    {"kinds of UEFI 2.9 and later (made up)",
     true,  {{0x1000, 0x9ffff, LCODE},
      {0x100000, 0x3fffffff, CONV},
      {0x40000000, 0x400fffff, UNUSABLE},
      {0x40100000, 0x401fffff, 11},
      {0x40200000, 0x402fffff, 13},
      {0x40300000, 0x403fffff, 14},
      {0x40400000, 0x404fffff, 15},
      {0x40500000, 0x4fffffff, CONV},
      {0x50000000, 0x500fffff, 0x70000001},
      {0x50100000, 0x501fffff, 0x80000000}}         },
};

static unsigned lines_of(const struct map *m)
{
    unsigned n = 0;
    while (n < LINES_MAX && m->lines[n].last)
        n++;
    return n;
}

// ---- what a line means, said once more ---------------------------------------------------------

static int kind_of(const struct line *line, bool efi)
{
    static const int e820[] = {MEM_RESERVED,     MEM_USABLE, MEM_RESERVED,
                               MEM_ACPI_RECLAIM, MEM_NVS,    MEM_BAD};
    static const int uefi[] = {MEM_RESERVED, MEM_USABLE,       MEM_USABLE,   MEM_USABLE,
                               MEM_USABLE,   MEM_RESERVED,     MEM_RESERVED, MEM_USABLE,
                               MEM_BAD,      MEM_ACPI_RECLAIM, MEM_NVS};
    if (efi)
        return line->type < ARRAY_SIZE(uefi) ? uefi[line->type] : MEM_RESERVED;
    return line->type < ARRAY_SIZE(e820) ? e820[line->type] : MEM_RESERVED;
}

// The kind of a page by the lines: the most restrictive that touches it, and usable only where one
// line has the whole of it. -1: none.
static int page_by_lines(const struct line *lines, unsigned n, bool efi, u64 page)
{
    int kind = -1;
    for (unsigned i = 0; i < n; i++) {
        int this = kind_of(&lines[i], efi);
        bool here = this == MEM_USABLE
                        ? lines[i].first <= page && page + PAGE_SIZE - 1 <= lines[i].last
                        : lines[i].first <= page + PAGE_SIZE - 1 && page <= lines[i].last;
        if (here && this > kind)
            kind = this;
    }
    return kind;
}

// ---- handing it over ---------------------------------------------------------------------------

static u8 blob[16384];
static struct boot_info info;
static struct memmap memory;
static struct why why;

static void put(size_t *at, const void *data, size_t size)
{
    memcpy(blob + *at, data, size);
    *at += size;
}

static void make_info(const struct line *lines, unsigned n, bool efi)
{
    const u32 entry = efi ? 48 : 24;
    const u32 tag[] = {efi ? 17 : 6, 16 + n * entry, entry, efi ? 1 : 0};
    size_t at = 8;
    memset(blob, 0, sizeof(blob));
    put(&at, tag, sizeof(tag));
    for (unsigned i = 0; i < n; i++) {
        u64 size = lines[i].last - lines[i].first + 1;
        const u64 bios[] = {lines[i].first, size, lines[i].type};
        const u64 uefi[] = {lines[i].type, lines[i].first, 0, size / PAGE_SIZE, 0xf, 0x1111};
        put(&at, efi ? uefi : bios, entry);
    }
    at = align_up(at, 8);
    const u32 end[] = {0, 8};
    put(&at, end, sizeof(end));
    u32 total = (u32)at;
    memcpy(blob, &total, sizeof(total));
}

static void take(const struct map *m, const struct line *lines, unsigned n)
{
    make_info(lines, n, m->efi);
    if (mbi_parse(blob, sizeof(blob), &info, &why) != OK ||
        memmap_build(&memory, info.memory, info.nmemory) != OK)
        fail_msg("%s: %s", m->name, why.text);
    assert_int_equal(info.memory_from_efi, m->efi);
}

static int page_by_map(u64 page)
{
    for (unsigned i = 0; i < memory.count; i++) {
        const struct mem_entry *e = &memory.entries[i];
        if (page >= e->base && page - e->base < e->size)
            return (int)e->type;
    }
    return -1;
}

static u64 random_state = 88172645463325252;

static u64 random_number(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

// The pages around each line's ends, some in each line, and some anywhere.
static u64 probe(const struct line *lines, unsigned n, unsigned number)
{
    const struct line *line = &lines[number % n];
    u64 span = line->last - line->first;
    switch (number / n % 5) {
    case 0:
        return align_down(line->first, PAGE_SIZE);
    case 1:
        return align_down(line->first - PAGE_SIZE, PAGE_SIZE);
    case 2:
        return align_down(line->last, PAGE_SIZE);
    case 3:
        return align_down(line->last + PAGE_SIZE, PAGE_SIZE);
    default:
        return align_down(line->first + (span ? random_number() % span : 0), PAGE_SIZE);
    }
}

#define PROBES 2000u

static void expect_lines(const struct map *m, const char *habit)
{
    unsigned n = lines_of(m);
    for (unsigned i = 0; i < PROBES; i++) {
        u64 page = probe(m->lines, n, i);
        if (page >= MEMMAP_END)
            continue;
        int want = page_by_lines(m->lines, n, m->efi, page), got = page_by_map(page);
        if (want != got)
            fail_msg("%s, %s: page %llx is %d, not %d", m->name, habit, (unsigned long long)page,
                     got, want);
    }
}

static void each_map_means_what_its_lines_say(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(maps); i++) {
        take(&maps[i], maps[i].lines, lines_of(&maps[i]));
        expect_lines(&maps[i], "as it is");
        for (unsigned k = 1; k < memory.count; k++) // sorted and disjoint
            assert_true(memory.entries[k - 1].base + memory.entries[k - 1].size <=
                        memory.entries[k].base);
    }
}

static void some_of_them_by_hand(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        u64 usable_kib;
    } rows[] = {
        {"Bochs, BIOS, 512 MiB",                                    636 + 523200                         },
        {"QEMU Q35, SeaBIOS, 8 GiB",                                636 + 2096000 + 6291456              },
        {"coreboot under QEMU, tables of type 16 (u-root#1858)",    636 + 2095500 + 6291456              },
        {"OVMF's own map (xv7#3)",                                  640 + 7168 + 32 + 11264 + 175320     },
        {"a broken map, far beyond any address space (Limine#356)", 2096128                              },
        {"kinds of UEFI 2.9 and later (made up)",                   636 + 1047552 + 256 * 1024 - 5 * 1024},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        size_t k = 0;
        while (strcmp(maps[k].name, rows[i].name) != 0)
            k++;
        take(&maps[k], maps[k].lines, lines_of(&maps[k]));
        assert_int_equal(memmap_total(&memory, MEM_USABLE) >> 10, rows[i].usable_kib);
    }
}

// ---- firmware's habits -------------------------------------------------------------------------

static struct line work[3 * LINES_MAX];

static unsigned copy(const struct map *m)
{
    unsigned n = lines_of(m);
    memcpy(work, m->lines, n * sizeof(*work));
    return n;
}

static void shuffle(unsigned n)
{
    for (unsigned i = n; i > 1; i--) {
        unsigned k = (unsigned)(random_number() % i);
        struct line line = work[i - 1];
        work[i - 1] = work[k];
        work[k] = line;
    }
}

static unsigned unsorted(const struct map *m, unsigned n)
{
    (void)m;
    shuffle(n);
    return n;
}

static unsigned twice(const struct map *m, unsigned n)
{
    (void)m;
    memcpy(work + n, work, n * sizeof(*work));
    shuffle(2 * n);
    return 2 * n;
}

// RAM said to be there where other lines take it back.
static unsigned overlapping(const struct map *m, unsigned n)
{
    unsigned all = n;
    for (unsigned i = 0; i < n; i++) {
        if (kind_of(&m->lines[i], m->efi) == MEM_USABLE)
            continue;
        work[all] = m->lines[i];
        work[all].type = m->efi ? CONV : RAM;
        if (i % 2)
            work[all].first += align_down((work[all].last - work[all].first) / 2, PAGE_SIZE);
        all++;
    }
    shuffle(all);
    return all;
}

// Each line in two, at a page's start.
static unsigned split(const struct map *m, unsigned n)
{
    unsigned all = n;
    (void)m;
    for (unsigned i = 0; i < n; i++) {
        u64 middle = align_down(work[i].first + (work[i].last - work[i].first) / 2, PAGE_SIZE);
        if (middle <= work[i].first)
            continue;
        work[all] = work[i];
        work[all++].first = middle;
        work[i].last = middle - 1;
    }
    shuffle(all);
    return all;
}

// Entries of no length, and RAM that wraps round the end of the address space.
static unsigned nonsense(const struct map *m, unsigned n)
{
    unsigned all = n;
    for (unsigned i = 0; i < n; i++) {
        u64 at = m->lines[i].first + PAGE_SIZE;
        work[all++] = (struct line){at, at - 1, i % 4 == 0 ? RAM : RES};
        if (!m->efi)
            work[all++] = (struct line){m->lines[i].first & ~0xfffull, 0xfff, RAM};
    }
    shuffle(all);
    return all;
}

static void no_habit_changes_a_map(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        unsigned (*apply)(const struct map *m, unsigned n);
    } habits[] = {
        {"unsorted",    unsorted   },
        {"twice",       twice      },
        {"overlapping", overlapping},
        {"split",       split      },
        {"nonsense",    nonsense   },
    };
    for (size_t i = 0; i < ARRAY_SIZE(maps); i++)
        for (size_t k = 0; k < ARRAY_SIZE(habits); k++)
            for (unsigned round = 0; round < 4; round++) {
                take(&maps[i], work, habits[k].apply(&maps[i], copy(&maps[i])));
                expect_lines(&maps[i], habits[k].name);
            }
}

// ---- what Corbel makes of it -------------------------------------------------------------------

static bool holds(struct mem_range range, u64 page)
{
    return page >= range.base && page - range.base < range.size;
}

static bool taken(const struct mem_range *reserved, unsigned n, u64 page)
{
    for (unsigned i = 0; i < n; i++)
        if (reserved[i].size && page + PAGE_SIZE > reserved[i].base &&
            page < reserved[i].base + reserved[i].size)
            return true;
    return false;
}

// The image at the lowest place it can be, as GRUB puts it, and a module somewhere above.
static struct mem_range place_image(const struct mem_range *free, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        u64 at = align_up(free[i].base, SIZE_2M);
        if (free[i].base >= 0x100000 && at + 0x180000 <= free[i].base + free[i].size)
            return (struct mem_range){at, 0x17b000};
    }
    return (struct mem_range){0, 0};
}

static void nothing_reserved_is_ever_free(void **state)
{
    (void)state;
    unsigned pools = 0;
    for (size_t i = 0; i < ARRAY_SIZE(maps); i++) {
        static struct mem_range reserved[BOOT_RESERVED_MAX], free[FRAME_RANGES];
        const struct map *m = &maps[i];
        struct mem_range pool, log;
        u64 lost;
        take(m, m->lines, lines_of(m));
        unsigned nfree = memmap_free(&memory, NULL, 0, free, FRAME_RANGES, &lost);
        struct mem_range image = place_image(free, nfree);
        assert_true(image.size);
        info.modules[0] = (struct boot_module){.start = image.base + 0x300123, .size = 0x12345};
        info.nmodules = 1;
        unsigned n = boot_reserved(&info, image, 0x9000, 0x9fc00, reserved);
        nfree = memmap_free(&memory, reserved, n, free, FRAME_RANGES, &lost);
        assert_int_equal(lost, 0);
        if (memmap_carve(free, &nfree, FRAME_RANGES, SIZE_2M + 0x1000, image.base + image.size,
                         &pool) != OK) {
            // Some of the maps are pieces only.
            for (unsigned k = 0; k < nfree; k++)
                assert_true(free[k].base < 0x100000 || free[k].size < 3 * SIZE_2M);
            continue;
        }
        pools++;
        assert_true(is_aligned(pool.base, SIZE_2M));
        for (u64 page = pool.base; page < pool.base + pool.size; page += PAGE_SIZE)
            if (page_by_map(page) != MEM_USABLE || taken(reserved, n, page))
                fail_msg("%s: the pool has page %llx", m->name, (unsigned long long)page);
        if (lastlog_place(free, nfree, &log))
            for (u64 page = log.base; page < log.base + log.size; page += PAGE_SIZE)
                assert_true(page_by_map(page) == MEM_USABLE && !holds(pool, page));
        for (unsigned k = 0; k < PROBES; k++) {
            u64 page = probe(m->lines, lines_of(m), k);
            bool want = page < MEMMAP_END && page_by_map(page) == MEM_USABLE &&
                        !taken(reserved, n, page) && !holds(pool, page);
            bool got = false;
            for (unsigned r = 0; r < nfree; r++)
                got = got || holds(free[r], page);
            if (want != got)
                fail_msg("%s: page %llx is %sfree", m->name, (unsigned long long)page,
                         got ? "" : "not ");
        }
    }
    assert_true(pools >= ARRAY_SIZE(maps) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_map_means_what_its_lines_say),
        cmocka_unit_test(some_of_them_by_hand),
        cmocka_unit_test(no_habit_changes_a_map),
        cmocka_unit_test(nothing_reserved_is_ever_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
