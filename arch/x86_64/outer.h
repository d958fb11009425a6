// SPDX-License-Identifier: MIT
// The hypervisor that Corbel itself may run in: what CPUID tells of it, and how to have it hand
// VT-x on.
#pragma once

#include "arch/x86_64/lib/types.h"
#include "arch/x86_64/regs/cpuid.h"

#define OUTER_UNKNOWN  "unknown"
#define OUTER_KVM      "KVMKVMKVM"
#define OUTER_TCG      "TCGTCGTCGTCG"
#define OUTER_HYPER_V  "Microsoft Hv"
#define OUTER_VMWARE   "VMwareVMware"
#define OUTER_XEN      "XenVMMXenVMM"
#define OUTER_TEXT_MAX 13u // bytes of a signature, its terminator included

struct outer {
    char signature[OUTER_TEXT_MAX]; // OUTER_UNKNOWN where it shows none that can be printed
    u64 tsc_hz;                     // as it says; 0: it does not
};

// Asks the leaves from 40000000H on, which exist where CPUID.1:ECX[31] is set. KVM and Xen that
// pose as Hyper-V, for Windows' sake, are seen through.
void outer_read(struct outer *outer, struct cpuid_regs (*read)(u32 leaf, u32 subleaf));

// What to do, at most 150 characters, for VT-x under the hypervisor of this signature.
const char *outer_nesting(const char *signature);
