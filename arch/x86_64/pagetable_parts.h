// SPDX-License-Identifier: MIT
// What those who make page tables and those who read them share.
#pragma once

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/regs/pte.h"

#define TOP_LEVEL  3u // PML4 entries; 2 is a PDPTE, 1 a PDE, 0 a PTE
#define LOWER_HALF 0x0000800000000000ull
#define UPPER_HALF 0xffff800000000000ull

static inline u64 level_size(unsigned level)
{
    return PAGE_SIZE << (9 * level);
}

static inline unsigned level_index(u64 linear, unsigned level)
{
    return (unsigned)(linear >> (PAGE_SHIFT + 9 * level)) & 511;
}

static inline bool canonical_range(u64 first, u64 last)
{
    return last < LOWER_HALF || first >= UPPER_HALF;
}
