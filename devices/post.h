// SPDX-License-Identifier: MIT
// Port 80H: the power-on self-test code. The last byte written is kept for a report and reads back;
// guests also write here for the microsecond an ISA cycle takes, so it does nothing else.
#pragma once

#include "devices/bus.h"

#define POST_PORT 0x80u

struct post {
    struct device dev;
    u8 code; // last byte written; 0 after reset
};

void post_init(struct post *post);

// Claims port 80H; bus_attach's errors.
int post_attach(struct post *post, struct bus *bus);
