// SPDX-License-Identifier: MIT
// What this CPU is and has, decoded from CPUID once: SDM volume 2, "CPUID".
#pragma once

#include "arch/x86_64/outer.h"
#include "arch/x86_64/regs/cpuid.h"

struct cpu_features {
    char vendor[13];    // "GenuineIntel"
    char brand[49];     // without the blanks in front; empty where there is none
    struct outer outer; // the outer hypervisor; its signature is empty on bare hardware
    u32 max_leaf, max_ext_leaf;
    u16 family, model; // with the extended parts added in
    u8 stepping;
    u8 phys_bits;   // MAXPHYADDR
    u8 linear_bits; // 48 or 57
    u32 apic_id;    // initial APIC ID: leaf 0BH's 32 bits where there are any
    bool intel;
    bool fpu, fxsr, mce, pat, apic, x2apic, tsc_deadline;
    bool nx, pages_1g, pcid, invpcid;
    bool smep, smap, umip;
    bool xsave, vmx, rdtscp, fsgsbase, la57;
    bool invariant_tsc, tsc_adjust;
    u64 xcr0_allowed;   // the bits XSETBV accepts; 0 without XSAVE
    u64 tsc_hz;         // leaf 15H with a known crystal; 0: not told
    u64 tsc_hz_nominal; // leaf 16H's base frequency, whole MHz; 0: not told
};

// Fills features through read, which is the CPUID instruction or a test's table.
void cpu_features_decode(struct cpu_features *features,
                         struct cpuid_regs (*read)(u32 leaf, u32 subleaf));
