// SPDX-License-Identifier: MIT
// The I/O APIC (Intel 82093AA datasheet): the PIT's and COM1's lines by way of its entries to the
// local APIC.
#include "tests/guest/ioapic.h"

#define PIT_PIN  2u
#define COM1_PIN 4u
#define VECTOR   0x60u

static void open_entry(u32 pin, u32 low)
{
    handle(VECTOR, VECTOR + 15, note_lapic);
    ioapic_entry(pin, low);
}

static void expect_taken(u32 count)
{
    take_pending();
    G_EXPECT_EQ(note_count, count);
}

static u32 status(u32 pin)
{
    return ioapic_read(0x10 + 2 * pin) & (RTE_RIRR | RTE_PENDING);
}

static void edge0(void)
{
    irq0(false);
    irq0(true);
}

// ---- registers ----------------------------------------------------------------------------------

GUEST_TEST(ioapic, starts_with_everything_masked)
{
    G_EXPECT_EQ(ioapic_read(0), 1 << 24);
    G_EXPECT_EQ(ioapic_read(1), 0x00170020);
    for (u32 pin = 0; pin < 24; pin++) {
        G_EXPECT_EQ(ioapic_read(0x10 + 2 * pin), RTE_MASKED);
        G_EXPECT_EQ(ioapic_read(0x11 + 2 * pin), 0);
    }
}

GUEST_TEST(ioapic, entries_keep_what_is_theirs)
{
    for (u32 pin = 0; pin < 24; pin++) {
        ioapic_write(0x11 + 2 * pin, ~0u);
        ioapic_write(0x10 + 2 * pin, ~0u);
        G_EXPECT_EQ(ioapic_read(0x10 + 2 * pin), 0x0001afff);
        G_EXPECT_EQ(ioapic_read(0x11 + 2 * pin), 0xff000000);
    }
    ioapic_write(0, ~0u);
    G_EXPECT_EQ(ioapic_read(0), 0x0f000000);
    G_EXPECT_EQ(ioapic_read(0x40), 0);
    // A byte selects; the window is read in parts, and written as a whole only.
    *(volatile u8 *)(uintptr_t)IOAPIC = 0x10;
    G_EXPECT_EQ(*(volatile u16 *)(uintptr_t)(IOAPIC + 0x10), 0xafff);
    *(volatile u8 *)(uintptr_t)(IOAPIC + 0x10) = 0;
    G_EXPECT_EQ(*(volatile u8 *)(uintptr_t)(IOAPIC + 0x10), 0xff);
}

// ---- edges --------------------------------------------------------------------------------------

// Ten periods of the PIT and ten interrupts, on its schedule, with the PICs masked.
GUEST_TEST_WITH(ioapic, pit_comes_through_pin_2, GUEST_TEST_EXACT)
{
    open_entry(PIT_PIN, VECTOR);
    outb(PIT + 3, 0x34);
    u64 from = rdtsc();
    outb(PIT, 1193 & 0xff);
    outb(PIT, 1193 >> 8);
    u64 to = rdtsc();
    expect_notes(10, ticks_of(1193 * 11, PIT_HZ));
    for (u32 i = 0; i < 10; i++) {
        u64 due = (i + 1) * 1193;
        G_EXPECT_VECTOR(i, VECTOR);
        G_EXPECT_IN(notes[i].tsc, from + ticks_of(due, PIT_HZ),
                    to + ticks_of(due + 1, PIT_HZ) + late_ticks(LATE_PIC));
    }
}

static void check_edges(void)
{
    open_entry(COM1_PIN, VECTOR);
    irq4(true);
    expect_taken(1);
    expect_taken(1); // the line is up, but that is no edge
    irq4(false);
    expect_taken(1);
    irq4(true);
    expect_taken(2);
    G_EXPECT_EQ(status(COM1_PIN), 0);
}

GUEST_TEST(ioapic, edge_comes_once)
{
    check_edges();
}

GUEST_TEST(ioapic, edge_while_masked_is_lost)
{
    open_entry(PIT_PIN, VECTOR | RTE_MASKED);
    edge0();
    expect_taken(0);
    open_entry(PIT_PIN, VECTOR);
    expect_taken(0);
    edge0();
    expect_taken(1);
}

GUEST_TEST(ioapic, highest_vector_comes_first)
{
    handle(VECTOR, VECTOR + 31, note_lapic);
    ioapic_entry(PIT_PIN, VECTOR);
    ioapic_entry(COM1_PIN, VECTOR + 16);
    edge0();
    irq4(true);
    expect_taken(2);
    G_EXPECT_VECTOR(0, VECTOR + 16);
    G_EXPECT_VECTOR(1, VECTOR);
}

// ---- levels -------------------------------------------------------------------------------------

static u32 status_in_handler;

// Its cause goes with the third: a level that stays would come for ever.
static void note_and_lower(struct rt_frame *frame)
{
    note_no_eoi(frame);
    status_in_handler |= status(COM1_PIN);
    if (note_count == 3)
        irq4(false);
    lapic_write(APIC_EOI, 0);
}

GUEST_TEST(ioapic, level_comes_until_its_cause_is_gone)
{
    open_entry(COM1_PIN, VECTOR | RTE_LEVEL);
    rt_set_handler(VECTOR, note_and_lower);
    irq4(true);
    expect_notes(3, rt_info->tsc_hz / 100);
    expect_taken(3);
    G_EXPECT_EQ(status_in_handler, RTE_RIRR);
    G_EXPECT_EQ(status(COM1_PIN), 0);
}

GUEST_TEST(ioapic, eoi_broadcast_sends_a_level_again)
{
    open_entry(COM1_PIN, VECTOR | RTE_LEVEL);
    rt_set_handler(VECTOR, note_no_eoi);
    irq4(true);
    expect_taken(1);
    G_EXPECT_EQ(status(COM1_PIN), RTE_RIRR);
    G_EXPECT(lapic_read(APIC_TMR + VECTOR / 32 * 16) & BIT32(VECTOR % 32));
    lapic_write(APIC_EOI, 0);
    G_EXPECT_EQ(status(COM1_PIN), RTE_RIRR);
    expect_taken(2);
    irq4(false);
    lapic_write(APIC_EOI, 0);
    G_EXPECT_EQ(status(COM1_PIN), 0);
    expect_taken(2);
}

GUEST_TEST(ioapic, suppressed_broadcast_waits_for_directed_eoi)
{
    G_EXPECT(lapic_read(APIC_VERSION) & BIT32(24));
    lapic_write(APIC_SVR, lapic_read(APIC_SVR) | APIC_SVR_EOI_SUPPRESS);
    open_entry(COM1_PIN, VECTOR | RTE_LEVEL);
    irq4(true);
    expect_taken(1);
    expect_taken(1); // ended at the local APIC alone
    G_EXPECT_EQ(status(COM1_PIN), RTE_RIRR);
    ioapic_mmio(IOAPIC_EOI_REG, VECTOR + 1);
    expect_taken(1);
    ioapic_mmio(IOAPIC_EOI_REG, VECTOR);
    expect_taken(2);
    irq4(false);
    ioapic_mmio(IOAPIC_EOI_REG, VECTOR);
    G_EXPECT_EQ(status(COM1_PIN), 0);
}

GUEST_TEST(ioapic, level_waits_for_its_mask)
{
    open_entry(COM1_PIN, VECTOR | RTE_LEVEL | RTE_MASKED);
    irq4(true);
    expect_taken(0);
    ioapic_entry(COM1_PIN, VECTOR | RTE_LEVEL);
    rt_set_handler(VECTOR, note_no_eoi);
    expect_taken(1);
    ioapic_entry(COM1_PIN, VECTOR | RTE_LEVEL | RTE_MASKED);
    lapic_write(APIC_EOI, 0);
    expect_taken(1);
    G_EXPECT_EQ(status(COM1_PIN), 0);
    ioapic_entry(COM1_PIN, VECTOR | RTE_LEVEL);
    expect_taken(2);
}

// How software ends an interrupt where there is no EOI register.
GUEST_TEST(ioapic, becoming_edge_triggered_clears_remote_irr)
{
    open_entry(COM1_PIN, VECTOR | RTE_LEVEL);
    rt_set_handler(VECTOR, note_no_eoi);
    irq4(true);
    expect_taken(1);
    ioapic_entry(COM1_PIN, VECTOR | RTE_MASKED);
    G_EXPECT_EQ(status(COM1_PIN), 0);
    ioapic_entry(COM1_PIN, VECTOR | RTE_MASKED | RTE_LEVEL);
    G_EXPECT_EQ(status(COM1_PIN), 0);
    irq4(false);
}

// ---- destinations and modes ---------------------------------------------------------------------

GUEST_TEST(ioapic, destinations_are_matched)
{
    lapic_write(APIC_LDR, 4u << 24);
    handle(VECTOR, VECTOR, note_and_lower);
    ioapic_write(0x11 + 2 * COM1_PIN, 9u << 24); // no such local APIC
    ioapic_write(0x10 + 2 * COM1_PIN, VECTOR | RTE_LEVEL);
    irq4(true);
    expect_taken(0);
    G_EXPECT_EQ(status(COM1_PIN), RTE_PENDING);
    ioapic_write(0x11 + 2 * COM1_PIN, 3u << 24);
    ioapic_write(0x10 + 2 * COM1_PIN, VECTOR | RTE_LEVEL | RTE_LOGICAL);
    G_EXPECT_EQ(status(COM1_PIN), RTE_PENDING);
    ioapic_write(0x11 + 2 * COM1_PIN, 6u << 24);
    irq4(false);
    expect_taken(1);
    ioapic_write(0x10 + 2 * COM1_PIN, VECTOR);
    ioapic_write(0x11 + 2 * COM1_PIN, 0xffu << 24); // everybody
    irq4(true);
    expect_taken(2);
}

GUEST_TEST(ioapic, reaches_a_local_apic_in_x2apic_mode)
{
    lapic_x2mode();
    open_entry(COM1_PIN, VECTOR | RTE_LEVEL);
    rt_set_handler(VECTOR, note_and_lower);
    irq4(true);
    expect_taken(3); // each EOI, an MSR now, brings the next at once
    ioapic_write(0x11 + 2 * PIT_PIN, 0xffu << 24);
    ioapic_write(0x10 + 2 * PIT_PIN, VECTOR + 1);
    edge0();
    expect_taken(4);
}

// With interrupts off, which an NMI does not mind, and from HLT.
GUEST_TEST(ioapic, nmi_ends_a_hlt_with_interrupts_off)
{
    rt_set_handler(2, note_no_eoi);
    ioapic_entry(PIT_PIN, APIC_DM_NMI << 8);
    edge0();
    __asm__ volatile("nop" : : : "memory");
    G_EXPECT_EQ(note_count, 1);
    outb(PIT + 3, 0x30); // one more in a millisecond
    outb(PIT, 1193 & 0xff);
    outb(PIT, 1193 >> 8);
    __asm__ volatile("hlt" : : : "memory");
    G_EXPECT_EQ(note_count, 2);
    G_EXPECT_VECTOR(1, 2);
}

GUEST_TEST(ioapic, extint_is_the_virtual_wire)
{
    handle(PIC_VECTOR, PIC_VECTOR + 15, note_pic);
    pics_start(BIT32(4));
    lapic_write(APIC_LVT_LINT0, APIC_LVT_MASKED);
    irq4(true);
    expect_taken(0);
    ioapic_entry(0, APIC_DM_EXTINT << 8);
    expect_taken(1);
    G_EXPECT_VECTOR(0, PIC_VECTOR + 4);
    irq4(false);
    irq4(true);
    expect_taken(2);
    ioapic_entry(0, APIC_DM_EXTINT << 8 | RTE_MASKED);
    irq4(false);
    irq4(true);
    expect_taken(2);
    lapic_write(APIC_LVT_LINT0, APIC_DM_EXTINT << 8);
    expect_taken(3);
}

// ---- anything at all ----------------------------------------------------------------------------

GUEST_TEST(ioapic, random_accesses_do_no_harm)
{
    u64 seed = 1;
    for (u32 i = 0; i < 200; i++)
        mmio_junk(IOAPIC, &seed);
    for (u32 pin = 0; pin < 24; pin++)
        ioapic_entry(pin, RTE_MASKED);
    check_edges();
}
