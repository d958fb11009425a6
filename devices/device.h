// SPDX-License-Identifier: MIT
// What a device is: a name, operations, and the ranges it answers on. One access() serves ports and
// memory, all widths. A device reaches time through a clock and a deadline queue, an interrupt
// controller through an irq_pin, the world through a chardev.
#pragma once

#include "arch/x86_64/lib/clock.h"
#include "arch/x86_64/lib/deadline.h"
#include "arch/x86_64/lib/types.h"

enum io_space { IO_PORT, IO_MEM };

struct io_access {
    u64 addr;   // port, or guest-physical address
    u64 value;  // in: what is written (upper bytes 0); out: what is read
    u8 size;    // bytes: 1, 2, 4, and 8 in memory
    bool write; // the guest writes
    enum io_space space;
};

enum io_result {
    IO_DONE,      // answered; value is set for a read
    IO_UNCLAIMED, // nobody there: a read gives all ones, a write goes nowhere
};

struct device;

struct device_ops {
    // The state after power-on; also ends every armed deadline. Never fails.
    void (*reset)(struct device *dev);
    // One access within the ranges the device was attached with.
    enum io_result (*access)(struct device *dev, struct io_access *io);
    // May be NULL. Bytes that are written to one port, one after the other: how many of them it
    // takes at once, the next from access() on.
    size_t (*take)(struct device *dev, u64 addr, const u8 *bytes, size_t n);
};

struct device {
    const char *name;
    const struct device_ops *ops;
};

// An interrupt line towards a controller: level true is asserted. An unwired pin (set == NULL) is
// legal and ignored.
struct irq_pin {
    void (*set)(void *ctx, unsigned line, bool level);
    void *ctx;
    unsigned line;
};

static inline void irq_set(const struct irq_pin *pin, bool level)
{
    if (pin->set)
        pin->set(pin->ctx, pin->line, level);
}

// The world's side of a character device: where its output goes, and who hears that it has room for
// input again (NULL: nobody).
struct chardev {
    void (*write)(void *ctx, const u8 *data, size_t length);
    void *ctx;
    void (*room)(void *ctx); // called within an access, and may call the device's receive function
};
