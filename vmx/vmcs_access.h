// SPDX-License-Identifier: MIT
// Reading and writing the current VMCS. Exit handlers use only these, and the host tests put a
// header of the same name in front that keeps the fields in an array, so handlers are tested there.
#pragma once

#include "arch/x86_64/insn.h"
#include "vmx/vmcs.h"

// The current VMCS's field. The fields used this way exist on every CPU that Corbel accepts, so a
// failure is not looked for; vmread_checked() is for the others.
static inline u64 vmcs_read(enum vmcs_field field)
{
    return vmread_fast(field);
}

static inline void vmcs_write(enum vmcs_field field, u64 value)
{
    vmwrite_fast(field, value);
}
