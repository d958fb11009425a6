// SPDX-License-Identifier: MIT
// The RTC in time: updates and UIP to the tick, the three interrupts, what SET, divider and reset
// do, and CMOS memory. (Its calendar and alarm arithmetic: test_rtc_time.c.)
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "devices/rtc.h"
#include "tests/host/device_rig.h"

#define EPOCH       1709164799ull // Wednesday 28 February 2024, 23:59:59
#define EPOCH_TICKS 5000u
#define LATER       12345u // ticks from there to rtc_init()

enum { UIP = 0x80, UF = 0x10, AF = 0x20, PF = 0x40, IRQF = 0x80 };
enum { UIE = 0x10, AIE = 0x20, PIE = 0x40, SET = 0x80, H24 = 0x02 };

struct fixture {
    struct rig rig;
    struct rtc rtc;
};

static struct fixture *fresh(u64 hz)
{
    static struct fixture f;
    f = (struct fixture){0};
    rig_init(&f.rig, hz);
    f.rig.now = EPOCH_TICKS + LATER;
    rtc_init(&f.rtc, &(struct rtc_config){.clock = &f.rig.clock,
                                          .queue = &f.rig.queue,
                                          .irq = rig_pin(&f.rig),
                                          .epoch = EPOCH,
                                          .epoch_ticks = EPOCH_TICKS});
    assert_int_equal(rtc_attach(&f.rtc, &f.rig.bus), OK);
    return &f;
}

static u8 get(struct fixture *f, u8 index)
{
    outb(&f->rig, 0x70, index);
    return inb(&f->rig, 0x71);
}

static void put(struct fixture *f, u8 index, u8 value)
{
    outb(&f->rig, 0x70, index);
    outb(&f->rig, 0x71, value);
}

static void assert_time(struct fixture *f, u8 hour, u8 minute, u8 second)
{
    assert_int_equal(get(f, 0), second);
    assert_int_equal(get(f, 2), minute);
    assert_int_equal(get(f, 4), hour);
}

static const u64 rates[] = {1000000, 100000000, 2893299123, 3700000001};

// ---- time ---------------------------------------------------------------------------------------

static void starts_as_a_bios_leaves_it(void **state)
{
    (void)state;
    static const u8 want[][2] = {
        {0x00, 0x59},
        {0x02, 0x59},
        {0x04, 0x23},
        {0x06, 0x04},
        {0x07, 0x28},
        {0x08, 0x02},
        {0x09, 0x24},
        {0x32, 0x20},
        {0x0a, 0x26},
        {0x0b, 0x02},
        {0x0c, 0x00},
        {0x0d, 0x80},
        {0x01, 0x00},
        {0x0f, 0x00},
        {0x7f, 0x00},
    };
    struct fixture *f = fresh(1000000000);
    for (size_t i = 0; i < ARRAY_SIZE(want); i++)
        assert_int_equal(get(f, want[i][0]), want[i][1]);
    assert_int_equal(inb(&f->rig, 0x70), 0xff);
    assert_int_equal(f->rig.irq.calls, 0);
    assert_int_equal(deadline_next(&f->rig.queue), DEADLINE_NEVER);
}

// The configuration's moment may be long gone.
static void starts_with_the_time_that_has_passed(void **state)
{
    (void)state;
    struct rig rig;
    struct rtc rtc;
    rig_init(&rig, 1000000);
    rig.now = 3723ull * 1000000 + 999999;
    rtc_init(&rtc, &(struct rtc_config){.clock = &rig.clock, .queue = &rig.queue});
    assert_int_equal(rtc.memory[RTC_HOURS], 0x01);
    assert_int_equal(rtc.memory[RTC_MINUTES], 0x02);
    assert_int_equal(rtc.memory[RTC_SECONDS], 0x03);
    assert_int_equal(rtc.memory[RTC_C], 0);
}

static void second_changes_on_the_tick_for_years(void **state)
{
    (void)state;
    static const u64 seconds[] = {1, 2, 59, 3600, 86400, 366ull * 86400, 3653ull * 86400};
    for (size_t r = 0; r < ARRAY_SIZE(rates); r++) {
        struct fixture *f = fresh(rates[r]);
        for (size_t i = 0; i < ARRAY_SIZE(seconds); i++) {
            time_t t = (time_t)(EPOCH + seconds[i] - 1);
            for (unsigned k = 0; k < 2; k++, t++) {
                f->rig.now = EPOCH_TICKS + seconds[i] * rates[r] - 1 + k;
                struct tm tm;
                gmtime_r(&t, &tm);
                assert_time(f, (u8)(tm.tm_hour / 10 * 16 + tm.tm_hour % 10),
                            (u8)(tm.tm_min / 10 * 16 + tm.tm_min % 10),
                            (u8)(tm.tm_sec / 10 * 16 + tm.tm_sec % 10));
                assert_int_equal(get(f, 6), tm.tm_wday + 1);
                assert_int_equal(get(f, 7), tm.tm_mday / 10 * 16 + tm.tm_mday % 10);
            }
        }
    }
}

static void uip_is_up_for_the_last_244_microseconds(void **state)
{
    (void)state;
    for (size_t r = 0; r < ARRAY_SIZE(rates); r++) {
        struct fixture *f = fresh(rates[r]);
        u64 lead = (244 * rates[r] + 999999) / 1000000;
        for (u64 second = 1; second < 5; second++) {
            u64 update = EPOCH_TICKS + second * rates[r];
            f->rig.now = update - lead - 1;
            assert_int_equal(get(f, 10), 0x26);
            f->rig.now = update - lead;
            assert_int_equal(get(f, 10), 0x26 | UIP);
            f->rig.now = update - 1;
            assert_int_equal(get(f, 10), 0x26 | UIP);
            f->rig.now = update;
            assert_int_equal(get(f, 10), 0x26);
        }
        put(f, 11, SET | H24);
        f->rig.now = EPOCH_TICKS + 5 * rates[r] - 1;
        assert_int_equal(get(f, 10), 0x26);
    }
}

// What Linux and every BIOS do to set the clock: SET, write, release.
static void set_freezes_and_keeps_the_phase(void **state)
{
    (void)state;
    u64 hz = 1000000;
    struct fixture *f = fresh(hz);
    put(f, 11, SET | H24);
    f->rig.now += 10 * hz;
    assert_time(f, 0x23, 0x59, 0x59);
    static const u8 fields[][2] = {
        {0,  0x58},
        {2,  0x59},
        {4,  0x23},
        {6,  7   },
        {7,  0x31},
        {8,  0x12},
        {9,  0x99},
        {50, 0x19}
    };
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
        put(f, fields[i][0], fields[i][1]);
    put(f, 11, H24);
    assert_time(f, 0x23, 0x59, 0x58);
    f->rig.now = EPOCH_TICKS + 11 * hz - 1;
    assert_time(f, 0x23, 0x59, 0x58);
    f->rig.now++;
    assert_time(f, 0x23, 0x59, 0x59);
    f->rig.now += hz;
    assert_time(f, 0x00, 0x00, 0x00);
    assert_int_equal(get(f, 6), 1);
    assert_int_equal(get(f, 7), 0x01);
    assert_int_equal(get(f, 8), 0x01);
    assert_int_equal(get(f, 9), 0x00);
    assert_int_equal(get(f, 50), 0x20);
}

static void twelve_hours_in_binary(void **state)
{
    (void)state;
    struct fixture *f = fresh(1000000);
    put(f, 11, SET | 0x04);
    put(f, 0, 59);
    put(f, 2, 59);
    put(f, 4, 0x80 | 11);
    put(f, 11, 0x04);
    f->rig.now += 1000000;
    assert_time(f, 12, 0, 0); // midnight
    f->rig.now += 3600ull * 1000000;
    assert_time(f, 1, 0, 0);
    f->rig.now += 11ull * 3600 * 1000000;
    assert_time(f, 0x80 | 12, 0, 0); // noon
}

// ---- the divider --------------------------------------------------------------------------------

static void first_update_comes_half_a_second_after_divider_reset(void **state)
{
    (void)state;
    for (size_t r = 0; r < ARRAY_SIZE(rates); r++) {
        for (u8 held = 0; held < 8; held++) {
            if (held == 2)
                continue;
            struct fixture *f = fresh(rates[r]);
            put(f, 10, (u8)(held << 4 | 6));
            assert_int_equal(get(f, 10), held << 4 | 6);
            f->rig.now += 100 * rates[r];
            assert_time(f, 0x23, 0x59, 0x59);
            assert_int_equal(get(f, 10), held << 4 | 6);
            put(f, 10, 0x26);
            u64 update = f->rig.now + rates[r] / 2;
            f->rig.now = update - 1;
            assert_time(f, 0x23, 0x59, 0x59);
            assert_int_equal(get(f, 10), 0x26 | UIP);
            f->rig.now = update;
            assert_time(f, 0x00, 0x00, 0x00);
            f->rig.now = update + rates[r] - 1;
            assert_time(f, 0x00, 0x00, 0x00);
            f->rig.now++;
            assert_time(f, 0x00, 0x00, 0x01);
        }
    }
}

// Near the clock's own beginning the chain's lies before it.
static void chain_may_begin_before_the_clock(void **state)
{
    (void)state;
    struct rig rig;
    struct rtc rtc;
    rig_init(&rig, 1000000);
    rtc_init(&rtc, &(struct rtc_config){.clock = &rig.clock, .queue = &rig.queue});
    assert_int_equal(rtc_attach(&rtc, &rig.bus), OK);
    rig_out(&rig, 0x70, 2, 0x660a);
    rig_out(&rig, 0x70, 2, 0x260a);
    rig_out(&rig, 0x70, 2, 0x120b); // update interrupt
    assert_int_equal(deadline_next(&rig.queue), 500000);
}

// ---- interrupts ---------------------------------------------------------------------------------

static u64 pulse_tick(const struct fixture *f, u64 pulses)
{
    unsigned __int128 product = (unsigned __int128)pulses * f->rig.clock.hz;
    return EPOCH_TICKS + (u64)((product + RTC_HZ - 1) / RTC_HZ);
}

static void update_interrupt_comes_each_second(void **state)
{
    (void)state;
    for (size_t r = 0; r < ARRAY_SIZE(rates); r++) {
        struct fixture *f = fresh(rates[r]);
        put(f, 11, H24 | UIE);
        for (u64 second = 1; second < 100; second++) {
            u64 due = EPOCH_TICKS + second * rates[r];
            assert_int_equal(deadline_next(&f->rig.queue), due);
            rig_run_to(&f->rig, due - 1);
            assert_false(f->rig.irq.level);
            rig_run_to(&f->rig, due);
            assert_true(f->rig.irq.level);
            assert_int_equal(deadline_next(&f->rig.queue), DEADLINE_NEVER);
            rig_run_to(&f->rig, due + rates[r] / 3);
            assert_int_equal(get(f, 12) & (IRQF | UF), IRQF | UF);
            assert_false(f->rig.irq.level);
            assert_int_equal(get(f, 12), 0); // reading cleared it
            assert_int_equal(f->rig.irq.rises, second);
        }
    }
}

static void periodic_interrupt_keeps_each_rate_without_drift(void **state)
{
    (void)state;
    static const u32 period[16] = {0,   128, 256, 4,    8,    16,   32,   64,
                                   128, 256, 512, 1024, 2048, 4096, 8192, 16384};
    for (size_t r = 0; r < ARRAY_SIZE(rates); r++) {
        for (u8 rate = 1; rate < 16; rate++) {
            struct fixture *f = fresh(rates[r]);
            put(f, 10, 0x20 | rate);
            put(f, 11, H24 | PIE);
            // Where the chain was when the fixture made the chip.
            u64 n = (u64)LATER * RTC_HZ / rates[r] / period[rate];
            for (unsigned i = 0; i < 200; i++) {
                u64 due = pulse_tick(f, ++n * period[rate]);
                assert_int_equal(deadline_next(&f->rig.queue), due);
                rig_run_to(&f->rig, due);
                assert_true(f->rig.irq.level);
                assert_int_equal(get(f, 12) & (IRQF | PF), IRQF | PF);
                assert_false(f->rig.irq.level);
            }
            assert_int_equal(f->rig.irq.rises, 200);
        }
    }
}

static void rate_0_has_no_periodic_interrupt(void **state)
{
    (void)state;
    struct fixture *f = fresh(1000000);
    get(f, 12);
    put(f, 10, 0x20);
    put(f, 11, H24 | PIE);
    assert_int_equal(deadline_next(&f->rig.queue), DEADLINE_NEVER);
    f->rig.now += 400000;
    assert_int_equal(get(f, 12), 0);
}

// Nobody read register C in time: one interrupt for all that came meanwhile, and time goes on.
static void late_service_makes_one_interrupt(void **state)
{
    (void)state;
    u64 hz = 1000000;
    struct fixture *f = fresh(hz);
    put(f, 10, 0x23);
    put(f, 11, H24 | PIE | UIE);
    f->rig.now += 100 * hz;
    deadline_run(&f->rig.queue, f->rig.now);
    assert_int_equal(f->rig.irq.rises, 1);
    assert_int_equal(deadline_next(&f->rig.queue), DEADLINE_NEVER);
    rig_run_to(&f->rig, f->rig.now + 5 * hz);
    assert_int_equal(f->rig.irq.calls, 1);
    assert_int_equal(get(f, 12) & ~AF, IRQF | PF | UF);
    assert_false(f->rig.irq.level);
    assert_in_range(deadline_next(&f->rig.queue), f->rig.now + 1, f->rig.now + 123);
}

static void flags_come_without_their_interrupts(void **state)
{
    (void)state;
    u64 hz = 1000000;
    struct fixture *f = fresh(hz);
    put(f, 1, 0x00);
    put(f, 3, 0x00);
    put(f, 5, 0x00);
    get(f, 12);
    f->rig.now = EPOCH_TICKS + hz - 1;
    assert_int_equal(get(f, 12), PF);
    f->rig.now++;
    assert_int_equal(get(f, 12), PF | UF | AF);
    f->rig.now += hz;
    assert_int_equal(get(f, 12), PF | UF);
    assert_int_equal(f->rig.irq.calls, 0);
    // Enabling an interrupt whose flag is up raises it, and leaves nothing to wait for.
    f->rig.now += hz;
    put(f, 11, H24 | UIE | AIE);
    assert_true(f->rig.irq.level);
    assert_int_equal(deadline_next(&f->rig.queue), DEADLINE_NEVER);
    put(f, 11, H24);
    assert_false(f->rig.irq.level);
    put(f, 11, H24 | PIE);
    assert_true(f->rig.irq.level);
    assert_int_equal(get(f, 12), IRQF | PF | UF);
}

static void alarm_interrupt_comes_at_its_time(void **state)
{
    (void)state;
    u64 hz = 1000000;
    struct fixture *f = fresh(hz);
    put(f, 5, 0x06);
    put(f, 3, 0x30);
    put(f, 1, 0x15);
    put(f, 11, H24 | AIE);
    u64 due = EPOCH_TICKS + (1 + 6 * 3600 + 30 * 60 + 15) * hz;
    assert_int_equal(deadline_next(&f->rig.queue), due);
    rig_run_to(&f->rig, due - 1);
    assert_false(f->rig.irq.level);
    rig_run_to(&f->rig, due);
    assert_true(f->rig.irq.level);
    assert_int_equal(get(f, 12) & (IRQF | AF), IRQF | AF);
    assert_int_equal(deadline_next(&f->rig.queue), due + 86400 * hz);
    put(f, 5, 0xff); // each hour
    assert_int_equal(deadline_next(&f->rig.queue), due + 3600 * hz);
    put(f, 3, 0xc0); // each minute
    assert_int_equal(deadline_next(&f->rig.queue), due + 60 * hz);
    put(f, 1, 0xd7); // each second
    assert_int_equal(deadline_next(&f->rig.queue), due + hz);
    put(f, 1, 0x61); // never
    assert_int_equal(deadline_next(&f->rig.queue), DEADLINE_NEVER);
    put(f, 1, 0x15);
    put(f, 0, 0x14); // the time itself is moved
    assert_int_equal(deadline_next(&f->rig.queue), due + hz);
    assert_int_equal(f->rig.irq.rises, 1);
}

// An alarm that is passed over in one long step is not lost.
static void alarm_passed_over_is_told(void **state)
{
    (void)state;
    u64 hz = 1000000;
    struct fixture *f = fresh(hz);
    put(f, 5, 0x06);
    put(f, 3, 0x30);
    put(f, 1, 0x15);
    f->rig.now = EPOCH_TICKS + 6 * 3600 * hz;
    assert_int_equal(get(f, 12) & AF, 0);
    f->rig.now = EPOCH_TICKS + 7 * 3600 * hz;
    assert_int_equal(get(f, 12) & AF, AF);
    f->rig.now += 23 * 3600 * hz;
    assert_int_equal(get(f, 12) & AF, 0);
}

static void set_stops_updates_not_the_periodic_interrupt(void **state)
{
    (void)state;
    u64 hz = 1000000;
    struct fixture *f = fresh(hz);
    put(f, 1, 0xff);
    put(f, 3, 0xff);
    put(f, 5, 0xff);
    put(f, 10, 0x2f); // 2 Hz
    put(f, 11, SET | H24 | UIE | AIE | PIE);
    assert_int_equal(get(f, 11), SET | H24 | AIE | PIE); // SET clears UIE
    rig_run_to(&f->rig, EPOCH_TICKS + 3 * hz);
    assert_true(f->rig.irq.level);
    assert_int_equal(get(f, 12), IRQF | PF);
    put(f, 11, H24 | AIE);
    assert_int_equal(deadline_next(&f->rig.queue), EPOCH_TICKS + 4 * hz);
}

static void stopped_divider_interrupts_nobody(void **state)
{
    (void)state;
    u64 hz = 1000000;
    struct fixture *f = fresh(hz);
    get(f, 12);
    put(f, 11, H24 | UIE | PIE);
    put(f, 10, 0x66);
    assert_int_equal(deadline_next(&f->rig.queue), DEADLINE_NEVER);
    rig_run_to(&f->rig, f->rig.now + 10 * hz);
    assert_int_equal(get(f, 12), 0);
    u64 now = f->rig.now;
    put(f, 10, 0x2f); // 2 Hz: the chain is let go half way to its first second
    assert_int_equal(deadline_next(&f->rig.queue), now + hz / 2);
    assert_int_equal(get(f, 12), 0);
}

// ---- registers and memory -----------------------------------------------------------------------

static void registers_that_cannot_be_written(void **state)
{
    (void)state;
    struct fixture *f = fresh(1000000);
    put(f, 10, 0xa6);
    assert_int_equal(get(f, 10), 0x26); // UIP
    get(f, 12);
    put(f, 12, 0xff);
    assert_int_equal(get(f, 12), 0);
    put(f, 13, 0x00);
    assert_int_equal(get(f, 13), 0x80);
    put(f, 0, 0xff);
    assert_int_equal(get(f, 0), 0x7f);
}

static void memory_keeps_bytes_and_the_index_its_seven_bits(void **state)
{
    (void)state;
    struct fixture *f = fresh(1000000);
    for (u8 i = 14; i < 128; i++)
        if (i != 0x32)
            put(f, i, (u8)(i * 37));
    for (u8 i = 14; i < 128; i++) {
        if (i == 0x32)
            continue;
        assert_int_equal(get(f, i), (u8)(i * 37));
        assert_false(f->rtc.nmi_masked);
        assert_int_equal(get(f, 0x80 | i), (u8)(i * 37));
        assert_true(f->rtc.nmi_masked);
    }
    rig_out(&f->rig, 0x70, 2, 0x5a0f); // index and data at once
    assert_int_equal(get(f, 0x0f), 0x5a);
    assert_int_equal(rig_in(&f->rig, 0x71, 2), 0xffff);
    assert_int_equal(f->rig.bus.unclaimed[IO_PORT], 1);
}

static void reset_keeps_time_and_memory(void **state)
{
    (void)state;
    u64 hz = 1000000;
    struct fixture *f = fresh(hz);
    put(f, 0x0f, 0x05);
    put(f, 11, H24 | UIE | AIE | PIE | 0x0c);
    rig_run_to(&f->rig, EPOCH_TICKS + 2 * hz);
    assert_true(f->rig.irq.level);
    outb(&f->rig, 0x70, 0x8f);
    bus_reset(&f->rig.bus);
    assert_false(f->rig.irq.level);
    assert_false(f->rtc.nmi_masked);
    assert_int_equal(deadline_next(&f->rig.queue), DEADLINE_NEVER);
    assert_int_equal(get(f, 11), H24 | 0x04);
    assert_int_equal(get(f, 12), 0);
    assert_int_equal(get(f, 0x0f), 0x05);
    f->rig.now += hz;
    assert_int_equal(get(f, 10), 0x26);
    assert_int_equal(get(f, 12), PF | UF);
}

static u32 cmos(struct fixture *f, u8 index, unsigned bytes)
{
    u32 value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value |= (u32)get(f, (u8)(index + i)) << (8 * i);
    return value;
}

static void memory_size_is_where_a_bios_puts_it(void **state)
{
    (void)state;
    static const struct {
        u64 low_end, high;
        u32 base, extended, above_16m, above_4g;
    } cases[] = {
        {0,             0,             0,   0,      0,      0       },
        {512 << 10,     0,             512, 0,      0,      0       },
        {1 << 20,       0,             640, 0,      0,      0       },
        {16 << 20,      0,             640, 0x3c00, 0,      0       },
        {64 << 20,      0,             640, 0xfc00, 0x300,  0       },
        {65 << 20,      0,             640, 0xffff, 0x310,  0       },
        {0xc0000000ull, 0x40000000ull, 640, 0xffff, 0xbf00, 0x4000  },
        {0xffff0000ull, 1ull << 40,    640, 0xffff, 0xfeff, 0xffffff},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct fixture *f = fresh(1000000);
        put(f, 0x20, 0xee); // under the checksum too
        rtc_set_memory_size(&f->rtc, cases[i].low_end, cases[i].high);
        assert_int_equal(cmos(f, 0x15, 2), cases[i].base);
        assert_int_equal(cmos(f, 0x17, 2), cases[i].extended);
        assert_int_equal(cmos(f, 0x30, 2), cases[i].extended);
        assert_int_equal(cmos(f, 0x34, 2), cases[i].above_16m);
        assert_int_equal(cmos(f, 0x5b, 3), cases[i].above_4g);
        u32 sum = 0;
        for (u8 b = 0x10; b <= 0x2d; b++)
            sum += get(f, b);
        assert_int_equal(get(f, 0x2e) << 8 | get(f, 0x2f), sum);
        assert_int_equal(get(f, 0x32), 0x20);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starts_as_a_bios_leaves_it),
        cmocka_unit_test(starts_with_the_time_that_has_passed),
        cmocka_unit_test(second_changes_on_the_tick_for_years),
        cmocka_unit_test(uip_is_up_for_the_last_244_microseconds),
        cmocka_unit_test(set_freezes_and_keeps_the_phase),
        cmocka_unit_test(twelve_hours_in_binary),
        cmocka_unit_test(first_update_comes_half_a_second_after_divider_reset),
        cmocka_unit_test(chain_may_begin_before_the_clock),
        cmocka_unit_test(update_interrupt_comes_each_second),
        cmocka_unit_test(periodic_interrupt_keeps_each_rate_without_drift),
        cmocka_unit_test(rate_0_has_no_periodic_interrupt),
        cmocka_unit_test(late_service_makes_one_interrupt),
        cmocka_unit_test(flags_come_without_their_interrupts),
        cmocka_unit_test(alarm_interrupt_comes_at_its_time),
        cmocka_unit_test(alarm_passed_over_is_told),
        cmocka_unit_test(set_stops_updates_not_the_periodic_interrupt),
        cmocka_unit_test(stopped_divider_interrupts_nobody),
        cmocka_unit_test(registers_that_cannot_be_written),
        cmocka_unit_test(memory_keeps_bytes_and_the_index_its_seven_bits),
        cmocka_unit_test(reset_keeps_time_and_memory),
        cmocka_unit_test(memory_size_is_where_a_bios_puts_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
