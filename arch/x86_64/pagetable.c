// SPDX-License-Identifier: MIT
#include "arch/x86_64/pagetable.h"

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/lib/string.h"

#define TOP_LEVEL  3u // PML4 entries; 2 is a PDPTE, 1 a PDE, 0 a PTE
#define LOWER_HALF 0x0000800000000000ull
#define UPPER_HALF 0xffff800000000000ull

static u64 level_size(unsigned level)
{
    return PAGE_SIZE << (9 * level);
}

static unsigned level_index(u64 linear, unsigned level)
{
    return (unsigned)(linear >> (PAGE_SHIFT + 9 * level)) & 511;
}

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

static bool canonical_range(u64 first, u64 last)
{
    return last < LOWER_HALF || first >= UPPER_HALF;
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
