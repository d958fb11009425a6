// SPDX-License-Identifier: MIT
// ACPI specification, "Multiple APIC Description Table (MADT)".
#include "arch/x86_64/acpi.h"
#include "arch/x86_64/acpi_bytes.h"
#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/log.h"

#define MADT_LAPIC_ADDRESS 36
#define MADT_FLAGS         40
#define MADT_ENTRIES       44u
#define MADT_PCAT_COMPAT   BIT32(0)

#define CPU_ENABLED        BIT32(0)
#define CPU_ONLINE_CAPABLE BIT32(1)

// What an 8-bit APIC ID cannot be: the broadcast address marks an entry that is not in use.
#define XAPIC_BROADCAST 0xffu
#define XAPIC_ALL_CPUS  0xffu // the same value as a processor UID of an NMI entry

static bool has_cpu(const struct acpi_info *info, u32 apic_id)
{
    for (unsigned i = 0; i < info->ncpus; i++) {
        if (info->cpus[i].apic_id == apic_id)
            return true;
    }
    return false;
}

// Each take_ function returns whether there was room.

static bool take_cpu(struct acpi_info *info, u32 apic_id, u32 uid, u32 flags)
{
    // Firmware may list a CPU as xAPIC and again as x2APIC; and it lists sockets that are empty.
    if (!(flags & (CPU_ENABLED | CPU_ONLINE_CAPABLE)) || has_cpu(info, apic_id))
        return true;
    if (info->ncpus == ACPI_CPUS_MAX)
        return false;
    info->cpus[info->ncpus++] = (struct acpi_cpu){apic_id, uid, (flags & CPU_ENABLED) != 0};
    return true;
}

static bool take_lapic(const u8 *entry, struct acpi_info *info)
{
    return entry[3] == XAPIC_BROADCAST || take_cpu(info, entry[3], entry[2], acpi_u32(entry + 4));
}

static bool take_x2apic(const u8 *entry, struct acpi_info *info)
{
    return take_cpu(info, acpi_u32(entry + 4), acpi_u32(entry + 12), acpi_u32(entry + 8));
}

static bool take_ioapic(const u8 *entry, struct acpi_info *info)
{
    if (info->nioapics == ACPI_IOAPICS_MAX)
        return false;
    info->ioapics[info->nioapics++] =
        (struct acpi_ioapic){entry[2], acpi_u32(entry + 4), acpi_u32(entry + 8)};
    return true;
}

static bool take_override(const u8 *entry, struct acpi_info *info)
{
    if (entry[2] != 0) // the only bus there is: ISA
        return true;
    if (info->noverrides == ACPI_OVERRIDES_MAX)
        return false;
    info->overrides[info->noverrides++] =
        (struct acpi_override){entry[3], acpi_u32(entry + 4), acpi_u16(entry + 8)};
    return true;
}

static bool take_nmi(struct acpi_info *info, u32 uid, u8 lint, u16 flags)
{
    if (info->nnmis == ACPI_NMIS_MAX)
        return false;
    info->nmis[info->nnmis++] = (struct acpi_nmi){uid, lint, flags};
    return true;
}

static bool take_lapic_nmi(const u8 *entry, struct acpi_info *info)
{
    u32 uid = entry[2] == XAPIC_ALL_CPUS ? ACPI_ALL_CPUS : entry[2];
    return take_nmi(info, uid, entry[5], acpi_u16(entry + 3));
}

static bool take_x2apic_nmi(const u8 *entry, struct acpi_info *info)
{
    return take_nmi(info, acpi_u32(entry + 4), entry[8], acpi_u16(entry + 2));
}

static bool take_lapic_address(const u8 *entry, struct acpi_info *info)
{
    info->lapic_address = acpi_u64(entry + 4);
    return true;
}

struct entry_rule {
    u8 type;
    u8 least; // bytes
    bool (*take)(const u8 *entry, struct acpi_info *info);
    const char *name;
};

static const struct entry_rule rules[] = {
    {0x0, 8,  take_lapic,         "local APIC"        },
    {0x1, 12, take_ioapic,        "I/O APIC"          },
    {0x2, 10, take_override,      "override"          },
    {0x4, 6,  take_lapic_nmi,     "local APIC NMI"    },
    {0x5, 12, take_lapic_address, "local APIC address"},
    {0x9, 16, take_x2apic,        "local x2APIC"      },
    {0xa, 12, take_x2apic_nmi,    "local x2APIC NMI"  },
};

// complained has a bit for each rule whose trouble was told already: an entry seldom comes alone.
static void take_entry(const u8 *entry, struct acpi_info *info, u32 *complained)
{
    for (unsigned i = 0; i < ARRAY_SIZE(rules); i++) {
        const struct entry_rule *rule = &rules[i];
        u8 type = entry[0], length = entry[1];
        if (rule->type != type || (length >= rule->least && rule->take(entry, info)))
            continue;
        if (*complained & BIT32(i))
            continue;
        *complained |= BIT32(i);
        if (length < rule->least)
            log_warn("ACPI: MADT: a %s entry has %u bytes, not %u", rule->name, length,
                     rule->least);
        else
            log_warn("ACPI: MADT: there are more %s entries than Corbel keeps", rule->name);
    }
}

void acpi_read_madt(const u8 *table, u32 length, struct acpi_info *info)
{
    if (length < MADT_ENTRIES) {
        log_warn("ACPI: MADT: %u bytes are too few", length);
        return;
    }
    info->has_madt = true;
    info->has_8259 = acpi_u32(table + MADT_FLAGS) & MADT_PCAT_COMPAT;
    info->lapic_address = acpi_u32(table + MADT_LAPIC_ADDRESS);
    u32 complained = 0;
    u32 at = MADT_ENTRIES;
    while (length - at >= 2) {
        u32 size = table[at + 1];
        if (size < 2 || size > length - at) {
            log_warn("ACPI: MADT: the entry at %u has %u bytes; the rest is not read", at, size);
            return;
        }
        take_entry(table + at, info, &complained);
        at += size;
    }
}
