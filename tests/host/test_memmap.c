// SPDX-License-Identifier: MIT
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "boot/memmap.h"

#define U MEM_USABLE
#define A MEM_ACPI_RECLAIM
#define N MEM_NVS
#define R MEM_RESERVED
#define B MEM_BAD

static struct memmap map;

struct map_case {
    const char *name;
    struct mem_entry in[8], out[8];
};

#define MAX64 (~0ull)

static const struct map_case cases[] = {
    {"empty",                                      {{0, 0, U}},                                {{0, 0, U}}          },
    {"zero length is nothing, even reserved",
     {{0x1000, 0x4000, U}, {0x2000, 0, R}, {0x2800, 0, B}},
     {{0x1000, 0x4000, U}}                                                                                          },
    {"unsorted is sorted and touching is merged",
     {{0x5000, 0x1000, U}, {0x1000, 0x1000, U}, {0x2000, 0x1000, U}, {0x4000, 0x1000, R}},
     {{0x1000, 0x2000, U}, {0x4000, 0x1000, R}, {0x5000, 0x1000, U}}                                                },
    {"reserved cuts a hole",
     {{0x0, 0x10000, U}, {0x4000, 0x1000, R}},
     {{0x0, 0x4000, U}, {0x4000, 0x1000, R}, {0x5000, 0xb000, U}}                                                   },
    {"each type beats the ones below it",
     {{0, 0x10000, U}, {0, 0x8000, A}, {0, 0x6000, N}, {0, 0x4000, R}, {0, 0x2000, B}},
     {{0, 0x2000, B},
      {0x2000, 0x2000, R},
      {0x4000, 0x2000, N},
      {0x6000, 0x2000, A},
      {0x8000, 0x8000, U}}                                                                                          },
    {"usable shrinks to whole pages",
     {{0x800, 0x2000, U}, {0x5001, 0xffe, U}, {0x7001, 0x1fff, U}},
     {{0x1000, 0x1000, U}, {0x8000, 0x1000, U}}                                                                     },
    {"two halves of a page are not a usable page",
     {{0x1000, 0x800, U}, {0x1800, 0x800, U}},
     {{0, 0, U}}                                                                                                    },
    {"reserved grows to whole pages",
     {{0, 0x9fc00, U}, {0x9fc00, 0x400, R}, {0x100000, 0x1000, U}, {0x100fff, 1, N}},
     {{0, 0x9f000, U}, {0x9f000, 0x1000, R}, {0x100000, 0x1000, N}}                                                 },
    {"usable that wraps is left out",
     {{0x100000, MAX64 - 0x1000, U}, {0x1000, 0x1000, U}},
     {{0x1000, 0x1000, U}}                                                                                          },
    {"reserved that wraps reaches the end",
     {{0x1000, 0x10000, U}, {0x8000, MAX64, R}},
     {{0x1000, 0x7000, U}, {0x8000, MEMMAP_END - 0x8000, R}}                                                        },
    {"beyond the address space is nothing",
     {{MEMMAP_END, 0x1000, R}, {MAX64, MAX64, B}, {MEMMAP_END - 0x1000, 0x5000, U}},
     {{MEMMAP_END - 0x1000, 0x1000, U}}                                                                             },
    {"above 4 GiB and 1 TiB",
     {{SIZE_4G, 1ull << 40, U}, {0xfd00000000, 0x300000000, R}, {0, SIZE_4G, R}},
     {{0, SIZE_4G, R},
      {SIZE_4G, 0xfd00000000 - SIZE_4G, U},
      {0xfd00000000, 0x300000000, R},
      {0x10000000000, SIZE_4G, U}}                                                                                  },
    {"the same twice",                             {{0x1000, 0x1000, U}, {0x1000, 0x1000, U}}, {{0x1000, 0x1000, U}}},
    {"one covers all",
     {{0x2000, 0x1000, U}, {0x4000, 0x1000, A}, {0, 0x10000, R}},
     {{0, 0x10000, R}}                                                                                              },
    {"chained overlaps of one type",
     {{0x3000, 0x3000, U}, {0x1000, 0x3000, U}, {0x5000, 0x3000, U}},
     {{0x1000, 0x7000, U}}                                                                                          },
    {"a common BIOS map",
     {{0, 0x9fc00, U},
      {0x9fc00, 0x400, R},
      {0xe8000, 0x18000, R},
      {0x100000, 0x7ee0000, U},
      {0x7fe0000, 0x10000, A},
      {0x7ff0000, 0x10000, N},
      {0xfffc0000, 0x40000, R}},
     {{0, 0x9f000, U},
      {0x9f000, 0x1000, R},
      {0xe8000, 0x18000, R},
      {0x100000, 0x7ee0000, U},
      {0x7fe0000, 0x10000, A},
      {0x7ff0000, 0x10000, N},
      {0xfffc0000, 0x40000, R}}                                                                                     },
};

static unsigned filled(const struct mem_entry *entries)
{
    unsigned n = 0;
    for (unsigned i = 0; i < 8; i++)
        n = entries[i].size || entries[i].base ? i + 1 : n;
    return n;
}

static void nasty_maps(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct map_case *c = &cases[i];
        assert_int_equal(memmap_build(&map, c->in, filled(c->in)), OK);
        bool same = map.count == filled(c->out);
        for (unsigned k = 0; same && k < map.count; k++)
            same = map.entries[k].base == c->out[k].base && map.entries[k].size == c->out[k].size &&
                   map.entries[k].type == c->out[k].type;
        if (!same)
            fail_msg("%s", c->name);
    }
}

static void too_many_entries(void **state)
{
    (void)state;
    static struct mem_entry entries[MEM_ENTRIES_MAX + 1];
    assert_int_equal(memmap_build(&map, entries, MEM_ENTRIES_MAX + 1), E_NOMEM);
    // The most pieces there can be: nested like an onion, each layer more restrictive or equal.
    for (unsigned i = 0; i < MEM_ENTRIES_MAX; i++) {
        entries[i].base = i * 0x2000ull;
        entries[i].size = (2 * MEM_ENTRIES_MAX - 2 * i) * 0x2000ull;
        entries[i].type = i < 100 ? U : i < 200 ? N : R;
    }
    assert_int_equal(memmap_build(&map, entries, MEM_ENTRIES_MAX), OK);
    assert_int_equal(map.count, 5);
    for (unsigned i = 0; i < MEM_ENTRIES_MAX; i++)
        entries[i] = (struct mem_entry){(MEM_ENTRIES_MAX - i) * 0x2000ull, 0x1000, U};
    assert_int_equal(memmap_build(&map, entries, MEM_ENTRIES_MAX), OK);
    assert_int_equal(map.count, MEM_ENTRIES_MAX);
    assert_int_equal(memmap_total(&map, U), MEM_ENTRIES_MAX * PAGE_SIZE);
    assert_int_equal(memmap_total(&map, R), 0);
    // One long entry interrupted by all the others: 2n - 1 pieces.
    entries[0] = (struct mem_entry){0, MEM_ENTRIES_MAX * 0x2000ull + 0x10000, U};
    for (unsigned i = 1; i < MEM_ENTRIES_MAX; i++)
        entries[i].type = R;
    assert_int_equal(memmap_build(&map, entries, MEM_ENTRIES_MAX), OK);
    assert_int_equal(map.count, 2 * MEM_ENTRIES_MAX - 1);
}

// ---- against a page-by-page oracle ------------------------------------------------------------
#define PAGES   512
#define NRANDOM 200
static u32 seed = 7;

static u32 rnd(u32 below)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % below;
}

static bool page_inside(u64 page, u64 base, u64 size)
{
    return base <= page * PAGE_SIZE && page * PAGE_SIZE + PAGE_SIZE <= base + size;
}

static bool page_touched(u64 page, u64 base, u64 size)
{
    return size && base < page * PAGE_SIZE + PAGE_SIZE && page * PAGE_SIZE < base + size;
}

static int oracle_type(const struct mem_entry *in, unsigned n, u64 page)
{
    int type = -1;
    for (unsigned i = 0; i < n; i++) {
        bool covers = in[i].type == U ? page_inside(page, in[i].base, in[i].size)
                                      : page_touched(page, in[i].base, in[i].size);
        if (covers && (int)in[i].type > type)
            type = (int)in[i].type;
    }
    return type;
}

static int map_type(u64 page)
{
    int type = -1;
    for (unsigned i = 0; i < map.count; i++) {
        if (page_touched(page, map.entries[i].base, map.entries[i].size)) {
            assert_int_equal(type, -1); // disjoint
            type = (int)map.entries[i].type;
        }
    }
    return type;
}

static void assert_tidy(void)
{
    for (unsigned i = 0; i < map.count; i++) {
        const struct mem_entry *e = &map.entries[i];
        assert_true(e->size > 0 && is_aligned(e->base, PAGE_SIZE) &&
                    is_aligned(e->size, PAGE_SIZE));
        if (i == 0)
            continue;
        assert_true(e[-1].base + e[-1].size <= e->base);
        assert_true(e[-1].base + e[-1].size < e->base || e[-1].type != e->type);
    }
}

static void random_maps(void **state)
{
    (void)state;
    static struct mem_entry in[NRANDOM];
    static struct mem_range reserved[20], out[300];
    for (unsigned round = 0; round < 150; round++) {
        unsigned n = 1 + rnd(NRANDOM);
        for (unsigned i = 0; i < n; i++)
            in[i] = (struct mem_entry){rnd(PAGES * 4096), rnd(rnd(4) ? 40000 : 400000),
                                       rnd(3) ? U : (enum mem_kind)rnd(5)};
        assert_int_equal(memmap_build(&map, in, n), OK);
        assert_tidy();
        for (u64 page = 0; page < PAGES + 110; page++)
            assert_int_equal(map_type(page), oracle_type(in, n, page));

        unsigned nreserved = rnd(20);
        for (unsigned i = 0; i < nreserved; i++)
            reserved[i] = (struct mem_range){rnd(PAGES * 4096), rnd(4) ? rnd(50000) : 0};
        u64 lost;
        unsigned nfree = memmap_free(&map, reserved, nreserved, out, ARRAY_SIZE(out), &lost);
        assert_int_equal(lost, 0);
        for (u64 page = 0; page < PAGES + 110; page++) {
            bool want = map_type(page) == U, got = false;
            for (unsigned i = 0; i < nreserved; i++)
                want = want && !page_touched(page, reserved[i].base, reserved[i].size);
            for (unsigned i = 0; i < nfree; i++)
                got = got || page_touched(page, out[i].base, out[i].size);
            assert_int_equal(got, want);
        }
        for (unsigned i = 0; i < nfree; i++) {
            assert_true(out[i].size && is_aligned(out[i].base | out[i].size, PAGE_SIZE));
            assert_true(i == 0 || out[i - 1].base + out[i - 1].size < out[i].base);
        }
    }
}

static void free_of_a_real_machine(void **state)
{
    (void)state;
    const struct map_case *bios = &cases[ARRAY_SIZE(cases) - 1];
    assert_int_equal(memmap_build(&map, bios->in, filled(bios->in)), OK);
    static const struct mem_range reserved[] = {
        {0x200000,   0x123456        }, // the image
        {0x9fc00,    0x60400         }, // EBDA to FFFFF
        {0x2fffff,   2               }, // joins the image
        {0,          0x1000          },
        {0x7fdf123,  0x100           }, // a module in the last usable page
        {0x9000,     0x1a8           }, // boot information
        {0xe0000000, 0x1000000       }, // framebuffer
        {0x50000000, ~0ull - 0x400000}, // wraps: to the end
    };
    struct mem_range out[16];
    u64 lost;
    unsigned n = memmap_free(&map, reserved, ARRAY_SIZE(reserved), out, 16, &lost);
    static const struct mem_range want[] = {
        {0x1000,   0x8000              },
        {0xa000,   0x95000             },
        {0x100000, 0x100000            },
        {0x324000, 0x7fdf000 - 0x324000},
    };
    assert_int_equal(n, ARRAY_SIZE(want));
    assert_memory_equal(out, want, sizeof(want));
}

static void smallest_are_lost_first(void **state)
{
    (void)state;
    struct mem_entry in[20];
    for (unsigned i = 0; i < 20; i++)
        in[i] = (struct mem_entry){i * 0x100000, (1 + ((19 - i) * 7) % 20) * PAGE_SIZE, U};
    assert_int_equal(memmap_build(&map, in, 20), OK);
    struct mem_range out[12];
    u64 lost;
    assert_int_equal(memmap_free(&map, NULL, 0, out, 12, &lost), 12);
    assert_int_equal(lost, (1 + 2 + 3 + 4 + 5 + 6 + 7 + 8) * PAGE_SIZE);
    for (unsigned i = 0; i < 12; i++) {
        assert_true(out[i].size >= 9 * PAGE_SIZE);
        assert_true(i == 0 || out[i - 1].base < out[i].base);
    }
}

// ---- the pool ---------------------------------------------------------------------------------
static void pool_goes_just_above_the_image(void **state)
{
    (void)state;
    struct mem_range ranges[8] = {
        {0x1000,   0x9e000  },
        {0x324000, 0x7000000},
        {SIZE_4G,  SIZE_4G  },
    };
    unsigned n = 3;
    struct mem_range pool;
    assert_int_equal(memmap_carve(ranges, &n, 4, 0x1000001, 0x324000, &pool), OK);
    assert_int_equal(pool.base, 0x400000);
    assert_int_equal(pool.size, 0x1200000);
    static const struct mem_range want[] = {
        {0x1000,    0x9e000              },
        {0x324000,  0x400000 - 0x324000  },
        {0x1600000, 0x7324000 - 0x1600000},
        {SIZE_4G,   SIZE_4G              },
    };
    assert_int_equal(n, 4);
    assert_memory_equal(ranges, want, sizeof(want));
}

static void pool_preferences(void **state)
{
    (void)state;
    struct mem_range pool;
    // Too little above the image: below it, as high as can be.
    struct mem_range below[8] = {
        {0x100000,  0x1f00000},
        {0x8000000, 0x300000 }
    };
    unsigned n = 2;
    assert_int_equal(memmap_carve(below, &n, 8, 0x400000, 0x8000000, &pool), OK);
    assert_int_equal(pool.base, 0x1c00000);
    assert_int_equal(n, 2); // the range's upper end is gone, nothing was cut in two
    assert_int_equal(below[0].size, 0x1b00000);
    // Nothing below 4 GiB: above. A range across 4 GiB is used from there.
    struct mem_range high[8] = {
        {SIZE_4G - 0x300000, 0x1000000}
    };
    n = 1;
    assert_int_equal(memmap_carve(high, &n, 8, 0x400000, 0x200000, &pool), OK);
    assert_int_equal(pool.base, SIZE_4G);
    assert_int_equal(n, 2);
    // Exactly fitting: the range disappears.
    struct mem_range exact[8] = {
        {0x400000, 0x200000}
    };
    n = 1;
    assert_int_equal(memmap_carve(exact, &n, 8, 1, 0, &pool), OK);
    assert_int_equal(pool.base, 0x400000);
    assert_int_equal(n, 0);
    // Up to 4 GiB exactly, starting in the middle of a range.
    struct mem_range brim[8] = {
        {0x400000, SIZE_4G - 0x400000}
    };
    n = 1;
    assert_int_equal(memmap_carve(brim, &n, 8, SIZE_2M, SIZE_4G - SIZE_2M, &pool), OK);
    assert_int_equal(pool.base, SIZE_4G - SIZE_2M);
    assert_int_equal(n, 1);
    assert_int_equal(brim[0].size, SIZE_4G - SIZE_2M - 0x400000);
}

static void pool_refused(void **state)
{
    (void)state;
    struct mem_range pool = {1, 2};
    // 2 MiB of RAM that holds no aligned 2 MiB, and low memory that is not for this.
    struct mem_range ranges[4] = {
        {0x1000,   0x9e000 },
        {0x300000, 0x200000},
        {0x700000, 0x1ff000}
    };
    struct mem_range before[4];
    memcpy(before, ranges, sizeof(before));
    unsigned n = 3;
    assert_int_equal(memmap_carve(ranges, &n, 4, SIZE_2M, 0, &pool), E_NOMEM);
    assert_int_equal(memmap_carve(ranges, &n, 4, MAX64, 0, &pool), E_NOMEM);
    assert_int_equal(memmap_carve(ranges, &n, 4, MEMMAP_END, 0, &pool), E_NOMEM);
    assert_int_equal(memmap_carve(ranges, &n, 4, SIZE_2M, MAX64, &pool), E_NOMEM);
    assert_int_equal(memmap_carve(ranges, &n, 4, 0, 0, &pool), E_INVAL);
    assert_int_equal(n, 3);
    assert_memory_equal(ranges, before, sizeof(before));
    n = 0;
    assert_int_equal(memmap_carve(ranges, &n, 4, SIZE_2M, 0, &pool), E_NOMEM);
}

static void full_table_keeps_the_larger_rest(void **state)
{
    (void)state;
    struct mem_range pool;
    struct mem_range ranges[3] = {
        {0x1000,   0x1000   },
        {0x100000, 0x1000000},
        {0x9000,   0        },
    };
    unsigned n = 2;
    assert_int_equal(memmap_carve(ranges, &n, 2, SIZE_2M, 0, &pool), OK);
    assert_int_equal(pool.base, 0x200000);
    assert_int_equal(n, 2);
    assert_int_equal(ranges[0].base, 0x1000);
    assert_int_equal(ranges[1].base, 0x400000);
    assert_int_equal(ranges[1].size, 0x1100000 - 0x400000);
    assert_int_equal(ranges[2].base, 0x9000); // beyond max: untouched
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nasty_maps),
        cmocka_unit_test(too_many_entries),
        cmocka_unit_test(random_maps),
        cmocka_unit_test(free_of_a_real_machine),
        cmocka_unit_test(smallest_are_lost_first),
        cmocka_unit_test(pool_goes_just_above_the_image),
        cmocka_unit_test(pool_preferences),
        cmocka_unit_test(pool_refused),
        cmocka_unit_test(full_table_keeps_the_larger_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
