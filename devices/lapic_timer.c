// SPDX-License-Identifier: MIT
// The local APIC's timer: SDM volume 3, "APIC Timer" and "TSC-Deadline Mode".
#include "devices/lapic_parts.h"

#include "arch/x86_64/lib/err.h"

static bool mode_counts(u32 mode)
{
    return mode == APIC_TIMER_ONESHOT || mode == APIC_TIMER_PERIODIC;
}

// The first tick at which the timer has counted this many input clocks.
static u64 tick_of(const struct lapic *lapic, u64 clocks)
{
    u64 ticks = clocks;
    if (!lapic->timer.same_rate)
        ticks = mul_div_up(clocks, lapic->config.clock->hz, lapic->config.timer_hz);
    u64 when = lapic->timer.start + ticks;
    return when < ticks ? DEADLINE_NEVER : when;
}

static void timer_interrupt(struct lapic *lapic)
{
    u32 lvt = lapic->lvt[LAPIC_LVT_TIMER];
    if (!(lvt & APIC_LVT_MASKED))
        lapic_set_irq(lapic, (u8)lvt, false);
}

// Moves due to the first zero of the count after now: by whole periods, so the schedule never
// shifts and the periods that were missed are passed over.
static void advance(struct lapic *lapic, u64 now)
{
    struct lapic_timer *timer = &lapic->timer;
    u64 passed = lapic_clocks_in(lapic, now - timer->start);
    if (timer->period < timer->floor)
        passed += timer->floor;
    if (passed >= timer->due)
        timer->due += ((passed - timer->due) / timer->period + 1) * timer->period;
}

static void timer_fire(struct deadline *entry, u64 now)
{
    struct lapic *lapic = container_of(entry, struct lapic, timer.deadline);
    struct lapic_timer *timer = &lapic->timer;
    if (lapic_timer_mode(lapic) == APIC_TIMER_PERIODIC) {
        advance(lapic, now);
        deadline_arm(lapic->config.queue, entry, tick_of(lapic, timer->due));
    } else {
        timer->due = 0;
        timer->tsc_deadline = 0;
        entry->when = DEADLINE_NEVER; // for lapic_deadline_quickly()
    }
    timer_interrupt(lapic);
}

// Fires what is already due: an interrupt that was owed before a register is written must not be
// lost, nor judged by the new value.
static void catch_up(struct lapic *lapic, u64 now)
{
    struct deadline *entry = &lapic->timer.deadline;
    if (deadline_armed(entry) && entry->when <= now) {
        deadline_cancel(lapic->config.queue, entry);
        timer_fire(entry, now);
    }
}

// Counts down from count, with the initial count's period after that; 0 stops.
static void restart(struct lapic *lapic, u64 now, u32 count)
{
    struct lapic_timer *timer = &lapic->timer;
    timer->start = now;
    timer->due = (u64)count << timer->shift;
    timer->period = (u64)timer->initial << timer->shift;
    if (count != 0)
        deadline_arm(lapic->config.queue, &timer->deadline, tick_of(lapic, timer->due));
    else
        deadline_cancel(lapic->config.queue, &timer->deadline);
}

u32 lapic_timer_count_at(const struct lapic *lapic, u64 now)
{
    const struct lapic_timer *timer = &lapic->timer;
    if (timer->due == 0)
        return 0;
    u64 passed = lapic_clocks_in(lapic, now - timer->start);
    u64 left = timer->due - passed;
    if (unlikely(passed >= timer->due)) { // the deadline has not been run yet
        if (lapic_timer_mode(lapic) != APIC_TIMER_PERIODIC)
            return 0;
        left = timer->period - (passed - timer->due) % timer->period;
    } else if (unlikely(left > timer->period)) { // the floor leaves zeros out
        left = (left - 1) % timer->period + 1;
    }
    return (u32)((left + timer->round) >> timer->shift);
}

// Bits 3, 1 and 0 of the register give 2, 4, 8, ... 128 and, all set, 1.
static void set_divider(struct lapic_timer *timer, u32 tdcr)
{
    timer->tdcr = tdcr;
    timer->shift = (((tdcr >> 1 & 4) | (tdcr & 3)) + 1) & 7;
    timer->round = BIT32(timer->shift) - 1;
}

// A change of the period or of the rule at zero goes on from the present count; the part of a count
// that has passed is lost.
void lapic_timer_write_divide(struct lapic *lapic, u32 value)
{
    struct lapic_timer *timer = &lapic->timer;
    u64 now = clock_now(lapic->config.clock);
    catch_up(lapic, now);
    u32 count = lapic_timer_count_at(lapic, now);
    set_divider(timer, value);
    if (timer->due != 0)
        restart(lapic, now, count);
}

void lapic_timer_write_initial(struct lapic *lapic, u32 value)
{
    u32 mode = lapic_timer_mode(lapic);
    if (mode == APIC_TIMER_TSC_DEADLINE)
        return;
    u64 now = clock_now(lapic->config.clock);
    catch_up(lapic, now);
    lapic->timer.initial = value;
    restart(lapic, now, mode_counts(mode) ? value : 0);
}

void lapic_timer_write_lvt(struct lapic *lapic, u32 value)
{
    struct lapic_timer *timer = &lapic->timer;
    u64 now = clock_now(lapic->config.clock);
    catch_up(lapic, now);
    u32 count = lapic_timer_count_at(lapic, now);
    u32 before = lapic_timer_mode(lapic);
    lapic->lvt[LAPIC_LVT_TIMER] = value;
    u32 after = lapic_timer_mode(lapic);
    if (before == after)
        return;
    if (!mode_counts(before) || !mode_counts(after)) {
        timer->initial = 0;
        timer->tsc_deadline = 0;
        count = 0;
    }
    restart(lapic, now, count);
}

INIT void lapic_timer_init(struct lapic *lapic)
{
    const struct lapic_config *config = &lapic->config;
    CHECK(config->timer_hz != 0 && config->clock->hz != 0);
    lapic->timer = (struct lapic_timer){
        .deadline.fire = timer_fire,
        .floor = config->timer_hz / LAPIC_TIMER_MAX_HZ,
        .same_rate = config->timer_hz == config->clock->hz,
    };
}

void lapic_timer_reset(struct lapic *lapic)
{
    struct lapic_timer *timer = &lapic->timer;
    deadline_cancel(lapic->config.queue, &timer->deadline);
    timer->due = 0;
    timer->tsc_deadline = 0;
    timer->initial = 0;
    set_divider(timer, 0);
}

int lapic_deadline_read(const struct lapic *lapic, u64 *value)
{
    if (!lapic->config.tsc_deadline)
        return E_FAULT;
    *value = lapic->timer.tsc_deadline;
    return OK;
}

// A deadline that has come fires at once, without a way through the queue.
static void deadline_has_come(struct lapic *lapic)
{
    lapic->timer.tsc_deadline = 0;
    deadline_cancel(lapic->config.queue, &lapic->timer.deadline);
    timer_interrupt(lapic);
}

static void arm_tsc(struct lapic *lapic, u64 now, u64 target)
{
    u64 when = target - lapic->tsc_offset;
    lapic->timer.tsc_deadline = target;
    deadline_arm(lapic->config.queue, &lapic->timer.deadline, when < now ? DEADLINE_NEVER : when);
}

int lapic_deadline_write(struct lapic *lapic, u64 value, u64 now)
{
    struct lapic_timer *timer = &lapic->timer;
    if (lapic_deadline_quickly(lapic, value, now))
        return OK;
    if (lapic_timer_mode(lapic) != APIC_TIMER_TSC_DEADLINE) // always, where it is not offered
        return lapic->config.tsc_deadline ? OK : E_FAULT;
    if (timer->tsc_deadline != 0 && timer->deadline.when <= now)
        deadline_has_come(lapic);
    if (value > now + lapic->tsc_offset) {
        arm_tsc(lapic, now, value);
    } else if (value != 0) {
        deadline_has_come(lapic);
    } else {
        timer->tsc_deadline = 0;
        deadline_cancel(lapic->config.queue, &timer->deadline);
    }
    return OK;
}

void lapic_tsc_changed(struct lapic *lapic)
{
    u64 target = lapic->timer.tsc_deadline;
    u64 now = clock_now(lapic->config.clock);
    if (target == 0)
        return;
    if (target > now + lapic->tsc_offset)
        arm_tsc(lapic, now, target);
    else
        deadline_has_come(lapic);
}
