// SPDX-License-Identifier: MIT
// Several clocks at once, HLT, and the same without the preemption timer, where Corbel's half takes
// it away and the host's own timer has to end the guest's turns.
#include "tests/guest/devices.h"

#define TIMING_TEST(title) GUEST_TEST_WITH(timing, title, GUEST_TEST_EXACT)

#define TIMER_VECTOR 0x50u
#define PIT_COUNT    1193u

static u64 apic_period; // ticks
static volatile u32 pit_count;
static volatile u64 pit_last;

static void on_pit(struct rt_frame *frame)
{
    (void)frame;
    pit_last = rdtsc();
    pit_count++;
    outb(PIC1, PIC_EOI);
}

// Periodic, by divide-by-1 counts. Returns the TSC before and after the count is written.
struct start {
    u64 before, after;
};

static struct start start_apic(u32 microseconds)
{
    struct start s;
    handle(TIMER_VECTOR, TIMER_VECTOR, note_lapic);
    u64 counts = rt_info->lapic_hz / 1000000 * microseconds;
    apic_period = ticks_of(counts, rt_info->lapic_hz);
    lapic_write(APIC_TDCR, 0xb);
    lapic_write(APIC_LVT_TIMER, BIT32(17) | TIMER_VECTOR);
    s.before = rdtsc();
    lapic_write(APIC_TMICT, counts);
    s.after = rdtsc();
    return s;
}

static struct start start_pit(void)
{
    struct start s;
    handle(PIC_VECTOR, PIC_VECTOR, on_pit);
    outb(PIT + 3, 0x30);
    outb(PIT + 3, 0x34);
    pics_start(BIT32(0));
    s.before = rdtsc();
    outb(PIT, (u8)PIT_COUNT);
    outb(PIT, PIT_COUNT >> 8);
    s.after = rdtsc();
    return s;
}

// late: microseconds.
static void expect_apic(struct start s, u32 count, u32 late)
{
    for (u32 i = 0; i < count; i++) {
        u64 due = (i + 1) * apic_period;
        G_EXPECT_IN(notes[i].tsc, s.before + due, s.after + due + late_ticks(late));
    }
}

static void expect_pit(struct start s, u32 late)
{
    u64 due = (u64)pit_count * PIT_COUNT;
    G_EXPECT_IN(pit_last, s.before + ticks_of(due, PIT_HZ),
                s.after + ticks_of(due + 1, PIT_HZ) + late_ticks(late));
}

static void both_by_hlt(void)
{
    lapic_x2mode();
    struct start pit = start_pit(), apic = start_apic(1750);
    halt_until(10);
    expect_apic(apic, 10, LATE_APIC + LATE_PIC);
    G_EXPECT_EQ(pit_count, 17); // the tenth comes in the middle between the 17th and the 18th
    expect_pit(pit, LATE_APIC + LATE_PIC);
}

// Neither disturbs the other's schedule, beyond the time the other's interrupt takes.
TIMING_TEST(pit_and_lapic_timer_side_by_side)
{
    both_by_hlt();
}

// STI's shadow covers HLT: what waits already ends it at once.
TIMING_TEST(hlt_ends_at_once_for_what_waits)
{
    handle(TIMER_VECTOR, TIMER_VECTOR, note_lapic);
    lapic_self_ipi(TIMER_VECTOR);
    u64 before = rdtsc(), after;
    __asm__ volatile("leaq 1f(%%rip), %0; sti; hlt\n1: cli" : "=&r"(after) : : "memory");
    G_EXPECT_EQ(note_count, 1);
    G_EXPECT_EQ(notes[0].ip, after);
    G_EXPECT_IN(notes[0].tsc, before, before + late_ticks(LATE_PIC));
}

// A tick that the PIC masks does not end HLT; the local APIC's next one does.
TIMING_TEST(masked_interrupt_does_not_end_hlt)
{
    start_pit();
    outb(PIC1 + 1, 0xff);
    struct start apic = start_apic(4500);
    sti_hlt_cli();
    G_EXPECT_EQ(note_count, 1);
    G_EXPECT_EQ(pit_count, 0);
    expect_apic(apic, 1, LATE_PIC);
}

// Devices' work and exits take guest time: the TSC counts through them.
TIMING_TEST(tsc_counts_through_hlt)
{
    struct start apic = start_apic(10000);
    sti_hlt_cli();
    u64 took = rdtsc() - apic.before;
    G_EXPECT_IN(took, apic_period, apic_period + late_ticks(1000));
}

// ---- without the preemption timer ---------------------------------------------------------------

GUEST_PART(timing, host_timer_drives_the_local_apic)
{
    struct start apic = start_apic(200);
    expect_notes(10, 12 * apic_period);
    expect_apic(apic, 10, LATE_APIC);
}

GUEST_PART(timing, host_timer_drives_the_pit)
{
    struct start pit = start_pit();
    sti();
    for (u64 start = rdtsc(); pit_count < 10 && rdtsc() - start < rt_info->tsc_hz / 50;)
        ;
    cli();
    G_EXPECT_EQ(pit_count, 10);
    expect_pit(pit, LATE_PIC);
}

GUEST_PART(timing, host_timer_serves_both_and_hlt)
{
    struct start apic = start_apic(200);
    expect_notes(5, 7 * apic_period);
    expect_apic(apic, 5, LATE_APIC);
    lapic_write(APIC_TMICT, 0);
    note_count = 0;
    both_by_hlt();
}
