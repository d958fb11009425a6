// SPDX-License-Identifier: MIT
#include "arch/x86_64/pagetable.h"

#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/pagetable_parts.h"

static int new_table(struct pagetable *pt, hpa_t *out)
{
    int rc = frame_alloc(pt->pool, 1, PAGE_SIZE, pt->table_limit, out);
    if (rc < 0)
        return rc;
    memset(phys_ptr(*out), 0, PAGE_SIZE);
    pt->tables++;
    return OK;
}

int pagetable_init(struct pagetable *pt)
{
    pt->tables = 0;
    return new_table(pt, &pt->root);
}

// The low bits and NX of a leaf. Accessed and dirty are set beforehand: the CPU need not write
// them, and a read-only page without dirty is never taken for a shadow stack.
static u64 leaf_bits(const struct pagetable *pt, unsigned level, unsigned rights,
                     enum mem_type type)
{
    u64 bits = PTE_P | PTE_A;
    if (rights & PAGE_WRITE)
        bits |= PTE_W | PTE_D;
    if (!(rights & PAGE_EXEC) && pt->nx)
        bits |= PTE_NX;
    if (level > 0)
        bits |= PTE_PS;
    // The entries of PAT_CORBEL.
    if (type == MEM_WT)
        bits |= PTE_PWT;
    if (type == MEM_UC)
        bits |= PTE_PWT | PTE_PCD;
    if (type == MEM_WC)
        bits |= level > 0 ? PTE_PAT_LG : PTE_PAT_4K;
    return bits;
}

// The largest level whose pages fit both addresses and what is left.
static unsigned leaf_level(const struct pagetable *pt, u64 linear, u64 physical, u64 left)
{
    unsigned level = pt->leaf_1g ? 2 : 1;
    while (level > 0 &&
           (!is_aligned(linear | physical, level_size(level)) || left < level_size(level)))
        level--;
    return level;
}

// The entry of linear at a level, making the tables above it. E_EXIST if a large page is in the
// way.
static int entry_at(struct pagetable *pt, u64 linear, unsigned level, u64 **out)
{
    u64 *table = phys_ptr(pt->root);
    for (unsigned above = TOP_LEVEL; above > level; above--) {
        u64 *entry = &table[level_index(linear, above)];
        if (!(*entry & PTE_P)) {
            hpa_t below;
            int rc = new_table(pt, &below);
            if (rc < 0)
                return rc;
            // A table's own entry gives every right; its leaves take them away.
            *entry = below.raw | PTE_P | PTE_W | PTE_A;
        } else if (*entry & PTE_PS) {
            return E_EXIST;
        }
        table = phys_ptr(HPA(*entry & PTE_ADDR));
    }
    *out = &table[level_index(linear, level)];
    return **out & PTE_P ? E_EXIST : OK;
}

static int check_range(const struct pagetable *pt, u64 linear, u64 physical, u64 size)
{
    if (!is_aligned(linear | physical | size, PAGE_SIZE))
        return E_INVAL;
    if (size == 0 || size - 1 > ~linear || !canonical_range(linear, linear + (size - 1)))
        return E_RANGE;
    if (physical >= pt->phys_limit || size > pt->phys_limit - physical)
        return E_RANGE;
    return OK;
}

int pagetable_map(struct pagetable *pt, u64 linear, u64 physical, u64 size, unsigned rights,
                  enum mem_type type)
{
    if (rights & ~(unsigned)(PAGE_WRITE | PAGE_EXEC))
        return E_INVAL;
    if (type != MEM_WB && type != MEM_WT && type != MEM_UC && type != MEM_WC)
        return E_INVAL;
    int rc = check_range(pt, linear, physical, size);
    while (rc >= 0 && size > 0) {
        unsigned level = leaf_level(pt, linear, physical, size);
        u64 *entry;
        rc = entry_at(pt, linear, level, &entry);
        if (rc < 0)
            break;
        *entry = physical | leaf_bits(pt, level, rights, type);
        linear += level_size(level);
        physical += level_size(level);
        size -= level_size(level);
    }
    return rc;
}
