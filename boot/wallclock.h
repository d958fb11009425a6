// SPDX-License-Identifier: MIT
// What time it is, from the host's real-time clock, for the clocks of the VMs.
#pragma once

#include "arch/x86_64/lib/clock.h"
#include "arch/x86_64/port_io.h"

struct wallclock {
    u64 seconds; // from the beginning of 1970, as the host's clock shows it: UTC or local time
    u64 ticks;   // of the clock, when it showed that; 0 and 0 where it shows nothing sensible
};

// Reads the clock chip once, in a few milliseconds at most, to a second; says what it reads. The
// year's two digits are taken for those of 2000 to 2099: where firmware keeps the century differs.
struct wallclock wallclock_read(const struct port_io *ports, const struct clock *clock);
