// SPDX-License-Identifier: MIT
// Private to ept/: how the files of this folder read the tables of a struct ept.
#pragma once

#include "arch/x86_64/lib/phys.h"
#include "ept/ept.h"

// The table that a present, non-leaf entry references.
static inline u64 *ept_child(u64 entry)
{
    return phys_ptr(HPA(entry & EPT_ADDR));
}

static inline bool ept_type_valid(unsigned type)
{
    return type <= MEM_WB && type != 2 && type != 3;
}

static inline u64 ept_leaf_entry(u64 hpa, unsigned level, struct ept_attr attr)
{
    return hpa | attr.rights | (u64)attr.type << EPT_TYPE_SHIFT | (level > EPT_PT ? EPT_LARGE : 0);
}

// The entry at which gpa's walk ends, a leaf or 0, and its level; gpa is below the limit.
static inline u64 *ept_lookup(const struct ept *ept, u64 gpa, unsigned *level)
{
    u64 *table = phys_ptr(ept->root);
    for (unsigned at = EPT_PML4;; at--) {
        u64 *entry = &table[ept_index(gpa, at)];
        if (*entry == 0 || ept_is_leaf(*entry, at)) {
            *level = at;
            return entry;
        }
        table = ept_child(*entry);
    }
}
