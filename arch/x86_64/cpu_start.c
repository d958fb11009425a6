// SPDX-License-Identifier: MIT
#include "arch/x86_64/cpu_start.h"

#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/regs/apic.h"
#include "arch/x86_64/stacks.h"

#define INIT_US  10000u
#define SIPI_US  200u
#define START_US 1000000u

unsigned cpu_start_count(const struct acpi_info *acpi, u32 boot_id)
{
    unsigned n = 0;
    for (unsigned i = 0; i < acpi->ncpus; i++)
        n += acpi->cpus[i].enabled && acpi->cpus[i].apic_id != boot_id;
    return n;
}

#define CPU_MEMORY (PAGE_SIZE + RUN_STACK_SIZE + (IST_END - 1) * IST_STACK_SIZE + PAGE_SIZE)

u64 cpu_start_memory(const struct acpi_info *acpi, u32 boot_id, u64 usable)
{
    u64 wanted = (u64)cpu_start_count(acpi, boot_id) * CPU_MEMORY;
    return wanted < usable / 8 ? wanted : usable / 8;
}

bool cpu_start_needs_x2apic(const struct acpi_info *acpi)
{
    for (unsigned i = 0; i < acpi->ncpus; i++)
        if (acpi->cpus[i].enabled && acpi->cpus[i].apic_id > XAPIC_ID_MAX)
            return true;
    return false;
}

// Edge-triggered, as the SDM's 000C4500H: the level de-assertion that would have to follow a
// level-triggered one is unknown to CPUs with VT-x.
#define ICR_INIT (APIC_DM_INIT << 8 | APIC_ICR_ASSERT)
#define ICR_SIPI (APIC_DM_STARTUP << 8 | APIC_ICR_ASSERT)

void cpu_send_to_sleep(const struct cpu_waker *waker, u32 apic_id)
{
    waker->ipi(waker->ctx, apic_id, ICR_INIT);
}

bool cpu_wake(const struct cpu_waker *waker, u32 apic_id, u8 page)
{
    waker->ipi(waker->ctx, apic_id, ICR_INIT);
    waker->spin_us(waker->ctx, INIT_US);
    waker->ipi(waker->ctx, apic_id, ICR_SIPI | page);
    if (!waker->alive(waker->ctx, SIPI_US))
        waker->ipi(waker->ctx, apic_id, ICR_SIPI | page);
    return waker->alive(waker->ctx, START_US);
}

const char *cpu_difference(const struct cpu_features *cpu, const struct cpu_features *boot)
{
    // Hybrid CPUs have cores of two models; both are of one vendor and family, and have what is
    // compared here in common.
    if (strcmp(cpu->vendor, boot->vendor) || cpu->family != boot->family)
        return "another kind of CPU than the boot CPU";
    if (cpu->vmx != boot->vmx)
        return boot->vmx ? "it has no VT-x" : "it has VT-x, the boot CPU has none";
    if (cpu->nx != boot->nx)
        return "execute-disable (NX) is not as on the boot CPU";
    if (cpu->phys_bits != boot->phys_bits)
        return "its physical addresses are not as wide as the boot CPU's";
    if (cpu->xcr0_allowed != boot->xcr0_allowed)
        return "its XSAVE state is not the boot CPU's";
    if (cpu->smep != boot->smep || cpu->smap != boot->smap || cpu->umip != boot->umip)
        return "SMEP, SMAP or UMIP is not as on the boot CPU";
    return NULL;
}
