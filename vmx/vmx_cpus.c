// SPDX-License-Identifier: MIT
#include "vmx/vmx_cpus.h"

#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/fmt.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/smp.h"
#include "vmx/vmx_host.h"

struct enable_call {
    struct hypervisor *hv;
    struct vmx_probe probe; // of the CPU called
    u32 different;          // the first capability MSR that is not the boot CPU's; 0: none
    int err;
};

// Only one call is under way at a time, and the caller waits for it, so the log and the frames are
// this CPU's while it lasts.
INIT static void enable(void *arg)
{
    struct enable_call *call = arg;

    vmx_probe_cpu(&call->probe);
    call->different = vmx_msrs_difference(&call->probe.msrs, &call->hv->probe.msrs);
    call->err = call->different ? E_UNSUPP : vmx_enable(&call->hv->caps, &call->hv->host);
}

// Guests run on the boot CPU: one that is left out is missed by nobody.
INIT static void report(const struct cpu *cpu, const struct enable_call *call)
{
    char why[128];
    if (call->different)
        fmt_snprintf(why, sizeof(why), "its capability MSR %XH is %llx, the boot CPU's %llx",
                     call->different,
                     (unsigned long long)vmx_msrs_value(&call->probe.msrs, call->different),
                     (unsigned long long)vmx_msrs_value(&call->hv->probe.msrs, call->different));
    else if (call->err == E_LOCKED)
        str_copy(why, sizeof(why),
                 "firmware locked VT-x off on this CPU alone: look for a newer "
                 "firmware, or load its setup's defaults");
    else
        str_copy(why, sizeof(why), err_name(call->err));
    log_warn("cpu %u (APIC ID %u): not in VMX operation: %s", cpu->id, cpu->apic_id, why);
}

// Runs in an NMI's handler.
static void leave(void)
{
    vmx_disable(NULL);
}

INIT void vmx_enable_others(struct hypervisor *hv)
{
    static struct enable_call call; // large
    unsigned good = 1;

    smp_set_leave(leave);
    for (unsigned i = 0; i < smp_online(); i++) {
        struct cpu *cpu = cpus[i];
        if (cpu == this_cpu())
            continue;
        call = (struct enable_call){.hv = hv};
        if (smp_call(cpu, enable, &call) != OK)
            continue;
        if (call.err == OK)
            good++;
        else
            report(cpu, &call);
    }
    if (smp_online() > 1)
        log_info("cpus: %u in VMX operation", good);
}

static void disable(void *arg)
{
    (void)arg;
    vmx_disable(NULL);
}

void vmx_disable_everywhere(void)
{
    (void)smp_call_others(disable, NULL);
    vmx_disable(NULL);
}

struct invept_call {
    const struct vmx_caps *caps;
    u64 eptp;
};

static void invalidate(void *arg)
{
    const struct invept_call *call = arg;
    if (vmx_enabled())
        vmx_invept(call->caps, call->eptp);
}

void vmx_shoot_down(const struct vmx_caps *caps, u64 eptp, u64 cpu_mask)
{
    struct invept_call call = {caps, eptp};

    for (unsigned i = 0; i < smp_online() && i < 64; i++)
        if ((cpu_mask & BIT(i)) && cpus[i] != this_cpu())
            (void)!smp_call(cpus[i], invalidate, &call);
}
