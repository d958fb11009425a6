// SPDX-License-Identifier: MIT
#include "devices/reset.h"

enum {
    CONTROL_SYSTEM = 1u << 1, // hard, not the CPU alone
    CONTROL_CPU = 1u << 2,    // its rise resets
    CONTROL_FULL = 1u << 3,   // later chips: with a power cycle
    CONTROL_KEPT = CONTROL_SYSTEM | CONTROL_CPU | CONTROL_FULL,
};

enum {
    PORT_92_RESET = 1u << 0, // its rise resets
    PORT_92_A20 = 1u << 1,
    PORT_92_KEPT = PORT_92_RESET | PORT_92_A20,
};

static void write_register(struct reset *reset, u8 *reg, u8 value, u8 trigger, const char *name)
{
    bool rises = value & ~*reg & trigger;
    *reg = value;
    if (rises)
        reset->pin.ask(reset->pin.ctx, name);
}

static enum io_result reset_access(struct device *dev, struct io_access *io)
{
    struct reset *reset = container_of(dev, struct reset, dev);
    bool fast = io->addr == RESET_PORT_92;
    u8 value = (u8)io->value;
    if (!io->write)
        io->value = fast ? reset->port_92 : reset->control;
    else if (fast)
        write_register(reset, &reset->port_92, value & PORT_92_KEPT, PORT_92_RESET, "port 92H");
    else
        write_register(reset, &reset->control, value & CONTROL_KEPT, CONTROL_CPU, "port CF9H");
    return IO_DONE;
}

static void reset_reset(struct device *dev)
{
    struct reset *reset = container_of(dev, struct reset, dev);
    reset->control = 0;
    reset->port_92 = PORT_92_A20;
}

static const struct device_ops reset_ops = {.reset = reset_reset, .access = reset_access};

INIT void reset_init(struct reset *reset, struct reset_pin pin)
{
    *reset = (struct reset){
        .dev = {.name = "reset", .ops = &reset_ops},
        .pin = pin,
    };
    reset_reset(&reset->dev);
}

INIT int reset_attach(struct reset *reset, struct bus *bus)
{
    return bus_attach(bus, &reset->dev, IO_PORT, RESET_PORT_92, 1);
}
