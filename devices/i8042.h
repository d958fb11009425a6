// SPDX-License-Identifier: MIT
// The keyboard controller of a PS/2 (IBM PS/2 Hardware Interface Technical Reference, "Keyboard and
// Auxiliary Device Controller"; 8042), with nothing plugged in.
//
// Programs that look for a keyboard find a controller in good order and no keyboard: what they send
// one is answered at once by the controller with FEH and the status "time-out", as the real one
// does when nobody takes the byte, so nobody waits for long. The second port is not wired: its
// disable bit stays set and its test finds the clock stuck. Address line A20 and the reset line
// hang from the output port; A20 is remembered and reads back, and is always on (see reset.h).
//
// Commands take no time, so the input buffer is never full. An answer that is not fetched is
// replaced by the next. Interrupts come with what seems to come from a keyboard, not with the
// controller's own answers.
//
// Not locked: the caller holds whatever serialises a VM's devices.
#pragma once

#include "devices/bus.h"
#include "devices/reset.h"

#define I8042_DATA    0x60u
#define I8042_COMMAND 0x64u // status, when read

struct i8042 {
    struct device dev;
    struct reset_pin reset;
    struct irq_pin irq; // IRQ 1
    u8 status;          // but for what the output port says
    u8 mode;            // the command byte
    u8 output_port;     // but for the interrupt lines
    u8 output;          // the output buffer; keeps the last byte when it is empty
    u8 parameter_of;    // the command that takes the next byte at the data port; 0: the keyboard
    bool keyboard;      // what is in the output buffer counts as the keyboard's
    bool line;          // what irq was last set to
};

void i8042_init(struct i8042 *kbc, struct reset_pin reset, struct irq_pin irq1);

// Claims ports 60H and 64H; bus_attach's errors.
int i8042_attach(struct i8042 *kbc, struct bus *bus);
