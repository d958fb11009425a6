// SPDX-License-Identifier: MIT
#include "arch/x86_64/lib/deadline.h"

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/check.h"

// A whole count more where a count is more than a tick: rounding up, or one count late.
static void note_next(struct deadline_queue *queue, u64 next)
{
    queue->next_count = (next >> queue->rate) + queue->round;
}

INIT void deadline_queue_init(struct deadline_queue *queue, struct deadline **heap, u32 capacity)
{
    *queue = (struct deadline_queue){.heap = heap, .capacity = capacity};
    note_next(queue, DEADLINE_NEVER);
}

INIT void deadline_set_rate(struct deadline_queue *queue, u8 rate)
{
    queue->rate = rate;
    queue->round = rate != 0;
    note_next(queue, deadline_next(queue));
}

static void place(struct deadline **heap, u32 index, struct deadline *entry)
{
    heap[index] = entry;
    entry->slot = index + 1;
}

// Puts entry at the hole index or nearer to the root, moving later parents down into the hole.
static void sift_up(struct deadline **heap, u32 index, struct deadline *entry)
{
    u64 when = entry->when;
    while (index > 0) {
        u32 parent = (index - 1) / 2;
        if (heap[parent]->when <= when)
            break;
        place(heap, index, heap[parent]);
        index = parent;
    }
    place(heap, index, entry);
}

// Puts entry at the hole index or farther from the root, moving earlier children up into the hole.
static void sift_down(struct deadline **heap, u32 count, u32 index, struct deadline *entry)
{
    u64 when = entry->when;
    u32 child;
    while ((child = 2 * index + 1) < count) {
        if (child + 1 < count && heap[child + 1]->when < heap[child]->when)
            child++;
        if (when <= heap[child]->when)
            break;
        place(heap, index, heap[child]);
        index = child;
    }
    place(heap, index, entry);
}

// At most one of the two directions has anything to move.
static void settle(const struct deadline_queue *queue, u32 index, struct deadline *entry)
{
    if (index > 0 && entry->when < queue->heap[(index - 1) / 2]->when)
        sift_up(queue->heap, index, entry);
    else
        sift_down(queue->heap, queue->count, index, entry);
}

// Whether entry, which is at index, need not move for its new time.
static inline bool in_order(const struct deadline_queue *queue, u32 index, u64 when)
{
    struct deadline *const *heap = queue->heap;
    u32 child = 2 * index + 1;
    if (index > 0 && when < heap[(index - 1) / 2]->when)
        return false;
    if (child >= queue->count)
        return true;
    if (heap[child]->when < when)
        return false;
    return child + 1 == queue->count || heap[child + 1]->when >= when;
}

NOINLINE static void arm_elsewhere(struct deadline_queue *queue, struct deadline *entry)
{
    if (deadline_armed(entry)) {
        settle(queue, entry->slot - 1, entry);
    } else {
        CHECK(queue->count < queue->capacity);
        sift_up(queue->heap, queue->count++, entry);
    }
    note_next(queue, queue->heap[0]->when);
}

// A deadline that is moved mostly stays what it is among the others.
void deadline_arm(struct deadline_queue *queue, struct deadline *entry, u64 when)
{
    u32 index = entry->slot - 1;
    entry->when = when;
    if (unlikely(!deadline_armed(entry)) || unlikely(!in_order(queue, index, when)))
        arm_elsewhere(queue, entry);
    else if (index == 0)
        note_next(queue, when);
}

void deadline_cancel(struct deadline_queue *queue, struct deadline *entry)
{
    if (!deadline_armed(entry))
        return;
    u32 hole = entry->slot - 1;
    CHECK(hole < queue->count && queue->heap[hole] == entry);
    entry->slot = 0;
    struct deadline *last = queue->heap[--queue->count];
    if (last != entry)
        settle(queue, hole, last);
    note_next(queue, deadline_next(queue));
}

void deadline_run(struct deadline_queue *queue, u64 now)
{
    for (u32 budget = queue->count + DEADLINE_BURST; budget > 0; budget--) {
        if (queue->count == 0 || queue->heap[0]->when > now)
            return;
        struct deadline *entry = queue->heap[0];
        deadline_cancel(queue, entry);
        entry->fire(entry, now);
    }
}
