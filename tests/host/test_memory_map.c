// SPDX-License-Identifier: MIT
// The memory of a PC guest, against the rule page by page, and writing into it across its pieces.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "guest/guest_memory.h"
#include "guest/pc.h"
#include "tests/host/guest_ram.h"

#define K 1024ull
#define M (1024 * K)
#define G (1024 * M)

static const u64 sizes[] = {
    1 * M,
    1 * M + 4 * K,
    2 * M,
    16 * M,
    256 * M,
    3 * G - 4 * K,
    3 * G,
    3 * G + 4 * K,
    4 * G,
    4 * G + 4 * K,
    5 * G + 512 * K,
    64 * G,
    1024 * G - 4 * K,
    1024 * G,
};

// What the page at at must be for a PC with size bytes: the rule in one place, from the addresses
// that are promised to guests.
static bool want_ram(u64 size, u64 at)
{
    if (at < 0xa0000)
        return true;
    if (at < 0xc0000)
        return false;
    if (at < 0xc0000000)
        return at < size;
    return at >= 4 * G && size > 3 * G && at - 4 * G < size - 3 * G;
}

static u32 want_type(u64 size, u64 at)
{
    if (at >= 0x9fc00 && at < 0xa0000)
        return E820_RESERVED;
    if (at >= 0xc0000 && at < 0xe0000)
        return 0; // not offered: see pc_memory_init()
    if (at >= 0xe0000 && at < 0x100000)
        return E820_RESERVED;
    if (at == 0xfec00000 || at == 0xfed00000 || at == 0xfee00000)
        return E820_RESERVED;
    return want_ram(size, at) ? E820_RAM : 0;
}

static bool is_ram(const struct pc_memory *m, u64 at)
{
    for (unsigned i = 0; i < m->nram; i++)
        if (at >= m->ram[i].gpa.raw && at - m->ram[i].gpa.raw < m->ram[i].size)
            return true;
    return false;
}

static u32 type_at(const struct pc_memory *m, u64 at)
{
    for (unsigned i = 0; i < m->nmap; i++)
        if (at >= m->map[i].base && at - m->map[i].base < m->map[i].size)
            return m->map[i].type;
    return 0;
}

static void check_at(const struct pc_memory *m, u64 size, u64 at)
{
    if (is_ram(m, at) != want_ram(size, at) || type_at(m, at) != want_type(size, at))
        fail_msg("size %llx, address %llx: RAM %d, type %u", (unsigned long long)size,
                 (unsigned long long)at, is_ram(m, at), type_at(m, at));
}

// Every page around every border there may be, and a stride through all.
static void check_pages(const struct pc_memory *m, u64 size)
{
    const u64 borders[] = {0,          0x9f000,    0xa0000,    0xc0000,    0xe0000, 0x100000, size,
                           0xc0000000, 0xfec00000, 0xfed00000, 0xfee00000, 4 * G,   size + G};
    for (unsigned i = 0; i < ARRAY_SIZE(borders); i++)
        for (u64 d = 0; d <= 4; d++)
            if (borders[i] + d * 4 * K >= 8 * K)
                check_at(m, size, borders[i] + d * 4 * K - 8 * K);
    check_at(m, size, 0x9fbff);
    check_at(m, size, 0x9fc00);
    for (u64 at = 0; at < size + 2 * G; at += align_up(size / 999, 4 * K))
        check_at(m, size, at);
}

static void every_page_is_what_a_pc_has(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct pc_memory m;
        memset(&m, 0xee, sizeof(m));
        assert_int_equal(pc_memory_init(&m, sizes[i]), OK);
        check_pages(&m, sizes[i]);
    }
}

static void ranges_are_in_order_and_whole_pages(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct pc_memory m;
        u64 end = 0;
        assert_int_equal(pc_memory_init(&m, sizes[i]), OK);
        assert_in_range(m.nram, 1, PC_RAM_RANGES);
        for (unsigned r = 0; r < m.nram; r++) {
            assert_true(m.ram[r].gpa.raw >= end && m.ram[r].size);
            assert_true(is_aligned(m.ram[r].gpa.raw | m.ram[r].size, PAGE_SIZE));
            end = m.ram[r].gpa.raw + m.ram[r].size;
        }
        end = 0;
        assert_in_range(m.nmap, 1, PC_E820_ENTRIES);
        for (unsigned r = 0; r < m.nmap; r++) {
            assert_true(m.map[r].base >= end && m.map[r].size);
            end = m.map[r].base + m.map[r].size;
        }
    }
}

static void no_byte_is_lost(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct pc_memory m;
        u64 ram = 0;
        assert_int_equal(pc_memory_init(&m, sizes[i]), OK);
        for (unsigned r = 0; r < m.nram; r++)
            ram += m.ram[r].size;
        assert_int_equal(ram, sizes[i] - 0x20000); // less the hole for the screen
        assert_int_equal(m.low_end + (m.high_end - 4 * G), sizes[i]);
    }
}

static void sizes_that_no_pc_has(void **state)
{
    (void)state;
    struct pc_memory m;
    const u64 bad[] = {0, 4 * K, M - 4 * K, M + 1, 2 * M - 1, 1024 * G + 4 * K, ~0ull, 1ull << 63};
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(pc_memory_init(&m, bad[i]), E_INVAL);
}

static void bios_data_area(void **state)
{
    (void)state;
    struct guest_ram g;
    u8 bda[0x100], want[0x100] = {0};
    guest_ram_open(&g, 1 * M, 0);
    assert_int_equal(pc_write_bios_data(&g.vm), OK);
    assert_true(guest_ram_read(&g, 0x400, bda, sizeof(bda)));
    want[0x00] = 0xf8;
    want[0x01] = 0x03;
    want[0x0e] = 0xc0;
    want[0x0f] = 0x9f;
    want[0x13] = 639 & 0xff;
    want[0x14] = 639 >> 8;
    assert_memory_equal(bda, want, sizeof(bda));
    assert_true(guest_ram_is_clear(&g, 0x500, 1 * M));
    g.vm.nram = 0;
    assert_int_equal(pc_write_bios_data(&g.vm), E_RANGE);
    guest_ram_close(&g);
}

// ---- writing ----------------------------------------------------------------------------------

static u8 *pattern(u64 size)
{
    u8 *data = malloc(size);
    assert_non_null(data);
    for (u64 i = 0; i < size; i++)
        data[i] = (u8)(i * 7 + (i >> 8) + 1);
    return data;
}

static void writes_cross_pieces(void **state)
{
    (void)state;
    struct guest_ram g;
    u64 size = 3 * M / 2;
    u8 *data = pattern(size);
    guest_ram_open(&g, 4 * M, 256 * K);
    assert_true(g.vm.nram > 10);
    const u64 places[] = {0xe0000, 0x100000, 0x100001, 0x13fffe, 0x1ff000, 4 * M - size};
    for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
        assert_true(guest_is_ram(&g.vm, GPA(places[i]), size));
        assert_int_equal(guest_write(&g.vm, GPA(places[i]), data, size), OK);
        assert_true(guest_ram_holds(&g, places[i], data, size));
        assert_true(guest_ram_is_clear(&g, 0, places[i]));
        assert_true(guest_ram_is_clear(&g, places[i] + size, 4 * M));

        u64 half = size / 2 + 3;
        assert_int_equal(guest_clear(&g.vm, GPA(places[i] + half), size - half), OK);
        assert_true(guest_ram_holds(&g, places[i], data, half));
        assert_true(guest_ram_is_clear(&g, places[i] + half, 4 * M));
        assert_int_equal(guest_clear(&g.vm, GPA(places[i]), size), OK);
        assert_true(guest_ram_is_clear(&g, 0, 4 * M));
    }
    guest_ram_close(&g);
    free(data);
}

static void nothing_is_written_where_not_all_is_ram(void **state)
{
    (void)state;
    struct guest_ram g;
    u8 *data = pattern(M);
    const struct {
        u64 at, size;
    } rows[] = {
        {0x9ffff,       2      }, // into the screen's hole
        {0xa0000,       1      },
        {0xbffff,       2      },
        {2 * M - 1,     2      }, // over the end
        {2 * M,         1      },
        {0x180000,      M      },
        {~0ull,         1      },
        {~0ull - 0xfff, 0x1001 }, // wraps
        {0,             ~0ull  },
        {0x100000,      1 << 30},
    };
    guest_ram_open(&g, 2 * M, 128 * K);
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        assert_false(guest_is_ram(&g.vm, GPA(rows[i].at), rows[i].size));
        assert_int_equal(guest_write(&g.vm, GPA(rows[i].at), data, rows[i].size), E_RANGE);
        assert_int_equal(guest_clear(&g.vm, GPA(rows[i].at), rows[i].size), E_RANGE);
        assert_true(guest_ram_is_clear(&g, 0, 2 * M));
    }
    // Nothing fits everywhere.
    assert_true(guest_is_ram(&g.vm, GPA(0xa0000), 0));
    assert_int_equal(guest_write(&g.vm, GPA(0xa0000), data, 0), OK);
    guest_ram_close(&g);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_page_is_what_a_pc_has),
        cmocka_unit_test(ranges_are_in_order_and_whole_pages),
        cmocka_unit_test(no_byte_is_lost),
        cmocka_unit_test(sizes_that_no_pc_has),
        cmocka_unit_test(bios_data_area),
        cmocka_unit_test(writes_cross_pieces),
        cmocka_unit_test(nothing_is_written_where_not_all_is_ram),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
