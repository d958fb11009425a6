// SPDX-License-Identifier: MIT
#include "ept/ept.h"

#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/lib/string.h"
#include "ept/table.h"

INIT struct ept_caps ept_caps_decode(u64 msr)
{
    return (struct ept_caps){
        .execute_only = msr & BIT(0),
        .walk_4 = msr & BIT(6),
        .walk_5 = msr & BIT(7),
        .tables_uc = msr & BIT(8),
        .tables_wb = msr & BIT(14),
        .large_2m = msr & BIT(16),
        .large_1g = msr & BIT(17),
        .invept = msr & BIT(20),
        .accessed_dirty = msr & BIT(21),
        .violation_info = msr & BIT(22),
        .shadow_stack = msr & BIT(23),
        .invept_single = msr & BIT(25),
        .invept_all = msr & BIT(26),
    };
}

INIT const char *ept_caps_lacking(const struct ept_caps *caps)
{
    if (!caps->walk_4)
        return "EPT page walks of length 4";
    if (!caps->tables_wb)
        return "write-back EPT paging structures";
    if (!caps->invept || !caps->invept_all)
        return "INVEPT of all contexts";
    return NULL;
}

// ---- tables ------------------------------------------------------------------------------------

// Other processors walk while we write: one store, and not before the table it references is done.
static void write_entry(struct ept *ept, u64 *entry, u64 value)
{
    __atomic_store_n(entry, value, __ATOMIC_RELEASE);
    ept->stats.writes++;
}

// Rights are decided by leaves alone; an entry that references a table grants everything.
static u64 table_entry(const u64 *table)
{
    return phys_addr(table).raw | EPT_RWX;
}

static int new_table(struct ept *ept, u64 **out)
{
    hpa_t frame;
    int rc = ept->config.ops->alloc_table(ept->config.ctx, &frame);
    if (rc != OK)
        return rc;
    *out = phys_ptr(frame);
    memset(*out, 0, PAGE_SIZE);
    ept->stats.tables++;
    return OK;
}

static void free_table(struct ept *ept, hpa_t table)
{
    ept->config.ops->free_table(ept->config.ctx, table);
    ept->stats.tables--;
}

// Frees a table and those below it. As deep as there are levels.
static void free_tree(struct ept *ept, u64 *table, unsigned level)
{
    for (unsigned i = 0; level > EPT_PT && i < EPT_ENTRIES; i++) {
        if (ept_present(table[i]) && !ept_is_leaf(table[i], level))
            free_tree(ept, ept_child(table[i]), level - 1);
    }
    free_table(ept, phys_addr(table));
}

INIT int ept_init(struct ept *ept, const struct ept_config *config)
{
    if (ept_caps_lacking(&config->caps))
        return E_UNSUPP;
    if (config->phys_bits < 32 || config->phys_bits > 52)
        return E_INVAL;
    *ept = (struct ept){.config = *config, .hpa_limit = BIT(config->phys_bits)};
    // Four levels translate 48 bits.
    ept->gpa_limit = BIT(config->phys_bits < 48 ? config->phys_bits : 48);
    // A 1 GiB leaf must be able to split.
    ept->config.caps.large_1g &= config->caps.large_2m;
    u64 *root;
    int rc = new_table(ept, &root);
    if (rc == OK)
        ept->root = phys_addr(root);
    return rc;
}

static void invalidate(struct ept *ept)
{
    ept->stats.invalidations++;
    ept->config.ops->invalidate(ept->config.ctx);
}

void ept_destroy(struct ept *ept)
{
    invalidate(ept);
    free_tree(ept, phys_ptr(ept->root), EPT_PML4);
    ept->root = HPA(0);
    memset(ept->stats.leaves, 0, sizeof(ept->stats.leaves));
}

u64 ept_eptp(const struct ept *ept)
{
    return ept->root.raw | (EPT_PML4 - 1) << 3 | MEM_WB;
}

// ---- requests ----------------------------------------------------------------------------------

static int check_range(u64 base, u64 size, u64 limit)
{
    if (size == 0 || !is_aligned(base | size, PAGE_SIZE))
        return E_INVAL;
    return base < limit && size <= limit - base ? OK : E_RANGE;
}

static int check_rights(const struct ept *ept, unsigned rights)
{
    if (rights & EPT_R)
        return rights <= EPT_RWX ? OK : E_INVAL;
    return rights == EPT_X && ept->config.caps.execute_only ? OK : E_INVAL;
}

static int check_attr(const struct ept *ept, struct ept_attr attr)
{
    if (!ept_type_valid(attr.type) || attr.max_leaf > EPT_PDPT)
        return E_INVAL;
    return check_rights(ept, attr.rights);
}

// ---- map ---------------------------------------------------------------------------------------

// The largest leaf for the start of what is left of a request. The first 2 MiB take none but 4 KiB.
static unsigned leaf_level(const struct ept *ept, u64 gpa, u64 hpa, u64 left, struct ept_attr attr)
{
    unsigned max = attr.max_leaf ? attr.max_leaf : EPT_PDPT;
    u64 both = gpa | hpa;
    if (max == EPT_PT || left < SIZE_2M || !is_aligned(both, SIZE_2M) || gpa < SIZE_2M)
        return EPT_PT;
    if (ept->config.no_large_exec && (attr.rights & EPT_X))
        return EPT_PT;
    if (max == EPT_PDPT && left >= SIZE_1G && is_aligned(both, SIZE_1G) &&
        ept->config.caps.large_1g)
        return EPT_PDPT;
    return ept->config.caps.large_2m ? EPT_PD : EPT_PT;
}

// Hangs tables from an empty entry of level from down to the one of level to that gpa needs. They
// are linked only when all are there, so running out leaves nothing behind.
static int grow(struct ept *ept, u64 *entry, unsigned from, unsigned to, u64 gpa, u64 **out)
{
    int rc = new_table(ept, out);
    if (rc != OK)
        return rc;
    u64 *top = *out;
    for (unsigned level = to + 1; level < from; level++) {
        u64 *table;
        rc = new_table(ept, &table);
        if (rc != OK) {
            free_tree(ept, top, level - 1);
            return rc;
        }
        write_entry(ept, &table[ept_index(gpa, level)], table_entry(top));
        top = table;
    }
    write_entry(ept, entry, table_entry(top));
    return OK;
}

// The table of this level on gpa's path, made if it is not there. E_EXIST if a leaf is in the way.
static int table_for(struct ept *ept, u64 gpa, unsigned level, u64 **out)
{
    u64 *table = phys_ptr(ept->root);
    for (unsigned at = EPT_PML4; at > level; at--) {
        u64 *entry = &table[ept_index(gpa, at)];
        if (*entry == 0)
            return grow(ept, entry, at, level, gpa, out);
        if (ept_is_leaf(*entry, at))
            return E_EXIST;
        table = ept_child(*entry);
    }
    *out = table;
    return OK;
}

// Maps the first leaves of a request, as many as are of one size and in one table; mapped is set to
// the bytes they cover. A table in a larger leaf's place is never empty, so it is in the way too.
static int map_run(struct ept *ept, u64 gpa, u64 hpa, u64 left, struct ept_attr attr, u64 *mapped)
{
    unsigned level = leaf_level(ept, gpa, hpa, left, attr);
    u64 *table;
    int rc = table_for(ept, gpa, level, &table);
    if (rc != OK)
        return rc;
    u64 step = ept_level_size(level);
    u64 *entry = &table[ept_index(gpa, level)];
    u64 count = left >> ept_level_shift(level), room = EPT_ENTRIES - ept_index(gpa, level);
    if (count > room)
        count = room;
    for (u64 i = 0; i < count; i++) {
        if (entry[i] != 0)
            return E_EXIST;
    }
    u64 value = ept_leaf_entry(hpa, level, attr);
    for (u64 i = 0; i < count; i++)
        write_entry(ept, &entry[i], value + i * step);
    ept->stats.leaves[level] += count;
    *mapped = count * step;
    return OK;
}

// ---- edits: what may owe an invalidation -------------------------------------------------------

struct edit {
    struct ept *ept;
    bool owed;         // a cached translation may be wrong now
    unsigned nretired; // tables unlinked but perhaps still cached
    hpa_t retired[EPT_RETIRE_BATCH];
};

static void edit_begin(struct edit *edit, struct ept *ept)
{
    edit->ept = ept;
    edit->owed = false;
    edit->nretired = 0;
}

// Pays what is owed, then frees the tables: never the other way round, since a processor may walk a
// cached table until its INVEPT.
static void edit_end(struct edit *edit)
{
    if (edit->owed)
        invalidate(edit->ept);
    for (unsigned i = 0; i < edit->nretired; i++)
        free_table(edit->ept, edit->retired[i]);
    edit->owed = false;
    edit->nretired = 0;
}

static void retire(struct edit *edit, u64 *link)
{
    hpa_t table = HPA(*link & EPT_ADDR);
    write_entry(edit->ept, link, 0);
    edit->owed = true;
    edit->retired[edit->nretired++] = table;
    if (edit->nretired == EPT_RETIRE_BATCH)
        edit_end(edit);
}

// Replaces a large leaf by a table of the next smaller leaves that say the same.
static int split(struct edit *edit, u64 *entry, unsigned level)
{
    struct ept *ept = edit->ept;
    u64 *table;
    int rc = new_table(ept, &table);
    if (rc != OK)
        return rc;
    u64 part = level - 1 == EPT_PT ? *entry & ~EPT_LARGE : *entry;
    u64 step = ept_level_size(level - 1);
    for (unsigned i = 0; i < EPT_ENTRIES; i++)
        write_entry(ept, &table[i], part + i * step);
    write_entry(ept, entry, table_entry(table));
    ept->stats.leaves[level]--;
    ept->stats.leaves[level - 1] += EPT_ENTRIES;
    ept->stats.splits++;
    edit->owed = true;
    return OK;
}

// Sees to it that no leaf lies across gpa.
static int split_at(struct edit *edit, u64 gpa)
{
    u64 *table = phys_ptr(edit->ept->root);
    for (unsigned level = EPT_PML4; !is_aligned(gpa, ept_level_size(level)); level--) {
        u64 *entry = &table[ept_index(gpa, level)];
        if (*entry == 0)
            return OK;
        if (ept_is_leaf(*entry, level)) {
            int rc = split(edit, entry, level);
            if (rc != OK)
                return rc;
        }
        table = ept_child(*entry);
    }
    return OK;
}

static int split_ends(struct edit *edit, u64 gpa, u64 end)
{
    int rc = split_at(edit, gpa);
    return rc == OK ? split_at(edit, end) : rc;
}

static bool table_empty(const u64 *table)
{
    for (unsigned i = 0; i < EPT_ENTRIES; i++) {
        if (table[i] != 0)
            return false;
    }
    return true;
}

// Clears the leaves of [gpa, end), which lies within this table and which no leaf crosses, and
// unlinks the tables that leaves empty. As deep as there are levels.
static void clear(struct edit *edit, u64 *table, unsigned level, u64 gpa, u64 end)
{
    u64 step = ept_level_size(level);
    for (u64 at = gpa, next; at < end; at = next) {
        next = align_down(at, step) + step;
        u64 *entry = &table[ept_index(at, level)];
        if (*entry == 0)
            continue;
        if (ept_is_leaf(*entry, level)) {
            write_entry(edit->ept, entry, 0);
            edit->ept->stats.leaves[level]--;
            edit->owed = true;
            continue;
        }
        clear(edit, ept_child(*entry), level - 1, at, next < end ? next : end);
        if (table_empty(ept_child(*entry)))
            retire(edit, entry);
    }
}

// ---- the public operations ---------------------------------------------------------------------

// Clears what an ept_map that failed has mapped. It lies on whole leaves of its own, so nothing is
// split.
static void take_back(struct ept *ept, u64 gpa, u64 end)
{
    struct edit edit;
    edit_begin(&edit, ept);
    clear(&edit, phys_ptr(ept->root), EPT_PML4, gpa, end);
    edit_end(&edit);
}

int ept_map(struct ept *ept, gpa_t gpa, hpa_t hpa, u64 size, struct ept_attr attr)
{
    int rc = check_attr(ept, attr);
    if (rc == OK)
        rc = check_range(gpa.raw, size, ept->gpa_limit);
    if (rc == OK)
        rc = check_range(hpa.raw, size, ept->hpa_limit);
    u64 done = 0, mapped = 0;
    for (; rc == OK && done < size; done += mapped) {
        mapped = 0;
        rc = map_run(ept, gpa.raw + done, hpa.raw + done, size - done, attr, &mapped);
    }
    if (unlikely(rc != OK && done > 0))
        take_back(ept, gpa.raw, gpa.raw + done);
    return rc;
}

int ept_unmap(struct ept *ept, gpa_t gpa, u64 size)
{
    int rc = check_range(gpa.raw, size, ept->gpa_limit);
    if (rc != OK)
        return rc;
    struct edit edit;
    edit_begin(&edit, ept);
    rc = split_ends(&edit, gpa.raw, gpa.raw + size);
    if (rc == OK)
        clear(&edit, phys_ptr(ept->root), EPT_PML4, gpa.raw, gpa.raw + size);
    edit_end(&edit);
    return rc;
}

static bool all_mapped(const struct ept *ept, u64 gpa, u64 end)
{
    struct ept_leaf leaf;
    for (u64 at = gpa; at < end; at = leaf.gpa.raw + leaf.size) {
        if (!ept_next_leaf(ept, GPA(at), &leaf) || leaf.gpa.raw > at)
            return false;
    }
    return true;
}

// Splits every leaf of [gpa, end) down to 4 KiB; all of it is mapped and no leaf crosses its ends.
static int shatter(struct edit *edit, u64 gpa, u64 end)
{
    for (u64 at = gpa; at < end;) {
        unsigned level;
        ept_lookup(edit->ept, at, &level);
        // A boundary behind the first page splits all the way down, the first 2 MiB of a 1 GiB
        // leaf.
        int rc = level > EPT_PT ? split_at(edit, at + PAGE_SIZE) : OK;
        if (rc != OK)
            return rc;
        at += level > EPT_PT ? SIZE_2M : PAGE_SIZE;
    }
    return OK;
}

// Replaces the bits of mask by value in every leaf of [gpa, end).
static void rewrite(struct edit *edit, u64 gpa, u64 end, u64 mask, u64 value)
{
    for (u64 at = gpa; at < end;) {
        unsigned level;
        u64 *entry = ept_lookup(edit->ept, at, &level);
        u64 now = (*entry & ~mask) | value;
        // An added right is found by the violation it no longer deserves; all else may be cached.
        if ((*entry & ~now & EPT_RWX) || ((*entry ^ now) & ~(u64)EPT_RWX))
            edit->owed = true;
        if (now != *entry)
            write_entry(edit->ept, entry, now);
        at += ept_level_size(level);
    }
}

// Both kinds of change to what is mapped; value's rights matter to the policy on executable pages.
INIT static int change(struct ept *ept, u64 gpa, u64 size, u64 mask, u64 value)
{
    int rc = check_range(gpa, size, ept->gpa_limit);
    if (rc != OK)
        return rc;
    if (!all_mapped(ept, gpa, gpa + size))
        return E_NOENT;
    struct edit edit;
    edit_begin(&edit, ept);
    rc = split_ends(&edit, gpa, gpa + size);
    if (rc == OK && ept->config.no_large_exec && (mask & value & EPT_X))
        rc = shatter(&edit, gpa, gpa + size);
    if (rc == OK)
        rewrite(&edit, gpa, gpa + size, mask, value);
    edit_end(&edit);
    return rc;
}

INIT int ept_protect(struct ept *ept, gpa_t gpa, u64 size, unsigned rights)
{
    int rc = check_rights(ept, rights);
    return rc == OK ? change(ept, gpa.raw, size, EPT_RWX, rights) : rc;
}

INIT int ept_retype(struct ept *ept, gpa_t gpa, u64 size, enum mem_type type)
{
    if (!ept_type_valid(type))
        return E_INVAL;
    return change(ept, gpa.raw, size, EPT_TYPE, (u64)type << EPT_TYPE_SHIFT);
}
