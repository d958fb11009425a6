// SPDX-License-Identifier: MIT
#include "devices/debug_exit.h"

static void debug_exit_reset(struct device *dev)
{
    (void)dev; // holds nothing of the guest's
}

static enum io_result debug_exit_access(struct device *dev, struct io_access *io)
{
    struct debug_exit *port = container_of(dev, struct debug_exit, dev);
    if (io->write)
        port->exit(port->ctx, (u32)io->value << 1 | 1);
    else
        io->value = 0;
    return IO_DONE;
}

static const struct device_ops debug_exit_ops = {.reset = debug_exit_reset,
                                                 .access = debug_exit_access};

INIT void debug_exit_init(struct debug_exit *port, void (*exit)(void *ctx, u32 status), void *ctx)
{
    *port = (struct debug_exit){
        .dev = {.name = "debug-exit", .ops = &debug_exit_ops},
        .exit = exit,
        .ctx = ctx,
    };
}

INIT int debug_exit_attach(struct debug_exit *port, struct bus *bus)
{
    return bus_attach(bus, &port->dev, IO_PORT, DEBUG_EXIT_PORT, DEBUG_EXIT_PORTS);
}
