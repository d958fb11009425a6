// SPDX-License-Identifier: MIT
// What a machine calls itself: DMTF, "System Management BIOS (SMBIOS) Reference Specification".
// Nothing here touches the hardware; memory comes through a callback.
#pragma once

#include "arch/x86_64/acpi.h"

#define SMBIOS_TEXT_MAX 64u

// Empty where it is not told. Printable characters only.
struct smbios_info {
    char firmware[SMBIOS_TEXT_MAX]; // its version
    char date[SMBIOS_TEXT_MAX];     // of the firmware, as month/day/year
    char maker[SMBIOS_TEXT_MAX];
    char product[SMBIOS_TEXT_MAX];
    char version[SMBIOS_TEXT_MAX]; // of the product: some makers have its name here
};

// Reads the tables that the entry point at host-physical entry leads to; with entry 0 it is looked
// for where a BIOS puts it. E_NOENT if there is none, E_FORMAT if it leads nowhere.
int smbios_read(const struct acpi_memory *memory, u64 entry, struct smbios_info *info);
