// SPDX-License-Identifier: MIT
// The two registers by which a PC resets itself: the reset control register at port CF9H (Intel
// 82371SB, "RC - Reset Control Register") and port 92H of the PS/2, which also gates address line
// A20.
//
// The chip tells a hard reset from one of the CPU alone (INIT). A guest without firmware has nobody
// at the reset vector who would go on with what the devices hold, so both ask for the same.
//
// A20 is remembered and reads back, and that is all: the line is always on. It starts as firmware
// leaves it, enabled.
//
// Not locked: the caller holds whatever serialises a VM's devices.
#pragma once

#include "devices/bus.h"

#define RESET_PORT_92  0x92u
#define RESET_PORT_CF9 0xcf9u

// How a device asks for the machine's reset: ask() is called from within the guest's access and
// returns, and the run loop brings the reset about. `by` names the register, for the report; it is
// a constant string. It may be called again before that.
struct reset_pin {
    void (*ask)(void *ctx, const char *by);
    void *ctx;
};

struct reset {
    struct device dev;
    struct reset_pin pin;
    u8 control; // CF9H
    u8 port_92;
};

void reset_init(struct reset *reset, struct reset_pin pin);

// Claims port 92H; bus_attach's errors. CF9H lies within the host bridge's CF8H, so accesses to it
// come by way of struct pci, which is given &reset->dev.
int reset_attach(struct reset *reset, struct bus *bus);
