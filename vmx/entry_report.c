// SPDX-License-Identifier: MIT
// Why the CPU refused the current VMCS: the rules of VM entry judged on this very CPU.
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/layout.h"
#include "arch/x86_64/lib/check.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/regs/cpuid.h"
#include "arch/x86_64/regs/msr.h"
#include "arch/x86_64/traps.h"
#include "vmx/vcpu_internal.h"

#define DEBUGCTL_DEFINED (BITS(15, 6) | BITS(2, 0))

static u64 efer_defined(void)
{
    return EFER_SCE | EFER_LME | EFER_LMA | (cpu_features.nx ? EFER_NXE : 0);
}

// A bit a counter: CPUID leaf 0AH tells how many there are, general and fixed. Bit 48 enables the
// metrics of some CPUs.
static u64 perf_global_defined(void)
{
    if (cpu_features.max_leaf < 0xa)
        return ~0ull;
    struct cpuid_regs r = cpuid(0xa, 0);
    if ((r.eax & 0xff) < 2)
        return ~0ull;
    u64 general = bits_get(r.eax, 15, 8), fixed = bits_get(r.edx, 4, 0);
    return (BIT(general) - 1) | (BIT(fixed) - 1) << 32 | BIT(48);
}

// The fields that there are, which are the same for every VMCS; check=entry reads them at each
// entry.
static struct entry_values values;
static u16 fields[192];
static unsigned nfields;

static void find_fields(void)
{
    for (unsigned i = 0; i < vmcs_fields_count; i++) {
        u32 slot = ENTRY_SLOT(vmcs_fields[i].encoding);
        if (vmread_checked(vmcs_fields[i].encoding, &values.value[slot]) != VMX_SUCCEED)
            continue;
        CHECK(nfields < ARRAY_SIZE(fields));
        values.present[slot] = true;
        fields[nfields++] = vmcs_fields[i].encoding;
    }
}

static void read_fields(void)
{
    if (nfields == 0)
        find_fields();
    for (unsigned i = 0; i < nfields; i++)
        values.value[ENTRY_SLOT(fields[i])] = vmread_fast(fields[i]);
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

// What WRMSR of this value would do: rules of their own speak of the MSRs that VM entry never
// loads. SDM volume 3, "Loading MSRs".
static enum entry_msr_verdict load_msr(void *ctx, u32 index, u64 value)
{
    u64 now;
    (void)ctx;
    switch (index) {
    case IA32_FS_BASE:
    case IA32_GS_BASE:
    case IA32_SMM_MONITOR_CTL:
        return ENTRY_MSR_LOADS;
    case IA32_PAT:
        return entry_pat_ok(value) ? ENTRY_MSR_LOADS : ENTRY_MSR_FAULTS;
    case IA32_EFER:
        return value & ~efer_defined() ? ENTRY_MSR_FAULTS : ENTRY_MSR_LOADS;
    case IA32_PRED_CMD: // can be written only
    case IA32_FLUSH_CMD:
    case IA32_BIOS_UPDT_TRIG:
        return ENTRY_MSR_LOADS;
    }
    bool apic = index >= IA32_X2APIC_FIRST && index <= IA32_X2APIC_LAST;
    return apic || rdmsr_safe(index, &now) ? ENTRY_MSR_LOADS : ENTRY_MSR_FAULTS;
}

void entry_state_init(struct entry_state *state, const struct vmx_caps *caps)
{
    struct cpuid_regs leaf7 = cpu_features.max_leaf >= 7 ? cpuid(7, 0) : (struct cpuid_regs){0};
    *state = (struct entry_state){
        .caps = caps,
        .values = &values,
        .memory = read_ram,
        .load_msr = load_msr,
        .vmx_operation = true,
        .lma = true,
        .linear_bits = cpu_features.linear_bits,
        .rtm = leaf7.ebx & CPUID_7_EBX_RTM,
        .sgx = leaf7.ebx & CPUID_7_EBX_SGX,
        .bus_lock = leaf7.ecx & CPUID_7_ECX_BUS_LOCK,
        .efer = efer_defined(),
        .debugctl = DEBUGCTL_DEFINED,
        .perf_global_ctrl = perf_global_defined(),
        .rtit_ctl = ~0ull,
        .lbr_ctl = ~0ull,
    };
    read_fields();
}

unsigned entry_judge(const struct vcpu *vcpu, entry_violation_fn violation, void *ctx)
{
    struct entry_state state;
    entry_state_init(&state, vcpu->caps);
    state.current_vmcs = vcpu->vmcs.raw;
    state.launched = vcpu->launched;
    state.resume = vcpu->launched;
    return entry_check(&state, violation, ctx);
}

bool entry_sound(struct vcpu *vcpu)
{
    if (!entry_judge(vcpu, NULL, NULL))
        return true;
    vm_stop(vcpu->vm, VM_END_ENTRY_FAILED, "check=entry: the VMCS violates rules of VM entry");
    vcpu_report(vcpu, NULL);
    return false;
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
    unsigned count = entry_judge(vcpu, NULL, NULL);
    log_info("  the VMCS violates %u of the rules of VM entry that Corbel knows", count);
    if (count)
        entry_judge(vcpu, print, NULL);
}
