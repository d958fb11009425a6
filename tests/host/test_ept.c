// SPDX-License-Identifier: MIT
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/host/ept_arena.h"

static const struct ept_attr rwx_wb = {.rights = EPT_RWX, .type = MEM_WB};
static const struct ept_attr rw_wb = {.rights = EPT_RW, .type = MEM_WB};

static struct arena *arena;
static struct ept ept;

static int setup(void **state)
{
    (void)state;
    arena = arena_new();
    struct ept_config config = arena_config(arena);
    arena_start(arena, &ept, &config);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_end(arena);
    return 0;
}

// Begins again with another configuration.
static void restart(const struct ept_config *config)
{
    arena_end(arena);
    arena = arena_new();
    struct ept_config mine = *config;
    mine.ctx = arena;
    arena_start(arena, &ept, &mine);
}

// How many invalidations a step makes.
#define INVALIDATIONS(step)                                                                        \
    ({                                                                                             \
        arena_snapshot(arena);                                                                     \
        unsigned before_ = arena->invalidations;                                                   \
        step;                                                                                      \
        arena->invalidations - before_;                                                            \
    })

static void expect_leaves(u64 small, u64 large, u64 huge)
{
    assert_int_equal(ept.stats.leaves[EPT_PT], small);
    assert_int_equal(ept.stats.leaves[EPT_PD], large);
    assert_int_equal(ept.stats.leaves[EPT_PDPT], huge);
}

static void expect_maps(u64 gpa, u64 hpa, unsigned rights, enum mem_type type)
{
    struct ept_walk walk;
    ept_walk(&ept, GPA(gpa), &walk);
    assert_int_equal(walk.verdict, EPT_MAPPED);
    assert_int_equal(walk.hpa.raw, hpa);
    assert_int_equal(walk.rights, rights);
    assert_int_equal(walk.type, type);
    assert_false(walk.ipat);
}

static void expect_nothing(u64 gpa)
{
    struct ept_walk walk;
    ept_walk(&ept, GPA(gpa), &walk);
    assert_int_equal(walk.verdict, EPT_NOT_PRESENT);
    assert_true(walk.depth > 0);
    assert_int_equal(walk.entries[walk.depth - 1], 0);
}

static u64 *raw_entry(u64 gpa, unsigned level)
{
    u64 *table = phys_ptr(ept.root);
    for (unsigned at = EPT_PML4; at > level; at--)
        table = phys_ptr(HPA(table[ept_index(gpa, at)] & EPT_ADDR));
    return &table[ept_index(gpa, level)];
}

// ---- capabilities and the pointer --------------------------------------------------------------

static void decodes_each_capability_bit(void **state)
{
    (void)state;
    static const struct {
        unsigned bit;
        size_t field;
    } rows[] = {
        {0,  offsetof(struct ept_caps, execute_only)  },
        {6,  offsetof(struct ept_caps, walk_4)        },
        {7,  offsetof(struct ept_caps, walk_5)        },
        {8,  offsetof(struct ept_caps, tables_uc)     },
        {14, offsetof(struct ept_caps, tables_wb)     },
        {16, offsetof(struct ept_caps, large_2m)      },
        {17, offsetof(struct ept_caps, large_1g)      },
        {20, offsetof(struct ept_caps, invept)        },
        {21, offsetof(struct ept_caps, accessed_dirty)},
        {22, offsetof(struct ept_caps, violation_info)},
        {23, offsetof(struct ept_caps, shadow_stack)  },
        {25, offsetof(struct ept_caps, invept_single) },
        {26, offsetof(struct ept_caps, invept_all)    },
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct ept_caps want = {0};
        memset((u8 *)&want + rows[i].field, 1, 1);
        struct ept_caps got = ept_caps_decode(BIT(rows[i].bit));
        assert_memory_equal(&got, &want, sizeof(want));
    }
}

static void names_what_is_lacking(void **state)
{
    (void)state;
    struct ept_caps caps = ept_caps_decode(EPT_CAP_ALL);
    assert_null(ept_caps_lacking(&caps));
    caps = ept_caps_decode(EPT_CAP_ALL & ~BIT(25));
    assert_null(ept_caps_lacking(&caps));
    static const u64 lost[] = {BIT(6), BIT(14), BIT(20), BIT(26)};
    for (size_t i = 0; i < ARRAY_SIZE(lost); i++) {
        struct ept_config config = arena_config(arena);
        struct ept other;
        config.caps = ept_caps_decode(EPT_CAP_ALL & ~lost[i]);
        assert_non_null(ept_caps_lacking(&config.caps));
        assert_int_equal(ept_init(&other, &config), E_UNSUPP);
    }
}

static void refuses_odd_widths_and_no_memory(void **state)
{
    (void)state;
    struct ept_config config = arena_config(arena);
    struct ept other;
    config.phys_bits = 31;
    assert_int_equal(ept_init(&other, &config), E_INVAL);
    config.phys_bits = 53;
    assert_int_equal(ept_init(&other, &config), E_INVAL);
    config.phys_bits = 46;
    arena->budget = 0;
    assert_int_equal(ept_init(&other, &config), E_NOMEM);
}

static void pointer_is_write_back_and_four_levels(void **state)
{
    (void)state;
    assert_int_equal(ept_eptp(&ept), ept.root.raw | 0x1e);
}

// ---- map ---------------------------------------------------------------------------------------

static void maps_with_the_largest_leaves(void **state)
{
    (void)state;
    static const struct {
        u64 gpa, hpa, size;
        u8 max;
        u64 small, large, huge;
    } rows[] = {
        {0x5000,            0x5000,           PAGE_SIZE,        0,      1,    0,   0},
        {SIZE_1G,           SIZE_1G,          SIZE_1G,          0,      0,    0,   1},
        {SIZE_1G,           SIZE_1G,          SIZE_1G,          EPT_PD, 0,    512, 0},
        {SIZE_1G,           SIZE_1G,          4 * SIZE_2M,      EPT_PT, 2048, 0,   0},
        {SIZE_1G,           SIZE_2M,          SIZE_1G,          0,      0,    512, 0},
        {SIZE_1G,           0x1000,           SIZE_2M,          0,      512,  0,   0},
        {SIZE_1G,           SIZE_1G,          SIZE_1G - 0x1000, 0,      511,  511, 0},
        {SIZE_1G - 0x1000,  SIZE_1G - 0x1000, SIZE_1G + 0x2000, 0,      2,    0,   1},
        {SIZE_2M,           SIZE_2M,          SIZE_2M,          0,      0,    1,   0},
        {SIZE_2M,           SIZE_2M,          2 * SIZE_1G,      0,      0,    512, 1},
 // The first 2 MiB, alone and as part of more.
        {0,                 SIZE_1G,          SIZE_2M,          0,      512,  0,   0},
        {0,                 SIZE_1G,          SIZE_1G,          0,      512,  511, 0},
        {0,                 0,                4 * SIZE_1G,      0,      512,  511, 3},
 // The last byte that can be mapped.
        {BIT(46) - SIZE_1G, 0,                SIZE_1G,          0,      0,    0,   1},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct ept_config config = arena_config(arena);
        restart(&config);
        struct ept_attr attr = rwx_wb;
        attr.max_leaf = rows[i].max;
        unsigned paid = INVALIDATIONS(assert_int_equal(
            ept_map(&ept, GPA(rows[i].gpa), HPA(rows[i].hpa), rows[i].size, attr), OK));
        assert_int_equal(paid, 0);
        expect_leaves(rows[i].small, rows[i].large, rows[i].huge);
        expect_maps(rows[i].gpa, rows[i].hpa, EPT_RWX, MEM_WB);
        expect_maps(rows[i].gpa + rows[i].size - 1, rows[i].hpa + rows[i].size - 1, EPT_RWX,
                    MEM_WB);
        struct ept_leaf leaf;
        assert_true(ept_next_leaf(&ept, GPA(0), &leaf));
        assert_int_equal(leaf.gpa.raw, rows[i].gpa);
    }
}

static void uses_only_the_page_sizes_there_are(void **state)
{
    (void)state;
    struct ept_config config = arena_config(arena);
    config.caps.large_1g = false;
    restart(&config);
    assert_int_equal(ept_map(&ept, GPA(SIZE_1G), HPA(SIZE_1G), SIZE_1G, rwx_wb), OK);
    expect_leaves(0, 512, 0);
    // 1 GiB leaves without 2 MiB ones could not be split.
    config.caps.large_1g = true;
    config.caps.large_2m = false;
    restart(&config);
    assert_int_equal(ept_map(&ept, GPA(SIZE_1G), HPA(SIZE_1G), SIZE_1G, rwx_wb), OK);
    expect_leaves(512 * 512, 0, 0);
    arena->lax = true; // 512 tables go one by one
    assert_int_equal(ept_unmap(&ept, GPA(SIZE_1G), SIZE_1G), OK);
    expect_leaves(0, 0, 0);
    assert_int_equal(arena->in_use, 1);
}

static void writes_the_entries_the_manual_wants(void **state)
{
    (void)state;
    static const struct ept_attr x_wp = {.rights = EPT_X, .type = MEM_WP};
    static const struct ept_attr r_uc = {.rights = EPT_R, .type = MEM_UC};
    static const struct ept_attr rw_wc = {.rights = EPT_RW, .type = MEM_WC};
    assert_int_equal(ept_map(&ept, GPA(0x3000), HPA(0xabcd000), PAGE_SIZE, x_wp), OK);
    assert_int_equal(ept_map(&ept, GPA(SIZE_2M), HPA(2 * SIZE_2M), SIZE_2M, r_uc), OK);
    assert_int_equal(ept_map(&ept, GPA(SIZE_1G), HPA(5 * SIZE_1G), SIZE_1G, rw_wc), OK);
    assert_int_equal(*raw_entry(0x3000, EPT_PT), 0xabcd000 | 4 | 5 << 3);
    assert_int_equal(*raw_entry(SIZE_2M, EPT_PD), 2 * SIZE_2M | 1 | 0 << 3 | 0x80);
    assert_int_equal(*raw_entry(SIZE_1G, EPT_PDPT), 5 * SIZE_1G | 3 | 1 << 3 | 0x80);
    // What references a table: all rights, no type, no other bit.
    for (unsigned level = EPT_PD; level <= EPT_PML4; level++)
        assert_int_equal(*raw_entry(0x3000, level) & ~EPT_ADDR, EPT_RWX);
}

static void refuses_bad_requests(void **state)
{
    (void)state;
    const u64 top = BIT(46);
    static const struct ept_attr none = {.rights = 0, .type = MEM_WB};
    static const struct ept_attr w = {.rights = EPT_W, .type = MEM_WB};
    static const struct ept_attr wx = {.rights = EPT_W | EPT_X, .type = MEM_WB};
    static const struct ept_attr beyond = {.rights = EPT_RWX | 8, .type = MEM_WB};
    static const struct ept_attr huge = {.rights = EPT_RW, .type = MEM_WB, .max_leaf = EPT_PML4};
    const struct {
        u64 gpa, hpa, size;
        struct ept_attr attr;
        int want;
    } rows[] = {
        {0,                 0,                 0,         rw_wb,                     E_INVAL},
        {1,                 0,                 PAGE_SIZE, rw_wb,                     E_INVAL},
        {0,                 0x800,             PAGE_SIZE, rw_wb,                     E_INVAL},
        {0,                 0,                 0x1001,    rw_wb,                     E_INVAL},
        {0,                 0,                 PAGE_SIZE, none,                      E_INVAL},
        {0,                 0,                 PAGE_SIZE, w,                         E_INVAL},
        {0,                 0,                 PAGE_SIZE, wx,                        E_INVAL},
        {0,                 0,                 PAGE_SIZE, beyond,                    E_INVAL},
        {0,                 0,                 PAGE_SIZE, huge,                      E_INVAL},
        {0,                 0,                 PAGE_SIZE, {.rights = 3, .type = 2},  E_INVAL},
        {0,                 0,                 PAGE_SIZE, {.rights = 3, .type = 3},  E_INVAL},
        {0,                 0,                 PAGE_SIZE, {.rights = 3, .type = 7},  E_INVAL},
        {0,                 0,                 PAGE_SIZE, {.rights = 3, .type = 14}, E_INVAL},
        {top,               0,                 PAGE_SIZE, rw_wb,                     E_RANGE},
        {0,                 top,               PAGE_SIZE, rw_wb,                     E_RANGE},
        {top - PAGE_SIZE,   0,                 0x2000,    rw_wb,                     E_RANGE},
        {0,                 top - PAGE_SIZE,   0x2000,    rw_wb,                     E_RANGE},
        {~0ull & ~0xfffull, 0,                 0x2000,    rw_wb,                     E_RANGE},
        {0,                 ~0ull & ~0xfffull, 0x2000,    rw_wb,                     E_RANGE},
        {0x1000,            0,                 ~0xfffull, rw_wb,                     E_RANGE},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        int rc = ept_map(&ept, GPA(rows[i].gpa), HPA(rows[i].hpa), rows[i].size, rows[i].attr);
        assert_int_equal(rc, rows[i].want);
    }
    assert_int_equal(arena->in_use, 1);
    assert_int_equal(arena->invalidations, 0);
    assert_int_equal(ept_unmap(&ept, GPA(0), 0), E_INVAL);
    assert_int_equal(ept_unmap(&ept, GPA(top), PAGE_SIZE), E_RANGE);
    assert_int_equal(ept_protect(&ept, GPA(0), PAGE_SIZE, EPT_W), E_INVAL);
    assert_int_equal(ept_protect(&ept, GPA(0), PAGE_SIZE, 0), E_INVAL);
    assert_int_equal(ept_protect(&ept, GPA(0x10), PAGE_SIZE, EPT_R), E_INVAL);
    assert_int_equal(ept_retype(&ept, GPA(0), PAGE_SIZE, MEM_UC_MINUS), E_INVAL);
    assert_int_equal(ept_retype(&ept, GPA(top), PAGE_SIZE, MEM_UC), E_RANGE);
}

static void execute_only_needs_the_capability(void **state)
{
    (void)state;
    static const struct ept_attr x = {.rights = EPT_X, .type = MEM_WB};
    struct ept_config config = arena_config(arena);
    assert_int_equal(ept_map(&ept, GPA(0), HPA(0), PAGE_SIZE, x), OK);
    config.caps.execute_only = false;
    restart(&config);
    assert_int_equal(ept_map(&ept, GPA(0), HPA(0), PAGE_SIZE, x), E_INVAL);
    assert_int_equal(ept_map(&ept, GPA(0), HPA(0), PAGE_SIZE, rwx_wb), OK);
    assert_int_equal(ept_protect(&ept, GPA(0), PAGE_SIZE, EPT_X), E_INVAL);
}

static void guest_addresses_end_at_48_bits(void **state)
{
    (void)state;
    struct ept_config config = arena_config(arena);
    config.phys_bits = 52;
    restart(&config);
    assert_int_equal(ept.gpa_limit, BIT(48));
    assert_int_equal(ept_map(&ept, GPA(BIT(48)), HPA(0), PAGE_SIZE, rw_wb), E_RANGE);
    assert_int_equal(
        ept_map(&ept, GPA(BIT(48) - PAGE_SIZE), HPA(BIT(52) - PAGE_SIZE), PAGE_SIZE, rw_wb), OK);
    expect_maps(BIT(48) - 1, BIT(52) - 1, EPT_RW, MEM_WB);
    assert_int_equal(ept_unmap(&ept, GPA(BIT(48) - SIZE_1G), SIZE_1G), OK);
    assert_int_equal(arena->in_use, 1);
}

static void never_replaces_silently(void **state)
{
    (void)state;
    assert_int_equal(ept_map(&ept, GPA(SIZE_1G), HPA(0), SIZE_1G, rw_wb), OK);
    assert_int_equal(ept_map(&ept, GPA(3 * SIZE_1G + 0x7000), HPA(0), PAGE_SIZE, rw_wb), OK);
    u64 tables = ept.stats.tables;
    static const struct {
        u64 gpa, size;
        unsigned paid; // something was mapped and had to be taken back
    } rows[] = {
        {SIZE_1G,               PAGE_SIZE,   0}, // inside a large leaf
        {SIZE_1G,               SIZE_2M,     0},
        {SIZE_1G,               SIZE_1G,     0},
        {SIZE_1G - 0x1000,      0x2000,      1}, // runs into it
        {SIZE_1G - SIZE_2M,     SIZE_1G,     1},
        {3 * SIZE_1G + 0x7000,  PAGE_SIZE,   0}, // the very page
        {3 * SIZE_1G,           SIZE_2M,     0}, // a leaf in whose place is a table
        {3 * SIZE_1G,           SIZE_1G,     0},
        {3 * SIZE_1G + 0x1000,  0x7000,      0}, // the last of a run
        {3 * SIZE_1G - SIZE_2M, 2 * SIZE_2M, 1},
        {SIZE_2M,               4 * SIZE_1G, 1},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        unsigned paid = INVALIDATIONS(assert_int_equal(
            ept_map(&ept, GPA(rows[i].gpa), HPA(0), rows[i].size, rwx_wb), E_EXIST));
        assert_int_equal(paid, rows[i].paid);
        assert_int_equal(ept.stats.tables, tables);
        expect_leaves(1, 0, 1);
        expect_maps(SIZE_1G, 0, EPT_RW, MEM_WB);
        expect_maps(3 * SIZE_1G + 0x7123, 0x123, EPT_RW, MEM_WB);
    }
}

// Every point at which memory can run out leaves nothing of the request behind.
static void map_without_memory_leaves_nothing(void **state)
{
    (void)state;
    const u64 gpa = SIZE_1G - SIZE_2M - 0x3000, size = SIZE_1G + 2 * SIZE_2M + 0x6000;
    assert_int_equal(ept_map(&ept, GPA(BIT(40)), HPA(0), PAGE_SIZE, rw_wb), OK);
    u64 tables = ept.stats.tables;
    unsigned needed = 0;
    for (int rc = E_NOMEM; rc != OK; needed++) {
        arena->budget = needed;
        rc = ept_map(&ept, GPA(gpa), HPA(gpa), size, rwx_wb);
        if (rc == OK)
            break;
        assert_int_equal(rc, E_NOMEM);
        assert_int_equal(ept.stats.tables, tables);
        assert_int_equal(arena->in_use, tables);
        expect_leaves(1, 0, 0);
        expect_nothing(gpa);
        expect_nothing(SIZE_1G);
    }
    // The PDPT, a PD and a PT at either end.
    assert_int_equal(needed, 5);
    expect_leaves(7, 2, 1);
}

// ---- unmap -------------------------------------------------------------------------------------

static void unmap_splits_and_frees(void **state)
{
    (void)state;
    const u64 base = 4 * SIZE_1G, hole = base + 37 * SIZE_2M + 0x5000;
    assert_int_equal(ept_map(&ept, GPA(base), HPA(base), SIZE_1G, rwx_wb), OK);
    u64 tables = ept.stats.tables;
    assert_int_equal(INVALIDATIONS(assert_int_equal(ept_unmap(&ept, GPA(hole), 0x2000), OK)), 1);
    expect_leaves(510, 511, 0);
    assert_int_equal(ept.stats.splits, 2);
    assert_int_equal(ept.stats.tables, tables + 2);
    expect_nothing(hole);
    expect_nothing(hole + 0x1fff);
    expect_maps(hole - 1, hole - 1, EPT_RWX, MEM_WB);
    expect_maps(hole + 0x2000, hole + 0x2000, EPT_RWX, MEM_WB);
    expect_maps(base, base, EPT_RWX, MEM_WB);
    expect_maps(base + SIZE_1G - 1, base + SIZE_1G - 1, EPT_RWX, MEM_WB);
    // A hole again: nothing changes, nothing is owed.
    assert_int_equal(INVALIDATIONS(assert_int_equal(ept_unmap(&ept, GPA(hole), 0x2000), OK)), 0);
    assert_int_equal(INVALIDATIONS(assert_int_equal(ept_unmap(&ept, GPA(0), 8 * SIZE_1G), OK)), 1);
    expect_leaves(0, 0, 0);
    assert_int_equal(arena->in_use, 1);
    const u64 *root = phys_ptr(ept.root);
    for (unsigned i = 0; i < EPT_ENTRIES; i++)
        assert_int_equal(root[i], 0);
}

static void unmap_without_memory_changes_nothing(void **state)
{
    (void)state;
    const u64 base = 4 * SIZE_1G;
    assert_int_equal(ept_map(&ept, GPA(base), HPA(0), 2 * SIZE_1G, rwx_wb), OK);
    // Either end needs a PD and a PT.
    for (unsigned budget = 0; budget < 4; budget++) {
        struct ept_config config = arena_config(arena);
        restart(&config);
        assert_int_equal(ept_map(&ept, GPA(base), HPA(0), 2 * SIZE_1G, rwx_wb), OK);
        arena->budget = budget;
        unsigned paid = INVALIDATIONS(
            assert_int_equal(ept_unmap(&ept, GPA(base + 0x1000), 2 * SIZE_1G - 0x2000), E_NOMEM));
        assert_int_equal(paid, budget ? 1 : 0); // the splits that were made
        for (u64 at = 0; at < 2 * SIZE_1G; at += SIZE_2M / 2)
            expect_maps(base + at, at, EPT_RWX, MEM_WB);
    }
    arena->budget = 4;
    assert_int_equal(ept_unmap(&ept, GPA(base + 0x1000), 2 * SIZE_1G - 0x2000), OK);
    expect_leaves(2, 0, 0);
}

// More tables than one batch holds, or just as many: each is still freed after an invalidation of
// its own batch (the arena checks), the ones above the last batch too.
static void unmap_frees_many_tables(void **state)
{
    (void)state;
    static const struct {
        unsigned tables, paid;
    } rows[] = {
        {EPT_RETIRE_BATCH - 2,     1},
        {EPT_RETIRE_BATCH,         2},
        {3 * EPT_RETIRE_BATCH + 5, 4},
    };
    for (size_t r = 0; r < ARRAY_SIZE(rows); r++) {
        for (unsigned i = 0; i < rows[r].tables; i++)
            assert_int_equal(ept_map(&ept, GPA(SIZE_1G + i * SIZE_2M), HPA(0), PAGE_SIZE, rw_wb),
                             OK);
        assert_int_equal(ept.stats.tables, 3 + rows[r].tables);
        unsigned paid = INVALIDATIONS(assert_int_equal(ept_unmap(&ept, GPA(SIZE_1G), SIZE_1G), OK));
        assert_int_equal(paid, rows[r].paid);
        assert_int_equal(arena->in_use, 1);
    }
}

// ---- protect and retype ------------------------------------------------------------------------

static void protect_pays_for_what_it_takes(void **state)
{
    (void)state;
    static const struct {
        u8 from, to;
        unsigned paid;
    } rows[] = {
        {EPT_RWX, EPT_RW,  1},
        {EPT_RWX, EPT_RX,  1},
        {EPT_RWX, EPT_X,   1},
        {EPT_RW,  EPT_RX,  1}, // one taken, one given
        {EPT_R,   EPT_RW,  0},
        {EPT_R,   EPT_RWX, 0},
        {EPT_X,   EPT_RX,  0},
        {EPT_RW,  EPT_RW,  0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct ept_attr attr = {.rights = rows[i].from, .type = MEM_WB};
        assert_int_equal(ept_map(&ept, GPA(SIZE_1G), HPA(0), SIZE_1G + SIZE_2M, attr), OK);
        unsigned paid = INVALIDATIONS(
            assert_int_equal(ept_protect(&ept, GPA(SIZE_1G), SIZE_1G + SIZE_2M, rows[i].to), OK));
        assert_int_equal(paid, rows[i].paid);
        expect_leaves(0, 1, 1);
        expect_maps(SIZE_1G, 0, rows[i].to, MEM_WB);
        expect_maps(2 * SIZE_1G + SIZE_2M - 1, SIZE_1G + SIZE_2M - 1, rows[i].to, MEM_WB);
        assert_int_equal(ept_unmap(&ept, GPA(SIZE_1G), SIZE_1G + SIZE_2M), OK);
    }
}

static void protect_of_a_part_splits(void **state)
{
    (void)state;
    assert_int_equal(ept_map(&ept, GPA(SIZE_1G), HPA(0), SIZE_1G, rw_wb), OK);
    // Only rights are added, but a large leaf goes.
    unsigned paid = INVALIDATIONS(
        assert_int_equal(ept_protect(&ept, GPA(SIZE_1G + 0x3000), SIZE_2M, EPT_RWX), OK));
    assert_int_equal(paid, 1);
    expect_leaves(1024, 510, 0);
    expect_maps(SIZE_1G + 0x2fff, 0x2fff, EPT_RW, MEM_WB);
    expect_maps(SIZE_1G + 0x3000, 0x3000, EPT_RWX, MEM_WB);
    expect_maps(SIZE_1G + SIZE_2M + 0x2fff, SIZE_2M + 0x2fff, EPT_RWX, MEM_WB);
    expect_maps(SIZE_1G + SIZE_2M + 0x3000, SIZE_2M + 0x3000, EPT_RW, MEM_WB);
    assert_int_equal(*raw_entry(SIZE_1G, EPT_PT), EPT_RW | MEM_WB << 3);
    assert_int_equal(*raw_entry(SIZE_1G + 3 * SIZE_2M, EPT_PD),
                     3 * SIZE_2M | EPT_RW | MEM_WB << 3 | EPT_LARGE);
    // Now the leaf of one page is there: adding is free.
    paid = INVALIDATIONS(assert_int_equal(ept_protect(&ept, GPA(SIZE_1G), PAGE_SIZE, EPT_RWX), OK));
    assert_int_equal(paid, 0);
}

static void protect_needs_all_of_it_mapped(void **state)
{
    (void)state;
    assert_int_equal(ept_map(&ept, GPA(SIZE_1G), HPA(0), SIZE_2M, rw_wb), OK);
    static const struct {
        u64 gpa, size;
    } rows[] = {
        {SIZE_1G - 0x1000,           0x2000   },
        {SIZE_1G + SIZE_2M - 0x1000, 0x2000   },
        {5 * SIZE_1G,                PAGE_SIZE},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        u64 writes = ept.stats.writes;
        assert_int_equal(ept_protect(&ept, GPA(rows[i].gpa), rows[i].size, EPT_R), E_NOENT);
        assert_int_equal(ept_retype(&ept, GPA(rows[i].gpa), rows[i].size, MEM_UC), E_NOENT);
        assert_int_equal(ept.stats.writes, writes);
    }
    arena->budget = 0;
    assert_int_equal(ept_protect(&ept, GPA(SIZE_1G), PAGE_SIZE, EPT_R), E_NOMEM);
    expect_maps(SIZE_1G, 0, EPT_RW, MEM_WB);
    assert_int_equal(arena->invalidations, 0);
}

static void retype_pays(void **state)
{
    (void)state;
    assert_int_equal(ept_map(&ept, GPA(SIZE_1G), HPA(0), 2 * SIZE_2M, rw_wb), OK);
    unsigned paid =
        INVALIDATIONS(assert_int_equal(ept_retype(&ept, GPA(SIZE_1G), SIZE_2M, MEM_UC), OK));
    assert_int_equal(paid, 1);
    expect_maps(SIZE_1G, 0, EPT_RW, MEM_UC);
    expect_maps(SIZE_1G + SIZE_2M, SIZE_2M, EPT_RW, MEM_WB);
    expect_leaves(0, 2, 0);
    paid = INVALIDATIONS(assert_int_equal(ept_retype(&ept, GPA(SIZE_1G), SIZE_2M, MEM_UC), OK));
    assert_int_equal(paid, 0);
}

// ---- the policy on executable pages ------------------------------------------------------------

static void executable_pages_stay_small(void **state)
{
    (void)state;
    struct ept_config config = arena_config(arena);
    config.no_large_exec = true;
    restart(&config);
    assert_int_equal(ept_map(&ept, GPA(SIZE_1G), HPA(0), SIZE_2M, rwx_wb), OK);
    expect_leaves(512, 0, 0);
    assert_int_equal(ept_map(&ept, GPA(4 * SIZE_1G), HPA(0), SIZE_1G, rw_wb), OK);
    expect_leaves(512, 0, 1);
    // One page made executable: the leaf around it is split, the rest stays large.
    assert_int_equal(ept_protect(&ept, GPA(4 * SIZE_1G + 0x1000), PAGE_SIZE, EPT_RWX), OK);
    expect_leaves(1024, 511, 0);
    // 4 MiB made executable, both leaves of it large and aligned.
    unsigned paid = INVALIDATIONS(
        assert_int_equal(ept_protect(&ept, GPA(4 * SIZE_1G + SIZE_2M), 2 * SIZE_2M, EPT_RX), OK));
    assert_int_equal(paid, 1);
    expect_leaves(2048, 509, 0);
    // Taking execution away, or changing only the type, leaves large ones alone.
    assert_int_equal(ept_protect(&ept, GPA(4 * SIZE_1G + 8 * SIZE_2M), SIZE_2M, EPT_R), OK);
    assert_int_equal(ept_retype(&ept, GPA(4 * SIZE_1G + 8 * SIZE_2M), SIZE_2M, MEM_WT), OK);
    expect_leaves(2048, 509, 0);
    struct ept_leaf leaf;
    for (u64 at = 0; ept_next_leaf(&ept, GPA(at), &leaf); at = leaf.gpa.raw + leaf.size)
        assert_true(leaf.level == EPT_PT || !(leaf.attr.rights & EPT_X));
}

static void a_whole_huge_leaf_is_shattered(void **state)
{
    (void)state;
    struct ept_config config = arena_config(arena);
    config.no_large_exec = true;
    restart(&config);
    arena->lax = true;
    assert_int_equal(ept_map(&ept, GPA(SIZE_1G), HPA(SIZE_1G), SIZE_1G, rw_wb), OK);
    assert_int_equal(ept_protect(&ept, GPA(SIZE_1G), SIZE_1G, EPT_RWX), OK);
    expect_leaves(512 * 512, 0, 0);
    for (u64 at = SIZE_1G; at < 2 * SIZE_1G; at += SIZE_2M - PAGE_SIZE)
        expect_maps(at, at, EPT_RWX, MEM_WB);
    assert_int_equal(ept_unmap(&ept, GPA(SIZE_1G), SIZE_1G), OK);
    // Out of memory half-way: the rights are as they were.
    assert_int_equal(ept_map(&ept, GPA(SIZE_1G), HPA(SIZE_1G), SIZE_1G, rw_wb), OK);
    arena->budget = 40;
    unsigned paid =
        INVALIDATIONS(assert_int_equal(ept_protect(&ept, GPA(SIZE_1G), SIZE_1G, EPT_RWX), E_NOMEM));
    assert_int_equal(paid, 1);
    for (u64 at = SIZE_1G; at < 2 * SIZE_1G; at += SIZE_2M - PAGE_SIZE)
        expect_maps(at, at, EPT_RW, MEM_WB);
}

// ---- walks -------------------------------------------------------------------------------------

static void translate_answers(void **state)
{
    (void)state;
    hpa_t hpa;
    u64 left;
    assert_int_equal(ept_map(&ept, GPA(SIZE_1G), HPA(3 * SIZE_1G), SIZE_1G + 0x1000, rw_wb), OK);
    assert_int_equal(ept_translate(&ept, GPA(SIZE_1G + 0x1234567), EPT_RW, &hpa, &left), OK);
    assert_int_equal(hpa.raw, 3 * SIZE_1G + 0x1234567);
    assert_int_equal(left, SIZE_1G - 0x1234567);
    assert_int_equal(ept_translate(&ept, GPA(2 * SIZE_1G + 0xfff), 0, &hpa, &left), OK);
    assert_int_equal(hpa.raw, 4 * SIZE_1G + 0xfff);
    assert_int_equal(left, 1);
    assert_int_equal(ept_translate(&ept, GPA(SIZE_1G), EPT_RX, &hpa, NULL), E_FAULT);
    assert_int_equal(hpa.raw, 3 * SIZE_1G);
    assert_int_equal(ept_translate(&ept, GPA(2 * SIZE_1G + 0x1000), EPT_R, &hpa, NULL), E_NOENT);
    assert_int_equal(ept_translate(&ept, GPA(BIT(46)), EPT_R, &hpa, NULL), E_NOENT);
    assert_int_equal(ept_translate(&ept, GPA(~0ull), EPT_R, &hpa, NULL), E_NOENT);
}

static void walk_reports_what_it_read(void **state)
{
    (void)state;
    struct ept_walk walk;
    ept_walk(&ept, GPA(0x1000), &walk);
    assert_int_equal(walk.verdict, EPT_NOT_PRESENT);
    assert_int_equal(walk.depth, 1);
    assert_int_equal(walk.level, EPT_PML4);
    assert_int_equal(ept_map(&ept, GPA(SIZE_2M), HPA(0x7000), PAGE_SIZE, rwx_wb), OK);
    ept_walk(&ept, GPA(SIZE_2M + 0x9), &walk);
    assert_int_equal(walk.depth, 4);
    assert_int_equal(walk.level, EPT_PT);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(walk.entries[i], *raw_entry(SIZE_2M, EPT_PML4 - i));
    ept_walk(&ept, GPA(BIT(46)), &walk);
    assert_int_equal(walk.depth, 0);
    assert_int_equal(walk.verdict, EPT_NOT_PRESENT);
    // Rights are those of all four entries.
    *raw_entry(SIZE_2M, EPT_PDPT) &= ~(u64)EPT_W;
    ept_walk(&ept, GPA(SIZE_2M), &walk);
    assert_int_equal(walk.rights, EPT_RX);
    // IPAT is reported where something set it.
    *raw_entry(SIZE_2M, EPT_PT) |= EPT_IPAT;
    ept_walk(&ept, GPA(SIZE_2M), &walk);
    assert_true(walk.ipat);
}

static void walk_names_each_misconfiguration(void **state)
{
    (void)state;
    static const struct {
        unsigned level;
        u64 set, clear;
        enum ept_rule rule;
    } rows[] = {
        {EPT_PT,   0,                   EPT_R,         EPT_RULE_WRITE_ONLY  },
        {EPT_PT,   0,                   EPT_R | EPT_X, EPT_RULE_WRITE_ONLY  },
        {EPT_PML4, 0,                   EPT_R,         EPT_RULE_WRITE_ONLY  },
        {EPT_PT,   0,                   EPT_RW,        EPT_RULE_EXECUTE_ONLY},
        {EPT_PD,   0,                   EPT_RW,        EPT_RULE_EXECUTE_ONLY},
        {EPT_PT,   BIT(46),             0,             EPT_RULE_WIDTH       },
        {EPT_PDPT, BIT(51),             0,             EPT_RULE_WIDTH       },
        {EPT_PML4, BIT(7),              0,             EPT_RULE_RESERVED    },
        {EPT_PML4, BIT(3),              0,             EPT_RULE_RESERVED    },
        {EPT_PDPT, BIT(6),              0,             EPT_RULE_RESERVED    },
        {EPT_PD,   BIT(5),              0,             EPT_RULE_RESERVED    },
        {EPT_PD,   EPT_LARGE,           EPT_ADDR,      EPT_RULE_NONE        },
        {EPT_PD,   EPT_LARGE | BIT(12), EPT_ADDR,      EPT_RULE_ALIGN       },
        {EPT_PD,   EPT_LARGE | BIT(20), EPT_ADDR,      EPT_RULE_ALIGN       },
        {EPT_PDPT, EPT_LARGE,           EPT_ADDR,      EPT_RULE_LARGE       },
        {EPT_PT,   2 << 3,              EPT_TYPE,      EPT_RULE_TYPE        },
        {EPT_PT,   3 << 3,              EPT_TYPE,      EPT_RULE_TYPE        },
        {EPT_PT,   7 << 3,              EPT_TYPE,      EPT_RULE_TYPE        },
        {EPT_PT,   BIT(7) | BIT(62),    0,             EPT_RULE_NONE        }, // ignored bits
    };
    struct ept_config config = arena_config(arena);
    config.caps.large_1g = false;
    config.caps.execute_only = false;
    restart(&config);
    assert_int_equal(ept_map(&ept, GPA(SIZE_2M), HPA(0x7000), PAGE_SIZE, rwx_wb), OK);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        u64 *entry = raw_entry(SIZE_2M, rows[i].level), good = *entry;
        *entry = (good & ~rows[i].clear) | rows[i].set;
        struct ept_walk walk;
        ept_walk(&ept, GPA(SIZE_2M), &walk);
        assert_int_equal(walk.rule, rows[i].rule);
        assert_int_equal(walk.verdict, rows[i].rule ? EPT_MISCONFIGURED : EPT_MAPPED);
        assert_int_equal(walk.level, rows[i].level);
        assert_int_equal(walk.entries[walk.depth - 1], *entry);
        *entry = good;
    }
    // Not present is not misconfigured, whatever the other bits say.
    u64 *entry = raw_entry(SIZE_2M, EPT_PT), good = *entry;
    *entry = good & ~(u64)EPT_RWX;
    struct ept_walk walk;
    ept_walk(&ept, GPA(SIZE_2M), &walk);
    assert_int_equal(walk.verdict, EPT_NOT_PRESENT);
    *entry = good;
    // A misaligned 1 GiB leaf, on a CPU that has them.
    config.caps.large_1g = true;
    assert_int_equal(ept_entry_check(&config, BIT(29) | EPT_LARGE | EPT_R, EPT_PDPT),
                     EPT_RULE_ALIGN);
    assert_int_equal(ept_entry_check(&config, BIT(30) | EPT_LARGE | EPT_R, EPT_PDPT),
                     EPT_RULE_NONE);
}

static void leaves_are_found_in_order(void **state)
{
    (void)state;
    struct ept_leaf leaf;
    assert_false(ept_next_leaf(&ept, GPA(0), &leaf));
    assert_int_equal(ept_map(&ept, GPA(SIZE_1G), HPA(0), SIZE_1G, rw_wb), OK);
    assert_int_equal(ept_map(&ept, GPA(BIT(45) + 0x3000), HPA(0), PAGE_SIZE, rwx_wb), OK);
    assert_true(ept_next_leaf(&ept, GPA(SIZE_1G + 77), &leaf));
    assert_int_equal(leaf.gpa.raw, SIZE_1G);
    assert_int_equal(leaf.size, SIZE_1G);
    assert_true(ept_next_leaf(&ept, GPA(2 * SIZE_1G), &leaf));
    assert_int_equal(leaf.gpa.raw, BIT(45) + 0x3000);
    assert_int_equal(leaf.attr.rights, EPT_RWX);
    assert_false(ept_next_leaf(&ept, GPA(BIT(45) + 0x4000), &leaf));
    assert_false(ept_next_leaf(&ept, GPA(~0ull), &leaf));
}

// ---- dumps -------------------------------------------------------------------------------------

static char printed[4096];

static void print(void *ctx, const char *text)
{
    assert_ptr_equal(ctx, printed);
    size_t length = strlen(printed);
    snprintf(printed + length, sizeof(printed) - length, "%s\n", text);
}

static void dump_merges_ranges(void **state)
{
    (void)state;
    static const struct ept_attr rw_uc = {.rights = EPT_RW, .type = MEM_UC};
    printed[0] = 0;
    assert_int_equal(ept_map(&ept, GPA(0), HPA(0), 0xa0000, rwx_wb), OK);
    assert_int_equal(ept_map(&ept, GPA(0xa0000), HPA(0xa0000), 0x20000, rw_uc), OK);
    assert_int_equal(ept_map(&ept, GPA(0x100000), HPA(0x100000), 2 * SIZE_1G, rwx_wb), OK);
    assert_int_equal(ept_map(&ept, GPA(2 * SIZE_1G + 0x100000), HPA(0x5000), 0x1000, rwx_wb), OK);
    assert_int_equal(ept_unmap(&ept, GPA(0), 0x1000), OK);
    ept_dump(&ept, print, printed);
    char want[1024];
    snprintf(want, sizeof(want),
             "000000001000-00000009ffff -> 000000001000 rwx WB 636 KiB (4K:159 2M:0 1G:0)\n"
             "0000000a0000-0000000bffff -> 0000000a0000 rw- UC 128 KiB (4K:32 2M:0 1G:0)\n"
             "000000100000-0000800fffff -> 000000100000 rwx WB 2097152 KiB (4K:512 2M:511 1G:1)\n"
             "000080100000-000080100fff -> 000000005000 rwx WB 4 KiB (4K:1 2M:0 1G:0)\n"
             "EPTP %llx: 6 tables, leaves 4K:704 2M:511 1G:1, 0 splits, 1 INVEPT\n",
             (unsigned long long)ept_eptp(&ept));
    assert_string_equal(printed, want);
}

static void dump_of_a_walk_names_the_entries(void **state)
{
    (void)state;
    struct ept_walk walk;
    char want[512];
    assert_int_equal(ept_map(&ept, GPA(SIZE_1G), HPA(0), SIZE_2M, rw_wb), OK);
    printed[0] = 0;
    ept_walk(&ept, GPA(SIZE_1G + 5), &walk);
    ept_dump_walk(&walk, print, printed);
    snprintf(want, sizeof(want),
             "PML4E[0] %016llx rwx\nPDPTE[1] %016llx rwx\n"
             "PDE[0] 00000000000000b3 rw- leaf WB\ngpa 40000005 -> hpa 5, rw- WB\n",
             (unsigned long long)walk.entries[0], (unsigned long long)walk.entries[1]);
    assert_string_equal(printed, want);
    printed[0] = 0;
    ept_walk(&ept, GPA(BIT(40)), &walk);
    ept_dump_walk(&walk, print, printed);
    assert_string_equal(printed, "PML4E[2] 0000000000000000 ---\ngpa 10000000000 not present\n");
    printed[0] = 0;
    ept_walk(&ept, GPA(BIT(46)), &walk);
    ept_dump_walk(&walk, print, printed);
    assert_string_equal(printed, "gpa 400000000000 not present: beyond the limit\n");
    printed[0] = 0;
    *raw_entry(SIZE_1G, EPT_PD) = 0xb2;
    ept_walk(&ept, GPA(SIZE_1G), &walk);
    ept_dump_walk(&walk, print, printed);
    assert_non_null(strstr(printed, "-w- leaf WB\n"));
    assert_non_null(strstr(printed, "misconfigured: writable but not readable\n"));
}

static void violations_are_described(void **state)
{
    (void)state;
    static const struct {
        u64 qualification;
        const char *want;
    } rows[] = {
        {0x181,  "read of a not-present --- page, translated linear address"},
        {0x1aa,  "write of a r-x page, translated linear address"           },
        {0x09a,  "write of a rw- page, page walk"                           },
        {0x19c,  "fetch of a rw- page, translated linear address"           },
        {0x001,  "read of a not-present --- page, no linear address"        },
        {0x101,  "read of a not-present --- page, no linear address"        }, // no bit 7
        {0x1183, "read and write of a not-present --- page, translated linear address,"
                 " IRET unblocked NMIs"                     },
        {0x208a, "shadow-stack write of a r-- page, page walk"              },
    };
    char text[128];
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        int length = ept_violation_describe(text, sizeof(text), rows[i].qualification);
        assert_string_equal(text, rows[i].want);
        assert_int_equal(length, strlen(rows[i].want));
    }
    assert_int_equal(ept_violation_describe(text, 5, 0x181), strlen(rows[0].want));
    assert_string_equal(text, "read");
}

static void names_are_never_null(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 300; i++) {
        assert_non_null(ept_type_name(i));
        assert_non_null(ept_rule_name((enum ept_rule)i));
    }
    assert_string_equal(ept_type_name(2), "??");
    assert_string_equal(ept_type_name(MEM_WT), "WT");
}

// ---- long random sequences against one record a page -------------------------------------------

#define ORACLE_PAGES (3 * SIZE_1G / PAGE_SIZE)

struct page {
    u64 hpa;
    u8 rights; // 0: not mapped
    u8 type;
};

static struct page oracle[ORACLE_PAGES];

static u64 random_state;

static u64 random_number(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static u64 random_unit(void)
{
    static const u64 units[] = {PAGE_SIZE, SIZE_2M, SIZE_2M, SIZE_1G};
    return units[random_number() % 4];
}

// An address and a size that are often, but not always, fit for large leaves.
static void random_range(u64 *first, u64 *pages)
{
    u64 unit = random_unit();
    *first = random_number() % (3 * SIZE_1G / unit) * unit / PAGE_SIZE;
    unit = random_unit();
    *pages = (1 + random_number() % 7) * unit / PAGE_SIZE;
    if (random_number() % 3 == 0)
        *first += random_number() % 4;
    if (random_number() % 3 == 0)
        *pages += random_number() % 3;
    if (*first >= ORACLE_PAGES)
        *first = ORACLE_PAGES - 1;
    if (*pages > ORACLE_PAGES - *first)
        *pages = ORACLE_PAGES - *first;
}

static void compare_all(void)
{
    u64 at = 0;
    struct ept_leaf leaf;
    while (ept_next_leaf(&ept, GPA(at * PAGE_SIZE), &leaf)) {
        for (; at < leaf.gpa.raw / PAGE_SIZE; at++)
            assert_int_equal(oracle[at].rights, 0);
        for (u64 offset = 0; offset < leaf.size; offset += PAGE_SIZE, at++) {
            if (oracle[at].hpa != leaf.hpa.raw + offset || oracle[at].rights != leaf.attr.rights ||
                oracle[at].type != leaf.attr.type)
                fail_msg("page %llx differs", (unsigned long long)at);
        }
    }
    for (; at < ORACLE_PAGES; at++)
        assert_int_equal(oracle[at].rights, 0);
}

static int oracle_map(u64 first, u64 pages, u64 hpa, struct ept_attr attr)
{
    for (u64 i = first; i < first + pages; i++) {
        if (oracle[i].rights)
            return E_EXIST;
    }
    for (u64 i = 0; i < pages; i++)
        oracle[first + i] = (struct page){hpa + i * PAGE_SIZE, attr.rights, attr.type};
    return OK;
}

static bool oracle_unmap(u64 first, u64 pages)
{
    bool owed = false;
    for (u64 i = first; i < first + pages; i++) {
        owed |= oracle[i].rights != 0;
        oracle[i] = (struct page){0};
    }
    return owed;
}

// rights 0: change the type instead.
static int oracle_change(u64 first, u64 pages, u8 rights, u8 type, bool *owed)
{
    for (u64 i = first; i < first + pages; i++) {
        if (!oracle[i].rights)
            return E_NOENT;
    }
    for (u64 i = first; i < first + pages; i++) {
        *owed |= rights ? (oracle[i].rights & ~rights) != 0 : oracle[i].type != type;
        if (rights)
            oracle[i].rights = rights;
        else
            oracle[i].type = type;
    }
    return OK;
}

static void random_step(void)
{
    static const u8 all_rights[] = {EPT_R, EPT_X, EPT_RW, EPT_RX, EPT_RWX};
    static const u8 all_types[] = {MEM_UC, MEM_WC, MEM_WT, MEM_WP, MEM_WB};
    u64 first, pages;
    random_range(&first, &pages);
    gpa_t gpa = GPA(first * PAGE_SIZE);
    struct ept_attr attr = {.rights = all_rights[random_number() % 5],
                            .type = all_types[random_number() % 5],
                            .max_leaf = (u8)(random_number() % 4)};
    u64 hpa = gpa.raw + (random_number() % 3) * random_unit();
    u64 kind = random_number() % 8, splits = ept.stats.splits;
    unsigned before = arena->invalidations;
    bool owed = false;
    int rc, want;
    arena_snapshot(arena);
    if (kind < 4) {
        // A request that runs into something may have to take back what it mapped.
        want = oracle_map(first, pages, hpa, attr);
        rc = ept_map(&ept, gpa, HPA(hpa), pages * PAGE_SIZE, attr);
        owed = want != OK && arena->invalidations > before;
    } else if (kind < 6) {
        want = OK;
        owed = oracle_unmap(first, pages);
        rc = ept_unmap(&ept, gpa, pages * PAGE_SIZE);
    } else if (kind < 7) {
        want = oracle_change(first, pages, attr.rights, 0, &owed);
        rc = ept_protect(&ept, gpa, pages * PAGE_SIZE, attr.rights);
    } else {
        want = oracle_change(first, pages, 0, attr.type, &owed);
        rc = ept_retype(&ept, gpa, pages * PAGE_SIZE, attr.type);
    }
    assert_int_equal(rc, want);
    unsigned paid = arena->invalidations - before;
    assert_int_equal(paid > 0, owed || ept.stats.splits > splits);
    // Once a request, unless it freed several batches of tables.
    assert_true(paid <= 1 || kind < 6);
}

static void random_sequences_match_the_record(void **state)
{
    (void)state;
    random_state = 0x9e3779b97f4a7c15;
    arena->lax = true;
    for (unsigned round = 0; round < 24; round++) {
        struct ept_config config = arena_config(arena);
        config.caps.large_1g = round % 4 != 1;
        config.caps.large_2m = round % 4 != 2 || round % 8 == 2;
        restart(&config);
        arena->lax = round % 4 == 1;
        memset(oracle, 0, sizeof(oracle));
        for (unsigned step = 0; step < 24; step++) {
            random_step();
            compare_all();
        }
        assert_int_equal(ept.stats.tables, arena->in_use);
        assert_int_equal(ept_unmap(&ept, GPA(0), ept.gpa_limit), OK);
        assert_int_equal(arena->in_use, 1);
        expect_leaves(0, 0, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(decodes_each_capability_bit, setup, teardown),
        cmocka_unit_test_setup_teardown(names_what_is_lacking, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_odd_widths_and_no_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(pointer_is_write_back_and_four_levels, setup, teardown),
        cmocka_unit_test_setup_teardown(maps_with_the_largest_leaves, setup, teardown),
        cmocka_unit_test_setup_teardown(uses_only_the_page_sizes_there_are, setup, teardown),
        cmocka_unit_test_setup_teardown(writes_the_entries_the_manual_wants, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_bad_requests, setup, teardown),
        cmocka_unit_test_setup_teardown(execute_only_needs_the_capability, setup, teardown),
        cmocka_unit_test_setup_teardown(guest_addresses_end_at_48_bits, setup, teardown),
        cmocka_unit_test_setup_teardown(never_replaces_silently, setup, teardown),
        cmocka_unit_test_setup_teardown(map_without_memory_leaves_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(unmap_splits_and_frees, setup, teardown),
        cmocka_unit_test_setup_teardown(unmap_without_memory_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(unmap_frees_many_tables, setup, teardown),
        cmocka_unit_test_setup_teardown(protect_pays_for_what_it_takes, setup, teardown),
        cmocka_unit_test_setup_teardown(protect_of_a_part_splits, setup, teardown),
        cmocka_unit_test_setup_teardown(protect_needs_all_of_it_mapped, setup, teardown),
        cmocka_unit_test_setup_teardown(retype_pays, setup, teardown),
        cmocka_unit_test_setup_teardown(executable_pages_stay_small, setup, teardown),
        cmocka_unit_test_setup_teardown(a_whole_huge_leaf_is_shattered, setup, teardown),
        cmocka_unit_test_setup_teardown(translate_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(walk_reports_what_it_read, setup, teardown),
        cmocka_unit_test_setup_teardown(walk_names_each_misconfiguration, setup, teardown),
        cmocka_unit_test_setup_teardown(leaves_are_found_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(dump_merges_ranges, setup, teardown),
        cmocka_unit_test_setup_teardown(dump_of_a_walk_names_the_entries, setup, teardown),
        cmocka_unit_test_setup_teardown(violations_are_described, setup, teardown),
        cmocka_unit_test_setup_teardown(names_are_never_null, setup, teardown),
        cmocka_unit_test_setup_teardown(random_sequences_match_the_record, setup, teardown),
    };
    return cmocka_run_group_tests_name("ept", tests, NULL, NULL);
}
