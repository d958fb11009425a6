// SPDX-License-Identifier: MIT
// Segmentation: from segment and offset to a guest-linear address, with the checks the CPU makes.
// SDM volume 3, "Limit Checking", "Type Checking", "Segmentation in IA-32e Mode"; volume 1,
// "Canonical Addressing".
#pragma once

#include "arch/x86_64/regs/msr.h"
#include "arch/x86_64/regs/seg.h"
#include "vmx/events.h"
#include "vmx/vmcs.h"

// A segment register with its hidden part, as the VMCS holds it.
struct guest_segment {
    u16 selector;
    u32 limit; // bytes, last valid offset; already scaled by G
    u32 ar;    // AR_*
    u64 base;  // guest-linear
};

enum guest_mode {
    GUEST_REAL,      // real-address or virtual-8086 mode
    GUEST_PROTECTED, // protected or compatibility mode
    GUEST_64BIT,
};

// What an access does. SDM volume 3, "Access Rights", says which are implicit.
enum access {
    ACCESS_READ = 0,
    ACCESS_WRITE = 1u << 0,
    ACCESS_FETCH = 1u << 1,
    ACCESS_IMPLICIT = 1u << 2, // to a descriptor table or TSS: supervisor-mode whatever the CPL
};

// The mode a guest with these registers is in; cs_ar is CS's access rights.
static inline enum guest_mode guest_mode_of(u64 cr0, u64 efer, u64 rflags, u32 cs_ar)
{
    if (!(cr0 & CR0_PE) || (rflags & RFLAGS_VM))
        return GUEST_REAL;
    return (efer & EFER_LMA) && (cs_ar & AR_L) ? GUEST_64BIT : GUEST_PROTECTED;
}

// Whether a 48-bit linear address is canonical.
static inline bool is_canonical(u64 linear)
{
    return (u64)((s64)(linear << 16) >> 16) == linear;
}

// The guest-linear address of size bytes (at least 1) at offset in the segment. offset is already
// cut to the address size. E_FAULT with the exception in *fault (#SS for the stack segment, #GP for
// the others, error code 0) if the access goes past the limit, against the segment's type, through
// a null selector, or in 64-bit mode to an address that is not canonical.
MUST_CHECK int segment_linear(enum guest_mode mode, enum vmcs_segment which,
                              const struct guest_segment *seg, u64 offset, u64 size,
                              unsigned access, u64 *linear, struct event *fault);
