// SPDX-License-Identifier: MIT
#include "arch/x86_64/irq_route.h"

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"

#define ENTRY_LOW_ACTIVE BIT(13)
#define ENTRY_LEVEL      BIT(15)
#define ENTRY_CPU_SHIFT  56
#define ENTRY_CPU_MAX    0xfeu // FFH is all of them

// MPS INTI flags. 0 in either field: as the bus has it, which for ISA is active high and edge.
#define FLAGS_POLARITY   3u
#define FLAGS_LOW_ACTIVE 3u
#define FLAGS_TRIGGER    (3u << 2)
#define FLAGS_LEVEL      (3u << 2)

static struct acpi_override find_override(const struct acpi_info *acpi, u8 irq)
{
    for (unsigned i = 0; i < acpi->noverrides; i++)
        if (acpi->overrides[i].source == irq)
            return acpi->overrides[i];
    return (struct acpi_override){.source = irq, .gsi = irq};
}

// Tables do not say how many pins an I/O APIC has: the one that begins nearest below has the pin.
static const struct acpi_ioapic *find_ioapic(const struct acpi_info *acpi, u32 gsi)
{
    const struct acpi_ioapic *best = NULL;
    for (unsigned i = 0; i < acpi->nioapics; i++) {
        const struct acpi_ioapic *one = &acpi->ioapics[i];
        if (one->gsi_base <= gsi && (!best || one->gsi_base > best->gsi_base))
            best = one;
    }
    return best;
}

int irq_route_isa(const struct acpi_info *acpi, u8 irq, u8 vector, u32 apic_id,
                  struct irq_route *route)
{
    struct acpi_override line = find_override(acpi, irq);
    const struct acpi_ioapic *ioapic = find_ioapic(acpi, line.gsi);

    if (!ioapic)
        return E_NOENT;
    if (apic_id > ENTRY_CPU_MAX)
        return E_RANGE;
    u64 entry = vector | (u64)apic_id << ENTRY_CPU_SHIFT;
    if ((line.flags & FLAGS_POLARITY) == FLAGS_LOW_ACTIVE)
        entry |= ENTRY_LOW_ACTIVE;
    if ((line.flags & FLAGS_TRIGGER) == FLAGS_LEVEL)
        entry |= ENTRY_LEVEL;
    *route = (struct irq_route){
        .ioapic = HPA(ioapic->address), .pin = line.gsi - ioapic->gsi_base, .entry = entry};
    return OK;
}
