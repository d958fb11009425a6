// SPDX-License-Identifier: MIT
// Interprocessor interrupts: SDM volume 3, "Issuing Interprocessor Interrupts".
#include "devices/lapic_parts.h"

enum shorthand { TO_DEST, TO_SELF, TO_ALL, TO_OTHERS };

// "Logical Destination Mode" of xAPIC mode: the flat and the cluster model.
static bool matches_logical_xapic(const struct lapic *lapic, u32 dest)
{
    u32 id = lapic->ldr >> 24;
    if (lapic->dfr >> 28 == 0xf)
        return (id & dest) != 0;
    if (lapic->dfr >> 28 == 0)
        return id >> 4 == dest >> 4 && (id & dest & 0xf) != 0;
    return false;
}

bool lapic_matches(const struct lapic *lapic, u32 dest, bool logical)
{
    u32 id = lapic->config.id;
    if (!(lapic->base & APIC_BASE_ENABLE))
        return false;
    if (dest == LAPIC_BROADCAST)
        return true;
    if (lapic_in_x2apic(lapic)) {
        u32 ldr = lapic_x2apic_ldr(lapic);
        if (logical)
            return ldr >> 16 == dest >> 16 && (ldr & dest & 0xffff) != 0;
        return dest == id;
    }
    if ((u8)dest == 0xff)
        return true;
    return logical ? matches_logical_xapic(lapic, (u8)dest) : (u8)dest == (u8)id;
}

static bool is_fixed(const struct lapic_ipi *ipi)
{
    return ipi->mode == APIC_DM_FIXED || ipi->mode == APIC_DM_LOWEST;
}

static void send_others(const struct lapic *lapic, const struct lapic_ipi *ipi)
{
    if (lapic->config.ops->ipi)
        lapic->config.ops->ipi(lapic->config.ctx, ipi);
}

static void send(struct lapic *lapic, const struct lapic_ipi *ipi, enum shorthand shorthand)
{
    bool self = shorthand == TO_SELF || shorthand == TO_ALL;
    if (self && !is_fixed(ipi) && ipi->mode != APIC_DM_NMI)
        return;
    if (shorthand == TO_DEST)
        self = lapic_matches(lapic, ipi->dest, ipi->logical);
    if (is_fixed(ipi) && ipi->vector < LAPIC_FIRST_VECTOR) {
        lapic_error(lapic, APIC_ESR_SEND_ILLEGAL | (self ? APIC_ESR_RECV_ILLEGAL : 0));
        return;
    }
    // A physical destination that is the sender has nobody else in it.
    bool others = shorthand != TO_SELF;
    if (shorthand == TO_DEST && !ipi->logical && ipi->dest == lapic_id(lapic))
        others = false;
    if (others)
        send_others(lapic, ipi);
    if (self)
        lapic_receive(lapic, ipi->mode, ipi->vector, false);
}

static void send_message(struct lapic *lapic, u32 low, u32 dest)
{
    enum shorthand shorthand = (enum shorthand)bits_get(low, 19, 18);
    struct lapic_ipi ipi = {
        .dest = shorthand == TO_DEST ? dest : LAPIC_BROADCAST,
        .logical = shorthand == TO_DEST && (low & APIC_ICR_DEST_LOGICAL),
        .mode = (enum apic_delivery)bits_get(low, 10, 8),
        .vector = (u8)low,
    };
    // INIT level de-assert did something on the Pentium and P6 only. Every other message is
    // edge-triggered and asserted, whatever these two bits say.
    if (ipi.mode == APIC_DM_INIT && (low & APIC_ICR_LEVEL) && !(low & APIC_ICR_ASSERT))
        return;
    send(lapic, &ipi, shorthand);
}

// The fields of ICR that make a fixed interrupt to oneself: it is used much, and is no message.
#define SELF_FIELDS ((u32)(APIC_ICR_SHORTHAND | BITS(10, 8)))
#define SELF_FIXED  (TO_SELF << 18 | APIC_DM_FIXED << 8)

void lapic_send_ipi(struct lapic *lapic)
{
    u32 low = (u32)lapic->icr;
    u32 dest = (u32)(lapic->icr >> 32);
    if ((low & SELF_FIELDS) == SELF_FIXED && (u8)low >= LAPIC_FIRST_VECTOR)
        lapic_set_irq(lapic, (u8)low, false);
    else
        send_message(lapic, low, lapic_in_x2apic(lapic) ? dest : dest >> 24);
}
