// SPDX-License-Identifier: MIT
// The host's memory map made orderly, and what of it is free.
#pragma once

#include "arch/x86_64/lib/frame.h"
#include "arch/x86_64/lib/types.h"

// Ordered from the least to the most restrictive: where entries overlap, the higher one wins.
enum mem_kind {
    MEM_USABLE,
    MEM_ACPI_RECLAIM,
    MEM_NVS,
    MEM_RESERVED,
    MEM_BAD,
};

struct mem_entry {
    u64 base; // host-physical, bytes
    u64 size; // bytes
    enum mem_kind type;
};

#define MEM_ENTRIES_MAX 256u
#define MEMMAP_MAX      (2 * MEM_ENTRIES_MAX) // n overlapping entries make at most 2n - 1 pieces

// Sorted, disjoint, whole pages; neighbours differ in type or do not touch.
struct memmap {
    struct mem_entry entries[MEMMAP_MAX];
    unsigned count;
};

// The physical address space's architectural end; nothing at or above it is kept.
#define MEMMAP_END (1ull << 52)

// Makes map from n entries (at most MEM_ENTRIES_MAX, else E_NOMEM) in any order, overlapping or
// not. A page that is usable only in part is not usable; every other type keeps the pages it
// touches. A usable entry that runs past 2^64 is nonsense and left out; any other type then reaches
// to the end.
MUST_CHECK int memmap_build(struct memmap *map, const struct mem_entry *entries, unsigned n);

// The total of a type in bytes.
u64 memmap_total(const struct memmap *map, enum mem_kind type);

// Writes the usable pages that no reserved range touches (in any order, overlapping, partial pages:
// all right) as sorted, disjoint ranges of whole pages, and returns how many there are. If they are
// more than max (at least 1), the smallest are left out; lost gets the bytes so lost.
unsigned memmap_free(const struct memmap *map, const struct mem_range *reserved, unsigned nreserved,
                     struct mem_range *out, unsigned max, u64 *lost);

// Takes size bytes (rounded up to 2 MiB), 2 MiB aligned, contiguous, out of the *n free ranges, and
// leaves the rest there (sorted; at most max). Preferred: the lowest place at or above `above`, all
// below 4 GiB; then the highest below `above` but not below 1 MiB; then the lowest above 4 GiB.
// E_INVAL for size 0, E_NOMEM if no range holds it: the ranges are then as they were.
MUST_CHECK int memmap_carve(struct mem_range *ranges, unsigned *n, unsigned max, u64 size,
                            u64 above, struct mem_range *pool);
