// SPDX-License-Identifier: MIT
#include "vmx/vmx_host.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/check.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/regs/cr.h"
#include "arch/x86_64/regs/msr.h"
#include "arch/x86_64/traps.h"

#define INV_SINGLE 1u
#define INV_ALL    2u

// 0 for an MSR that this CPU does not have.
INIT static u64 read_or_zero(u32 msr)
{
    u64 value = 0;
    return rdmsr_safe(msr, &value) ? value : 0;
}

static void read_vmx_msrs(struct vmx_msrs *m)
{
    m->basic = rdmsr(IA32_VMX_BASIC);
    m->pin = rdmsr(IA32_VMX_PINBASED_CTLS);
    m->proc = rdmsr(IA32_VMX_PROCBASED_CTLS);
    m->exit = rdmsr(IA32_VMX_EXIT_CTLS);
    m->entry = rdmsr(IA32_VMX_ENTRY_CTLS);
    m->misc = rdmsr(IA32_VMX_MISC);
    m->cr0_fixed0 = rdmsr(IA32_VMX_CR0_FIXED0);
    m->cr0_fixed1 = rdmsr(IA32_VMX_CR0_FIXED1);
    m->cr4_fixed0 = rdmsr(IA32_VMX_CR4_FIXED0);
    m->cr4_fixed1 = rdmsr(IA32_VMX_CR4_FIXED1);
    m->vmcs_enum = rdmsr(IA32_VMX_VMCS_ENUM);
    m->proc2 = read_or_zero(IA32_VMX_PROCBASED_CTLS2);
    m->ept_vpid = read_or_zero(IA32_VMX_EPT_VPID_CAP);
    m->true_pin = read_or_zero(IA32_VMX_TRUE_PINBASED_CTLS);
    m->true_proc = read_or_zero(IA32_VMX_TRUE_PROCBASED_CTLS);
    m->true_exit = read_or_zero(IA32_VMX_TRUE_EXIT_CTLS);
    m->true_entry = read_or_zero(IA32_VMX_TRUE_ENTRY_CTLS);
    m->vmfunc = read_or_zero(IA32_VMX_VMFUNC);
    m->proc3 = read_or_zero(IA32_VMX_PROCBASED_CTLS3);
    m->exit2 = read_or_zero(IA32_VMX_EXIT_CTLS2);
}

INIT void vmx_probe_cpu(struct vmx_probe *probe)
{
    memset(probe, 0, sizeof(*probe));
    str_copy(probe->vendor, sizeof(probe->vendor), cpu_features.vendor);
    str_copy(probe->hypervisor, sizeof(probe->hypervisor), cpu_features.outer.signature);
    probe->vmx = cpu_features.vmx;
    probe->maxphyaddr = cpu_features.phys_bits;
    if (!probe->vmx)
        return;
    probe->feature_control_ok = rdmsr_safe(IA32_FEATURE_CONTROL, &probe->feature_control);
    read_vmx_msrs(&probe->msrs);
}

INIT int vmx_region_alloc(const struct vmx_caps *caps, struct frame_pool *frames, hpa_t *out)
{
    int err = frame_alloc(frames, 1, PAGE_SIZE, caps->region_below_4g ? SIZE_4G : 0, out);
    if (err)
        return err;
    u32 *region = phys_ptr(*out);
    memset(region, 0, PAGE_SIZE);
    region[0] = caps->revision;
    return OK;
}

static int unlock_feature_control(void)
{
    u64 value = rdmsr(IA32_FEATURE_CONTROL);
    u64 wanted = vmx_feature_control_wanted(value);
    if (value != wanted)
        wrmsr(IA32_FEATURE_CONTROL, wanted);
    if (!(rdmsr(IA32_FEATURE_CONTROL) & FEATURE_CONTROL_VMX_OUTSIDE)) {
        log_error("cpu %u: IA32_FEATURE_CONTROL is locked without VMX", this_cpu()->id);
        return E_LOCKED;
    }
    return OK;
}

INIT void vmx_flush_all(const struct vmx_caps *caps)
{
    vmx_invept(caps, 0);
    if (vmx_has_invvpid(caps->ept_vpid))
        CHECK(invvpid(INV_ALL, (struct inv_descriptor){0, 0}) == VMX_SUCCEED);
}

INIT int vmx_enable(const struct vmx_caps *caps, struct frame_pool *frames)
{
    CHECK(this_cpu()->vmxon.raw == 0);
    int err = unlock_feature_control();
    if (err)
        return err;
    hpa_t region;
    err = vmx_region_alloc(caps, frames, &region);
    if (err) {
        log_error("no memory for the VMXON region");
        return err;
    }
    write_cr0(vmx_fix_cr(read_cr0(), caps->cr0_fixed0, caps->cr0_fixed1));
    write_cr4(vmx_fix_cr(read_cr4() | CR4_VMXE, caps->cr4_fixed0, caps->cr4_fixed1));
    enum vmx_result result = vmxon(region.raw);
    if (result != VMX_SUCCEED) {
        log_error("cpu %u: VMXON failed (%s)", this_cpu()->id,
                  result == VMX_FAIL_INVALID ? "VMfailInvalid" : "VMfailValid");
        write_cr4(read_cr4() & ~CR4_VMXE);
        frame_free(frames, region, 1);
        return E_INVAL;
    }
    this_cpu()->vmxon = region;
    // Firmware or an earlier kernel may have left translations behind under any tag: SDM volume 3,
    // "Guidelines for Use of the INVEPT Instruction".
    vmx_flush_all(caps);
    return OK;
}

void vmx_disable(struct frame_pool *frames)
{
    hpa_t region = this_cpu()->vmxon;
    if (!region.raw)
        return;
    CHECK(vmxoff() == VMX_SUCCEED);
    write_cr4(read_cr4() & ~CR4_VMXE);
    if (frames)
        frame_free(frames, region, 1);
    this_cpu()->vmxon = HPA(0);
}

bool vmx_enabled(void)
{
    return this_cpu()->vmxon.raw != 0;
}

void vmx_invept(const struct vmx_caps *caps, u64 eptp)
{
    bool single = eptp && caps->ept.invept_single;
    CHECK(invept(single ? INV_SINGLE : INV_ALL, (struct inv_descriptor){single ? eptp : 0, 0}) ==
          VMX_SUCCEED);
}

void vmx_invvpid(const struct vmx_caps *caps, u16 vpid)
{
    bool single = caps->ept_vpid & EPT_VPID_INVVPID_SINGLE;
    CHECK(invvpid(single ? INV_SINGLE : INV_ALL, (struct inv_descriptor){single ? vpid : 0, 0}) ==
          VMX_SUCCEED);
}
