// SPDX-License-Identifier: MIT
// ACPI's fixed hardware: the timer's rate to the pulse, TMR_STS at each change of its top bit, SCI
// as the level of what is set and enabled, and S5.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "devices/pm.h"
#include "tests/host/device_rig.h"

#define BASE    0x600u
#define STS     BASE
#define EN      (BASE + 2)
#define CNT     (BASE + 4)
#define TMR     (BASE + 8)
#define HALF    (1ull << 31) // pulses between changes of the top bit
#define START   777777u      // the clock does not begin with the device
#define PWRBTN  0x100u
#define WAK     0x8000u
#define S5_TYPE 5u

struct fixture {
    struct rig rig;
    struct pm pm;
    unsigned power_offs;
};

static void power_off(void *ctx)
{
    ((struct fixture *)ctx)->power_offs++;
}

static struct fixture *fresh(u64 hz)
{
    static struct fixture f;
    f = (struct fixture){0};
    rig_init(&f.rig, hz);
    f.rig.now = START;
    pm_init(&f.pm, &(struct pm_config){.base = BASE,
                                       .soft_off = S5_TYPE,
                                       .clock = &f.rig.clock,
                                       .queue = &f.rig.queue,
                                       .sci = rig_pin(&f.rig),
                                       .power_off = power_off,
                                       .ctx = &f});
    assert_int_equal(pm_attach(&f.pm, &f.rig.bus), OK);
    return &f;
}

// The first tick at which the timer has counted this many pulses.
static u64 tick_of(const struct fixture *f, u64 pulses)
{
    unsigned __int128 product = (unsigned __int128)pulses * f->rig.clock.hz;
    return START + (u64)((product + PM_TIMER_HZ - 1) / PM_TIMER_HZ);
}

static const u64 rates[] = {PM_TIMER_HZ, 100000000, 2400000000, 2893299123, 3700000001};

static void timer_counts_to_the_pulse_for_years(void **state)
{
    (void)state;
    static const u64 pulses[] = {
        1,          2,          3579544,     3579545,     0x7fffffff,
        0x80000000, 0xffffffff, 0x100000000, 0x123456789, 3579545ull * 86400 * 3650};
    for (size_t r = 0; r < ARRAY_SIZE(rates); r++) {
        struct fixture *f = fresh(rates[r]);
        assert_int_equal(rig_in(&f->rig, TMR, 4), 0);
        for (size_t i = 0; i < ARRAY_SIZE(pulses); i++) {
            f->rig.now = tick_of(f, pulses[i]) - 1;
            assert_int_equal(rig_in(&f->rig, TMR, 4), (u32)(pulses[i] - 1));
            f->rig.now++;
            assert_int_equal(rig_in(&f->rig, TMR, 4), (u32)pulses[i]);
        }
    }
}

static void timer_reads_in_parts_and_is_read_only(void **state)
{
    (void)state;
    struct fixture *f = fresh(PM_TIMER_HZ);
    f->rig.now = START + 0x12345678;
    assert_int_equal(rig_in(&f->rig, TMR, 1), 0x78);
    assert_int_equal(rig_in(&f->rig, TMR + 3, 1), 0x12);
    assert_int_equal(rig_in(&f->rig, TMR + 1, 2), 0x3456);
    assert_int_equal(rig_in(&f->rig, TMR + 2, 2), 0x1234);
    rig_out(&f->rig, TMR, 4, 0);
    rig_out(&f->rig, TMR, 1, 0xff);
    assert_int_equal(rig_in(&f->rig, TMR, 4), 0x12345678);
    assert_int_equal(f->rig.bus.unclaimed[IO_PORT], 0);
    // Ports between the blocks, after them, and accesses that leave one are nobody's.
    assert_int_equal(rig_in(&f->rig, CNT + 2, 2), 0xffff);
    assert_int_equal(rig_in(&f->rig, CNT, 4), 0xffffffff);
    assert_int_equal(rig_in(&f->rig, TMR + 4, 1), 0xff);
    assert_int_equal(rig_in(&f->rig, TMR + 2, 4), 0xffffffff);
    assert_int_equal(f->rig.bus.unclaimed[IO_PORT], 4);
}

static void status_tells_each_change_of_the_top_bit(void **state)
{
    (void)state;
    struct fixture *f = fresh(2400000000);
    for (u64 change = 1; change < 6; change++) {
        f->rig.now = tick_of(f, change * HALF) - 1;
        assert_int_equal(rig_in(&f->rig, STS, 2), 0);
        f->rig.now++;
        assert_int_equal(rig_in(&f->rig, STS, 2), 1);
        rig_out(&f->rig, STS, 2, 0xfffe); // writing 0 clears nothing
        assert_int_equal(rig_in(&f->rig, STS, 2), 1);
        rig_out(&f->rig, STS, 1, 1);
        assert_int_equal(rig_in(&f->rig, STS, 2), 0);
    }
    // Two changes that nobody looked at set one bit, and the bit lasts.
    f->rig.now = tick_of(f, 9 * HALF) + 5;
    assert_int_equal(rig_in(&f->rig, STS, 2), 1);
    rig_out(&f->rig, STS, 2, 1);
    assert_int_equal(rig_in(&f->rig, STS, 2), 0);
    assert_int_equal(f->rig.irq.calls, 0);
    assert_int_equal(deadline_next(&f->rig.queue), DEADLINE_NEVER);
}

static void enabled_timer_raises_sci_on_the_tick(void **state)
{
    (void)state;
    for (size_t r = 0; r < ARRAY_SIZE(rates); r++) {
        struct fixture *f = fresh(rates[r]);
        rig_out(&f->rig, EN, 2, 1);
        for (u64 change = 1; change < 40; change++) {
            u64 due = tick_of(f, change * HALF);
            assert_int_equal(deadline_next(&f->rig.queue), due);
            rig_run_to(&f->rig, due - 1);
            assert_false(f->rig.irq.level);
            rig_run_to(&f->rig, due);
            assert_true(f->rig.irq.level);
            // Nothing more to wait for until the guest has seen this one.
            assert_int_equal(deadline_next(&f->rig.queue), DEADLINE_NEVER);
            rig_run_to(&f->rig, due + 12345);
            rig_out(&f->rig, STS, 2, 1);
            assert_false(f->rig.irq.level);
            assert_int_equal(f->rig.irq.rises, change);
        }
    }
}

static void enabling_late_and_disabling_follow_the_status(void **state)
{
    (void)state;
    struct fixture *f = fresh(PM_TIMER_HZ);
    rig_run_to(&f->rig, START + HALF + 1);
    assert_false(f->rig.irq.level);
    rig_out(&f->rig, EN, 1, 1);
    assert_true(f->rig.irq.level);
    rig_out(&f->rig, EN, 1, 0);
    assert_false(f->rig.irq.level);
    assert_int_equal(rig_in(&f->rig, STS, 2), 1);
    rig_out(&f->rig, STS, 4, 0x00010001); // clears and enables at once
    assert_false(f->rig.irq.level);
    assert_int_equal(deadline_next(&f->rig.queue), START + 2 * HALF);
    rig_out(&f->rig, EN, 2, 0);
    assert_int_equal(deadline_next(&f->rig.queue), DEADLINE_NEVER);
}

// The deadline is served long after it was due, with more changes gone by.
static void late_service_raises_sci_once(void **state)
{
    (void)state;
    struct fixture *f = fresh(PM_TIMER_HZ);
    rig_out(&f->rig, EN, 2, 1);
    f->rig.now = START + 7 * HALF + 3;
    deadline_run(&f->rig.queue, f->rig.now);
    assert_int_equal(f->rig.irq.rises, 1);
    rig_out(&f->rig, STS, 2, 1);
    assert_false(f->rig.irq.level);
    assert_int_equal(deadline_next(&f->rig.queue), START + 8 * HALF);
}

static void power_button_is_a_level(void **state)
{
    (void)state;
    struct fixture *f = fresh(PM_TIMER_HZ);
    pm_power_button(&f->pm);
    assert_int_equal(rig_in(&f->rig, STS, 2), PWRBTN);
    assert_false(f->rig.irq.level);
    rig_out(&f->rig, EN + 1, 1, PWRBTN >> 8);
    assert_true(f->rig.irq.level);
    rig_out(&f->rig, STS, 1, 0xff); // the other byte
    assert_true(f->rig.irq.level);
    rig_out(&f->rig, STS, 2, PWRBTN);
    assert_false(f->rig.irq.level);
    pm_power_button(&f->pm);
    pm_power_button(&f->pm);
    assert_true(f->rig.irq.level);
    assert_int_equal(f->rig.irq.rises, 2);
    assert_int_equal(f->power_offs, 0);
}

static void enables_are_kept_and_reserved_bits_are_not(void **state)
{
    (void)state;
    struct fixture *f = fresh(PM_TIMER_HZ);
    rig_out(&f->rig, EN, 2, 0xffff);
    assert_int_equal(rig_in(&f->rig, EN, 2), 0x0721);
    rig_out(&f->rig, EN + 1, 1, 0x02);
    assert_int_equal(rig_in(&f->rig, STS, 4), 0x02210000);
    rig_out(&f->rig, EN - 1, 2, 0x0000); // STS's high byte and EN's low one
    assert_int_equal(rig_in(&f->rig, EN, 2), 0x0200);
    // An access that takes in two registers.
    rig_out(&f->rig, EN, 4, 0x08020421);
    assert_int_equal(rig_in(&f->rig, EN, 4), 0x08030421);
    assert_int_equal(rig_in(&f->rig, STS + 1, 4), 0x03042100);
    rig_out(&f->rig, CNT, 2, 0xdfff & ~(7u << 10));
    assert_int_equal(rig_in(&f->rig, CNT, 2), 3);
    rig_out(&f->rig, CNT, 2, 0);
    assert_int_equal(rig_in(&f->rig, CNT, 2), 1); // ACPI mode cannot be left
}

static void s5_asks_for_power_off_and_other_states_wake_at_once(void **state)
{
    (void)state;
    for (u32 type = 0; type < 8; type++) {
        struct fixture *f = fresh(PM_TIMER_HZ);
        rig_out(&f->rig, CNT, 2, type << 10);
        assert_int_equal(rig_in(&f->rig, CNT, 2), type << 10 | 1);
        assert_int_equal(f->power_offs, 0);
        // ACPICA writes the type first and SLP_EN with it after that.
        rig_out(&f->rig, CNT, 2, type << 10 | 1u << 13);
        assert_int_equal(f->power_offs, type == S5_TYPE);
        assert_int_equal(f->pm.other_sleeps, type != S5_TYPE);
        assert_int_equal(rig_in(&f->rig, STS, 2), type != S5_TYPE ? WAK : 0);
        assert_int_equal(rig_in(&f->rig, CNT, 2), type << 10 | 1); // SLP_EN reads 0
        rig_out(&f->rig, EN, 2, 0xffff);
        assert_false(f->rig.irq.level); // being awake interrupts nobody
        rig_out(&f->rig, STS, 2, WAK);
        assert_int_equal(rig_in(&f->rig, STS, 2), 0);
    }
}

// SLP_EN in the high byte, with the type that is there.
static void s5_by_bytes(void **state)
{
    (void)state;
    struct fixture *f = fresh(PM_TIMER_HZ);
    outb(&f->rig, CNT + 1, S5_TYPE << 2);
    outb(&f->rig, CNT, 0);
    assert_int_equal(f->power_offs, 0);
    outb(&f->rig, CNT + 1, S5_TYPE << 2 | 0x20);
    assert_int_equal(f->power_offs, 1);
    outb(&f->rig, CNT, 2);
    outb(&f->rig, CNT + 1, 0x04);
    assert_int_equal(rig_in(&f->rig, CNT, 2), 0x0403);
    assert_int_equal(f->power_offs, 1);
}

static void reset_starts_anew(void **state)
{
    (void)state;
    struct fixture *f = fresh(PM_TIMER_HZ);
    rig_out(&f->rig, EN, 2, 0xffff);
    rig_out(&f->rig, CNT, 2, 0x402);
    pm_power_button(&f->pm);
    rig_run_to(&f->rig, START + HALF - 3);
    assert_true(f->rig.irq.level);
    bus_reset(&f->rig.bus);
    assert_false(f->rig.irq.level);
    assert_int_equal(deadline_next(&f->rig.queue), DEADLINE_NEVER);
    assert_int_equal(rig_in(&f->rig, STS, 4), 0);
    assert_int_equal(rig_in(&f->rig, CNT, 2), 1);
    assert_int_equal(rig_in(&f->rig, TMR, 4), 0);
    rig_run_to(&f->rig, f->rig.now + HALF - 1);
    assert_int_equal(rig_in(&f->rig, STS, 2), 0);
    rig_run_to(&f->rig, f->rig.now + 1);
    assert_int_equal(rig_in(&f->rig, STS, 2), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timer_counts_to_the_pulse_for_years),
        cmocka_unit_test(timer_reads_in_parts_and_is_read_only),
        cmocka_unit_test(status_tells_each_change_of_the_top_bit),
        cmocka_unit_test(enabled_timer_raises_sci_on_the_tick),
        cmocka_unit_test(enabling_late_and_disabling_follow_the_status),
        cmocka_unit_test(late_service_raises_sci_once),
        cmocka_unit_test(power_button_is_a_level),
        cmocka_unit_test(enables_are_kept_and_reserved_bits_are_not),
        cmocka_unit_test(s5_asks_for_power_off_and_other_states_wake_at_once),
        cmocka_unit_test(s5_by_bytes),
        cmocka_unit_test(reset_starts_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
