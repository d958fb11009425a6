// SPDX-License-Identifier: MIT
#include "devices/pm.h"

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "devices/bytewise.h"

// Offsets of the registers, and how far PM1_EN lies above PM1_STS in bits.
enum { PM1_EVT = 0, PM1_CNT = 4, PM_TMR = 8, PM1_EN_SHIFT = 16 };

// PM1_STS; PM1_EN has the enable of each event in the same bit.
enum {
    TMR_STS = 1u << 0,
    GBL_STS = 1u << 5,
    PWRBTN_STS = 1u << 8,
    SLPBTN_STS = 1u << 9,
    RTC_STS = 1u << 10,
    WAK_STS = 1u << 15, // no interrupt, so no enable
    EVENTS = TMR_STS | GBL_STS | PWRBTN_STS | SLPBTN_STS | RTC_STS,
};

enum {
    SCI_EN = 1u << 0,
    BM_RLD = 1u << 1,
    SLP_TYP_SHIFT = 10,
    SLP_TYP = 7u << SLP_TYP_SHIFT,
    SLP_EN = 1u << 13, // write only
};

#define TIMER_TOP 31u // the timer's highest bit

static u64 pm_pulses(const struct pm *pm, u64 now)
{
    return mul_div(now - pm->epoch, PM_TIMER_HZ, pm->config.clock->hz);
}

// How often the timer's top bit has changed.
static u64 pm_carries(const struct pm *pm, u64 now)
{
    return pm_pulses(pm, now) >> TIMER_TOP;
}

static u16 pm_status(const struct pm *pm, u64 now)
{
    return pm->status | (pm_carries(pm, now) != pm->carries ? TMR_STS : 0);
}

// Brings SCI and the deadline up to date.
static void pm_update(struct pm *pm, u64 now)
{
    u16 status = pm_status(pm, now);
    bool level = status & pm->enable;
    if (pm->line != level)
        irq_set(&pm->config.sci, level);
    pm->line = level;

    u64 ticks = mul_div_up((pm->carries + 1) << TIMER_TOP, pm->config.clock->hz, PM_TIMER_HZ);
    u64 when = pm->epoch + ticks;
    if (pm->enable & ~status & TMR_STS && when >= ticks)
        deadline_arm(pm->config.queue, &pm->carry, when);
    else
        deadline_cancel(pm->config.queue, &pm->carry);
}

static void pm_carry(struct deadline *entry, u64 now)
{
    pm_update(container_of(entry, struct pm, carry), now);
}

static void pm_clear_status(struct pm *pm, u16 bits, u64 now)
{
    pm->status &= (u16)~bits;
    if (bits & TMR_STS)
        pm->carries = pm_carries(pm, now);
}

static void pm_write_control(struct pm *pm, u16 value)
{
    pm->control = value & (BM_RLD | SLP_TYP);
    if (!(value & SLP_EN))
        return;
    if ((value & SLP_TYP) >> SLP_TYP_SHIFT == pm->config.soft_off) {
        pm->config.power_off(pm->config.ctx);
    } else {
        pm->status |= WAK_STS;
        pm->other_sleeps++;
    }
}

// The four bytes at offset, a multiple of 4.
static u32 pm_read(const struct pm *pm, u32 offset)
{
    switch (offset) {
    case PM1_EVT:
        return pm_status(pm, clock_now(pm->config.clock)) | (u32)pm->enable << PM1_EN_SHIFT;
    case PM1_CNT:
        return pm->control | SCI_EN;
    default:
        return (u32)pm_pulses(pm, clock_now(pm->config.clock));
    }
}

// The bytes that mask selects of the four at offset; the others of value are 0, which is what
// leaves a status bit as it is.
static void pm_write(struct pm *pm, u32 offset, u32 value, u32 mask)
{
    u64 now = clock_now(pm->config.clock);
    if (offset == PM1_EVT) {
        u16 enable_mask = (u16)(mask >> PM1_EN_SHIFT) & EVENTS;
        pm_clear_status(pm, (u16)value, now);
        pm->enable = (u16)((pm->enable & ~enable_mask) | (value >> PM1_EN_SHIFT & enable_mask));
        pm_update(pm, now);
    } else if (offset == PM1_CNT) {
        pm_write_control(pm, (u16)((pm->control & ~mask) | (value & mask)));
    }
}

static enum io_result pm_access(struct device *dev, struct io_access *io)
{
    struct pm *pm = container_of(dev, struct pm, dev);
    u32 offset = (u32)io->addr - pm->config.base, shift = offset % 4 * 8;
    if (unlikely(offset % 4 + io->size > 4))
        return bytewise_access(dev, io);
    if (io->write)
        pm_write(pm, offset & ~3u, (u32)io->value << shift,
                 (u32)low_bytes(~0ull, io->size) << shift);
    else
        io->value = low_bytes(pm_read(pm, offset & ~3u) >> shift, io->size);
    return IO_DONE;
}

static void pm_reset(struct device *dev)
{
    struct pm *pm = container_of(dev, struct pm, dev);
    pm->epoch = clock_now(pm->config.clock);
    pm->carries = 0;
    pm->status = pm->enable = pm->control = 0;
    pm_update(pm, pm->epoch);
}

static const struct device_ops pm_ops = {.reset = pm_reset, .access = pm_access};

INIT void pm_init(struct pm *pm, const struct pm_config *config)
{
    *pm = (struct pm){
        .dev = {.name = "pm", .ops = &pm_ops},
        .config = *config,
        .carry = {.fire = pm_carry           },
    };
    pm_reset(&pm->dev);
}

INIT int pm_attach(struct pm *pm, struct bus *bus)
{
    int err = bus_attach(bus, &pm->dev, IO_PORT, pm->config.base, PM1_CNT + 2);
    return err == OK ? bus_attach(bus, &pm->dev, IO_PORT, pm->config.base + PM_TMR, 4) : err;
}

INIT void pm_power_button(struct pm *pm)
{
    pm->status |= PWRBTN_STS;
    pm_update(pm, clock_now(pm->config.clock));
}
