// SPDX-License-Identifier: MIT
// SDM volume 3, "MSR-Bitmap Address": a 0 lets the access through to the CPU. Read-low at 0,
// read-high at 400H, write-low at 800H, write-high at C00H.
#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/regs/msr.h"
#include "vmx/apicv.h"
#include "vmx/msr.h"
#include "vmx/vcpu_internal.h"

static u8 *bitmap_byte(struct vcpu *v, u32 msr)
{
    u8 *bitmap = phys_ptr(v->msr_bitmap);
    return bitmap + (msr >= 0xc0000000u ? 0x400 : 0) + (msr & 0x1fff) / 8;
}

void msr_pass(struct vcpu *v, u32 msr, bool read, bool write)
{
    u8 *byte = bitmap_byte(v, msr);
    u8 keep = (u8) ~(1u << msr % 8);

    if (read)
        byte[0] &= keep;
    if (write)
        byte[0x800] &= keep;
}

void msr_intercept(struct vcpu *v, u32 msr)
{
    u8 *byte = bitmap_byte(v, msr);

    byte[0] |= (u8)(1u << msr % 8);
    byte[0x800] |= (u8)(1u << msr % 8);
}

void msr_bitmap_init(struct vcpu *vcpu)
{
    // Those that the VMCS switches by itself or vcpu_load() does.
    static const u32 passed[] = {
        IA32_SYSENTER_CS, IA32_SYSENTER_ESP, IA32_SYSENTER_EIP, IA32_STAR,    IA32_LSTAR,
        IA32_CSTAR,       IA32_FMASK,        IA32_FS_BASE,      IA32_GS_BASE, IA32_KERNEL_GS_BASE,
    };

    memset(phys_ptr(vcpu->msr_bitmap), 0xff, PAGE_SIZE);
    for (unsigned i = 0; i < ARRAY_SIZE(passed); i++)
        msr_pass(vcpu, passed[i], true, true);
    if (vcpu->caps->ctl[CTL_PROC2].may & PROC2_RDTSCP)
        msr_pass(vcpu, IA32_TSC_AUX, true, true);
    apicv_set_mode(vcpu);
}
