// SPDX-License-Identifier: MIT
// The 8254 interval timer of a PC, with port 61H beside it (Intel 8254 datasheet; port 61H, "NMI
// Status and Control", as in the 82371SB). Counter 0 drives IRQ 0, counter 2 the speaker; the gates
// of 0 and 1 are tied high, that of 2 is port 61H bit 0.
//
// Counts are computed from the clock when somebody looks. The one deadline is OUT 0's next rise,
// always from the absolute schedule, so nothing drifts; while OUT 0 has no rise to come there is
// none. If it is served late, the periods missed in between make one interrupt.
//
// Where it departs from the chip, for the sake of guests and host:
// - In modes 2 and 3 the IRQ line falls only just before it rises again. On the chip, a mode 3
//   request not taken within half a period is withdrawn; a virtual CPU may be away for longer.
//   What the guest reads of OUT is exact.
// - In modes 2 and 3 interrupts come at most every PIT_FLOOR input clocks. A shorter period counts
//   and reads as programmed, and gives an interrupt at the first of its rises after that.
// - Port 61H bit 4 toggles every PIT_REFRESH input clocks from the time alone, as a BIOS programs
//   counter 1 to do, whatever counter 1 does. Bits 6 and 7 (board errors) are 0.
// - Port 43H, which cannot be read, gives all ones.
//
// Not locked: the caller holds whatever serialises a VM's devices.
#pragma once

#include "devices/bus.h"
#include "devices/pit_counter.h"

#define PIT_HZ      1193182ull // the input clock
#define PIT_PORT    0x40u
#define PIT_PORT_61 0x61u
#define PIT_FLOOR   119u // input clocks: 100 microseconds, ten thousand interrupts a second
#define PIT_REFRESH 18u  // input clocks: 15 microseconds

struct pit {
    struct device dev;
    const struct clock *clock;
    struct deadline_queue *queue;
    struct irq_pin irq;
    struct deadline rise; // OUT 0's next
    u64 epoch;            // ticks at which the input clock's pulse 0 was
    struct pit_counter counters[3];
    u8 port_61; // bits 3-0, as written
    bool line;  // what irq was last set to
};

// irq0 is the line that counter 0's OUT drives. The queue must have room for one deadline.
void pit_init(struct pit *pit, const struct clock *clock, struct deadline_queue *queue,
              struct irq_pin irq0);

// Claims 40H-43H and 61H; bus_attach's errors.
int pit_attach(struct pit *pit, struct bus *bus);
