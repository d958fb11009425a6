// SPDX-License-Identifier: MIT
// ACPI's fixed hardware (ACPI specification, "ACPI Hardware Specification"): the timer against the
// TSC, the power button, and sleep states that are not there. What ends the VM is tested from
// outside.
#include "tests/guest/devices.h"

#define PM1_STS 0x600u
#define PM1_EN  0x602u
#define PM1_CNT 0x604u
#define PM_TMR  0x608u
#define PM_HZ   3579545u

#define SCI_VECTOR (PIC2_VECTOR + 1) // IRQ 9

enum { SCI_EN = 1, PWRBTN = 0x100, WAK = 0x8000, SLP_EN = 0x2000 };

GUEST_TEST_WITH(pm, timer_runs_at_its_rate, GUEST_TEST_EXACT)
{
    u64 t0 = rdtsc();
    u32 first = inl(PM_TMR);
    u64 t1 = rdtsc();
    spin(rt_info->tsc_hz / 500);
    u64 t2 = rdtsc();
    u32 second = inl(PM_TMR);
    u64 t3 = rdtsc();
    u64 low = (t2 - t1) * PM_HZ / rt_info->tsc_hz, high = (t3 - t0) * PM_HZ / rt_info->tsc_hz;
    G_EXPECT_IN(second - first, low, high + 1);
}

GUEST_TEST(pm, timer_never_goes_back)
{
    u32 first = inl(PM_TMR), last = first;
    for (u32 i = 0; i < 200; i++) {
        u32 now = inl(PM_TMR);
        G_EXPECT(now - first >= last - first);
        last = now;
    }
    outl(PM_TMR, 0); // read only
    G_EXPECT(inl(PM_TMR) - first >= last - first);
}

GUEST_TEST(pm, starts_in_acpi_mode_with_nothing_enabled)
{
    G_EXPECT_EQ(inw(PM1_CNT), SCI_EN);
    outw(PM1_CNT, 0);
    G_EXPECT_EQ(inw(PM1_CNT), SCI_EN);
    G_EXPECT_EQ(inl(PM1_STS), 0);
    outw(PM1_EN, 0x721);
    G_EXPECT_EQ(inw(PM1_EN), 0x721);
    outw(PM1_EN, 0);
    G_EXPECT_EQ(inl(PM1_STS), 0);
}

GUEST_TEST(pm, other_sleep_states_wake_at_once)
{
    for (u16 type = 0; type < 5; type++) {
        outw(PM1_CNT, (u16)(type << 10));
        outw(PM1_CNT, (u16)(type << 10 | SLP_EN));
        G_EXPECT_EQ(inw(PM1_STS), WAK);
        outw(PM1_STS, WAK);
        G_EXPECT_EQ(inw(PM1_STS), 0);
    }
}

// The SCI is a level: it interrupts when enabled and lasts until the status is cleared.
GUEST_PART(pm, power_button_raises_sci)
{
    handle(SCI_VECTOR, SCI_VECTOR, note_no_eoi);
    pics_start(1 << 9 | 1 << 2);
    outb(0x4d1, 1 << 1); // IRQ 9 level triggered
    vmcall(WORLD_POWER_BUTTON, 0);
    G_EXPECT_EQ(inw(PM1_STS), PWRBTN);
    take_pending();
    G_EXPECT_EQ(note_count, 0);
    outw(PM1_EN, PWRBTN);
    take_pending();
    G_EXPECT_EQ(note_count, 1);
    G_EXPECT_VECTOR(0, SCI_VECTOR);
    outb(PIC2, PIC_EOI);
    outb(PIC1, PIC_EOI);
    take_pending();
    G_EXPECT_EQ(note_count, 2);
    outw(PM1_STS, PWRBTN);
    outb(PIC2, PIC_EOI);
    outb(PIC1, PIC_EOI);
    take_pending();
    G_EXPECT_EQ(note_count, 2);
    G_EXPECT_EQ(inw(PM1_STS), 0);
}
