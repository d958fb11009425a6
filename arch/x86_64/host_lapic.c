// SPDX-License-Identifier: MIT
#include "arch/x86_64/host_lapic.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/regs/apic.h"
#include "arch/x86_64/regs/msr.h"
#include "arch/x86_64/traps.h"

#define ICR_SELF       (1u << 18) // destination shorthand
#define STRAYS_LOGGED  8u
#define ICR_WAIT_POLLS 100000u

static struct {
    volatile u8 *page; // xAPIC registers; NULL: x2APIC
    u64 strays;
} lapic;

static u32 x2apic_msr(u32 offset)
{
    return IA32_X2APIC_FIRST + offset / 16;
}

u32 host_lapic_read(u32 offset)
{
    if (lapic.page)
        return *(volatile u32 *)(lapic.page + offset);
    return (u32)rdmsr(x2apic_msr(offset));
}

void host_lapic_write(u32 offset, u32 value)
{
    if (lapic.page)
        *(volatile u32 *)(lapic.page + offset) = value;
    else
        wrmsr(x2apic_msr(offset), value);
}

INIT void host_lapic_use(volatile u8 *page)
{
    lapic.page = page;
}

INIT bool host_lapic_x2(void)
{
    return !lapic.page;
}

INIT u32 host_lapic_id(void)
{
    u32 id = host_lapic_read(APIC_ID);
    return lapic.page ? id >> 24 : id;
}

void host_lapic_eoi(void)
{
    host_lapic_write(APIC_EOI, 0);
}

INIT u64 host_lapic_strays(void)
{
    return lapic.strays;
}

static bool in_service(u8 vector)
{
    return host_lapic_read(APIC_ISR + vector / 32u * 16u) & BIT32(vector % 32u);
}

// A spurious interrupt, or one of an 8259, has no in-service bit and must not be ended: the EOI
// would go to another one.
void host_lapic_stray(u8 vector)
{
    lapic.strays++;
    if (lapic.strays <= STRAYS_LOGGED && vector != VECTOR_SPURIOUS)
        log_warn("unexpected interrupt, vector 0x%x", vector);
    if (in_service(vector))
        host_lapic_eoi();
}

// The xAPIC sends one message at a time.
static void wait_sent(void)
{
    for (unsigned i = 0; i < ICR_WAIT_POLLS; i++)
        if (!(host_lapic_read(APIC_ICR_LOW) & APIC_ICR_PENDING))
            return;
}

void host_lapic_ipi(u32 apic_id, u32 icr)
{
    if (!lapic.page) {
        // WRMSR of an x2APIC register waits for nothing: SDM volume 3, "MSR Access in x2APIC Mode".
        mfence();
        lfence();
        wrmsr(x2apic_msr(APIC_ICR_LOW), (u64)apic_id << 32 | icr);
        return;
    }
    wait_sent();
    host_lapic_write(APIC_ICR_HIGH, apic_id << 24);
    host_lapic_write(APIC_ICR_LOW, icr);
    wait_sent();
}

INIT void host_lapic_self_ipi(u8 vector)
{
    if (!lapic.page) {
        host_lapic_write(APIC_SELF_IPI, vector);
        return;
    }
    wait_sent();
    host_lapic_write(APIC_ICR_LOW, ICR_SELF | APIC_ICR_ASSERT | vector);
}
