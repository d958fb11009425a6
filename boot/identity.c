// SPDX-License-Identifier: MIT
#include "boot/identity.h"

#include "arch/x86_64/efi_tables.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/smbios.h"
#include "boot/machine.h"

// 0: it is to be looked for.
static u64 entry_of(const struct boot_info *info, const struct acpi_memory *memory)
{
    if (info->efi_bits != 64)
        return 0;
    u64 entry = efi_find_table(memory, info->efi_system_table, EFI_SMBIOS_3);
    return entry ? entry : efi_find_table(memory, info->efi_system_table, EFI_SMBIOS);
}

static const char *or_unknown(const char *text)
{
    return text[0] ? text : "unknown";
}

static void say_machine(const struct boot_info *info)
{
    const struct acpi_memory *memory = machine_reader();
    struct smbios_info found;
    u64 entry = entry_of(info, memory);

    if ((!entry && info->efi_bits) || smbios_read(memory, entry, &found) != OK) {
        log_info("machine: it does not tell its name (no SMBIOS)");
        return;
    }
    log_info("machine: %s, %s, version %s; firmware %s of %s", or_unknown(found.maker),
             or_unknown(found.product), or_unknown(found.version), or_unknown(found.firmware),
             or_unknown(found.date));
}

#define MTRR_LINES 64u

static void say_types(const struct mtrr_state *mtrr)
{
    u64 at = 0;
    for (unsigned i = 0; i < MTRR_LINES && at < mtrr->limit; i++) {
        struct mtrr_region r = mtrr_next(mtrr, at, mtrr->limit);
        at = r.base + r.size;
        log_info("mtrr: %012llx-%012llx %s%s", (unsigned long long)r.base,
                 (unsigned long long)(at - 1), ept_type_name(r.type),
                 r.conflict ? ", by ranges that contradict each other" : "");
    }
}

void identity_say(const struct boot_info *info, const struct hypervisor *hv)
{
    say_machine(info);
    machine_tell_map(LOG_INFO);
    say_types(&hv->mtrr);
}
