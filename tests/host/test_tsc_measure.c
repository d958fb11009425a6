// SPDX-License-Identifier: MIT
// The TSC measured in a machine whose time passes with its accesses, with clocks that run, stand
// still, stop, wrap or are not there.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/clock.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/tsc_measure.h"

#define PM_PORT     0x608
#define HPET_HZ     14318180ull
#define BOUNDED     10000000u // accesses
#define NS_A_SECOND 1000000000ull
#define NEVER       (~0ull)

static struct {
    u64 ns;     // since the beginning
    u64 access; // ns that one takes
    u64 tsc_hz;
    u64 accesses;
    u64 pm_stops, hpet_stops, pit_stops; // ns; 0: not there
    u64 pm_start;                        // its count at the beginning
    u32 hpet_period, hpet_config;
    u8 port_b;
    u64 pit_started; // ns
    u16 latched;
    bool low_read;
    u64 leap_at, leap; // an interruption: so many ns pass at once
    bool stray;
} pc;

static u8 hpet_registers[HPET_SIZE];

static void pass(void)
{
    pc.accesses++;
    pc.ns += pc.access;
    if (pc.leap && pc.ns >= pc.leap_at) {
        pc.ns += pc.leap;
        pc.leap = 0;
    }
}

static u64 counts(u64 since, u64 stops, u64 hz)
{
    u64 until = pc.ns < stops ? pc.ns : stops;
    return until > since ? mul_div(until - since, hz, NS_A_SECOND) : 0;
}

static u64 read_tsc(void)
{
    pc.ns += 10;
    return 1000 + mul_div(pc.ns, pc.tsc_hz, NS_A_SECOND);
}

static u8 in8(u16 port)
{
    pass();
    if (port == 0x61)
        return pc.port_b;
    if (port != 0x42 || !pc.pit_stops)
        return 0xff;
    pc.low_read = !pc.low_read;
    return (u8)(pc.low_read ? pc.latched : pc.latched >> 8);
}

static void out8(u16 port, u8 value)
{
    pass();
    switch (port) {
    case 0x61:
        pc.port_b = value;
        break;
    case 0x43:
        if (value == 0x80) {
            bool gate = pc.port_b & 1;
            u64 ticks = gate ? counts(pc.pit_started, pc.pit_stops, 1193182) : 0;
            pc.latched = (u16)(0xffff - ticks);
            pc.low_read = false;
        }
        break;
    case 0x42:
        pc.pit_started = pc.ns;
        break;
    default:
        pc.stray = true;
    }
}

static u32 in32(u16 port)
{
    pass();
    if (port != PM_PORT)
        pc.stray = true;
    if (!pc.pm_stops)
        return ~0u;
    return (u32)((pc.pm_start + counts(0, pc.pm_stops, 3579545)) & 0xffffff);
}

static u32 read_memory(const volatile void *at, unsigned width)
{
    pass();
    assert_int_equal(width, 4);
    switch ((const volatile u8 *)at - hpet_registers) {
    case 4:
        return pc.hpet_period;
    case 0x10:
        return pc.hpet_config;
    case 0xf0:
        return pc.hpet_config & 1 ? (u32)counts(0, pc.hpet_stops, HPET_HZ) : 7;
    default:
        pc.stray = true;
        return 0;
    }
}

static void write_memory(volatile void *at, unsigned width, u32 value)
{
    pass();
    assert_int_equal(width, 4);
    assert_int_equal((volatile u8 *)at - hpet_registers, 0x10);
    pc.hpet_config = value;
}

static const struct port_io io = {
    .in8 = in8, .out8 = out8, .in32 = in32, .read = read_memory, .write = write_memory};

// A PC where everything runs.
static int fresh(void **state)
{
    (void)state;
    memset(&pc, 0, sizeof(pc));
    pc.access = 700;
    pc.tsc_hz = 2893299713;
    pc.pm_stops = pc.hpet_stops = pc.pit_stops = NEVER;
    pc.hpet_period = 69841279;
    pc.hpet_config = 2; // legacy replacement, not counting
    pc.port_b = 0x2e;   // speaker's data on, gate off
    log_set_sink(NULL, false);
    log_set_level(LOG_ERROR);
    return 0;
}

static struct tsc_opinions measured(void)
{
    struct tsc_opinions opinions = {0};
    const struct tsc_measure_config config = {
        .io = &io, .tsc = read_tsc, .pm_timer_port = PM_PORT, .hpet = hpet_registers};
    u8 port_b = pc.port_b;
    u32 hpet = pc.hpet_config;
    tsc_measure(&config, &opinions);
    assert_true(pc.accesses < BOUNDED);
    assert_false(pc.stray);
    assert_int_equal(pc.port_b, port_b);
    assert_int_equal(pc.hpet_config, hpet);
    assert_int_equal(opinions.hz[TSC_CPUID_15] | opinions.hz[TSC_CPUID_16], 0);
    return opinions;
}

static void expect(struct tsc_opinions opinions, enum tsc_source source, bool there)
{
    u64 hz = opinions.hz[source], slack = pc.tsc_hz / 1000;
    if (!there)
        assert_int_equal(hz, 0);
    else
        assert_in_range(hz, pc.tsc_hz - slack, pc.tsc_hz + slack);
}

static void expect_all(struct tsc_opinions opinions, bool hpet, bool pm, bool pit)
{
    expect(opinions, TSC_HPET, hpet);
    expect(opinions, TSC_PM_TIMER, pm);
    expect(opinions, TSC_PIT, pit);
}

static void all_three_agree(void **state)
{
    (void)state;
    static const u64 rates[] = {100000000, 1000000007, 2893299713, 5200000000};
    for (unsigned i = 0; i < ARRAY_SIZE(rates); i++) {
        fresh(state);
        pc.tsc_hz = rates[i];
        expect_all(measured(), true, true, true);
        assert_in_range(pc.ns, 15 * 1000000, 20 * 1000000); // three times 5 ms
    }
}

static void slow_and_fast_buses_measure_the_same(void **state)
{
    (void)state;
    static const u64 access[] = {50, 300, 2000, 12000}; // the last is a port in a nested guest
    for (unsigned i = 0; i < ARRAY_SIZE(access); i++) {
        fresh(state);
        pc.access = access[i];
        struct tsc_opinions o = measured();
        // A reading is no better than the time it takes.
        u64 slack = pc.tsc_hz / 1000 + pc.tsc_hz / 15000 * access[i] / 1000 * 4;
        for (unsigned s = TSC_HPET; s <= TSC_PIT; s++)
            assert_in_range(o.hz[s], pc.tsc_hz - slack, pc.tsc_hz + slack);
    }
}

static void each_may_be_missing(void **state)
{
    (void)state;
    for (unsigned set = 0; set < 8; set++) {
        fresh(state);
        pc.hpet_stops = set & 1 ? NEVER : 0;
        pc.pm_stops = set & 2 ? NEVER : 0;
        pc.pit_stops = set & 4 ? NEVER : 0;
        expect_all(measured(), set & 1, set & 2, set & 4);
    }
}

static void one_that_stops_does_not_take_the_others_along(void **state)
{
    (void)state;
    for (unsigned ms = 1; ms < 15; ms++) {
        fresh(state);
        pc.hpet_stops = ms * 1000000;
        struct tsc_opinions o = measured();
        expect(o, TSC_HPET, false);
        expect(o, TSC_PM_TIMER, true);
        expect(o, TSC_PIT, true);
    }
    fresh(state);
    pc.hpet_stops = 0;
    pc.pm_stops = 6 * 1000000;
    expect_all(measured(), false, false, true);
    fresh(state);
    pc.hpet_stops = pc.pm_stops = pc.pit_stops = 7 * 1000000;
    struct tsc_opinions o = measured();
    assert_int_equal(tsc_decide(&o).source, TSC_NONE);
}

static void counters_may_wrap(void **state)
{
    (void)state;
    pc.pm_start = 0xffffff - 20000;
    expect_all(measured(), true, true, true);
    for (u64 left = 95000; left < 160000; left += 5000) {
        fresh(state);
        pc.hpet_stops = pc.pit_stops = 0;
        pc.pm_start = 0xffffff - left;
        expect_all(measured(), false, true, false);
        // It is not taken for more time than it was; the rest is looking for a PIT.
        assert_in_range(pc.ns, 42 * 1000000, 45 * 1000000);
    }
}

static void nonsense_in_the_hpet_is_no_hpet(void **state)
{
    (void)state;
    static const u32 periods[] = {0, 100000001, 0xffffffff};
    for (unsigned i = 0; i < ARRAY_SIZE(periods); i++) {
        fresh(state);
        pc.hpet_period = periods[i];
        expect_all(measured(), false, true, true);
    }
}

static void without_tables_the_pit_is_tried(void **state)
{
    (void)state;
    struct tsc_opinions opinions = {0};
    const struct tsc_measure_config config = {.io = &io, .tsc = read_tsc};
    tsc_measure(&config, &opinions);
    expect_all(opinions, false, false, true);
}

// A system management interrupt takes a millisecond somewhere.
static void an_interruption_does_little_harm(void **state)
{
    (void)state;
    for (u64 at = 0; at < 18000000; at += 97000) {
        fresh(state);
        pc.leap_at = at;
        pc.leap = 1000000;
        struct tsc_opinions o = measured();
        struct tsc_decision d = tsc_decide(&o);
        assert_in_range(d.hz, pc.tsc_hz - pc.tsc_hz / 100, pc.tsc_hz + pc.tsc_hz / 100);
        assert_true(d.checked);
    }
}

static void a_wrong_clock_is_disputed(void **state)
{
    (void)state;
    pc.hpet_period = 69841279 / 2; // says it is twice as fast as it is
    struct tsc_opinions o = measured();
    struct tsc_decision d = tsc_decide(&o);
    assert_true(d.disputed);
    assert_true(d.checked);
    assert_int_equal(d.source, TSC_PM_TIMER);
    assert_in_range(d.hz, pc.tsc_hz - pc.tsc_hz / 1000, pc.tsc_hz + pc.tsc_hz / 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(all_three_agree, fresh),
        cmocka_unit_test_setup(slow_and_fast_buses_measure_the_same, fresh),
        cmocka_unit_test_setup(each_may_be_missing, fresh),
        cmocka_unit_test_setup(one_that_stops_does_not_take_the_others_along, fresh),
        cmocka_unit_test_setup(counters_may_wrap, fresh),
        cmocka_unit_test_setup(nonsense_in_the_hpet_is_no_hpet, fresh),
        cmocka_unit_test_setup(without_tables_the_pit_is_tried, fresh),
        cmocka_unit_test_setup(an_interruption_does_little_harm, fresh),
        cmocka_unit_test_setup(a_wrong_clock_is_disputed, fresh),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
