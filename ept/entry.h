// SPDX-License-Identifier: MIT
// EPT paging-structure entries and how an address indexes them: SDM volume 3, "The Extended Page
// Table Mechanism (EPT)". Shared by whatever reads or writes such tables, ours or a guest's own.
#pragma once

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/types.h"

// Bits 2:0 of an entry, and bits 2:0 and 5:3 of an EPT-violation qualification.
enum ept_rights {
    EPT_R = 1,
    EPT_W = 2,
    EPT_X = 4,
    EPT_RW = EPT_R | EPT_W,
    EPT_RX = EPT_R | EPT_X,
    EPT_RWX = EPT_R | EPT_W | EPT_X,
};

#define EPT_TYPE_SHIFT  3
#define EPT_TYPE        BITS(5, 3) // enum mem_type; leaves only
#define EPT_IPAT        BIT(6)     // ignore the guest's PAT; leaves only
#define EPT_LARGE       BIT(7)     // a leaf, in a PDPTE or a PDE
#define EPT_ACCESSED    BIT(8)
#define EPT_DIRTY       BIT(9)
#define EPT_USER_X      BIT(10) // only with mode-based execute control
#define EPT_ADDR        BITS(51, 12)
#define EPT_SUPPRESS_VE BIT(63)

#define EPT_ENTRIES 512u

// Which table an entry stands in, counted as the SDM counts page-walk lengths.
enum ept_level {
    EPT_PT = 1,   // leaf: 4 KiB
    EPT_PD = 2,   // leaf: 2 MiB
    EPT_PDPT = 3, // leaf: 1 GiB
    EPT_PML4 = 4,
};

static inline unsigned ept_level_shift(unsigned level)
{
    return PAGE_SHIFT + 9 * (level - 1);
}

// Bytes that one entry of this level stands for.
static inline u64 ept_level_size(unsigned level)
{
    return BIT(ept_level_shift(level));
}

static inline unsigned ept_index(u64 gpa, unsigned level)
{
    return (unsigned)(gpa >> ept_level_shift(level)) & (EPT_ENTRIES - 1);
}

static inline bool ept_present(u64 entry)
{
    return (entry & EPT_RWX) != 0;
}

// For a present entry: whether the walk ends here.
static inline bool ept_is_leaf(u64 entry, unsigned level)
{
    return level == EPT_PT || (level < EPT_PML4 && (entry & EPT_LARGE));
}
