// SPDX-License-Identifier: MIT
// Making the local APIC ready, whatever firmware left it doing.
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/host_lapic.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/regs/apic.h"
#include "arch/x86_64/regs/msr.h"
#include "arch/x86_64/traps.h"

#define BASE_ADDRESS BITS(51, 12)

static u32 thermal; // firmware's own entry for the thermal sensor; 0: it has none

static void handle_strays(void)
{
    for (unsigned vector = TRAP_FIRST_INTERRUPT; vector < 256; vector++)
        if (!trap_handler((u8)vector))
            trap_set_handler((u8)vector, host_lapic_stray);
}

// Some firmware lets the thermal sensor raise an SMI and slows the CPU down in its handler: that
// must go on. It sets the boot CPU's entry only, or INIT has cleared another's.
static u32 thermal_entry(void)
{
    u32 entry = host_lapic_read(APIC_LVT_THERM);
    bool smi = !(entry & APIC_LVT_MASKED) && bits_get(entry, 10, 8) == APIC_DM_SMI;
    if (smi && !thermal)
        thermal = entry;
    return thermal ? thermal : APIC_LVT_MASKED;
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
    volatile u8 *page = mmio_map(HPA(base & BASE_ADDRESS), PAGE_SIZE, MEM_UC);
    host_lapic_use(page);
    return page ? OK : E_NOMEM;
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

    if (!host_lapic_x2()) {
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
