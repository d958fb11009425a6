// SPDX-License-Identifier: MIT
// The other CPUs: started one by one, then idle until the boot CPU calls a function on them.
// Guests run on the boot CPU; the others are in the same state as it, down to VMX operation.
// SDM volume 3, "Multiple-Processor (MP) Initialization".
//
// Only the boot CPU calls what is here, but for smp_stop_others(), which any CPU that crashes does.
#pragma once

#include "arch/x86_64/acpi.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/lib/frame.h"

// Starts every enabled CPU that the MADT names, with INIT, SIPI, SIPI and the SDM's delays, each
// given a second. One that does not come up, or comes up other than the boot CPU, is named in the
// log, stopped, and gone on without. host has their stacks; low is asked for a page below 640 KiB
// for the first instructions, whose contents are put back. Needs timer_init.
void smp_start(const struct acpi_info *acpi, struct frame_pool *host, struct frame_pool *low);

// CPUs that are up, the boot CPU included: cpus[0] to cpus[smp_online() - 1].
unsigned smp_online(void);

// Calls fn(arg) on that CPU, interrupts off, and waits for its end. E_TIMEOUT (logged) if that
// takes a second: the CPU is not called again.
MUST_CHECK int smp_call(struct cpu *cpu, void (*fn)(void *arg), void *arg);

// The same on every CPU but this one, one after the other; how many did it.
unsigned smp_call_others(void (*fn)(void *arg), void *arg);

// What smp_stop_others() has each CPU do before it halts: leave VMX operation.
void smp_set_leave(void (*leave)(void));

// Halts every other CPU for good, by NMI, whatever it does. Waits 10 ms at most.
void smp_stop_others(void);

// An NMI has arrived: does not return if it says that this CPU is to stop.
void smp_nmi(void);
