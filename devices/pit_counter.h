// SPDX-License-Identifier: MIT
// One counter of an 8254 interval timer, in closed form (Intel 8254 datasheet, "Mode Definitions").
//
// Time here is a number of input clock pulses. Nothing happens in a counter but at a pulse or at an
// access, so a counter is a state that was right at some pulse and is brought forward over any
// number of pulses in one step. An access at time t comes after pulse t and before pulse t + 1:
// a count written at t is in the counting element from t + 1, and so on, as in the datasheet's
// timing diagrams.
//
// What the datasheet leaves open: before its first count a counter stands still; mode 2 with the
// illegal count 1 keeps OUT low, and mode 3 with it keeps OUT high; digits above 9 in a BCD count
// weigh what they weigh, modulo 10000; modes 4 and 5 strobe once per loaded count, not on every
// wrap; a two-byte count counts as written with its second byte.
#pragma once

#include "arch/x86_64/lib/types.h"

#define PIT_NEVER (~0ull)

struct pit_counter {
    u64 at;        // pulses up to which all of this is right
    u32 value;     // the counting element: 0 to the modulus, which reads as 0
    u32 count;     // the count register, 1 to the modulus: what the next load takes
    u32 running;   // the count that the running sequence was loaded from
    u8 control;    // D5-D0 of the control word, as written
    u8 mode;       // 0-5
    bool gate;     // the inputs and outputs
    bool out;      //
    bool rose;     // OUT went up; the owner clears it
    bool written;  // a whole count was written since the control word
    bool null;     // status: the count register is not yet in the counting element
    bool load;     // the next pulse loads the counting element
    bool counting; // loaded, and pulses count (if the gate lets them)
    bool steady;   // known to count in mode 2, in binary, read low byte first, nothing latched
    bool armed;    // modes 0, 1, 4, 5: OUT is still to show the end of this count
    // The eight-bit side.
    bool write_high, read_high; // the flip-flops of two-byte access
    u8 low;                     // first byte of a two-byte count
    bool count_latched, status_latched;
    u16 count_latch;
    u8 status_latch;
};

// Power-on: standing still in mode 3 with OUT high.
void pit_counter_reset(struct pit_counter *counter, bool gate, u64 now);

// Brings the counter to time now, in pulses; a now in the past does nothing. Everything below takes
// the counter as it is, so this comes first.
void pit_counter_advance(struct pit_counter *counter, u64 now);

// A control word for this counter (its D7-D6 are the owner's): a mode, or the latch command.
void pit_counter_control(struct pit_counter *counter, u8 control);

// The read-back command's two halves.
void pit_counter_latch_count(struct pit_counter *counter);
void pit_counter_latch_status(struct pit_counter *counter);

// The counter's data port.
void pit_counter_write(struct pit_counter *counter, u8 value);
u8 pit_counter_read(struct pit_counter *counter);

// The gate input.
void pit_counter_gate(struct pit_counter *counter, bool gate);

// Pulses from counter->at to OUT's next rise if nobody touches the counter, or PIT_NEVER.
u64 pit_counter_next_rise(const struct pit_counter *counter);

// Pulses between rises, 0 if the mode does not repeat.
static inline u32 pit_counter_period(const struct pit_counter *counter)
{
    return counter->mode == 2 || counter->mode == 3 ? counter->count : 0;
}

// pit_counter_advance() by so many pulses, less than value - 1, and pit_counter_read(), of a steady
// counter.
static inline u8 pit_counter_read_steady(struct pit_counter *counter, u32 pulses)
{
    u32 shift = counter->read_high ? 8 : 0;
    counter->at += pulses;
    counter->value -= pulses;
    counter->read_high = !counter->read_high;
    return (u8)(counter->value >> shift);
}
