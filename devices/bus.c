// SPDX-License-Identifier: MIT
#include "devices/bus.h"

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/string.h"

#define PORT_LAST 0xffffull
#define LAST      (~0ull) // nobody can have it

static const char *const space_name[] = {[IO_PORT] = "port", [IO_MEM] = "memory"};

static enum io_result nobody(struct device *dev, struct io_access *io)
{
    (void)dev;
    (void)io;
    return IO_UNCLAIMED;
}

static void forget_recent(struct bus_space *space)
{
    for (u32 i = 0; i < BUS_RECENT; i++)
        space->recent[i] = &space->nowhere;
}

INIT void bus_init(struct bus *bus)
{
    memset(bus, 0, sizeof(*bus));
    for (u32 i = 0; i < ARRAY_SIZE(bus->spaces); i++) {
        bus->spaces[i].nowhere = (struct bus_range){LAST, LAST, NULL, nobody, {0}};
        forget_recent(&bus->spaces[i]);
        bus_give_room(bus, (enum io_space)i, bus->spaces[i].own, BUS_RANGES);
    }
}

INIT void bus_give_room(struct bus *bus, enum io_space space, struct bus_range *ranges, u32 n)
{
    bus->spaces[space].ranges = ranges;
    bus->spaces[space].room = n;
}

// How many ranges of the space begin at or below addr: the last of them is the only one that can
// hold addr.
static u32 ranges_from(const struct bus_space *space, u64 addr)
{
    u32 low = 0, high = space->count;
    while (low < high) {
        u32 middle = (low + high) / 2;
        if (space->ranges[middle].first <= addr)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool device_known(const struct bus *bus, const struct device *dev)
{
    for (u32 i = 0; i < bus->ndevices; i++)
        if (bus->devices[i] == dev)
            return true;
    return false;
}

// The range that shares an address with [first, last], or NULL. index is ranges_from(first): only
// the neighbour on either side can.
static const struct bus_range *overlapping(const struct bus_space *space, u32 index, u64 first,
                                           u64 last)
{
    if (index > 0 && space->ranges[index - 1].last >= first)
        return &space->ranges[index - 1];
    if (index < space->count && space->ranges[index].first <= last)
        return &space->ranges[index];
    return NULL;
}

static void range_insert(struct bus_space *space, u32 index, struct bus_range range)
{
    for (u32 i = space->count++; i > index; i--)
        space->ranges[i] = space->ranges[i - 1];
    space->ranges[index] = range;
    forget_recent(space);
}

INIT int bus_attach(struct bus *bus, struct device *dev, enum io_space space, u64 first, u64 size)
{
    const char *where = space_name[space];
    u64 last = first + size - 1;
    if (size == 0 || last < first || last == LAST || (space == IO_PORT && last > PORT_LAST)) {
        log_error("bus: %s: %s range %llx, size %llx is empty or too long", dev->name, where,
                  (unsigned long long)first, (unsigned long long)size);
        return E_RANGE;
    }
    struct bus_space *into = &bus->spaces[space];
    u32 index = ranges_from(into, first);
    const struct bus_range *other = overlapping(into, index, first, last);
    if (other) {
        log_error("bus: %s: %s range %llx-%llx overlaps %s at %llx-%llx", dev->name, where,
                  (unsigned long long)first, (unsigned long long)last, other->dev->name,
                  (unsigned long long)other->first, (unsigned long long)other->last);
        return E_EXIST;
    }
    bool known = device_known(bus, dev);
    if (into->count == into->room || (!known && bus->ndevices == BUS_DEVICES)) {
        log_error("bus: %s: no room for another %s range", dev->name, where);
        return E_NOMEM;
    }
    range_insert(into, index, (struct bus_range){first, last, dev, dev->ops->access, {0}});
    if (!known)
        bus->devices[bus->ndevices++] = dev;
    return OK;
}

struct device *bus_find(const struct bus *bus, enum io_space space, u64 addr)
{
    const struct bus_space *in = &bus->spaces[space];
    u32 index = ranges_from(in, addr);
    if (index == 0 || addr > in->ranges[index - 1].last)
        return NULL;
    return in->ranges[index - 1].dev;
}

static void count_port(struct bus *bus, u16 port)
{
    for (u32 i = 0; i < BUS_UNCLAIMED_PORTS; i++) {
        u32 *count = &bus->unclaimed_ports[i].count;
        if (*count != 0 && bus->unclaimed_ports[i].port != port)
            continue;
        bus->unclaimed_ports[i].port = port;
        *count += *count != ~0u;
        return;
    }
}

enum io_result bus_unclaimed(struct bus *bus, struct io_access *io)
{
    bus->unclaimed[io->space]++;
    if (io->space == IO_PORT)
        count_port(bus, (u16)io->addr);
    if (!io->write)
        io->value = low_bytes(~0ull, io->size);
    return IO_UNCLAIMED;
}

struct bus_range *bus_search(struct bus *bus, const struct io_access *io)
{
    struct bus_space *in = &bus->spaces[io->space];
    u32 index = ranges_from(in, io->addr);
    struct bus_range *range = index ? &in->ranges[index - 1] : NULL;
    if (!range || !bus_range_holds(range, io->addr, io->size))
        return NULL;
    in->recent[io->addr / BUS_GRAIN % BUS_RECENT] = range;
    return range;
}

size_t bus_write_bytes(struct bus *bus, u16 port, const u8 *bytes, size_t n)
{
    const struct io_access one = {.space = IO_PORT, .size = 1, .write = true, .addr = port};
    struct bus_range *range = bus_search(bus, &one);
    if (!range || !range->dev->ops->take)
        return 0;
    size_t taken = range->dev->ops->take(range->dev, port, bytes, n);
    range->hits[port % BUS_HITS] += (u32)taken;
    return taken;
}

void bus_reset(struct bus *bus)
{
    for (u32 i = 0; i < bus->ndevices; i++)
        bus->devices[i]->ops->reset(bus->devices[i]);
}
