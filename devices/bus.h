// SPDX-License-Identifier: MIT
// The bus: which device answers at a port or a guest-physical address. Ranges are kept sorted, so
// finding one is a binary search.
#pragma once

#include "devices/device.h"

#define BUS_RANGES          64u // in each space, where its owner gives no room for more
#define BUS_DEVICES         64u
#define BUS_UNCLAIMED_PORTS 16u
#define BUS_HITS            8u

struct bus_range {
    u64 first, last; // inclusive
    struct device *dev;
    enum io_result (*access)(struct device *dev, struct io_access *io); // its ops' own
    u32 hits[BUS_HITS]; // accesses, by the low bits of the address: a port each where they are few
};

// A guest goes back and forth between a few devices: the range that answered last is kept for each
// BUS_GRAIN addresses, those that are BUS_RECENT * BUS_GRAIN apart sharing a place.
#define BUS_RECENT 64u
#define BUS_GRAIN  4u

struct bus_space {
    struct bus_range *recent[BUS_RECENT]; // never NULL
    struct bus_range nowhere;             // the last address of all, where nobody is
    struct bus_range *ranges;             // sorted; room for so many, own or the owner's
    u32 room;
    u32 count;
    struct bus_range own[BUS_RANGES];
};

struct bus {
    struct bus_space spaces[2];          // by enum io_space
    struct device *devices[BUS_DEVICES]; // in order of attachment, each once
    u32 ndevices;
    u64 unclaimed[2]; // accesses nobody answered, by space
    struct {          // the first few unclaimed ports, for the report
        u16 port;
        u32 count;
    } unclaimed_ports[BUS_UNCLAIMED_PORTS];
};

void bus_init(struct bus *bus);

// Storage for n ranges in a space, which is the bus' from now on. Nothing is attached there yet.
void bus_give_room(struct bus *bus, enum io_space space, struct bus_range *ranges, u32 n);

// Puts dev at [first, first+size) of a space; a device may have several ranges. E_EXIST names (in
// the log) both devices if the range overlaps another, E_RANGE if it is empty, wraps, reaches the
// last of 2^64 addresses or passes port FFFFH, E_NOMEM if the bus is full. The bus is then as it
// was before.
int bus_attach(struct bus *bus, struct device *dev, enum io_space space, u64 first, u64 size);

// Whether the range holds all size bytes at addr. Offsets from the range's start do not wrap where
// addresses do.
static inline bool bus_range_holds(const struct bus_range *range, u64 addr, u32 size)
{
    u64 span = range->last - range->first;
    u64 offset = addr - range->first;
    return offset <= span && size - 1 <= span - offset;
}

// The range that holds all of the access, or NULL; it is the recent one from now on.
struct bus_range *bus_search(struct bus *bus, const struct io_access *io);

// For an access that nobody has answered.
enum io_result bus_unclaimed(struct bus *bus, struct io_access *io);

// Hands the access to a range that holds all of it.
static inline enum io_result bus_hand(struct bus_range *range, struct io_access *io)
{
    range->hits[io->addr % BUS_HITS]++;
    return range->access(range->dev, io);
}

// Hands the access to the device whose range holds all of it. An access that nobody claims, or that
// straddles a range's end, reads as all ones (in its width), is counted and gives IO_UNCLAIMED.
static inline enum io_result bus_access(struct bus *bus, struct io_access *io)
{
    struct bus_range *range = bus->spaces[io->space].recent[io->addr / BUS_GRAIN % BUS_RECENT];
    if (unlikely(!bus_range_holds(range, io->addr, io->size)))
        range = bus_search(bus, io);
    if (likely(range) && likely(bus_hand(range, io) == IO_DONE))
        return IO_DONE;
    return bus_unclaimed(bus, io);
}

// Whether the address is in the range that answered there last.
static inline bool bus_is_recent(const struct bus *bus, enum io_space space, u64 addr)
{
    return bus_range_holds(bus->spaces[space].recent[addr / BUS_GRAIN % BUS_RECENT], addr, 1);
}

// The recent range of a port and those behind it, or NULL if they are not in it.
static inline struct bus_range *bus_recent_port(const struct bus *bus, u32 port, u32 size)
{
    struct bus_range *range = bus->spaces[IO_PORT].recent[port / BUS_GRAIN % BUS_RECENT];
    return likely(port >= range->first && port + size - 1 <= range->last) ? range : NULL;
}

// Writes bytes to one port, as many as its device takes at once, and says how many: the next is to
// be written by bus_access().
size_t bus_write_bytes(struct bus *bus, u16 port, const u8 *bytes, size_t n);

// Resets every attached device, once each, in order of attachment.
void bus_reset(struct bus *bus);

// The device at addr, or NULL.
struct device *bus_find(const struct bus *bus, enum io_space space, u64 addr);
