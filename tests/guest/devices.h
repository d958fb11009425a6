// SPDX-License-Identifier: MIT
// What the tests of the devices share: interrupts noted as they come, interrupt lines that software
// alone can drive, and bounds of time.
//
// A guest test starts as firmware leaves a PC: the local APIC in xAPIC mode and enabled, LINT0
// passing on the PIC (ExtINT), the PIC uninitialised with everything masked, interrupts off.
#pragma once

#include "tests/guest/machine.h"
#include "tests/guest/world.h"

#define PIC1  0x20u
#define PIC2  0xa0u
#define PIT   0x40u
#define COM1  0x3f8u
#define POST  0x80u
#define SYS61 0x61u

#define PIC_EOI     0x20u
#define PIC_VECTOR  0x20u // of IRQ 0, as pics_start() sets it
#define PIC2_VECTOR 0x28u // of IRQ 8

#define PIT_HZ 1193182u

// ---- interrupts ---------------------------------------------------------------------------------

#define NOTES_MAX 24u
struct note {
    u64 tsc; // on entry to the handler
    u64 ip;  // what was interrupted
    u32 vector;
};
extern volatile struct note notes[NOTES_MAX];
extern volatile u32 note_count; // goes on beyond NOTES_MAX

// Handlers that note the interrupt, then end it: at the local APIC (in either mode), at the PIC
// that the vector comes from, nowhere.
void note_lapic(struct rt_frame *frame);
void note_pic(struct rt_frame *frame);
void note_no_eoi(struct rt_frame *frame);

// Every vector from first to last gets the handler.
void handle(u8 first, u8 last, rt_handler handler);

// Lets everything come that waits, and has interrupts off again.
void take_pending(void);

// Interrupts on, busy, until count notes are there or ticks have passed; then off again. Fails the
// test unless there are exactly count.
void expect_notes(u32 count, u64 ticks);

// The same, halted. Only where an interrupt is sure to end the HLT.
void halt_until(u32 count);

#define G_EXPECT_VECTOR(index, want) G_EXPECT_EQ(notes[index].vector, want)

// ---- the local APIC -----------------------------------------------------------------------------

// Through the page, or by MSR once lapic_x2mode() was called.
u64 lapic_read(u32 reg);
void lapic_write(u32 reg, u64 value);
void lapic_x2mode(void);

static inline void lapic_self_ipi(u8 vector)
{
    lapic_write(APIC_ICR_LOW, 1u << 18 | vector);
}

// ---- lines that software drives -----------------------------------------------------------------

// Initialises both PICs, edge triggered, with every input but these masked.
void pics_start(u16 open);

// IRQ 0 by the PIT: mode 0 has OUT low until it counts, mode 4 high.
void irq0(bool level);

// IRQ 4 by the UART, whose transmitter is always empty.
void irq4(bool level);

// The ISR or IRR of a PIC.
u8 pic_isr(u16 port);
u8 pic_irr(u16 port);

// ---- time ---------------------------------------------------------------------------------------

// How long after its due time an interrupt's handler may read the TSC: the exit at the deadline,
// the devices' work, the injection, the runtime's stub, and another exit that may be under way. In
// Bochs, where a tick is an instruction and a run repeats exactly, the most measured is 690 ticks
// for the local APIC's timer and 1,010 for the PIT by way of the PIC; 580 more where the guest
// halts and the host's timer counts down. Half as much again leaves room for other compilers and
// CPU models. These are times, so they hold on faster clocks.
#define LATE_APIC 13u // microseconds: 1,300 ticks in Bochs
#define LATE_PIC  24u

static inline u64 late_ticks(u32 microseconds)
{
    return rt_info->tsc_hz * microseconds / 1000000;
}

// Not before early, and not later than LATE, which the file defines, after late: the bounds of when
// it was due.
#define G_EXPECT_ON_TIME(tsc, early, late) G_EXPECT_IN(tsc, early, (late) + late_ticks(LATE))

// Ticks of the TSC in a number of periods of another clock, rounded down. No overflow below 2^64.
static inline u64 ticks_of(u64 periods, u64 hz)
{
    return periods * rt_info->tsc_hz / hz;
}

static inline void spin(u64 ticks)
{
    for (u64 start = rdtsc(); rdtsc() - start < ticks;)
        ;
}
