// SPDX-License-Identifier: MIT
#include "arch/x86_64/lib/err.h"
#include "ept/ept.h"
#include "ept/table.h"

INIT int ept_translate(const struct ept *ept, gpa_t gpa, unsigned need, hpa_t *out, u64 *left)
{
    if (gpa.raw >= ept->gpa_limit)
        return E_NOENT;
    unsigned level;
    u64 entry = *ept_lookup(ept, gpa.raw, &level);
    if (entry == 0)
        return E_NOENT;
    u64 size = ept_level_size(level);
    u64 offset = gpa.raw & (size - 1);
    *out = HPA((entry & EPT_ADDR & ~(size - 1)) + offset);
    if (left)
        *left = size - offset;
    return (entry & need) == need ? OK : E_FAULT;
}

INIT bool ept_next_leaf(const struct ept *ept, gpa_t from, struct ept_leaf *out)
{
    for (u64 at = from.raw; at < ept->gpa_limit;) {
        unsigned level;
        u64 entry = *ept_lookup(ept, at, &level);
        u64 size = ept_level_size(level);
        at = align_down(at, size);
        if (entry != 0) {
            *out = (struct ept_leaf){
                .gpa = GPA(at),
                .hpa = HPA(entry & EPT_ADDR & ~(size - 1)),
                .size = size,
                .level = (u8)level,
                .attr = {.rights = (u8)(entry & EPT_RWX),
                         .type = (u8)bits_get(entry, 5, 3),
                         .max_leaf = (u8)level},
            };
            return true;
        }
        at += size;
    }
    return false;
}

static enum ept_rule check_leaf(const struct ept_config *config, u64 entry, unsigned level)
{
    if ((level == EPT_PDPT && !config->caps.large_1g) ||
        (level == EPT_PD && !config->caps.large_2m))
        return EPT_RULE_LARGE;
    if (entry & EPT_ADDR & (ept_level_size(level) - 1))
        return EPT_RULE_ALIGN;
    return ept_type_valid((unsigned)bits_get(entry, 5, 3)) ? EPT_RULE_NONE : EPT_RULE_TYPE;
}

enum ept_rule ept_entry_check(const struct ept_config *config, u64 entry, unsigned level)
{
    if (!(entry & EPT_R) && (entry & EPT_W))
        return EPT_RULE_WRITE_ONLY;
    if (!(entry & EPT_R) && !config->caps.execute_only)
        return EPT_RULE_EXECUTE_ONLY;
    if (entry & EPT_ADDR & ~(BIT(config->phys_bits) - 1))
        return EPT_RULE_WIDTH;
    if (ept_is_leaf(entry, level))
        return check_leaf(config, entry, level);
    return entry & BITS(7, 3) ? EPT_RULE_RESERVED : EPT_RULE_NONE;
}

// Judges one entry; true if it references a table and the walk goes on.
static bool walk_step(const struct ept *ept, struct ept_walk *walk, u64 entry, unsigned level)
{
    walk->entries[walk->depth++] = entry;
    walk->level = (u8)level;
    walk->rights &= (u8)(entry & EPT_RWX);
    if (!ept_present(entry)) {
        walk->verdict = EPT_NOT_PRESENT;
        return false;
    }
    walk->rule = ept_entry_check(&ept->config, entry, level);
    if (walk->rule != EPT_RULE_NONE) {
        walk->verdict = EPT_MISCONFIGURED;
        return false;
    }
    if (!ept_is_leaf(entry, level))
        return true;
    u64 offset = ept_level_size(level) - 1;
    walk->verdict = EPT_MAPPED;
    walk->type = (u8)bits_get(entry, 5, 3);
    walk->ipat = entry & EPT_IPAT;
    walk->hpa = HPA((entry & EPT_ADDR & ~offset) | (walk->gpa.raw & offset));
    return false;
}

void ept_walk(const struct ept *ept, gpa_t gpa, struct ept_walk *out)
{
    *out = (struct ept_walk){.gpa = gpa, .verdict = EPT_NOT_PRESENT};
    if (gpa.raw >= ept->gpa_limit)
        return;
    out->rights = EPT_RWX;
    const u64 *table = phys_ptr(ept->root);
    unsigned level = EPT_PML4;
    while (walk_step(ept, out, table[ept_index(gpa.raw, level)], level)) {
        table = ept_child(out->entries[out->depth - 1]);
        level--;
    }
}
