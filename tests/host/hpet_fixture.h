// SPDX-License-Identifier: MIT
// An HPET on a bus, with lines that remember, and its registers by name. Include after cmocka.h.
#pragma once

#include <string.h>

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "devices/hpet.h"
#include "tests/host/device_rig.h"

enum {
    CAPS = 0x000,
    ENABLE = 0x010,
    STATUS = 0x020,
    COUNTER = 0x0f0,
    T0 = 0x100, // configuration; the comparator is at +8
    T1 = 0x120,
    T2 = 0x140,
    LEVEL = 0x02,
    INT = 0x04,
    PERIODIC = 0x08,
    SET = 0x40,
    NARROW = 0x100,
};

struct fixture {
    struct rig rig;
    struct hpet hpet;
    struct rig_line inputs[32], legacy[HPET_LEGACY];
};

static inline u32 route(u32 input)
{
    return input << 9;
}

static inline void set_input(void *ctx, unsigned line, bool level)
{
    struct fixture *f = ctx;
    assert_in_range(line, 20, 23);
    rig_line_set(&f->inputs[line], line, level);
}

static inline void set_legacy(void *ctx, unsigned line, bool level)
{
    struct fixture *f = ctx;
    rig_line_set(&f->legacy[line], line, level);
}

// A clock of hz ticks a second; 100000000 makes ticks counts.
static inline struct fixture *fresh_at(u64 hz)
{
    static struct fixture f;
    memset(&f, 0, sizeof(f));
    rig_init(&f.rig, hz);
    f.rig.now = 12345;
    hpet_init(&f.hpet, &(struct hpet_config){
                           .clock = &f.rig.clock,
                           .queue = &f.rig.queue,
                           .routes = 0x00f00000,
                           .inputs = {set_input, &f,         0},
                           .legacy = {{set_legacy, &f, 0},         {set_legacy, &f, 1}},
    });
    assert_int_equal(hpet_attach(&f.hpet, &f.rig.bus), OK);
    return &f;
}

static inline struct fixture *fresh(void)
{
    return fresh_at(HPET_HZ);
}

static inline u64 get(struct fixture *f, u32 reg)
{
    return rig_read(&f->rig, HPET_BASE + reg, 8);
}

static inline void put(struct fixture *f, u32 reg, u64 value)
{
    rig_write(&f->rig, HPET_BASE + reg, 8, value);
}

static inline void pass(struct fixture *f, u64 ticks)
{
    rig_run_to(&f->rig, f->rig.now + ticks);
}

// The time goes on, and nobody serves anything.
static inline void be_away(struct fixture *f, u64 ticks)
{
    f->rig.now += ticks;
}

static inline bool anything_armed(const struct fixture *f)
{
    return deadline_next(&f->rig.queue) != DEADLINE_NEVER;
}
