// SPDX-License-Identifier: MIT
// What a device under test is plugged into: a bus, a clock that stands still until told, a deadline
// queue, and an interrupt line that remembers.
#pragma once

#include <stdlib.h>

#include "arch/x86_64/lib/clock.h"
#include "arch/x86_64/lib/deadline.h"
#include "devices/bus.h"

struct rig_line {
    bool level;
    unsigned rises, falls, calls;
};

struct rig {
    struct bus bus;
    struct clock clock;
    u64 now; // ticks
    struct deadline_queue queue;
    struct deadline *heap[8];
    struct rig_line irq;
    unsigned fired; // deadlines that came due in rig_run_to
};

static inline u64 rig_clock_now(const struct clock *clock)
{
    return container_of(clock, struct rig, clock)->now;
}

static inline void rig_line_set(void *ctx, unsigned line, bool level)
{
    struct rig_line *irq = ctx;
    (void)line;
    irq->calls++;
    irq->rises += level && !irq->level;
    irq->falls += !level && irq->level;
    irq->level = level;
}

static inline struct irq_pin rig_pin(struct rig *rig)
{
    return (struct irq_pin){.set = rig_line_set, .ctx = &rig->irq};
}

static inline void rig_init(struct rig *rig, u64 hz)
{
    *rig = (struct rig){
        .clock = {.now = rig_clock_now, .hz = hz}
    };
    bus_init(&rig->bus);
    deadline_queue_init(&rig->queue, rig->heap, ARRAY_SIZE(rig->heap));
}

// Lets time pass, serving each deadline at its own moment.
static inline void rig_run_to(struct rig *rig, u64 ticks)
{
    while (deadline_next(&rig->queue) <= ticks) {
        rig->now = deadline_next(&rig->queue) > rig->now ? deadline_next(&rig->queue) : rig->now;
        rig->fired++;
        deadline_run(&rig->queue, rig->now);
    }
    rig->now = ticks;
}

static inline u64 rig_in(struct rig *rig, u16 port, u8 size)
{
    struct io_access io = {.space = IO_PORT, .size = size, .addr = port};
    bus_access(&rig->bus, &io);
    return io.value;
}

static inline void rig_out(struct rig *rig, u16 port, u8 size, u64 value)
{
    struct io_access io = {
        .space = IO_PORT, .size = size, .write = true, .addr = port, .value = value};
    bus_access(&rig->bus, &io);
}

static inline u64 rig_read(struct rig *rig, u64 addr, u8 size)
{
    struct io_access io = {.space = IO_MEM, .size = size, .addr = addr};
    bus_access(&rig->bus, &io);
    return io.value;
}

static inline void rig_write(struct rig *rig, u64 addr, u8 size, u64 value)
{
    struct io_access io = {
        .space = IO_MEM, .size = size, .write = true, .addr = addr, .value = value};
    bus_access(&rig->bus, &io);
}

static inline u8 inb(struct rig *rig, u16 port)
{
    return (u8)rig_in(rig, port, 1);
}

static inline void outb(struct rig *rig, u16 port, u8 value)
{
    rig_out(rig, port, 1, value);
}

// A small generator of our own, so that a failing seed fails everywhere.
static inline u32 rig_random(u64 *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return (u32)(*state >> 33);
}
