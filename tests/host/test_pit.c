// SPDX-License-Identifier: MIT
// The 8254 and port 61H: the datasheet's figures, random programs compared with a reference that
// counts pulse by pulse, and what the closed form owes to time: no drift, no lost and no extra
// interrupt.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "arch/x86_64/lib/err.h"
#include "devices/pit.h"
#include "tests/host/device_rig.h"
#include "tests/host/pit_reference.h"

// ---- both together ------------------------------------------------------------------------------

struct fixture {
    struct rig rig;
    struct pit pit;
    struct ref ref[3];
    u64 pulses; // what the reference has seen
    u64 hz;
};

static struct fixture *fresh(u64 hz)
{
    static struct fixture f;
    f = (struct fixture){.hz = hz};
    rig_init(&f.rig, hz);
    f.rig.now = 1000003; // the clock does not begin with the device
    pit_init(&f.pit, &f.rig.clock, &f.rig.queue, rig_pin(&f.rig));
    assert_int_equal(pit_attach(&f.pit, &f.rig.bus), OK);
    for (int i = 0; i < 3; i++)
        f.ref[i] =
            (struct ref){.control = 0x36, .mode = 3, .gate = i != 2, .out = true, .null = true};
    return &f;
}

// With the clock at the input frequency a tick is a pulse. Deadlines are served on time.
static void pass(struct fixture *f, u64 pulses)
{
    rig_run_to(&f->rig, f->rig.now + pulses);
    for (u64 p = 0; p < pulses; p++)
        for (int i = 0; i < 3; i++)
            ref_pulse(&f->ref[i]);
    f->pulses += pulses;
}

static void both_out(struct fixture *f, u16 port, u8 value)
{
    outb(&f->rig, port, value);
    if (port < 0x43) {
        ref_write(&f->ref[port - 0x40], value);
    } else if (port == 0x61) {
        ref_gate(&f->ref[2], value & 1);
    } else if (value >> 6 < 3) {
        ref_control(&f->ref[value >> 6], value);
    } else {
        for (int i = 0; i < 3; i++) {
            if (value & 2 << i && !(value & 0x20))
                ref_latch(&f->ref[i]);
            if (value & 2 << i && !(value & 0x10))
                ref_status(&f->ref[i]);
        }
    }
}

static bool same_read(struct fixture *f, unsigned index)
{
    u8 got = inb(&f->rig, (u16)(0x40 + index));
    u8 want = ref_read(&f->ref[index]);
    if (got != want)
        print_message("counter %u mode %u control %02x pulse %llu: read %02x, want %02x\n", index,
                      f->ref[index].mode, f->ref[index].control, (unsigned long long)f->pulses, got,
                      want);
    return got == want;
}

static bool same_port_61(struct fixture *f)
{
    u8 got = inb(&f->rig, 0x61);
    u8 want = (u8)((f->ref[2].gate ? 1 : 0) | (f->ref[2].out ? 0x20 : 0));
    if ((got & 0x21) != want)
        print_message("mode %u pulse %llu: port 61H %02x, want %02x\n", f->ref[2].mode,
                      (unsigned long long)f->pulses, got, want);
    return (got & 0x21) == want;
}

static void program(struct fixture *f, unsigned index, u8 mode, bool bcd, u16 count)
{
    both_out(f, 0x43, (u8)(index << 6 | 0x30u | (u32)mode << 1 | bcd));
    both_out(f, (u16)(0x40 + index), (u8)count);
    both_out(f, (u16)(0x40 + index), (u8)(count >> 8));
}

static u16 counter_value(struct fixture *f, unsigned index)
{
    outb(&f->rig, 0x43, (u8)(index << 6));
    u8 low = inb(&f->rig, (u16)(0x40 + index));
    return (u16)(low | inb(&f->rig, (u16)(0x40 + index)) << 8);
}

static u8 status(struct fixture *f, unsigned index)
{
    outb(&f->rig, 0x43, (u8)(0xe0 | 2 << index));
    return inb(&f->rig, (u16)(0x40 + index));
}

static bool out_of(struct fixture *f, unsigned index)
{
    return status(f, index) & 0x80;
}

// ---- against the reference ----------------------------------------------------------------------

static u8 random_byte(u64 *seed, bool bcd)
{
    u8 v = rig_random(seed) % 4 ? (u8)(rig_random(seed) % 16) : (u8)rig_random(seed);
    return bcd ? (u8)((v >> 4) % 10 << 4 | (v & 0xf) % 10) : v;
}

// Lengths of time: mostly a few pulses, now and then more than a counter holds.
static u64 random_time(u64 *seed)
{
    u32 kind = rig_random(seed) % 64;
    if (kind < 20)
        return 0;
    if (kind < 58)
        return rig_random(seed) % 9;
    return kind < 63 ? rig_random(seed) % 400 : rig_random(seed) % 90000;
}

static bool random_step(struct fixture *f, u64 *seed, bool bcd_only)
{
    unsigned index = rig_random(seed) % 3;
    struct ref *ref = &f->ref[index];
    u32 kind = rig_random(seed) % 32;
    pass(f, random_time(seed));
    if (kind < 2) {
        u8 word = (u8)(index << 6 | (rig_random(seed) & 0x3e));
        both_out(f, 0x43, word | bcd_only);
    } else if (kind < 3) {
        both_out(f, 0x43, (u8)(0xc0 | (rig_random(seed) & 0x3f)));
    } else if (kind < 8) {
        // A high byte of 0 most of the time keeps two-byte counts short.
        bool high = ref->control >> 4 == 3 && ref->hi_write;
        u8 value = high && rig_random(seed) % 8 ? 0 : random_byte(seed, ref->bcd);
        both_out(f, (u16)(0x40 + index), value);
    } else if (kind < 14) {
        bool port_61_gate = rig_random(seed) & 1;
        both_out(f, 0x61, (u8)((rig_random(seed) & 0xfe) | port_61_gate));
    } else if (kind < 17) {
        return same_port_61(f);
    } else {
        return same_read(f, index);
    }
    return same_port_61(f);
}

// The element keeps its digits through a control word, whatever they are, so a counter is either
// binary for good or BCD for good here.
static void run_random(bool bcd, u64 seeds, unsigned steps)
{
    for (u64 s = 1; s <= seeds; s++) {
        struct fixture *f = fresh(PIT_HZ);
        u64 seed = s * 7919;
        for (u8 index = 0; index < 3; index++)
            both_out(f, 0x43, (u8)(index << 6 | 0x30 | bcd));
        for (unsigned step = 0; step < steps; step++)
            if (!random_step(f, &seed, bcd))
                fail_msg("seed %llu, step %u", (unsigned long long)s, step);
    }
}

static void random_binary_programs_match_the_reference(void **state)
{
    (void)state;
    run_random(false, 150, 1500);
}

static void random_bcd_programs_match_the_reference(void **state)
{
    (void)state;
    run_random(true, 150, 1500);
}

// Every mode, every small count and the largest ones, looked at after every number of pulses.
static void each_mode_and_count_matches_pulse_by_pulse(void **state)
{
    (void)state;
    static const u16 counts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 0x10, 0};
    for (u8 mode = 0; mode < 8; mode++) {
        for (unsigned n = 0; n < ARRAY_SIZE(counts) * 2; n++) {
            struct fixture *f = fresh(PIT_HZ);
            program(f, 2, mode, n & 1, counts[n / 2]);
            for (unsigned p = 0; p < 60; p++) {
                if (p == 3 || p == 30)
                    both_out(f, 0x61, 1); // a trigger, or counting begins
                if (p == 24)
                    both_out(f, 0x61, 0);
                both_out(f, 0x43, 0xc8); // status and count
                assert_true(same_read(f, 2) && same_read(f, 2) && same_read(f, 2));
                pass(f, 1);
            }
            pass(f, n & 1 ? 9990 : 65500);
            for (unsigned p = 0; p < 60; p++) {
                both_out(f, 0x43, 0xc8);
                assert_true(same_read(f, 2) && same_read(f, 2) && same_read(f, 2));
                pass(f, 1);
            }
        }
    }
}

// Counts of at least the floor, so that the line must show every rise at its own pulse.
static void irq_rises_when_out_0_does(void **state)
{
    (void)state;
    for (u64 s = 1; s <= 120; s++) {
        struct fixture *f = fresh(PIT_HZ);
        u64 seed = s * 104729;
        for (unsigned step = 0; step < 400; step++) {
            u32 kind = rig_random(&seed) % 16;
            u16 count = (u16)(PIT_FLOOR + rig_random(&seed) % 300);
            if (kind == 0) {
                program(f, 0, rig_random(&seed) % 8, false, count);
            } else if (kind < 3 && f->ref[0].has_count && f->ref[0].control >> 4 == 3) {
                both_out(f, 0x40, (u8)count);
                both_out(f, 0x40, (u8)(count >> 8));
            } else if (kind < 6) {
                inb(&f->rig, 0x61); // other counters' business changes nothing
                both_out(f, 0x43, 0);
                same_read(f, 0);
                same_read(f, 0);
            }
            pass(f, rig_random(&seed) % 200);
            if (f->rig.irq.rises != f->ref[0].rises)
                fail_msg("seed %llu, step %u, mode %u: %u rises, want %llu", (unsigned long long)s,
                         step, f->ref[0].mode, f->rig.irq.rises,
                         (unsigned long long)f->ref[0].rises);
            if (f->ref[0].mode == 0)
                assert_int_equal(f->rig.irq.level, f->ref[0].out);
        }
    }
}

// The rise foretold is the first one that comes, in every mode and with either gate.
static void next_rise_foretells_the_first(void **state)
{
    (void)state;
    u64 seed = 99;
    for (unsigned run = 0; run < 20000; run++) {
        struct pit_counter counter;
        pit_counter_reset(&counter, rig_random(&seed) & 1, 0);
        pit_counter_control(&counter, (u8)(0x10 | (rig_random(&seed) & 0x0e)));
        for (unsigned i = 0; i < 6; i++) {
            pit_counter_advance(&counter, counter.at + rig_random(&seed) % 10);
            if (rig_random(&seed) % 2)
                pit_counter_gate(&counter, rig_random(&seed) & 1);
            else
                pit_counter_write(&counter, (u8)(rig_random(&seed) % 8 + 1));
        }
        u64 foretold = pit_counter_next_rise(&counter), came = PIT_NEVER;
        counter.rose = false;
        for (u64 p = 1; p <= 40 && came == PIT_NEVER; p++) {
            pit_counter_advance(&counter, counter.at + 1);
            came = counter.rose ? p : PIT_NEVER;
        }
        if (came != foretold)
            fail_msg("run %u, mode %u, gate %d: foretold %lld, came %lld", run, counter.mode,
                     counter.gate, (long long)foretold, (long long)came);
    }
}

// ---- the datasheet's figures --------------------------------------------------------------------

// Counts and OUT after each pulse that follows the count's writing.
static void assert_sequence(u8 mode, u16 count, bool trigger, const char *values, const char *outs)
{
    struct fixture *f = fresh(PIT_HZ);
    if (!trigger)
        outb(&f->rig, 0x61, 1);
    program(f, 2, mode, false, count);
    if (trigger)
        outb(&f->rig, 0x61, 1);
    for (size_t i = 0; outs[i]; i++) {
        rig_run_to(&f->rig, f->rig.now + 1);
        u16 value = counter_value(f, 2);
        if (value > 9 && values[i] != 'F')
            fail_msg("mode %u, pulse %zu: %04x", mode, i + 1, value);
        if (value <= 9)
            assert_int_equal(value, values[i] - '0');
        assert_int_equal(out_of(f, 2), outs[i] == '#');
    }
}

static void sequences_are_those_of_the_figures(void **state)
{
    (void)state;
    assert_sequence(0, 4, false, "43210FFF", "____####");
    assert_sequence(1, 3, true, "3210FFF", "___####");
    assert_sequence(2, 3, false, "3213213", "##_##_#");
    assert_sequence(3, 4, false, "4242424242", "##__##__##");
    assert_sequence(3, 5, false, "42042420424", "###__###__#");
    assert_sequence(4, 3, false, "3210FFF", "###_###");
    assert_sequence(5, 3, true, "3210FFF", "###_###");
    assert_sequence(6, 2, false, "212121", "#_#_#_");
    assert_sequence(7, 2, false, "222222", "#_#_#_");
    assert_sequence(3, 3, false, "202202202", "##_##_##_");
    assert_sequence(2, 1, false, "1111", "____"); // illegal: as pit_counter.h says
    assert_sequence(3, 1, false, "0000", "####");
}

static void bcd_digits_above_9_weigh_what_they_weigh(void **state)
{
    (void)state;
    struct fixture *f = fresh(PIT_HZ);
    program(f, 1, 0, true, 0xffff); // 16665 modulo 10000
    rig_run_to(&f->rig, f->rig.now + 1);
    assert_int_equal(counter_value(f, 1), 0x6665);
    program(f, 1, 0, true, 0x9a00); // 10000, which is 0, which is 10000
    rig_run_to(&f->rig, f->rig.now + 2);
    assert_int_equal(counter_value(f, 1), 0x9999);
    program(f, 1, 0, false, 0xffff);
    rig_run_to(&f->rig, f->rig.now + 1);
    outb(&f->rig, 0x43, 0x71); // to BCD with a binary value in the element
    assert_int_equal(counter_value(f, 1), 0x5535);
    program(f, 1, 0, false, 0);
    rig_run_to(&f->rig, f->rig.now + 1);
    outb(&f->rig, 0x43, 0x71);
    assert_int_equal(counter_value(f, 1), 0);
}

// ---- time ---------------------------------------------------------------------------------------

static void nothing_is_armed_without_need(void **state)
{
    (void)state;
    struct fixture *f = fresh(1000000000);
    assert_int_equal(deadline_next(&f->rig.queue), DEADLINE_NEVER);
    program(f, 0, 1, false, 100); // no trigger ever comes
    assert_int_equal(deadline_next(&f->rig.queue), DEADLINE_NEVER);
    program(f, 2, 2, false, 100); // nobody's interrupt
    assert_int_equal(deadline_next(&f->rig.queue), DEADLINE_NEVER);
    program(f, 0, 0, false, 100);
    assert_int_not_equal(deadline_next(&f->rig.queue), DEADLINE_NEVER);
    assert_false(f->rig.irq.level);
    rig_run_to(&f->rig, f->rig.now + 1000000);
    assert_int_equal(f->rig.irq.rises, 1);
    assert_int_equal(f->rig.fired, 1);
    assert_int_equal(deadline_next(&f->rig.queue), DEADLINE_NEVER);
    outb(&f->rig, 0x43, 0x30);
    assert_false(f->rig.irq.level); // the line falls with mode 0's OUT
    f->rig.fired = 0;
    program(f, 0, 4, false, 100);
    unsigned before = f->rig.irq.rises;
    rig_run_to(&f->rig, f->rig.now + 1000000);
    assert_int_equal(f->rig.irq.rises, before + 1);
    assert_int_equal(f->rig.fired, 1);
    assert_int_equal(deadline_next(&f->rig.queue), DEADLINE_NEVER);
    program(f, 0, 2, false, 100);
    bus_reset(&f->rig.bus);
    assert_int_equal(deadline_next(&f->rig.queue), DEADLINE_NEVER);
}

// The k-th rise is due at the first tick by which that many pulses have come, however large k is.
static void schedule_does_not_drift(void **state)
{
    (void)state;
    static const u64 rates[] = {PIT_HZ, 10000000, 1000000007, 2399999999, 5000000000};
    for (unsigned r = 0; r < ARRAY_SIZE(rates); r++) {
        struct fixture *f = fresh(rates[r]);
        u64 epoch = f->rig.now;
        program(f, 0, 2, false, 1193);
        unsigned before = f->rig.irq.rises;
        for (u64 k = 1; k <= 100000; k++) {
            u64 pulses = 1 + k * 1193;
            u64 due = (u64)(((unsigned __int128)pulses * rates[r] + PIT_HZ - 1) / PIT_HZ);
            assert_int_equal(deadline_next(&f->rig.queue), epoch + due);
            f->rig.now = epoch + due + k % 3; // served a little late
            deadline_run(&f->rig.queue, f->rig.now);
            assert_int_equal(f->rig.irq.rises, before + k);
        }
    }
}

static void missed_periods_make_one_interrupt(void **state)
{
    (void)state;
    for (u8 mode = 2; mode <= 3; mode++) {
        struct fixture *f = fresh(PIT_HZ);
        program(f, 0, mode, false, 1000);
        unsigned before = f->rig.irq.rises;
        u64 start = f->rig.now;
        f->rig.now = start + 10701; // between the tenth rise and the eleventh, OUT low in mode 3
        deadline_run(&f->rig.queue, f->rig.now);
        assert_int_equal(f->rig.irq.rises, before + 1);
        assert_true(f->rig.irq.level); // held until it can be taken
        assert_int_equal(deadline_next(&f->rig.queue), start + 11001);
    }
}

// A read that passes a rise whose deadline is late must not swallow it.
static void late_rise_survives_a_read(void **state)
{
    (void)state;
    struct fixture *f = fresh(PIT_HZ);
    program(f, 0, 2, false, 1000);
    unsigned before = f->rig.irq.rises;
    f->rig.now += 1500;
    assert_int_equal(counter_value(f, 0), 501);
    deadline_run(&f->rig.queue, f->rig.now);
    assert_int_equal(f->rig.irq.rises, before + 1);
}

static void programming_out_high_is_a_rise(void **state)
{
    (void)state;
    struct fixture *f = fresh(PIT_HZ);
    program(f, 0, 0, false, 1000);
    assert_false(f->rig.irq.level);
    outb(&f->rig, 0x43, 0x38);
    assert_true(f->rig.irq.level);
    assert_int_equal(f->rig.irq.rises, 1);
}

static void tiny_periods_meet_the_floor(void **state)
{
    (void)state;
    for (u8 mode = 2; mode <= 3; mode++) {
        for (u16 count = 1; count <= PIT_FLOOR; count++) {
            struct fixture *f = fresh(1000000000);
            program(f, 0, mode, false, count);
            unsigned before = f->rig.irq.rises;
            rig_run_to(&f->rig, f->rig.now + 1000000000);
            unsigned rises = f->rig.irq.rises - before;
            assert_true(rises <= PIT_HZ / PIT_FLOOR + 1);
            if (count == 1)
                assert_int_equal(rises, 0);
            else // never later than the first rise past the floor
                assert_true(rises + 1 >= PIT_HZ / (PIT_FLOOR + count));
            assert_true(f->rig.fired <= rises + 1);
            // Counting goes on as programmed.
            assert_in_range(counter_value(f, 0), 0, count);
        }
    }
}

static void a_count_of_1_has_no_rises_to_show_later(void **state)
{
    (void)state;
    for (u8 mode = 2; mode <= 3; mode++) {
        struct fixture *f = fresh(PIT_HZ);
        program(f, 0, mode, false, 1);
        unsigned before = f->rig.irq.rises;
        f->rig.now += 100;
        counter_value(f, 0);
        f->rig.now += 100;
        outb(&f->rig, 0x40, 0xe8);
        outb(&f->rig, 0x40, 0x03);
        assert_int_equal(f->rig.irq.rises, before);
    }
}

// A late rise in a long period is not pushed out by the floor when the count is rewritten.
static void floor_leaves_long_periods_alone(void **state)
{
    (void)state;
    struct fixture *f = fresh(PIT_HZ);
    program(f, 0, 2, false, 1000);
    u64 start = f->rig.now;
    rig_run_to(&f->rig, start + 990);
    outb(&f->rig, 0x40, 0xf4);
    outb(&f->rig, 0x40, 0x01);
    assert_int_equal(deadline_next(&f->rig.queue), start + 1001);
}

static void a_clock_slower_than_the_pit_works(void **state)
{
    (void)state;
    struct fixture *f = fresh(1000);
    program(f, 0, 2, false, 0);
    rig_run_to(&f->rig, f->rig.now + 60000);
    assert_in_range(f->rig.irq.rises, 1091, 1093); // 18.2 a second for a minute
}

// ---- ports --------------------------------------------------------------------------------------

static void port_61_keeps_four_bits(void **state)
{
    (void)state;
    struct fixture *f = fresh(PIT_HZ);
    outb(&f->rig, 0x61, 0xfe);
    assert_int_equal(inb(&f->rig, 0x61) & 0xef, 0x2e);
    outb(&f->rig, 0x43, 0xb0);
    assert_int_equal(inb(&f->rig, 0x61) & 0xef, 0x0e);
    bus_reset(&f->rig.bus);
    assert_int_equal(inb(&f->rig, 0x61) & 0xef, 0x20);
}

static void port_61_refresh_toggles(void **state)
{
    (void)state;
    struct fixture *f = fresh(PIT_HZ);
    unsigned toggles = 0;
    u8 last = inb(&f->rig, 0x61) & 0x10;
    for (unsigned i = 0; i < 1800; i++) {
        rig_run_to(&f->rig, f->rig.now + 1);
        u8 now = inb(&f->rig, 0x61) & 0x10;
        toggles += now != last;
        last = now;
    }
    assert_int_equal(toggles, 100);
}

static void wide_access_is_byte_by_byte(void **state)
{
    (void)state;
    struct fixture *f = fresh(PIT_HZ);
    outb(&f->rig, 0x43, 0x30);
    outb(&f->rig, 0x43, 0x70);
    rig_out(&f->rig, 0x40, 2, 0x2211); // low bytes of counters 0 and 1
    rig_out(&f->rig, 0x40, 2, 0x4433);
    rig_run_to(&f->rig, f->rig.now + 1);
    assert_int_equal(rig_in(&f->rig, 0x40, 2), 0x2211);
    assert_int_equal(rig_in(&f->rig, 0x40, 4), 0xff004433); // port 43H has nothing to read
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sequences_are_those_of_the_figures),
        cmocka_unit_test(each_mode_and_count_matches_pulse_by_pulse),
        cmocka_unit_test(random_binary_programs_match_the_reference),
        cmocka_unit_test(random_bcd_programs_match_the_reference),
        cmocka_unit_test(irq_rises_when_out_0_does),
        cmocka_unit_test(next_rise_foretells_the_first),
        cmocka_unit_test(bcd_digits_above_9_weigh_what_they_weigh),
        cmocka_unit_test(nothing_is_armed_without_need),
        cmocka_unit_test(schedule_does_not_drift),
        cmocka_unit_test(missed_periods_make_one_interrupt),
        cmocka_unit_test(late_rise_survives_a_read),
        cmocka_unit_test(programming_out_high_is_a_rise),
        cmocka_unit_test(tiny_periods_meet_the_floor),
        cmocka_unit_test(a_count_of_1_has_no_rises_to_show_later),
        cmocka_unit_test(floor_leaves_long_periods_alone),
        cmocka_unit_test(a_clock_slower_than_the_pit_works),
        cmocka_unit_test(port_61_keeps_four_bits),
        cmocka_unit_test(port_61_refresh_toggles),
        cmocka_unit_test(wide_access_is_byte_by_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
