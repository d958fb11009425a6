// SPDX-License-Identifier: MIT
// The MTRRs a guest sees: kept and given back, without effect, since EPT says what type the guest's
// memory has. SDM volume 3, "Memory Type Range Registers (MTRRs)".
#pragma once

#include "ept/mtrr.h"

#define GUEST_MTRR_VARIABLE 8u // pairs

struct guest_mtrr {
    u64 def_type;
    u64 variable[2 * GUEST_MTRR_VARIABLE]; // base and mask alternate, as their MSRs do
    u64 fixed[MTRR_FIXED_MSRS];
};

// As a PC's firmware leaves them for the memory of guest/pc.h: write-back, but for what is no RAM.
// phys_bits is the guest's MAXPHYADDR.
void guest_mtrr_reset(struct guest_mtrr *mtrr, unsigned phys_bits);

// RDMSR and WRMSR of any of these registers, IA32_MTRRCAP among them. E_FAULT for #GP(0): a number
// that is none of them, reserved bits, a memory type that is none, a register that is read-only.
MUST_CHECK int guest_mtrr_read(struct guest_mtrr *mtrr, u32 msr, u64 *value);
MUST_CHECK int guest_mtrr_write(struct guest_mtrr *mtrr, unsigned phys_bits, u32 msr, u64 value);
