// SPDX-License-Identifier: MIT
// The VMCS as the host tests have it: an array by field encoding, in place of the kernel's header
// of this name. A field that vmx/vmcs_fields.def does not have, or a write to a read-only one, ends
// the test: a CPU would answer with VMfailValid, which the real functions do not look for.
#pragma once

#include "guest/abi.h"
#include "vmx/vmcs.h"

// Both cut the value to the field's width, as VMWRITE does.
u64 fake_vmcs_read(u32 encoding);
void fake_vmcs_write(u32 encoding, u64 value);

// The CPU's side: read-only fields can be set too.
void fake_vmcs_set(u32 encoding, u64 value);

// All fields 0.
void fake_vmcs_clear(void);

// Writes by the code under test since fake_vmcs_clear().
unsigned fake_vmcs_writes(void);

// Reads of a field by the code under test since fake_vmcs_clear().
unsigned fake_vmcs_reads(u32 encoding);

static inline u64 vmcs_read(enum vmcs_field field)
{
    return fake_vmcs_read(field);
}

static inline void vmcs_write(enum vmcs_field field, u64 value)
{
    fake_vmcs_write(field, value);
}

static inline void vmcs_count_reads(u32 n)
{
    (void)n;
}

// The rig's.
u64 host_tsc(void);

static inline u64 vmcs_access_count(void)
{
    return HYPERCALL_UNKNOWN;
}
