// SPDX-License-Identifier: MIT
// What starting the other CPUs needs of the code that calls them, and stays when the start is over.
#pragma once

#include "arch/x86_64/smp.h"

// One more is up.
void smp_add(struct cpu *cpu);

// Polls until *word is value; false after us microseconds.
bool smp_wait_for(const volatile u32 *word, u32 value, u32 us);

// The handler of the interrupt that calls a CPU.
void smp_on_call(u8 vector);

// Does what the boot CPU calls for, on this CPU and for ever.
NORETURN void smp_serve(struct cpu *cpu);

// Halts for good.
NORETURN void smp_park(void);
