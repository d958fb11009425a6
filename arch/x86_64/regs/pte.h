// SPDX-License-Identifier: MIT
// Paging-structure entries: SDM volume 3, "Paging".
#pragma once

#include "arch/x86_64/lib/bits.h"

#define PTE_P      BIT(0)
#define PTE_W      BIT(1)
#define PTE_U      BIT(2)
#define PTE_PWT    BIT(3)
#define PTE_PCD    BIT(4)
#define PTE_A      BIT(5)
#define PTE_D      BIT(6)
#define PTE_PS     BIT(7) // large page, in a PDE or PDPTE
#define PTE_PAT_4K BIT(7)
#define PTE_G      BIT(8)
#define PTE_PAT_LG BIT(12)
#define PTE_NX     BIT(63)
#define PTE_ADDR   BITS(51, 12)

// Memory types as PAT, MTRRs and EPT encode them: SDM volume 3, "Memory Types".
enum mem_type {
    MEM_UC = 0,
    MEM_WC = 1,
    MEM_WT = 4,
    MEM_WP = 5,
    MEM_WB = 6,
    MEM_UC_MINUS = 7, // PAT only
};
