// SPDX-License-Identifier: MIT
// The local APIC's timer, to the tick: SDM volume 3, "APIC Timer" and "TSC-Deadline Mode". Never
// early.
#include "tests/guest/devices.h"

#define LATE LATE_APIC

#define TIMER_TEST(title) GUEST_TEST_WITH(lapic_timer, title, GUEST_TEST_EXACT)

#define TIMER    0x50u
#define ONESHOT  0u
#define PERIODIC BIT32(17)
#define DEADLINE BIT32(18)

// Counts, undivided: 10 microseconds, 1,000 ticks in Bochs, where an access to the page takes
// 2,500.
#define UNIT (rt_info->lapic_hz / 100000)

// Divide configurations by their log2.
static const u8 divides[] = {0xb, 0, 1, 2, 3, 8, 9, 0xa};

static u64 count_ticks(u64 counts)
{
    return ticks_of(counts, rt_info->lapic_hz);
}

static void timer_setup(u32 lvt, u8 divide)
{
    handle(TIMER, TIMER + 1, note_lapic);
    lapic_write(APIC_TDCR, divide);
    lapic_write(APIC_LVT_TIMER, lvt | TIMER);
}

// Corbel offers TSC-deadline mode whatever the CPU has.
static void deadline_setup(void)
{
    G_EXPECT(cpuid(1, 0).ecx & CPUID_1_ECX_TSC_DEADLINE);
    timer_setup(DEADLINE, 0xb);
}

// ---- one-shot and periodic ----------------------------------------------------------------------

TIMER_TEST(oneshot_on_time_with_every_divider)
{
    for (u32 shift = 0; shift < ARRAY_SIZE(divides); shift++) {
        u32 counts = (u32)(UNIT * 50 >> shift);
        u64 ticks = count_ticks((u64)counts << shift);
        note_count = 0;
        timer_setup(ONESHOT, divides[shift]);
        u64 before = rdtsc();
        lapic_write(APIC_TMICT, counts);
        u64 after = rdtsc();
        expect_notes(1, ticks * 2);
        G_EXPECT_ON_TIME(notes[0].tsc, before + ticks, after + ticks);
    }
}

TIMER_TEST(oneshot_fires_once)
{
    timer_setup(ONESHOT, 0xb);
    lapic_write(APIC_TMICT, (u32)UNIT * 50);
    expect_notes(1, count_ticks(UNIT * 100));
    G_EXPECT_EQ(lapic_read(APIC_TMCCT), 0);
    G_EXPECT_EQ(lapic_read(APIC_TMICT), UNIT * 50);
    sti();
    spin(count_ticks(UNIT * 200));
    cli();
    G_EXPECT_EQ(note_count, 1);
}

// Each interrupt by the schedule of the first: errors do not add up.
TIMER_TEST(periodic_keeps_its_schedule)
{
    u32 counts = (u32)UNIT * 100 + 7; // a period that is no whole number of ticks
    timer_setup(PERIODIC, 0xb);
    u64 before = rdtsc();
    lapic_write(APIC_TMICT, counts);
    u64 after = rdtsc();
    expect_notes(20, count_ticks(UNIT * 2500));
    for (u32 i = 0; i < 20; i++) {
        u64 due = count_ticks((u64)counts * (i + 1));
        G_EXPECT_ON_TIME(notes[i].tsc, before + due, after + due);
    }
}

TIMER_TEST(current_count_follows_the_clock)
{
    for (u32 shift = 0; shift < ARRAY_SIZE(divides); shift++) {
        u32 initial = 0xfffffff0;
        lapic_write(APIC_TDCR, divides[shift]);
        u64 t0 = rdtsc();
        lapic_write(APIC_TMICT, initial);
        u64 t1 = rdtsc();
        spin(20000);
        u64 t2 = rdtsc();
        u32 gone = initial - (u32)lapic_read(APIC_TMCCT);
        u64 t3 = rdtsc();
        u64 hz = rt_info->tsc_hz;
        G_EXPECT_IN(gone, (t2 - t1) * rt_info->lapic_hz / hz >> shift,
                    ((t3 - t0) * rt_info->lapic_hz / hz >> shift) + 1);
    }
}

TIMER_TEST(periodic_count_starts_again)
{
    u32 initial = (u32)UNIT * 20, last = 0, wraps = 0;
    lapic_write(APIC_TDCR, 0xb);
    lapic_write(APIC_LVT_TIMER, APIC_LVT_MASKED | PERIODIC | TIMER);
    lapic_write(APIC_TMICT, initial);
    for (u64 start = rdtsc(); rdtsc() - start < count_ticks(UNIT * 110);) {
        u32 now = (u32)lapic_read(APIC_TMCCT);
        G_EXPECT_IN(now, 1, initial);
        wraps += now > last;
        last = now;
    }
    G_EXPECT_EQ(wraps, 6); // the first look and five periods
}

TIMER_TEST(masked_it_counts_and_is_silent)
{
    timer_setup(APIC_LVT_MASKED, 0xb);
    lapic_write(APIC_TMICT, (u32)UNIT * 20);
    G_EXPECT(lapic_read(APIC_TMCCT) != 0);
    sti();
    spin(count_ticks(UNIT * 50));
    cli();
    G_EXPECT_EQ(lapic_read(APIC_TMCCT), 0);
    lapic_write(APIC_LVT_TIMER, TIMER); // what fell due while masked is gone
    take_pending();
    G_EXPECT_EQ(note_count, 0);
}

TIMER_TEST(initial_count_0_stops)
{
    static const u32 modes[] = {ONESHOT, PERIODIC};
    for (u32 i = 0; i < ARRAY_SIZE(modes); i++) {
        timer_setup(modes[i], 0xb);
        lapic_write(APIC_TMICT, (u32)UNIT * 40);
        spin(count_ticks(UNIT * 10));
        lapic_write(APIC_TMICT, 0);
        G_EXPECT_EQ(lapic_read(APIC_TMCCT), 0);
        sti();
        spin(count_ticks(UNIT * 100));
        cli();
        G_EXPECT_EQ(note_count, 0);
    }
}

TIMER_TEST(new_initial_count_starts_over)
{
    timer_setup(ONESHOT, 0xb);
    lapic_write(APIC_TMICT, (u32)UNIT * 60);
    spin(count_ticks(UNIT * 40));
    u64 before = rdtsc(), ticks = count_ticks(UNIT * 60);
    lapic_write(APIC_TMICT, (u32)UNIT * 60);
    u64 after = rdtsc();
    expect_notes(1, 2 * ticks);
    G_EXPECT_ON_TIME(notes[0].tsc, before + ticks, after + ticks);
}

TIMER_TEST(vector_is_taken_when_it_fires)
{
    timer_setup(ONESHOT, 0xb);
    lapic_write(APIC_TMICT, (u32)UNIT * 40);
    lapic_write(APIC_LVT_TIMER, TIMER + 1);
    expect_notes(1, count_ticks(UNIT * 80));
    G_EXPECT_VECTOR(0, TIMER + 1);
}

TIMER_TEST(oneshot_to_periodic_keeps_counting)
{
    u64 ticks = count_ticks(UNIT * 50);
    timer_setup(ONESHOT, 0xb);
    u64 before = rdtsc();
    lapic_write(APIC_TMICT, (u32)UNIT * 50);
    u64 after = rdtsc();
    spin(ticks / 2);
    lapic_write(APIC_LVT_TIMER, PERIODIC | TIMER);
    expect_notes(3, 5 * ticks);
    for (u32 i = 0; i < 3; i++)
        G_EXPECT_ON_TIME(notes[i].tsc, before + ticks * (i + 1), after + ticks * (i + 1));
}

// The count that is left goes on at the new rate; the part of a count under way is lost.
TIMER_TEST(divider_changed_under_way)
{
    u64 ticks = count_ticks(UNIT * 100);
    timer_setup(ONESHOT, 0xb);
    lapic_write(APIC_TMICT, (u32)UNIT * 100);
    spin(ticks / 2);
    u32 left_before = (u32)lapic_read(APIC_TMCCT);
    u64 t0 = rdtsc();
    lapic_write(APIC_TDCR, 1); // by 4
    u64 t1 = rdtsc();
    u32 left_after = (u32)lapic_read(APIC_TMCCT);
    G_EXPECT(left_before - left_after < UNIT * 10);
    expect_notes(1, 4 * ticks);
    G_EXPECT_ON_TIME(notes[0].tsc, t1 + count_ticks(4ull * left_after),
                     t0 + count_ticks(4ull * left_before));
}

// Five periods with interrupts off are one interrupt after, and the next is on the old schedule.
TIMER_TEST(missed_periods_are_one_interrupt)
{
    u64 ticks = count_ticks(UNIT * 50);
    timer_setup(PERIODIC, 0xb);
    u64 before = rdtsc();
    lapic_write(APIC_TMICT, (u32)UNIT * 50);
    u64 after = rdtsc();
    spin(ticks * 5 + ticks / 2);
    take_pending();
    G_EXPECT_EQ(note_count, 1);
    expect_notes(2, 2 * ticks);
    G_EXPECT_ON_TIME(notes[1].tsc, before + ticks * 6, after + ticks * 6);
}

// A period of one count would be all the guest does: its interrupts come at 50 kHz at most, and it
// gets on with its work in between. By MSR, because an EOI through the page takes most of 20
// microseconds where a tick is an instruction.
TIMER_TEST(shortest_period_leaves_time)
{
    u64 millisecond = rt_info->tsc_hz / 1000, rounds = 0;
    lapic_x2mode();
    timer_setup(PERIODIC, 0xb);
    lapic_write(APIC_TMICT, 1);
    sti();
    for (u64 start = rdtsc(); rdtsc() - start < millisecond;)
        rounds++;
    cli();
    lapic_write(APIC_TMICT, 0);
    G_EXPECT_IN(note_count, 40, 51);
    G_EXPECT_IN(rounds, 1000, ~0ull);
}

TIMER_TEST(software_disable_silences_it)
{
    timer_setup(PERIODIC, 0xb);
    lapic_write(APIC_TMICT, (u32)UNIT * 30);
    lapic_write(APIC_SVR, 0xff);
    sti();
    spin(count_ticks(UNIT * 100));
    cli();
    G_EXPECT_EQ(note_count, 0);
    G_EXPECT(lapic_read(APIC_TMCCT) != 0);
}

TIMER_TEST(ends_a_hlt)
{
    u64 ticks = count_ticks(UNIT * 200);
    timer_setup(PERIODIC, 0xb);
    u64 before = rdtsc();
    lapic_write(APIC_TMICT, (u32)UNIT * 200);
    u64 after = rdtsc();
    halt_until(5);
    for (u32 i = 0; i < 5; i++)
        G_EXPECT_ON_TIME(notes[i].tsc, before + ticks * (i + 1), after + ticks * (i + 1));
}

TIMER_TEST(x2apic_mode_times_alike)
{
    u64 ticks = count_ticks(UNIT * 100);
    lapic_x2mode();
    timer_setup(PERIODIC, 0);
    u64 before = rdtsc();
    lapic_write(APIC_TMICT, (u32)UNIT * 50); // by 2
    u64 after = rdtsc();
    expect_notes(5, 8 * ticks);
    for (u32 i = 0; i < 5; i++)
        G_EXPECT_ON_TIME(notes[i].tsc, before + ticks * (i + 1), after + ticks * (i + 1));
    G_EXPECT_IN(lapic_read(APIC_TMCCT), 1, UNIT * 50);
}

// ---- TSC-deadline -------------------------------------------------------------------------------

TIMER_TEST(deadline_is_on_time)
{
    static const u32 ahead[] = {1000, 3001, 10000, 99999, 1000000};
    deadline_setup();
    for (u32 i = 0; i < ARRAY_SIZE(ahead); i++) {
        u64 due = rdtsc() + ahead[i];
        note_count = 0;
        wrmsr(IA32_TSC_DEADLINE, due);
        expect_notes(1, 2ull * ahead[i] + late_ticks(LATE));
        G_EXPECT_ON_TIME(notes[0].tsc, due, due);
    }
}

TIMER_TEST(deadline_ends_a_hlt)
{
    deadline_setup();
    u64 due = rdtsc() + rt_info->tsc_hz / 100;
    wrmsr(IA32_TSC_DEADLINE, due);
    halt_until(1);
    G_EXPECT_ON_TIME(notes[0].tsc, due, due);
}

TIMER_TEST(deadline_reads_0_once_it_fired)
{
    deadline_setup();
    u64 due = rdtsc() + 20000;
    wrmsr(IA32_TSC_DEADLINE, due);
    G_EXPECT_EQ(rdmsr(IA32_TSC_DEADLINE), due);
    expect_notes(1, 40000);
    G_EXPECT_EQ(rdmsr(IA32_TSC_DEADLINE), 0);
    sti();
    spin(40000);
    cli();
    G_EXPECT_EQ(note_count, 1);
}

TIMER_TEST(deadline_in_the_past_fires_at_once)
{
    deadline_setup();
    wrmsr(IA32_TSC_DEADLINE, 1);
    take_pending();
    G_EXPECT_EQ(note_count, 1);
    wrmsr(IA32_TSC_DEADLINE, rdtsc());
    take_pending();
    G_EXPECT_EQ(note_count, 2);
    G_EXPECT_EQ(rdmsr(IA32_TSC_DEADLINE), 0);
}

TIMER_TEST(deadline_0_disarms)
{
    deadline_setup();
    wrmsr(IA32_TSC_DEADLINE, rdtsc() + 10000);
    wrmsr(IA32_TSC_DEADLINE, 0);
    sti();
    spin(30000);
    cli();
    G_EXPECT_EQ(note_count, 0);
}

TIMER_TEST(deadline_is_ignored_in_other_modes)
{
    timer_setup(ONESHOT, 0xb);
    wrmsr(IA32_TSC_DEADLINE, rdtsc() + 1000);
    G_EXPECT_EQ(rdmsr(IA32_TSC_DEADLINE), 0);
    sti();
    spin(10000);
    cli();
    G_EXPECT_EQ(note_count, 0);
}

TIMER_TEST(deadline_mode_ignores_initial_count)
{
    deadline_setup();
    lapic_write(APIC_TMICT, 1000);
    G_EXPECT_EQ(lapic_read(APIC_TMICT), 0);
    G_EXPECT_EQ(lapic_read(APIC_TMCCT), 0);
    sti();
    spin(count_ticks(UNIT * 100));
    cli();
    G_EXPECT_EQ(note_count, 0);
}

TIMER_TEST(leaving_deadline_mode_disarms)
{
    deadline_setup();
    wrmsr(IA32_TSC_DEADLINE, rdtsc() + 20000);
    lapic_write(APIC_LVT_TIMER, ONESHOT | TIMER);
    lapic_write(APIC_LVT_TIMER, DEADLINE | TIMER);
    G_EXPECT_EQ(rdmsr(IA32_TSC_DEADLINE), 0);
    sti();
    spin(40000);
    cli();
    G_EXPECT_EQ(note_count, 0);
}

TIMER_TEST(entering_deadline_mode_stops_count)
{
    timer_setup(PERIODIC, 0xb);
    lapic_write(APIC_TMICT, (u32)UNIT * 50);
    lapic_write(APIC_LVT_TIMER, DEADLINE | TIMER);
    G_EXPECT_EQ(lapic_read(APIC_TMCCT), 0);
    lapic_write(APIC_LVT_TIMER, PERIODIC | TIMER);
    sti();
    spin(count_ticks(UNIT * 150));
    cli();
    G_EXPECT_EQ(note_count, 0);
}

// The deadline is in the guest's TSC: setting the TSC forward brings it nearer.
TIMER_TEST(deadline_moves_with_the_guests_tsc)
{
    deadline_setup();
    u64 due = rdtsc() + BIT(40);
    wrmsr(IA32_TSC_DEADLINE, due);
    u64 set = due - 50000, before = rdtsc();
    wrmsr(IA32_TIME_STAMP_COUNTER, set);
    u64 jump = rdtsc() - before;
    G_EXPECT_IN(jump, BIT(39), BIT(41));
    expect_notes(1, 100000);
    G_EXPECT_ON_TIME(notes[0].tsc, due, due);
}
