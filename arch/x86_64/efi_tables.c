// SPDX-License-Identifier: MIT
#include "arch/x86_64/efi_tables.h"

#include "arch/x86_64/acpi_bytes.h"
#include "arch/x86_64/lib/string.h"

#define SYSTEM_SIZE  120u
#define SYSTEM_COUNT 104
#define SYSTEM_LIST  112
#define ENTRY_SIZE   24u // GUID and pointer
#define GUID_SIZE    16u
#define ENTRIES_MAX  256u // firmware has a dozen or two

// As they lie in memory: the first three fields are little-endian.
static const u8 guids[][GUID_SIZE] = {
    [EFI_ACPI_20] = {0x71, 0xe8, 0x68, 0x88, 0xf1, 0xe4, 0xd3, 0x11, 0xbc, 0x22, 0x00, 0x80, 0xc7,
                     0x3c, 0x88, 0x81},
    [EFI_ACPI_10] = {0x30, 0x2d, 0x9d, 0xeb, 0x88, 0x2d, 0xd3, 0x11, 0x9a, 0x16, 0x00, 0x90, 0x27,
                     0x3f, 0xc1, 0x4d},
    [EFI_SMBIOS_3] = {0x44, 0x15, 0xfd, 0xf2, 0x94, 0x97, 0x2c, 0x4a, 0x99, 0x2e, 0xe5, 0xbb, 0xcf,
                     0x20, 0xe3, 0x94},
    [EFI_SMBIOS] = {0x31, 0x2d, 0x9d, 0xeb, 0x88, 0x2d, 0xd3, 0x11, 0x9a, 0x16, 0x00, 0x90, 0x27,
                     0x3f, 0xc1, 0x4d},
};

u64 efi_find_table(const struct acpi_memory *memory, u64 system_table, enum efi_table which)
{
    const u8 *system = system_table ? memory->map(memory->ctx, system_table, SYSTEM_SIZE) : NULL;
    if (!system || memcmp(system, "IBI SYST", 8) != 0)
        return 0;
    u64 count = acpi_u64(system + SYSTEM_COUNT);
    if (count == 0 || count > ENTRIES_MAX)
        return 0;
    const u8 *list = memory->map(memory->ctx, acpi_u64(system + SYSTEM_LIST), count * ENTRY_SIZE);
    for (u64 i = 0; list && i < count; i++, list += ENTRY_SIZE)
        if (!memcmp(list, guids[which], GUID_SIZE))
            return acpi_u64(list + GUID_SIZE);
    return 0;
}
