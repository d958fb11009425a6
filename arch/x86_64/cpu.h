// SPDX-License-Identifier: MIT
// The host's CPUs: what each one owns, and the state all of them run in.
#pragma once

#include "arch/x86_64/cpu_features.h"
#include "arch/x86_64/gdt.h"
#include "arch/x86_64/insn.h"

#define MAX_CPUS 256u

enum cpu_state {
    CPU_STARTING,
    CPU_ONLINE,
    CPU_PARKED, // halted for good: struct cpu's trouble says why
    CPU_LOST,   // did not answer in time
};

struct cpu {
    struct cpu *self; // first: this_cpu() reads it at GS:0
    u32 id;           // index in cpus[]
    u32 apic_id;
    u32 state; // enum cpu_state
    u64 gdt[GDT_ENTRIES];
    struct tss tss;
    u64 probe_rsp; // where a probed function's fault resumes; 0: no probe runs (traps.h)
    u64 nmis;      // NMIs taken
    hpa_t vmxon;   // its VMXON region; 0: not in VMX operation
    u8 *stack_top;
    u8 *ist_tops[IST_END - 1];
    const char *trouble; // why it is parked
    // A call from the boot CPU (smp.h): pending while call_asked is ahead of call_done.
    void (*call)(void *arg);
    void *call_arg;
    u32 call_asked, call_done;
};

// Those that are up, the boot CPU first.
extern struct cpu *cpus[MAX_CPUS];

// The boot CPU's features; every CPU is expected to have the same.
extern struct cpu_features cpu_features;

// The CPU this runs on, through the GS base: a VMCS's host GS base must be this CPU's own.
static inline struct cpu *this_cpu(void)
{
    return (struct cpu *)read_gs_first();
}

// Reads CPUID into cpu_features, after cpu_unhide_features where something is missing. After
// idt_load, since an MSR may be missing.
void cpu_read_features(void);

// Takes back what firmware's setup options hide on this CPU by IA32_MISC_ENABLE: execute-disable,
// and CPUID's leaves above 3. Returns whether anything changed.
bool cpu_unhide_features(void);

// The revision of the microcode in this CPU; 0 where it does not tell. SDM volume 3, "Determining
// the Signature".
u32 cpu_microcode(void);

// Puts the control registers, EFER, XCR0 and the PAT of this CPU into the one state Corbel runs in;
// nothing of what firmware or the boot loader left in them survives. After idt_load, because a
// pending machine check is delivered as soon as CR4.MCE is set.
void cpu_setup(void);

// What cpu_setup writes for these features; the VMX code adds CR4.VMXE to it.
u64 cpu_host_cr0(void);
u64 cpu_host_cr4(const struct cpu_features *features);

// Writes the bytes back from the caches to memory, which is all that a reset leaves.
void cpu_write_back(const volatile void *at, size_t size);
