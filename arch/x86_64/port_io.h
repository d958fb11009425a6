// SPDX-License-Identifier: MIT
// The host's I/O ports and device memory as functions, so that a driver can be tested against
// registers of a test's own making.
#pragma once

#include "arch/x86_64/lib/types.h"

struct port_io {
    u8 (*in8)(u16 port);
    void (*out8)(u16 port, u8 value);
    u32 (*in32)(u16 port);
    void (*out32)(u16 port, u32 value);
    // Device memory, mapped by the caller; width is that of the access: 1, 2 or 4 bytes.
    u32 (*read)(const volatile void *at, unsigned width);
    void (*write)(volatile void *at, unsigned width, u32 value);
};

// The real ones.
extern const struct port_io host_ports;
