// SPDX-License-Identifier: MIT
#include "arch/x86_64/ramlog.h"

#include "arch/x86_64/lib/string.h"

#define SLOTS 2u

struct ramlog_header {
    char magic[8];
    u64 written; // bytes since the run began; the text is a ring of the last of them
    u32 run;
    u32 sum;   // of the ring's bytes
    u32 check; // of the fields above
    u8 rest[36];
};
_Static_assert(sizeof(struct ramlog_header) == 64, "a header is a cache line of its own");

struct area {
    struct ramlog_header header[SLOTS];
    u8 rest[PAGE_SIZE - SLOTS * sizeof(struct ramlog_header)];
    char text[SLOTS][RAMLOG_TEXT];
};
_Static_assert(sizeof(struct area) == RAMLOG_BYTES, "the area is what the header file says");
_Static_assert((RAMLOG_TEXT & (RAMLOG_TEXT - 1)) == 0, "the ring is indexed by masking");

static const char magic[8] = {'C', 'o', 'r', 'b', 'e', 'l', '0', '1'};

// ---- checksums --------------------------------------------------------------------------------

// Each place has an odd weight of its own: no single byte can change, and no two be exchanged,
// without the sum changing; and a byte that is overwritten can be taken out of it again.
static u32 weighted(u64 at, char byte)
{
    u32 index = (u32)at & (RAMLOG_TEXT - 1);
    return (2 * index + 1) * 0x9e3779b1u * (u8)byte;
}

static u32 header_check(const struct ramlog_header *h)
{
    u32 mixed = h->run * 0x85ebca6bu + h->sum * 0xc2b2ae35u + (u32)h->written * 0x27d4eb2fu +
                (u32)(h->written >> 32) * 0x165667b1u;
    return ~mixed;
}

static u32 text_sum(const char *text, u64 written)
{
    u32 sum = 0;
    for (u64 at = 0; at < written && at < RAMLOG_TEXT; at++)
        sum += weighted(at, text[at]);
    return sum;
}

// ---- looking back -----------------------------------------------------------------------------

static bool is_good(const struct area *area, unsigned slot)
{
    const struct ramlog_header *h = &area->header[slot];
    return memcmp(h->magic, magic, sizeof(magic)) == 0 && h->check == header_check(h) &&
           h->sum == text_sum(area->text[slot], h->written);
}

// The slot with the latest good log, or SLOTS.
INIT static unsigned latest(const struct area *area)
{
    unsigned found = SLOTS;
    for (unsigned i = 0; i < SLOTS; i++)
        if (is_good(area, i) &&
            (found == SLOTS || area->header[i].run - area->header[found].run < 1u << 31))
            found = i;
    return found;
}

static char ring_at(const struct ramlog_old *old, u64 at)
{
    return old->text[at & (RAMLOG_TEXT - 1)];
}

INIT bool ramlog_find(const void *memory, struct ramlog_old *old)
{
    const struct area *area = memory;
    unsigned slot = latest(area);
    if (slot == SLOTS)
        return false;
    u64 end = area->header[slot].written;
    *old = (struct ramlog_old){.text = area->text[slot], .end = end, .run = area->header[slot].run};
    if (end <= RAMLOG_TEXT)
        return true;
    // Where the ring was overwritten a line's beginning is lost, as a rule.
    old->at = end - RAMLOG_TEXT;
    while (old->at < end && ring_at(old, old->at++) != '\n')
        ;
    return true;
}

INIT bool ramlog_next_line(struct ramlog_old *old, char *line, size_t size)
{
    size_t length = 0;
    if (old->at == old->end)
        return false;
    while (old->at != old->end) {
        char c = ring_at(old, old->at++);
        if (c == '\n')
            break;
        if (length + 1 < size)
            line[length++] = c >= 0x20 && c < 0x7f ? c : '?';
    }
    line[length] = '\0';
    return true;
}

// ---- writing ----------------------------------------------------------------------------------

static void flush(const struct ramlog *log, const volatile void *at, size_t size)
{
    if (log->flush)
        log->flush(at, size);
}

static void seal(struct ramlog *log)
{
    log->header->check = header_check(log->header);
    flush(log, log->header, sizeof(*log->header));
}

INIT void ramlog_start(struct ramlog *log, void *memory, u32 run,
                       void (*flush_bytes)(const volatile void *at, size_t size))
{
    struct area *area = memory;
    unsigned slot = latest(area) == 0 ? 1 : 0;
    *log = (struct ramlog){&area->header[slot], area->text[slot], flush_bytes};
    *log->header = (struct ramlog_header){.run = run};
    memcpy(log->header->magic, magic, sizeof(magic));
    seal(log);
}

// length bytes that end within the ring.
static void put(struct ramlog *log, const char *text, size_t length)
{
    struct ramlog_header *h = log->header;
    char *to = &log->text[h->written & (RAMLOG_TEXT - 1)];
    for (size_t i = 0; i < length; i++) {
        if (h->written >= RAMLOG_TEXT)
            h->sum -= weighted(h->written, to[i]);
        to[i] = text[i];
        h->sum += weighted(h->written, to[i]);
        h->written++;
    }
    flush(log, to, length);
}

void ramlog_write(struct ramlog *log, const char *text, size_t length)
{
    if (!log->header || !length)
        return;
    while (length) {
        size_t room = RAMLOG_TEXT - (log->header->written & (RAMLOG_TEXT - 1));
        size_t piece = length < room ? length : room;
        put(log, text, piece);
        text += piece;
        length -= piece;
    }
    seal(log);
}
