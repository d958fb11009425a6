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
#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/pagetable.h"

#define ARENA_BASE 0x100000ull
#define ARENA_SIZE 0x80000ull
#define WINDOW     0xffff800000000000ull
#define SOMEWHERE  0xffffffff80200000ull

static struct frame_pool pool;
static u64 bitmap[64];
static struct pagetable pt;

// A fresh table in an arena that is as small or large as frames says; the arena starts dirty.
static void start(u64 frames, bool leaf_1g, bool nx, unsigned phys_bits)
{
    struct mem_range range = {ARENA_BASE, frames * PAGE_SIZE};
    assert_true(frame_bitmap_bytes(&range, 1) <= sizeof(bitmap));
    assert_int_equal(frame_pool_init(&pool, &range, 1, bitmap), OK);
    pt = (struct pagetable){
        .pool = &pool, .phys_limit = BIT(phys_bits), .nx = nx, .leaf_1g = leaf_1g};
    assert_int_equal(pagetable_init(&pt), OK);
}

static int setup(void **state)
{
    (void)state;
    void *arena = aligned_alloc(PAGE_SIZE, ARENA_SIZE);
    memset(arena, 0xa5, ARENA_SIZE);
    phys_window = (uintptr_t)arena - ARENA_BASE;
    start(ARENA_SIZE / PAGE_SIZE, true, true, 40);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free((void *)(phys_window + ARENA_BASE));
    return 0;
}

static struct page_mapping at(u64 linear)
{
    struct page_mapping m = {0};
    assert_true(pagetable_lookup(pt.root, linear, &m));
    return m;
}

static bool mapped(u64 linear)
{
    struct page_mapping m;
    return pagetable_lookup(pt.root, linear, &m);
}

static u64 *entry_of(u64 linear, unsigned level)
{
    u64 table = pt.root.raw;
    for (unsigned l = 3;; l--) {
        u64 *entries = phys_ptr(HPA(table));
        u64 *entry = &entries[linear >> (12 + 9 * l) & 511];
        if (l == level)
            return entry;
        table = *entry & PTE_ADDR;
    }
}

static u64 raw_entry(u64 linear, unsigned level)
{
    return *entry_of(linear, level);
}

static void a_new_table_maps_nothing(void **state)
{
    (void)state;
    assert_int_equal(pt.tables, 1);
    const u64 *root = phys_ptr(pt.root);
    for (unsigned i = 0; i < 512; i++)
        assert_int_equal(root[i], 0);
    assert_false(mapped(0));
    assert_false(mapped(WINDOW));
    assert_false(mapped(~0ull));
}

static void one_page_and_its_neighbours(void **state)
{
    (void)state;
    assert_int_equal(pagetable_map(&pt, SOMEWHERE, 0x5000, 0x1000, PAGE_WRITE, MEM_WB), OK);
    struct page_mapping m = at(SOMEWHERE + 0x123);
    assert_int_equal(m.at.raw, 0x5123);
    assert_int_equal(m.size, 0x1000);
    assert_int_equal(m.type, MEM_WB);
    assert_true(m.write);
    assert_false(m.exec);
    assert_int_equal(at(SOMEWHERE + 0xfff).at.raw, 0x5fff);
    assert_false(mapped(SOMEWHERE + 0x1000));
    assert_false(mapped(SOMEWHERE - 1));
    assert_int_equal(pt.tables, 4);
}

static void the_bits_of_a_leaf(void **state)
{
    (void)state;
    static const struct {
        unsigned rights;
        enum mem_type type;
        u64 small, large; // bits besides the address
    } rows[] = {
        {PAGE_READ,              MEM_WB, PTE_P | PTE_A | PTE_NX,                                     0         },
        {PAGE_EXEC,              MEM_WB, PTE_P | PTE_A,                                              0         },
        {PAGE_WRITE,             MEM_WB, PTE_P | PTE_A | PTE_D | PTE_W | PTE_NX,                     0         },
        {PAGE_WRITE | PAGE_EXEC, MEM_WB, PTE_P | PTE_A | PTE_D | PTE_W,                              0         },
        {PAGE_WRITE,             MEM_UC, PTE_P | PTE_A | PTE_D | PTE_W | PTE_NX | PTE_PWT | PTE_PCD, 0         },
        {PAGE_WRITE,             MEM_WT, PTE_P | PTE_A | PTE_D | PTE_W | PTE_NX | PTE_PWT,           0         },
        {PAGE_WRITE,             MEM_WC, PTE_P | PTE_A | PTE_D | PTE_W | PTE_NX | PTE_PAT_4K,        PTE_PAT_LG},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        u64 small = WINDOW + i * SIZE_1G, large = WINDOW + i * SIZE_1G + SIZE_2M;
        assert_int_equal(pagetable_map(&pt, small, 0x7000, 0x1000, rows[i].rights, rows[i].type),
                         OK);
        assert_int_equal(pagetable_map(&pt, large, SIZE_2M, SIZE_2M, rows[i].rights, rows[i].type),
                         OK);
        assert_int_equal(raw_entry(small, 0), 0x7000 | rows[i].small);
        u64 want = (rows[i].type == MEM_WC ? rows[i].small & ~PTE_PAT_4K : rows[i].small);
        assert_int_equal(raw_entry(large, 1), SIZE_2M | want | PTE_PS | rows[i].large);
        assert_int_equal(at(small).type, rows[i].type);
        assert_int_equal(at(large).type, rows[i].type);
        assert_int_equal(at(large).write, (rows[i].rights & PAGE_WRITE) != 0);
        assert_int_equal(at(large).exec, (rows[i].rights & PAGE_EXEC) != 0);
    }
}

static void without_nx_bit_63_stays_clear(void **state)
{
    (void)state;
    start(64, true, false, 40);
    assert_int_equal(pagetable_map(&pt, SOMEWHERE, 0, 0x1000, PAGE_WRITE, MEM_WB), OK);
    assert_int_equal(raw_entry(SOMEWHERE, 0) & PTE_NX, 0);
    assert_true(at(SOMEWHERE).exec);
}

static void upper_entries_take_no_right_away(void **state)
{
    (void)state;
    assert_int_equal(pagetable_map(&pt, SOMEWHERE, 0, 0x1000, PAGE_READ, MEM_UC), OK);
    for (unsigned level = 1; level <= 3; level++)
        assert_int_equal(raw_entry(SOMEWHERE, level) & ~PTE_ADDR, PTE_P | PTE_W | PTE_A);
}

// The lookup reads tables as the CPU does, not only those that pagetable_map makes.
static void a_right_needs_every_level(void **state)
{
    (void)state;
    assert_int_equal(pagetable_map(&pt, SOMEWHERE, 0, 0x1000, PAGE_WRITE | PAGE_EXEC, MEM_WB), OK);
    for (unsigned level = 0; level <= 3; level++) {
        u64 *entry = entry_of(SOMEWHERE, level);
        assert_true(at(SOMEWHERE).write && at(SOMEWHERE).exec);
        *entry ^= PTE_W;
        assert_false(at(SOMEWHERE).write);
        *entry ^= PTE_W | PTE_NX;
        assert_false(at(SOMEWHERE).exec);
        *entry ^= PTE_NX | PTE_P;
        assert_false(mapped(SOMEWHERE));
        *entry ^= PTE_P;
    }
}

static void the_largest_page_that_fits(void **state)
{
    (void)state;
    // 1 GiB less one page at either end, from a page before a 1 GiB boundary.
    u64 first = SIZE_1G - 0x1000, size = SIZE_1G + SIZE_2M + 0x2000;
    assert_int_equal(pagetable_map(&pt, WINDOW + first, first, size, PAGE_WRITE, MEM_WB), OK);
    assert_int_equal(at(WINDOW + first).size, 0x1000);
    assert_int_equal(at(WINDOW + SIZE_1G).size, SIZE_1G);
    assert_int_equal(at(WINDOW + 2 * SIZE_1G).size, SIZE_2M);
    assert_int_equal(at(WINDOW + 2 * SIZE_1G + SIZE_2M).size, 0x1000);
    assert_false(mapped(WINDOW + first - 1));
    assert_false(mapped(WINDOW + first + size));
    for (u64 a = first; a < first + size; a += 0x1000)
        assert_int_equal(at(WINDOW + a).at.raw, a);
}

static void no_1g_pages_where_there_are_none(void **state)
{
    (void)state;
    start(64, false, true, 40);
    assert_int_equal(pagetable_map(&pt, WINDOW, 0, SIZE_1G, PAGE_WRITE, MEM_WB), OK);
    assert_int_equal(at(WINDOW).size, SIZE_2M);
    assert_int_equal(at(WINDOW + SIZE_1G - 1).at.raw, SIZE_1G - 1);
    assert_int_equal(pt.tables, 3);
}

// What mapping all RAM writes at boot, where no machine to try it on has so much.
static void tables_grow_with_memory_and_no_faster(void **state)
{
    (void)state;
    assert_int_equal(pagetable_map(&pt, WINDOW, 0, 16 * SIZE_1G, PAGE_WRITE, MEM_WB), OK);
    assert_int_equal(pt.tables, 2); // 16 entries
    start(ARENA_SIZE / PAGE_SIZE, true, true, 40);
    assert_int_equal(pagetable_map(&pt, WINDOW, 0, 1ull << 40, PAGE_WRITE, MEM_WB), OK);
    assert_int_equal(pt.tables, 3); // 1024 entries
    start(ARENA_SIZE / PAGE_SIZE, false, true, 40);
    assert_int_equal(pagetable_map(&pt, WINDOW, 0, 16 * SIZE_1G, PAGE_WRITE, MEM_WB), OK);
    assert_int_equal(pt.tables, 18); // 16 * 512 entries
}

static void no_large_page_over_uneven_addresses(void **state)
{
    (void)state;
    // Both cover a whole 2 MiB, but not in step.
    assert_int_equal(pagetable_map(&pt, WINDOW, 0x1000, SIZE_2M, PAGE_WRITE, MEM_WB), OK);
    assert_int_equal(at(WINDOW).size, 0x1000);
    assert_int_equal(at(WINDOW + SIZE_2M - 1).at.raw, SIZE_2M + 0xfff);
}

static void what_is_mapped_is_not_mapped_again(void **state)
{
    (void)state;
    assert_int_equal(pagetable_map(&pt, WINDOW, 0, SIZE_2M, PAGE_WRITE, MEM_WB), OK);
    // Below a large page, on top of small ones, and exactly there.
    assert_int_equal(pagetable_map(&pt, WINDOW + 0x1000, 0, 0x1000, PAGE_READ, MEM_WB), E_EXIST);
    assert_int_equal(pagetable_map(&pt, WINDOW, 0, SIZE_1G, PAGE_READ, MEM_WB), E_EXIST);
    assert_int_equal(pagetable_map(&pt, WINDOW, 0, SIZE_2M, PAGE_READ, MEM_WB), E_EXIST);
    assert_true(at(WINDOW).write);
    assert_int_equal(pagetable_map(&pt, SOMEWHERE, 0, 0x1000, PAGE_READ, MEM_WB), OK);
    assert_int_equal(pagetable_map(&pt, SOMEWHERE, 0x9000, 0x1000, PAGE_READ, MEM_WB), E_EXIST);
    assert_int_equal(at(SOMEWHERE).at.raw, 0);
}

static void bad_arguments_are_refused(void **state)
{
    (void)state;
    static const struct {
        u64 linear, physical, size;
        unsigned rights;
        enum mem_type type;
        int want;
    } rows[] = {
        {SOMEWHERE + 1,         0,                     0x1000,                0, MEM_WB,       E_INVAL},
        {SOMEWHERE,             0x800,                 0x1000,                0, MEM_WB,       E_INVAL},
        {SOMEWHERE,             0,                     0x1001,                0, MEM_WB,       E_INVAL},
        {SOMEWHERE,             0,                     0x1000,                4, MEM_WB,       E_INVAL},
        {SOMEWHERE,             0,                     0x1000,                0, MEM_WP,       E_INVAL},
        {SOMEWHERE,             0,                     0x1000,                0, MEM_UC_MINUS, E_INVAL},
        {SOMEWHERE,             0,                     0,                     0, MEM_WB,       E_RANGE},
        {0xfffffffffffff000ull, 0,                     0x2000,                0, MEM_WB,       E_RANGE},
        {0x0000800000000000ull, 0,                     0x1000,                0, MEM_WB,       E_RANGE},
        {0x00007ffffffff000ull, 0,                     0x2000,                0, MEM_WB,       E_RANGE},
        {0xffff7ffffffff000ull, 0,                     0x1000,                0, MEM_WB,       E_RANGE},
        {0,                     0,                     0xfffffffffffff000ull, 0, MEM_WB,       E_RANGE},
        {SOMEWHERE,             BIT(40),               0x1000,                0, MEM_WB,       E_RANGE},
        {SOMEWHERE,             BIT(40) - 0x1000,      0x2000,                0, MEM_WB,       E_RANGE},
        {SOMEWHERE,             0xfffffffffffff000ull, 0x2000,                0, MEM_WB,       E_RANGE},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        assert_int_equal(pagetable_map(&pt, rows[i].linear, rows[i].physical, rows[i].size,
                                       rows[i].rights, rows[i].type),
                         rows[i].want);
    assert_int_equal(pt.tables, 1);
}

static void the_edges_of_the_address_space(void **state)
{
    (void)state;
    assert_int_equal(pagetable_map(&pt, 0xfffffffffffff000ull, BIT(40) - 0x1000, 0x1000, 0, MEM_WB),
                     OK);
    assert_int_equal(pagetable_map(&pt, 0x00007ffffffff000ull, 0, 0x1000, 0, MEM_WB), OK);
    assert_int_equal(pagetable_map(&pt, 0xffff800000000000ull, 0, 0x1000, 0, MEM_WB), OK);
    assert_int_equal(at(~0ull).at.raw, BIT(40) - 1);
    // Not canonical, though the index bits are those of the two mapped pages.
    assert_false(mapped(0xffff7ffffffff000ull));
    assert_false(mapped(0x0000800000000000ull));
}

static void running_out_of_memory_is_told(void **state)
{
    (void)state;
    start(1, true, true, 40);
    assert_int_equal(pagetable_map(&pt, SOMEWHERE, 0, 0x1000, 0, MEM_WB), E_NOMEM);
    start(3, true, true, 40);
    assert_int_equal(pagetable_map(&pt, SOMEWHERE, 0, 0x1000, 0, MEM_WB), E_NOMEM);
    assert_false(mapped(SOMEWHERE));
    start(4, true, true, 40);
    assert_int_equal(pagetable_map(&pt, SOMEWHERE, 0, 0x1000, 0, MEM_WB), OK);
    assert_int_equal(pool.free, 0);
}

static void tables_stay_below_their_limit(void **state)
{
    (void)state;
    start(8, true, true, 40);
    pt.table_limit = ARENA_BASE + 3 * PAGE_SIZE;
    assert_int_equal(pagetable_map(&pt, SOMEWHERE, 0, 0x1000, 0, MEM_WB), E_NOMEM);
    pt.table_limit = ARENA_BASE + 4 * PAGE_SIZE;
    assert_int_equal(pagetable_map(&pt, SOMEWHERE, 0, 0x1000, 0, MEM_WB), OK);
}

static void small_pages_are_withdrawn(void **state)
{
    (void)state;
    assert_int_equal(pagetable_map(&pt, SOMEWHERE, 0x5000, 0x4000, PAGE_EXEC, MEM_WB), OK);
    assert_int_equal(pagetable_withdraw(pt.root, SOMEWHERE + 0x1000, 0x2000), OK);
    assert_int_equal(at(SOMEWHERE).at.raw, 0x5000);
    assert_false(mapped(SOMEWHERE + 0x1000));
    assert_false(mapped(SOMEWHERE + 0x2fff));
    assert_int_equal(at(SOMEWHERE + 0x3000).at.raw, 0x8000);
    assert_int_equal(raw_entry(SOMEWHERE + 0x1000, 0), 0);
    assert_int_equal(pagetable_withdraw(pt.root, SOMEWHERE + 0x1000, 0x1000), E_NOENT);
    assert_int_equal(pagetable_map(&pt, SOMEWHERE + 0x1000, 0x9000, 0x2000, PAGE_WRITE, MEM_WB),
                     OK);
}

static void small_pages_become_writable(void **state)
{
    (void)state;
    assert_int_equal(pagetable_map(&pt, SOMEWHERE, 0x5000, 0x3000, PAGE_READ, MEM_WB), OK);
    assert_int_equal(pagetable_make_writable(pt.root, SOMEWHERE + 0x1000, 0x1000), OK);
    assert_false(at(SOMEWHERE).write);
    assert_true(at(SOMEWHERE + 0x1000).write);
    assert_false(at(SOMEWHERE + 0x1000).exec);
    assert_int_equal(at(SOMEWHERE + 0x1000).at.raw, 0x6000);
    assert_int_equal(raw_entry(SOMEWHERE + 0x1000, 0) & PTE_D, PTE_D);
    assert_false(at(SOMEWHERE + 0x2000).write);
    assert_int_equal(pagetable_make_writable(pt.root, SOMEWHERE + 0x2000, 0x2000), E_NOENT);
}

static void large_pages_are_left_whole(void **state)
{
    (void)state;
    static const u64 sizes[] = {SIZE_2M, SIZE_1G};
    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        u64 linear = WINDOW + i * SIZE_1G;
        assert_int_equal(pagetable_map(&pt, linear, SIZE_1G, sizes[i], PAGE_READ, MEM_WB), OK);
        assert_int_equal(pagetable_withdraw(pt.root, linear, 0x1000), E_NOENT);
        assert_int_equal(pagetable_make_writable(pt.root, linear, 0x1000), E_NOENT);
        assert_int_equal(at(linear).size, sizes[i]);
        assert_false(at(linear).write);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(a_new_table_maps_nothing),
        T(one_page_and_its_neighbours),
        T(the_bits_of_a_leaf),
        T(without_nx_bit_63_stays_clear),
        T(upper_entries_take_no_right_away),
        T(a_right_needs_every_level),
        T(the_largest_page_that_fits),
        T(no_1g_pages_where_there_are_none),
        T(tables_grow_with_memory_and_no_faster),
        T(no_large_page_over_uneven_addresses),
        T(what_is_mapped_is_not_mapped_again),
        T(bad_arguments_are_refused),
        T(the_edges_of_the_address_space),
        T(running_out_of_memory_is_told),
        T(tables_stay_below_their_limit),
        T(small_pages_are_withdrawn),
        T(small_pages_become_writable),
        T(large_pages_are_left_whole),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
