// SPDX-License-Identifier: MIT
#include "arch/x86_64/tsc.h"

#include "arch/x86_64/insn.h"

struct clock host_clock; // .now is NULL: the TSC

void tsc_spin(u64 ticks)
{
    u64 start = rdtsc();
    while (rdtsc() - start < ticks)
        cpu_pause();
}
