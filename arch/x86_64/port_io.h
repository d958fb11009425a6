// SPDX-License-Identifier: MIT
// The host's I/O ports as two functions, so that a driver can be tested against ports of a test's
// own making.
#pragma once

#include "arch/x86_64/lib/types.h"

struct port_io {
    u8 (*in8)(u16 port);
    void (*out8)(u16 port, u8 value);
};

// The real ones.
extern const struct port_io host_ports;
