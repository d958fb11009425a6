// SPDX-License-Identifier: MIT
// Why the CPU refused the current VMCS: the rules of VM entry judged on this very CPU.
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/layout.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/regs/cpuid.h"
#include "arch/x86_64/regs/msr.h"
#include "vmx/vcpu_internal.h"

#define DEBUGCTL_DEFINED (BITS(15, 6) | BITS(2, 0))

static bool read_field(void *ctx, u32 field, u64 *value)
{
    (void)ctx;
    return vmread_checked(field, value) == VMX_SUCCEED;
}

// A bad VMCS may name any address: only RAM is touched, device memory is not in the window.
static bool read_ram(void *ctx, hpa_t address, void *buf, u32 size)
{
    struct page_mapping first, last;
    (void)ctx;
    if (address.raw >= MMIO_WINDOW - PHYS_WINDOW - size)
        return false;
    const u8 *at = phys_ptr(address);
    if (!paging_lookup(at, &first) || !paging_lookup(at + size - 1, &last))
        return false;
    memcpy(buf, at, size);
    return true;
}

unsigned entry_judge(const struct vcpu *vcpu, entry_violation_fn violation, void *ctx)
{
    struct cpuid_regs leaf7 = cpu_features.max_leaf >= 7 ? cpuid(7, 0) : (struct cpuid_regs){0};
    const struct entry_state state = {
        .caps = vcpu->caps,
        .read = read_field,
        .memory = read_ram,
        .current_vmcs = vcpu->vmcs.raw,
        .launched = vcpu->launched,
        .resume = vcpu->launched,
        .vmx_operation = true,
        .lma = true,
        .linear_bits = cpu_features.linear_bits,
        .rtm = leaf7.ebx & CPUID_7_EBX_RTM,
        .sgx = leaf7.ebx & CPUID_7_EBX_SGX,
        .bus_lock = leaf7.ecx & CPUID_7_ECX_BUS_LOCK,
        .efer = EFER_SCE | EFER_LME | EFER_LMA | (cpu_features.nx ? EFER_NXE : 0),
        .debugctl = DEBUGCTL_DEFINED,
        .perf_global_ctrl = ~0ull,
        .rtit_ctl = ~0ull,
        .lbr_ctl = ~0ull,
    };
    return entry_check(&state, violation, ctx);
}

static void print(void *ctx, const struct entry_rule *rule, const char *what, const char *legal)
{
    (void)ctx;
    log_info("  %s: %s", rule->id, what);
    log_info("      legal: %s (SDM volume 3, \"%s\")", legal,
             entry_section_title((enum entry_section)rule->section));
}

void entry_report(const struct vcpu *vcpu)
{
    log_info("  rules of VM entry that the VMCS violates:");
    if (!entry_judge(vcpu, print, NULL))
        log_info("  none that Corbel knows");
}
