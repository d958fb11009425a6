// SPDX-License-Identifier: MIT
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "ept/ept.h"
#include "ept/mtrr.h"

static bool overlaps(struct mem_range range, u64 base, u64 end)
{
    return range.size && range.base < end && base < range.base + range.size;
}

static struct mem_range page_outwards(struct mem_range range)
{
    u64 base = align_down(range.base, PAGE_SIZE);
    u64 end = align_up(range.base + range.size, PAGE_SIZE);
    return (struct mem_range){base, range.size ? end - base : 0};
}

static struct mem_range page_inwards(struct mem_range range)
{
    u64 base = align_up(range.base, PAGE_SIZE);
    u64 end = align_down(range.base + range.size, PAGE_SIZE);
    return (struct mem_range){base, end > base ? end - base : 0};
}

// The forbidden range number i, in pages; the local APIC's page is the last one.
static struct mem_range forbidden(const struct ept_identity_map *what, unsigned i)
{
    if (i == what->nexcluded)
        return page_outwards((struct mem_range){what->lapic.raw, PAGE_SIZE});
    return page_outwards(what->excluded[i]);
}

// The first stretch of [base, end) with nothing forbidden in it; empty if there is none. Each round
// either leaves a forbidden range behind or is the last, so it ends.
static struct mem_range next_allowed(const struct ept_identity_map *what, u64 base, u64 end)
{
    bool moved = true;
    while (moved && base < end) {
        moved = false;
        for (unsigned i = 0; i <= what->nexcluded; i++) {
            struct mem_range no = forbidden(what, i);
            if (overlaps(no, base, base + 1)) {
                base = no.base + no.size;
                moved = true;
            }
        }
    }
    if (base >= end)
        return (struct mem_range){end, 0};
    for (unsigned i = 0; i <= what->nexcluded; i++) {
        struct mem_range no = forbidden(what, i);
        if (overlaps(no, base, end))
            end = no.base;
    }
    return (struct mem_range){base, end - base};
}

// One stretch of memory, cut where the MTRRs' type changes.
static int map_typed(struct ept *ept, const struct mtrr_state *mtrr, struct mem_range range,
                     u8 rights)
{
    u64 end = range.base + range.size;
    int rc = OK;
    for (u64 at = range.base; rc == OK && at < end;) {
        struct mtrr_region region = mtrr_next(mtrr, at, end);
        if (region.conflict)
            log_warn("ept: MTRRs contradict each other at %llx-%llx: taken as UC",
                     (unsigned long long)at, (unsigned long long)(at + region.size - 1));
        struct ept_attr attr = {.rights = rights, .type = region.type};
        rc = ept_map(ept, GPA(at), HPA(at), region.size, attr);
        if (rc != OK)
            log_error("ept: cannot map %llx-%llx: %s", (unsigned long long)at,
                      (unsigned long long)(at + region.size - 1), err_name(rc));
        at += region.size;
    }
    return rc;
}

static int map_allowed(struct ept *ept, const struct ept_identity_map *what, struct mem_range range,
                       u8 rights)
{
    u64 end = range.base + range.size;
    int rc = OK;
    for (u64 at = range.base; rc == OK && at < end;) {
        struct mem_range allowed = next_allowed(what, at, end);
        if (allowed.size)
            rc = map_typed(ept, what->mtrr, allowed, rights);
        at = allowed.base + allowed.size;
    }
    return rc;
}

int ept_identity(struct ept *ept, const struct ept_identity_map *what)
{
    int rc = OK;
    for (unsigned i = 0; rc == OK && i < what->nram; i++)
        rc = map_allowed(ept, what, page_inwards(what->ram[i]), EPT_RWX);
    for (unsigned i = 0; rc == OK && i < what->nwindows; i++)
        rc = map_allowed(ept, what, page_outwards(what->windows[i].range), what->windows[i].rights);
    return rc;
}

int ept_verify_excluded(const struct ept *ept, const struct mem_range *excluded, unsigned n,
                        struct ept_offence *first)
{
    struct ept_leaf leaf;
    for (u64 at = 0; ept_next_leaf(ept, GPA(at), &leaf); at = leaf.gpa.raw + leaf.size) {
        for (unsigned i = 0; i < n; i++) {
            if (!overlaps(excluded[i], leaf.hpa.raw, leaf.hpa.raw + leaf.size))
                continue;
            *first = (struct ept_offence){.leaf = leaf, .excluded = excluded[i]};
            return E_EXIST;
        }
    }
    return OK;
}
