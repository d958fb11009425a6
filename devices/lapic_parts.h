// SPDX-License-Identifier: MIT
// What the local APIC's files share. The guest's accesses come in at lapic_regs.c, which clears
// what is reserved and hands registers that do something to the file that does it.
#pragma once

#include "devices/lapic.h"

#define LAPIC_FIRST_VECTOR 16u // vectors below are illegal: "Valid Interrupt Vectors"

// An integrated APIC; the EOI-broadcast suppression it tells of is optional.
static inline u32 lapic_version(const struct lapic *lapic)
{
    return 0x14u | (LAPIC_LVTS - 1) << 16 | (lapic->config.eoi_suppress ? BIT32(24) : 0);
}

// The APIC ID as messages name it in the present mode.
static inline u32 lapic_id(const struct lapic *lapic)
{
    return lapic_in_x2apic(lapic) ? lapic->config.id : lapic->config.id & 0xff;
}

// "Deriving Logical x2APIC ID from the Local x2APIC ID": the cluster, and the bit within it.
static inline u32 lapic_x2apic_ldr(const struct lapic *lapic)
{
    u32 id = lapic->config.id;
    return (id >> 4 << 16) | BIT32(id & 0xf);
}

// Sets up the timer's rates; once, before lapic_timer_reset().
void lapic_timer_init(struct lapic *lapic);

// Stops the timer; its registers are as after RESET, except the LVT entry, which the caller sets.
void lapic_timer_reset(struct lapic *lapic);

// Writes of the registers, reserved bits already cleared.
void lapic_timer_write_lvt(struct lapic *lapic, u32 value);
void lapic_timer_write_initial(struct lapic *lapic, u32 value);
void lapic_timer_write_divide(struct lapic *lapic, u32 value);

// The current-count register at a time.
u32 lapic_timer_count_at(const struct lapic *lapic, u64 now);

// Ticks to input clocks, rounded down.
static inline u64 lapic_clocks_in(const struct lapic *lapic, u64 ticks)
{
    if (lapic->timer.same_rate)
        return ticks;
    return mul_div(ticks, lapic->config.timer_hz, lapic->config.clock->hz);
}

// Logs errors for ESR and raises the error interrupt if it is armed.
void lapic_error(struct lapic *lapic, u32 bits);

// A write of the LVT entry of LINT0 or LINT1, reserved and read-only bits already cleared.
void lapic_lint_write_lvt(struct lapic *lapic, unsigned pin, u32 value);

// The APIC was hardware-disabled: LINT0 is now the CPU's INTR, which may be asserted.
void lapic_pins_to_cpu(struct lapic *lapic);

// Sends what lapic->icr describes.
void lapic_send_ipi(struct lapic *lapic);

// Everything as after RESET but IA32_APIC_BASE and the pins.
void lapic_reset_registers(struct lapic *lapic);

// One access to the xAPIC page.
enum io_result lapic_page_access(struct device *dev, struct io_access *io);

// Sets open, page_open and msrs_open, and makes the page's copies current; after a change of
// IA32_APIC_BASE, SVR or what is lent.
void lapic_update(struct lapic *lapic);

// Makes the copies current that the CPU's page has of the registers that are never lent.
void lapic_copy_registers(const struct lapic *lapic);

void lapic_copy_initial_count(const struct lapic *lapic);

// An interrupt arrives while IRR is lent. Whether that was all; if not, it is to be recalled first.
bool lapic_post(struct lapic *lapic, u8 vector, bool level_triggered);

// The guest is to use a register (an offset in the page): recalls it if it is lent.
void lapic_recall_for(struct lapic *lapic, u32 offset);

// Whether a vector is in a set.
static inline bool vector_test(const u64 *set, u8 vector)
{
    return set[vector / 64] >> (vector % 64) & 1;
}

// The highest vector of a set, 0 for none.
static inline u8 vector_highest(const u64 *set)
{
    for (unsigned word = 4; word-- > 0;)
        if (set[word])
            return (u8)(word * 64 + bit_highest(set[word]));
    return 0;
}
