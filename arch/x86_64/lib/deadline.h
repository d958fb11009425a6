// SPDX-License-Identifier: MIT
// The deadline queue: a binary min-heap of intrusive entries, so arming, re-arming and cancelling
// are logarithmic and looking at the nearest is one load.
#pragma once

#include "arch/x86_64/lib/types.h"

#define DEADLINE_NEVER (~0ull)

struct deadline {
    u64 when;                                      // ticks, absolute; valid while armed
    void (*fire)(struct deadline *entry, u64 now); // called once, already disarmed; may re-arm
    u32 slot;                                      // index in the heap + 1; 0 = not armed
};

struct deadline_queue {
    u64 next_count; // what deadline_next() gives, in counts of 2^rate ticks, not rounded down
    struct deadline **heap; // capacity pointers, given by the owner
    u32 capacity;
    u32 count;
    u8 rate;
    u64 round; // 1 where rate is not 0
};

// An empty queue, whose counts are ticks.
void deadline_queue_init(struct deadline_queue *queue, struct deadline **heap, u32 capacity);

// What next_count counts in from now on: 2^rate ticks, as a timer that is slower than the clock.
void deadline_set_rate(struct deadline_queue *queue, u8 rate);

// Arms entry for when, or moves it there if it is armed. The queue's owner sizes it for every
// device's deadlines, so running out is our bug: CHECK.
void deadline_arm(struct deadline_queue *queue, struct deadline *entry, u64 when);

// Disarms; nothing happens if it is not armed.
void deadline_cancel(struct deadline_queue *queue, struct deadline *entry);

static inline bool deadline_armed(const struct deadline *entry)
{
    return entry->slot != 0;
}

// The nearest deadline in ticks, or DEADLINE_NEVER.
static inline u64 deadline_next(const struct deadline_queue *queue)
{
    return queue->count ? queue->heap[0]->when : DEADLINE_NEVER;
}

// Fires all entries due at now, nearest first. An entry that re-arms itself at or before now is
// fired again in the same call at most DEADLINE_BURST times in all; the rest waits for the next
// call, so a tiny period cannot hold the caller.
#define DEADLINE_BURST 64u
void deadline_run(struct deadline_queue *queue, u64 now);
