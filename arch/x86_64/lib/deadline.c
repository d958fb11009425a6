// SPDX-License-Identifier: MIT
#include "arch/x86_64/lib/deadline.h"

#include "arch/x86_64/lib/check.h"

void deadline_queue_init(struct deadline_queue *queue, struct deadline **heap, u32 capacity)
{
    *queue = (struct deadline_queue){.next = DEADLINE_NEVER, .heap = heap, .capacity = capacity};
}

static void note_next(struct deadline_queue *queue)
{
    queue->next = queue->count ? queue->heap[0]->when : DEADLINE_NEVER;
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

void deadline_arm(struct deadline_queue *queue, struct deadline *entry, u64 when)
{
    entry->when = when;
    if (deadline_armed(entry)) {
        settle(queue, entry->slot - 1, entry);
    } else {
        CHECK(queue->count < queue->capacity);
        sift_up(queue->heap, queue->count++, entry);
    }
    note_next(queue);
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
    note_next(queue);
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
