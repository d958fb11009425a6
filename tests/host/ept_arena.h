// SPDX-License-Identifier: MIT
// A small physical memory for tests of ept/, and an owner of tables that watches the rules: frames
// are handed out dirty, freed once, and never while a processor could still walk them.
#pragma once

#include <stdlib.h>
#include <string.h>

#include "arch/x86_64/lib/check.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/phys.h"
#include "ept/ept.h"

#define ARENA_BASE   0x5000ull // host-physical address of frame 0
#define ARENA_FRAMES 8192u
// All that IA32_VMX_EPT_VPID_CAP can say about EPT, as recent server parts report it.
#define EPT_CAP_ALL  0x0000000006f34141ull

struct arena {
    struct ept *ept; // whose tables these are; NULL while there is no root
    u8 *memory;
    bool used[ARENA_FRAMES];
    bool cached[ARENA_FRAMES]; // a processor may hold an entry that references this table
    unsigned next;             // where the search for a free frame starts
    unsigned in_use;
    unsigned budget; // allocations left before E_NOMEM
    unsigned invalidations;
    bool lax; // do not look at every table at every step: for maps of thousands of tables
};

static inline unsigned arena_index(hpa_t frame)
{
    CHECK(is_aligned(frame.raw, PAGE_SIZE) && frame.raw >= ARENA_BASE);
    u64 index = (frame.raw - ARENA_BASE) / PAGE_SIZE;
    CHECK(index < ARENA_FRAMES);
    return (unsigned)index;
}

// What the hardware may cache: every table it can reach at this moment. A fuzzer is not to count
// its branches, which would be most of its time.
__attribute__((no_sanitize("coverage"))) static inline void arena_mark(struct arena *arena,
                                                                       u64 *table, unsigned level)
{
    unsigned index = arena_index(phys_addr(table));
    CHECK(arena->used[index]);
    arena->cached[index] = true;
    for (unsigned i = 0; level > EPT_PT && i < EPT_ENTRIES; i++) {
        if (ept_present(table[i]) && !ept_is_leaf(table[i], level))
            arena_mark(arena, phys_ptr(HPA(table[i] & EPT_ADDR)), level - 1);
    }
}

static inline void arena_snapshot(struct arena *arena)
{
    if (arena->ept && !arena->lax)
        arena_mark(arena, phys_ptr(arena->ept->root), EPT_PML4);
}

static inline int arena_alloc(void *ctx, hpa_t *out)
{
    struct arena *arena = ctx;
    arena_snapshot(arena);
    if (arena->budget == 0)
        return E_NOMEM;
    arena->budget--;
    CHECK(arena->in_use < ARENA_FRAMES);
    while (arena->used[arena->next])
        arena->next = (arena->next + 1) % ARENA_FRAMES;
    unsigned index = arena->next;
    arena->used[index] = true;
    arena->in_use++;
    *out = HPA(ARENA_BASE + index * PAGE_SIZE);
    // Every entry present, none large, each referencing a table that is not there.
    memset(phys_ptr(*out), 0x07, PAGE_SIZE);
    return OK;
}

static inline void arena_free(void *ctx, hpa_t frame)
{
    struct arena *arena = ctx;
    unsigned index = arena_index(frame);
    CHECK(arena->used[index]);
    CHECK(!arena->cached[index]);
    arena->used[index] = false;
    arena->in_use--;
    memset(phys_ptr(frame), 0xcc, PAGE_SIZE);
}

static inline void arena_invalidate(void *ctx)
{
    struct arena *arena = ctx;
    arena->invalidations++;
    memset(arena->cached, 0, sizeof(arena->cached));
    arena_snapshot(arena);
}

static const struct ept_ops arena_ops = {arena_alloc, arena_free, arena_invalidate};

static inline struct arena *arena_new(void)
{
    struct arena *arena = calloc(1, sizeof(*arena));
    CHECK(arena);
    arena->memory = aligned_alloc(PAGE_SIZE, ARENA_FRAMES * PAGE_SIZE);
    CHECK(arena->memory);
    arena->budget = ARENA_FRAMES;
    phys_window = (uintptr_t)arena->memory - (uintptr_t)ARENA_BASE;
    return arena;
}

static inline struct ept_config arena_config(struct arena *arena)
{
    return (struct ept_config){
        .caps = ept_caps_decode(EPT_CAP_ALL), .phys_bits = 46, .ops = &arena_ops, .ctx = arena};
}

static inline void arena_start(struct arena *arena, struct ept *ept,
                               const struct ept_config *config)
{
    CHECK(ept_init(ept, config) == OK);
    arena->ept = ept;
    arena_snapshot(arena);
}

// Ends the address space; a table that it did not give back is found here.
static inline void arena_stop(struct arena *arena)
{
    struct ept *ept = arena->ept;
    arena_snapshot(arena);
    // No processor runs it any more, so nothing is cached again after its invalidation.
    arena->ept = NULL;
    ept_destroy(ept);
    CHECK(ept->stats.tables == 0);
    CHECK(arena->in_use == 0);
}

static inline void arena_end(struct arena *arena)
{
    if (arena->ept)
        arena_stop(arena);
    CHECK(arena->in_use == 0);
    free(arena->memory);
    free(arena);
}
