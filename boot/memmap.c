// SPDX-License-Identifier: MIT
#include "boot/memmap.h"
#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"

struct span {
    u64 from, to; // bytes, whole pages; empty if from >= to
};

// The pages that [base, base+size) touches, none at or above MEMMAP_END.
static struct span pages_touched(u64 base, u64 size)
{
    if (base >= MEMMAP_END || size == 0)
        return (struct span){0, 0};
    u64 to = size > MEMMAP_END - base ? MEMMAP_END : align_up(base + size, PAGE_SIZE);
    return (struct span){align_down(base, PAGE_SIZE), to};
}

// The pages that lie wholly in [base, base+size); none if that wraps, its end being below its base.
static struct span pages_within(u64 base, u64 size)
{
    if (base >= MEMMAP_END)
        return (struct span){0, 0};
    u64 to = align_down(base + size, PAGE_SIZE);
    return (struct span){align_up(base, PAGE_SIZE), to < MEMMAP_END ? to : MEMMAP_END};
}

static struct span entry_span(const struct mem_entry *entry)
{
    return entry->type == MEM_USABLE ? pages_within(entry->base, entry->size)
                                     : pages_touched(entry->base, entry->size);
}

#define NO_TYPE (-1)

// Looks at address at: returns the most restrictive type that covers it (NO_TYPE if none does) and
// in next the lowest address above at where an entry starts or ends (MEMMAP_END if none does).
static int type_at(const struct mem_entry *entries, unsigned n, u64 at, u64 *next)
{
    int type = NO_TYPE;
    *next = MEMMAP_END;
    for (unsigned i = 0; i < n; i++) {
        struct span span = entry_span(&entries[i]);
        if (span.from >= span.to || span.to <= at)
            continue;
        u64 edge = span.from > at ? span.from : span.to;
        if (edge < *next)
            *next = edge;
        if (span.from <= at && (int)entries[i].type > type)
            type = (int)entries[i].type;
    }
    return type;
}

static void append(struct memmap *map, u64 from, u64 to, enum mem_kind type)
{
    struct mem_entry *last = map->count ? &map->entries[map->count - 1] : NULL;
    if (last && last->type == type && last->base + last->size == from)
        last->size += to - from;
    else
        map->entries[map->count++] = (struct mem_entry){from, to - from, type};
}

int memmap_build(struct memmap *map, const struct mem_entry *entries, unsigned n)
{
    map->count = 0;
    if (n > MEM_ENTRIES_MAX)
        return E_NOMEM;
    // From edge to edge: each step costs one look at all entries, and nothing needs sorting.
    u64 next;
    for (u64 at = 0; at < MEMMAP_END; at = next) {
        int type = type_at(entries, n, at, &next);
        if (type != NO_TYPE)
            append(map, at, next, (enum mem_kind)type);
    }
    return OK;
}

u64 memmap_total(const struct memmap *map, enum mem_kind type)
{
    u64 total = 0;
    for (unsigned i = 0; i < map->count; i++)
        total += map->entries[i].type == type ? map->entries[i].size : 0;
    return total;
}

static void remove_at(struct mem_range *ranges, unsigned *n, unsigned index)
{
    for (unsigned i = index + 1; i < *n; i++)
        ranges[i - 1] = ranges[i];
    --*n;
}

static void insert_at(struct mem_range *ranges, unsigned *n, unsigned index, struct mem_range range)
{
    for (unsigned i = *n; i > index; i--)
        ranges[i] = ranges[i - 1];
    ranges[index] = range;
    ++*n;
}

static unsigned smallest(const struct mem_range *ranges, unsigned n)
{
    unsigned best = 0;
    for (unsigned i = 1; i < n; i++)
        best = ranges[i].size < ranges[best].size ? i : best;
    return best;
}

// Adds range at the end of out. When that is full the smallest goes; returns the bytes lost.
static u64 add_or_lose(struct mem_range *out, unsigned *n, unsigned max, struct mem_range range)
{
    u64 lost = 0;
    if (*n == max) {
        unsigned victim = smallest(out, *n);
        if (out[victim].size >= range.size)
            return range.size;
        lost = out[victim].size;
        remove_at(out, n, victim);
    }
    insert_at(out, n, *n, range);
    return lost;
}

// The first byte at or above at that no reserved range touches.
static u64 skip_reserved(const struct mem_range *reserved, unsigned n, u64 at)
{
    bool moved;
    do {
        moved = false;
        for (unsigned i = 0; i < n; i++) {
            struct span span = pages_touched(reserved[i].base, reserved[i].size);
            if (span.from <= at && at < span.to) {
                at = span.to;
                moved = true;
            }
        }
    } while (moved);
    return at;
}

// Where the next reserved range above at starts, or end if none does before.
static u64 next_reserved(const struct mem_range *reserved, unsigned n, u64 at, u64 end)
{
    for (unsigned i = 0; i < n; i++) {
        struct span span = pages_touched(reserved[i].base, reserved[i].size);
        if (span.from < span.to && span.from > at && span.from < end)
            end = span.from;
    }
    return end;
}

unsigned memmap_free(const struct memmap *map, const struct mem_range *reserved, unsigned nreserved,
                     struct mem_range *out, unsigned max, u64 *lost)
{
    unsigned n = 0;
    *lost = 0;
    for (unsigned i = 0; i < map->count; i++) {
        if (map->entries[i].type != MEM_USABLE)
            continue;
        u64 end = map->entries[i].base + map->entries[i].size;
        u64 at = skip_reserved(reserved, nreserved, map->entries[i].base);
        while (at < end) {
            u64 to = next_reserved(reserved, nreserved, at, end);
            *lost += add_or_lose(out, &n, max, (struct mem_range){at, to - at});
            at = skip_reserved(reserved, nreserved, to);
        }
    }
    return n;
}

#define NOWHERE (~0ull)

// The lowest 2 MiB aligned place for size bytes in range, cut to [from, to).
static u64 lowest_fit(const struct mem_range *range, u64 size, u64 from, u64 to)
{
    u64 end = range->base + range->size;
    u64 start = align_up(range->base > from ? range->base : from, SIZE_2M);
    end = end < to ? end : to;
    return start <= end && size <= end - start ? start : NOWHERE;
}

// The highest one.
static u64 highest_fit(const struct mem_range *range, u64 size, u64 from, u64 to)
{
    u64 start = lowest_fit(range, size, from, to);
    if (start == NOWHERE)
        return NOWHERE;
    u64 end = range->base + range->size;
    return align_down((end < to ? end : to) - size, SIZE_2M);
}

// Where the pool goes by the order of preference; index gets its range.
static u64 choose(const struct mem_range *ranges, unsigned n, u64 size, u64 above, unsigned *index)
{
    u64 at;
    for (unsigned i = 0; i < n; i++) {
        *index = i;
        if ((at = lowest_fit(&ranges[i], size, above, SIZE_4G)) != NOWHERE)
            return at;
    }
    for (unsigned i = n; i-- > 0;) {
        *index = i;
        if ((at = highest_fit(&ranges[i], size, 1ull << 20, SIZE_4G)) != NOWHERE)
            return at;
    }
    for (unsigned i = 0; i < n; i++) {
        *index = i;
        if ((at = lowest_fit(&ranges[i], size, SIZE_4G, MEMMAP_END)) != NOWHERE)
            return at;
    }
    return NOWHERE;
}

int memmap_carve(struct mem_range *ranges, unsigned *n, unsigned max, u64 size, u64 above,
                 struct mem_range *pool)
{
    if (size == 0)
        return E_INVAL;
    if (size > MEMMAP_END || above > MEMMAP_END)
        return E_NOMEM;
    size = align_up(size, SIZE_2M);
    unsigned index;
    u64 at = choose(ranges, *n, size, above, &index);
    if (at == NOWHERE)
        return E_NOMEM;
    *pool = (struct mem_range){at, size};

    struct mem_range whole = ranges[index];
    struct mem_range below = {whole.base, at - whole.base};
    struct mem_range rest = {at + size, whole.base + whole.size - (at + size)};
    remove_at(ranges, n, index);
    // With no room for both remainders the larger one stays.
    if (*n + 2 > max && below.size && rest.size)
        *(below.size < rest.size ? &below : &rest) = (struct mem_range){0, 0};
    if (rest.size)
        insert_at(ranges, n, index, rest);
    if (below.size)
        insert_at(ranges, n, index, below);
    return OK;
}
