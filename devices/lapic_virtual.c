// SPDX-License-Identifier: MIT
// What a CPU that virtualizes the local APIC has of its registers: see lapic_virtualize().
#include "devices/lapic_parts.h"

#include "arch/x86_64/lib/string.h"

#define VECTOR_WORDS 8u // registers of 32 bits, 10H apart

static u32 *page_register(const struct lapic *lapic, u32 offset)
{
    return &lapic->cpu.page[offset / sizeof(u32)];
}

static void kick(const struct lapic *lapic)
{
    if (lapic->config.ops->kick)
        lapic->config.ops->kick(lapic->config.ctx);
}

// ---- the registers that are not lent ------------------------------------------------------------

void lapic_copy_registers(const struct lapic *lapic)
{
    bool x2apic = lapic_in_x2apic(lapic);

    if (!lapic->cpu.interrupts)
        return;
    *page_register(lapic, APIC_ID) = x2apic ? lapic->config.id : lapic_id(lapic) << 24;
    *page_register(lapic, APIC_VERSION) = lapic_version(lapic);
    *page_register(lapic, APIC_LDR) = x2apic ? lapic_x2apic_ldr(lapic) : lapic->ldr;
    *page_register(lapic, APIC_DFR) = lapic->dfr;
    *page_register(lapic, APIC_SVR) = lapic->svr;
    *page_register(lapic, APIC_ESR) = lapic->esr;
    *page_register(lapic, APIC_ICR_LOW) = (u32)lapic->icr;
    for (u32 i = 0; i < LAPIC_LVTS; i++)
        *page_register(lapic, APIC_LVT_TIMER + i * 0x10) = lapic->lvt[i];
    *page_register(lapic, APIC_TDCR) = lapic->timer.tdcr;
    lapic_copy_initial_count(lapic);
}

void lapic_copy_initial_count(const struct lapic *lapic)
{
    if (lapic->cpu.interrupts)
        *page_register(lapic, APIC_TMICT) = lapic->timer.initial;
}

void lapic_update(struct lapic *lapic)
{
    u64 mode = lapic->base & (APIC_BASE_ENABLE | APIC_BASE_X2APIC);
    bool alone = !lapic->cpu.page;

    lapic->open = (lapic->svr & APIC_SVR_ENABLE) && !lapic->cpu.lent;
    lapic->page_open = alone && mode == APIC_BASE_ENABLE;
    lapic->msrs_open = alone && mode == (APIC_BASE_ENABLE | APIC_BASE_X2APIC);
    lapic_copy_registers(lapic);
}

void lapic_virtualize(struct lapic *lapic, void *page, bool interrupts)
{
    lapic_recall(lapic);
    lapic->cpu = (struct lapic_virtual){.page = page, .interrupts = interrupts};
    lapic_update(lapic);
    kick(lapic);
}

// ---- lending and recalling ----------------------------------------------------------------------

static void put_set(const struct lapic *lapic, u32 offset, const u64 *set)
{
    for (u32 i = 0; i < VECTOR_WORDS; i++)
        *page_register(lapic, offset + i * 0x10) = (u32)(set[i / 2] >> i % 2 * 32);
}

static void get_set(const struct lapic *lapic, u32 offset, u64 *set)
{
    for (u32 i = 0; i < VECTOR_WORDS; i += 2)
        set[i / 2] = *page_register(lapic, offset + i * 0x10) |
                     (u64)*page_register(lapic, offset + i * 0x10 + 0x10) << 32;
}

static void put_in_service(const struct lapic *lapic)
{
    u64 set[4] = {0};
    for (u8 vector = lapic->isr_high; vector != 0; vector = lapic->isr_below[vector >> 4])
        set[vector / 64] |= BIT(vector % 64);
    put_set(lapic, APIC_ISR, set);
}

// The CPU takes an interrupt over one of a lower class only, so that of each class there is one at
// most; should there be more, the highest counts.
static void get_in_service(struct lapic *lapic)
{
    u64 set[4];
    get_set(lapic, APIC_ISR, set);
    lapic->isr_high = 0;
    for (u32 word = 0; word < ARRAY_SIZE(set); word++)
        for (u64 bits = set[word]; bits != 0; bits &= bits - 1) {
            u8 vector = (u8)(word * 64 + bit_lowest(bits));
            if (lapic->isr_high >> 4 != vector >> 4)
                lapic->isr_below[vector >> 4] = lapic->isr_high;
            lapic->isr_high = vector;
        }
}

u16 lapic_lend(struct lapic *lapic)
{
    *page_register(lapic, APIC_TPR) = lapic->tpr;
    if (lapic->cpu.interrupts) {
        put_set(lapic, APIC_IRR, lapic->irr);
        put_set(lapic, APIC_TMR, lapic->tmr);
        put_in_service(lapic);
        *page_register(lapic, APIC_ICR_HIGH) = lapic_in_x2apic(lapic) ? 0 : (u32)(lapic->icr >> 32);
    }
    lapic->cpu.lent = true;
    lapic->cpu.posted = 0;
    lapic->open = false;
    return (u16)(lapic->isr_high << 8 | lapic->irr_high);
}

void lapic_recall(struct lapic *lapic)
{
    if (!lapic->cpu.lent)
        return;
    lapic->tpr = (u8)*page_register(lapic, APIC_TPR);
    if (lapic->cpu.interrupts) {
        get_set(lapic, APIC_IRR, lapic->irr);
        lapic->irr_high = vector_highest(lapic->irr);
        get_in_service(lapic);
        if (!lapic_in_x2apic(lapic))
            lapic->icr = bits_set(lapic->icr, 63, 32, *page_register(lapic, APIC_ICR_HIGH));
    }
    lapic->cpu.lent = false;
    lapic->open = lapic->svr & APIC_SVR_ENABLE;
    kick(lapic);
}

// "Evaluation of Pending Virtual Interrupts".
bool lapic_delivers(const struct lapic *lapic, u16 status)
{
    u32 tpr = *page_register(lapic, APIC_TPR) >> 4, in_service = status >> 12;
    return (status & 0xff) >> 4 > (tpr > in_service ? tpr : in_service);
}

static bool is_lent(const struct lapic *lapic, u32 offset)
{
    if (offset == APIC_TPR || offset == APIC_PPR)
        return true;
    // TPR may be what holds the next one from now on: the CPU must be told its threshold.
    if (!lapic->cpu.interrupts)
        return offset == APIC_EOI && lapic->irr_high;
    bool icr = offset == APIC_ICR_LOW || offset == APIC_ICR_HIGH;
    return offset == APIC_EOI || (offset >= APIC_ISR && offset < APIC_ESR) ||
           (icr && !lapic_in_x2apic(lapic));
}

void lapic_recall_for(struct lapic *lapic, u32 offset)
{
    if (is_lent(lapic, offset))
        lapic_recall(lapic);
}

// The CPU finds IRR's bit when it is told of the vector; TMR's decides which EOIs it reports, and
// is not changed behind its back.
bool lapic_post(struct lapic *lapic, u8 vector, bool level_triggered)
{
    struct lapic_virtual *cpu = &lapic->cpu;
    if (!cpu->interrupts || vector < LAPIC_FIRST_VECTOR ||
        vector_test(lapic->tmr, vector) != level_triggered)
        return false;
    *page_register(lapic, APIC_IRR + vector / 32u * 0x10) |= BIT32(vector % 32);
    if (vector > cpu->posted)
        cpu->posted = vector;
    kick(lapic);
    return true;
}
