// SPDX-License-Identifier: MIT
// The host's timer: one interrupt at a time, by the local APIC. It only wakes: what is due is found
// by looking at the clock. SDM volume 3, "APIC Timer".
#pragma once

#include "arch/x86_64/lib/types.h"

// Chooses TSC-deadline mode where the CPU has it, else one-shot mode with a rate measured against
// the TSC (10 ms, to some millionths). Needs host_lapic_init and tsc_init. E_NOENT (logged) if the
// APIC timer stands still.
int timer_init(void);

// One interrupt (VECTOR_TIMER) at this TSC value, at once if it has passed; replaces what was armed
// before. A deadline further away than the counter reaches (one-shot mode: some 40 s at 100 MHz)
// fires early.
void timer_arm(u64 deadline);

// No interrupt any more. One that is pending already still comes.
void timer_disarm(void);

// How many timer interrupts were taken.
u64 timer_fired(void);
