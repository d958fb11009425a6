// SPDX-License-Identifier: MIT
// The two 8259A interrupt controllers of a PC, the second cascaded on input 2 of the first, with
// the edge/level control registers a chipset adds (Intel 8259A datasheet; ELCR as in the 82371SB).
//
// What a PC fixes is fixed here: the pair is in 8086 mode whatever ICW4 says, and the cascade is on
// input 2 whatever ICW3 says; ICW3 and the buffered-mode bits are accepted and change nothing.
// Before the first ICW1 the chips, whose state the datasheet leaves open, have everything masked.
//
// A request lasts as long as its line is up, edge triggered or not. If the line falls first, INT
// stays until the CPU acknowledges or software touches either chip, and the acknowledge finds no
// request and gets input 7 with no in-service bit: the datasheet's default IR7. From the slave that
// is IRQ 15, with the master's cascade in service, as real guests expect.
//
// Not locked: the caller holds whatever serialises a VM's devices.
#pragma once

#include "devices/bus.h"

#define PIC_MASTER_PORT 0x20u
#define PIC_SLAVE_PORT  0xa0u
#define PIC_ELCR_PORT   0x4d0u
#define PIC_CASCADE     2u // the master's input that the slave drives

// One 8259A. Each byte-wide register has a bit an input.
struct pic_chip {
    u8 lines; // the input pins
    u8 irr;   // interrupt request; always a subset of lines
    u8 isr;   // in service
    u8 imr;   // masked
    u8 elcr;  // inputs the chipset made level triggered
    u8 level; // inputs that are level triggered: elcr, or all of them with ICW1's LTIM
    u8 top;   // the input with the highest priority
    u8 base;  // ICW2: the vector of input 0
    u8 icw1, icw3, icw4;
    u8 next_icw;      // the initialisation word that port+1 expects: 2, 3, 4; 0 = none, OCW1
    bool read_isr;    // OCW3: port reads the ISR, not the IRR
    bool poll;        // OCW3: the next read is an acknowledge
    bool special;     // OCW3: special mask mode
    bool rotate_aeoi; // OCW2: rotate in automatic EOI mode
    bool intr;        // the INT output
};

struct pic {
    struct device dev;
    struct irq_pin intr;
    struct pic_chip master, slave;
};

// intr is what the master's INT drives (the LAPIC's LINT0 or the CPU's INTR); it is called on
// changes only.
void pic_init(struct pic *pic, struct irq_pin intr);

// Claims 20H-21H, A0H-A1H and 4D0H-4D1H; bus_attach's errors.
int pic_attach(struct pic *pic, struct bus *bus);

// Drives IRQ line 0-15; ctx is the struct pic, so that it serves as irq_pin.set. Line 2 is taken by
// the cascade: it and lines above 15 are ignored.
void pic_set_irq(void *ctx, unsigned line, bool level);

// The CPU's acknowledge cycle: the vector to deliver, with the in-service bits (or, in automatic
// EOI mode, the rotation) brought up to date. Called with no request it gives the spurious vector.
u8 pic_ack(struct pic *pic);

// Whether INT is asserted: the CPU should acknowledge when it takes interrupts.
static inline bool pic_output(const struct pic *pic)
{
    return pic->master.intr;
}
