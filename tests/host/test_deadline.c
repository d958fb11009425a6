// SPDX-License-Identifier: MIT
// The deadline queue against a plain list, and its rules for entries that re-arm themselves.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/deadline.h"
#include "arch/x86_64/lib/types.h"

#define ENTRIES 37u

struct probe {
    struct deadline entry;
    unsigned fired;
    u64 fired_when;  // entry.when at the last firing
    u64 fired_now;   // what the queue said the time was
    u64 fired_order; // which firing of the run it was
    u64 rearm_step;  // re-arms this far after its own time; 0 = it does not
};

struct fixture {
    struct deadline *heap[ENTRIES];
    struct deadline_queue queue;
    struct probe probes[ENTRIES];
};

static struct deadline_queue *active;
static u64 order;

static void probe_fire(struct deadline *entry, u64 now)
{
    struct probe *probe = container_of(entry, struct probe, entry);
    assert_false(deadline_armed(entry));
    probe->fired++;
    probe->fired_when = entry->when;
    probe->fired_now = now;
    probe->fired_order = order++;
    if (probe->rearm_step)
        deadline_arm(active, entry, entry->when + probe->rearm_step);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    deadline_queue_init(&f->queue, f->heap, ENTRIES);
    for (unsigned i = 0; i < ENTRIES; i++)
        f->probes[i].entry.fire = probe_fire;
    active = &f->queue;
    order = 0;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

// Every entry knows its place and no child is earlier than its parent.
static void assert_heap(const struct deadline_queue *queue)
{
    for (u32 i = 0; i < queue->count; i++) {
        assert_int_equal(queue->heap[i]->slot, i + 1);
        if (i > 0)
            assert_true(queue->heap[(i - 1) / 2]->when <= queue->heap[i]->when);
    }
}

static void test_empty(void **state)
{
    struct fixture *f = *state;
    assert_true(deadline_next(&f->queue) == DEADLINE_NEVER);
    deadline_cancel(&f->queue, &f->probes[0].entry);
    deadline_run(&f->queue, ~0ull);
    assert_int_equal(f->queue.count, 0);
}

static void test_fires_at_its_tick_and_not_before(void **state)
{
    struct fixture *f = *state;
    deadline_arm(&f->queue, &f->probes[0].entry, 1000);
    assert_int_equal(deadline_next(&f->queue), 1000);
    deadline_run(&f->queue, 999);
    assert_int_equal(f->probes[0].fired, 0);
    assert_true(deadline_armed(&f->probes[0].entry));
    deadline_run(&f->queue, 1000);
    assert_int_equal(f->probes[0].fired, 1);
    assert_int_equal(f->probes[0].fired_now, 1000);
    assert_false(deadline_armed(&f->probes[0].entry));
    deadline_run(&f->queue, 5000);
    assert_int_equal(f->probes[0].fired, 1);
}

static void test_never_is_later_than_everything(void **state)
{
    struct fixture *f = *state;
    deadline_arm(&f->queue, &f->probes[0].entry, DEADLINE_NEVER);
    deadline_run(&f->queue, DEADLINE_NEVER - 1);
    assert_int_equal(f->probes[0].fired, 0);
    assert_true(deadline_next(&f->queue) == DEADLINE_NEVER);
}

static void test_nearest_first(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < ENTRIES; i++)
        deadline_arm(&f->queue, &f->probes[i].entry, 100 + (i * 17) % ENTRIES);
    assert_heap(&f->queue);
    deadline_run(&f->queue, 1000);
    for (unsigned i = 0; i < ENTRIES; i++) {
        assert_int_equal(f->probes[i].fired, 1);
        assert_int_equal(f->probes[i].fired_order, (i * 17) % ENTRIES);
    }
    assert_int_equal(f->queue.count, 0);
}

static void test_rearming_moves(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 8; i++)
        deadline_arm(&f->queue, &f->probes[i].entry, 100 + i);
    deadline_arm(&f->queue, &f->probes[7].entry, 50);
    assert_int_equal(deadline_next(&f->queue), 50);
    deadline_arm(&f->queue, &f->probes[7].entry, 500);
    assert_int_equal(deadline_next(&f->queue), 100);
    assert_int_equal(f->queue.count, 8);
    assert_heap(&f->queue);
    deadline_run(&f->queue, 499);
    assert_int_equal(f->probes[7].fired, 0);
    assert_int_equal(f->queue.count, 1);
}

// Against a model: the set of armed times, searched linearly.
static void test_random_against_model(void **state)
{
    struct fixture *f = *state;
    u64 model[ENTRIES];
    for (unsigned i = 0; i < ENTRIES; i++)
        model[i] = 0;
    srand(1);
    u64 now = 1;
    for (unsigned round = 0; round < 20000; round++) {
        unsigned i = (unsigned)rand() % ENTRIES;
        struct probe *probe = &f->probes[i];
        switch (rand() % 4) {
        case 0:
        case 1:
            model[i] = now + (u64)(rand() % 200);
            deadline_arm(&f->queue, &probe->entry, model[i]);
            break;
        case 2:
            model[i] = 0;
            deadline_cancel(&f->queue, &probe->entry);
            break;
        default:
            now += (u64)(rand() % 40);
            for (unsigned k = 0; k < ENTRIES; k++)
                f->probes[k].fired = 0;
            deadline_run(&f->queue, now);
            for (unsigned k = 0; k < ENTRIES; k++) {
                bool due = model[k] != 0 && model[k] <= now;
                assert_int_equal(f->probes[k].fired, due);
                if (due)
                    model[k] = 0;
            }
        }
        u64 nearest = DEADLINE_NEVER;
        for (unsigned k = 0; k < ENTRIES; k++) {
            assert_int_equal(deadline_armed(&f->probes[k].entry), model[k] != 0);
            if (model[k] != 0 && model[k] < nearest)
                nearest = model[k];
        }
        assert_true(deadline_next(&f->queue) == nearest);
        assert_heap(&f->queue);
    }
}

static void test_rearm_within_run_is_fired_again(void **state)
{
    struct fixture *f = *state;
    f->probes[0].rearm_step = 10;
    deadline_arm(&f->queue, &f->probes[0].entry, 100);
    deadline_run(&f->queue, 135);
    assert_int_equal(f->probes[0].fired, 4); // 100, 110, 120, 130
    assert_int_equal(deadline_next(&f->queue), 140);
}

static void test_tiny_period_does_not_hold_the_caller(void **state)
{
    struct fixture *f = *state;
    f->probes[0].rearm_step = 1;
    deadline_arm(&f->queue, &f->probes[0].entry, 0);
    deadline_run(&f->queue, 1000000);
    assert_int_equal(f->probes[0].fired, DEADLINE_BURST + 1);
    assert_true(deadline_armed(&f->probes[0].entry));
    deadline_run(&f->queue, 1000000);
    assert_int_equal(f->probes[0].fired, 2 * (DEADLINE_BURST + 1));
}

static void cancel_other(struct deadline *entry, u64 now)
{
    struct fixture *f = container_of(entry, struct fixture, probes[0].entry);
    (void)now;
    deadline_cancel(&f->queue, &f->probes[1].entry);
    deadline_arm(&f->queue, &f->probes[2].entry, 105);
}

static void test_firing_may_cancel_and_arm_others(void **state)
{
    struct fixture *f = *state;
    f->probes[0].entry.fire = cancel_other;
    deadline_arm(&f->queue, &f->probes[0].entry, 100);
    deadline_arm(&f->queue, &f->probes[1].entry, 101);
    deadline_run(&f->queue, 110);
    assert_int_equal(f->probes[1].fired, 0);
    assert_int_equal(f->probes[2].fired, 1);
    assert_int_equal(f->queue.count, 0);
}

static void test_overfull_is_our_bug(void **state)
{
    struct fixture *f = *state;
    struct probe extra = {.entry.fire = probe_fire};
    for (unsigned i = 0; i < ENTRIES; i++)
        deadline_arm(&f->queue, &f->probes[i].entry, i);
    deadline_arm(&f->queue, &f->probes[3].entry, 3); // moving needs no room
    expect_assert_failure(deadline_arm(&f->queue, &extra.entry, 1));
}

static void test_cancelling_what_is_not_in_the_queue_is_our_bug(void **state)
{
    struct fixture *f = *state;
    struct probe stranger = {.entry.slot = 1}, beyond = {.entry.slot = ENTRIES + 1};
    deadline_arm(&f->queue, &f->probes[0].entry, 5);
    expect_assert_failure(deadline_cancel(&f->queue, &stranger.entry));
    expect_assert_failure(deadline_cancel(&f->queue, &beyond.entry));
}

// The nearest in counts is kept through whatever happens, and never before the nearest itself.
static void test_next_count_is_kept(void **state)
{
    static const u8 rates[] = {0, 5, 7};
    struct fixture *f = *state;
    u64 seed = 1;
    assert_true(f->queue.next_count == DEADLINE_NEVER);
    for (unsigned i = 0; i < 6000; i++) {
        u8 rate = rates[i / 2000];
        deadline_set_rate(&f->queue, rate);
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        struct deadline *entry = &f->probes[seed >> 33 & 3].entry;
        if (seed >> 60 < 4)
            deadline_cancel(&f->queue, entry);
        else
            deadline_arm(&f->queue, entry, seed >> 60 < 6 ? DEADLINE_NEVER : seed >> 50);
        u64 next = deadline_next(&f->queue), count = f->queue.next_count;
        if (rate == 0) {
            assert_true(count == next);
        } else if (next != DEADLINE_NEVER) {
            assert_true(count << rate >= next);
            assert_true((count << rate) - next <= BIT(rate));
        } else {
            assert_true(count > DEADLINE_NEVER >> rate);
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_empty),
        TEST(test_fires_at_its_tick_and_not_before),
        TEST(test_never_is_later_than_everything),
        TEST(test_nearest_first),
        TEST(test_rearming_moves),
        TEST(test_random_against_model),
        TEST(test_rearm_within_run_is_fired_again),
        TEST(test_tiny_period_does_not_hold_the_caller),
        TEST(test_firing_may_cancel_and_arm_others),
        TEST(test_next_count_is_kept),
        TEST(test_overfull_is_our_bug),
        TEST(test_cancelling_what_is_not_in_the_queue_is_our_bug),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
