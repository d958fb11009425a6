// SPDX-License-Identifier: MIT
// The local APIC used a known number of times: tests/kernel/test_apicv.c counts what exits.
#include "tests/guest/ioapic.h"

#define TIMES  100u // test_apicv.c knows it too
#define VECTOR 0x52u
#define CLASS  0x50u

// A TPR that lets the interrupt wait, the interrupt, a TPR that lets it come, its EOI; and three
// registers read.
static void use(u32 send, u32 command)
{
    handle(VECTOR, VECTOR, note_lapic);
    for (u32 i = 0; i < TIMES; i++) {
        lapic_write(APIC_TPR, CLASS);
        lapic_write(send, command | VECTOR);
        take_pending();
        G_EXPECT_EQ(note_count, i);
        G_EXPECT_EQ(lapic_read(APIC_TPR), CLASS);
        G_EXPECT_EQ(lapic_read(APIC_IRR + VECTOR / 32 * 0x10), BIT32(VECTOR % 32));
        G_EXPECT_EQ(lapic_read(APIC_SVR), 0x1ff);
        lapic_write(APIC_TPR, CLASS - 1);
        take_pending();
        G_EXPECT_EQ(note_count, i + 1);
    }
}

GUEST_PART(apicv, x2apic_interrupts)
{
    lapic_x2mode();
    use(APIC_SELF_IPI, 0);
}

GUEST_PART(apicv, xapic_interrupts)
{
    use(APIC_ICR_LOW, 1u << 18);
}

GUEST_PART(apicv, cr8_lowered_lets_it_come)
{
    handle(VECTOR, VECTOR, note_lapic);
    for (u32 i = 0; i < TIMES; i++) {
        write_cr8(15);
        write_cr8(CLASS >> 4);
        lapic_self_ipi(VECTOR);
        sti();
        write_cr8((CLASS >> 4) + 1);
        write_cr8(CLASS >> 4);
        G_EXPECT_EQ(note_count, i);
        write_cr8((CLASS >> 4) - 1);
        u32 came = note_count;
        cli();
        G_EXPECT_EQ(came, i + 1);
    }
}

// Two of the same class, of which one waits while the other is served: lowering TPR is not what
// lets it come.
static void lower_and_raise(struct rt_frame *frame)
{
    if (frame->vector == VECTOR) {
        lapic_self_ipi(VECTOR + 1);
        for (u32 cr8 = 15; cr8 > 0; cr8--) {
            write_cr8(cr8 - 1);
            take_pending();
        }
        G_EXPECT_EQ(note_count, 0);
    }
    note_lapic(frame);
}

GUEST_PART(apicv, cr8_does_not_pass_what_is_served)
{
    handle(VECTOR, VECTOR + 1, lower_and_raise);
    lapic_self_ipi(VECTOR);
    take_pending();
    G_EXPECT_EQ(note_count, 2);
    G_EXPECT_VECTOR(0, VECTOR);
    G_EXPECT_VECTOR(1, VECTOR + 1);
}

// IRQ 4 stays asserted: each EOI brings it back, until the last.
static void end_the_last(struct rt_frame *frame)
{
    if (note_count + 1 == TIMES)
        irq4(false);
    note_lapic(frame);
}

GUEST_PART(apicv, level_triggered_interrupts)
{
    handle(VECTOR, VECTOR, end_the_last);
    ioapic_entry(4, RTE_LEVEL | VECTOR);
    irq4(true);
    for (u32 i = 0; i < TIMES; i++)
        take_pending();
    take_pending();
    G_EXPECT_EQ(note_count, TIMES);
    G_EXPECT_EQ(ioapic_read(0x10 + 2 * 4) & RTE_RIRR, 0);
    // The end of others is nobody's business.
    handle(VECTOR + 1, VECTOR + 1, note_lapic);
    for (u32 i = 0; i < TIMES; i++) {
        lapic_self_ipi(VECTOR + 1);
        take_pending();
    }
    G_EXPECT_EQ(note_count, 2 * TIMES);
}

GUEST_PART(apicv, ends_in_xapic_mode)
{
    G_EXPECT_EQ(xapic_read(APIC_VERSION), 0x01050014);
}

GUEST_PART(apicv, ends_in_x2apic_mode)
{
    volatile u32 *page = (volatile u32 *)APIC_DEFAULT_BASE;
    lapic_x2mode();
    G_EXPECT_EQ(page[APIC_VERSION / 4], ~0u);
    page[APIC_TPR / 4] = 0x30;
    G_EXPECT_EQ(x2apic_read(APIC_TPR), 0);
}

GUEST_PART(apicv, ends_software_disabled)
{
    xapic_write(APIC_TPR, 0x30);
    xapic_write(APIC_SVR, 0xff);
    G_EXPECT_EQ(xapic_read(APIC_TPR), 0x30);
    lapic_self_ipi(VECTOR);
    G_EXPECT_EQ(xapic_read(APIC_IRR + VECTOR / 32 * 0x10), 0);
}

// ---- beside another VM --------------------------------------------------------------------------

static u64 seed;

static u32 draw(u32 below)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (u32)((seed >> 33) % below);
}

// Long enough for the other VM to have its turn, sometimes.
static void dwell(void)
{
    spin(draw(8) * rt_info->tsc_hz / 20000);
}

static void serve_and_dwell(struct rt_frame *frame)
{
    u8 vector = (u8)frame->vector;
    dwell();
    G_EXPECT_EQ(lapic_read(APIC_ISR + vector / 32 * 0x10u), BIT32(vector % 32));
    G_EXPECT_EQ(lapic_read(APIC_PPR), vector & 0xf0u);
    dwell();
    note_lapic(frame);
}

// Two VMs do this side by side, each with numbers of its own.
GUEST_PART(apicv, keeps_its_registers)
{
    seed = rdtsc();
    handle(0x20, 0xff, serve_and_dwell);
    if (draw(2) && (rt_info->features & GUEST_HAS_X2APIC))
        lapic_x2mode();
    for (u32 i = 0; i < 40; i++) {
        u8 vector = (u8)(0x20 + draw(0xe0));
        u8 tpr = (u8)((vector & 0xf0) + draw(16));
        lapic_write(APIC_TPR, tpr);
        lapic_self_ipi(vector);
        dwell();
        take_pending();
        G_EXPECT_EQ(note_count, i);
        G_EXPECT_EQ(lapic_read(APIC_TPR), tpr);
        G_EXPECT_EQ(lapic_read(APIC_IRR + vector / 32 * 0x10u), BIT32(vector % 32));
        lapic_write(APIC_TPR, draw(16));
        dwell();
        take_pending();
        G_EXPECT_EQ(note_count, i + 1);
    }
}
