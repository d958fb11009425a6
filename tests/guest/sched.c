// SPDX-License-Identifier: MIT
// The guests' halves of the tests of VMs that share a CPU. What they see goes to their scratch page
// as 64-bit numbers, where Corbel's half reads it.
#include "tests/guest/devices.h"

#define TIMER 0x50u

static volatile u64 *seen(void)
{
    return (volatile u64 *)rt_info->scratch;
}

// Looks at the clock for 40 ms: how often more than half a millisecond went by between two looks,
// and the longest such time. Somebody else had the CPU then.
GUEST_PART(sched, watches_the_clock)
{
    u64 gap = rt_info->tsc_hz / 2000, end = rdtsc() + rt_info->tsc_hz / 25;
    u64 gaps = 0, longest = 0;

    // Bochs lets the host's timer in only while the guest's own interrupts are on.
    sti();
    for (u64 last = rdtsc(), now; last < end; last = now) {
        now = rdtsc();
        gaps += now - last > gap;
        if (now - last > longest)
            longest = now - last;
    }
    seen()[0] = gaps;
    seen()[1] = longest;
}

// Sleeps ten times for 3 ms; how late the latest wake-up was.
GUEST_PART(sched, sleeps)
{
    u64 latest = 0;

    handle(TIMER, TIMER + 1, note_lapic);
    lapic_write(APIC_LVT_TIMER, BIT32(18) | TIMER);
    for (u32 i = 1; i <= 10; i++) {
        u64 due = rdtsc() + rt_info->tsc_hz / 1000 * 3;
        wrmsr(IA32_TSC_DEADLINE, due);
        while (note_count < i)
            sti_hlt_cli();
        u64 late = notes[i - 1].tsc - due;
        if (late > latest)
            latest = late;
    }
    seen()[0] = latest;
}

// Busy for 40 ms, but for a hundredth of a millisecond of sleep after each millisecond: a way to
// more than its share if waking began a slice.
GUEST_PART(sched, naps)
{
    u64 a_ms = rt_info->tsc_hz / 1000, end = rdtsc() + 40 * a_ms;

    handle(TIMER, TIMER + 1, note_lapic);
    lapic_write(APIC_LVT_TIMER, BIT32(18) | TIMER);
    for (u32 i = 1; rdtsc() < end; i++) {
        wrmsr(IA32_TSC_DEADLINE, rdtsc() + a_ms / 100);
        while (note_count < i)
            sti_hlt_cli();
        sti();
        for (u64 until = rdtsc() + a_ms; rdtsc() < until;)
            ;
        cli();
    }
}

// How much of 40 ms it had for itself, in times of less than half a millisecond between two looks.
GUEST_PART(sched, counts_its_share)
{
    u64 gap = rt_info->tsc_hz / 2000, end = rdtsc() + rt_info->tsc_hz / 25, share = 0;

    sti();
    for (u64 last = rdtsc(), now; last < end; last = now) {
        now = rdtsc();
        share += now - last < gap ? now - last : 0;
    }
    seen()[0] = share;
}

GUEST_PART(sched, dies_at_once)
{
    static const struct {
        u16 limit;
        u64 base;
    } PACKED none = {0, 0};
    __asm__ volatile("lidt %0; ud2" : : "m"(none));
}
