// SPDX-License-Identifier: MIT
// The 8254 interval timer and port 61H (Intel 8254 datasheet), against the TSC. A count takes
// effect at the pulse after it is written, so a time of N pulses is bounded by N and N + 1 of them.
#include "tests/guest/devices.h"

#define LATE    LATE_PIC
#define CONTROL (PIT + 3)

#define PIT_TEST(title) GUEST_TEST_WITH(pit, title, GUEST_TEST_EXACT)

enum { LOW_BYTE = 0x10, HIGH_BYTE = 0x20, WORD = 0x30, BCD = 1 };
enum { STATUS_OUT = 0x80, STATUS_NULL = 0x40 };
enum { GATE2 = 1, REFRESH = 0x10, OUT2 = 0x20 };

static u64 pulse_ticks(u64 pulses)
{
    return ticks_of(pulses, PIT_HZ);
}

static u64 tick_pulses(u64 ticks)
{
    return ticks * PIT_HZ / rt_info->tsc_hz;
}

static void control(unsigned channel, unsigned mode, unsigned access)
{
    outb(CONTROL, (u8)(channel << 6 | access | mode << 1));
}

static void write_count(unsigned channel, u32 count)
{
    outb((u16)(PIT + channel), (u8)count);
    outb((u16)(PIT + channel), (u8)(count >> 8));
}

static u16 read_count(unsigned channel)
{
    u16 low = inb((u16)(PIT + channel));
    return (u16)(low | inb((u16)(PIT + channel)) << 8);
}

static u16 latched(unsigned channel)
{
    outb(CONTROL, (u8)(channel << 6));
    return read_count(channel);
}

static u8 status(unsigned channel)
{
    outb(CONTROL, (u8)(0xe0 | 2 << channel));
    return inb((u16)(PIT + channel));
}

static void gate2(bool level)
{
    outb(SYS61, level ? GATE2 : 0);
}

static bool out2(void)
{
    return inb(SYS61) & OUT2;
}

// The TSC once OUT 2 is seen at this level; the test fails if that takes more than so many pulses.
static u64 when_out2(bool level, u64 pulses)
{
    u64 limit = rdtsc() + pulse_ticks(pulses) + late_ticks(LATE);
    while (out2() != level)
        G_EXPECT(rdtsc() < limit);
    return rdtsc();
}

// Channel 2 with a word count, its gate high.
static void start2(unsigned mode, u32 count)
{
    gate2(true);
    control(2, mode, WORD);
    write_count(2, count);
}

// ---- reading ------------------------------------------------------------------------------------

PIT_TEST(latch_holds_the_count)
{
    control(0, 2, WORD);
    write_count(0, 0);
    spin(1000);
    u64 t0 = rdtsc();
    outb(CONTROL, 0);
    u64 t1 = rdtsc();
    spin(50000);
    outb(CONTROL, 0); // a second latch changes nothing
    u16 first = read_count(0);
    u64 t2 = rdtsc();
    u16 second = read_count(0); // not latched: as it is now
    u64 t3 = rdtsc();
    u16 gone = (u16)(first - second);
    G_EXPECT_IN(gone, tick_pulses(t2 - t1), tick_pulses(t3 - t0) + 1);
}

GUEST_TEST(pit, read_back_shows_the_control_word)
{
    for (u8 mode = 0; mode < 6; mode++)
        for (u8 access = LOW_BYTE; access <= WORD; access += LOW_BYTE)
            for (u8 bcd = 0; bcd < 2; bcd++) {
                u8 word = (u8)(access | mode << 1 | bcd);
                outb(CONTROL, 0x80 | word);
                u8 out = mode ? STATUS_OUT : 0;
                G_EXPECT_EQ(status(2), STATUS_NULL | out | word);
            }
}

// Of several channels at once; the status comes before the count.
PIT_TEST(read_back_latches_status_and_count)
{
    control(0, 2, WORD);
    write_count(0, 0x8000);
    start2(0, 0x7000);
    spin(500);
    outb(CONTROL, 0xc0 | 2 | 8);
    spin(50000);
    G_EXPECT_EQ(inb(PIT), STATUS_OUT | WORD | 2 << 1);
    G_EXPECT_EQ(inb(PIT + 2), WORD);
    G_EXPECT_IN(read_count(0), 0x8000 - 100, 0x8000);
    G_EXPECT_IN(read_count(2), 0x7000 - 100, 0x7000);
}

PIT_TEST(null_count_until_the_count_is_loaded)
{
    start2(2, 400);
    spin(pulse_ticks(2));
    G_EXPECT_EQ(status(2) & STATUS_NULL, 0);
    write_count(2, 300); // taken at the end of the period
    G_EXPECT_EQ(status(2) & STATUS_NULL, STATUS_NULL);
    G_EXPECT_IN(latched(2), 301, 400);
    spin(pulse_ticks(400));
    G_EXPECT_EQ(status(2) & STATUS_NULL, 0);
    for (u32 i = 0; i < 50; i++)
        G_EXPECT_IN(latched(2), 1, 300);
}

PIT_TEST(bcd_counts_in_decimal)
{
    gate2(true);
    control(2, 2, WORD | BCD);
    write_count(2, 0x1000);
    for (u32 i = 0; i < 100; i++) {
        u16 digits = latched(2);
        G_EXPECT_IN(digits, 1, 0x1000);
        for (u32 shift = 0; shift < 16; shift += 4)
            G_EXPECT((digits >> shift & 15) <= 9);
    }
    write_count(2, 0); // 10000
    u64 t0 = rdtsc();
    control(2, 0, WORD | BCD);
    write_count(2, 0);
    u64 t1 = rdtsc(), t = when_out2(true, 10001);
    G_EXPECT_ON_TIME(t, t0 + pulse_ticks(10000), t1 + pulse_ticks(10001));
}

PIT_TEST(one_byte_counts)
{
    gate2(true);
    control(2, 2, LOW_BYTE);
    outb(PIT + 2, 0xf0);
    for (u32 i = 0; i < 20; i++)
        G_EXPECT_IN(inb(PIT + 2), 1, 0xf0);
    control(2, 2, HIGH_BYTE);
    outb(PIT + 2, 0x80);
    spin(500);
    u8 high = inb(PIT + 2);
    G_EXPECT_IN(high, 0x7e, 0x80);
    spin(pulse_ticks(0x1000));
    G_EXPECT_IN(inb(PIT + 2), 0x6e, high - 0xfu);
}

GUEST_TEST(pit, control_port_reads_all_ones)
{
    G_EXPECT_EQ(inb(CONTROL), 0xff);
}

// ---- the modes, on channel 2 --------------------------------------------------------------------

PIT_TEST(mode_0_raises_out_when_it_has_counted)
{
    gate2(true);
    control(2, 0, WORD);
    G_EXPECT(!out2());
    u64 t0 = rdtsc();
    write_count(2, 2000);
    u64 t1 = rdtsc();
    u64 t = when_out2(true, 2001);
    G_EXPECT_ON_TIME(t, t0 + pulse_ticks(2000), t1 + pulse_ticks(2001));
    G_EXPECT_IN(latched(2), 0xff00, 0xffff); // it counts on
    G_EXPECT(out2());
    write_count(2, 2000); // OUT falls and the count starts over
    G_EXPECT(!out2());
}

PIT_TEST(mode_0_new_count_starts_over)
{
    start2(0, 1000);
    spin(pulse_ticks(900));
    u64 t0 = rdtsc();
    write_count(2, 1000);
    u64 t = when_out2(true, 1001);
    G_EXPECT_ON_TIME(t, t0 + pulse_ticks(1000), t0 + pulse_ticks(1010));
}

// The gate's level holds the count in modes 0 and 4.
PIT_TEST(gate_low_holds_modes_0_and_4)
{
    for (unsigned mode = 0; mode <= 4; mode += 4) {
        start2(mode, 5000);
        spin(pulse_ticks(100));
        gate2(false);
        u16 count = latched(2);
        spin(pulse_ticks(100));
        G_EXPECT_EQ(latched(2), count);
        gate2(true);
        spin(pulse_ticks(100));
        G_EXPECT_IN(latched(2), count - 150u, count - 100u);
    }
}

// The gate's edge stops modes 2 and 3 with OUT high, and starts them over.
PIT_TEST(gate_restarts_modes_2_and_3)
{
    for (unsigned mode = 2; mode <= 3; mode++) {
        start2(mode, 10000);
        spin(pulse_ticks(4000));
        gate2(false);
        u16 count = latched(2);
        spin(pulse_ticks(3000));
        G_EXPECT(out2());
        G_EXPECT_EQ(latched(2), count);
        gate2(true);
        spin(pulse_ticks(2));
        G_EXPECT_IN(latched(2), 10000 - 100, 10000);
    }
}

PIT_TEST(mode_1_is_a_one_shot_of_the_gate)
{
    gate2(false);
    control(2, 1, WORD);
    write_count(2, 1000);
    spin(pulse_ticks(50));
    G_EXPECT(out2());
    for (u32 i = 0; i < 2; i++) {
        gate2(false);
        u64 t0 = rdtsc();
        gate2(true);
        u64 t1 = rdtsc();
        spin(pulse_ticks(2));
        G_EXPECT(!out2());
        gate2(false); // its level does not matter
        u64 t = when_out2(true, 1001);
        G_EXPECT_ON_TIME(t, t0 + pulse_ticks(1000), t1 + pulse_ticks(1001));
    }
}

PIT_TEST(mode_1_retriggered_lasts_longer)
{
    gate2(false);
    control(2, 1, WORD);
    write_count(2, 1000);
    gate2(true);
    spin(pulse_ticks(900));
    gate2(false);
    u64 t0 = rdtsc();
    gate2(true);
    u64 t = when_out2(true, 1001);
    G_EXPECT_ON_TIME(t, t0 + pulse_ticks(1000), t0 + pulse_ticks(1010));
}

PIT_TEST(mode_2_counts_from_n_to_1)
{
    u32 wraps = 0;
    start2(2, 200);
    spin(pulse_ticks(2));
    u64 t0 = rdtsc();
    u16 last = latched(2);
    while (rdtsc() - t0 < pulse_ticks(2100)) {
        u16 now = latched(2);
        G_EXPECT_IN(now, 1, 200);
        wraps += now > last;
        last = now;
    }
    G_EXPECT_IN(wraps, 10, 11);
}

// OUT is up for one half and down for the other, and the count goes by twos.
PIT_TEST(mode_3_is_a_square_wave)
{
    start2(3, 2000);
    u64 edge = when_out2(false, 1001);
    for (u32 i = 0; i < 4; i++) {
        u64 next = when_out2(i % 2 == 0, 1001);
        u64 slack = 2000; // two looks at the port
        G_EXPECT_IN(next - edge, pulse_ticks(1000) - slack, pulse_ticks(1000) + slack);
        edge = next;
        G_EXPECT_EQ(latched(2) & 1, 0);
    }
}

// Mode 4 counts as soon as it has a count, mode 5 at the gate's edge.
PIT_TEST(modes_4_and_5_differ_in_what_starts_them)
{
    for (unsigned mode = 4; mode <= 5; mode++) {
        start2(mode, 3000);
        G_EXPECT(out2());
        spin(pulse_ticks(10));
        G_EXPECT_EQ(status(2) & STATUS_NULL, mode == 5 ? STATUS_NULL : 0);
        gate2(false);
        gate2(true);
        spin(pulse_ticks(10));
        G_EXPECT_EQ(status(2) & STATUS_NULL, 0);
        G_EXPECT_IN(latched(2), 2800, 2999);
        G_EXPECT(out2());
    }
}

// ---- port 61H -----------------------------------------------------------------------------------

GUEST_TEST(pit, port_61_keeps_its_four_bits)
{
    for (u32 value = 0; value < 16; value++) {
        outb(SYS61, (u8)(0xf0 | value));
        G_EXPECT_EQ(inb(SYS61) & ~(REFRESH | OUT2), value);
    }
}

// Every 18 pulses, 15 microseconds.
PIT_TEST(refresh_bit_toggles)
{
    u32 toggles = 0;
    u8 last = inb(SYS61);
    u64 t0 = rdtsc();
    while (rdtsc() - t0 < pulse_ticks(18 * 100)) {
        u8 now = inb(SYS61);
        toggles += (now ^ last) >> 4 & 1;
        last = now;
    }
    G_EXPECT_IN(toggles, 99, 101);
}

// ---- interrupts, from channel 0 -----------------------------------------------------------------

// The PIT ready in this mode, its edge of programming passed.
static void start_irq(unsigned mode)
{
    handle(PIC_VECTOR, PIC_VECTOR, note_pic);
    control(0, 0, WORD);
    control(0, mode, WORD);
    pics_start(BIT32(0));
}

PIT_TEST(mode_0_interrupts_once_on_time)
{
    static const u32 counts[] = {100, 1193, 10000};
    for (u32 i = 0; i < ARRAY_SIZE(counts); i++) {
        note_count = 0;
        start_irq(0);
        u64 t0 = rdtsc();
        write_count(0, counts[i]);
        u64 t1 = rdtsc();
        expect_notes(1, pulse_ticks(counts[i] + 2) + late_ticks(LATE));
        G_EXPECT_ON_TIME(notes[0].tsc, t0 + pulse_ticks(counts[i]),
                         t1 + pulse_ticks(counts[i] + 1));
        sti();
        spin(pulse_ticks(2ull * counts[i]));
        cli();
        G_EXPECT_EQ(note_count, 1);
    }
}

// The strobe's end is the edge.
PIT_TEST(mode_4_interrupts_after_its_strobe)
{
    start_irq(4);
    u64 t0 = rdtsc();
    write_count(0, 2000);
    u64 t1 = rdtsc();
    expect_notes(1, pulse_ticks(2003) + late_ticks(LATE));
    G_EXPECT_ON_TIME(notes[0].tsc, t0 + pulse_ticks(2001), t1 + pulse_ticks(2002));
    sti();
    spin(pulse_ticks(3000));
    cli();
    G_EXPECT_EQ(note_count, 1);
}

// Channel 0's gate is tied high: there is no edge to start them.
GUEST_TEST(pit, modes_1_and_5_never_interrupt)
{
    for (unsigned mode = 1; mode <= 5; mode += 4) {
        start_irq(mode);
        write_count(0, 100);
        sti();
        spin(pulse_ticks(1000));
        cli();
        G_EXPECT_EQ(note_count, 0);
    }
}

static void expect_schedule(u64 t0, u64 t1, u32 first, u32 count, u64 period)
{
    for (u32 i = first; i < count; i++) {
        u64 due = (i + 1) * period;
        G_EXPECT_ON_TIME(notes[i].tsc, t0 + pulse_ticks(due), t1 + pulse_ticks(due + 1));
    }
}

PIT_TEST(modes_2_and_3_keep_their_schedule)
{
    for (unsigned mode = 2; mode <= 3; mode++) {
        note_count = 0;
        start_irq(mode);
        u64 t0 = rdtsc();
        write_count(0, 1193); // a thousand a second
        u64 t1 = rdtsc();
        expect_notes(10, pulse_ticks(1193 * 11));
        expect_schedule(t0, t1, 0, 10, 1193);
    }
}

PIT_TEST(count_0_is_65536)
{
    start_irq(2);
    u64 t0 = rdtsc();
    write_count(0, 0);
    u64 t1 = rdtsc();
    halt_until(3);
    expect_schedule(t0, t1, 0, 3, 65536);
}

// A new count waits for the end of the period.
PIT_TEST(mode_2_takes_a_new_count_after_the_period)
{
    start_irq(2);
    u64 t0 = rdtsc();
    write_count(0, 2000);
    u64 t1 = rdtsc();
    spin(pulse_ticks(500));
    write_count(0, 1000);
    halt_until(3);
    for (u32 i = 0; i < 3; i++) {
        u64 due = 2000 + 1000 * i;
        G_EXPECT_ON_TIME(notes[i].tsc, t0 + pulse_ticks(due), t1 + pulse_ticks(due + 1));
    }
}

PIT_TEST(missed_periods_are_one_interrupt)
{
    start_irq(2);
    u64 t0 = rdtsc();
    write_count(0, 1000);
    u64 t1 = rdtsc();
    spin(pulse_ticks(5500));
    take_pending();
    G_EXPECT_EQ(note_count, 1);
    note_count = 5; // where the schedule has got to
    halt_until(6);
    expect_schedule(t0, t1, 5, 6, 1000);
}

// A hundred microseconds lie between interrupts however short the period, which counts as written.
PIT_TEST(shortest_period_leaves_time)
{
    u64 rounds = 0;
    start_irq(2);
    write_count(0, 2);
    sti();
    for (u64 start = rdtsc(); rdtsc() - start < rt_info->tsc_hz / 200;)
        rounds++;
    cli();
    G_EXPECT_IN(note_count, 40, 51);
    G_EXPECT_IN(rounds, 1000, ~0ull);
    G_EXPECT_IN(latched(0), 1, 2);
}

PIT_TEST(ends_a_hlt)
{
    start_irq(3);
    u64 t0 = rdtsc();
    write_count(0, 11932); // a hundred a second
    u64 t1 = rdtsc();
    halt_until(5);
    expect_schedule(t0, t1, 0, 5, 11932);
}
