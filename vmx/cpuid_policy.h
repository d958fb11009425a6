// SPDX-License-Identifier: MIT
// Which CPUID a guest sees: a whitelist per bit, applied once when the vCPU is made.
#pragma once

#include "arch/x86_64/lib/types.h"
#include "arch/x86_64/regs/cpuid.h"

#define CPUID_ENTRIES 64u
#define CPUID_DIRECT  0x20u // basic leaves below this are found without a search
#define CPUID_READY   32u

struct cpuid_entry {
    u32 leaf, subleaf;
    struct cpuid_regs regs;
};

// Answers that have been given and do not depend on the guest's state, by leaf % CPUID_READY.
// Columns, so that an answer is found without a multiplication.
struct cpuid_ready {
    u32 leaf[CPUID_READY];
    u32 eax[CPUID_READY], ebx[CPUID_READY], ecx[CPUID_READY], edx[CPUID_READY];
};

struct cpuid_table {
    struct cpuid_entry entries[CPUID_ENTRIES]; // by leaf, then subleaf
    u32 count;
    u8 direct[CPUID_DIRECT]; // entry of subleaf 0 + 1; 0 = the leaf is not there
    u32 max_basic, max_extended;
    struct cpuid_ready ready;
};

// What the policy depends on besides the CPU itself.
struct cpuid_config {
    struct cpuid_regs (*host)(u32 leaf, u32 subleaf); // the CPU's own answer
    bool rdtscp, invpcid, xsaves;                     // the controls that make them work
    bool x2apic, tsc_deadline;                        // what the virtual LAPIC offers
    u64 xcr0_allowed;                                 // states Corbel switches; 0 hides XSAVE
    u64 tsc_hz, lapic_hz;                             // not 0; lapic_hz below 2^32
    u32 apic_id;
    u8 maxphyaddr;
};

// The clock to give the local APIC timer of a guest with this TSC, so that leaf 15H tells both to
// the Hz: the TSC's own, or half of it where 32 bits do not hold that.
u64 cpuid_crystal_hz(u64 tsc_hz);

void cpuid_build(struct cpuid_table *table, const struct cpuid_config *config);

// What changes with the guest's state.
struct cpuid_state {
    u64 cr4;
    u64 xcr0;
    bool apic_off; // by IA32_APIC_BASE
};

// The answer to CPUID with this EAX and ECX, as the SDM has it: a leaf above the highest answers as
// the highest basic one, a subleaf that is not there is all zero (but for the APIC ID in leaf BH).
struct cpuid_regs cpuid_lookup(const struct cpuid_table *table, u32 leaf, u32 subleaf,
                               const struct cpuid_state *state);

// The same, and kept in table->ready if the leaf is all it depends on: who asks next looks there
// first.
struct cpuid_regs cpuid_answer(struct cpuid_table *table, u32 leaf, u32 subleaf,
                               const struct cpuid_state *state);
