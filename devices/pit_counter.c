// SPDX-License-Identifier: MIT
#include "devices/pit_counter.h"

#include "arch/x86_64/lib/bits.h"

// The control word's fields (8254 datasheet, "Control Word Format").
enum {
    CONTROL_BCD = 0x01,
    CONTROL_RW = 0x30, // 0 is the counter latch command
    CONTROL_LOW = 0x10,
    CONTROL_HIGH = 0x20,
    CONTROL_LOW_HIGH = 0x30,
    CONTROL_KEPT = 0x3f, // what the status byte shows
    STATUS_OUT = 0x80,
    STATUS_NULL = 0x40,
};

static u32 modulus(const struct pit_counter *counter)
{
    return counter->control & CONTROL_BCD ? 10000 : 0x10000;
}

static u32 from_bcd(u32 digits)
{
    u32 value = 0;
    for (int shift = 12; shift >= 0; shift -= 4)
        value = value * 10 + (digits >> shift & 0xf);
    return value;
}

static u32 to_bcd(u32 value)
{
    u32 digits = 0;
    for (unsigned shift = 0; shift < 16; shift += 4, value /= 10)
        digits |= value % 10 << shift;
    return digits;
}

static u16 visible_value(const struct pit_counter *counter)
{
    return (u16)(counter->control & CONTROL_BCD ? to_bcd(counter->value % 10000) : counter->value);
}

static void set_out(struct pit_counter *counter, bool out)
{
    counter->rose |= out && !counter->out;
    counter->out = out;
}

// ---- counting -----------------------------------------------------------------------------------

// Mode 3: starts the half cycle in which OUT is out. The element takes the count less its odd unit;
// the high half of an odd count lasts one pulse longer. A count of 1 has no low half.
static void start_half(struct pit_counter *counter, bool out)
{
    counter->running = counter->count;
    counter->value = counter->count & ~1u;
    counter->null = false;
    set_out(counter, out || counter->count == 1);
}

static u32 half_left(const struct pit_counter *counter)
{
    return counter->value / 2 + (counter->out && counter->running & 1);
}

// Mode 2: starts a period. A low gate keeps OUT high.
static void start_period(struct pit_counter *counter)
{
    counter->value = counter->count;
    counter->null = false;
    set_out(counter, counter->value != 1 || !counter->gate);
}

// The pulse that moves the count register into the counting element.
static void load(struct pit_counter *counter)
{
    counter->load = false;
    counter->counting = true;
    if (counter->mode == 3) {
        start_half(counter, true);
    } else if (counter->mode == 2) {
        start_period(counter);
    } else {
        counter->value = counter->count;
        counter->null = false;
        counter->armed = true;
        set_out(counter, counter->mode >= 4); // modes 0, 1: low for the count; 4, 5: a strobe ends
    }
}

static void count_down(struct pit_counter *counter, u64 pulses)
{
    u32 wrap = modulus(counter);
    counter->value = (counter->value + wrap - (u32)(pulses % wrap)) % wrap;
}

// Modes 0 and 1: OUT rises when the count has expired; the element goes on through its modulus. The
// gate's level does not matter in mode 1, nor in mode 5.
static void count_out(struct pit_counter *counter, u64 pulses)
{
    if (!counter->gate && counter->mode == 0)
        return;
    if (counter->armed && pulses >= counter->value) {
        counter->armed = false;
        set_out(counter, true);
    }
    count_down(counter, pulses);
}

// Modes 4 and 5: OUT is low for the one pulse in which the count has expired, gate or no gate.
static void count_strobe(struct pit_counter *counter, u64 pulses)
{
    set_out(counter, true);
    if (!counter->gate && counter->mode == 4)
        return;
    if (counter->armed && pulses >= counter->value) {
        counter->armed = false;
        set_out(counter, false);
        set_out(counter, pulses > counter->value);
    }
    count_down(counter, pulses);
}

// Mode 2: OUT is low while the element holds 1; the next pulse reloads it.
static void count_rate(struct pit_counter *counter, u64 pulses)
{
    if (!counter->gate)
        return;
    if (pulses >= counter->value) {
        pulses -= counter->value;
        set_out(counter, false);
        start_period(counter);
        pulses %= counter->count;
    }
    counter->value -= (u32)pulses;
    set_out(counter, counter->value != 1);
}

// Mode 3: by twos, a half cycle at a time; whole periods change nothing but that OUT rose in each.
static void count_square(struct pit_counter *counter, u64 pulses)
{
    if (!counter->gate)
        return;
    if (pulses >= half_left(counter)) {
        pulses -= half_left(counter);
        start_half(counter, !counter->out);
        counter->rose |= pulses >= counter->count && counter->count > 1;
        pulses %= counter->count;
        if (pulses >= half_left(counter)) {
            pulses -= half_left(counter);
            start_half(counter, !counter->out);
        }
    }
    counter->value -= (u32)pulses * 2;
}

void pit_counter_advance(struct pit_counter *counter, u64 now)
{
    static void (*const count[6])(struct pit_counter * counter, u64 pulses) = {
        count_out, count_out, count_rate, count_square, count_strobe, count_strobe,
    };
    if (now <= counter->at)
        return;
    u64 pulses = now - counter->at;
    counter->at = now;
    if (counter->load) {
        load(counter);
        pulses--;
    }
    if (counter->counting && pulses != 0)
        count[counter->mode](counter, pulses);
}

u64 pit_counter_next_rise(const struct pit_counter *counter)
{
    bool strobing = counter->mode >= 4 && !counter->out;
    bool gated = !counter->gate && counter->mode != 1 && counter->mode != 5;
    if (strobing)
        return 1;
    if (gated || !(counter->load || counter->counting))
        return PIT_NEVER;
    u64 start = counter->load ? 1 : 0;
    u64 left = counter->load ? counter->count : counter->value;
    bool due = counter->load || counter->armed;
    switch (counter->mode) {
    case 2:
        return counter->count > 1 ? start + left : PIT_NEVER;
    case 3:
        if (!counter->load && !counter->out)
            return half_left(counter);
        if (counter->count == 1)
            return PIT_NEVER;
        return counter->load ? start + left : half_left(counter) + (u64)counter->count / 2;
    case 4:
    case 5:
        return due ? start + left + 1 : PIT_NEVER;
    default:
        return due ? start + left : PIT_NEVER;
    }
}

// ---- programming --------------------------------------------------------------------------------

void pit_counter_reset(struct pit_counter *counter, bool gate, u64 now)
{
    *counter = (struct pit_counter){
        .at = now,
        .count = 0x10000,
        .control = CONTROL_LOW_HIGH | 3 << 1,
        .mode = 3,
        .gate = gate,
        .out = true,
        .null = true,
    };
}

static void set_mode(struct pit_counter *counter, u8 control)
{
    u8 mode = control >> 1 & 7;
    counter->value %= modulus(counter);
    counter->control = control & CONTROL_KEPT;
    counter->mode = mode < 6 ? mode : mode & 3;
    counter->written = counter->load = counter->counting = counter->armed = false;
    counter->write_high = counter->read_high = false;
    counter->count_latched = counter->status_latched = false;
    counter->null = true;
    set_out(counter, counter->mode != 0);
}

void pit_counter_control(struct pit_counter *counter, u8 control)
{
    counter->steady = false;
    if (control & CONTROL_RW)
        set_mode(counter, control);
    else
        pit_counter_latch_count(counter);
}

// A latch that was not read yet keeps what it holds.
void pit_counter_latch_count(struct pit_counter *counter)
{
    counter->steady = false;
    if (!counter->count_latched)
        counter->count_latch = visible_value(counter);
    counter->count_latched = true;
}

void pit_counter_latch_status(struct pit_counter *counter)
{
    counter->steady = false;
    if (!counter->status_latched)
        counter->status_latch = (u8)(counter->control | (counter->out ? STATUS_OUT : 0) |
                                     (counter->null ? STATUS_NULL : 0));
    counter->status_latched = true;
}

static void set_count(struct pit_counter *counter, u32 digits)
{
    u32 count = counter->control & CONTROL_BCD ? from_bcd(digits) % 10000 : digits;
    bool first = !counter->written;
    counter->count = count ? count : modulus(counter);
    counter->written = counter->null = true;
    switch (counter->mode) {
    case 0:
        set_out(counter, false);
        FALLTHROUGH;
    case 4:
        counter->load = true;
        break;
    case 2:
    case 3:
        counter->load |= first; // later counts wait for the cycle's end or a trigger
        break;
    default: // 1 and 5: a trigger loads
        break;
    }
}

void pit_counter_write(struct pit_counter *counter, u8 value)
{
    counter->steady = false;
    switch (counter->control & CONTROL_RW) {
    case CONTROL_LOW:
        set_count(counter, value);
        return;
    case CONTROL_HIGH:
        set_count(counter, (u32)value << 8);
        return;
    default:
        counter->write_high = !counter->write_high;
        if (!counter->write_high) {
            set_count(counter, (u32)value << 8 | counter->low);
            return;
        }
        counter->low = value;
        if (counter->mode == 0) { // mode 0 alone stops at the first byte
            counter->counting = counter->load = counter->armed = false;
            set_out(counter, false);
        }
    }
}

static bool is_steady(const struct pit_counter *counter)
{
    return counter->counting && counter->gate && !counter->load && counter->mode == 2 &&
           (counter->control & (CONTROL_BCD | CONTROL_RW)) == CONTROL_LOW_HIGH &&
           !counter->count_latched && !counter->status_latched;
}

u8 pit_counter_read(struct pit_counter *counter)
{
    if (counter->status_latched) {
        counter->status_latched = false;
        return counter->status_latch;
    }
    u16 value = counter->count_latched ? counter->count_latch : visible_value(counter);
    u8 access = counter->control & CONTROL_RW;
    bool high = access == CONTROL_HIGH || (access == CONTROL_LOW_HIGH && counter->read_high);
    if (access == CONTROL_LOW_HIGH)
        counter->read_high = !counter->read_high;
    if (high || access == CONTROL_LOW)
        counter->count_latched = false;
    counter->steady = is_steady(counter);
    return (u8)(high ? value >> 8 : value);
}

void pit_counter_gate(struct pit_counter *counter, bool gate)
{
    bool rises = gate && !counter->gate;
    bool periodic = counter->mode == 2 || counter->mode == 3;
    counter->gate = gate;
    counter->steady = false;
    if (!gate && periodic)
        set_out(counter, true);
    // The rising edge is the trigger, of a counter that has a count.
    if (rises && counter->mode != 0 && counter->mode != 4)
        counter->load |= counter->written;
}
