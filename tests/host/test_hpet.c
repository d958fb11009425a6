// SPDX-License-Identifier: MIT
// The HPET's registers, its counter (exact over hours) and its lines.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/host/hpet_fixture.h"

// ---- registers ----------------------------------------------------------------------------------

static void capabilities_and_reset_values(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    assert_int_equal(get(f, CAPS), 0x009896808086a201);
    assert_int_equal(get(f, CAPS) & 0xffffffff, HPET_ID);
    assert_int_equal(get(f, ENABLE), 0);
    assert_int_equal(get(f, STATUS), 0);
    assert_int_equal(get(f, COUNTER), 0);
    for (u32 t = 0; t < HPET_TIMERS; t++) {
        assert_int_equal(get(f, T0 + 0x20 * t), 0x00f0000000000030);
        assert_int_equal(get(f, T0 + 0x20 * t + 8), ~0ull);
        assert_int_equal(get(f, T0 + 0x20 * t + 16), 0); // no FSB
    }
    put(f, CAPS, ~0ull);
    assert_int_equal(get(f, CAPS), 0x009896808086a201);
}

static void reserved_bits_read_0(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    put(f, ENABLE, ~3ull);
    assert_int_equal(get(f, ENABLE), 0);
    put(f, ENABLE, ~0ull);
    assert_int_equal(get(f, ENABLE), 3);
    put(f, T1, ~0ull & ~(u64)route(31));
    assert_int_equal(get(f, T1), 0x00f000000000017e);
    put(f, T1, 0);
    assert_int_equal(get(f, T1), 0x00f0000000000030);
    put(f, STATUS, ~0ull);
    assert_int_equal(get(f, STATUS), 0);
}

static void rest_of_the_page_is_reserved(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    struct hpet before = f->hpet;
    for (u32 reg = 0; reg < PAGE_SIZE; reg += 8) {
        bool known = reg == CAPS || reg == ENABLE || reg == STATUS || reg == COUNTER ||
                     (reg >= T0 && reg < T0 + 0x20 * HPET_TIMERS && reg % 0x20 < 0x10);
        if (known)
            continue;
        put(f, reg, ~0ull);
        assert_int_equal(get(f, reg), 0);
    }
    assert_memory_equal(&f->hpet, &before, sizeof(before));
    assert_int_equal(f->rig.bus.unclaimed[IO_MEM], 0);
}

static void halves_and_other_widths(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    rig_write(&f->rig, HPET_BASE + COUNTER, 4, 0x11223344);
    rig_write(&f->rig, HPET_BASE + COUNTER + 4, 4, 0x55667788);
    assert_int_equal(get(f, COUNTER), 0x5566778811223344);
    assert_int_equal(rig_read(&f->rig, HPET_BASE + COUNTER, 4), 0x11223344);
    assert_int_equal(rig_read(&f->rig, HPET_BASE + COUNTER + 4, 4), 0x55667788);
    assert_int_equal(rig_read(&f->rig, HPET_BASE + COUNTER + 1, 2), 0x2233);
    assert_int_equal(rig_read(&f->rig, HPET_BASE + COUNTER + 7, 1), 0x55);
    rig_write(&f->rig, HPET_BASE + COUNTER, 1, 0);
    rig_write(&f->rig, HPET_BASE + COUNTER, 2, 0);
    rig_write(&f->rig, HPET_BASE + COUNTER + 2, 4, 0);
    rig_write(&f->rig, HPET_BASE + COUNTER + 4, 8, 0);
    assert_int_equal(get(f, COUNTER), 0x5566778811223344);
    rig_write(&f->rig, HPET_BASE + T0 + 8, 4, 0x1000);
    assert_int_equal(get(f, T0 + 8), 0xffffffff00001000);
    rig_write(&f->rig, HPET_BASE + T0 + 12, 4, 0x2);
    assert_int_equal(get(f, T0 + 8), 0x0000000200001000);
    for (u32 set = 0; set < 2; set++) { // the reserved and read-only halves
        put(f, ENABLE, set);
        put(f, T0, set * INT);
        rig_write(&f->rig, HPET_BASE + ENABLE + 4, 4, 1 - set);
        rig_write(&f->rig, HPET_BASE + T0 + 4, 4, ~0u);
        assert_int_equal(get(f, ENABLE), set);
        assert_int_equal(get(f, T0), 0x00f0000000000030 | set * INT);
    }
    assert_int_equal(rig_read(&f->rig, HPET_BASE + CAPS + 4, 4), HPET_PERIOD_FS);
}

static void only_offered_routes_are_taken(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    put(f, T2, route(21));
    for (u32 input = 0; input < 32; input++) {
        bool offered = input >= 20 && input <= 23;
        put(f, T2, route(22));
        put(f, T2, route(input));
        assert_int_equal(get(f, T2) >> 9 & 31, offered ? input : 22);
    }
    // The route after reset is none that is offered: an interrupt goes nowhere.
    put(f, T1 + 8, 100);
    put(f, T1, INT);
    put(f, ENABLE, 1);
    pass(f, 200);
    for (unsigned i = 0; i < 32; i++)
        assert_int_equal(f->inputs[i].calls, 0);
}

static void reset_starts_over(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    put(f, T0 + 8, 100);
    put(f, T0, INT | LEVEL | route(20));
    put(f, T1 + 8, 100);
    put(f, T1, INT | PERIODIC | SET);
    put(f, T1 + 8, 5000);
    put(f, ENABLE, 3);
    hpet_legacy_set(&f->hpet, 1, true);
    pass(f, 1000);
    assert_true(f->legacy[0].level);
    assert_false(f->legacy[1].level);
    assert_true(anything_armed(f));
    bus_reset(&f->rig.bus);
    assert_false(f->legacy[0].level);
    assert_true(f->legacy[1].level); // its owner drives it again
    assert_false(anything_armed(f));
    hpet_legacy_set(&f->hpet, 1, false);
    assert_int_equal(get(f, ENABLE), 0);
    assert_int_equal(get(f, STATUS), 0);
    assert_int_equal(get(f, COUNTER), 0);
    assert_int_equal(get(f, T1), 0x00f0000000000030);
    assert_int_equal(get(f, T1 + 8), ~0ull);
    pass(f, 100000);
    assert_int_equal(f->legacy[1].rises, 1);
}

// ---- the counter --------------------------------------------------------------------------------

static void counter_runs_while_enabled(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    pass(f, 1000);
    assert_int_equal(get(f, COUNTER), 0);
    put(f, ENABLE, 1);
    assert_int_equal(get(f, COUNTER), 0);
    pass(f, 1000);
    assert_int_equal(get(f, COUNTER), 1000);
    put(f, ENABLE, 1); // no change
    assert_int_equal(get(f, COUNTER), 1000);
    put(f, ENABLE, 0);
    pass(f, 1000);
    assert_int_equal(get(f, COUNTER), 1000);
    put(f, ENABLE, 1);
    pass(f, 5);
    assert_int_equal(get(f, COUNTER), 1005);
    put(f, COUNTER, 0xfffffffffffffffe);
    pass(f, 3);
    assert_int_equal(get(f, COUNTER), 1);
    rig_write(&f->rig, HPET_BASE + COUNTER + 4, 4, 7);
    assert_int_equal(get(f, COUNTER), 0x700000001);
}

// Looking often must not lose the fractions: three hours at an odd rate, to the count.
static void counter_does_not_drift(void **state)
{
    (void)state;
    static const u64 rates[] = {2893299713, 33333333, 1000000007};
    for (unsigned i = 0; i < ARRAY_SIZE(rates); i++) {
        struct fixture *f = fresh_at(rates[i]);
        u64 ticks = 0, seed = i;
        put(f, ENABLE, 1);
        while (ticks < 3 * 3600 * rates[i]) {
            u64 some = (u64)rig_random(&seed) * 512 + 1;
            pass(f, some);
            ticks += some;
            get(f, COUNTER);
            put(f, ENABLE, 3); // a write that does not halt it
            put(f, ENABLE, 1);
        }
        u64 want = (u64)((unsigned __int128)ticks * HPET_HZ / rates[i]);
        assert_int_equal(get(f, COUNTER), want);
    }
}

// At a rate that is no multiple, every match is served within a tick of its count, never early.
static void matches_are_punctual_at_any_rate(void **state)
{
    (void)state;
    struct fixture *f = fresh_at(2893299713);
    put(f, T0, INT | PERIODIC | SET | route(20));
    put(f, T0 + 8, 10007);
    put(f, ENABLE, 1);
    u64 start = f->rig.now;
    for (u64 n = 1; n <= 10000; n++) {
        u64 when = deadline_next(&f->rig.queue) - start;
        unsigned __int128 exact = (unsigned __int128)n * 10007 * 2893299713;
        assert_true(when == (u64)((exact + HPET_HZ - 1) / HPET_HZ));
        rig_run_to(&f->rig, start + when);
        assert_int_equal(f->inputs[20].rises, n);
        assert_int_equal(get(f, COUNTER), n * 10007);
    }
}

// ---- level --------------------------------------------------------------------------------------

static void level_stays_until_status_is_cleared(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    put(f, T1, INT | LEVEL | PERIODIC | SET | route(22));
    put(f, T1 + 8, 5000);
    put(f, ENABLE, 1);
    pass(f, 5000);
    assert_true(f->inputs[22].level);
    assert_int_equal(get(f, STATUS), 2);
    assert_false(anything_armed(f)); // nothing would change
    pass(f, 20000);
    assert_int_equal(f->inputs[22].calls, 1);
    put(f, STATUS, 5);
    assert_true(f->inputs[22].level);
    put(f, STATUS, 2);
    assert_false(f->inputs[22].level);
    assert_int_equal(get(f, STATUS), 0);
    assert_int_equal(get(f, T1 + 8), 30000);
    pass(f, 5000);
    assert_true(f->inputs[22].level);
    assert_int_equal(f->inputs[22].rises, 2);
}

static void level_status_without_interrupt(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    put(f, T0, LEVEL | route(20));
    put(f, T0 + 8, 100);
    put(f, ENABLE, 1);
    pass(f, 100);
    assert_int_equal(get(f, STATUS), 1);
    assert_false(f->inputs[20].level);
    put(f, T0, LEVEL | INT | route(20));
    assert_true(f->inputs[20].level);
    put(f, T0, LEVEL | INT | route(21));
    assert_false(f->inputs[20].level);
    assert_true(f->inputs[21].level);
    put(f, ENABLE, 0); // status stays, interrupts do not
    assert_false(f->inputs[21].level);
    assert_int_equal(get(f, STATUS), 1);
    put(f, ENABLE, 1);
    assert_true(f->inputs[21].level);
    put(f, T0, INT | route(21)); // edge: no status
    assert_false(f->inputs[21].level);
    assert_int_equal(get(f, STATUS), 0);
}

static void status_read_late_is_right(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    put(f, T2, INT | LEVEL | route(20));
    put(f, T2 + 8, 100);
    put(f, ENABLE, 1);
    be_away(f, 100); // and no deadline was served
    assert_int_equal(get(f, STATUS), 4);
    assert_true(f->inputs[20].level);
}

static void timers_share_an_input(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    for (u32 t = 0; t < HPET_TIMERS; t++) {
        put(f, T0 + 0x20 * t, INT | LEVEL | route(20));
        put(f, T0 + 0x20 * t + 8, 100 * (t + 1));
    }
    put(f, ENABLE, 1);
    pass(f, 300);
    assert_int_equal(f->inputs[20].calls, 1);
    assert_int_equal(get(f, STATUS), 7);
    put(f, STATUS, 3);
    assert_true(f->inputs[20].level);
    put(f, T0, INT | route(20));
    put(f, T0 + 8, 400);
    pass(f, 200); // an edge on a line that is up
    assert_int_equal(f->inputs[20].calls, 1);
    put(f, STATUS, 4);
    assert_false(f->inputs[20].level);
    put(f, T0 + 8, 600);
    pass(f, 200);
    assert_int_equal(f->inputs[20].calls, 4);
}

// ---- legacy replacement -------------------------------------------------------------------------

static void legacy_lines_pass_through(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    for (unsigned line = 0; line < HPET_LEGACY; line++) {
        hpet_legacy_set(&f->hpet, line, true);
        assert_true(f->legacy[line].level);
        hpet_legacy_set(&f->hpet, line, false);
        assert_false(f->legacy[line].level);
    }
    put(f, ENABLE, 1); // running alone changes nothing
    hpet_legacy_set(&f->hpet, 0, true);
    assert_true(f->legacy[0].level);
    put(f, ENABLE, 3);
    assert_false(f->legacy[0].level);
    hpet_legacy_set(&f->hpet, 1, true);
    hpet_legacy_set(&f->hpet, 0, false);
    assert_int_equal(f->legacy[1].calls, 2);
    put(f, ENABLE, 2); // and so does halting
    assert_false(f->legacy[1].level);
    put(f, ENABLE, 0);
    assert_true(f->legacy[1].level); // as its owner left it
    assert_false(f->legacy[0].level);
}

static void legacy_replacement_takes_timers_0_and_1(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    for (u32 t = 0; t < HPET_TIMERS; t++) {
        put(f, T0 + 0x20 * t, INT | PERIODIC | SET | route(20 + t));
        put(f, T0 + 0x20 * t + 8, 30000 + 10000 * t);
    }
    put(f, ENABLE, 3);
    pass(f, 120000);
    assert_int_equal(f->legacy[0].rises, 4);
    assert_int_equal(f->legacy[1].rises, 3);
    assert_int_equal(f->inputs[20].calls, 0);
    assert_int_equal(f->inputs[21].calls, 0);
    assert_int_equal(f->inputs[22].rises, 2);
    put(f, ENABLE, 1);
    assert_false(f->legacy[0].level);
    pass(f, 120000);
    assert_int_equal(f->legacy[0].rises, 4);
    assert_int_equal(f->inputs[20].rises, 4);
}

// The PIC's request goes with the line: it must be up until it is acknowledged.
static void legacy_edge_is_held(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    put(f, T0, INT | PERIODIC | SET);
    put(f, T0 + 8, 50000);
    put(f, ENABLE, 3);
    pass(f, 50000);
    assert_true(f->legacy[0].level);
    pass(f, 49999);
    assert_true(f->legacy[0].level);
    assert_int_equal(f->legacy[0].falls, 0);
    pass(f, 1);
    assert_true(f->legacy[0].level);
    assert_int_equal(f->legacy[0].falls, 1);
    assert_int_equal(f->legacy[0].rises, 2);
    put(f, T0, PERIODIC); // disabled
    assert_false(f->legacy[0].level);
    put(f, T0, INT | PERIODIC);
    assert_false(f->legacy[0].level);
    pass(f, 50000);
    put(f, ENABLE, 2); // halted
    assert_false(f->legacy[0].level);
    put(f, ENABLE, 3);
    pass(f, 50000);
    assert_true(f->legacy[0].level);
    put(f, ENABLE, 1); // routed elsewhere and back
    put(f, ENABLE, 3);
    assert_false(f->legacy[0].level);
}

static void legacy_level(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    put(f, T1, INT | LEVEL | route(20));
    put(f, T1 + 8, 100);
    put(f, ENABLE, 3);
    pass(f, 100);
    assert_true(f->legacy[1].level);
    assert_false(f->legacy[0].level);
    assert_false(f->inputs[20].level);
    put(f, ENABLE, 1);
    assert_false(f->legacy[1].level);
    assert_true(f->inputs[20].level);
    put(f, STATUS, 2);
    assert_false(f->inputs[20].level);
}

static void unwired_pins_are_legal(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    f->hpet.config.inputs.set = NULL;
    f->hpet.config.legacy[0].set = NULL;
    put(f, T0, INT | PERIODIC | SET);
    put(f, T0 + 8, 2000);
    put(f, T2, INT | LEVEL | route(20));
    put(f, T2 + 8, 100);
    put(f, ENABLE, 3);
    pass(f, 10000);
    assert_int_equal(get(f, STATUS), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(capabilities_and_reset_values),
        cmocka_unit_test(reserved_bits_read_0),
        cmocka_unit_test(rest_of_the_page_is_reserved),
        cmocka_unit_test(halves_and_other_widths),
        cmocka_unit_test(only_offered_routes_are_taken),
        cmocka_unit_test(reset_starts_over),
        cmocka_unit_test(counter_runs_while_enabled),
        cmocka_unit_test(counter_does_not_drift),
        cmocka_unit_test(matches_are_punctual_at_any_rate),
        cmocka_unit_test(level_stays_until_status_is_cleared),
        cmocka_unit_test(level_status_without_interrupt),
        cmocka_unit_test(status_read_late_is_right),
        cmocka_unit_test(timers_share_an_input),
        cmocka_unit_test(legacy_lines_pass_through),
        cmocka_unit_test(legacy_replacement_takes_timers_0_and_1),
        cmocka_unit_test(legacy_edge_is_held),
        cmocka_unit_test(legacy_level),
        cmocka_unit_test(unwired_pins_are_legal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
