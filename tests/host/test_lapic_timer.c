// SPDX-License-Identifier: MIT
// The local APIC's timer, tick by tick.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/host/lapic_fixture.h"

#define VECTOR       0x40
#define LVT_ONESHOT  VECTOR
#define LVT_PERIODIC (0x20000 | VECTOR)
#define LVT_DEADLINE (0x40000 | VECTOR)
#define DIVIDE_BY_1  0xb

// Ticks of the shortest time between periodic interrupts.
#define FLOOR (CLOCK_HZ / LAPIC_TIMER_MAX_HZ)

// A LAPIC whose timer counts timer_hz, enabled, with this LVT entry, dividing by 1.
static void start(struct fixture *f, u64 clock_hz, u64 timer_hz, u32 lvt)
{
    struct lapic_config config = f->lapic.config;
    lapic_reset(&f->lapic); // ends an armed deadline
    f->clock.hz = clock_hz;
    config.timer_hz = timer_hz;
    lapic_init(&f->lapic, &config);
    software_enable(f);
    wr(f, APIC_TDCR, DIVIDE_BY_1);
    wr(f, APIC_LVT_TIMER, lvt);
}

// Whether the timer's interrupt came; it is taken and ended.
static bool ticked(struct fixture *f)
{
    if (lapic_pending(&f->lapic) < 0)
        return false;
    take(f, VECTOR);
    lapic_eoi(&f->lapic);
    assert_int_equal(lapic_pending(&f->lapic), -1);
    return true;
}

// ---- one-shot -----------------------------------------------------------------------------------

static void test_oneshot(void **state)
{
    struct fixture *f = *state;
    start(f, CLOCK_HZ, CLOCK_HZ, LVT_ONESHOT);
    wr(f, APIC_TMICT, 500); // at 1000
    assert_int_equal(rd(f, APIC_TMICT), 500);
    assert_int_equal(rd(f, APIC_TMCCT), 500);
    assert_int_equal(deadline_next(&f->queue), 1500);
    run_to(f, 1001);
    assert_int_equal(rd(f, APIC_TMCCT), 499);
    run_to(f, 1499);
    assert_int_equal(rd(f, APIC_TMCCT), 1);
    assert_false(ticked(f));
    f->now = 1500; // the deadline is due and not run yet
    assert_int_equal(rd(f, APIC_TMCCT), 0);
    run_to(f, 1500);
    assert_true(ticked(f));
    assert_int_equal(rd(f, APIC_TMCCT), 0);
    assert_int_equal(rd(f, APIC_TMICT), 500);
    run_to(f, 100000);
    assert_false(ticked(f));
    assert_int_equal(f->queue.count, 0);
}

static void test_zero_stops(void **state)
{
    struct fixture *f = *state;
    static const u32 lvts[] = {LVT_ONESHOT, LVT_PERIODIC};
    for (size_t i = 0; i < ARRAY_SIZE(lvts); i++) {
        start(f, CLOCK_HZ, CLOCK_HZ, lvts[i]);
        wr(f, APIC_TMICT, 500);
        wr(f, APIC_TMICT, 0);
        assert_int_equal(rd(f, APIC_TMCCT), 0);
        assert_int_equal(f->queue.count, 0);
        run_to(f, f->now + 10000);
        assert_false(ticked(f));
    }
}

static void test_writing_again_restarts(void **state)
{
    struct fixture *f = *state;
    start(f, CLOCK_HZ, CLOCK_HZ, LVT_ONESHOT);
    wr(f, APIC_TMICT, 500);
    run_to(f, 1400);
    wr(f, APIC_TMICT, 300);
    assert_int_equal(rd(f, APIC_TMCCT), 300);
    run_to(f, 1699);
    assert_false(ticked(f));
    run_to(f, 1700);
    assert_true(ticked(f));
}

static void test_an_owed_interrupt_is_not_lost_by_a_write(void **state)
{
    struct fixture *f = *state;
    static const u32 offsets[] = {APIC_TMICT, APIC_TDCR, APIC_LVT_TIMER};
    for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
        start(f, CLOCK_HZ, CLOCK_HZ, LVT_ONESHOT);
        wr(f, APIC_TMICT, 500);
        f->now += 500;
        wr(f, offsets[i], i == 0 ? 1000 : i == 1 ? 0 : APIC_LVT_MASKED);
        assert_true(ticked(f));
    }
}

static void test_masked_runs_without_interrupt(void **state)
{
    struct fixture *f = *state;
    start(f, CLOCK_HZ, CLOCK_HZ, APIC_LVT_MASKED | LVT_ONESHOT);
    wr(f, APIC_TMICT, 500);
    run_to(f, 1250);
    assert_int_equal(rd(f, APIC_TMCCT), 250);
    f->now = 1600;
    wr(f, APIC_LVT_TIMER, LVT_ONESHOT); // unmasked too late
    run_to(f, 1600);
    assert_false(ticked(f));
    assert_int_equal(rd(f, APIC_TMCCT), 0);
    wr(f, APIC_LVT_TIMER, APIC_LVT_MASKED | LVT_ONESHOT);
    wr(f, APIC_TMICT, 500);
    wr(f, APIC_LVT_TIMER, LVT_ONESHOT); // in time, and the count goes on
    run_to(f, 2100);
    assert_true(ticked(f));
}

static void test_software_disabling_masks(void **state)
{
    struct fixture *f = *state;
    start(f, CLOCK_HZ, CLOCK_HZ, LVT_ONESHOT);
    wr(f, APIC_TMICT, 500);
    wr(f, APIC_SVR, 0xff);
    run_to(f, 1400);
    assert_int_equal(rd(f, APIC_TMCCT), 100);
    run_to(f, 1600);
    software_enable(f);
    assert_false(ticked(f));
}

static void test_illegal_vector(void **state)
{
    struct fixture *f = *state;
    start(f, CLOCK_HZ, CLOCK_HZ, 0x0f);
    wr(f, APIC_TMICT, 1);
    run_to(f, 2000);
    assert_int_equal(lapic_pending(&f->lapic), -1);
    wr(f, APIC_ESR, 0);
    assert_int_equal(rd(f, APIC_ESR), APIC_ESR_RECV_ILLEGAL);
}

// ---- the divider --------------------------------------------------------------------------------

static void test_dividers(void **state)
{
    struct fixture *f = *state;
    static const struct {
        u32 tdcr, divider;
    } table[] = {
        {0x0, 2  },
        {0x1, 4  },
        {0x2, 8  },
        {0x3, 16 },
        {0x8, 32 },
        {0x9, 64 },
        {0xa, 128},
        {0xb, 1  },
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        u32 d = table[i].divider;
        start(f, CLOCK_HZ, CLOCK_HZ, LVT_ONESHOT);
        wr(f, APIC_TDCR, table[i].tdcr | 0xfffffff4); // the others are reserved
        assert_int_equal(rd(f, APIC_TDCR), table[i].tdcr);
        u64 from = f->now;
        wr(f, APIC_TMICT, 10);
        for (u64 t = 0; t < 10 * d; t++) {
            f->now = from + t;
            assert_int_equal(rd(f, APIC_TMCCT), 10 - t / d);
            deadline_run(&f->queue, f->now);
            assert_false(ticked(f));
        }
        run_to(f, from + 10 * d);
        assert_true(ticked(f));
    }
}

static void test_reset_divides_by_two(void **state)
{
    struct fixture *f = *state;
    lapic_reset(&f->lapic);
    wr(f, APIC_TMICT, 10);
    f->now += 10;
    assert_int_equal(rd(f, APIC_TMCCT), 5);
}

static void test_divider_changes_while_counting(void **state)
{
    struct fixture *f = *state;
    start(f, CLOCK_HZ, CLOCK_HZ, LVT_PERIODIC);
    wr(f, APIC_TMICT, 100000);
    run_to(f, 1000 + 60000);
    wr(f, APIC_TDCR, 0x1); // by 4
    assert_int_equal(rd(f, APIC_TMCCT), 40000);
    f->now += 4;
    assert_int_equal(rd(f, APIC_TMCCT), 39999);
    u64 zero = 61000 + 160000;
    run_to(f, zero - 1);
    assert_false(ticked(f));
    run_to(f, zero);
    assert_true(ticked(f));
    assert_int_equal(rd(f, APIC_TMCCT), 100000);
    assert_int_equal(deadline_next(&f->queue), zero + 400000);
    wr(f, APIC_TMICT, 0);
    wr(f, APIC_TDCR, 0); // stopped stays stopped
    assert_int_equal(f->queue.count, 0);
}

// ---- periodic -----------------------------------------------------------------------------------

static void test_periodic_does_not_drift(void **state)
{
    struct fixture *f = *state;
    start(f, CLOCK_HZ, CLOCK_HZ, LVT_PERIODIC);
    wr(f, APIC_TMICT, 100000);
    for (u64 k = 1; k <= 1000; k++) {
        u64 zero = 1000 + k * 100000;
        assert_int_equal(deadline_next(&f->queue), zero);
        f->now = zero - 1;
        assert_int_equal(rd(f, APIC_TMCCT), 1);
        deadline_run(&f->queue, f->now);
        assert_false(ticked(f));
        run_to(f, zero + k % 7 * 1000); // served late, by a different time each
        assert_true(ticked(f));
        assert_int_equal(rd(f, APIC_TMCCT), 100000 - k % 7 * 1000);
    }
}

static void test_missed_periods_become_one(void **state)
{
    struct fixture *f = *state;
    start(f, CLOCK_HZ, CLOCK_HZ, LVT_PERIODIC);
    wr(f, APIC_TMICT, 100000);
    f->now = 1000 + 750000;
    assert_int_equal(rd(f, APIC_TMCCT), 50000); // before the queue has run
    run_to(f, f->now);
    assert_true(ticked(f));
    assert_int_equal(deadline_next(&f->queue), 1000 + 800000);
    run_to(f, 1000 + 800000);
    assert_true(ticked(f));
    assert_int_equal(rd(f, APIC_TMCCT), 100000); // exactly at a zero
    f->now = 1000 + 900000;
    assert_int_equal(rd(f, APIC_TMCCT), 100000);
}

static void test_an_interrupt_still_waiting_is_one(void **state)
{
    struct fixture *f = *state;
    start(f, CLOCK_HZ, CLOCK_HZ, LVT_PERIODIC);
    wr(f, APIC_TMICT, 100000);
    run_to(f, 101000);
    run_to(f, 201000);
    run_to(f, 301000);
    assert_true(ticked(f));
    assert_false(ticked(f));
}

static void test_tiny_period_does_not_starve_the_host(void **state)
{
    struct fixture *f = *state;
    static const u32 periods[] = {1, 3, 7, 999, (u32)FLOOR - 1, (u32)FLOOR};
    for (size_t i = 0; i < ARRAY_SIZE(periods); i++) {
        start(f, CLOCK_HZ, CLOCK_HZ, LVT_PERIODIC);
        u64 from = f->now;
        unsigned count = 0;
        wr(f, APIC_TMICT, periods[i]);
        while (deadline_next(&f->queue) < from + 1000 * FLOOR) {
            u64 when = deadline_next(&f->queue);
            assert_true(when > f->now);
            assert_int_equal((when - from) % periods[i], 0); // on the guest's own schedule
            run_to(f, when);
            assert_true(ticked(f));
            count++;
            // The count runs with the guest's period, not the floor's.
            f->now = when + periods[i] / 2;
            assert_int_equal(rd(f, APIC_TMCCT), periods[i] - periods[i] / 2);
        }
        assert_true(count <= 1001);
        assert_true(count >= (periods[i] == FLOOR ? 999 : 490));
    }
}

static void test_count_of_a_tiny_period(void **state)
{
    struct fixture *f = *state;
    start(f, CLOCK_HZ, CLOCK_HZ, LVT_PERIODIC);
    wr(f, APIC_TMICT, 100);
    for (u64 t = 1; t <= 3 * FLOOR; t++) {
        run_to(f, 1000 + t);
        assert_int_equal(rd(f, APIC_TMCCT), 100 - t % 100);
    }
}

// The zeros are no multiples of the period from the start once the divider has changed.
static void test_count_of_a_late_zero(void **state)
{
    struct fixture *f = *state;
    start(f, CLOCK_HZ, CLOCK_HZ, LVT_PERIODIC);
    wr(f, APIC_TMICT, 100000);
    run_to(f, 1000 + 70000);
    wr(f, APIC_TDCR, 0x1); // by 4: zeros at 71000 + 120000 + k * 400000
    for (u64 t = 0; t < 1500000; t += 997) {
        f->now = 191000 + t; // and nobody runs the queue
        assert_int_equal(rd(f, APIC_TMCCT), 100000 - t % 400000 / 4);
    }
}

static void test_clock_at_its_beginning(void **state)
{
    struct fixture *f = *state;
    f->now = 0;
    start(f, CLOCK_HZ, CLOCK_HZ, LVT_ONESHOT);
    wr(f, APIC_TMICT, 500);
    assert_int_equal(deadline_next(&f->queue), 500);
}

static void test_masked_tiny_period_is_cheap_too(void **state)
{
    struct fixture *f = *state;
    start(f, CLOCK_HZ, CLOCK_HZ, APIC_LVT_MASKED | LVT_PERIODIC);
    wr(f, APIC_TMICT, 1);
    run_to(f, deadline_next(&f->queue));
    assert_true(deadline_next(&f->queue) >= f->now + FLOOR);
    assert_false(ticked(f));
}

// ---- changing the mode --------------------------------------------------------------------------

static void test_oneshot_to_periodic_keeps_counting(void **state)
{
    struct fixture *f = *state;
    start(f, CLOCK_HZ, CLOCK_HZ, LVT_ONESHOT);
    wr(f, APIC_TMICT, 100000);
    run_to(f, 61000);
    wr(f, APIC_LVT_TIMER, LVT_PERIODIC);
    assert_int_equal(rd(f, APIC_TMICT), 100000);
    assert_int_equal(rd(f, APIC_TMCCT), 40000);
    run_to(f, 101000);
    assert_true(ticked(f));
    run_to(f, 201000);
    assert_true(ticked(f));
    run_to(f, 261000);
    wr(f, APIC_LVT_TIMER, LVT_ONESHOT);
    assert_int_equal(rd(f, APIC_TMCCT), 40000);
    run_to(f, 301000);
    assert_true(ticked(f));
    assert_int_equal(rd(f, APIC_TMCCT), 0);
    wr(f, APIC_LVT_TIMER, LVT_PERIODIC); // what has ended does not start again
    assert_int_equal(rd(f, APIC_TMCCT), 0);
    run_to(f, 1000000);
    assert_false(ticked(f));
}

// The floor leaves zeros out of a tiny period; the next zero still ends a one-shot.
static void test_tiny_periodic_to_oneshot(void **state)
{
    struct fixture *f = *state;
    start(f, CLOCK_HZ, CLOCK_HZ, LVT_PERIODIC);
    wr(f, APIC_TMICT, 100);
    run_to(f, 1100);
    assert_true(ticked(f));
    f->now = 1140;
    wr(f, APIC_LVT_TIMER, LVT_ONESHOT);
    assert_int_equal(rd(f, APIC_TMCCT), 60);
    assert_int_equal(deadline_next(&f->queue), 1200);
}

static void test_deadline_mode_disarms_the_count(void **state)
{
    struct fixture *f = *state;
    static const u32 lvts[] = {LVT_ONESHOT, LVT_PERIODIC};
    for (size_t i = 0; i < ARRAY_SIZE(lvts); i++) {
        start(f, CLOCK_HZ, CLOCK_HZ, lvts[i]);
        wr(f, APIC_TMICT, 100000);
        wr(f, APIC_LVT_TIMER, LVT_DEADLINE);
        assert_int_equal(f->queue.count, 0);
        wr(f, APIC_TMICT, 5000); // ignored
        assert_int_equal(rd(f, APIC_TMICT), 0);
        assert_int_equal(rd(f, APIC_TMCCT), 0);
        assert_int_equal(f->queue.count, 0);
        assert_int_equal(lapic_deadline_write(&f->lapic, f->now + 50, f->now), OK);
        wr(f, APIC_LVT_TIMER, lvts[i]);
        assert_int_equal(f->queue.count, 0);
        wr(f, APIC_LVT_TIMER, LVT_DEADLINE);
        u64 value;
        assert_int_equal(lapic_deadline_read(&f->lapic, &value), OK);
        assert_int_equal(value, 0);
        run_to(f, f->now + 1000000);
        assert_false(ticked(f));
    }
}

// Mode 11b can only be written to the page; the timer does not run in it.
static void test_reserved_mode(void **state)
{
    struct fixture *f = *state;
    start(f, CLOCK_HZ, CLOCK_HZ, LVT_PERIODIC);
    wr(f, APIC_TMICT, 100000);
    wr(f, APIC_LVT_TIMER, 0x60000 | VECTOR);
    assert_int_equal(f->queue.count, 0);
    wr(f, APIC_TMICT, 100000);
    assert_int_equal(lapic_deadline_write(&f->lapic, f->now + 5, f->now), OK);
    assert_int_equal(f->queue.count, 0);
    assert_int_equal(rd(f, APIC_TMCCT), 0);
}

// ---- TSC-deadline -------------------------------------------------------------------------------

static u64 deadline_msr(struct fixture *f)
{
    u64 value = 0x77;
    assert_int_equal(lapic_deadline_read(&f->lapic, &value), OK);
    return value;
}

static void test_tsc_deadline(void **state)
{
    struct fixture *f = *state;
    start(f, CLOCK_HZ, 25000000, LVT_DEADLINE);
    f->lapic.tsc_offset = 5000;
    assert_int_equal(lapic_deadline_write(&f->lapic, 6700, f->now), OK); // it is 6000
    assert_int_equal(deadline_msr(f), 6700);
    assert_int_equal(deadline_next(&f->queue), 1700);
    run_to(f, 1699);
    assert_false(ticked(f));
    run_to(f, 1700);
    assert_true(ticked(f));
    assert_int_equal(deadline_msr(f), 0);
    assert_int_equal(f->queue.count, 0);
    assert_int_equal(lapic_deadline_write(&f->lapic, 9000, f->now), OK);
    assert_int_equal(lapic_deadline_write(&f->lapic, 8000, f->now), OK); // moved
    assert_int_equal(deadline_next(&f->queue), 3000);
    assert_int_equal(lapic_deadline_write(&f->lapic, 0, f->now), OK); // disarmed
    assert_int_equal(f->queue.count, 0);
    assert_int_equal(deadline_msr(f), 0);
    assert_false(ticked(f));
}

static void test_past_deadline_fires_at_once(void **state)
{
    struct fixture *f = *state;
    start(f, CLOCK_HZ, CLOCK_HZ, LVT_DEADLINE);
    static const u64 past[] = {1000, 999, 1};
    for (size_t i = 0; i < ARRAY_SIZE(past); i++) {
        assert_int_equal(lapic_deadline_write(&f->lapic, past[i], f->now), OK);
        assert_true(ticked(f));
        assert_int_equal(deadline_msr(f), 0);
        assert_int_equal(f->queue.count, 0);
    }
    // A past one replaces a future one, and the interrupt comes once.
    assert_int_equal(lapic_deadline_write(&f->lapic, 2000, f->now), OK);
    assert_int_equal(lapic_deadline_write(&f->lapic, 500, f->now), OK);
    assert_true(ticked(f));
    run_to(f, 3000);
    assert_false(ticked(f));
}

static void test_deadline_outside_its_mode(void **state)
{
    struct fixture *f = *state;
    start(f, CLOCK_HZ, CLOCK_HZ, LVT_ONESHOT);
    assert_int_equal(lapic_deadline_write(&f->lapic, 1, f->now), OK);
    assert_int_equal(deadline_msr(f), 0);
    assert_false(ticked(f));
    struct lapic_config config = f->lapic.config;
    config.tsc_deadline = false;
    lapic_init(&f->lapic, &config);
    u64 value;
    assert_int_equal(lapic_deadline_write(&f->lapic, 1, f->now), E_FAULT);
    assert_int_equal(lapic_deadline_read(&f->lapic, &value), E_FAULT);
}

static void test_masked_deadline_passes_silently(void **state)
{
    struct fixture *f = *state;
    start(f, CLOCK_HZ, CLOCK_HZ, APIC_LVT_MASKED | LVT_DEADLINE);
    assert_int_equal(lapic_deadline_write(&f->lapic, 1500, f->now), OK);
    run_to(f, 1500);
    assert_int_equal(deadline_msr(f), 0);
    wr(f, APIC_LVT_TIMER, LVT_DEADLINE);
    assert_false(ticked(f));
}

static void test_an_owed_deadline_is_not_lost_by_the_next(void **state)
{
    struct fixture *f = *state;
    start(f, CLOCK_HZ, CLOCK_HZ, LVT_DEADLINE);
    assert_int_equal(lapic_deadline_write(&f->lapic, 1500, f->now), OK);
    f->now = 1500;
    assert_int_equal(lapic_deadline_write(&f->lapic, 9000, f->now), OK);
    assert_true(ticked(f));
    assert_int_equal(deadline_msr(f), 9000);
}

static void test_tsc_changes_under_a_deadline(void **state)
{
    struct fixture *f = *state;
    start(f, CLOCK_HZ, CLOCK_HZ, LVT_DEADLINE);
    assert_int_equal(lapic_deadline_write(&f->lapic, 5000, f->now), OK);
    f->lapic.tsc_offset = 1000;
    lapic_tsc_changed(&f->lapic);
    assert_int_equal(deadline_next(&f->queue), 4000);
    assert_int_equal(deadline_msr(f), 5000);
    f->lapic.tsc_offset = 0 - 500ull; // the guest's TSC is behind ours
    lapic_tsc_changed(&f->lapic);
    assert_int_equal(deadline_next(&f->queue), 5500);
    f->lapic.tsc_offset = 4000; // 5000 already
    lapic_tsc_changed(&f->lapic);
    assert_true(ticked(f));
    assert_int_equal(deadline_msr(f), 0);
    assert_int_equal(f->queue.count, 0);
    lapic_tsc_changed(&f->lapic); // nothing armed
    assert_false(ticked(f));
    f->now = 10000;
    f->lapic.tsc_offset = 0;
    assert_int_equal(lapic_deadline_write(&f->lapic, 10400, f->now), OK);
    f->lapic.tsc_offset = 500;
    lapic_tsc_changed(&f->lapic);
    assert_true(ticked(f));
    // RESET forgets a deadline for good.
    assert_int_equal(lapic_deadline_write(&f->lapic, 90000, f->now), OK);
    lapic_receive_init(&f->lapic);
    lapic_tsc_changed(&f->lapic);
    assert_int_equal(f->queue.count, 0);
    f->now = 1000;
    // A count is not in TSC and does not move.
    start(f, CLOCK_HZ, CLOCK_HZ, LVT_ONESHOT);
    wr(f, APIC_TMICT, 500);
    f->lapic.tsc_offset = 99999;
    lapic_tsc_changed(&f->lapic);
    assert_int_equal(deadline_next(&f->queue), 1500);
}

static void test_guest_tsc_near_its_end(void **state)
{
    struct fixture *f = *state;
    start(f, CLOCK_HZ, CLOCK_HZ, LVT_DEADLINE);
    f->lapic.tsc_offset = ~0ull - 2000; // it is 2^64 - 1001
    assert_int_equal(lapic_deadline_write(&f->lapic, ~0ull, f->now), OK);
    assert_int_equal(deadline_next(&f->queue), 2000);
    assert_int_equal(lapic_deadline_write(&f->lapic, 100, f->now), OK); // past, as numbers compare
    assert_true(ticked(f));
    f->lapic.tsc_offset = 0 - 1000ull; // it is 0
    assert_int_equal(lapic_deadline_write(&f->lapic, ~0ull, f->now), OK);
    assert_true(deadline_next(&f->queue) == DEADLINE_NEVER);
    run_to(f, 1ull << 62);
    assert_false(ticked(f));
    assert_true(deadline_msr(f) == ~0ull);
}

// ---- rates --------------------------------------------------------------------------------------

static const struct {
    u64 clock_hz, timer_hz;
} rates[] = {
    {2712000000, 24000000  },
    {3000000000, 100000000 },
    {1000000007, 999999937 },
    {19200000,   1000000000},
    {100000000,  100000000 },
    {4000000000, 1         },
    {2999999999, 1193182   },
    {1000000000, 4000000000},
};

// The first tick at which n input clocks have passed, in wide arithmetic.
static u64 tick_after(size_t rate, u64 n)
{
    unsigned __int128 product = (unsigned __int128)n * rates[rate].clock_hz;
    return (u64)((product + rates[rate].timer_hz - 1) / rates[rate].timer_hz);
}

static void test_oneshot_at_other_rates(void **state)
{
    struct fixture *f = *state;
    static const u32 counts[] = {1, 2, 999, 1000000, 0x7fffffff, 0xffffffff};
    for (size_t r = 0; r < ARRAY_SIZE(rates); r++) {
        for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
            for (u32 tdcr = 0xa; tdcr <= 0xb; tdcr++) {
                start(f, rates[r].clock_hz, rates[r].timer_hz, LVT_ONESHOT);
                wr(f, APIC_TDCR, tdcr);
                u64 from = f->now;
                u64 clocks = (u64)counts[i] << (tdcr == 0xb ? 0 : 7);
                wr(f, APIC_TMICT, counts[i]);
                if (deadline_next(&f->queue) == DEADLINE_NEVER) {
                    assert_true(clocks / rates[r].timer_hz >= ~0ull / rates[r].clock_hz);
                    continue;
                }
                u64 zero = from + tick_after(r, clocks);
                assert_true(deadline_next(&f->queue) == zero);
                assert_true(rd(f, APIC_TMCCT) == counts[i]);
                f->now = zero - 1;
                assert_true(rd(f, APIC_TMCCT) >= 1);
                assert_true(rd(f, APIC_TMCCT) <= counts[i]);
                f->now = zero;
                assert_int_equal(rd(f, APIC_TMCCT), 0);
                run_to(f, zero);
                assert_true(ticked(f));
                f->now = 1000;
            }
        }
    }
}

static void test_periodic_at_other_rates_does_not_drift(void **state)
{
    struct fixture *f = *state;
    for (size_t r = 0; r < ARRAY_SIZE(rates); r++) {
        start(f, rates[r].clock_hz, rates[r].timer_hz, LVT_PERIODIC);
        u32 period = (u32)(rates[r].timer_hz / 1000 + 1); // an uneven number of ticks
        wr(f, APIC_TMICT, period);
        for (u64 k = 1; k <= 5000; k++) {
            u64 zero = 1000 + tick_after(r, k * period);
            assert_true(deadline_next(&f->queue) == zero);
            run_to(f, zero);
            assert_true(ticked(f));
            // A tick may hold several input clocks, so the zero may lie within it.
            assert_true(rd(f, APIC_TMCCT) <= period);
            assert_true(rd(f, APIC_TMCCT) + rates[r].timer_hz / rates[r].clock_hz >= period);
        }
        f->now = 1000;
    }
}

// Every tick of some periods: the count never rises but at a zero, and never leaves [1, period].
static void test_count_tick_by_tick(void **state)
{
    struct fixture *f = *state;
    start(f, 1000000007, 333333333, LVT_PERIODIC);
    wr(f, APIC_TMICT, 7000);
    u32 before = 7000;
    for (u64 t = 1; t < 100000; t++) {
        run_to(f, 1000 + t);
        u32 count = rd(f, APIC_TMCCT);
        assert_true(count >= 1 && count <= 7000);
        u64 clocks = (u64)((unsigned __int128)t * 333333333 / 1000000007);
        assert_int_equal(count, 7000 - clocks % 7000);
        assert_int_equal(ticked(f), count > before);
        before = count;
    }
}

static void test_end_of_time(void **state)
{
    struct fixture *f = *state;
    static const u32 lvts[] = {LVT_ONESHOT, LVT_PERIODIC};
    for (size_t r = 0; r < ARRAY_SIZE(rates); r++) {
        for (size_t i = 0; i < ARRAY_SIZE(lvts); i++) {
            f->now = ~0ull - 10;
            start(f, rates[r].clock_hz, rates[r].timer_hz, lvts[i]);
            wr(f, APIC_TDCR, 0xa);
            wr(f, APIC_TMICT, 0xffffffff); // past the last tick there is
            assert_true(deadline_next(&f->queue) == DEADLINE_NEVER);
            assert_true(rd(f, APIC_TMCCT) == 0xffffffff);
            f->now = 1000;
            start(f, rates[r].clock_hz, rates[r].timer_hz, lvts[i]);
            wr(f, APIC_TMICT, 1);
            run_to(f, ~0ull - 1); // a century late
            assert_true(ticked(f));
            rd(f, APIC_TMCCT);
        }
    }
}

static void test_rates_are_needed(void **state)
{
    struct fixture *f = *state;
    struct lapic_config config = f->lapic.config;
    config.timer_hz = 0;
    expect_assert_failure(lapic_init(&f->lapic, &config));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_oneshot),
        TEST(test_zero_stops),
        TEST(test_writing_again_restarts),
        TEST(test_an_owed_interrupt_is_not_lost_by_a_write),
        TEST(test_masked_runs_without_interrupt),
        TEST(test_software_disabling_masks),
        TEST(test_illegal_vector),
        TEST(test_dividers),
        TEST(test_reset_divides_by_two),
        TEST(test_divider_changes_while_counting),
        TEST(test_periodic_does_not_drift),
        TEST(test_missed_periods_become_one),
        TEST(test_an_interrupt_still_waiting_is_one),
        TEST(test_tiny_period_does_not_starve_the_host),
        TEST(test_count_of_a_tiny_period),
        TEST(test_count_of_a_late_zero),
        TEST(test_clock_at_its_beginning),
        TEST(test_masked_tiny_period_is_cheap_too),
        TEST(test_oneshot_to_periodic_keeps_counting),
        TEST(test_tiny_periodic_to_oneshot),
        TEST(test_deadline_mode_disarms_the_count),
        TEST(test_reserved_mode),
        TEST(test_tsc_deadline),
        TEST(test_past_deadline_fires_at_once),
        TEST(test_deadline_outside_its_mode),
        TEST(test_masked_deadline_passes_silently),
        TEST(test_an_owed_deadline_is_not_lost_by_the_next),
        TEST(test_tsc_changes_under_a_deadline),
        TEST(test_guest_tsc_near_its_end),
        TEST(test_oneshot_at_other_rates),
        TEST(test_periodic_at_other_rates_does_not_drift),
        TEST(test_count_tick_by_tick),
        TEST(test_end_of_time),
        TEST(test_rates_are_needed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
