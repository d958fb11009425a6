// SPDX-License-Identifier: MIT
// The memory types that the MTRRs give to host-physical addresses, from the values of the
// registers: SDM volume 3, "Memory Type Range Registers (MTRRs)". EPT ignores the MTRRs, so what
// maps host memory for a guest asks here and writes the answer into the entry.
#pragma once

#include "arch/x86_64/lib/types.h"
#include "arch/x86_64/regs/msr.h"
#include "arch/x86_64/regs/pte.h"

// 64K x 8, 16K x 16 and 4K x 64 are eleven MSRs, in the order of their numbers and of the memory.
#define MTRR_FIXED_MSRS   11u
// Pairs fit between IA32_MTRR_PHYSBASE0 (200H) and IA32_MTRR_FIX64K_00000 (250H), whatever VCNT
// says.
#define MTRR_VARIABLE_MAX 40u

// The registers as read on one CPU.
struct mtrr_msrs {
    u64 cap;                     // IA32_MTRRCAP
    u64 def_type;                // IA32_MTRR_DEF_TYPE
    u64 fixed[MTRR_FIXED_MSRS];  // read if MTRRCAP.FIX, else any value
    u64 base[MTRR_VARIABLE_MAX]; // IA32_MTRR_PHYSBASEn, n below mtrr_count(cap)
    u64 mask[MTRR_VARIABLE_MAX];
};

// How many variable pairs to read.
unsigned mtrr_count(u64 cap);

// The MSR number of fixed[index].
static inline u32 mtrr_fixed_msr(unsigned index)
{
    if (index == 0)
        return IA32_MTRR_FIX64K_00000;
    return index < 3 ? IA32_MTRR_FIX16K_80000 + index - 1 : IA32_MTRR_FIX4K_C0000 + index - 3;
}

struct mtrr_variable {
    u64 value; // an address matches if (address & mask) == value
    u64 mask;  // the bits above the width are set, so nothing up there matches
    u8 type;   // enum mem_type
};

// What was odd about the registers; the types are still what the hardware would use.
#define MTRR_ODD_TYPE  BIT32(0) // a reserved type; taken as UC
#define MTRR_ODD_MASK  BIT32(1) // a mask with gaps: the range repeats in memory
#define MTRR_ODD_WIDTH BIT32(2) // a base or mask bit at or above the width; left out

struct mtrr_state {
    bool enabled;       // MTRR_DEF_TYPE.E; if not, all memory is UC
    bool fixed_enabled; // FE, and the CPU has them
    u8 default_type;    // enum mem_type
    u8 fixed[MTRR_FIXED_MSRS * 8];
    struct mtrr_variable variable[MTRR_VARIABLE_MAX]; // the valid ones
    unsigned nvariable;
    u64 limit; // 2^MAXPHYADDR
    u32 odd;   // MTRR_ODD_*
};

// Makes the state of the registers; phys_bits is MAXPHYADDR, 32 to 52.
void mtrr_decode(const struct mtrr_msrs *msrs, unsigned phys_bits, struct mtrr_state *out);

// The type of the byte at this host-physical address: SDM "MTRR Precedences". Where ranges overlap
// in a way the SDM leaves undefined the answer is UC and *conflict (if not NULL) is set.
enum mem_type mtrr_type(const struct mtrr_state *state, u64 addr, bool *conflict);

struct mtrr_region {
    u64 base; // bytes, host-physical
    u64 size;
    u8 type; // enum mem_type
    bool conflict;
};

// The longest stretch from addr (a multiple of 4 KiB) on, ending at end at the latest, that is of
// one type and alike in conflict. addr < end; addresses at or above 2^MAXPHYADDR count as of the
// default type. Time grows with the number of boundaries between the ranges, not with the size.
struct mtrr_region mtrr_next(const struct mtrr_state *state, u64 addr, u64 end);

// Whether [base, base+size) is of one type, which is then in *type. size > 0.
bool mtrr_uniform(const struct mtrr_state *state, u64 base, u64 size, enum mem_type *type);
