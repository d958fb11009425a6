// SPDX-License-Identifier: MIT
// The HPET's comparators, one-shot and periodic, and random programs compared with a model that
// counts one by one.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/host/hpet_fixture.h"
#include "tests/host/hpet_model.h"

// ---- one-shot -----------------------------------------------------------------------------------

static void one_shot_fires_once(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    put(f, T2 + 8, 500);
    put(f, T2, INT | route(23));
    assert_false(anything_armed(f)); // halted
    put(f, ENABLE, 1);
    pass(f, 499);
    assert_int_equal(f->inputs[23].rises, 0);
    pass(f, 1);
    assert_int_equal(f->inputs[23].rises, 1);
    assert_false(f->inputs[23].level); // a pulse
    assert_int_equal(get(f, STATUS), 0);
    assert_int_equal(get(f, T2 + 8), 500);
    assert_false(anything_armed(f));
    put(f, T2 + 8, get(f, COUNTER) + 100);
    pass(f, 100);
    assert_int_equal(f->inputs[23].rises, 2);
}

static void a_value_that_has_passed_waits(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    put(f, ENABLE, 1);
    pass(f, 1000);
    put(f, T0 + 8, 999);
    put(f, T0, INT | route(20));
    pass(f, 1ull << 40);
    assert_int_equal(f->inputs[20].rises, 0);
    // The counter is set back: now it comes.
    put(f, COUNTER, 0);
    pass(f, 999);
    assert_int_equal(f->inputs[20].rises, 1);
    // And equal to the counter is a match.
    put(f, T0 + 8, 999);
    deadline_run(&f->rig.queue, f->rig.now);
    assert_int_equal(f->inputs[20].rises, 2);
}

static void narrow_one_shot_comes_round(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    put(f, COUNTER, 0x5fffffff0);
    put(f, T0, INT | NARROW | route(20));
    put(f, T0 + 8, 0xabcd00000010);
    assert_int_equal(get(f, T0 + 8), 0x10);
    put(f, ENABLE, 1);
    pass(f, 0x1f);
    assert_int_equal(f->inputs[20].rises, 0);
    pass(f, 1);
    assert_int_equal(f->inputs[20].rises, 1);
    pass(f, 0xffffffff);
    assert_int_equal(f->inputs[20].rises, 1);
    pass(f, 1);
    assert_int_equal(f->inputs[20].rises, 2);
    be_away(f, 0x500000000); // rounds nobody saw are one
    deadline_run(&f->rig.queue, f->rig.now);
    assert_int_equal(f->inputs[20].rises, 3);
    assert_int_equal(get(f, T0 + 8), 0x10);
    put(f, T0, INT | route(20)); // wide again: 10H is long past
    pass(f, 0x300000000);
    assert_int_equal(f->inputs[20].rises, 3);
}

static void becoming_narrow_cuts_the_comparator(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    put(f, T0 + 8, 0x700000100);
    put(f, T0, INT | route(20));
    put(f, ENABLE, 1);
    pass(f, 0x80);
    put(f, T0, INT | NARROW | route(20));
    assert_int_equal(get(f, T0 + 8), 0x100);
    pass(f, 0x80);
    assert_int_equal(f->inputs[20].rises, 1);
}

static void disabled_interrupt_is_not_sent_later(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    put(f, T0 + 8, 100);
    put(f, T0, route(20));
    put(f, ENABLE, 1);
    assert_false(anything_armed(f));
    pass(f, 200);
    put(f, T0, INT | route(20));
    pass(f, 1000);
    assert_int_equal(f->inputs[20].rises, 0);
    // What was due before it is disabled is sent, however late.
    put(f, T0 + 8, get(f, COUNTER) + 10);
    be_away(f, 10);
    put(f, T0, route(20));
    assert_int_equal(f->inputs[20].rises, 1);
    put(f, T0 + 8, get(f, COUNTER) + 10);
    put(f, T0, INT | route(20));
    be_away(f, 9);
    put(f, T0, route(20));
    pass(f, 100);
    assert_int_equal(f->inputs[20].rises, 1);
}

static void halting_stops_the_timers(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    put(f, T0 + 8, 100);
    put(f, T0, INT | route(20));
    put(f, ENABLE, 1);
    pass(f, 60);
    put(f, ENABLE, 0);
    pass(f, 1000);
    assert_int_equal(f->inputs[20].rises, 0);
    put(f, ENABLE, 1);
    pass(f, 39);
    assert_int_equal(f->inputs[20].rises, 0);
    pass(f, 1);
    assert_int_equal(f->inputs[20].rises, 1);
}

// ---- periodic -----------------------------------------------------------------------------------

// As the specification's initialisation does: one write sets the first match and the period.
static void periodic_with_one_write(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    put(f, T0, INT | PERIODIC | SET | route(21));
    put(f, T0 + 8, 50000);
    assert_int_equal(get(f, T0) & SET, 0);
    put(f, ENABLE, 1);
    for (unsigned n = 1; n <= 20; n++) {
        pass(f, 49999);
        assert_int_equal(f->inputs[21].rises, n - 1);
        assert_int_equal(get(f, T0 + 8), n * 50000);
        pass(f, 1);
        assert_int_equal(f->inputs[21].rises, n);
        assert_int_equal(get(f, T0 + 8), (n + 1) * 50000);
    }
}

// As Linux does: the first match, then the period.
static void periodic_with_two_writes(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    put(f, ENABLE, 1);
    pass(f, 7770);
    u32 config = INT | PERIODIC | SET | NARROW | route(20);
    put(f, T0, config);
    assert_int_equal(get(f, T0) & SET, SET);
    rig_write(&f->rig, HPET_BASE + T0 + 8, 4, 7770 + 30000);
    rig_write(&f->rig, HPET_BASE + T0 + 8, 4, 40000);
    assert_int_equal(get(f, T0 + 8), 37770);
    pass(f, 29999);
    assert_int_equal(f->inputs[20].rises, 0);
    pass(f, 1);
    assert_int_equal(f->inputs[20].rises, 1);
    pass(f, 80000);
    assert_int_equal(f->inputs[20].rises, 3);
    // A new period counts from the next match on.
    put(f, T0 + 8, 25000);
    pass(f, 39999);
    assert_int_equal(f->inputs[20].rises, 3);
    pass(f, 1 + 25000);
    assert_int_equal(f->inputs[20].rises, 5);
}

static void wide_comparator_is_set_by_halves(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    put(f, COUNTER, 0x4fffff000);
    put(f, T1, PERIODIC | SET);
    rig_write(&f->rig, HPET_BASE + T1 + 8, 4, 0x2000);
    put(f, T1, PERIODIC | SET);
    rig_write(&f->rig, HPET_BASE + T1 + 12, 4, 5);
    assert_int_equal(get(f, T1 + 8), 0x500002000);
    rig_write(&f->rig, HPET_BASE + T1 + 8, 4, 0x1800); // the period alone
    rig_write(&f->rig, HPET_BASE + T1 + 12, 4, 0);
    assert_int_equal(get(f, T1 + 8), 0x500002000);
    put(f, T1, PERIODIC | INT | route(22));
    put(f, ENABLE, 1);
    pass(f, 0x3000);
    assert_int_equal(f->inputs[22].rises, 1);
    assert_int_equal(get(f, T1 + 8), 0x500003800);
}

static void missed_periods_are_one_interrupt(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    put(f, T0, INT | PERIODIC | SET | route(20));
    put(f, T0 + 8, 50000);
    put(f, ENABLE, 1);
    be_away(f, 50000 * 7 + 1230);
    deadline_run(&f->rig.queue, f->rig.now);
    assert_int_equal(f->inputs[20].rises, 1);
    assert_int_equal(get(f, T0 + 8), 400000);
    pass(f, 50000 - 1230 - 1);
    assert_int_equal(f->inputs[20].rises, 1);
    pass(f, 1); // on the old schedule
    assert_int_equal(f->inputs[20].rises, 2);
    // A read of the comparator serves what is due before it tells.
    be_away(f, 50000 * 3);
    assert_int_equal(get(f, T0 + 8), 600000);
    assert_int_equal(f->inputs[20].rises, 3);
}

static void tiny_periods_have_a_floor(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    put(f, T0, INT | PERIODIC | SET | route(20));
    put(f, T0 + 8, 7);
    put(f, ENABLE, 1);
    pass(f, 6);
    assert_int_equal(f->inputs[20].rises, 0);
    pass(f, 1);
    assert_int_equal(f->inputs[20].rises, 1);
    pass(f, 10002); // 7 + 10003 is the first multiple after the floor
    assert_int_equal(f->inputs[20].rises, 1);
    assert_int_equal(get(f, T0 + 8), 10010); // what is read is as programmed
    pass(f, 1);
    assert_int_equal(f->inputs[20].rises, 2);
    assert_int_equal(get(f, T0 + 8), 10017);
    f->rig.fired = 0;
    pass(f, HPET_HZ / 10); // a thousand interrupts at most in a tenth of a second
    assert_in_range(f->rig.fired, 990, 1000);
    assert_int_equal(f->inputs[20].rises, 2 + f->rig.fired);
    // Writes in between do not move it.
    u64 next = deadline_next(&f->rig.queue);
    for (int i = 0; i < 20; i++) {
        pass(f, 11);
        put(f, T0, INT | PERIODIC | route(20));
        put(f, STATUS, 0);
        assert_int_equal(deadline_next(&f->rig.queue), next);
    }
}

static void period_0_is_none(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    put(f, T0, INT | PERIODIC | SET | route(20));
    put(f, T0 + 8, 100);
    put(f, T0 + 8, 0);
    put(f, ENABLE, 1);
    pass(f, 1ull << 34);
    assert_int_equal(f->inputs[20].rises, 1);
    assert_int_equal(get(f, T0 + 8), 100);
    put(f, T0, INT | PERIODIC | NARROW | route(20));
    put(f, COUNTER, 0);
    pass(f, (1ull << 33) + 100);
    assert_int_equal(f->inputs[20].rises, 4);
}

static void value_set_is_for_periodic_mode(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    put(f, T0, SET);
    assert_int_equal(get(f, T0) & SET, 0);
    put(f, T0, SET | PERIODIC);
    put(f, T0, PERIODIC);
    assert_int_equal(get(f, T0) & SET, 0);
    put(f, T0 + 8, 1000); // the period alone
    assert_int_equal(get(f, T0 + 8), ~0ull);
}

static void narrow_period_wraps(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    put(f, COUNTER, 0xffff0000);
    put(f, T0, INT | PERIODIC | SET | NARROW | route(20));
    put(f, T0 + 8, 0xffff8000);
    put(f, T0 + 8, 0x10000);
    put(f, ENABLE, 1);
    pass(f, 0x8000);
    assert_int_equal(f->inputs[20].rises, 1);
    assert_int_equal(get(f, T0 + 8), 0x8000);
    pass(f, 0x10000);
    assert_int_equal(f->inputs[20].rises, 2);
    assert_int_equal(get(f, T0 + 8), 0x18000);
}

// ---- against the model --------------------------------------------------------------------------

static struct hpet_model model_reset(void)
{
    struct hpet_model m = {0};
    for (int i = 0; i < 3; i++)
        m.timers[i].comparator = ~0ull;
    return m;
}

static u32 random_config(u64 *seed, u32 timer)
{
    u32 value = rig_random(seed) & (LEVEL | PERIODIC | SET);
    value |= rig_random(seed) % 4 ? INT : 0;
    value |= rig_random(seed) % 2 ? NARROW : 0;
    return value | route(rig_random(seed) % 4 ? 20 + timer : 3);
}

// Near the counter, ahead or behind, or a period: short, long or none.
static u64 random_comparator(u64 *seed, const struct hpet_model *m)
{
    switch (rig_random(seed) % 6) {
    case 0:
        return rig_random(seed) % 3 * (rig_random(seed) % 1000);
    case 1:
        return MODEL_FLOOR - 1000 + rig_random(seed) % 3000;
    default:
        return m->counter - 200 + rig_random(seed) % 6000;
    }
}

static void random_write(struct fixture *f, struct hpet_model *m, u64 *seed)
{
    u32 t = rig_random(seed) % 3;
    u64 value;
    switch (rig_random(seed) % 16) {
    case 0:
        value = rig_random(seed) % 8 ? 1 | (rig_random(seed) & 2) : rig_random(seed) & 3;
        put(f, ENABLE, value);
        model_write_enable(m, (u32)value);
        break;
    case 1:
        value = rig_random(seed) % 2 ? rig_random(seed) % 5000 : 0x300000000 - 1000;
        put(f, COUNTER, value);
        model_set_counter(m, value);
        break;
    case 2:
    case 3:
        value = rig_random(seed) & 7;
        put(f, STATUS, value);
        m->status &= ~(u32)value;
        model_lines(m);
        break;
    case 4:
    case 5:
        m->legacy_in[t & 1] = value = rig_random(seed) & 1;
        hpet_legacy_set(&f->hpet, t & 1, value);
        model_lines(m);
        break;
    case 6:
    case 7:
    case 8:
    case 9:
        value = random_config(seed, t);
        put(f, T0 + 0x20 * t, value);
        model_write_config(m, (int)t, (u32)value);
        break;
    default:
        value = random_comparator(seed, m);
        put(f, T0 + 0x20 * t + 8, value);
        model_write_comparator(m, (int)t, value);
    }
}

static void compare_with_model(struct fixture *f, const struct hpet_model *m)
{
    const struct rig_line *lines[MODEL_LINES] = {&f->inputs[20], &f->inputs[21], &f->inputs[22],
                                                 &f->legacy[0], &f->legacy[1]};
    for (unsigned i = 0; i < MODEL_LINES; i++)
        if (lines[i]->level != m->up[i] || lines[i]->rises != m->rises[i])
            fail_msg("line %u: level %d, want %d; %u rises, want %u", i, lines[i]->level, m->up[i],
                     lines[i]->rises, m->rises[i]);
    assert_int_equal(get(f, COUNTER), m->counter);
    assert_int_equal(get(f, STATUS), m->status);
    assert_int_equal(get(f, ENABLE), (u64)m->running | (u64)m->legacy << 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(get(f, T0 + 0x20 * (u32)i), model_config(m, i));
        assert_int_equal(get(f, T0 + 0x20 * (u32)i + 8), m->timers[i].comparator);
    }
}

static void random_programs_match_the_model(void **state)
{
    (void)state;
    for (u64 run = 1; run <= 60; run++) {
        struct fixture *f = fresh();
        struct hpet_model m = model_reset();
        u64 seed = run;
        for (unsigned step = 0; step < 500; step++) {
            random_write(f, &m, &seed);
            deadline_run(&f->rig.queue, f->rig.now);
            compare_with_model(f, &m);
            u64 counts = rig_random(&seed) % 4 ? rig_random(&seed) % 4000 : 0;
            pass(f, counts);
            for (; counts > 0; counts--)
                model_count(&m);
            compare_with_model(f, &m);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_shot_fires_once),
        cmocka_unit_test(a_value_that_has_passed_waits),
        cmocka_unit_test(narrow_one_shot_comes_round),
        cmocka_unit_test(becoming_narrow_cuts_the_comparator),
        cmocka_unit_test(disabled_interrupt_is_not_sent_later),
        cmocka_unit_test(halting_stops_the_timers),
        cmocka_unit_test(periodic_with_one_write),
        cmocka_unit_test(periodic_with_two_writes),
        cmocka_unit_test(wide_comparator_is_set_by_halves),
        cmocka_unit_test(missed_periods_are_one_interrupt),
        cmocka_unit_test(tiny_periods_have_a_floor),
        cmocka_unit_test(period_0_is_none),
        cmocka_unit_test(value_set_is_for_periodic_mode),
        cmocka_unit_test(narrow_period_wraps),
        cmocka_unit_test(random_programs_match_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
