// SPDX-License-Identifier: MIT
// Page tables that are there already: what a leaf says, and changing it.
#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/pagetable.h"
#include "arch/x86_64/pagetable_parts.h"

static enum mem_type leaf_type(u64 leaf, unsigned level)
{
    static const enum mem_type pat[8] = {MEM_WB, MEM_WT, MEM_UC_MINUS, MEM_UC,
                                         MEM_WC, MEM_WP, MEM_UC_MINUS, MEM_UC};
    u64 pat_bit = level > 0 ? PTE_PAT_LG : PTE_PAT_4K;
    return pat[(leaf & pat_bit ? 4 : 0) | (leaf & PTE_PCD ? 2 : 0) | (leaf & PTE_PWT ? 1 : 0)];
}

bool pagetable_lookup(hpa_t root, u64 linear, struct page_mapping *out)
{
    if (!canonical_range(linear, linear))
        return false;
    u64 *table = phys_ptr(root);
    bool write = true, exec = true;
    for (unsigned level = TOP_LEVEL;; level--) {
        u64 entry = table[level_index(linear, level)];
        if (!(entry & PTE_P))
            return false;
        write = write && (entry & PTE_W);
        exec = exec && !(entry & PTE_NX);
        if (level == 0 || (level < TOP_LEVEL && (entry & PTE_PS))) {
            u64 within = level_size(level) - 1;
            u64 base = entry & PTE_ADDR & ~within;
            *out = (struct page_mapping){HPA(base | (linear & within)), within + 1, write, exec,
                                         leaf_type(entry, level)};
            return true;
        }
        table = phys_ptr(HPA(entry & PTE_ADDR));
    }
}

// The entry of a 4 KiB page that is mapped, or NULL.
static u64 *small_leaf(hpa_t root, u64 linear)
{
    u64 *table = phys_ptr(root);
    for (unsigned level = TOP_LEVEL; level > 0; level--) {
        u64 entry = table[level_index(linear, level)];
        if (!(entry & PTE_P) || (level < TOP_LEVEL && (entry & PTE_PS)))
            return NULL;
        table = phys_ptr(HPA(entry & PTE_ADDR));
    }
    u64 *leaf = &table[level_index(linear, 0)];
    return *leaf & PTE_P ? leaf : NULL;
}

int pagetable_withdraw(hpa_t root, u64 linear, u64 size)
{
    for (u64 end = linear + size; linear < end; linear += PAGE_SIZE) {
        u64 *leaf = small_leaf(root, linear);
        if (!leaf)
            return E_NOENT;
        *leaf = 0;
    }
    return OK;
}

int pagetable_make_writable(hpa_t root, u64 linear, u64 size)
{
    for (u64 end = linear + size; linear < end; linear += PAGE_SIZE) {
        u64 *leaf = small_leaf(root, linear);
        if (!leaf)
            return E_NOENT;
        *leaf |= PTE_W | PTE_D;
    }
    return OK;
}
