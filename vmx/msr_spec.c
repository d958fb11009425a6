// SPDX-License-Identifier: MIT
// The MSRs by which a guest guards itself against speculation. They are the host CPU's own: what
// they cure or command is in the CPU the guest runs on.
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/regs/msr.h"
#include "vmx/msr.h"

// What CPUID.7:EDX shows of the host's, and each one's bit of IA32_SPEC_CTRL.
static const struct {
    u32 cpuid;
    u64 spec_ctrl;
} features[] = {
    {CPUID_7_EDX_IBRS,  SPEC_CTRL_IBRS },
    {CPUID_7_EDX_STIBP, SPEC_CTRL_STIBP},
    {CPUID_7_EDX_SSBD,  SPEC_CTRL_SSBD },
};

void msr_spec_reset(struct vcpu *v)
{
    struct cpuid_state state = {0};
    u32 edx = cpuid_lookup(&v->cpuid, 7, 0, &state).edx;

    v->spec = (struct vcpu_spec){.arch_capabilities = edx & CPUID_7_EDX_ARCH_CAP};
    for (unsigned i = 0; i < ARRAY_SIZE(features); i++)
        if (edx & features[i].cpuid)
            v->spec.ctrl_legal |= features[i].spec_ctrl;
    if (edx & CPUID_7_EDX_IBRS)
        msr_pass(v, IA32_PRED_CMD, false, true);
    if (edx & CPUID_7_EDX_L1D_FLUSH)
        msr_pass(v, IA32_FLUSH_CMD, false, true);
}

int msr_read_spec_ctrl(struct vcpu *v, u32 msr, u64 *value)
{
    (void)msr;
    *value = v->spec.ctrl;
    return v->spec.ctrl_legal ? OK : E_FAULT;
}

// Some kernels write it at each system call and interrupt, others never. The first value that is
// not 0 tells: from then on it is the CPU's own, which is switched at every entry and exit.
// vcpu_run() sees to that when it begins.
int msr_write_spec_ctrl(struct vcpu *v, u32 msr, u64 value)
{
    if (!v->spec.ctrl_legal || (value & ~v->spec.ctrl_legal))
        return E_FAULT;
    v->spec.ctrl = value;
    if (value) {
        v->spec.ctrl_passed = true;
        v->vm->attention |= VM_ATTENTION_YIELD;
        msr_pass(v, msr, true, true);
    }
    return OK;
}

// Bits that need nothing of Corbel: they tell of the CPU. Those that promise a further MSR
// (IA32_TSX_CTRL, IA32_MCU_OPT_CTRL, ...) are not among them.
#define GUEST_ARCH_CAPABILITIES                                                                    \
    (ARCH_CAP_RDCL_NO | ARCH_CAP_IBRS_ALL | ARCH_CAP_RSBA | ARCH_CAP_SKIP_L1DFL_VMENTRY |          \
     ARCH_CAP_SSB_NO | ARCH_CAP_MDS_NO | ARCH_CAP_IF_PSCHANGE_MC_NO | ARCH_CAP_TAA_NO |            \
     ARCH_CAP_SBDR_SSDP_NO | ARCH_CAP_FBSDP_NO | ARCH_CAP_PSDP_NO | ARCH_CAP_FB_CLEAR |            \
     ARCH_CAP_RRSBA | ARCH_CAP_BHI_NO | ARCH_CAP_PBRSB_NO | ARCH_CAP_GDS_NO | ARCH_CAP_RFDS_NO |   \
     ARCH_CAP_RFDS_CLEAR)

int msr_read_arch_capabilities(struct vcpu *v, u32 msr, u64 *value)
{
    (void)msr;
    if (!v->spec.arch_capabilities)
        return E_FAULT;
    *value = v->host_arch_capabilities & GUEST_ARCH_CAPABILITIES;
    return OK;
}
