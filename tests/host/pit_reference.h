// SPDX-License-Identifier: MIT
// An 8254 counter that knows nothing but what one pulse of the input clock does, as the datasheet
// tells it. The device, which jumps over any number of pulses, must agree with it whenever anybody
// looks.
#pragma once

#include "arch/x86_64/lib/types.h"

struct ref {
    u8 control, mode;
    bool bcd, gate, out;
    u16 ce; // the counting element as the bus sees it: binary or BCD digits
    u16 cr;
    bool odd;       // mode 3: the running count is odd
    bool has_count; // since the control word
    bool running, load_next, owes_end, null;
    bool hi_write, hi_read, count_held, status_held;
    u8 low_byte, status_latch;
    u16 count_latch;
    u64 rises;
};

static inline void ref_out(struct ref *r, bool out)
{
    r->rises += out && !r->out;
    r->out = out;
}

static inline void ref_decrement(struct ref *r)
{
    if (!r->bcd) {
        r->ce--;
        return;
    }
    for (int digit = 0; digit < 4; digit++) {
        if (r->ce >> (4 * digit) & 0xf) {
            r->ce = (u16)(r->ce - (1u << (4 * digit)));
            return;
        }
        r->ce = (u16)(r->ce | 9u << (4 * digit));
    }
}

static inline void ref_load(struct ref *r)
{
    r->ce = r->cr;
    r->null = false;
    r->running = true;
    if (r->mode == 3) {
        r->odd = r->cr & 1;
        if (r->odd)
            ref_decrement(r);
    }
}

static inline void ref_pulse_square(struct ref *r)
{
    bool last; // this pulse ends the half cycle
    if (r->odd && r->out) {
        last = r->ce == 0;
    } else {
        last = r->ce == 2;
    }
    if (!last) {
        ref_decrement(r);
        ref_decrement(r);
        return;
    }
    bool stays = r->out && r->cr == 1; // no low half
    ref_load(r);
    if (!stays)
        ref_out(r, !r->out);
}

// Modes 0, 1, 4 and 5 at a pulse that counts.
static inline void ref_pulse_once(struct ref *r)
{
    ref_decrement(r);
    if (r->ce != 0 || !r->owes_end)
        return;
    r->owes_end = false;
    ref_out(r, r->mode < 2);
}

static inline void ref_pulse(struct ref *r)
{
    bool strobe = r->mode >= 4;
    if (strobe)
        ref_out(r, true);
    if (r->load_next) {
        r->load_next = false;
        ref_load(r);
        r->owes_end = true;
        if (r->mode == 1)
            ref_out(r, false);
        if (r->mode == 2)
            ref_out(r, r->ce != 1 || !r->gate);
        if (r->mode == 3)
            ref_out(r, true);
        return;
    }
    if (!r->running || (!r->gate && r->mode != 1 && r->mode != 5))
        return;
    if (r->mode == 3) {
        ref_pulse_square(r);
    } else if (r->mode != 2) {
        ref_pulse_once(r);
    } else {
        if (r->ce == 1)
            ref_load(r);
        else
            ref_decrement(r);
        ref_out(r, r->ce != 1);
    }
}

static inline void ref_latch(struct ref *r)
{
    if (!r->count_held)
        r->count_latch = r->ce;
    r->count_held = true;
}

static inline void ref_status(struct ref *r)
{
    if (!r->status_held)
        r->status_latch = (u8)(r->control | r->null << 6 | r->out << 7);
    r->status_held = true;
}

static inline void ref_control(struct ref *r, u8 word)
{
    if (!(word & 0x30)) {
        ref_latch(r);
        return;
    }
    *r = (struct ref){
        .control = word & 0x3f,
        .mode = (word >> 1 & 7) > 5 ? (word >> 1 & 3) : (word >> 1 & 7),
        .bcd = word & 1,
        .gate = r->gate,
        .out = r->out,
        .ce = r->ce,
        .null = true,
        .rises = r->rises,
    };
    ref_out(r, r->mode != 0);
}

static inline void ref_count(struct ref *r, u16 count)
{
    r->cr = count;
    r->null = true;
    if (r->mode == 0)
        ref_out(r, false);
    if (r->mode == 0 || r->mode == 4 || ((r->mode == 2 || r->mode == 3) && !r->has_count))
        r->load_next = true;
    r->has_count = true;
}

static inline void ref_write(struct ref *r, u8 value)
{
    switch (r->control >> 4) {
    case 1:
        ref_count(r, value);
        break;
    case 2:
        ref_count(r, (u16)(value << 8));
        break;
    default:
        r->hi_write = !r->hi_write;
        if (!r->hi_write) {
            ref_count(r, (u16)(value << 8 | r->low_byte));
        } else {
            r->low_byte = value;
            if (r->mode == 0) {
                r->running = r->load_next = r->owes_end = false;
                ref_out(r, false);
            }
        }
    }
}

static inline u8 ref_read(struct ref *r)
{
    if (r->status_held) {
        r->status_held = false;
        return r->status_latch;
    }
    u16 value = r->count_held ? r->count_latch : r->ce;
    if (r->control >> 4 == 1) {
        r->count_held = false;
        return (u8)value;
    }
    if (r->control >> 4 == 2 || r->hi_read) {
        r->count_held = r->hi_read = false;
        return (u8)(value >> 8);
    }
    r->hi_read = true;
    return (u8)value;
}

static inline void ref_gate(struct ref *r, bool gate)
{
    bool rise = gate && !r->gate;
    r->gate = gate;
    if (!gate && (r->mode == 2 || r->mode == 3))
        ref_out(r, true);
    if (rise && r->has_count && r->mode != 0 && r->mode != 4)
        r->load_next = true;
}
