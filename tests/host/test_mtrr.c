// SPDX-License-Identifier: MIT
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/regs/msr.h"
#include "ept/mtrr.h"
#include "tests/host/mtrr_machines.h"

static void expect_oracle(const struct machine *machine, const struct mtrr_region *region, u64 addr)
{
    bool conflict;
    unsigned type = mtrr_oracle(machine, addr, &conflict);
    if (type != region->type || conflict != region->conflict)
        fail_msg("%s: %llx is %u, conflict %d", machine->name, (unsigned long long)addr, type,
                 conflict);
}

static void each_page_of_the_low_memory(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(machines); i++) {
        struct mtrr_state mtrr = decode(&machines[i]);
        struct mtrr_region region = {0};
        for (u64 addr = 0; addr < 5 * SIZE_1G; addr += PAGE_SIZE) {
            if (addr == region.base + region.size)
                region = mtrr_next(&mtrr, addr, SIZE_64G);
            expect_oracle(&machines[i], &region, addr);
        }
    }
}

static u64 random_state = 88172645463325252;

static u64 random_number(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

// All memory by regions: each is as long as it can be, and a sample of its pages agrees.
static void each_region_of_all_memory(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(machines); i++) {
        struct mtrr_state mtrr = decode(&machines[i]);
        unsigned regions = 0;
        u64 end = BIT(machines[i].phys_bits);
        struct mtrr_region last = {.type = 0xff};
        for (u64 addr = 0; addr < end; addr = last.base + last.size) {
            struct mtrr_region region = mtrr_next(&mtrr, addr, end);
            assert_int_equal(region.base, addr);
            assert_true(region.size > 0 && is_aligned(region.size, PAGE_SIZE));
            assert_true(region.type != last.type || region.conflict != last.conflict);
            expect_oracle(&machines[i], &region, addr);
            expect_oracle(&machines[i], &region, addr + region.size - 1);
            for (unsigned k = 0; k < 200; k++)
                expect_oracle(&machines[i], &region, addr + random_number() % region.size);
            last = region;
            regions++;
        }
        assert_true(regions < 10000);
    }
}

static void single_addresses(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(machines); i++) {
        struct mtrr_state mtrr = decode(&machines[i]);
        for (unsigned k = 0; k < 20000; k++) {
            u64 addr = random_number() >> (64 - machines[i].phys_bits + k % 20);
            bool want_conflict, conflict = true;
            unsigned want = mtrr_oracle(&machines[i], addr, &want_conflict);
            assert_int_equal(mtrr_type(&mtrr, addr, &conflict), want);
            assert_int_equal(conflict, want_conflict);
            assert_int_equal(mtrr_type(&mtrr, addr, NULL), want);
        }
    }
}

// ---- what the dumps say, by hand ---------------------------------------------------------------

static const struct machine *find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(machines); i++) {
        if (strcmp(machines[i].name, name) == 0)
            return &machines[i];
    }
    fail_msg("no machine %s", name);
    return NULL;
}

static void expect_regions(const char *name, const struct mtrr_region *want, unsigned n)
{
    const struct machine *machine = find(name);
    struct mtrr_state mtrr = decode(machine);
    u64 end = BIT(machine->phys_bits), addr = 0;
    for (unsigned i = 0; i < n; i++) {
        struct mtrr_region region = mtrr_next(&mtrr, addr, end);
        assert_int_equal(region.base, want[i].base);
        assert_int_equal(region.size, want[i].size);
        assert_int_equal(region.type, want[i].type);
        assert_int_equal(region.conflict, want[i].conflict);
        addr += region.size;
    }
    assert_int_equal(addr, end);
}

static void a_hole_below_4_gib(void **state)
{
    (void)state;
    static const struct mtrr_region want[] = {
        {0,          0xa0000,           MEM_WB, false},
        {0xa0000,    0x20000,           MEM_UC, false},
        {0xc0000,    0x40000,           MEM_WP, false},
        {0x100000,   0xbff00000,        MEM_WB, false},
        {0xc0000000, 0x40000000,        MEM_UC, false},
        {SIZE_4G,    BIT(40) - SIZE_4G, MEM_WB, false},
    };
    expect_regions("hole", want, ARRAY_SIZE(want));
}

static void write_back_cut_out_of_uncached(void **state)
{
    (void)state;
    static const struct mtrr_region want[] = {
        {0,           0xa0000,                MEM_WB, false},
        {0xa0000,     0x20000,                MEM_UC, false},
        {0xc0000,     0x8000,                 MEM_WB, false},
        {0xc8000,     0xc000,                 MEM_WP, false}, // ends inside an MSR: its lowest byte is the first range
        {0xd4000,     0x4000,                 MEM_WB, false},
        {0xd8000,     0x10000,                MEM_UC, false},
        {0xe8000,     0x7ef18000,             MEM_WB, false},
        {0x7f000000,  0x81000000,             MEM_UC, false}, // a UC range over WB, then the default
        {SIZE_4G,     SIZE_4G,                MEM_WB, false},
        {2 * SIZE_4G, SIZE_64G - 2 * SIZE_4G, MEM_UC, false},
    };
    expect_regions("default UC", want, ARRAY_SIZE(want));
}

static void overlapping_uncached_ranges_are_one(void **state)
{
    (void)state;
    static const struct mtrr_region want[] = {
        {0,            0xa0000,                MEM_WB, false},
        {0xa0000,      0x40000,                MEM_UC, false},
        {0xe0000,      0x20000,                MEM_WP, false},
        {0x100000,     0x7af00000,             MEM_WB, false},
        {0x7b000000,   0x85000000,             MEM_UC, false},
        {SIZE_4G,      0x4000000000 - SIZE_4G, MEM_WB, false},
        {0x4000000000, 0x10000000,             MEM_WC, false},
        {0x4010000000, BIT(39) - 0x4010000000, MEM_WB, false},
    };
    expect_regions("overlapping UC", want, ARRAY_SIZE(want));
}

static void published_dumps_by_hand(void **state)
{
    (void)state;
    static const struct mtrr_region desktop[] = {
        {0,           0xa0000,                MEM_WB, false},
        {0xa0000,     0x20000,                MEM_UC, false},
        {0xc0000,     0x14000,                MEM_WP, false},
        {0xd4000,     0x14000,                MEM_UC, false},
        {0xe8000,     0x18000,                MEM_WP, false},
        {0x100000,    0xdff00000,             MEM_WB, false},
        {0xe0000000,  0x20000000,             MEM_UC, false},
        {SIZE_4G,     0x41f000000 - SIZE_4G,  MEM_WB, false},
        {0x41f000000, SIZE_64G - 0x41f000000, MEM_UC, false},
    };
    static const struct mtrr_region laptop[] = {
        {0,            0xa0000,                MEM_WB, false},
        {0xa0000,      0x20000,                MEM_UC, false},
        {0xc0000,      0x40000,                MEM_WP, false},
        {0x100000,     0x90f00000,             MEM_WB, false},
        {0x91000000,   0x6f000000,             MEM_UC, false},
        {SIZE_4G,      0x4000000000 - SIZE_4G, MEM_WB, false},
        {0x4000000000, 0x4000000000,           MEM_UC, false},
    };
    static const struct mtrr_region coreboot[] = {
        {0,           0xa0000,               MEM_WB, false},
        {0xa0000,     0x20000,               MEM_UC, false},
        {0xc0000,     0x7af40000,            MEM_WB, false},
        {0x7b000000,  0x5000000,             MEM_UC, false},
        {0x80000000,  0x10000000,            MEM_WC, false},
        {0x90000000,  0x70000000,            MEM_UC, false},
        {SIZE_4G,     SIZE_4G,               MEM_WB, false},
        {2 * SIZE_4G, BIT(39) - 2 * SIZE_4G, MEM_UC, false},
    };
    expect_regions("16.5 GiB (zfsonlinux/mountall#7)", desktop, ARRAY_SIZE(desktop));
    expect_regions("39 bits, half of them uncached (linux-surface#398)", laptop,
                   ARRAY_SIZE(laptop));
    expect_regions("coreboot with a framebuffer (Dasharo/coreboot#402)", coreboot,
                   ARRAY_SIZE(coreboot));
}

static void off_is_uncached_everywhere(void **state)
{
    (void)state;
    static const struct mtrr_region want[] = {
        {0, BIT(39), MEM_UC, false}
    };
    expect_regions("disabled", want, ARRAY_SIZE(want));
}

static void all_of_memory_in_one_range(void **state)
{
    (void)state;
    static const struct mtrr_region want[] = {
        {0, SIZE_64G, MEM_WB, false}
    };
    expect_regions("all of it", want, ARRAY_SIZE(want));
}

// Bits the mask leaves out above the memory are free: the range comes again and again.
static void a_short_mask_repeats(void **state)
{
    (void)state;
    const struct machine *machine = find("short mask");
    struct mtrr_state mtrr = decode(machine);
    for (u64 base = 0; base < BIT(39); base += SIZE_64G) {
        struct mtrr_region region = mtrr_next(&mtrr, base + 3 * SIZE_1G, BIT(39));
        assert_int_equal(region.type, MEM_UC);
        assert_int_equal(region.size, SIZE_1G);
        region = mtrr_next(&mtrr, base + SIZE_4G, base + SIZE_64G);
        assert_int_equal(region.type, MEM_WB);
        assert_int_equal(region.size, SIZE_64G - SIZE_4G);
    }
    assert_int_equal(mtrr.odd, MTRR_ODD_MASK);
}

// ---- each pair of types, and three -------------------------------------------------------------

static void expect_overlap(const unsigned *types, unsigned n, unsigned want, bool want_conflict)
{
    struct mtrr_msrs msrs = {.cap = n, .def_type = E_BIT | MEM_WP};
    for (unsigned i = 0; i < n; i++) {
        msrs.base[i] = SIZE_1G | types[i];
        msrs.mask[i] = (0xfffffffffull & ~(SIZE_1G - 1)) | E_BIT;
    }
    struct mtrr_state mtrr;
    bool conflict;
    mtrr_decode(&msrs, 36, &mtrr);
    assert_int_equal(mtrr_type(&mtrr, SIZE_1G, &conflict), want);
    assert_int_equal(conflict, want_conflict);
    struct mtrr_region region = mtrr_next(&mtrr, SIZE_1G, SIZE_4G);
    // What is as the default goes on with it.
    assert_int_equal(region.size, want == MEM_WP ? 3 * SIZE_1G : SIZE_1G);
    assert_int_equal(region.conflict, want_conflict);
    assert_int_equal(mtrr_type(&mtrr, 2 * SIZE_1G, &conflict), MEM_WP);
    assert_false(conflict);
}

static void each_overlapping_pair(void **state)
{
    (void)state;
    enum { NO = 100 }; // the manual leaves it undefined
    static const unsigned types[] = {MEM_UC, MEM_WC, MEM_WT, MEM_WP, MEM_WB};
    static const unsigned want[5][5] = {
        {MEM_UC, MEM_UC, MEM_UC, MEM_UC, MEM_UC}, // UC with each
        {MEM_UC, MEM_WC, NO,     NO,     NO    }, // WC
        {MEM_UC, NO,     MEM_WT, NO,     MEM_WT}, // WT
        {MEM_UC, NO,     NO,     MEM_WP, NO    }, // WP
        {MEM_UC, NO,     MEM_WT, NO,     MEM_WB}, // WB
    };
    for (unsigned i = 0; i < 5; i++) {
        for (unsigned k = 0; k < 5; k++) {
            unsigned pair[] = {types[i], types[k]};
            bool conflict = want[i][k] == NO;
            expect_overlap(pair, 2, conflict ? MEM_UC : want[i][k], conflict);
        }
    }
}

static void three_overlapping_ranges(void **state)
{
    (void)state;
    static const unsigned wt_wb_wt[] = {MEM_WT, MEM_WB, MEM_WT};
    static const unsigned wt_wb_wp[] = {MEM_WT, MEM_WB, MEM_WP};
    static const unsigned wc_wp_uc[] = {MEM_WC, MEM_WP, MEM_UC};
    expect_overlap(wt_wb_wt, 3, MEM_WT, false);
    expect_overlap(wt_wb_wp, 3, MEM_UC, true);
    expect_overlap(wc_wp_uc, 3, MEM_UC, false); // any UC decides
}

// ---- decoding ----------------------------------------------------------------------------------

static void oddities_are_reported(void **state)
{
    (void)state;
    static const struct {
        u64 def_type, base, mask;
        u32 want;
    } rows[] = {
        {0x806, 0xc0000000,   0xfc0000800,  0             },
        {0x806, 0xc0000000,   0xfc0000000,  0             }, // not valid: nothing to say
        {0x803, 0xc0000000,   0xfc0000800,  MTRR_ODD_TYPE },
        {0x806, 0xc0000007,   0xfc0000800,  MTRR_ODD_TYPE },
        {0x806, 0xc0000000,   0xf50000800,  MTRR_ODD_MASK },
        {0x806, 0xc0000000,   0x7c0000800,  MTRR_ODD_MASK },
        {0x806, 0xc0000000,   0xffc0000800, MTRR_ODD_WIDTH},
        {0x806, 0x10c0000000, 0xfc0000800,  MTRR_ODD_WIDTH},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct mtrr_msrs msrs = {.cap = 1, .def_type = rows[i].def_type};
        msrs.base[0] = rows[i].base;
        msrs.mask[0] = rows[i].mask;
        struct mtrr_state mtrr;
        mtrr_decode(&msrs, 36, &mtrr);
        assert_int_equal(mtrr.odd, rows[i].want);
    }
}

static void only_the_pairs_there_are_count(void **state)
{
    (void)state;
    assert_int_equal(mtrr_count(0x508), 8);
    assert_int_equal(mtrr_count(0), 0);
    assert_int_equal(mtrr_count(0xff), MTRR_VARIABLE_MAX);
    struct mtrr_msrs msrs = {.cap = 1, .def_type = 0x806};
    msrs.base[1] = 0;
    msrs.mask[1] = 0xf80000800;
    struct mtrr_state mtrr;
    mtrr_decode(&msrs, 36, &mtrr);
    assert_int_equal(mtrr_type(&mtrr, 0, NULL), MEM_WB);
}

// A CPU without fixed-range MTRRs has no FE, whatever the bit reads as.
static void fixed_ranges_need_the_capability(void **state)
{
    (void)state;
    struct mtrr_msrs msrs = {.cap = 0, .def_type = 0xc06};
    struct mtrr_state mtrr;
    mtrr_decode(&msrs, 36, &mtrr);
    assert_int_equal(mtrr_type(&mtrr, 0xa0000, NULL), MEM_WB);
    msrs.cap = MTRRCAP_FIX;
    mtrr_decode(&msrs, 36, &mtrr);
    assert_int_equal(mtrr_type(&mtrr, 0xa0000, NULL), MEM_UC);
}

static void fixed_msrs_have_their_numbers(void **state)
{
    (void)state;
    static const u32 want[MTRR_FIXED_MSRS] = {0x250, 0x258, 0x259, 0x268, 0x269, 0x26a,
                                              0x26b, 0x26c, 0x26d, 0x26e, 0x26f};
    for (unsigned i = 0; i < MTRR_FIXED_MSRS; i++)
        assert_int_equal(mtrr_fixed_msr(i), want[i]);
}

static void uniform_says_whether_and_which(void **state)
{
    (void)state;
    struct mtrr_state mtrr = decode(find("hole"));
    enum mem_type type;
    assert_true(mtrr_uniform(&mtrr, 0x100000, 0xbff00000, &type));
    assert_int_equal(type, MEM_WB);
    assert_true(mtrr_uniform(&mtrr, 0xc0000000, SIZE_1G, &type));
    assert_int_equal(type, MEM_UC);
    assert_false(mtrr_uniform(&mtrr, 0xbffff000, 0x2000, &type));
    assert_false(mtrr_uniform(&mtrr, 0, SIZE_2M, &type));
    assert_true(mtrr_uniform(&mtrr, 0xa0000, PAGE_SIZE, &type));
    assert_true(mtrr_uniform(&mtrr, SIZE_4G, BIT(40) - SIZE_4G, &type));
    // One type, though half of it is a contradiction.
    struct mtrr_msrs msrs = {.cap = 2, .def_type = E_BIT};
    msrs.base[0] = SIZE_1G | MEM_WC;
    msrs.base[1] = SIZE_1G | MEM_WP;
    msrs.mask[0] = msrs.mask[1] = 0xfc0000000 | E_BIT;
    mtrr_decode(&msrs, 36, &mtrr);
    assert_true(mtrr_uniform(&mtrr, 0, SIZE_4G, &type));
    assert_int_equal(type, MEM_UC);
    // A region tells the halves apart.
    struct mtrr_region region = mtrr_next(&mtrr, 0, SIZE_4G);
    assert_int_equal(region.size, SIZE_1G);
    assert_false(region.conflict);
    region = mtrr_next(&mtrr, SIZE_1G, SIZE_4G);
    assert_int_equal(region.size, SIZE_1G);
    assert_true(region.conflict);
}

static void regions_end_where_asked(void **state)
{
    (void)state;
    struct mtrr_state mtrr = decode(find("hole"));
    static const u64 bases[] = {0, 0xa0000, 0xc0000, 0x100000, 3 * SIZE_1G, SIZE_4G};
    for (size_t i = 0; i < ARRAY_SIZE(bases); i++) {
        struct mtrr_region region = mtrr_next(&mtrr, bases[i], bases[i] + PAGE_SIZE);
        assert_int_equal(region.base, bases[i]);
        assert_int_equal(region.size, PAGE_SIZE);
    }
}

static void nothing_matches_beyond_the_width(void **state)
{
    (void)state;
    struct mtrr_state mtrr = decode(find("all of it"));
    assert_int_equal(mtrr_type(&mtrr, SIZE_64G - 1, NULL), MEM_WB);
    assert_int_equal(mtrr_type(&mtrr, SIZE_64G, NULL), MEM_UC);
    struct mtrr_region region = mtrr_next(&mtrr, 0, SIZE_1T);
    assert_int_equal(region.size, SIZE_64G);
    region = mtrr_next(&mtrr, SIZE_64G, SIZE_1T);
    assert_int_equal(region.size, SIZE_1T - SIZE_64G);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_page_of_the_low_memory),
        cmocka_unit_test(each_region_of_all_memory),
        cmocka_unit_test(single_addresses),
        cmocka_unit_test(a_hole_below_4_gib),
        cmocka_unit_test(write_back_cut_out_of_uncached),
        cmocka_unit_test(overlapping_uncached_ranges_are_one),
        cmocka_unit_test(published_dumps_by_hand),
        cmocka_unit_test(off_is_uncached_everywhere),
        cmocka_unit_test(all_of_memory_in_one_range),
        cmocka_unit_test(a_short_mask_repeats),
        cmocka_unit_test(each_overlapping_pair),
        cmocka_unit_test(three_overlapping_ranges),
        cmocka_unit_test(oddities_are_reported),
        cmocka_unit_test(only_the_pairs_there_are_count),
        cmocka_unit_test(fixed_ranges_need_the_capability),
        cmocka_unit_test(fixed_msrs_have_their_numbers),
        cmocka_unit_test(uniform_says_whether_and_which),
        cmocka_unit_test(regions_end_where_asked),
        cmocka_unit_test(nothing_matches_beyond_the_width),
    };
    return cmocka_run_group_tests_name("mtrr", tests, NULL, NULL);
}
