// SPDX-License-Identifier: MIT
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/regs/apic.h"
#include "arch/x86_64/regs/msr.h"
#include "ept/mtrr.h"
#include "tests/host/ept_arena.h"
#include "tests/host/mtrr_machines.h"

#define MIB (1ull << 20)

static struct arena *arena;
static struct ept ept;
static struct mtrr_state mtrr;

// A PC: default WB, the hole below 4 GiB UC, fixed ranges WB, UC and WP.
static void pc_mtrrs(unsigned phys_bits)
{
    const u64 wb = 0x0606060606060606, wp = 0x0505050505050505;
    struct mtrr_msrs msrs = {.cap = 0x508, .def_type = 0xc06};
    msrs.fixed[0] = msrs.fixed[1] = wb;
    for (unsigned i = 3; i < MTRR_FIXED_MSRS; i++)
        msrs.fixed[i] = wp;
    msrs.base[0] = 3 * SIZE_1G | MEM_UC;
    msrs.mask[0] = ((BIT(phys_bits) - 1) & ~(SIZE_1G - 1)) | MTRR_MASK_V;
    mtrr_decode(&msrs, phys_bits, &mtrr);
}

static int setup(void **state)
{
    (void)state;
    arena = arena_new();
    struct ept_config config = arena_config(arena);
    arena_start(arena, &ept, &config);
    pc_mtrrs(46);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_end(arena);
    return 0;
}

static struct ept_identity_map pc_map(const struct mem_range *ram, unsigned n)
{
    return (struct ept_identity_map){
        .ram = ram, .nram = n, .lapic = HPA(APIC_DEFAULT_BASE), .mtrr = &mtrr};
}

// ---- an oracle, one page at a time -------------------------------------------------------------

static bool touches(struct mem_range range, u64 page)
{
    return range.size && page + PAGE_SIZE > range.base && page < range.base + range.size;
}

static bool covers(struct mem_range range, u64 page)
{
    return range.base <= page && page + PAGE_SIZE <= range.base + range.size;
}

// The rights that this page should be mapped with, 0 for none.
static unsigned oracle(const struct ept_identity_map *what, u64 page)
{
    if (page == align_down(what->lapic.raw, PAGE_SIZE))
        return 0;
    for (unsigned i = 0; i < what->nexcluded; i++) {
        if (touches(what->excluded[i], page))
            return 0;
    }
    for (unsigned i = 0; i < what->nram; i++) {
        if (covers(what->ram[i], page))
            return EPT_RWX;
    }
    for (unsigned i = 0; i < what->nwindows; i++) {
        if (touches(what->windows[i].range, page))
            return what->windows[i].rights;
    }
    return 0;
}

static void expect_page(const struct ept_identity_map *what, u64 page)
{
    struct ept_walk walk;
    unsigned rights = oracle(what, page);
    ept_walk(&ept, GPA(page), &walk);
    if (walk.verdict != (rights ? EPT_MAPPED : EPT_NOT_PRESENT))
        fail_msg("%llx: verdict %d", (unsigned long long)page, walk.verdict);
    if (rights && (walk.hpa.raw != page || walk.rights != rights || walk.ipat ||
                   walk.type != mtrr_type(what->mtrr, page, NULL)))
        fail_msg("%llx: hpa %llx rights %u type %u", (unsigned long long)page,
                 (unsigned long long)walk.hpa.raw, walk.rights, walk.type);
}

static void expect_oracle(const struct ept_identity_map *what, u64 end)
{
    for (u64 page = 0; page < end; page += PAGE_SIZE)
        expect_page(what, page);
}

// ---- whole machines ----------------------------------------------------------------------------

static void a_small_pc_page_by_page(void **state)
{
    (void)state;
    static const struct mem_range ram[] = {
        {0,        0x9fc00               }, // ends inside a page
        {0x100000, 3 * SIZE_1G - 0x120000},
        {SIZE_4G,  2 * SIZE_1G + 0x5000  },
    };
    static const struct mem_range excluded[] = {
        {0x40000000,     32 * MIB}, // aligned for large leaves
        {0x200000,       0x123456}, // ends inside a page
        {0x7fffe800,     0x2800  }, // across a 1 GiB boundary
        {0x201000,       0x1000  }, // inside another
        {0x9ffe000,      0x3000  }, // begins inside the next one and goes on behind it
        {0x9ffd000,      0x3000  },
        {0x8000,         0x1000  }, // the start-up page of the other CPUs
        {0x10000000000,  SIZE_1G }, // where there is no RAM
        {0x5000,         0       }, // empty
        {SIZE_4G - 4096, 8192    }, // across the start of a range
    };
    static const struct ept_window windows[] = {
        {{0xa0000, 0x20000},     EPT_RW},
        {{0xe0000000, 0x800},    EPT_R }, // part of a page, mapped whole
        {{0xfed00000, 0x200000}, EPT_RW}, // the local APIC's page lies in it
    };
    struct ept_identity_map what = pc_map(ram, ARRAY_SIZE(ram));
    what.excluded = excluded;
    what.nexcluded = ARRAY_SIZE(excluded);
    what.windows = windows;
    what.nwindows = ARRAY_SIZE(windows);
    assert_int_equal(ept_identity(&ept, &what), OK);
    expect_oracle(&what, 7 * SIZE_1G);
    assert_int_equal(arena->invalidations, 0);
    assert_int_equal(ept.stats.splits, 0);
    // Large leaves wherever nothing changes.
    assert_true(ept.stats.leaves[EPT_PDPT] >= 1);
    assert_true(ept.stats.leaves[EPT_PT] < 11 * 512);
    struct ept_offence offence;
    assert_int_equal(ept_verify_excluded(&ept, excluded, ARRAY_SIZE(excluded), &offence), OK);
    struct ept_leaf leaf;
    assert_true(ept_next_leaf(&ept, GPA(0), &leaf));
    for (u64 at = 0; at < SIZE_2M; at = leaf.gpa.raw + leaf.size) {
        assert_true(ept_next_leaf(&ept, GPA(at), &leaf));
        assert_true(leaf.gpa.raw >= SIZE_2M || leaf.level == EPT_PT);
    }
}

static void types_change_inside_large_pages(void **state)
{
    (void)state;
    // A UC range of 64 KiB and a WT one of 4 MiB amid write-back memory.
    struct mtrr_msrs msrs = {.cap = 0x508, .def_type = 0xc06};
    const u64 all = BIT(46) - 1;
    msrs.base[0] = SIZE_4G + 0x7f0000;
    msrs.mask[0] = (all & ~0xffffull) | MTRR_MASK_V;
    msrs.base[1] = SIZE_4G + 0x40000000 + 8 * MIB + MEM_WT;
    msrs.mask[1] = (all & ~(4 * MIB - 1)) | MTRR_MASK_V;
    mtrr_decode(&msrs, 46, &mtrr);
    static const struct mem_range ram[] = {
        {SIZE_4G, 2 * SIZE_1G}
    };
    struct ept_identity_map what = pc_map(ram, 1);
    assert_int_equal(ept_identity(&ept, &what), OK);
    expect_oracle(&what, SIZE_4G + 3 * SIZE_1G);
    assert_int_equal(ept.stats.leaves[EPT_PT], 512);
    assert_int_equal(ept.stats.leaves[EPT_PD], 511 + 512);
}

static void every_capability_gives_the_same_map(void **state)
{
    (void)state;
    static const struct mem_range ram[] = {
        {0,        0xa0000          },
        {0x100000, SIZE_1G + 5 * MIB}
    };
    static const struct mem_range excluded[] = {
        {0x3000000, 3 * MIB}
    };
    struct ept_identity_map what = pc_map(ram, 2);
    what.excluded = excluded;
    what.nexcluded = 1;
    for (unsigned kind = 0; kind < 4; kind++) {
        arena_end(arena);
        arena = arena_new();
        arena->lax = true;
        struct ept_config config = arena_config(arena);
        config.caps.large_1g = kind < 1;
        config.caps.large_2m = kind < 2;
        config.no_large_exec = kind == 3;
        arena_start(arena, &ept, &config);
        assert_int_equal(ept_identity(&ept, &what), OK);
        expect_oracle(&what, 2 * SIZE_1G);
    }
}

// ---- MTRRs of machines --------------------------------------------------------------------------

static void expect_mtrr_type(const struct machine *machine, u64 page)
{
    struct ept_walk walk;
    bool conflict;
    unsigned want = mtrr_oracle(machine, page, &conflict);
    ept_walk(&ept, GPA(page), &walk);
    if (walk.verdict != EPT_MAPPED || walk.hpa.raw != page || walk.type != want || walk.ipat)
        fail_msg("%s: %llx is of type %u, not %u", machine->name, (unsigned long long)page,
                 walk.type, want);
}

// What memory there is does not matter here: all of it is mapped where the dumps change, and each
// page's type compared with what a reading of the registers says.
static void mtrr_dumps_become_memory_types(void **state)
{
    static const struct mem_range ram[] = {
        {0,            0xfee00000},
        {0xfee01000,   0x1000000 },
        {SIZE_4G,      SIZE_1G   },
        {0x31e000000,  0x4000000 },
        {0x41e000000,  0x4000000 },
        {0x3ffffff000, 0x2000    },
    };
    for (size_t i = 0; i < ARRAY_SIZE(machines); i++) {
        (void)teardown(state);
        (void)setup(state);
        arena->lax = true;
        mtrr = decode(&machines[i]);
        struct ept_identity_map what = pc_map(ram, machines[i].phys_bits < 39 ? 5 : 6);
        log_set_level(LOG_ERROR);
        assert_int_equal(ept_identity(&ept, &what), OK);
        log_set_level(LOG_INFO);
        for (unsigned r = 0; r < what.nram; r++)
            for (u64 page = ram[r].base; page < ram[r].base + ram[r].size; page += PAGE_SIZE)
                expect_mtrr_type(&machines[i], page);
    }
}

// ---- how much work it is -----------------------------------------------------------------------

static void build(u64 size)
{
    const struct mem_range ram[] = {
        {0,        0xa0000               },
        {0x100000, 3 * SIZE_1G - 0x100000},
        {SIZE_4G,  size - 3 * SIZE_1G    }
    };
    static const struct mem_range excluded[] = {
        {0x2000000,  64 * MIB},
        {0x9e000,    0x1000  },
        {0xbff37000, 0x41000 }
    };
    struct ept_identity_map what = pc_map(ram, 3);
    what.excluded = excluded;
    what.nexcluded = 3;
    assert_int_equal(ept_identity(&ept, &what), OK);
    for (u64 page = 0; page < SIZE_2M; page += PAGE_SIZE)
        expect_page(&what, page);
    for (u64 base = 0; base < size + 2 * SIZE_1G; base += SIZE_1G / 8) {
        expect_page(&what, base);
        expect_page(&what, base + SIZE_1G / 8 - PAGE_SIZE);
    }
}

static void writes_are_few_for_16_gib(void **state)
{
    (void)state;
    build(16 * SIZE_1G);
    // The first 2 MiB and the carve-out's ends by page, three GiB by 2 MiB, the rest by 1 GiB.
    assert_true(ept.stats.writes < 2200);
    assert_true(ept.stats.tables <= 7);
}

static void writes_are_few_for_1_tib(void **state)
{
    (void)state;
    build(1024 * SIZE_1G);
    assert_true(ept.stats.writes < 3300);
    assert_true(ept.stats.tables <= 9);
}

static void without_1_gib_leaves_2_mib_ones_do(void **state)
{
    (void)state;
    struct ept_config config = arena_config(arena);
    config.caps.large_1g = false;
    arena_end(arena);
    arena = arena_new();
    arena->lax = true;
    config.ctx = arena;
    arena_start(arena, &ept, &config);
    build(1024 * SIZE_1G);
    assert_true(ept.stats.writes < 1024 * 512 + 3000);
    assert_true(ept.stats.tables < 1024 + 12);
}

// ---- what goes wrong ---------------------------------------------------------------------------

static void errors_are_handed_on(void **state)
{
    (void)state;
    static const struct mem_range beyond[] = {
        {0,                 SIZE_4G    },
        {BIT(46) - SIZE_1G, 2 * SIZE_1G}
    };
    struct ept_identity_map what = pc_map(beyond, 2);
    assert_int_equal(ept_identity(&ept, &what), E_RANGE);
    assert_int_equal(ept_unmap(&ept, GPA(0), BIT(46)), OK);
    static const struct mem_range ram[] = {
        {0, SIZE_4G}
    };
    static const struct ept_window inside[] = {
        {{SIZE_1G, PAGE_SIZE}, EPT_RW}
    };
    what = pc_map(ram, 1);
    what.windows = inside;
    what.nwindows = 1;
    assert_int_equal(ept_identity(&ept, &what), E_EXIST);
    assert_int_equal(ept_unmap(&ept, GPA(0), BIT(46)), OK);
    what.nwindows = 0;
    arena->budget = 3;
    assert_int_equal(ept_identity(&ept, &what), E_NOMEM);
}

static void nothing_to_map_maps_nothing(void **state)
{
    (void)state;
    static const struct mem_range crumbs[] = {
        {0x1800, 0x1000},
        {0x5000, 0x20  },
        {0x9000, 0     }
    };
    static const struct mem_range everything[] = {
        {0, SIZE_1G}
    };
    static const struct mem_range ram[] = {
        {0x3000, 0x5000}
    };
    struct ept_identity_map what = pc_map(crumbs, 3);
    assert_int_equal(ept_identity(&ept, &what), OK);
    what = pc_map(ram, 1);
    what.excluded = everything;
    what.nexcluded = 1;
    assert_int_equal(ept_identity(&ept, &what), OK);
    assert_int_equal(ept.stats.tables, 1);
}

static void verification_finds_the_offender(void **state)
{
    (void)state;
    static const struct ept_attr rw_wb = {.rights = EPT_RW, .type = MEM_WB};
    static const struct mem_range excluded[] = {
        {0x700000000, 0x1000},
        {0,           0     },
        {SIZE_1G - 1, 1     },
        {0x123456789, 0x10  }
    };
    struct ept_offence offence;
    // Not an identity map: what counts is where a leaf leads.
    assert_int_equal(ept_map(&ept, GPA(0x700000000), HPA(0x5000), PAGE_SIZE, rw_wb), OK);
    assert_int_equal(ept_map(&ept, GPA(0x3000), HPA(0x123457000), PAGE_SIZE, rw_wb), OK);
    assert_int_equal(ept_map(&ept, GPA(0x4000), HPA(0x123455000), PAGE_SIZE, rw_wb), OK);
    assert_int_equal(ept_map(&ept, GPA(SIZE_1G), HPA(SIZE_1G), SIZE_1G, rw_wb), OK);
    assert_int_equal(ept_verify_excluded(&ept, excluded, 4, &offence), OK);
    assert_int_equal(ept_map(&ept, GPA(0x8000), HPA(0x123456000), PAGE_SIZE, rw_wb), OK);
    assert_int_equal(ept_verify_excluded(&ept, excluded, 4, &offence), E_EXIST);
    assert_int_equal(offence.leaf.gpa.raw, 0x8000);
    assert_int_equal(offence.leaf.hpa.raw, 0x123456000);
    assert_int_equal(offence.excluded.base, 0x123456789);
    assert_int_equal(ept_unmap(&ept, GPA(0x8000), PAGE_SIZE), OK);
    // The last byte of a large leaf.
    assert_int_equal(ept_map(&ept, GPA(5 * SIZE_1G), HPA(0), SIZE_1G, rw_wb), OK);
    assert_int_equal(ept_verify_excluded(&ept, excluded, 4, &offence), E_EXIST);
    assert_int_equal(offence.leaf.size, SIZE_1G);
    assert_int_equal(offence.excluded.base, SIZE_1G - 1);
}

static void contradicting_mtrrs_are_told(void **state)
{
    (void)state;
    struct mtrr_msrs msrs = {.cap = 2, .def_type = MTRR_DEF_E | MEM_WB};
    msrs.base[0] = SIZE_1G | MEM_WC;
    msrs.base[1] = SIZE_1G | MEM_WP;
    msrs.mask[0] = msrs.mask[1] = (BIT(46) - SIZE_1G) | MTRR_MASK_V;
    mtrr_decode(&msrs, 46, &mtrr);
    static const struct mem_range ram[] = {
        {0, 3 * SIZE_1G}
    };
    struct ept_identity_map what = pc_map(ram, 1);
    assert_int_equal(ept_identity(&ept, &what), OK);
    char tail[200] = "";
    log_ring_tail(tail, sizeof(tail) - 1);
    assert_non_null(strstr(tail, "MTRRs contradict each other at 40000000-7fffffff"));
    struct ept_walk walk;
    ept_walk(&ept, GPA(SIZE_1G), &walk);
    assert_int_equal(walk.type, MEM_UC);
}

// ---- machines at random ------------------------------------------------------------------------

static u64 random_state = 362436069;

static u64 random_number(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static struct mem_range random_range(u64 limit)
{
    static const u64 units[] = {1, 0x200, PAGE_SIZE, 16 * PAGE_SIZE, SIZE_2M, 64 * MIB};
    u64 unit = units[random_number() % 6];
    u64 base = random_number() % limit / unit * unit;
    u64 size = random_number() % 9 * units[random_number() % 6];
    return (struct mem_range){base, size < limit - base ? size : limit - base};
}

static void random_mtrrs(void)
{
    struct mtrr_msrs msrs = {.cap = 0x508, .def_type = 0xc00};
    static const u8 types[] = {MEM_UC, MEM_WC, MEM_WT, MEM_WP, MEM_WB};
    msrs.def_type |= types[random_number() % 5];
    for (unsigned i = 0; i < 6; i++) {
        u64 size = PAGE_SIZE << (random_number() % 19);
        msrs.base[i] =
            align_down(random_number() % (2 * SIZE_1G), size) | types[random_number() % 5];
        msrs.mask[i] = ((BIT(46) - 1) & ~(size - 1)) | (random_number() % 4 ? MTRR_MASK_V : 0);
    }
    for (unsigned i = 0; i < MTRR_FIXED_MSRS; i++)
        msrs.fixed[i] = 0x0101010101010101 * types[random_number() % 5];
    mtrr_decode(&msrs, 46, &mtrr);
}

static void random_machines_match_the_oracle(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 40; round++) {
        (void)teardown(state);
        (void)setup(state);
        arena->lax = true;
        log_set_level(LOG_ERROR);
        random_mtrrs();
        struct mem_range ram[8], excluded[8];
        u64 at = 0;
        for (unsigned i = 0; i < 8; i++) {
            ram[i] = random_range(512 * MIB);
            ram[i].base = at += random_number() % 3 * (ram[i].base >> 2);
            at += ram[i].size;
            excluded[i] = random_range(2 * SIZE_1G);
        }
        struct ept_identity_map what = pc_map(ram, 8);
        what.lapic = HPA(random_number() % (2 * SIZE_1G) & ~0xfffull);
        what.excluded = excluded;
        what.nexcluded = 8;
        assert_int_equal(ept_identity(&ept, &what), OK);
        u64 writes = ept.stats.writes;
        expect_oracle(&what, at + 2 * PAGE_SIZE);
        assert_true(writes < 60000);
        struct ept_offence offence;
        assert_int_equal(ept_verify_excluded(&ept, excluded, 8, &offence), OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_small_pc_page_by_page, setup, teardown),
        cmocka_unit_test_setup_teardown(types_change_inside_large_pages, setup, teardown),
        cmocka_unit_test_setup_teardown(every_capability_gives_the_same_map, setup, teardown),
        cmocka_unit_test_setup_teardown(mtrr_dumps_become_memory_types, setup, teardown),
        cmocka_unit_test_setup_teardown(writes_are_few_for_16_gib, setup, teardown),
        cmocka_unit_test_setup_teardown(writes_are_few_for_1_tib, setup, teardown),
        cmocka_unit_test_setup_teardown(without_1_gib_leaves_2_mib_ones_do, setup, teardown),
        cmocka_unit_test_setup_teardown(errors_are_handed_on, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_to_map_maps_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(verification_finds_the_offender, setup, teardown),
        cmocka_unit_test_setup_teardown(contradicting_mtrrs_are_told, setup, teardown),
        cmocka_unit_test_setup_teardown(random_machines_match_the_oracle, setup, teardown),
    };
    return cmocka_run_group_tests_name("ept identity", tests, NULL, NULL);
}
