// SPDX-License-Identifier: MIT
// The host's local APIC, in the mode firmware left it in unless x2APIC mode is needed: SDM volume
// 3, "Local APIC" and "Extended XAPIC (x2APIC)".
#pragma once

#include "arch/x86_64/lib/types.h"

#define VECTOR_SERIAL   0xf0u
#define VECTOR_CALL     0xfdu
#define VECTOR_TIMER    0xfeu
#define VECTOR_SPURIOUS 0xffu

// Takes over this CPU's APIC: every local interrupt source masked (but a thermal sensor's SMI,
// which is firmware's), nothing in service, everything accepted. An APIC that is off is turned on
// as an xAPIC, and with x2 an xAPIC is brought into x2APIC mode if the CPU has it. Every interrupt
// vector that has no handler gets one that counts it. Needs paging_init. E_UNSUPP (logged) if the
// CPU has none, E_NOMEM.
int host_lapic_init(bool x2);

// The same for another CPU, whose APIC is brought into the boot CPU's mode. After host_lapic_init.
void host_lapic_init_ap(void);

// For those two: where the registers are (NULL: in x2APIC mode), and the handler that counts.
void host_lapic_use(volatile u8 *page);
void host_lapic_stray(u8 vector);

bool host_lapic_x2(void);
u32 host_lapic_id(void);

// A register of regs/apic.h by its xAPIC offset. The ICR is not reached this way.
u32 host_lapic_read(u32 offset);
void host_lapic_write(u32 offset, u32 value);

// Ends the service of the current interrupt.
void host_lapic_eoi(void);

// Sends an interprocessor interrupt: icr is the low half of the interrupt command register. What
// was written to memory before is seen by the receiver.
void host_lapic_ipi(u32 apic_id, u32 icr);

// Sends a fixed interrupt to this CPU.
void host_lapic_self_ipi(u8 vector);

// Interrupts that came without anybody expecting them.
u64 host_lapic_strays(void);
