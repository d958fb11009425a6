// SPDX-License-Identifier: MIT
// Reading and writing the current VMCS. Exit handlers use only these, and the host tests put a
// header of the same name in front that keeps the fields in an array, so handlers are tested there.
#pragma once

#include "arch/x86_64/insn.h"
#include "guest/abi.h"
#include "vmx/vmcs.h"

// On silicon a VMREAD or VMWRITE costs more than other instructions, so the measurements tell how
// many an exit takes: a kernel built with COUNT_VMCS counts them, and is slower for it.
#ifdef COUNT_VMCS
extern u32 vmcs_reads, vmcs_writes;
#define COUNT(counter, n) ((counter) += (n))
#else
#define COUNT(counter, n) ((void)0)
#endif

// The current VMCS's field. The fields used this way exist on every CPU that Corbel accepts, so a
// failure is not looked for; vmread_checked() is for the others.
static inline u64 vmcs_read(enum vmcs_field field)
{
    COUNT(vmcs_reads, 1);
    return vmread_fast(field);
}

static inline void vmcs_write(enum vmcs_field field, u64 value)
{
    COUNT(vmcs_writes, 1);
    vmwrite_fast(field, value);
}

// Those that enter.asm does at every exit.
static inline void vmcs_count_reads(u32 n)
{
    (void)n;
    COUNT(vmcs_reads, n);
}

// The CPU's TSC, ticks: VMREAD's like in that the host tests have their own.
static inline u64 host_tsc(void)
{
    return rdtsc();
}

// As HYPERCALL_VMCS_COUNT answers.
static inline u64 vmcs_access_count(void)
{
#ifdef COUNT_VMCS
    return (u64)vmcs_writes << 32 | vmcs_reads;
#else
    return HYPERCALL_UNKNOWN;
#endif
}
