// SPDX-License-Identifier: MIT
#include "devices/pic.h"

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "devices/bytewise.h"

enum {
    ICW1_IC4 = 0x01,  // ICW4 follows
    ICW1_SNGL = 0x02, // no cascade, and no ICW3
    ICW1_LTIM = 0x08, // level triggered
    ICW1 = 0x10,      // what tells ICW1 from OCW2 and OCW3
    ICW2_BASE = 0xf8,
    ICW4_AEOI = 0x02,
    ICW4_SFNM = 0x10,
    OCW2_LEVEL = 0x07,
    OCW2_EOI = 0x20,
    OCW2_SL = 0x40, // specific: OCW2_LEVEL counts
    OCW2_R = 0x80,  // rotate
    OCW3 = 0x08,    // what tells OCW3 from OCW2
    OCW3_RIS = 0x01,
    OCW3_RR = 0x02,
    OCW3_P = 0x04,
    OCW3_SMM = 0x20,
    OCW3_ESMM = 0x40,
    POLL_REQUEST = 0x80,
};

enum {
    NOBODY = -1,
    SPURIOUS = 7,
    MASK_PORTS = 0x401, // bits of a port: bit 0 tells IMR from the rest, bit 10 ELCR from both
    // 82371SB, ELCR1 and ELCR2: the timer, keyboard, cascade, RTC and FPU lines are always edge
    // triggered.
    ELCR_MASTER = 0xf8,
    ELCR_SLAVE = 0xde,
};

// An input set with the highest priority moved to bit 0.
static u32 by_priority(const struct pic_chip *chip, u32 inputs)
{
    return (inputs * 0x101u >> chip->top) & 0xff;
}

static unsigned highest_of(const struct pic_chip *chip, u32 inputs)
{
    return (bit_lowest(by_priority(chip, inputs)) + chip->top) & 7;
}

// In-service inputs that take part in priority: in special mask mode a masked one does not.
static u32 serviced(const struct pic_chip *chip)
{
    return chip->special ? chip->isr & ~(u32)chip->imr : chip->isr;
}

// In special fully nested mode the slave's own input is not locked out by itself being in service,
// so that a higher request within the slave gets through.
static u32 nested(const struct pic_chip *chip)
{
    return chip->icw4 & ICW4_SFNM ? BIT32(PIC_CASCADE) : 0;
}

static u32 chip_requests(const struct pic_chip *chip)
{
    return chip->irr & ~(u32)chip->imr;
}

// The input to acknowledge next, or NOBODY.
static int chip_pending(const struct pic_chip *chip)
{
    u32 busy = by_priority(chip, serviced(chip));
    u32 first = busy & -busy; // 0 when nothing is in service: then below is everything
    u32 below = (first - 1) | (first & by_priority(chip, nested(chip)));
    u32 ready = by_priority(chip, chip_requests(chip)) & below;
    return ready ? (int)((bit_lowest(ready) + chip->top) & 7) : NOBODY;
}

static void chip_drive(struct pic_chip *chip, unsigned input, bool level)
{
    u8 bit = (u8)BIT32(input);
    if (!level) {
        chip->lines &= (u8)~bit;
        chip->irr &= (u8)~bit;
        return;
    }
    if (!(chip->lines & bit) || chip->level & bit)
        chip->irr |= bit;
    chip->lines |= bit;
}

// The acknowledge as one chip sees it: request to in service.
static void chip_accept(struct pic_chip *chip, unsigned input)
{
    u8 bit = (u8)BIT32(input);
    if (!(chip->level & bit))
        chip->irr &= (u8)~bit;
    if (!(chip->icw4 & ICW4_AEOI))
        chip->isr |= bit;
    else if (chip->rotate_aeoi)
        chip->top = (u8)(input + 1) & 7;
}

// The input a chip answers an acknowledge with.
static unsigned chip_acknowledge(struct pic_chip *chip)
{
    int input = chip_pending(chip);
    if (input == NOBODY)
        return SPURIOUS;
    chip_accept(chip, (unsigned)input);
    return (unsigned)input;
}

// Brings the cascade and both INT outputs up to date. An INT that is up stays up when hold is set:
// only an acknowledge or software withdraws it, a line does not (see pic.h).
static void pic_settle(struct pic *pic, bool hold)
{
    struct pic_chip *slave = &pic->slave, *master = &pic->master;
    bool was = master->intr;
    slave->intr = (hold && slave->intr) || chip_pending(slave) != NOBODY;
    if (slave->intr != (master->lines >> PIC_CASCADE & 1))
        chip_drive(master, PIC_CASCADE, slave->intr);
    master->intr = (hold && was) || chip_pending(master) != NOBODY;
    if (master->intr != was)
        irq_set(&pic->intr, master->intr);
}

// Most accesses find that nothing is wanted and nothing was: there is nothing to settle then.
static inline void pic_update(struct pic *pic, bool hold)
{
    const struct pic_chip *slave = &pic->slave, *master = &pic->master;
    if (unlikely(chip_requests(slave) | chip_requests(master) | slave->intr | master->intr))
        pic_settle(pic, hold);
}

void pic_set_irq(void *ctx, unsigned line, bool level)
{
    struct pic *pic = ctx;
    if (line >= 16 || line == PIC_CASCADE)
        return;
    chip_drive(line < 8 ? &pic->master : &pic->slave, line & 7, level);
    if (level)
        pic_update(pic, true);
}

u8 pic_ack(struct pic *pic)
{
    unsigned input = chip_acknowledge(&pic->master);
    u8 vector = (u8)(pic->master.base + input);
    if (input == PIC_CASCADE && !(pic->master.icw1 & ICW1_SNGL)) {
        vector = (u8)(pic->slave.base + chip_acknowledge(&pic->slave));
        // The slave's INT falls with the acknowledge; if more is waiting there, the master is to
        // see a new edge.
        chip_drive(&pic->master, PIC_CASCADE, false);
    }
    pic_update(pic, false);
    return vector;
}

// 8259A datasheet, "Initialization Command Word 1": edge detection starts anew (a line that is up
// must fall and rise again), nothing is masked, input 7 has the lowest priority, special mask mode
// is off and reads give the IRR. The in-service bits and the rotation are cleared too, which guests
// rely on.
static void chip_initialise(struct pic_chip *chip, u8 icw1)
{
    u8 level = icw1 & ICW1_LTIM ? 0xff : chip->elcr;
    *chip = (struct pic_chip){
        .lines = chip->lines,
        .irr = chip->lines & level,
        .elcr = chip->elcr,
        .level = level,
        .base = chip->base,
        .icw1 = icw1,
        .icw3 = chip->icw3,
        .next_icw = 2,
        .intr = chip->intr,
    };
}

static void chip_end_of_interrupt(struct pic_chip *chip, u8 ocw2)
{
    unsigned input = ocw2 & OCW2_LEVEL;
    if (!(ocw2 & OCW2_SL)) {
        if (serviced(chip) == 0)
            return;
        input = highest_of(chip, serviced(chip));
    }
    chip->isr &= (u8)~BIT32(input);
    if (ocw2 & OCW2_R)
        chip->top = (u8)(input + 1) & 7;
}

static void chip_ocw2(struct pic_chip *chip, u8 value)
{
    if (value & OCW2_EOI)
        chip_end_of_interrupt(chip, value);
    else if (!(value & OCW2_SL))
        chip->rotate_aeoi = value & OCW2_R;
    else if (value & OCW2_R)
        chip->top = (u8)((value & OCW2_LEVEL) + 1) & 7;
}

static void chip_ocw3(struct pic_chip *chip, u8 value)
{
    if (value & OCW3_ESMM)
        chip->special = value & OCW3_SMM;
    if (value & OCW3_RR)
        chip->read_isr = value & OCW3_RIS;
    chip->poll = value & OCW3_P;
}

static void chip_write_command(struct pic_chip *chip, u8 value)
{
    if (value & ICW1)
        chip_initialise(chip, value);
    else if (value & OCW3)
        chip_ocw3(chip, value);
    else
        chip_ocw2(chip, value);
}

static void chip_write_data(struct pic_chip *chip, u8 value)
{
    bool icw4_follows = chip->icw1 & ICW1_IC4;
    switch (chip->next_icw) {
    case 2:
        chip->base = value & ICW2_BASE;
        chip->next_icw = !(chip->icw1 & ICW1_SNGL) ? 3 : icw4_follows ? 4 : 0;
        break;
    case 3:
        chip->icw3 = value;
        chip->next_icw = icw4_follows ? 4 : 0;
        break;
    case 4:
        chip->icw4 = value;
        chip->next_icw = 0;
        break;
    default:
        chip->imr = value;
    }
}

static void chip_write_elcr(struct pic_chip *chip, u8 value)
{
    chip->elcr = value;
    chip->level = chip->icw1 & ICW1_LTIM ? 0xff : value;
    chip->irr |= chip->lines & chip->level;
}

static u8 pic_poll(struct pic *pic, struct pic_chip *chip)
{
    chip->poll = false;
    int input = chip_pending(chip);
    if (input != NOBODY)
        chip_accept(chip, (unsigned)input);
    if (chip == &pic->slave)
        chip_drive(&pic->master, PIC_CASCADE, false);
    pic_update(pic, false);
    return input == NOBODY ? 0 : (u8)(POLL_REQUEST | input);
}

static struct pic_chip *chip_at(struct pic *pic, u32 port)
{
    return port >= PIC_SLAVE_PORT ? &pic->slave : &pic->master;
}

static u8 pic_read(struct pic *pic, u32 port)
{
    struct pic_chip *chip = chip_at(pic, port);
    if (port >= PIC_ELCR_PORT)
        return port & 1 ? pic->slave.elcr : pic->master.elcr;
    if (chip->poll)
        return pic_poll(pic, chip);
    if (port & 1)
        return chip->imr;
    return chip->read_isr ? chip->isr : chip->irr;
}

static void pic_write(struct pic *pic, u32 port, u8 value)
{
    if (unlikely(port == PIC_ELCR_PORT))
        chip_write_elcr(&pic->master, value & ELCR_MASTER);
    else if (unlikely(port > PIC_ELCR_PORT))
        chip_write_elcr(&pic->slave, value & ELCR_SLAVE);
    else if (port & 1)
        chip_write_data(chip_at(pic, port), value);
    else
        chip_write_command(chip_at(pic, port), value);
    pic_update(pic, false);
}

NOINLINE static enum io_result pic_access_any(struct pic *pic, struct io_access *io)
{
    if (io->size != 1)
        return bytewise_access(&pic->dev, io);
    if (io->write)
        pic_write(pic, (u32)io->addr, (u8)io->value);
    else
        io->value = pic_read(pic, (u32)io->addr);
    return IO_DONE;
}

// The mask registers are read most: around every interrupt that Linux takes from here.
static enum io_result pic_access(struct device *dev, struct io_access *io)
{
    struct pic *pic = container_of(dev, struct pic, dev);
    u32 port = (u32)io->addr;
    const struct pic_chip *chip = chip_at(pic, port);
    if (io->write || unlikely(io->size != 1 || chip->poll) || (port & MASK_PORTS) != 1)
        return pic_access_any(pic, io);
    io->value = chip->imr;
    return IO_DONE;
}

static void pic_reset(struct device *dev)
{
    struct pic *pic = container_of(dev, struct pic, dev);
    bool was = pic->master.intr;
    pic->master = pic->slave = (struct pic_chip){.imr = 0xff};
    if (was)
        irq_set(&pic->intr, false);
}

static const struct device_ops pic_ops = {.reset = pic_reset, .access = pic_access};

INIT void pic_init(struct pic *pic, struct irq_pin intr)
{
    *pic = (struct pic){
        .dev = {.name = "pic", .ops = &pic_ops},
          .intr = intr
    };
    pic_reset(&pic->dev);
}

INIT int pic_attach(struct pic *pic, struct bus *bus)
{
    int err = bus_attach(bus, &pic->dev, IO_PORT, PIC_MASTER_PORT, 2);
    if (err == OK)
        err = bus_attach(bus, &pic->dev, IO_PORT, PIC_SLAVE_PORT, 2);
    if (err == OK)
        err = bus_attach(bus, &pic->dev, IO_PORT, PIC_ELCR_PORT, 2);
    return err;
}
