// SPDX-License-Identifier: MIT
#include "devices/pit.h"

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "devices/bytewise.h"

enum {
    CONTROL_PORT = 3,  // offset of port 43H
    CONTROL_RW = 0x30, // how counts are read and written, or 0: latch
    READ_BACK = 3,     // the control word's D7-D6 that name no counter
    READ_BACK_NO_COUNT = 0x20,
    READ_BACK_NO_STATUS = 0x10,
    PORT_61_GATE2 = 0x01,
    PORT_61_KEPT = 0x0f, // gate 2, speaker, and two enables of board errors
    PORT_61_REFRESH = 0x10,
    PORT_61_OUT2 = 0x20,
};

static u64 pit_pulses(const struct pit *pit, u64 ticks)
{
    return mul_div(ticks - pit->epoch, PIT_HZ, pit->clock->hz);
}

static void pit_line(struct pit *pit, bool level)
{
    if (pit->line != level)
        irq_set(&pit->irq, level);
    pit->line = level;
}

// Shows on the line what OUT 0 did since the last time: however many rises, one edge.
static void pit_show(struct pit *pit)
{
    struct pit_counter *counter = &pit->counters[0];
    if (counter->rose) {
        pit_line(pit, false);
        pit_line(pit, true);
        counter->rose = false;
    }
    if (!counter->out && pit_counter_period(counter) == 0)
        pit_line(pit, false);
}

static void pit_schedule(struct pit *pit)
{
    const struct pit_counter *counter = &pit->counters[0];
    u64 pulses = pit_counter_next_rise(counter);
    u32 period = pit_counter_period(counter);
    if (pulses == PIT_NEVER) {
        deadline_cancel(pit->queue, &pit->rise);
        return;
    }
    if (period && period < PIT_FLOOR && pulses < PIT_FLOOR)
        pulses += (PIT_FLOOR - pulses + period - 1) / period * period;
    u64 ticks = mul_div_up(counter->at + pulses, pit->clock->hz, PIT_HZ);
    deadline_arm(pit->queue, &pit->rise, pit->epoch + ticks);
}

// A counter, brought to the present. A rise of OUT 0 that this passes is shown by its deadline,
// which is due by then.
static struct pit_counter *pit_counter_now(struct pit *pit, unsigned index)
{
    struct pit_counter *counter = &pit->counters[index];
    pit_counter_advance(counter, pit_pulses(pit, clock_now(pit->clock)));
    return counter;
}

static void pit_rise(struct deadline *entry, u64 now)
{
    struct pit *pit = container_of(entry, struct pit, rise);
    pit_counter_advance(&pit->counters[0], pit_pulses(pit, now));
    pit_show(pit);
    pit_schedule(pit);
}

// Counter 0 was programmed.
static void pit_reprogrammed(struct pit *pit, unsigned index)
{
    if (index != 0)
        return;
    pit_show(pit);
    pit_schedule(pit);
}

static void pit_read_back(struct pit *pit, u8 command)
{
    for (unsigned i = 0; i < ARRAY_SIZE(pit->counters); i++) {
        if (!(command & BIT32(i + 1)))
            continue;
        struct pit_counter *counter = pit_counter_now(pit, i);
        if (!(command & READ_BACK_NO_COUNT))
            pit_counter_latch_count(counter);
        if (!(command & READ_BACK_NO_STATUS))
            pit_counter_latch_status(counter);
    }
}

static void pit_control(struct pit *pit, u8 word)
{
    unsigned index = word >> 6;
    if (index == READ_BACK) {
        pit_read_back(pit, word);
        return;
    }
    pit_counter_control(pit_counter_now(pit, index), word);
    if (word & CONTROL_RW) // and not the latch command, which changes nothing
        pit_reprogrammed(pit, index);
}

static u8 port_61_read(struct pit *pit)
{
    struct pit_counter *counter = pit_counter_now(pit, 2);
    u8 value = pit->port_61;
    if (counter->at / PIT_REFRESH & 1)
        value |= PORT_61_REFRESH;
    if (counter->out)
        value |= PORT_61_OUT2;
    return value;
}

static void port_61_write(struct pit *pit, u8 value)
{
    pit_counter_gate(pit_counter_now(pit, 2), value & PORT_61_GATE2);
    pit->port_61 = value & PORT_61_KEPT;
}

static u8 pit_read(struct pit *pit, u32 port)
{
    if (port == PIT_PORT_61)
        return port_61_read(pit);
    unsigned index = port & 3;
    if (index == CONTROL_PORT)
        return 0xff;
    struct pit_counter *counter = &pit->counters[index];
    if (!counter->status_latched && !counter->count_latched)
        pit_counter_now(pit, index);
    return pit_counter_read(counter);
}

static void pit_write(struct pit *pit, u32 port, u8 value)
{
    unsigned index = port & 3;
    if (port == PIT_PORT_61) {
        port_61_write(pit, value);
    } else if (index == CONTROL_PORT) {
        pit_control(pit, value);
    } else {
        pit_counter_write(pit_counter_now(pit, index), value);
        pit_reprogrammed(pit, index);
    }
}

NOINLINE static enum io_result pit_access_any(struct pit *pit, struct io_access *io)
{
    if (io->size != 1)
        return bytewise_access(&pit->dev, io);
    if (io->write)
        pit_write(pit, (u32)io->addr, (u8)io->value);
    else
        io->value = pit_read(pit, (u32)io->addr);
    return IO_DONE;
}

// Guests read counter 0 in loops, to measure other clocks by it.
static enum io_result pit_access(struct device *dev, struct io_access *io)
{
    struct pit *pit = container_of(dev, struct pit, dev);
    struct pit_counter *counter = &pit->counters[0];
    if (unlikely(io->size != 1) || io->write || io->addr != PIT_PORT || !counter->steady)
        return pit_access_any(pit, io);
    u64 pulses = pit_pulses(pit, clock_now(pit->clock)) - counter->at;
    if (unlikely(pulses >= counter->value - 1))
        return pit_access_any(pit, io);
    io->value = pit_counter_read_steady(counter, (u32)pulses);
    return IO_DONE;
}

static void pit_reset(struct device *dev)
{
    struct pit *pit = container_of(dev, struct pit, dev);
    u64 now = pit_pulses(pit, clock_now(pit->clock));
    deadline_cancel(pit->queue, &pit->rise);
    for (unsigned i = 0; i < ARRAY_SIZE(pit->counters); i++)
        pit_counter_reset(&pit->counters[i], i != 2, now);
    pit->port_61 = 0;
    pit_line(pit, false);
}

static const struct device_ops pit_ops = {.reset = pit_reset, .access = pit_access};

INIT void pit_init(struct pit *pit, const struct clock *clock, struct deadline_queue *queue,
                   struct irq_pin irq0)
{
    *pit = (struct pit){
        .dev = {.name = "pit", .ops = &pit_ops},
        .clock = clock,
        .queue = queue,
        .irq = irq0,
        .rise = {.fire = pit_rise            },
        .epoch = clock_now(clock),
    };
    pit_reset(&pit->dev);
}

INIT int pit_attach(struct pit *pit, struct bus *bus)
{
    int err = bus_attach(bus, &pit->dev, IO_PORT, PIT_PORT, 4);
    return err == OK ? bus_attach(bus, &pit->dev, IO_PORT, PIT_PORT_61, 1) : err;
}
