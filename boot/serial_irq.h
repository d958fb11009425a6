// SPDX-License-Identifier: MIT
// The interrupt of the serial port that the guests' input comes from.
#pragma once

#include "arch/x86_64/serial.h"

// What the handler, which gets a vector only, works on.
struct serial_irq {
    struct serial *serial;
    u32 count; // of interrupts
};
extern struct serial_irq serial_irq;

// The handler.
void serial_irq_handle(u8 vector);
