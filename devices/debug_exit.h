// SPDX-License-Identifier: MIT
// Port F4H: how a guest program ends its VM with a status, after QEMU's isa-debug-exit (there
// iobase=0xf4,iosize=4). Writing v, 1, 2 or 4 bytes wide at any of the four ports, ends the VM with
// (v << 1) | 1: odd, so it is never mistaken for success. Reads give 0.
#pragma once

#include "devices/bus.h"

#define DEBUG_EXIT_PORT  0xf4u
#define DEBUG_EXIT_PORTS 4u

struct debug_exit {
    struct device dev;
    void (*exit)(void *ctx, u32 status);
    void *ctx;
};

// exit is called from within the guest's access and returns: it asks for the VM's end, and the run
// loop brings it about. It may be called again if the guest writes again before that.
void debug_exit_init(struct debug_exit *port, void (*exit)(void *ctx, u32 status), void *ctx);

// Claims ports F4H-F7H; bus_attach's errors.
int debug_exit_attach(struct debug_exit *port, struct bus *bus);
