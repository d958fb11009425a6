// SPDX-License-Identifier: MIT
// The time-stamp counter: how fast it runs, and the clock made of it. SDM volume 3, "Time-Stamp
// Counter".
#pragma once

#include "arch/x86_64/lib/clock.h"

// The clocks of known frequency that the firmware's tables name. The PIT is tried in any case.
struct tsc_references {
    u16 pm_timer_port; // FADT's PM_TMR_BLK in port space; 0: none
    hpa_t hpet;        // HPET registers; raw 0: none
};

// Finds the frequency from CPUID and by 15 ms of measurement against every reference that runs,
// logs it with all opinions, and starts host_clock. All waits are bounded. E_NOENT (logged) if
// neither CPUID nor any reference gives one. Needs cpu_read_features and paging_init.
int tsc_init(const struct tsc_references *refs);

// The host's clock; hz is 0 before tsc_init.
extern struct clock host_clock;

// Spins for at least that long.
void tsc_spin(u64 ticks);

static inline void tsc_spin_us(u64 us)
{
    tsc_spin(mul_div_up(us, host_clock.hz, 1000000));
}
