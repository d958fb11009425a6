// SPDX-License-Identifier: MIT
#include "arch/x86_64/lib/frame.h"
#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/check.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/string.h"

// Where the frames of a range start and end, without the partial pages at either end.
static u64 first_frame(const struct mem_range *range)
{
    return align_up(range->base, PAGE_SIZE) >> PAGE_SHIFT;
}

INIT static u64 frame_count(const struct mem_range *range)
{
    CHECK(range->base + range->size >= range->base);
    u64 first = first_frame(range);
    u64 end = (range->base + range->size) >> PAGE_SHIFT;
    return end > first ? end - first : 0;
}

static u64 bitmap_words(u64 frames)
{
    return (frames + 63) / 64;
}

INIT u64 frame_bitmap_bytes(const struct mem_range *ranges, unsigned n)
{
    u64 words = 0;
    for (unsigned i = 0; i < n; i++)
        words += bitmap_words(frame_count(&ranges[i]));
    return words * sizeof(u64);
}

INIT int frame_pool_init(struct frame_pool *pool, const struct mem_range *ranges, unsigned n,
                         void *storage)
{
    u64 *bitmap = storage;
    memset(pool, 0, sizeof(*pool));
    for (unsigned i = 0; i < n; i++) {
        u64 frames = frame_count(&ranges[i]);
        if (frames == 0)
            continue;
        if (pool->nranges == FRAME_RANGES)
            return E_NOMEM;
        pool->ranges[pool->nranges++] = (struct frame_range){
            .first = first_frame(&ranges[i]),
            .count = frames,
            .bitmap = bitmap,
        };
        memset(bitmap, 0, bitmap_words(frames) * sizeof(u64));
        bitmap += bitmap_words(frames);
        pool->total += frames;
    }
    pool->free = pool->total;
    return OK;
}

// The bits of bitmap word number word that stand for frames [from, to).
static u64 word_mask(u64 word, u64 from, u64 to)
{
    u64 low = from > word * 64 ? from - word * 64 : 0;
    u64 high = to < word * 64 + 64 ? to - word * 64 : 64;
    return BITS(high - 1, low);
}

// The first frame in [from, to) that is in use (flip 0) or free (flip ~0); to if there is none.
static u64 find_frame(const u64 *bitmap, u64 from, u64 to, u64 flip)
{
    for (u64 word = from / 64; word * 64 < to && from < to; word++) {
        u64 hits = (bitmap[word] ^ flip) & word_mask(word, from, to);
        if (hits)
            return word * 64 + bit_lowest(hits);
    }
    return to;
}

static u64 find_used(const struct frame_range *range, u64 from, u64 to)
{
    return find_frame(range->bitmap, from, to, 0);
}

static u64 find_free(const struct frame_range *range, u64 from, u64 to)
{
    return find_frame(range->bitmap, from, to, ~0ull);
}

// Makes [from, to), which is not empty, used or free.
static void mark(struct frame_range *range, u64 from, u64 to, bool used)
{
    for (u64 word = from / 64; word * 64 < to; word++) {
        u64 mask = word_mask(word, from, to);
        if (used)
            range->bitmap[word] |= mask;
        else
            range->bitmap[word] &= ~mask;
    }
}

// The index of the first run of count free frames in range that starts at a multiple of align and
// ends at or below limit (both in frames); ~0 if there is none.
static u64 find_run(struct frame_range *range, u64 count, u64 align, u64 limit)
{
    range->hint = find_free(range, range->hint, range->count);
    u64 end = range->count;
    if (limit < range->first + end)
        end = limit > range->first ? limit - range->first : 0;
    u64 at = range->hint;
    for (;;) {
        at = align_up(range->first + at, align) - range->first;
        if (count > end || at > end - count)
            return ~0ull;
        u64 used = find_used(range, at, at + count);
        if (used == at + count)
            return at;
        at = find_free(range, used, end);
    }
}

int frame_alloc(struct frame_pool *pool, u64 count, u64 align, u64 limit, hpa_t *out)
{
    if (count == 0 || align < PAGE_SIZE || !is_power_of_two(align))
        return E_INVAL;
    u64 last = limit ? limit >> PAGE_SHIFT : ~0ull;
    // From the highest range down: low memory is scarce, and what needs it says so with limit.
    for (unsigned i = pool->nranges; i-- > 0;) {
        struct frame_range *range = &pool->ranges[i];
        u64 at = find_run(range, count, align >> PAGE_SHIFT, last);
        if (at == ~0ull)
            continue;
        mark(range, at, at + count, true);
        pool->free -= count;
        *out = HPA((range->first + at) << PAGE_SHIFT);
        return OK;
    }
    return E_NOMEM;
}

static struct frame_range *range_of(struct frame_pool *pool, u64 frame)
{
    for (unsigned i = 0; i < pool->nranges; i++) {
        struct frame_range *range = &pool->ranges[i];
        if (frame >= range->first && frame - range->first < range->count)
            return range;
    }
    return NULL;
}

void frame_free(struct frame_pool *pool, hpa_t base, u64 count)
{
    CHECK(is_aligned(base.raw, PAGE_SIZE));
    struct frame_range *range = range_of(pool, base.raw >> PAGE_SHIFT);
    CHECK(range && count);
    u64 at = (base.raw >> PAGE_SHIFT) - range->first;
    CHECK(count <= range->count - at);
    CHECK(find_free(range, at, at + count) == at + count);
    mark(range, at, at + count, false);
    pool->free += count;
    if (at < range->hint)
        range->hint = at;
}

INIT void frame_reserve(struct frame_pool *pool, u64 base, u64 size)
{
    if (size == 0)
        return;
    u64 from = base >> PAGE_SHIFT;
    u64 last = (size - 1 > ~0ull - base ? ~0ull : base + size - 1) >> PAGE_SHIFT;
    for (unsigned i = 0; i < pool->nranges; i++) {
        struct frame_range *range = &pool->ranges[i];
        if (last < range->first || from >= range->first + range->count)
            continue;
        u64 at = from > range->first ? from - range->first : 0;
        u64 end = last - range->first < range->count ? last - range->first + 1 : range->count;
        while ((at = find_free(range, at, end)) < end) {
            u64 used = find_used(range, at, end);
            mark(range, at, used, true);
            pool->free -= used - at;
            at = used;
        }
    }
}

INIT bool frame_is_free(const struct frame_pool *pool, hpa_t addr)
{
    u64 frame = addr.raw >> PAGE_SHIFT;
    for (unsigned i = 0; i < pool->nranges; i++) {
        const struct frame_range *range = &pool->ranges[i];
        if (frame >= range->first && frame - range->first < range->count)
            return find_used(range, frame - range->first, frame - range->first + 1) ==
                   frame - range->first + 1;
    }
    return false;
}
