// SPDX-License-Identifier: MIT
#include "devices/hpet.h"

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/check.h"

enum { // offsets of registers
    REG_CAPABILITIES = 0x000,
    REG_ENABLE = 0x010,
    REG_STATUS = 0x020,
    REG_COUNTER = 0x0f0,
    REG_TIMERS = 0x100,
    TIMER_STRIDE = 0x20,
    TIMER_CONFIG = 0x00,
    TIMER_COMPARATOR = 0x08,
};

enum {
    ENABLE_CNF = 1u << 0,
    LEG_RT_CNF = 1u << 1,
    INT_TYPE_LEVEL = 1u << 1,
    INT_ENB = 1u << 2,
    TYPE_PERIODIC = 1u << 3,
    PER_INT_CAP = 1u << 4,
    SIZE_CAP = 1u << 5,
    VAL_SET = 1u << 6,
    MODE_32 = 1u << 8,
    INT_ROUTE = 0x1fu << 9,
    TIMER_WRITABLE = INT_TYPE_LEVEL | INT_ENB | TYPE_PERIODIC | VAL_SET | MODE_32 | INT_ROUTE,
};

#define HPET_NEVER (~0ull)

_Static_assert(HPET_HZ *HPET_PERIOD_FS == 1000000000000000ull, "the period is exact");

// ---- the counter --------------------------------------------------------------------------------

// Counts since start.
static u64 counts_at(const struct hpet *hpet, u64 now)
{
    if (!(hpet->enable & ENABLE_CNF))
        return 0;
    return mul_div(now - hpet->start, HPET_HZ, hpet->config.clock->hz);
}

static u64 read_counter(const struct hpet *hpet)
{
    return hpet->base + counts_at(hpet, clock_now(hpet->config.clock));
}

// The first tick at which that many counts have passed.
static u64 tick_of(const struct hpet *hpet, u64 counts)
{
    u64 ticks = mul_div_up(counts, hpet->config.clock->hz, HPET_HZ);
    u64 when = hpet->start + ticks;
    return when < ticks ? DEADLINE_NEVER : when;
}

// ---- matches ------------------------------------------------------------------------------------

static unsigned index_of(const struct hpet_timer *timer)
{
    return (unsigned)(timer - timer->hpet->timers);
}

static bool is_level(const struct hpet_timer *timer)
{
    return timer->config & INT_TYPE_LEVEL;
}

// The timer's width.
static u64 mask_of(const struct hpet_timer *timer)
{
    return timer->config & MODE_32 ? BITS(31, 0) : BITS(63, 0);
}

static u64 period_of(const struct hpet_timer *timer)
{
    return timer->config & TYPE_PERIODIC ? timer->period & mask_of(timer) : 0;
}

// From one match to the next; 0 if none follows that anybody could live to see.
static u64 step_of(const struct hpet_timer *timer)
{
    u64 period = period_of(timer);
    return period == 0 && timer->config & MODE_32 ? BIT(32) : period;
}

// Passes over the matches up to counts, without shifting the schedule.
static void pass_matches(struct hpet_timer *timer, u64 counts)
{
    u64 step = step_of(timer);
    if (timer->due > counts)
        return;
    if (step == 0) {
        timer->due = HPET_NEVER;
        return;
    }
    u64 steps = ((counts - timer->due) / step + 1) * step;
    timer->comparator = (timer->comparator + steps) & mask_of(timer);
    timer->due = timer->due + steps < steps ? HPET_NEVER : timer->due + steps;
}

// The next match, from the counter as it is now.
static void find_match(struct hpet_timer *timer, u64 counts)
{
    const struct hpet *hpet = timer->hpet;
    u64 left = (timer->comparator - (hpet->base + counts)) & mask_of(timer);
    timer->due = counts + left < left ? HPET_NEVER : counts + left;
    if (!(hpet->enable & ENABLE_CNF))
        timer->due = HPET_NEVER;
}

// The first match at which the floor allows an interrupt.
static u64 next_interrupt(const struct hpet_timer *timer)
{
    u64 period = period_of(timer);
    if (timer->due >= timer->earliest || period == 0 || period >= HPET_FLOOR)
        return timer->due;
    return timer->due + (timer->earliest - timer->due + period - 1) / period * period;
}

// Whether a match changes anything: a level that is up already stays as it is.
static bool match_is_seen(const struct hpet_timer *timer)
{
    if (is_level(timer))
        return !(timer->hpet->status & BIT32(index_of(timer)));
    return timer->config & INT_ENB;
}

static void schedule(struct hpet_timer *timer)
{
    struct hpet *hpet = timer->hpet;
    u64 when = DEADLINE_NEVER;
    if (timer->due != HPET_NEVER && match_is_seen(timer))
        when = tick_of(hpet, next_interrupt(timer));
    if (when == DEADLINE_NEVER)
        deadline_cancel(hpet->config.queue, &timer->deadline);
    else
        deadline_arm(hpet->config.queue, &timer->deadline, when);
}

// ---- lines --------------------------------------------------------------------------------------

static bool is_legacy(const struct hpet_timer *timer)
{
    return timer->hpet->enable & LEG_RT_CNF && index_of(timer) < HPET_LEGACY;
}

// The I/O APIC's input, as a bit; 0 if it goes to none.
static u32 route_of(const struct hpet_timer *timer)
{
    u32 input = (timer->config & INT_ROUTE) >> 9;
    return is_legacy(timer) ? 0 : BIT32(input) & timer->hpet->config.routes;
}

static bool may_interrupt(const struct hpet_timer *timer)
{
    return timer->hpet->enable & ENABLE_CNF && timer->config & INT_ENB;
}

static bool is_up(const struct hpet_timer *timer)
{
    bool up = is_level(timer) ? timer->hpet->status & BIT32(index_of(timer)) : timer->held;
    return up && may_interrupt(timer);
}

static void drive_inputs(struct hpet *hpet, u32 routed)
{
    const struct irq_pin *inputs = &hpet->config.inputs;
    u32 changed = hpet->routed ^ routed;
    hpet->routed = routed;
    for (; changed; changed &= changed - 1) {
        unsigned input = bit_lowest(changed);
        if (inputs->set)
            inputs->set(inputs->ctx, input, routed & BIT32(input));
    }
}

static void drive_legacy(struct hpet *hpet, u8 out)
{
    u8 changed = hpet->legacy_out ^ out;
    hpet->legacy_out = out;
    for (unsigned line = 0; line < HPET_LEGACY; line++)
        if (changed & BIT32(line))
            irq_set(&hpet->config.legacy[line], out & BIT32(line));
}

static void show_lines(struct hpet *hpet)
{
    u32 routed = 0;
    u8 legacy = hpet->enable & LEG_RT_CNF ? 0 : hpet->legacy_in;
    for (unsigned i = 0; i < HPET_TIMERS; i++) {
        const struct hpet_timer *timer = &hpet->timers[i];
        if (!is_up(timer))
            continue;
        routed |= route_of(timer);
        legacy |= is_legacy(timer) ? (u8)BIT32(i) : 0;
    }
    drive_inputs(hpet, routed);
    drive_legacy(hpet, legacy);
}

// An edge on a line that another timer's level holds up is lost, as on a wire.
static void send_edge(struct hpet_timer *timer)
{
    struct hpet *hpet = timer->hpet;
    timer->held = false;
    show_lines(hpet);
    if (is_legacy(timer)) {
        timer->held = true;
        show_lines(hpet);
    } else {
        u32 before = hpet->routed;
        drive_inputs(hpet, before | route_of(timer));
        drive_inputs(hpet, before);
    }
}

static void send_level(struct hpet_timer *timer)
{
    timer->hpet->status |= BIT32(index_of(timer));
    show_lines(timer->hpet);
}

static void timer_fire(struct deadline *entry, u64 now)
{
    struct hpet_timer *timer = container_of(entry, struct hpet_timer, deadline);
    u64 counts = counts_at(timer->hpet, now);
    pass_matches(timer, counts);
    timer->earliest = counts + HPET_FLOOR;
    if (is_level(timer))
        send_level(timer);
    else
        send_edge(timer);
    schedule(timer);
}

// Serves what is already due, and passes over the matches nobody sees: what was owed before a
// register is written must not be lost, nor judged by the new value. The counts at now.
static u64 catch_up(struct hpet *hpet, u64 now)
{
    u64 counts = counts_at(hpet, now);
    for (unsigned i = 0; i < HPET_TIMERS; i++) {
        struct hpet_timer *timer = &hpet->timers[i];
        if (deadline_armed(&timer->deadline) && timer->deadline.when <= now) {
            deadline_cancel(hpet->config.queue, &timer->deadline);
            timer_fire(&timer->deadline, now);
        }
        pass_matches(timer, counts);
    }
    return counts;
}

// ---- registers ----------------------------------------------------------------------------------

// The counter stands at value now, and runs on from there if it is enabled.
static void set_counter(struct hpet *hpet, u64 now, u64 value)
{
    hpet->start = now;
    hpet->base = value;
    for (unsigned i = 0; i < HPET_TIMERS; i++) {
        hpet->timers[i].earliest = 0;
        find_match(&hpet->timers[i], 0);
    }
}

// An edge that was held ends when the counter halts and when its line goes elsewhere.
static void write_enable(struct hpet *hpet, u64 now, u64 counts, u32 value)
{
    u32 changed = hpet->enable ^ value;
    hpet->enable = value;
    if (changed)
        for (unsigned i = 0; i < HPET_TIMERS; i++)
            hpet->timers[i].held = false;
    if (changed & ENABLE_CNF)
        set_counter(hpet, now, hpet->base + counts);
}

static void write_config(struct hpet_timer *timer, u64 counts, u32 value)
{
    u32 changed = timer->config ^ value;
    u32 route = (value & INT_ROUTE) >> 9;
    if (!(BIT32(route) & timer->hpet->config.routes))
        value = (value & ~(u32)INT_ROUTE) | (timer->config & INT_ROUTE);
    if (!(value & TYPE_PERIODIC))
        value &= ~(u32)VAL_SET;
    timer->config = value & TIMER_WRITABLE;
    if (!is_level(timer))
        timer->hpet->status &= ~BIT32(index_of(timer));
    if (is_level(timer) || !may_interrupt(timer))
        timer->held = false;
    if (changed & MODE_32) {
        timer->comparator &= mask_of(timer);
        timer->period &= mask_of(timer);
        find_match(timer, counts);
    }
}

// value replaces the bits of where.
static void write_comparator(struct hpet_timer *timer, u64 counts, u64 value, u64 where)
{
    if (timer->config & TYPE_PERIODIC)
        timer->period = ((timer->period & ~where) | value) & mask_of(timer);
    if (timer->config & TYPE_PERIODIC && !(timer->config & VAL_SET))
        return;
    timer->config &= ~(u32)VAL_SET;
    timer->comparator = ((timer->comparator & ~where) | value) & mask_of(timer);
    find_match(timer, counts);
}

static u64 read_timer(struct hpet *hpet, u32 offset)
{
    u32 index = (offset - REG_TIMERS) / TIMER_STRIDE;
    if (index >= HPET_TIMERS)
        return 0;
    const struct hpet_timer *timer = &hpet->timers[index];
    switch (offset % TIMER_STRIDE) {
    case TIMER_CONFIG:
        return (u64)hpet->config.routes << 32 | timer->config | PER_INT_CAP | SIZE_CAP;
    case TIMER_COMPARATOR:
        catch_up(hpet, clock_now(hpet->config.clock));
        return timer->comparator;
    default:
        return 0;
    }
}

// The 64-bit register at offset.
static u64 read_register(struct hpet *hpet, u32 offset)
{
    if (likely(offset == REG_COUNTER))
        return read_counter(hpet);
    if (offset >= REG_TIMERS)
        return read_timer(hpet, offset);
    switch (offset) {
    case REG_CAPABILITIES:
        return HPET_PERIOD_FS << 32 | HPET_ID;
    case REG_ENABLE:
        return hpet->enable;
    case REG_STATUS:
        catch_up(hpet, clock_now(hpet->config.clock));
        return hpet->status;
    default:
        return 0;
    }
}

static void write_timer(struct hpet *hpet, u64 counts, u32 offset, u64 value, u64 where)
{
    u32 index = (offset - REG_TIMERS) / TIMER_STRIDE;
    if (index >= HPET_TIMERS)
        return;
    struct hpet_timer *timer = &hpet->timers[index];
    u32 reg = offset % TIMER_STRIDE;
    if (reg == TIMER_CONFIG && where & 1)
        write_config(timer, counts, (u32)value);
    else if (reg == TIMER_COMPARATOR)
        write_comparator(timer, counts, value, where);
}

// value replaces the bits of where in the 64-bit register at offset; other bits of value are 0.
static void write_register(struct hpet *hpet, u32 offset, u64 value, u64 where)
{
    u64 now = clock_now(hpet->config.clock);
    u64 counts = catch_up(hpet, now);
    if (offset >= REG_TIMERS)
        write_timer(hpet, counts, offset, value, where);
    else if (offset == REG_COUNTER)
        set_counter(hpet, now, ((hpet->base + counts) & ~where) | value);
    else if (offset == REG_ENABLE && where & 1)
        write_enable(hpet, now, counts, value & (ENABLE_CNF | LEG_RT_CNF));
    else if (offset == REG_STATUS)
        hpet->status &= ~(u32)value;
    show_lines(hpet);
    for (unsigned i = 0; i < HPET_TIMERS; i++)
        schedule(&hpet->timers[i]);
}

static enum io_result hpet_access(struct device *dev, struct io_access *io)
{
    struct hpet *hpet = container_of(dev, struct hpet, dev);
    u32 offset = (u32)(io->addr - HPET_BASE);
    u32 shift = offset % 8 * 8;
    if (!io->write)
        io->value = low_bytes(read_register(hpet, offset & ~7u) >> shift, io->size);
    else if (io->size >= 4 && offset % io->size == 0)
        write_register(hpet, offset & ~7u, io->value << shift, low_bytes(~0ull, io->size) << shift);
    return IO_DONE;
}

void hpet_legacy_set(void *ctx, unsigned line, bool level)
{
    struct hpet *hpet = ctx;
    CHECK(line < HPET_LEGACY);
    hpet->legacy_in = (u8)bits_set(hpet->legacy_in, line, line, level);
    if (!(hpet->enable & LEG_RT_CNF))
        drive_legacy(hpet, hpet->legacy_in);
}

static void hpet_reset(struct device *dev)
{
    struct hpet *hpet = container_of(dev, struct hpet, dev);
    hpet->enable = hpet->status = 0;
    for (unsigned i = 0; i < HPET_TIMERS; i++) {
        struct hpet_timer *timer = &hpet->timers[i];
        deadline_cancel(hpet->config.queue, &timer->deadline);
        *timer = (struct hpet_timer){
            .deadline.fire = timer_fire,
            .hpet = hpet,
            .comparator = ~0ull,
        };
    }
    set_counter(hpet, 0, 0);
    show_lines(hpet);
}

static const struct device_ops hpet_ops = {.reset = hpet_reset, .access = hpet_access};

INIT void hpet_init(struct hpet *hpet, const struct hpet_config *config)
{
    *hpet = (struct hpet){
        .dev = {.name = "hpet", .ops = &hpet_ops},
        .config = *config,
    };
    hpet_reset(&hpet->dev);
}

INIT int hpet_attach(struct hpet *hpet, struct bus *bus)
{
    return bus_attach(bus, &hpet->dev, IO_MEM, HPET_BASE, PAGE_SIZE);
}
