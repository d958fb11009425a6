// SPDX-License-Identifier: MIT
#include "tests/guest/devices.h"

// ---- interrupts ---------------------------------------------------------------------------------

volatile struct note notes[NOTES_MAX];
volatile u32 note_count;

void note_no_eoi(struct rt_frame *frame)
{
    u64 tsc = rdtsc();
    u32 index = note_count++;
    if (index >= NOTES_MAX)
        return;
    notes[index].tsc = tsc;
    notes[index].ip = frame->ip;
    notes[index].vector = (u32)frame->vector;
}

void note_lapic(struct rt_frame *frame)
{
    note_no_eoi(frame);
    lapic_write(APIC_EOI, 0);
}

void note_pic(struct rt_frame *frame)
{
    note_no_eoi(frame);
    if (frame->vector >= PIC2_VECTOR)
        outb(PIC2, PIC_EOI);
    outb(PIC1, PIC_EOI);
}

void handle(u8 first, u8 last, rt_handler handler)
{
    for (unsigned vector = first; vector <= last; vector++)
        rt_set_handler((u8)vector, handler);
}

// STI holds interrupts off for one more instruction.
void take_pending(void)
{
    __asm__ volatile("sti; nop; nop; nop; cli" : : : "memory");
}

void expect_notes(u32 count, u64 ticks)
{
    u64 start = rdtsc();
    sti();
    while (note_count < count && rdtsc() - start < ticks)
        ;
    cli();
    G_EXPECT_EQ(note_count, count);
}

void halt_until(u32 count)
{
    while (note_count < count)
        sti_hlt_cli();
}

// ---- the local APIC -----------------------------------------------------------------------------

static bool by_msr;

u64 lapic_read(u32 reg)
{
    return by_msr ? x2apic_read(reg) : xapic_read(reg);
}

void lapic_write(u32 reg, u64 value)
{
    if (by_msr)
        x2apic_write(reg, value);
    else
        xapic_write(reg, (u32)value);
}

void lapic_x2mode(void)
{
    wrmsr(IA32_APIC_BASE, rdmsr(IA32_APIC_BASE) | APIC_BASE_X2APIC);
    by_msr = true;
}

// ---- lines that software drives -----------------------------------------------------------------

void pics_start(u16 open)
{
    const u8 words[] = {0x11, PIC_VECTOR, 1 << 2, 1}, slave[] = {0x11, PIC2_VECTOR, 2, 1};
    for (unsigned i = 0; i < sizeof(words); i++) {
        outb(PIC1 + (i != 0), words[i]);
        outb(PIC2 + (i != 0), slave[i]);
    }
    outb(PIC1 + 1, (u8)~open);
    outb(PIC2 + 1, (u8)(~open >> 8));
}

void irq0(bool level)
{
    outb(PIT + 3, level ? 0x38 : 0x30);
}

void irq4(bool level)
{
    outb(COM1 + 4, 8);
    outb(COM1 + 1, level ? 2 : 0);
}

u8 pic_isr(u16 port)
{
    outb(port, 0x0b);
    return inb(port);
}

u8 pic_irr(u16 port)
{
    outb(port, 0x0a);
    return inb(port);
}
