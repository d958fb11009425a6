// SPDX-License-Identifier: MIT
// The host's CPUs: what each one owns, and the state all of them run in.
#pragma once

#include "arch/x86_64/cpu_features.h"
#include "arch/x86_64/gdt.h"
#include "arch/x86_64/insn.h"

// Each CPU costs its row here and its interrupt stacks (stacks.h).
#define MAX_CPUS 1u

struct cpu {
    struct cpu *self; // first: this_cpu() reads it at GS:0
    u32 id;           // index in cpus[]
    u32 apic_id;
    u64 gdt[GDT_ENTRIES];
    struct tss tss;
    u64 probe_rsp; // where a probed function's fault resumes; 0: no probe runs (traps.h)
    u64 nmis;      // NMIs taken
};

extern struct cpu cpus[MAX_CPUS];

// The boot CPU's features; every CPU is expected to have the same.
extern struct cpu_features cpu_features;

// The CPU this runs on, through the GS base: a VMCS's host GS base must be this CPU's own.
static inline struct cpu *this_cpu(void)
{
    return (struct cpu *)read_gs_first();
}

// Reads CPUID into cpu_features. An execute-disable that firmware turned off in IA32_MISC_ENABLE is
// turned on first. After idt_load, since that MSR may be missing.
void cpu_read_features(void);

// Puts the control registers, EFER, XCR0 and the PAT of this CPU into the one state Corbel runs in;
// nothing of what firmware or the boot loader left in them survives. After idt_load, because a
// pending machine check is delivered as soon as CR4.MCE is set.
void cpu_setup(void);

// What cpu_setup writes for these features; the VMX code adds CR4.VMXE to it.
u64 cpu_host_cr0(void);
u64 cpu_host_cr4(const struct cpu_features *features);
