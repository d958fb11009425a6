// SPDX-License-Identifier: MIT
// The bus: which device answers at a port or a guest-physical address. Ranges are kept sorted, so
// finding one is a binary search.
#pragma once

#include "devices/device.h"

#define BUS_RANGES          64u // in each space
#define BUS_DEVICES         64u
#define BUS_UNCLAIMED_PORTS 16u
#define BUS_HITS            8u

struct bus_range {
    u64 first, last; // inclusive
    struct device *dev;
    u32 hits[BUS_HITS]; // accesses, by the low bits of the address: a port each where they are few
};

struct bus_space {
    struct bus_range ranges[BUS_RANGES];
    u32 count;
    u32 recent; // index of the range that answered last
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

// Puts dev at [first, first+size) of a space; a device may have several ranges. E_EXIST names (in
// the log) both devices if the range overlaps another, E_RANGE if it is empty, wraps, or passes
// port FFFFH, E_NOMEM if the bus is full. The bus is then as it was before.
int bus_attach(struct bus *bus, struct device *dev, enum io_space space, u64 first, u64 size);

// Hands the access to the device whose range holds all of it. An access that nobody claims, or that
// straddles a range's end, reads as all ones (in its width), is counted and gives IO_UNCLAIMED.
enum io_result bus_access(struct bus *bus, struct io_access *io);

// Resets every attached device, once each, in order of attachment.
void bus_reset(struct bus *bus);

// The device at addr, or NULL.
struct device *bus_find(const struct bus *bus, enum io_space space, u64 addr);
