// SPDX-License-Identifier: MIT
// The TSC measured against the clocks of known frequency that a PC may have. Pure: the registers
// and the TSC come through functions. Every wait is bounded by a count of reads, since no clock is
// known to run yet.
#pragma once

#include "arch/x86_64/port_io.h"
#include "arch/x86_64/tsc_decide.h"

struct tsc_measure_config {
    const struct port_io *io;
    u64 (*tsc)(void);    // read in order with the accesses around it
    u16 pm_timer_port;   // FADT's PM_TMR_BLK in port space; 0: none
    volatile void *hpet; // its registers, mapped; NULL: none
};

#define HPET_SIZE 0x400u // bytes of them

// Fills in the opinions of HPET, PM timer and PIT, each 0 where there is none or it does not run:
// over the same three times 5 ms, which the first of them gives. Port 61H and the HPET's
// configuration are left as they were found. IA-PC HPET specification, "Register Overview"; ACPI
// specification, "Power Management Timer"; 8254 data sheet, mode 0 and counter latch.
void tsc_measure(const struct tsc_measure_config *config, struct tsc_opinions *opinions);
