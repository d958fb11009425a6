// SPDX-License-Identifier: MIT
// An 8259A pair that finds priorities by walking the inputs one at a time.
#pragma once

#include "arch/x86_64/lib/types.h"

struct model_chip {
    bool line[8], latch[8], level[8], service[8], mask[8];
    bool ltim, aeoi, sfnm, single, ic4;
    bool read_isr, poll, smm, rotate_aeoi, intr;
    u8 elcr, base;
    int lowest, stage;
};

struct model {
    struct model_chip chip[2]; // master, slave
};

static inline bool model_request(const struct model_chip *c, int i)
{
    return c->line[i] && (c->level[i] || c->latch[i]);
}

// Walks from the highest priority down until something in service stops it.
static inline int model_pending(const struct model_chip *c)
{
    for (int n = 1; n <= 8; n++) {
        int i = (c->lowest + n) % 8;
        bool blocks = c->service[i] && !(c->smm && c->mask[i]);
        bool nested = c->sfnm && i == 2;
        if (blocks && !nested)
            return -1;
        if (model_request(c, i) && !c->mask[i])
            return i;
        if (blocks)
            return -1;
    }
    return -1;
}

static inline void model_line(struct model_chip *c, int i, bool level)
{
    if (!level)
        c->latch[i] = false;
    else if (!c->line[i])
        c->latch[i] = true;
    c->line[i] = level;
}

static inline void model_update(struct model *m, bool hold)
{
    struct model_chip *master = &m->chip[0], *slave = &m->chip[1];
    slave->intr = model_pending(slave) >= 0 || (hold && slave->intr);
    model_line(master, 2, slave->intr);
    master->intr = model_pending(master) >= 0 || (hold && master->intr);
}

static inline void model_take(struct model_chip *c, int i)
{
    c->latch[i] = false;
    if (!c->aeoi)
        c->service[i] = true;
    else if (c->rotate_aeoi)
        c->lowest = i;
}

static inline u8 model_ack(struct model *m)
{
    struct model_chip *master = &m->chip[0], *slave = &m->chip[1];
    int i = model_pending(master);
    u8 vector = (u8)(master->base + (i < 0 ? 7 : i));
    if (i >= 0)
        model_take(master, i);
    if (i == 2 && !master->single) {
        int j = model_pending(slave);
        vector = (u8)(slave->base + (j < 0 ? 7 : j));
        if (j >= 0)
            model_take(slave, j);
        model_line(master, 2, false);
    }
    model_update(m, false);
    return vector;
}

static inline void model_levels(struct model_chip *c)
{
    for (int i = 0; i < 8; i++) {
        bool was = model_request(c, i);
        c->level[i] = c->ltim || (c->elcr >> i & 1);
        c->latch[i] = was;
    }
}

static inline void model_icw1(struct model_chip *c, u8 v)
{
    c->ltim = v & 8;
    c->single = v & 2;
    c->ic4 = v & 1;
    c->aeoi = c->sfnm = c->read_isr = c->poll = c->smm = c->rotate_aeoi = false;
    model_levels(c);
    for (int i = 0; i < 8; i++)
        c->latch[i] = c->service[i] = c->mask[i] = false;
    c->lowest = 7;
    c->stage = 2;
}

static inline void model_ocw2(struct model_chip *c, u8 v)
{
    int i = v & 7;
    switch (v >> 5) {
    case 0:
    case 4:
        c->rotate_aeoi = v >> 7;
        return;
    case 2:
        return;
    case 6:
        c->lowest = i;
        return;
    case 3:
    case 7:
        break;
    default:
        i = -1;
        for (int n = 1; n <= 8 && i < 0; n++) {
            int k = (c->lowest + n) % 8;
            if (c->service[k] && !(c->smm && c->mask[k]))
                i = k;
        }
        if (i < 0)
            return;
    }
    c->service[i] = false;
    if (v & 0x80)
        c->lowest = i;
}

static inline void model_write(struct model *m, u16 port, u8 v)
{
    struct model_chip *c = &m->chip[port >= 0x4d0 ? port & 1 : port >= 0xa0];
    if (port >= 0x4d0) {
        c->elcr = v & (port & 1 ? 0xde : 0xf8);
        model_levels(c);
    } else if (!(port & 1)) {
        if (v & 0x10) {
            model_icw1(c, v);
        } else if (v & 8) {
            c->poll = v & 4;
            if (v & 2)
                c->read_isr = v & 1;
            if (v & 0x40)
                c->smm = v & 0x20;
        } else {
            model_ocw2(c, v);
        }
    } else if (c->stage == 2) {
        c->base = v & 0xf8;
        c->stage = c->single ? (c->ic4 ? 4 : 0) : 3;
    } else if (c->stage == 3) {
        c->stage = c->ic4 ? 4 : 0;
    } else if (c->stage == 4) {
        c->aeoi = v & 2;
        c->sfnm = v & 0x10;
        c->stage = 0;
    } else {
        for (int i = 0; i < 8; i++)
            c->mask[i] = v >> i & 1;
    }
    model_update(m, false);
}

static inline u8 model_read(struct model *m, u16 port)
{
    struct model_chip *c = &m->chip[port >= 0x4d0 ? port & 1 : port >= 0xa0];
    if (port >= 0x4d0)
        return c->elcr;
    if (c->poll) {
        int i = model_pending(c);
        c->poll = false;
        if (i >= 0)
            model_take(c, i);
        if (port >= 0xa0)
            model_line(&m->chip[0], 2, false);
        model_update(m, false);
        return i < 0 ? 0 : (u8)(0x80 | i);
    }
    u8 value = 0;
    for (int i = 0; i < 8; i++) {
        bool bit = port & 1 ? c->mask[i] : c->read_isr ? c->service[i] : model_request(c, i);
        value |= (u8)(bit << i);
    }
    return value;
}
