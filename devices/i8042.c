// SPDX-License-Identifier: MIT
#include "devices/i8042.h"

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"

enum {
    STATUS_FULL = 0x01,     // the output buffer has a byte
    STATUS_SYSTEM = 0x04,   // self-test passed; follows the mode byte's bit
    STATUS_COMMAND = 0x08,  // the last write was to the command port
    STATUS_UNLOCKED = 0x10, // the keyboard lock is open
    STATUS_AUX = 0x20,      // the byte is the second port's
    STATUS_TIMEOUT = 0x40,
    STATUS_OF_BYTE = STATUS_FULL | STATUS_AUX | STATUS_TIMEOUT,
};

enum {
    MODE_IRQ1 = 0x01,
    MODE_SYSTEM = 0x04,
    MODE_KEYBOARD_OFF = 0x10,
    MODE_AUX_OFF = 0x20,
    MODE_TRANSLATE = 0x40,
    MODE_KEPT = 0x77,
};

enum {
    OUTPUT_RUN = 0x01, // low: reset
    OUTPUT_A20 = 0x02,
    OUTPUT_IRQ1 = 0x10,
    OUTPUT_IRQ12 = 0x20,
    OUTPUT_LINES_IDLE = 0xc0, // clock and data of the keyboard
    OUTPUT_KEPT = (u8) ~(OUTPUT_IRQ1 | OUTPUT_IRQ12),
};

enum {
    READ_MODE = 0x20,
    WRITE_MODE = 0x60,
    AUX_DISABLE = 0xa7,
    AUX_ENABLE = 0xa8,
    AUX_TEST = 0xa9,
    SELF_TEST = 0xaa,
    KEYBOARD_TEST = 0xab,
    KEYBOARD_DISABLE = 0xad,
    KEYBOARD_ENABLE = 0xae,
    READ_INPUT_PORT = 0xc0,
    READ_OUTPUT_PORT = 0xd0,
    WRITE_OUTPUT_PORT = 0xd1,
    WRITE_OUTPUT_BUFFER = 0xd2,
    WRITE_AUX_BUFFER = 0xd3,
    WRITE_AUX = 0xd4,
    A20_OFF = 0xdd,
    A20_ON = 0xdf,
    PULSE = 0xf0, // the low half says which of the output port's low four lines not to pull
};

enum {
    SELF_TEST_PASSED = 0x55,
    LINES_GOOD = 0x00,
    CLOCK_STUCK_HIGH = 0x02,
    NOT_LOCKED = 0x80,
    RESEND = 0xfe, // what the keyboard would say of a byte it did not understand
};

static u8 output_port(const struct i8042 *kbc)
{
    u8 lines = 0;
    if (kbc->status & STATUS_FULL)
        lines = kbc->status & STATUS_AUX ? OUTPUT_IRQ12 : OUTPUT_IRQ1;
    return kbc->output_port | lines;
}

static void update_line(struct i8042 *kbc)
{
    bool level = kbc->keyboard && kbc->status & STATUS_FULL && kbc->mode & MODE_IRQ1;
    if (kbc->line != level)
        irq_set(&kbc->irq, level);
    kbc->line = level;
}

// A byte for the guest; status tells whose it is and how it came.
static void put(struct i8042 *kbc, u8 value, u8 status, bool keyboard)
{
    kbc->output = value;
    kbc->keyboard = keyboard;
    kbc->status = (u8)((kbc->status & ~STATUS_OF_BYTE) | STATUS_FULL | status);
    update_line(kbc);
}

static void answer(struct i8042 *kbc, u8 value)
{
    put(kbc, value, 0, false);
}

static void write_mode(struct i8042 *kbc, u8 value)
{
    kbc->mode = (value & MODE_KEPT) | MODE_AUX_OFF;
    kbc->status = (u8)((kbc->status & ~STATUS_SYSTEM) | (value & MODE_SYSTEM));
    update_line(kbc);
}

static void write_output_port(struct i8042 *kbc, u8 value)
{
    kbc->output_port = value & OUTPUT_KEPT;
    if (!(value & OUTPUT_RUN))
        kbc->reset.ask(kbc->reset.ctx, "the keyboard controller");
}

static void self_test(struct i8042 *kbc)
{
    write_mode(kbc, MODE_SYSTEM | MODE_KEYBOARD_OFF | MODE_TRANSLATE);
    answer(kbc, SELF_TEST_PASSED);
}

static void command(struct i8042 *kbc, u8 value)
{
    kbc->parameter_of = 0;
    switch (value) {
    case READ_MODE:
        answer(kbc, kbc->mode);
        break;
    case WRITE_MODE:
    case WRITE_OUTPUT_PORT:
    case WRITE_OUTPUT_BUFFER:
    case WRITE_AUX_BUFFER:
    case WRITE_AUX:
        kbc->parameter_of = value;
        break;
    case AUX_DISABLE: // the port that is not wired is never enabled
    case AUX_ENABLE:
        break;
    case AUX_TEST:
        answer(kbc, CLOCK_STUCK_HIGH);
        break;
    case SELF_TEST:
        self_test(kbc);
        break;
    case KEYBOARD_TEST:
        answer(kbc, LINES_GOOD);
        break;
    case KEYBOARD_DISABLE:
        kbc->mode |= MODE_KEYBOARD_OFF;
        break;
    case KEYBOARD_ENABLE:
        kbc->mode &= (u8)~MODE_KEYBOARD_OFF;
        break;
    case READ_INPUT_PORT:
        answer(kbc, NOT_LOCKED);
        break;
    case READ_OUTPUT_PORT:
        answer(kbc, output_port(kbc));
        break;
    case A20_OFF:
        kbc->output_port &= (u8)~OUTPUT_A20;
        break;
    case A20_ON:
        kbc->output_port |= OUTPUT_A20;
        break;
    default: // not a command, or a pulse; lines but the lowest lead nowhere
        if (value >= PULSE && !(value & OUTPUT_RUN))
            kbc->reset.ask(kbc->reset.ctx, "the keyboard controller");
    }
}

static void data(struct i8042 *kbc, u8 value)
{
    u8 parameter_of = kbc->parameter_of;
    kbc->parameter_of = 0;
    switch (parameter_of) {
    case WRITE_MODE:
        write_mode(kbc, value);
        break;
    case WRITE_OUTPUT_PORT:
        write_output_port(kbc, value);
        break;
    case WRITE_OUTPUT_BUFFER:
        put(kbc, value, 0, true);
        break;
    case WRITE_AUX_BUFFER:
        put(kbc, value, STATUS_AUX, false);
        break;
    case WRITE_AUX:
        put(kbc, RESEND, STATUS_AUX | STATUS_TIMEOUT, false);
        break;
    default:
        put(kbc, RESEND, STATUS_TIMEOUT, true);
    }
}

static void i8042_write(struct i8042 *kbc, u32 port, u8 value)
{
    if (port == I8042_COMMAND) {
        kbc->status |= STATUS_COMMAND;
        command(kbc, value);
    } else {
        kbc->status &= (u8)~STATUS_COMMAND;
        data(kbc, value);
    }
}

static u8 i8042_read(struct i8042 *kbc, u32 port)
{
    if (port == I8042_COMMAND)
        return kbc->status;
    kbc->status &= (u8)~STATUS_OF_BYTE;
    update_line(kbc);
    return kbc->output;
}

static enum io_result i8042_access(struct device *dev, struct io_access *io)
{
    struct i8042 *kbc = container_of(dev, struct i8042, dev);
    if (io->write)
        i8042_write(kbc, (u32)io->addr, (u8)io->value);
    else
        io->value = i8042_read(kbc, (u32)io->addr);
    return IO_DONE;
}

// As firmware leaves it that has found no keyboard: tested, enabled.
static void i8042_reset(struct device *dev)
{
    struct i8042 *kbc = container_of(dev, struct i8042, dev);
    kbc->status = STATUS_UNLOCKED;
    kbc->output_port = OUTPUT_LINES_IDLE | OUTPUT_A20 | OUTPUT_RUN;
    kbc->output = 0;
    kbc->parameter_of = 0;
    write_mode(kbc, MODE_TRANSLATE | MODE_SYSTEM | MODE_IRQ1);
}

static const struct device_ops i8042_ops = {.reset = i8042_reset, .access = i8042_access};

INIT void i8042_init(struct i8042 *kbc, struct reset_pin reset, struct irq_pin irq1)
{
    *kbc = (struct i8042){
        .dev = {.name = "i8042", .ops = &i8042_ops},
        .reset = reset,
        .irq = irq1,
    };
    i8042_reset(&kbc->dev);
}

INIT int i8042_attach(struct i8042 *kbc, struct bus *bus)
{
    int err = bus_attach(bus, &kbc->dev, IO_PORT, I8042_DATA, 1);
    return err == OK ? bus_attach(bus, &kbc->dev, IO_PORT, I8042_COMMAND, 1) : err;
}
