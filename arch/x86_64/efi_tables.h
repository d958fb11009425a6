// SPDX-License-Identifier: MIT
// UEFI's list of where firmware put its tables: UEFI specification, "EFI System Table" and "EFI
// Configuration Table". Nothing here touches the hardware; memory comes through a callback.
#pragma once

#include "arch/x86_64/acpi.h"

enum efi_table { EFI_ACPI_20, EFI_ACPI_10, EFI_SMBIOS_3, EFI_SMBIOS };

// The host-physical address of the table by the 64-bit EFI system table that is at system_table; 0
// if that is none, or names no such table.
u64 efi_find_table(const struct acpi_memory *memory, u64 system_table, enum efi_table which);
