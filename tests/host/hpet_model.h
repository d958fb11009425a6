// SPDX-License-Identifier: MIT
// An HPET told as its specification tells it: a counter that is incremented, and comparators that
// are compared with it each time. Slow and plain, to compare devices/hpet.c with. It has the same
// floor under short periods. Each timer has an I/O APIC input of its own, 20 + its number.
#pragma once

#include "arch/x86_64/lib/types.h"

enum {
    MODEL_LINES = 5, // inputs 20-22, IRQ 0, IRQ 8
    MODEL_FLOOR = 10000,
};

struct hpet_model_timer {
    bool level, enabled, periodic, value_set, narrow;
    u32 route;
    u64 comparator, period;
    u64 quiet; // counts for which the floor allows no interrupt
    bool held;
};

struct hpet_model {
    struct hpet_model_timer timers[3];
    u64 counter;
    bool running, legacy;
    u32 status;
    bool legacy_in[2];
    bool up[MODEL_LINES];
    unsigned rises[MODEL_LINES];
};

static inline u64 model_width(const struct hpet_model_timer *t)
{
    return t->narrow ? 0xffffffffull : ~0ull;
}

static inline void model_drive(struct hpet_model *m, unsigned line, bool up)
{
    m->rises[line] += up && !m->up[line];
    m->up[line] = up;
}

// The line that a timer drives, or -1.
static inline int model_line_of(const struct hpet_model *m, int index)
{
    if (m->legacy && index < 2)
        return 3 + index;
    return m->timers[index].route == 20u + (unsigned)index ? index : -1;
}

static inline bool model_is_up(const struct hpet_model *m, int index)
{
    const struct hpet_model_timer *t = &m->timers[index];
    if (!m->running || !t->enabled)
        return false;
    return t->level ? m->status >> index & 1 : t->held;
}

static inline void model_lines(struct hpet_model *m)
{
    bool up[MODEL_LINES] = {false};
    for (int line = 0; line < 2; line++)
        up[3 + line] = !m->legacy && m->legacy_in[line];
    for (int i = 0; i < 3; i++)
        if (model_line_of(m, i) >= 0 && model_is_up(m, i))
            up[model_line_of(m, i)] = true;
    for (unsigned line = 0; line < MODEL_LINES; line++)
        model_drive(m, line, up[line]);
}

static inline void model_interrupt(struct hpet_model *m, int index)
{
    struct hpet_model_timer *t = &m->timers[index];
    if (t->level ? m->status >> index & 1 : !t->enabled)
        return; // nobody would notice
    if (t->periodic && t->period != 0 && t->period < MODEL_FLOOR && t->quiet != 0)
        return;
    t->quiet = MODEL_FLOOR;
    if (t->level) {
        m->status |= 1u << index;
        model_lines(m);
        return;
    }
    t->held = false;
    model_lines(m);
    int line = model_line_of(m, index);
    if (line >= 3) {
        t->held = true;
        model_lines(m);
    } else if (line >= 0) {
        model_drive(m, (unsigned)line, true);
        model_drive(m, (unsigned)line, false);
    }
}

static inline void model_compare(struct hpet_model *m, int index)
{
    struct hpet_model_timer *t = &m->timers[index];
    if (!m->running || ((m->counter ^ t->comparator) & model_width(t)) != 0)
        return;
    if (t->periodic)
        t->comparator = (t->comparator + t->period) & model_width(t);
    model_interrupt(m, index);
}

// One count passes.
static inline void model_count(struct hpet_model *m)
{
    if (!m->running)
        return;
    m->counter++;
    for (int i = 0; i < 3; i++) {
        m->timers[i].quiet -= m->timers[i].quiet != 0;
        model_compare(m, i);
    }
}

static inline void model_set_counter(struct hpet_model *m, u64 value)
{
    m->counter = value;
    for (int i = 0; i < 3; i++) {
        m->timers[i].quiet = 0;
        model_compare(m, i);
    }
}

static inline void model_write_enable(struct hpet_model *m, u32 value)
{
    bool run = value & 1, legacy = value & 2;
    if (legacy != m->legacy || run != m->running)
        for (int i = 0; i < 3; i++)
            m->timers[i].held = false;
    m->legacy = legacy;
    bool changed = run != m->running;
    m->running = run;
    model_lines(m);
    if (changed)
        model_set_counter(m, m->counter);
}

static inline void model_write_config(struct hpet_model *m, int index, u32 value)
{
    struct hpet_model_timer *t = &m->timers[index];
    bool narrow = value & 0x100, changed = narrow != t->narrow;
    u32 route = value >> 9 & 31;
    t->level = value & 2;
    t->enabled = value & 4;
    t->periodic = value & 8;
    t->value_set = t->periodic && value & 0x40;
    t->narrow = narrow;
    if (route >= 20 && route <= 23)
        t->route = route;
    if (!t->level)
        m->status &= ~(1u << index);
    if (t->level || !t->enabled)
        t->held = false;
    t->comparator &= model_width(t);
    t->period &= model_width(t);
    model_lines(m);
    if (changed)
        model_compare(m, index);
}

static inline void model_write_comparator(struct hpet_model *m, int index, u64 value)
{
    struct hpet_model_timer *t = &m->timers[index];
    value &= model_width(t);
    if (t->periodic)
        t->period = value;
    if (t->periodic && !t->value_set)
        return;
    t->value_set = false;
    t->comparator = value;
    model_compare(m, index);
}

static inline u64 model_config(const struct hpet_model *m, int index)
{
    const struct hpet_model_timer *t = &m->timers[index];
    return 0x00f0000000000030 | (t->level ? 2u : 0) | (t->enabled ? 4u : 0) |
           (t->periodic ? 8u : 0) | (t->value_set ? 0x40u : 0) | (t->narrow ? 0x100u : 0) |
           t->route << 9;
}
