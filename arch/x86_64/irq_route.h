// SPDX-License-Identifier: MIT
// Where an ISA interrupt of the host arrives: ACPI specification, "Interrupt Source Override
// Structure", and the 82093AA datasheet, "I/O Redirection Table".
#pragma once

#include "arch/x86_64/acpi.h"

struct irq_route {
    hpa_t ioapic;
    u32 pin;
    u64 entry; // of the redirection table
};

// The pin of an ISA interrupt, and the entry that sends it to this vector of the CPU with this
// local APIC: by ACPI's overrides, else as the ISA bus has it. E_NOENT if no I/O APIC is there for
// it, E_RANGE if the CPU's id is beyond what an entry can name.
MUST_CHECK int irq_route_isa(const struct acpi_info *acpi, u8 irq, u8 vector, u32 apic_id,
                             struct irq_route *route);
