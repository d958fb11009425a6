// SPDX-License-Identifier: MIT
#include "devices/ioapic.h"

#include "arch/x86_64/lib/check.h"

#define VERSION 0x20u
#define ID_MASK 0xfu

#define RTE_LOW_KEPT                                                                               \
    (IOAPIC_RTE_VECTOR | IOAPIC_RTE_DELIVERY | IOAPIC_RTE_LOGICAL | IOAPIC_RTE_LOW |               \
     IOAPIC_RTE_LEVEL | IOAPIC_RTE_MASKED)
#define RTE_REGS (2 * IOAPIC_PINS)

static enum apic_delivery entry_mode(u64 entry)
{
    return (enum apic_delivery)bits_get(entry, 10, 8);
}

static bool entry_is_level(u64 entry)
{
    return (entry & IOAPIC_RTE_LEVEL) && entry_mode(entry) <= APIC_DM_LOWEST;
}

static struct ioapic_message entry_message(u64 entry)
{
    return (struct ioapic_message){
        .dest = (u8)bits_get(entry, 63, 56),
        .logical = entry & IOAPIC_RTE_LOGICAL,
        .level_triggered = entry_is_level(entry),
        .vector = (u8)entry,
        .mode = entry_mode(entry),
    };
}

// ---- sending ------------------------------------------------------------------------------------

static bool mode_exists(enum apic_delivery mode)
{
    return BIT32(mode) & (BIT32(APIC_DM_FIXED) | BIT32(APIC_DM_LOWEST) | BIT32(APIC_DM_SMI) |
                          BIT32(APIC_DM_NMI) | BIT32(APIC_DM_INIT) | BIT32(APIC_DM_EXTINT));
}

// Whether a local APIC accepted.
static bool send(const struct ioapic *ioapic, unsigned pin)
{
    struct ioapic_message message = entry_message(ioapic->entries[pin]);
    return mode_exists(message.mode) && ioapic->config.deliver(ioapic->config.ctx, &message);
}

// Levels that wait to be sent: asserted, not masked, and not with a local APIC already.
static u32 waiting(const struct ioapic *ioapic)
{
    return ioapic->lines & ioapic->levels & ~ioapic->remote_irr;
}

static void send_level(struct ioapic *ioapic, unsigned pin)
{
    if ((waiting(ioapic) & BIT32(pin)) && send(ioapic, pin))
        ioapic->remote_irr |= BIT32(pin);
}

void ioapic_set_irq(void *ctx, unsigned pin, bool level)
{
    struct ioapic *ioapic = ctx;
    if (pin >= IOAPIC_PINS)
        return;
    u32 bit = BIT32(pin);
    bool rises = level && !(ioapic->lines & bit);
    ioapic->lines = level ? ioapic->lines | bit : ioapic->lines & ~bit;
    if (ioapic->levels & bit)
        send_level(ioapic, pin);
    else if (rises && !(ioapic->entries[pin] & IOAPIC_RTE_MASKED))
        send(ioapic, pin);
}

void ioapic_eoi(struct ioapic *ioapic, u8 vector)
{
    for (u32 left = ioapic->remote_irr; left; left &= left - 1) {
        unsigned pin = bit_lowest(left);
        if ((u8)ioapic->entries[pin] != vector)
            continue;
        ioapic->remote_irr &= ~BIT32(pin);
        send_level(ioapic, pin);
    }
}

bool ioapic_extint(const struct ioapic *ioapic, unsigned pin, struct ioapic_message *message)
{
    CHECK(pin < IOAPIC_PINS);
    u64 entry = ioapic->entries[pin];
    if ((entry & (IOAPIC_RTE_DELIVERY | IOAPIC_RTE_MASKED)) != APIC_DM_EXTINT << 8 ||
        !(ioapic->lines & BIT32(pin)))
        return false;
    *message = entry_message(entry);
    return true;
}

bool ioapic_uses(const struct ioapic *ioapic, enum apic_delivery mode)
{
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        if (!(ioapic->entries[pin] & IOAPIC_RTE_MASKED) && entry_mode(ioapic->entries[pin]) == mode)
            return true;
    return false;
}

// ---- registers ----------------------------------------------------------------------------------

static u32 read_entry(const struct ioapic *ioapic, u32 reg)
{
    unsigned pin = reg / 2;
    if (reg & 1)
        return (u32)(ioapic->entries[pin] >> 32);
    u32 low = (u32)ioapic->entries[pin];
    if (ioapic->remote_irr & BIT32(pin))
        low |= (u32)IOAPIC_RTE_RIRR;
    if (unlikely(waiting(ioapic) & BIT32(pin)))
        low |= (u32)IOAPIC_RTE_PENDING;
    return low;
}

static void write_entry(struct ioapic *ioapic, u32 reg, u32 value)
{
    unsigned pin = reg / 2;
    u32 bit = BIT32(pin);
    u64 *entry = &ioapic->entries[pin];
    struct ioapic_message unused;
    bool extint = ioapic_extint(ioapic, pin, &unused);

    if (reg & 1)
        *entry = bits_set(*entry, 63, 32, value & (u32)(IOAPIC_RTE_DEST >> 32));
    else
        *entry = bits_set(*entry, 31, 0, value & RTE_LOW_KEPT);
    bool level = entry_is_level(*entry);
    if (!level)
        ioapic->remote_irr &= ~bit;
    ioapic->levels &= ~bit;
    if (level && !(*entry & IOAPIC_RTE_MASKED))
        ioapic->levels |= bit;
    send_level(ioapic, pin);
    if (!extint && ioapic_extint(ioapic, pin, &unused))
        send(ioapic, pin);
}

static u32 read_window(const struct ioapic *ioapic)
{
    u32 entry_reg = ioapic->select - IOAPIC_REG_RTE;
    if (entry_reg < RTE_REGS)
        return read_entry(ioapic, entry_reg);
    switch (ioapic->select) {
    case IOAPIC_REG_ID:
    case IOAPIC_REG_ARB:
        return (u32)ioapic->id << 24;
    case IOAPIC_REG_VER:
        return (IOAPIC_PINS - 1) << 16 | VERSION;
    default:
        return 0;
    }
}

static void write_window(struct ioapic *ioapic, u32 value)
{
    u32 entry_reg = ioapic->select - IOAPIC_REG_RTE;
    if (entry_reg < RTE_REGS)
        write_entry(ioapic, entry_reg, value);
    else if (ioapic->select == IOAPIC_REG_ID)
        ioapic->id = value >> 24 & ID_MASK;
}

static void write_page(struct ioapic *ioapic, u32 offset, const struct io_access *io)
{
    switch (offset) {
    case IOAPIC_IOREGSEL:
        ioapic->select = (u8)io->value;
        break;
    case IOAPIC_IOWIN:
        if (io->size >= 4)
            write_window(ioapic, (u32)io->value);
        break;
    case IOAPIC_EOI:
        ioapic_eoi(ioapic, (u8)io->value);
        break;
    }
}

// The 32-bit register whose bytes begin at offset.
static u32 read_page(const struct ioapic *ioapic, u32 offset)
{
    if (offset == IOAPIC_IOWIN)
        return read_window(ioapic);
    return offset == IOAPIC_IOREGSEL ? ioapic->select : 0;
}

static enum io_result ioapic_access(struct device *dev, struct io_access *io)
{
    struct ioapic *ioapic = container_of(dev, struct ioapic, dev);
    u32 offset = (u32)(io->addr - IOAPIC_BASE);
    if (io->write)
        write_page(ioapic, offset, io);
    else
        io->value = low_bytes(read_page(ioapic, offset & ~3u) >> (offset % 4 * 8), io->size);
    return IO_DONE;
}

static void ioapic_reset(struct device *dev)
{
    struct ioapic *ioapic = container_of(dev, struct ioapic, dev);
    ioapic->select = 0;
    ioapic->id = ioapic->config.id & ID_MASK;
    ioapic->levels = ioapic->remote_irr = 0;
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        ioapic->entries[pin] = IOAPIC_RTE_MASKED;
}

static const struct device_ops ioapic_ops = {.reset = ioapic_reset, .access = ioapic_access};

INIT void ioapic_init(struct ioapic *ioapic, const struct ioapic_config *config)
{
    *ioapic = (struct ioapic){
        .dev = {.name = "ioapic", .ops = &ioapic_ops},
        .config = *config,
    };
    ioapic_reset(&ioapic->dev);
}

INIT int ioapic_attach(struct ioapic *ioapic, struct bus *bus)
{
    return bus_attach(bus, &ioapic->dev, IO_MEM, IOAPIC_BASE, PAGE_SIZE);
}
