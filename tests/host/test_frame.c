// SPDX-License-Identifier: MIT
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/frame.h"

static struct frame_pool pool;
static void *storage;

// The storage is exactly as long as was asked for, and dirty: the pool must clear it itself.
static int make_pool(const struct mem_range *ranges, unsigned n)
{
    u64 bytes = frame_bitmap_bytes(ranges, n);
    free(storage);
    storage = malloc(bytes ? bytes : 1);
    assert_non_null(storage);
    for (u64 i = 0; i < bytes; i++)
        ((u8 *)storage)[i] = 0xff;
    return frame_pool_init(&pool, ranges, n, storage);
}

static int drop_storage(void **state)
{
    (void)state;
    free(storage);
    storage = NULL;
    return 0;
}

static u64 alloc(u64 count, u64 align, u64 limit)
{
    hpa_t got = HPA(~0ull);
    int err = frame_alloc(&pool, count, align, limit, &got);
    assert_int_equal(err, OK);
    return got.raw;
}

static int alloc_err(u64 count, u64 align, u64 limit)
{
    hpa_t got;
    return frame_alloc(&pool, count, align, limit, &got);
}

static void partial_pages_are_left_out(void **state)
{
    (void)state;
    const struct mem_range ranges[] = {
        {0x1001, 0x2fff}, // 2000-3fff
        {0x5800, 0x0800}, // ends on a page, holds none
        {0x6001, 0x1ffe}, // 6001-7ffe holds none
        {0x9000, 0x1fff}, // 9000-9fff
    };
    assert_int_equal(frame_bitmap_bytes(ranges, 4), 16);
    assert_int_equal(make_pool(ranges, 4), OK);
    assert_int_equal(pool.nranges, 2);
    assert_int_equal(pool.total, 3);
    assert_int_equal(pool.free, 3);
    assert_false(frame_is_free(&pool, HPA(0x1fff)));
    assert_true(frame_is_free(&pool, HPA(0x2000)));
    assert_true(frame_is_free(&pool, HPA(0x3fff)));
    assert_false(frame_is_free(&pool, HPA(0x4000)));
    assert_true(frame_is_free(&pool, HPA(0x9fff)));
    assert_false(frame_is_free(&pool, HPA(0xa000)));
}

static void too_many_ranges(void **state)
{
    (void)state;
    struct mem_range ranges[FRAME_RANGES + 2];
    for (unsigned i = 0; i < ARRAY_SIZE(ranges); i++)
        ranges[i] = (struct mem_range){i * 0x10000ull, PAGE_SIZE};
    assert_int_equal(make_pool(ranges, FRAME_RANGES), OK);
    assert_int_equal(make_pool(ranges, FRAME_RANGES + 1), E_NOMEM);
    ranges[3].size = 1; // holds no frame, so it takes no place
    assert_int_equal(make_pool(ranges, FRAME_RANGES + 1), OK);
    assert_int_equal(make_pool(ranges, 0), OK);
    assert_int_equal(alloc_err(1, PAGE_SIZE, 0), E_NOMEM);
}

static void bad_arguments(void **state)
{
    (void)state;
    assert_int_equal(make_pool(
                         (struct mem_range[]){
                             {0, 0x10000}
    },
                         1),
                     OK);
    assert_int_equal(alloc_err(0, PAGE_SIZE, 0), E_INVAL);
    assert_int_equal(alloc_err(1, 0, 0), E_INVAL);
    assert_int_equal(alloc_err(1, 2048, 0), E_INVAL);
    assert_int_equal(alloc_err(1, 3 * PAGE_SIZE, 0), E_INVAL);
    assert_int_equal(alloc_err(~0ull, PAGE_SIZE, 0), E_NOMEM);
    assert_int_equal(alloc_err(1, BIT(63), 0), OK); // address 0 is a multiple of anything
    assert_int_equal(alloc_err(1, BIT(63), 0), E_NOMEM);
}

static void alignment_and_limit(void **state)
{
    (void)state;
    // From the middle of a 2 MiB page up to 4 GiB + 6 MiB: the alignment is the address's own.
    const struct mem_range ranges[] = {
        {SIZE_2M / 2,       7 * SIZE_2M},
        {SIZE_4G - SIZE_2M, 4 * SIZE_2M},
    };
    assert_int_equal(make_pool(ranges, 2), OK);
    assert_int_equal(alloc(1, PAGE_SIZE, 0), SIZE_4G - SIZE_2M);
    assert_int_equal(alloc(1, SIZE_2M, 0), SIZE_4G);
    assert_int_equal(alloc(1, SIZE_2M, 0), SIZE_4G + SIZE_2M);
    assert_int_equal(alloc(512, SIZE_2M, 0), SIZE_4G + 2 * SIZE_2M);
    assert_int_equal(alloc(512, SIZE_2M, 0), SIZE_2M);
    // What must lie below 4 GiB may end there, not beyond.
    assert_int_equal(alloc(511, PAGE_SIZE, SIZE_4G), SIZE_4G - SIZE_2M + PAGE_SIZE);
    assert_int_equal(alloc(1, PAGE_SIZE, SIZE_4G), SIZE_2M / 2);
    // A limit inside a page leaves that page out; one below the pool leaves nothing.
    assert_int_equal(alloc(1, PAGE_SIZE, SIZE_2M / 2 + 2 * PAGE_SIZE), SIZE_2M / 2 + PAGE_SIZE);
    assert_int_equal(alloc_err(1, PAGE_SIZE, SIZE_2M / 2 + 3 * PAGE_SIZE - 1), E_NOMEM);
    assert_int_equal(alloc_err(1, PAGE_SIZE, SIZE_2M / 2), E_NOMEM);
    assert_int_equal(alloc_err(1, PAGE_SIZE, 1), E_NOMEM);
}

static void exhaustion_and_reuse(void **state)
{
    (void)state;
    assert_int_equal(make_pool(
                         (struct mem_range[]){
                             {0x100000, 200 * PAGE_SIZE}
    },
                         1),
                     OK);
    for (u64 i = 0; i < 200; i++)
        assert_int_equal(alloc(1, PAGE_SIZE, 0), 0x100000 + i * PAGE_SIZE);
    assert_int_equal(pool.free, 0);
    assert_int_equal(alloc_err(1, PAGE_SIZE, 0), E_NOMEM);
    // A hole of 3, then one of 5: a run of 4 takes the second, a single frame the first.
    frame_free(&pool, HPA(0x100000 + 60 * PAGE_SIZE), 3);
    frame_free(&pool, HPA(0x100000 + 126 * PAGE_SIZE), 5);
    assert_int_equal(pool.free, 8);
    assert_int_equal(alloc_err(6, PAGE_SIZE, 0), E_NOMEM);
    assert_int_equal(alloc(4, PAGE_SIZE, 0), 0x100000 + 126 * PAGE_SIZE);
    assert_int_equal(alloc(1, PAGE_SIZE, 0), 0x100000 + 60 * PAGE_SIZE);
    assert_int_equal(alloc(2, PAGE_SIZE, 0), 0x100000 + 61 * PAGE_SIZE);
    assert_int_equal(alloc(1, PAGE_SIZE, 0), 0x100000 + 130 * PAGE_SIZE);
    assert_int_equal(alloc_err(1, PAGE_SIZE, 0), E_NOMEM);
}

static void freeing_wrongly_is_our_bug(void **state)
{
    (void)state;
    const struct mem_range ranges[] = {
        {0x100000, 100 * PAGE_SIZE},
        {0x200000, 100 * PAGE_SIZE},
    };
    assert_int_equal(make_pool(ranges, 2), OK);
    u64 base = alloc(70, PAGE_SIZE, 0x180000);
    expect_assert_failure(frame_free(&pool, HPA(base + 1), 1));
    expect_assert_failure(frame_free(&pool, HPA(base), 0));
    expect_assert_failure(frame_free(&pool, HPA(base), 71));
    expect_assert_failure(frame_free(&pool, HPA(base), 101));
    expect_assert_failure(frame_free(&pool, HPA(base), ~0ull));
    expect_assert_failure(frame_free(&pool, HPA(0x1ff000), 1));
    expect_assert_failure(frame_free(&pool, HPA(0xff000), 1));
    frame_free(&pool, HPA(base), 70);
    expect_assert_failure(frame_free(&pool, HPA(base), 70));
    assert_int_equal(pool.free, pool.total);
}

static void reserve_rounds_outward(void **state)
{
    (void)state;
    const struct mem_range ranges[] = {
        {0x10000,  0x10000},
        {0x100000, 0x10000},
    };
    assert_int_equal(make_pool(ranges, 2), OK);
    frame_reserve(&pool, 0x11fff, 2); // both pages it touches
    assert_false(frame_is_free(&pool, HPA(0x11000)));
    assert_false(frame_is_free(&pool, HPA(0x12000)));
    assert_true(frame_is_free(&pool, HPA(0x13000)));
    assert_int_equal(pool.free, 30);
    frame_reserve(&pool, 0x10000, 0x4000); // two of these four are new
    assert_int_equal(pool.free, 28);
    frame_reserve(&pool, 0x14000, 0);
    frame_reserve(&pool, 0, 0x10000);
    frame_reserve(&pool, 0x20000, 0xe0000);
    frame_reserve(&pool, 0x110000, ~0ull);
    assert_int_equal(pool.free, 28);
    frame_reserve(&pool, 0x1f000, 0x100000 - 0x1e000); // the last of one, the first of the other
    assert_int_equal(pool.free, 26);
    assert_false(frame_is_free(&pool, HPA(0x1f000)));
    assert_false(frame_is_free(&pool, HPA(0x100000)));
    assert_true(frame_is_free(&pool, HPA(0x101000)));
    frame_reserve(&pool, 0x10000, ~0ull);
    assert_int_equal(pool.free, 0);
}

#define MODEL_FRAMES 700

// A random walk against one byte a frame.
static void agrees_with_a_plain_model(void **state)
{
    (void)state;
    const struct mem_range ranges[] = {
        {0x3000,              130 * PAGE_SIZE},
        {0x3000 + 0x100000,   64 * PAGE_SIZE },
        {0x3000 + 0x200000ul, 65 * PAGE_SIZE },
    };
    static u8 model[MODEL_FRAMES]; // 0 not ours, 1 free, 2 used
    u32 seed = 1;
    assert_int_equal(make_pool(ranges, 3), OK);
    for (unsigned r = 0; r < 3; r++) {
        for (u64 f = 0; f < ranges[r].size / PAGE_SIZE; f++)
            model[ranges[r].base / PAGE_SIZE + f] = 1;
    }
    for (unsigned step = 0; step < 20000; step++) {
        seed = seed * 1664525u + 1013904223u;
        u64 count = 1 + (seed >> 24) % 12;
        u64 at = (seed >> 8) % (MODEL_FRAMES - 16);
        u64 align = BIT((seed >> 16) % 4);
        if (seed >> 31) {
            hpa_t got;
            u64 limit = (seed >> 30) & 1 ? at * PAGE_SIZE : 0;
            int err = frame_alloc(&pool, count, align * PAGE_SIZE, limit, &got);
            u64 end = limit ? at : MODEL_FRAMES;
            bool possible = false;
            for (u64 f = 0; f + count <= end && !possible; f += align) {
                possible = true;
                for (u64 i = 0; i < count; i++)
                    possible = possible && model[f + i] == 1;
            }
            assert_int_equal(err, possible ? OK : E_NOMEM);
            if (err)
                continue;
            u64 first = got.raw / PAGE_SIZE;
            assert_true(first % align == 0 && first + count <= end);
            for (u64 i = 0; i < count; i++) {
                assert_int_equal(model[first + i], 1);
                model[first + i] = 2;
            }
        } else {
            for (u64 f = at; f < at + count; f++) {
                if (model[f] == 2) {
                    frame_free(&pool, HPA(f * PAGE_SIZE), 1);
                    model[f] = 1;
                }
            }
        }
        u64 nfree = 0;
        for (u64 f = 0; f < MODEL_FRAMES; f++) {
            nfree += model[f] == 1;
            if (frame_is_free(&pool, HPA(f * PAGE_SIZE)) != (model[f] == 1))
                fail_msg("step %u frame %llu", step, (unsigned long long)f);
        }
        assert_int_equal(pool.free, nfree);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(partial_pages_are_left_out),
        cmocka_unit_test(too_many_ranges),
        cmocka_unit_test(bad_arguments),
        cmocka_unit_test(alignment_and_limit),
        cmocka_unit_test(exhaustion_and_reuse),
        cmocka_unit_test(freeing_wrongly_is_our_bug),
        cmocka_unit_test(reserve_rounds_outward),
        cmocka_unit_test(agrees_with_a_plain_model),
    };
    return cmocka_run_group_tests(tests, NULL, drop_storage);
}
