// SPDX-License-Identifier: MIT
// The virtual local APIC of one CPU, in xAPIC mode (a page of registers) and x2APIC mode (MSRs).
// SDM volume 3, "Advanced Programmable Interrupt Controller (APIC)".
//
// What it chooses where the SDM leaves room, and where it is narrower than a processor:
// - The registers stay at FEE00000H: moving them by IA32_APIC_BASE is refused with #GP.
// - The xAPIC ID register is read-only. There is no CMCI and no performance counter or thermal
//   sensor; the last two have their LVT entries, which never fire. SMI is never delivered.
// - A page access that is not an aligned 32-bit one is undefined on a processor. Here a read within
//   the first four bytes of a register gives those bytes, any other reads 0; a write is ignored.
// - Lowest priority is delivered like fixed. A shorthand that includes the sender delivers fixed,
//   lowest priority and NMI and drops the rest, which the SDM calls invalid.
// - The error interrupt is raised by the first error after a write to ESR, which re-arms it.
// - Changing between one-shot and periodic keeps the count running, as processors do; changing to
//   or from TSC-deadline mode stops the timer and clears its counts.
// - Missed periods become one interrupt, and a period shorter than 1/LAPIC_TIMER_MAX_HZ gives its
//   interrupts at that rate, at multiples of the guest's period; the count runs as programmed.
//
// A CPU that virtualizes the local APIC does part of this itself, on registers in memory: see
// lapic_virtualize().
//
// Not locked: everything here is called by the CPU that runs the vCPU.
#pragma once

#include "arch/x86_64/lib/check.h"
#include "arch/x86_64/regs/apic.h"
#include "devices/device.h"

#define LAPIC_TIMER_MAX_HZ 50000u // periodic interrupts a second, at most

#define LAPIC_BROADCAST (~0u) // a destination that matches every local APIC in every mode

// A message between local APICs, as the interrupt command register describes it.
struct lapic_ipi {
    u32 dest;     // 8 bits from a sender in xAPIC mode; LAPIC_BROADCAST for the shorthands to all
    bool logical; // dest is matched with the logical destination register
    enum apic_delivery mode;
    u8 vector;
};

// What the local APIC asks of its owner. Each may be NULL, for nobody there.
struct lapic_ops {
    // lapic_pending() may now give a vector, or lapic_accepts_extint() with its pin asserted.
    void (*kick)(void *ctx);
    void (*nmi)(void *ctx);
    // INIT arrived; the owner resets its CPU and calls lapic_receive_init().
    void (*init)(void *ctx);
    // A start-up IPI arrived; it counts only for a CPU that waits for it.
    void (*startup)(void *ctx, u8 vector);
    // The end of a level-triggered interrupt, broadcast to the I/O APICs.
    void (*eoi)(void *ctx, u8 vector);
    // An IPI that may concern others; the sender has had its own part already.
    void (*ipi)(void *ctx, const struct lapic_ipi *ipi);
};

struct lapic_config {
    u32 id;            // the x2APIC ID; in xAPIC mode its low 8 bits
    bool bsp;          // the bootstrap processor, as IA32_APIC_BASE shows after reset
    bool x2apic;       // x2APIC mode is offered (CPUID.1:ECX[21])
    bool tsc_deadline; // TSC-deadline mode is offered (CPUID.1:ECX[24])
    bool eoi_suppress; // SVR[12] is offered: the I/O APIC must have an EOI register
    u64 timer_hz;      // what the timer counts before its divider, a second; not 0
    const struct clock *clock;
    struct deadline_queue *queue; // room for one deadline
    const struct lapic_ops *ops;
    void *ctx; // given to every op
};

enum lapic_lvt {
    LAPIC_LVT_TIMER,
    LAPIC_LVT_THERM,
    LAPIC_LVT_PERF,
    LAPIC_LVT_LINT0,
    LAPIC_LVT_LINT1,
    LAPIC_LVT_ERROR,
    LAPIC_LVTS, // in the order of their registers
};

// The count runs in input clocks from a start in ticks, so that no period's rounding adds up.
struct lapic_timer {
    struct deadline deadline;
    u64 start;        // ticks
    u64 due;          // input clocks from start to the next interrupt; 0 = stopped
    u64 period;       // input clocks
    u64 tsc_deadline; // guest TSC; 0 = not armed
    u64 floor;        // input clocks: the shortest time between periodic interrupts
    u32 initial;      // TMICT
    u32 tdcr;
    u32 shift;      // log2 of the divider that tdcr sets
    u32 round;      // the divider less 1
    bool same_rate; // the timer counts ticks
};

// A CPU's share in the work: see lapic_virtualize().
struct lapic_virtual {
    u32 *page;       // the virtual-APIC page; NULL: it has none
    bool interrupts; // it keeps IRR and ISR too, and delivers by them
    bool lent;       // what it keeps is valid there, and not here
    u8 posted;       // the highest vector added to IRR there since lapic_lend(); 0 = none
};

struct lapic {
    struct device dev; // the xAPIC page, 4 KiB at APIC_DEFAULT_BASE in IO_MEM
    u64 base;          // IA32_APIC_BASE
    // What is asked at every interrupt and access, kept by lapic_update(): whether interrupts may
    // arrive without further ado (software-enabled, IRR not lent), and which accesses may.
    bool open, page_open, msrs_open;
    u64 irr[4], tmr[4];
    u8 irr_high; // the highest vector in IRR, 0 = none: vectors 0-15 are never set
    u8 isr_high; // the highest vector in service, 0 = none
    // An interrupt is taken over one of a lower class only, so a class has at most one vector in
    // service and ISR is a stack: by class, the vector in service below it. [0] stays 0.
    u8 isr_below[16];
    bool any_level; // TMR has a bit set, or had one since the last EOI that looked
    u8 tpr;
    u8 pins;    // LINT0 and LINT1 as they are driven
    u32 ldr;    // of xAPIC mode
    u32 dfr;    // of xAPIC mode
    u32 svr;    // spurious-interrupt vector register
    u32 esr;    // as latched by the last write
    u32 errors; // since then
    u32 lvt[LAPIC_LVTS];
    u64 icr;        // as in x2APIC mode; in xAPIC mode [63:56] are ICR_HIGH[31:24]
    u64 tsc_offset; // guest TSC less ticks, modulo 2^64; kept current by the owner
    struct lapic_timer timer;
    struct lapic_virtual cpu;
    struct lapic_config config;
};

// Makes a local APIC in its reset state. config is copied; what it points to must stay.
void lapic_init(struct lapic *lapic, const struct lapic_config *config);

// RESET: xAPIC mode, software-disabled, everything masked. What drives the LINT pins stays.
void lapic_reset(struct lapic *lapic);

// INIT: the registers as after RESET, but the mode stays. "Local APIC State After It Receives an
// INIT-Reset IPI".
void lapic_receive_init(struct lapic *lapic);

// The state firmware leaves: software-enabled, LINT0 ExtINT and LINT1 NMI, unmasked (the virtual
// wire mode of the MultiProcessor Specification). For a guest that starts without firmware.
void lapic_virtual_wire(struct lapic *lapic);

// ---- interrupts towards the local APIC ----------------------------------------------------------

// A fixed interrupt arrives: it waits in IRR. Dropped while the APIC is software- or
// hardware-disabled; an illegal vector (0-15) is an error in ESR.
void lapic_set_irq(struct lapic *lapic, u8 vector, bool level_triggered);

// A message of any delivery mode arrives that lapic_matches().
void lapic_receive(struct lapic *lapic, enum apic_delivery mode, u8 vector, bool level_triggered);

// Whether a message with this destination is for this local APIC: 8 bits of destination in xAPIC
// mode, 32 in x2APIC mode, or LAPIC_BROADCAST. "Determining IPI Destination".
bool lapic_matches(const struct lapic *lapic, u32 dest, bool logical);

// Drives pin LINT0 or LINT1; level true is asserted, whatever polarity the LVT entry names.
void lapic_set_lint(struct lapic *lapic, unsigned pin, bool level);

// The same for an irq_pin: ctx is the struct lapic, line the pin.
void lapic_lint_set(void *lapic, unsigned line, bool level);

// ---- interrupts towards the CPU -----------------------------------------------------------------

// The vector to deliver now: the highest in IRR if its class is above the processor priority, which
// is the higher of TPR's and ISR's; or -1. "Task and Processor Priorities".
static inline int lapic_pending(const struct lapic *lapic)
{
    u8 priority = lapic->tpr > lapic->isr_high ? lapic->tpr : lapic->isr_high;
    return lapic->irr_high > (priority | 0x0f) ? lapic->irr_high : -1;
}

// The CPU takes vector, which lapic_pending() gave: it moves from IRR to ISR.
void lapic_accept(struct lapic *lapic, u8 vector);

// Whether the PIC's INTR, wired to LINT0, reaches the CPU: the LVT entry is ExtINT and not masked,
// or the APIC is hardware-disabled and LINT0 is the CPU's INTR pin.
static inline bool lapic_accepts_extint(const struct lapic *lapic)
{
    u32 lvt = lapic->lvt[LAPIC_LVT_LINT0];
    return (lvt & (APIC_LVT_DELIVERY | APIC_LVT_MASKED)) == APIC_DM_EXTINT << 8 ||
           !(lapic->base & APIC_BASE_ENABLE);
}

// The task-priority register, all 8 bits, while it is not lent. MOV CR8 reads tpr >> 4 and writes
// cr8 << 4.
static inline u8 lapic_get_tpr(const struct lapic *lapic)
{
    return lapic->tpr;
}

void lapic_set_tpr(struct lapic *lapic, u8 tpr);

// The TPR threshold for "Use TPR shadow": the class below which TPR must fall for the highest
// vector in IRR to be delivered; 0 if TPR is not what holds it.
static inline u32 lapic_tpr_threshold(const struct lapic *lapic)
{
    u32 irr = lapic->irr_high >> 4;
    return irr > lapic->isr_high >> 4 && irr <= lapic->tpr >> 4 ? irr : 0;
}

// What an EOI for vector causes, beyond its end.
void lapic_after_eoi(struct lapic *lapic, u8 vector);

// The guest ends the interrupt in service, by a write to the EOI register.
static inline void lapic_eoi(struct lapic *lapic)
{
    unsigned vector = lapic->isr_high;
    lapic->isr_high = lapic->isr_below[vector >> 4];
    if (unlikely(lapic->irr_high | lapic->any_level))
        lapic_after_eoi(lapic, (u8)vector);
}

// ---- the guest's accesses -----------------------------------------------------------------------

static inline bool lapic_in_x2apic(const struct lapic *lapic)
{
    return lapic->base & APIC_BASE_X2APIC;
}

// RDMSR and WRMSR of 800H-8FFH. E_FAULT stands for #GP(0): not in x2APIC mode, no such register,
// the wrong direction, or a reserved bit set. "x2APIC Register Address Space", "Reserved Bit
// Checking".
int lapic_msr_read(struct lapic *lapic, u32 msr, u64 *value);
int lapic_msr_write(struct lapic *lapic, u32 msr, u64 value);

// IA32_APIC_BASE. A write gives E_FAULT (#GP) for a reserved bit, an address other than
// APIC_DEFAULT_BASE, x2APIC mode where it is not offered, or a transition that does not exist
// ("x2APIC State Transitions"). Disabling resets the registers.
static inline u64 lapic_base_read(const struct lapic *lapic)
{
    return lapic->base;
}

int lapic_base_write(struct lapic *lapic, u64 value);

// IA32_TSC_DEADLINE, in guest TSC; now is the clock's. Outside TSC-deadline mode reads give 0 and
// writes are ignored; E_FAULT (#GP) where the mode is not offered.
int lapic_deadline_read(const struct lapic *lapic, u64 *value);
int lapic_deadline_write(struct lapic *lapic, u64 value, u64 now);

// The timer's current count at a time, if the timer is on its way to a zero and counts the clock's
// ticks: otherwise false, and lapic_msr_read() gives it.
static inline bool lapic_count_quickly(const struct lapic *lapic, u64 now, u64 *count)
{
    const struct lapic_timer *timer = &lapic->timer;
    u64 left = timer->due - (now - timer->start);
    if (unlikely(!timer->same_rate) || unlikely(left - 1 >= timer->period))
        return false;
    *count = (left + timer->round) >> timer->shift;
    return true;
}

static inline u32 lapic_timer_mode(const struct lapic *lapic)
{
    return (u32)bits_get(lapic->lvt[LAPIC_LVT_TIMER], 18, 17);
}

// lapic_deadline_write() as it mostly is: TSC-deadline mode, a time to come, and no earlier
// deadline that has come and that nobody has seen to. Otherwise false, and nothing is done. Where
// none is armed, the last one's time is NEVER, or long past before the first.
static inline bool lapic_deadline_quickly(struct lapic *lapic, u64 value, u64 now)
{
    struct lapic_timer *timer = &lapic->timer;
    u64 when = value - lapic->tsc_offset;
    if (unlikely(lapic_timer_mode(lapic) != APIC_TIMER_TSC_DEADLINE) ||
        unlikely(value <= now + lapic->tsc_offset) || unlikely(when <= now) ||
        unlikely(timer->deadline.when <= now))
        return false;
    timer->tsc_deadline = value;
    deadline_arm(lapic->config.queue, &timer->deadline, when);
    return true;
}

// Re-arms the deadline after a change of tsc_offset.
void lapic_tsc_changed(struct lapic *lapic);

// ---- a CPU that virtualizes the local APIC ------------------------------------------------------

// SDM volume 3, "APIC Virtualization and Virtual Interrupts". The CPU has a page of registers, laid
// out as xAPIC's, of which it uses, while the guest runs, TPR ("use TPR shadow") or also IRR, ISR,
// PPR and the high half of ICR ("virtual-interrupt delivery"). These are lent to it: before it runs
// the guest they are put there, and the first to have a need for them afterwards takes them back.
// With interrupts, the other registers always have a copy there for the CPU to read
// ("APIC-register virtualization").
//
// While they are lent, lapic_pending() and what is about TPR must not be asked; interrupts arrive
// and the guest's accesses are answered as ever. kick() is then called whenever the CPU must
// be told something before it goes on.

// Gives the local APIC the CPU's page, zeroed, 4 KiB, or with NULL takes it away. Nothing is lent.
void lapic_virtualize(struct lapic *lapic, void *page, bool interrupts);

// Puts into the page what the CPU keeps. The value is what its guest interrupt status must be: SVI
// (the highest vector in service) in bits 15:8, RVI (the highest that is requested) in 7:0.
u16 lapic_lend(struct lapic *lapic);

// The highest vector that has arrived since lapic_lend() or the last call: the CPU's RVI must not
// be lower. 0 if none has, or nothing is lent.
static inline u8 lapic_take_posted(struct lapic *lapic)
{
    u8 posted = lapic->cpu.posted;
    lapic->cpu.posted = 0;
    return posted;
}

// Whether the CPU with this guest interrupt status would deliver an interrupt to a guest that lets
// it.
bool lapic_delivers(const struct lapic *lapic, u16 status);

// Takes back what is lent, if it is, and kicks, so that it is lent again.
void lapic_recall(struct lapic *lapic);

// The CPU has let the guest write to the register at this offset of the page, and leaves the rest
// to software: "APIC-Write Emulation".
void lapic_page_written(struct lapic *lapic, u32 offset);
