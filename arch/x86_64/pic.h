// SPDX-License-Identifier: MIT
// The host's old and new interrupt controllers for devices. Corbel silences them all but for the
// one line of the UART that it listens to. Intel 8259A and 82093AA datasheets.
#pragma once

#include "arch/x86_64/lib/types.h"

#define PIC_VECTOR_BASE 0x20u // 20H-27H master, 28H-2FH slave

// Moves the 8259 pair off the exception vectors, to PIC_VECTOR_BASE, and masks all its lines. A
// spurious interrupt of it can still come, so the 16 vectors get a handler that ignores them.
void pic_silence(void);

// Masks every redirection of the I/O APIC at this host-physical address. E_NOENT (logged) if
// nothing answers there.
int ioapic_silence(hpa_t base);

// Writes one entry of its redirection table. E_RANGE (logged) if it has no such pin, E_NOMEM.
int ioapic_route(hpa_t base, u32 pin, u64 entry);
