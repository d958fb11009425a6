// SPDX-License-Identifier: MIT
#include "devices/rtc.h"

#include "arch/x86_64/lib/bits.h"
#include "devices/bytewise.h"

enum {
    A_UIP = 0x80,
    A_DIVIDER = 0x70,
    A_RUNNING = 0x20, // of A_DIVIDER: 32.768 kHz; with anything else the chain stands still
    A_RATE = 0x0f,
    C_UF = 0x10,
    C_AF = 0x20,
    C_PF = 0x40,
    C_IRQF = 0x80,
    C_EVENTS = C_UF | C_AF | C_PF,
    D_VALID = 0x80, // the battery is good
    DEFAULT_A = A_RUNNING | 6,
};

static bool running(const struct rtc *rtc)
{
    return (rtc->memory[RTC_A] & A_DIVIDER) == A_RUNNING;
}

static bool updating(const struct rtc *rtc)
{
    return running(rtc) && !(rtc->memory[RTC_B] & RTC_B_SET);
}

// ---- the divider chain --------------------------------------------------------------------------

// The periodic rate's period is two to this many pulses of the chain; 0: there is none. The two
// fastest codes are those of the chip's faster crystals.
static u32 period_shift(const struct rtc *rtc)
{
    u32 rate = rtc->memory[RTC_A] & A_RATE;
    if (rate == 0)
        return 0;
    return rate <= 2 ? rate + 6 : rate - 1;
}

static u64 periods_at(const struct rtc *rtc, u64 now)
{
    u32 shift = period_shift(rtc);
    return shift ? mul_div(now - rtc->chain, RTC_HZ, rtc->config.clock->hz) >> shift : 0;
}

// Ticks from now until the chain has made this many seconds, or pulses, which it has not yet.
static u64 ticks_to_second(const struct rtc *rtc, u64 now, u64 second)
{
    return second * rtc->config.clock->hz - (now - rtc->chain);
}

static u64 ticks_to_pulse(const struct rtc *rtc, u64 now, u64 pulse)
{
    return mul_div_up(pulse, rtc->config.clock->hz, RTC_HZ) - (now - rtc->chain);
}

// MC146818 datasheet, "Divider Control": the first update comes half a second after the chain is
// let go.
static void start_chain(struct rtc *rtc, u64 now)
{
    u64 second = rtc->config.clock->hz;
    rtc->chain = now - (second - second / 2);
    rtc->updates = 0;
}

static void update_time(struct rtc *rtc, u64 seconds)
{
    u32 alarm = rtc_time_to_alarm(rtc->memory);
    rtc_time_advance(rtc->memory, seconds);
    rtc->memory[RTC_C] |= C_UF;
    if (alarm != 0 && alarm <= seconds)
        rtc->memory[RTC_C] |= C_AF;
}

// Does all that time has brought.
static void catch_up(struct rtc *rtc, u64 now)
{
    if (!running(rtc))
        return;
    u64 updates = (now - rtc->chain) / rtc->config.clock->hz;
    if (updates != rtc->updates && updating(rtc))
        update_time(rtc, updates - rtc->updates);
    rtc->updates = updates;
    u64 periods = periods_at(rtc, now);
    if (periods != rtc->periods)
        rtc->memory[RTC_C] |= C_PF;
    rtc->periods = periods;
}

static u64 earlier(u64 a, u64 b)
{
    return a < b ? a : b;
}

// Ticks from now to the next event that would raise the interrupt, or DEADLINE_NEVER.
static u64 ticks_to_event(const struct rtc *rtc, u64 now)
{
    u8 waiting = rtc->memory[RTC_B] & (u8)~rtc->memory[RTC_C];
    u64 ticks = DEADLINE_NEVER;
    if (updating(rtc) && waiting & RTC_B_UIE)
        ticks = ticks_to_second(rtc, now, rtc->updates + 1);
    if (updating(rtc) && waiting & RTC_B_AIE) {
        u32 alarm = rtc_time_to_alarm(rtc->memory);
        if (alarm != 0)
            ticks = earlier(ticks, ticks_to_second(rtc, now, rtc->updates + alarm));
    }
    if (running(rtc) && waiting & RTC_B_PIE && period_shift(rtc) != 0) {
        u64 pulse = (rtc->periods + 1) << period_shift(rtc);
        ticks = earlier(ticks, ticks_to_pulse(rtc, now, pulse));
    }
    return ticks;
}

// Brings the interrupt line and the deadline up to date; catch_up() has been done.
static void refresh(struct rtc *rtc, u64 now)
{
    bool level = rtc->memory[RTC_B] & rtc->memory[RTC_C] & C_EVENTS;
    if (rtc->line != level)
        irq_set(&rtc->config.irq, level);
    rtc->line = level;

    u64 when = now + ticks_to_event(rtc, now);
    // An interrupt that is up stays up until register C is read: nothing can be added to it.
    if (!level && when > now && when != DEADLINE_NEVER)
        deadline_arm(rtc->config.queue, &rtc->event, when);
    else
        deadline_cancel(rtc->config.queue, &rtc->event);
}

static void rtc_event(struct deadline *entry, u64 now)
{
    struct rtc *rtc = container_of(entry, struct rtc, event);
    catch_up(rtc, now);
    refresh(rtc, now);
}

// ---- the registers ------------------------------------------------------------------------------

static bool update_in_progress(const struct rtc *rtc, u64 now)
{
    u64 lead = mul_div_up(RTC_UIP_MICROSECONDS, rtc->config.clock->hz, 1000000);
    return updating(rtc) && ticks_to_second(rtc, now, rtc->updates + 1) <= lead;
}

static u8 read_c(struct rtc *rtc)
{
    u8 value = rtc->memory[RTC_C];
    if (value & rtc->memory[RTC_B] & C_EVENTS)
        value |= C_IRQF;
    rtc->memory[RTC_C] = 0;
    return value;
}

static u8 rtc_read(struct rtc *rtc, u64 now)
{
    switch (rtc->index) {
    case RTC_A:
        return rtc->memory[RTC_A] | (update_in_progress(rtc, now) ? A_UIP : 0);
    case RTC_C:
        return read_c(rtc);
    default:
        return rtc->memory[rtc->index];
    }
}

static void write_a(struct rtc *rtc, u8 value, u64 now)
{
    bool ran = running(rtc);
    rtc->memory[RTC_A] = value & (u8)~A_UIP;
    if (!ran && running(rtc))
        start_chain(rtc, now);
    rtc->periods = periods_at(rtc, now);
}

static void rtc_write(struct rtc *rtc, u8 value, u64 now)
{
    switch (rtc->index) {
    case RTC_SECONDS:
        rtc->memory[RTC_SECONDS] = value & 0x7f;
        break;
    case RTC_A:
        write_a(rtc, value, now);
        break;
    case RTC_B: // SET clears UIE
        rtc->memory[RTC_B] = value & RTC_B_SET ? value & (u8)~RTC_B_UIE : value;
        break;
    case RTC_C:
    case RTC_D:
        break;
    default:
        rtc->memory[rtc->index] = value;
    }
}

// The time's bytes and those of memory alike: all below the registers and the century change by
// themselves, so the chip is brought up to date first.
static void access_data(struct rtc *rtc, struct io_access *io)
{
    u64 now = clock_now(rtc->config.clock);
    catch_up(rtc, now);
    if (io->write)
        rtc_write(rtc, (u8)io->value, now);
    else
        io->value = rtc_read(rtc, now);
    refresh(rtc, now);
}

static enum io_result rtc_access(struct device *dev, struct io_access *io)
{
    struct rtc *rtc = container_of(dev, struct rtc, dev);
    if (unlikely(io->size != 1))
        return bytewise_access(dev, io);
    if (io->addr != RTC_PORT) {
        access_data(rtc, io);
    } else if (io->write) {
        rtc->index = io->value & 0x7f;
        rtc->nmi_masked = io->value & 0x80;
    } else {
        io->value = 0xff;
    }
    return IO_DONE;
}

// MC146818 datasheet, "RESET": time, calendar and memory go on.
static void rtc_reset(struct device *dev)
{
    struct rtc *rtc = container_of(dev, struct rtc, dev);
    u64 now = clock_now(rtc->config.clock);
    catch_up(rtc, now);
    rtc->memory[RTC_B] &= (u8) ~(RTC_B_PIE | RTC_B_AIE | RTC_B_UIE | RTC_B_SQUARE_WAVE);
    rtc->memory[RTC_C] = 0;
    rtc->index = 0;
    rtc->nmi_masked = false;
    refresh(rtc, now);
}

static const struct device_ops rtc_ops = {.reset = rtc_reset, .access = rtc_access};

INIT void rtc_init(struct rtc *rtc, const struct rtc_config *config)
{
    *rtc = (struct rtc){
        .dev = {.name = "rtc", .ops = &rtc_ops},
        .config = *config,
        .event = {.fire = rtc_event            },
        .chain = config->epoch_ticks,
    };
    rtc->memory[RTC_A] = DEFAULT_A;
    rtc->memory[RTC_B] = RTC_B_24H;
    rtc->memory[RTC_D] = D_VALID;
    rtc_time_set(rtc->memory, config->epoch);
    rtc_reset(&rtc->dev);
}

INIT int rtc_attach(struct rtc *rtc, struct bus *bus)
{
    return bus_attach(bus, &rtc->dev, IO_PORT, RTC_PORT, 2);
}

// ---- the memory's size --------------------------------------------------------------------------

enum {
    CMOS_EQUIPMENT = 0x14,
    CMOS_BASE = 0x15,          // KiB below 640 KiB
    CMOS_EXTENDED = 0x17,      // KiB from 1 MiB
    CMOS_CHECKED = 0x10,       // first of the bytes under the checksum
    CMOS_CHECKSUM = 0x2e,      // after the last of them; high byte first
    CMOS_EXTENDED_POST = 0x30, // CMOS_EXTENDED again
    CMOS_ABOVE_16M = 0x34,     // 64 KiB units from 16 MiB
    CMOS_ABOVE_4G = 0x5b,      // 64 KiB units from 4 GiB, 3 bytes
    EQUIPMENT_FPU = 0x02,
};

// How many units there are from `from` to `end`, as many as the bytes at index can say.
static void put_size(struct rtc *rtc, u32 index, u32 bytes, u64 from, u64 end, u32 unit)
{
    u64 count = end > from ? (end - from) / unit : 0;
    u64 most = low_bytes(~0ull, bytes);
    if (count > most)
        count = most;
    for (u32 i = 0; i < bytes; i++)
        rtc->memory[index + i] = (u8)(count >> (8 * i));
}

void rtc_set_memory_size(struct rtc *rtc, u64 low_end, u64 high)
{
    u64 base_end = low_end < 640 * 1024 ? low_end : 640 * 1024;
    put_size(rtc, CMOS_BASE, 2, 0, base_end, 1024);
    put_size(rtc, CMOS_EXTENDED, 2, 1 << 20, low_end, 1024);
    put_size(rtc, CMOS_EXTENDED_POST, 2, 1 << 20, low_end, 1024);
    put_size(rtc, CMOS_ABOVE_16M, 2, 16 << 20, low_end, 64 * 1024);
    put_size(rtc, CMOS_ABOVE_4G, 3, 0, high, 64 * 1024);
    rtc->memory[CMOS_EQUIPMENT] = EQUIPMENT_FPU;

    u16 sum = 0;
    for (u32 i = CMOS_CHECKED; i < CMOS_CHECKSUM; i++)
        sum = (u16)(sum + rtc->memory[i]);
    rtc->memory[CMOS_CHECKSUM] = (u8)(sum >> 8);
    rtc->memory[CMOS_CHECKSUM + 1] = (u8)sum;
}
