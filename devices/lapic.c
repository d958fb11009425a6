// SPDX-License-Identifier: MIT
// The local APIC's interrupts: how they arrive, wait, are taken and end.
#include "devices/lapic_parts.h"

#include "arch/x86_64/lib/string.h"

static void call(const struct lapic *lapic, void (*op)(void *ctx))
{
    if (op)
        op(lapic->config.ctx);
}

static void kick_if_pending(const struct lapic *lapic)
{
    if (lapic_pending(lapic) >= 0)
        call(lapic, lapic->config.ops->kick);
}

// ---- reset --------------------------------------------------------------------------------------

// "Local APIC State After Power-Up or Reset"; IA32_APIC_BASE and the pins are the caller's matter.
void lapic_reset_registers(struct lapic *lapic)
{
    lapic_recall(lapic);
    memset(lapic->irr, 0, sizeof(lapic->irr));
    memset(lapic->tmr, 0, sizeof(lapic->tmr));
    lapic->irr_high = lapic->isr_high = 0;
    lapic->any_level = false;
    lapic->tpr = 0;
    lapic->ldr = 0;
    lapic->dfr = ~0u;
    lapic->svr = APIC_SVR_VECTOR;
    lapic->esr = lapic->errors = 0;
    lapic->icr = 0;
    for (unsigned i = 0; i < LAPIC_LVTS; i++)
        lapic->lvt[i] = APIC_LVT_MASKED;
    lapic_timer_reset(lapic);
    lapic_update(lapic);
}

void lapic_reset(struct lapic *lapic)
{
    lapic->base = APIC_DEFAULT_BASE | APIC_BASE_ENABLE | (lapic->config.bsp ? APIC_BASE_BSP : 0);
    lapic_reset_registers(lapic);
}

void lapic_receive_init(struct lapic *lapic)
{
    lapic_reset_registers(lapic);
}

static void device_reset(struct device *dev)
{
    lapic_reset(container_of(dev, struct lapic, dev));
}

static const struct device_ops lapic_device_ops = {
    .reset = device_reset,
    .access = lapic_page_access,
};

INIT void lapic_init(struct lapic *lapic, const struct lapic_config *config)
{
    memset(lapic, 0, sizeof(*lapic));
    lapic->dev = (struct device){.name = "lapic", .ops = &lapic_device_ops};
    lapic->config = *config;
    lapic_timer_init(lapic);
    lapic_reset(lapic);
}

void lapic_virtual_wire(struct lapic *lapic)
{
    lapic->svr = APIC_SVR_ENABLE | APIC_SVR_VECTOR;
    lapic_lint_write_lvt(lapic, 0, APIC_DM_EXTINT << 8);
    lapic_lint_write_lvt(lapic, 1, APIC_DM_NMI << 8);
    lapic_update(lapic);
}

// ---- sets of vectors ----------------------------------------------------------------------------

static void vector_add(u64 *set, u8 vector)
{
    set[vector / 64] |= BIT(vector % 64);
}

static void vector_remove(u64 *set, u8 vector)
{
    set[vector / 64] &= ~BIT(vector % 64);
}

// ---- errors -------------------------------------------------------------------------------------

void lapic_error(struct lapic *lapic, u32 bits)
{
    bool armed = lapic->errors == 0;
    u32 lvt = lapic->lvt[LAPIC_LVT_ERROR];
    lapic->errors |= bits;
    if (!armed || (lvt & APIC_LVT_MASKED))
        return;
    // The error interrupt's own vector may be the next error; it must not come back here.
    if ((u8)lvt < LAPIC_FIRST_VECTOR)
        lapic->errors |= APIC_ESR_RECV_ILLEGAL;
    else
        lapic_set_irq(lapic, (u8)lvt, false);
}

// ---- arrival ------------------------------------------------------------------------------------

NOINLINE static void arrive_at_closed(struct lapic *lapic, u8 vector, bool level_triggered)
{
    if (!(lapic->svr & APIC_SVR_ENABLE) || lapic_post(lapic, vector, level_triggered))
        return;
    lapic_recall(lapic);
    lapic_set_irq(lapic, vector, level_triggered);
}

void lapic_set_irq(struct lapic *lapic, u8 vector, bool level_triggered)
{
    if (unlikely(!lapic->open)) {
        arrive_at_closed(lapic, vector, level_triggered);
        return;
    }
    if (unlikely(vector < LAPIC_FIRST_VECTOR)) {
        lapic_error(lapic, APIC_ESR_RECV_ILLEGAL);
        return;
    }
    vector_add(lapic->irr, vector);
    if (level_triggered)
        vector_add(lapic->tmr, vector);
    else
        vector_remove(lapic->tmr, vector);
    lapic->any_level |= level_triggered;
    if (vector > lapic->irr_high)
        lapic->irr_high = vector;
    kick_if_pending(lapic);
}

void lapic_receive(struct lapic *lapic, enum apic_delivery mode, u8 vector, bool level_triggered)
{
    const struct lapic_ops *ops = lapic->config.ops;
    switch (mode) {
    case APIC_DM_FIXED:
    case APIC_DM_LOWEST:
        lapic_set_irq(lapic, vector, level_triggered);
        break;
    case APIC_DM_NMI:
        call(lapic, ops->nmi);
        break;
    case APIC_DM_INIT:
        call(lapic, ops->init);
        break;
    case APIC_DM_STARTUP:
        if (ops->startup)
            ops->startup(lapic->config.ctx, vector);
        break;
    case APIC_DM_SMI:
    case APIC_DM_EXTINT:
        break;
    }
}

// ---- the LINT pins ------------------------------------------------------------------------------

static bool pin_asserted(const struct lapic *lapic, unsigned pin)
{
    return lapic->pins >> pin & 1;
}

// LINT1 does not support level-triggered interrupts: "Local Vector Table".
static bool lint_is_level(unsigned pin, u32 lvt)
{
    return pin == 0 && (lvt & APIC_LVT_LEVEL) && (lvt & APIC_LVT_DELIVERY) == 0;
}

// A level-triggered interrupt is not sent again until its EOI has cleared remote IRR.
static void lint_fixed(struct lapic *lapic, unsigned pin)
{
    u32 *lvt = &lapic->lvt[LAPIC_LVT_LINT0 + pin];
    bool level = lint_is_level(pin, *lvt);
    if (level && (*lvt & APIC_LVT_RIRR))
        return;
    if (level && (u8)*lvt >= LAPIC_FIRST_VECTOR) {
        *lvt |= APIC_LVT_RIRR;
        lapic_copy_registers(lapic);
    }
    lapic_set_irq(lapic, (u8)*lvt, level);
}

// What an asserted pin causes.
static void lint_signal(struct lapic *lapic, unsigned pin)
{
    u32 lvt = lapic->lvt[LAPIC_LVT_LINT0 + pin];
    if (lvt & APIC_LVT_MASKED)
        return;
    enum apic_delivery mode = (enum apic_delivery)bits_get(lvt, 10, 8);
    if (mode == APIC_DM_FIXED)
        lint_fixed(lapic, pin);
    else if (mode == APIC_DM_EXTINT)
        call(lapic, lapic->config.ops->kick);
    else if (mode == APIC_DM_NMI || mode == APIC_DM_INIT)
        lapic_receive(lapic, mode, 0, false);
}

void lapic_set_lint(struct lapic *lapic, unsigned pin, bool level)
{
    CHECK(pin < 2);
    bool rises = level && !pin_asserted(lapic, pin);
    lapic->pins = (u8)bits_set(lapic->pins, pin, pin, level);
    if (!rises)
        return;
    if (lapic->base & APIC_BASE_ENABLE)
        lint_signal(lapic, pin);
    else // the pins are the CPU's INTR and NMI
        call(lapic, pin == 0 ? lapic->config.ops->kick : lapic->config.ops->nmi);
}

void lapic_lint_set(void *lapic, unsigned line, bool level)
{
    lapic_set_lint(lapic, line, level);
}

// An asserted pin is felt when its entry opens, unless it is an edge that has passed.
void lapic_lint_write_lvt(struct lapic *lapic, unsigned pin, u32 value)
{
    u32 *lvt = &lapic->lvt[LAPIC_LVT_LINT0 + pin];
    bool level = lint_is_level(pin, value);
    bool extint = bits_get(value, 10, 8) == APIC_DM_EXTINT;
    *lvt = value | (level ? *lvt & APIC_LVT_RIRR : 0);
    if (pin_asserted(lapic, pin) && (level || extint))
        lint_signal(lapic, pin);
}

void lapic_pins_to_cpu(struct lapic *lapic)
{
    if (pin_asserted(lapic, 0))
        call(lapic, lapic->config.ops->kick);
}

// ---- towards the CPU ----------------------------------------------------------------------------

void lapic_accept(struct lapic *lapic, u8 vector)
{
    CHECK(lapic_pending(lapic) == vector);
    vector_remove(lapic->irr, vector);
    lapic->irr_high = vector_highest(lapic->irr);
    lapic->isr_below[vector >> 4] = lapic->isr_high;
    lapic->isr_high = vector;
}

static void level_eoi(struct lapic *lapic, u8 vector)
{
    u32 *lint0 = &lapic->lvt[LAPIC_LVT_LINT0];
    if ((*lint0 & APIC_LVT_RIRR) && (u8)*lint0 == vector) {
        *lint0 &= ~APIC_LVT_RIRR;
        lapic_copy_registers(lapic);
        if (pin_asserted(lapic, 0))
            lint_signal(lapic, 0);
    }
    if (!(lapic->svr & APIC_SVR_EOI_SUPPRESS) && lapic->config.ops->eoi)
        lapic->config.ops->eoi(lapic->config.ctx, vector);
}

void lapic_after_eoi(struct lapic *lapic, u8 vector)
{
    const u64 *tmr = lapic->tmr;
    if (vector_test(tmr, vector))
        level_eoi(lapic, vector);
    lapic->any_level = tmr[0] | tmr[1] | tmr[2] | tmr[3];
    kick_if_pending(lapic);
}

void lapic_set_tpr(struct lapic *lapic, u8 tpr)
{
    lapic->tpr = tpr;
    kick_if_pending(lapic);
}
