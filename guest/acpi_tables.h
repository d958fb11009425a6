// SPDX-License-Identifier: MIT
// The ACPI tables of a PC guest, for the devices and addresses of guest/pc.h: ACPI
// specification 6.0, "ACPI Software Programming Model". RSDP, RSDT, XSDT, FADT, FACS, MADT, HPET,
// and the DSDT that guest/dsdt.asl describes.
#pragma once

#include "guest/vm.h"

struct acpi_config {
    bool hpet;
    u32 hpet_id; // low half of its General Capabilities and ID register
};

// Writes the tables into the BIOS area (PC_BIOS up to 1 MiB) and gives the RSDP's address. E_RANGE
// if that area is not RAM of the VM.
MUST_CHECK int acpi_tables_write(struct vm *vm, const struct acpi_config *config, gpa_t *rsdp);
