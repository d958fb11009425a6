// SPDX-License-Identifier: MIT
// A guest that does anything at all to the HPET, the I/O APIC and the local APIC behind it, while
// lines move and time passes. Nothing may leave its bounds, and time must go on.
#include "arch/x86_64/lib/check.h"
#include "devices/hpet.h"
#include "devices/ioapic.h"
#include "devices/lapic.h"
#include "tests/host/device_rig.h"

struct machine {
    struct rig rig;
    struct lapic lapic;
    struct ioapic ioapic;
    struct hpet hpet;
    unsigned messages;
};

static bool deliver(void *ctx, const struct ioapic_message *message)
{
    struct machine *m = ctx;
    m->messages++;
    if (!lapic_matches(&m->lapic, message->dest, message->logical))
        return false;
    lapic_receive(&m->lapic, message->mode, message->vector, message->level_triggered);
    return true;
}

static void eoi(void *ctx, u8 vector)
{
    struct machine *m = ctx;
    ioapic_eoi(&m->ioapic, vector);
}

static const struct lapic_ops lapic_ops = {.eoi = eoi};

static void machine_init(struct machine *m, u64 hz)
{
    rig_init(&m->rig, hz);
    lapic_init(&m->lapic, &(struct lapic_config){
                              .bsp = true,
                              .eoi_suppress = true,
                              .timer_hz = 1000000000,
                              .clock = &m->rig.clock,
                              .queue = &m->rig.queue,
                              .ops = &lapic_ops,
                              .ctx = m,
                          });
    lapic_virtual_wire(&m->lapic);
    ioapic_init(&m->ioapic, &(struct ioapic_config){.id = 1, .deliver = deliver, .ctx = m});
    hpet_init(&m->hpet,
              &(struct hpet_config){
                  .clock = &m->rig.clock,
                  .queue = &m->rig.queue,
                  .routes = 0x00f00000,
                  .inputs = {ioapic_set_irq, &m->ioapic,        0},
                  .legacy = {{ioapic_set_irq, &m->ioapic, 2},              {ioapic_set_irq, &m->ioapic, 8}},
    });
    CHECK(ioapic_attach(&m->ioapic, &m->rig.bus) == 0 && hpet_attach(&m->hpet, &m->rig.bus) == 0 &&
          bus_attach(&m->rig.bus, &m->lapic.dev, IO_MEM, APIC_DEFAULT_BASE, 4096) == 0);
}

static void check(const struct machine *m)
{
    CHECK((m->ioapic.remote_irr | m->ioapic.levels) < 1u << IOAPIC_PINS);
    CHECK(!(m->hpet.routed & ~0x00f00000u) && m->hpet.legacy_out < 4 && m->hpet.status < 8);
    for (unsigned i = 0; i < HPET_TIMERS; i++)
        CHECK(!deadline_armed(&m->hpet.timers[i].deadline) || m->hpet.enable & 1);
}

// Mostly the registers that are there.
static u64 address(u8 what, u8 where)
{
    static const u8 apic[] = {IOAPIC_IOREGSEL, IOAPIC_IOWIN, IOAPIC_IOWIN, IOAPIC_EOI};
    static const u16 timer[] = {0x000, 0x010, 0x020, 0x0f0, 0x0f4, 0x100, 0x108, 0x10c,
                                0x120, 0x128, 0x12c, 0x140, 0x148, 0x14c, 0x024, 0x160};
    switch (what % 4) {
    case 0:
        return IOAPIC_BASE + apic[where % 4];
    case 1:
        return HPET_BASE + timer[where % 16];
    case 2:
        return APIC_DEFAULT_BASE + (u64)where * 4;
    default:
        return (where & 1 ? HPET_BASE : IOAPIC_BASE) + where * 3u;
    }
}

static void one_step(struct machine *m, const uint8_t *step)
{
    u64 addr = address(step[0] >> 3, step[1]);
    u64 value = step[2] | (u64)step[3] << 8;
    u8 size = (u8)(1u << (step[0] >> 5 & 3));
    unsigned messages = m->messages;
    switch (step[0] & 7) {
    case 0:
        rig_read(&m->rig, addr, size);
        break;
    case 1: // a moment, or for ever: the deadlines are served once, however late
        m->rig.now += (u64)step[2] << (step[3] % 48);
        deadline_run(&m->rig.queue, m->rig.now);
        CHECK(deadline_next(&m->rig.queue) > m->rig.now);
        break;
    case 2:
        ioapic_set_irq(&m->ioapic, step[2], step[3] & 1);
        break;
    case 3:
        hpet_legacy_set(&m->hpet, step[2] & 1, step[3] & 1);
        break;
    case 4:
        if (lapic_pending(&m->lapic) >= 0)
            lapic_accept(&m->lapic, (u8)lapic_pending(&m->lapic));
        break;
    case 5:
        rig_write(&m->rig, addr, size, low_bytes(value << (step[1] & 0x30), size));
        break;
    default:
        rig_write(&m->rig, addr, step[1] & 0x80 ? 8 : 4, value | value << 16);
    }
    CHECK(m->messages - messages <= 2 * IOAPIC_PINS); // one thing leads to so much and no more
    check(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const u64 rates[] = {3000000000, 100000000, 33333333, 2893299713};
    static struct machine machine;
    if (size == 0)
        return 0;
    machine_init(&machine, rates[data[0] % 4]);
    for (data++, size--; size >= 4; data += 4, size -= 4)
        one_step(&machine, data);
    return 0;
}
