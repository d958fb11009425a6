// SPDX-License-Identifier: MIT
// The frame allocator: 4 KiB frames of host-physical memory, a bitmap over each range.
#pragma once

#include "arch/x86_64/lib/types.h"

struct mem_range {
    u64 base; // host-physical, bytes
    u64 size; // bytes
};

#define FRAME_RANGES 64u

struct frame_range {
    u64 first;   // frame number
    u64 count;   // frames
    u64 *bitmap; // one bit a frame, set = in use
    u64 hint;    // no free frame lies below this index
};

struct frame_pool {
    struct frame_range ranges[FRAME_RANGES]; // sorted, disjoint
    unsigned nranges;
    u64 total; // frames managed
    u64 free;  // frames free
};

// Bytes of bitmap storage that frame_pool_init needs for these ranges.
u64 frame_bitmap_bytes(const struct mem_range *ranges, unsigned n);

// Makes a pool of n ranges of free memory (sorted, disjoint; partial pages at either end are left
// out). storage holds frame_bitmap_bytes() bytes, 8-aligned, and belongs to the pool from now on.
// E_NOMEM if there are more than FRAME_RANGES.
int frame_pool_init(struct frame_pool *pool, const struct mem_range *ranges, unsigned n,
                    void *storage);

// Takes count consecutive frames whose first address is a multiple of align (bytes, a power of two,
// at least 4 KiB) and that lie entirely below limit (bytes; 0 = no limit). The contents are not
// cleared. E_NOMEM if there is no such run, E_INVAL for a bad count or alignment. Not locked: the
// caller owns the pool.
MUST_CHECK int frame_alloc(struct frame_pool *pool, u64 count, u64 align, u64 limit, hpa_t *out);

// Gives count frames back. Freeing what is not allocated is our bug: CHECK.
void frame_free(struct frame_pool *pool, hpa_t base, u64 count);

// Marks [base, base+size) used wherever it overlaps the pool; frames already used stay used.
void frame_reserve(struct frame_pool *pool, u64 base, u64 size);

// Whether this address lies in a frame that the pool manages and that is free.
bool frame_is_free(const struct frame_pool *pool, hpa_t addr);
