// SPDX-License-Identifier: MIT
#include "arch/x86_64/host_lapic.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/regs/apic.h"
#include "arch/x86_64/regs/msr.h"
#include "arch/x86_64/traps.h"

#define BASE_ADDRESS   BITS(51, 12)
#define ICR_SELF       (1u << 18) // destination shorthand
#define STRAYS_LOGGED  8u
#define ICR_WAIT_POLLS 100000u

static struct {
    volatile u8 *page; // xAPIC registers; NULL: x2APIC
    u32 thermal;       // firmware's own entry for the thermal sensor; 0: it has none
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

bool host_lapic_x2(void)
{
    return !lapic.page;
}

u32 host_lapic_id(void)
{
    u32 id = host_lapic_read(APIC_ID);
    return lapic.page ? id >> 24 : id;
}

void host_lapic_eoi(void)
{
    host_lapic_write(APIC_EOI, 0);
}

u64 host_lapic_strays(void)
{
    return lapic.strays;
}

static bool in_service(u8 vector)
{
    return host_lapic_read(APIC_ISR + vector / 32u * 16u) & BIT32(vector % 32u);
}

// A spurious interrupt, or one of an 8259, has no in-service bit and must not be ended: the EOI
// would go to another one.
static void stray(u8 vector)
{
    lapic.strays++;
    if (lapic.strays <= STRAYS_LOGGED && vector != VECTOR_SPURIOUS)
        log_warn("unexpected interrupt, vector 0x%x", vector);
    if (in_service(vector))
        host_lapic_eoi();
}

static void handle_strays(void)
{
    for (unsigned vector = TRAP_FIRST_INTERRUPT; vector < 256; vector++)
        if (!trap_handler((u8)vector))
            trap_set_handler((u8)vector, stray);
}

// Some firmware lets the thermal sensor raise an SMI and slows the CPU down in its handler: that
// must go on. It sets the boot CPU's entry only, or INIT has cleared another's.
static u32 thermal_entry(void)
{
    u32 entry = host_lapic_read(APIC_LVT_THERM);
    bool smi = !(entry & APIC_LVT_MASKED) && bits_get(entry, 10, 8) == APIC_DM_SMI;
    if (smi && !lapic.thermal)
        lapic.thermal = entry;
    return lapic.thermal ? lapic.thermal : APIC_LVT_MASKED;
}

static void mask_sources(void)
{
    // In the order in which models got them: the version register says how many there are.
    static const u16 lvt[] = {APIC_LVT_TIMER, APIC_LVT_LINT0, APIC_LVT_LINT1, APIC_LVT_ERROR,
                              APIC_LVT_PERF,  APIC_LVT_THERM, APIC_LVT_CMCI};
    u32 last = (u32)bits_get(host_lapic_read(APIC_VERSION), 23, 16);
    for (u32 i = 0; i < ARRAY_SIZE(lvt) && i <= last; i++)
        host_lapic_write(lvt[i], lvt[i] == APIC_LVT_THERM ? thermal_entry() : APIC_LVT_MASKED);
    host_lapic_write(APIC_TMICT, 0);
}

// Firmware may have left interrupts in service: each EOI ends the highest of them, and there are at
// most 256.
static void end_all_service(void)
{
    for (unsigned i = 0; i < 256; i++) {
        u32 any = 0;
        for (u32 word = 0; word < 8; word++)
            any |= host_lapic_read(APIC_ISR + word * 16);
        if (!any)
            return;
        host_lapic_eoi();
    }
}

static int find_registers(bool x2)
{
    u64 base = rdmsr(IA32_APIC_BASE);
    if (!(base & APIC_BASE_ENABLE)) {
        base |= APIC_BASE_ENABLE;
        wrmsr(IA32_APIC_BASE, base);
    }
    if (x2 && cpu_features.x2apic && !(base & APIC_BASE_X2APIC)) {
        base |= APIC_BASE_X2APIC;
        wrmsr(IA32_APIC_BASE, base);
        log_info("apic: x2APIC mode turned on");
    }
    if (base & APIC_BASE_X2APIC)
        return OK;
    lapic.page = mmio_map(HPA(base & BASE_ADDRESS), PAGE_SIZE, MEM_UC);
    return lapic.page ? OK : E_NOMEM;
}

static void quiet_start(void)
{
    mask_sources();
    host_lapic_write(APIC_TPR, 0);
    host_lapic_write(APIC_SVR, APIC_SVR_ENABLE | VECTOR_SPURIOUS);
    end_all_service();
    host_lapic_write(APIC_ESR, 0);
    this_cpu()->apic_id = host_lapic_id();
}

int host_lapic_init(bool x2)
{
    if (!cpu_features.apic) {
        log_error("this CPU has no local APIC, which Corbel needs");
        return E_UNSUPP;
    }
    int rc = find_registers(x2);
    if (rc < 0)
        return rc;
    handle_strays();
    quiet_start();
    return OK;
}

// INIT leaves the mode as it is, and firmware may have left each CPU in another. From x2APIC mode
// the way back leads through off: SDM volume 3, "x2APIC State Transitions".
void host_lapic_init_ap(void)
{
    u64 base = rdmsr(IA32_APIC_BASE);
    u64 off = base & ~(u64)(APIC_BASE_ENABLE | APIC_BASE_X2APIC);

    if (lapic.page) {
        if (base & APIC_BASE_X2APIC)
            wrmsr(IA32_APIC_BASE, off);
        wrmsr(IA32_APIC_BASE, off | APIC_BASE_ENABLE);
    } else {
        if (!(base & APIC_BASE_ENABLE))
            wrmsr(IA32_APIC_BASE, off | APIC_BASE_ENABLE);
        wrmsr(IA32_APIC_BASE, off | APIC_BASE_ENABLE | APIC_BASE_X2APIC);
    }
    quiet_start();
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

void host_lapic_self_ipi(u8 vector)
{
    if (!lapic.page) {
        host_lapic_write(APIC_SELF_IPI, vector);
        return;
    }
    wait_sent();
    host_lapic_write(APIC_ICR_LOW, ICR_SELF | APIC_ICR_ASSERT | vector);
}
