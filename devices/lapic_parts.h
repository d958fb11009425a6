// SPDX-License-Identifier: MIT
// What the local APIC's files share. The guest's accesses come in at lapic_regs.c, which clears
// what is reserved and hands registers that do something to the file that does it.
#pragma once

#include "devices/lapic.h"

#define LAPIC_FIRST_VECTOR 16u // vectors below are illegal: "Valid Interrupt Vectors"

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
