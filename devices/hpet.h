// SPDX-License-Identifier: MIT
// The high precision event timer: a 64-bit counter at 100 MHz and three comparators, each one-shot
// or periodic, 64 or 32 bits wide, edge or level triggered, to one of the I/O APIC's inputs (IA-PC
// HPET specification 1.0a). With legacy replacement routing, timers 0 and 1 take the lines of the
// interval timer (IRQ 0) and the real-time clock (IRQ 8), which run through here for that.
//
// The counter is computed from the clock when somebody looks, always from where it was set going,
// so nothing drifts. A comparator has a deadline only while a match of it would be seen: by an
// interrupt, or in the status register.
//
// What it chooses where the specification leaves room, and where it departs from it:
// - A match is the counter being equal, so a one-shot value that has passed waits for the counter
//   to come round; 32 bits wide that takes 43 seconds, and then it matches each time round.
// - In periodic mode a write of the comparator sets the period, and with the value-set bit the next
//   match too; any write clears that bit. A period of 0 is none.
// - Missed periods become one interrupt. Periodic interrupts come at most every HPET_FLOOR counts:
//   a shorter period counts and reads as programmed, and gives an interrupt at the first of its
//   matches after that.
// - An edge is a pulse at the I/O APIC. On a legacy line, which goes to the PICs too, it stays up
//   until just before the next one, so that it can be acknowledged late.
// - A routing that is not offered is not taken. FSB delivery is not offered.
// - Registers are written whole or by halves, 8 or 4 bytes, aligned; any other write is ignored,
//   and any other read gives the bytes it asks for. What is reserved reads 0 and ignores writes.
//
// Not locked: the caller holds whatever serialises a VM's devices.
#pragma once

#include "devices/bus.h"

#define HPET_BASE      0xfed00000ull // guest-physical; 4 KiB claimed, 1 KiB used
#define HPET_HZ        100000000ull
#define HPET_PERIOD_FS 10000000ull
#define HPET_TIMERS    3u
#define HPET_FLOOR     10000u // counts: 100 microseconds, ten thousand interrupts a second

// Revision 1, three timers, 64 bits, legacy replacement, of Intel: the low half of the
// capabilities, which ACPI's table repeats.
#define HPET_ID 0x8086a201u

enum { HPET_LEGACY_PIT, HPET_LEGACY_RTC, HPET_LEGACY }; // the lines that legacy replacement takes

struct hpet;

struct hpet_timer {
    struct deadline deadline; // the next match that would be seen
    struct hpet *hpet;
    u64 due;      // counts from start to the next match; ~0 = none to come
    u64 earliest; // counts from start to the first moment at which the floor allows an interrupt
    u64 comparator;
    u64 period; // as last written in periodic mode
    u32 config; // low half of its configuration register, without the capabilities
    bool held;  // an edge on a legacy line has not been taken back
};

struct hpet_config {
    const struct clock *clock;
    struct deadline_queue *queue; // with room for HPET_TIMERS deadlines
    u32 routes;                   // inputs of the I/O APIC that the timers may take, a bit each
    struct irq_pin inputs;        // set() is called with the input as its line
    struct irq_pin legacy[HPET_LEGACY]; // where those lines go on
};

struct hpet {
    struct device dev;
    struct hpet_config config;
    u64 start;                // ticks at which the counter was base, while it runs
    u64 base;                 // the counter, while it is halted
    u32 enable;               // general configuration register
    u32 status;               // general interrupt status register
    u32 routed;               // I/O APIC inputs as last driven
    u8 legacy_in, legacy_out; // the legacy lines as driven by their owners, and as passed on
    struct hpet_timer timers[HPET_TIMERS];
};

// Makes a halted HPET at 0. config is copied; what it points to must stay.
void hpet_init(struct hpet *hpet, const struct hpet_config *config);

// Claims the page at HPET_BASE; bus_attach's errors.
int hpet_attach(struct hpet *hpet, struct bus *bus);

// The line of the interval timer or of the real-time clock on its way to the interrupt controllers:
// line is HPET_LEGACY_PIT or HPET_LEGACY_RTC, ctx is the struct hpet, so that it serves as
// irq_pin.set. While legacy replacement is on the level is only remembered.
void hpet_legacy_set(void *ctx, unsigned line, bool level);
