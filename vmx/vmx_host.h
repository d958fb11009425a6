// SPDX-License-Identifier: MIT
// VMX operation on this CPU: SDM volume 3, "Enabling and Entering VMX Operation".
#pragma once

#include "arch/x86_64/lib/frame.h"
#include "vmx/caps.h"

// Reads the facts that vmx_judge needs from this CPU. Touches nothing; VMX MSRs only where CPUID
// says they are there.
void vmx_probe_cpu(struct vmx_probe *probe);

// Enters VMX operation: sets and locks IA32_FEATURE_CONTROL if firmware left it unlocked, fixes CR0
// and CR4, VMXON with a region from frames, INVEPT and INVVPID of everything. The verdict must have
// been good. E_LOCKED, E_NOMEM, E_INVAL (VMXON failed), logged.
MUST_CHECK int vmx_enable(const struct vmx_caps *caps, struct frame_pool *frames);

// Leaves it: VMXOFF, CR4.VMXE cleared, the region given back. Must come before a reset or power-off
// (INIT is blocked in VMX operation). Nothing happens if vmx_enable did not succeed.
void vmx_disable(struct frame_pool *frames);

bool vmx_enabled(void);

// A region for a VMCS or VMXON, zeroed, with its revision identifier written: SDM volume 3,
// "Format of the VMCS Region". E_NOMEM.
MUST_CHECK int vmx_region_alloc(const struct vmx_caps *caps, struct frame_pool *frames, hpa_t *out);

// All cached translations of one EPT pointer, or of all (eptp 0), on this CPU.
void vmx_invept(const struct vmx_caps *caps, u64 eptp);

// All cached translations of one VPID, on this CPU, which offers VPIDs.
void vmx_invvpid(const struct vmx_caps *caps, u16 vpid);

// All cached translations of every EPT pointer and VPID, on this CPU.
void vmx_flush_all(const struct vmx_caps *caps);

// (cr | fixed0) & fixed1: SDM volume 3, "VMX-Fixed Bits in CR0" and "... CR4".
static inline u64 vmx_fix_cr(u64 cr, u64 fixed0, u64 fixed1)
{
    return (cr | fixed0) & fixed1;
}

// What IA32_FEATURE_CONTROL is to become: the value with VMX outside SMX on and locked, if it is
// not locked; else as it is.
static inline u64 vmx_feature_control_wanted(u64 value)
{
    return value & 1 ? value : value | 5;
}
