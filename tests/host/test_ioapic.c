// SPDX-License-Identifier: MIT
// The I/O APIC: directed tests of each datasheet feature, the way Linux drives it, a local APIC
// behind it, and random programs compared with a model that keeps one input at a time.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/lib/err.h"
#include "devices/ioapic.h"
#include "devices/lapic.h"
#include "tests/host/device_rig.h"

struct fixture {
    struct rig rig;
    struct ioapic ioapic;
    struct lapic lapic;
    bool to_lapic; // messages go on to the local APIC
    bool refuse;   // no local APIC takes anything
    unsigned sent;
    struct ioapic_message last;
};

static bool take(void *ctx, const struct ioapic_message *message)
{
    struct fixture *f = ctx;
    f->sent++;
    f->last = *message;
    if (f->to_lapic) {
        if (!lapic_matches(&f->lapic, message->dest, message->logical))
            return false;
        lapic_receive(&f->lapic, message->mode, message->vector, message->level_triggered);
    }
    return !f->refuse;
}

static void lapic_eoi_op(void *ctx, u8 vector)
{
    struct fixture *f = ctx;
    ioapic_eoi(&f->ioapic, vector);
}

static const struct lapic_ops lapic_ops = {.eoi = lapic_eoi_op};

static struct fixture *fresh(void)
{
    static struct fixture f;
    memset(&f, 0, sizeof(f));
    rig_init(&f.rig, 1000);
    ioapic_init(&f.ioapic, &(struct ioapic_config){.id = 1, .deliver = take, .ctx = &f});
    assert_int_equal(ioapic_attach(&f.ioapic, &f.rig.bus), OK);
    return &f;
}

// With a local APIC of ID 0, enabled, in xAPIC mode.
static struct fixture *fresh_with_lapic(void)
{
    struct fixture *f = fresh();
    f->to_lapic = true;
    lapic_init(&f->lapic, &(struct lapic_config){
                              .bsp = true,
                              .eoi_suppress = true,
                              .timer_hz = 1000,
                              .clock = &f->rig.clock,
                              .queue = &f->rig.queue,
                              .ops = &lapic_ops,
                              .ctx = f,
                          });
    assert_int_equal(bus_attach(&f->rig.bus, &f->lapic.dev, IO_MEM, APIC_DEFAULT_BASE, PAGE_SIZE),
                     OK);
    lapic_virtual_wire(&f->lapic);
    return f;
}

static u32 get(struct fixture *f, u8 reg)
{
    rig_write(&f->rig, IOAPIC_BASE + IOAPIC_IOREGSEL, 4, reg);
    return (u32)rig_read(&f->rig, IOAPIC_BASE + IOAPIC_IOWIN, 4);
}

static void put(struct fixture *f, u8 reg, u32 value)
{
    rig_write(&f->rig, IOAPIC_BASE + IOAPIC_IOREGSEL, 4, reg);
    rig_write(&f->rig, IOAPIC_BASE + IOAPIC_IOWIN, 4, value);
}

static u64 get_entry(struct fixture *f, unsigned pin)
{
    u8 reg = (u8)(IOAPIC_REG_RTE + 2 * pin);
    return get(f, reg) | (u64)get(f, reg + 1) << 32;
}

// High half first, as Linux does, so that an entry opens with its destination set.
static void put_entry(struct fixture *f, unsigned pin, u64 value)
{
    u8 reg = (u8)(IOAPIC_REG_RTE + 2 * pin);
    put(f, reg + 1, (u32)(value >> 32));
    put(f, reg, (u32)value);
}

static void line(struct fixture *f, unsigned pin, bool level)
{
    ioapic_set_irq(&f->ioapic, pin, level);
}

static void pulse(struct fixture *f, unsigned pin)
{
    line(f, pin, true);
    line(f, pin, false);
}

static void directed_eoi(struct fixture *f, u8 vector)
{
    rig_write(&f->rig, IOAPIC_BASE + IOAPIC_EOI, 4, vector);
}

static u64 mode(enum apic_delivery delivery)
{
    return (u64)delivery << 8;
}

// ---- registers ----------------------------------------------------------------------------------

static void reset_masks_everything(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        assert_int_equal(get_entry(f, pin), IOAPIC_RTE_MASKED);
        pulse(f, pin);
    }
    assert_int_equal(f->sent, 0);
    assert_int_equal(get(f, IOAPIC_REG_ID), 0x01000000);
    assert_int_equal(get(f, IOAPIC_REG_VER), 0x00170020);

    put(f, IOAPIC_REG_ID, 0x0c000000);
    put_entry(f, 3, IOAPIC_RTE_LEVEL | 0x33);
    line(f, 3, true);
    bus_reset(&f->rig.bus);
    assert_int_equal(rig_read(&f->rig, IOAPIC_BASE, 4), 0); // IOREGSEL
    assert_int_equal(get(f, IOAPIC_REG_ID), 0x01000000);
    assert_int_equal(get_entry(f, 3), IOAPIC_RTE_MASKED);
    assert_int_equal(f->sent, 1);
    // The line has stayed up, and nothing is left of the interrupt that was in flight.
    put_entry(f, 3, IOAPIC_RTE_LEVEL | 0x44);
    assert_int_equal(f->sent, 2);
    assert_int_equal(f->last.vector, 0x44);
}

static void id_has_four_bits(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    put(f, IOAPIC_REG_ID, 0xffffffff);
    assert_int_equal(get(f, IOAPIC_REG_ID), 0x0f000000);
    assert_int_equal(get(f, IOAPIC_REG_ARB), 0x0f000000);
    put(f, IOAPIC_REG_ID, 0x02ffffff);
    assert_int_equal(get(f, IOAPIC_REG_ID), 0x02000000);
    assert_int_equal(get(f, IOAPIC_REG_ARB), 0x02000000);
}

static void version_and_arbitration_are_read_only(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    put(f, IOAPIC_REG_VER, 0xffffffff);
    put(f, IOAPIC_REG_ARB, 0xffffffff);
    assert_int_equal(get(f, IOAPIC_REG_VER), 0x00170020);
    assert_int_equal(get(f, IOAPIC_REG_ARB), 0x01000000);
}

static void entries_keep_what_is_theirs(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        put_entry(f, pin, ~0ull);
        assert_int_equal(get_entry(f, pin), 0xff0000000001afff);
        put_entry(f, pin, (u64)pin << 56 | IOAPIC_RTE_MASKED | (0x30 + pin));
    }
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        assert_int_equal(get_entry(f, pin), (u64)pin << 56 | IOAPIC_RTE_MASKED | (0x30 + pin));
}

static void reserved_registers_read_0_and_do_nothing(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    struct ioapic before;
    put(f, 3, 0);
    before = f->ioapic;
    for (unsigned reg = 3; reg < 256; reg++) {
        if (reg >= IOAPIC_REG_RTE && reg < IOAPIC_REG_RTE + 2 * IOAPIC_PINS)
            continue;
        put(f, (u8)reg, 0xffffffff);
        assert_int_equal(get(f, (u8)reg), 0);
    }
    rig_write(&f->rig, IOAPIC_BASE, 4, 3);
    assert_memory_equal(&f->ioapic, &before, sizeof(before));
}

static void select_takes_the_low_byte_of_any_width(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    static const u8 sizes[] = {1, 2, 4, 8};
    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        rig_write(&f->rig, IOAPIC_BASE, sizes[i], low_bytes(0xaabbccddeeff1100 + i, sizes[i]));
        assert_int_equal(rig_read(&f->rig, IOAPIC_BASE, 4), i);
        rig_write(&f->rig, IOAPIC_BASE, sizes[i], low_bytes(0xaabbccddeeff1101, sizes[i]));
        assert_int_equal(rig_read(&f->rig, IOAPIC_BASE, sizes[i]), 1);
        assert_int_equal(rig_read(&f->rig, IOAPIC_BASE + IOAPIC_IOWIN, 4), 0x00170020);
    }
    rig_write(&f->rig, IOAPIC_BASE + 1, 1, 0x55); // its reserved bytes
    assert_int_equal(rig_read(&f->rig, IOAPIC_BASE, 4), 1);
    assert_int_equal(rig_read(&f->rig, IOAPIC_BASE + 1, 1), 0);
}

static void window_is_32_bits_wide(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    u64 win = IOAPIC_BASE + IOAPIC_IOWIN;
    put(f, IOAPIC_REG_RTE, 0x0001a0ff);
    rig_write(&f->rig, win, 1, 0x30);
    rig_write(&f->rig, win, 2, 0x3030);
    rig_write(&f->rig, win + 1, 1, 0x30);
    rig_write(&f->rig, win + 2, 2, 0);
    assert_int_equal(rig_read(&f->rig, win, 4), 0x0001a0ff);
    assert_int_equal(rig_read(&f->rig, win, 1), 0xff);
    assert_int_equal(rig_read(&f->rig, win, 2), 0xa0ff);
    assert_int_equal(rig_read(&f->rig, win + 1, 1), 0xa0);
    assert_int_equal(rig_read(&f->rig, win + 2, 2), 0x0001);
    assert_int_equal(rig_read(&f->rig, win + 3, 2), 0);
    assert_int_equal(rig_read(&f->rig, win, 8), 0x0001a0ff);
    rig_write(&f->rig, win, 8, 0xffffffff00010031);
    assert_int_equal(rig_read(&f->rig, win, 4), 0x00010031);
}

static void rest_of_the_page_reads_0(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    struct ioapic before = f->ioapic;
    f->ioapic.select = before.select = IOAPIC_REG_VER;
    for (u32 offset = 0; offset < PAGE_SIZE; offset += 4) {
        if (offset == IOAPIC_IOREGSEL || offset == IOAPIC_IOWIN)
            continue;
        rig_write(&f->rig, IOAPIC_BASE + offset, 4, 0xffffffff);
        assert_int_equal(rig_read(&f->rig, IOAPIC_BASE + offset, 4), 0);
    }
    assert_memory_equal(&f->ioapic, &before, sizeof(before));
    assert_int_equal(f->rig.bus.unclaimed[IO_MEM], 0);
    assert_int_equal(rig_read(&f->rig, IOAPIC_BASE + PAGE_SIZE, 4), 0xffffffff);
}

// ---- edges --------------------------------------------------------------------------------------

static void rising_edge_is_sent_once(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    put_entry(f, 4, 5ull << 56 | 0x41);
    line(f, 4, true);
    assert_int_equal(f->sent, 1);
    assert_int_equal(f->last.vector, 0x41);
    assert_int_equal(f->last.dest, 5);
    assert_int_equal(f->last.mode, APIC_DM_FIXED);
    assert_false(f->last.logical);
    assert_false(f->last.level_triggered);
    line(f, 4, true); // no edge
    line(f, 4, false);
    assert_int_equal(f->sent, 1);
    line(f, 4, true);
    assert_int_equal(f->sent, 2);
    assert_int_equal(get_entry(f, 4), 5ull << 56 | 0x41); // no remote IRR, nothing pending
    ioapic_eoi(&f->ioapic, 0x41);
    assert_int_equal(f->sent, 2);
}

static void edge_at_a_masked_input_is_lost(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    put_entry(f, 4, IOAPIC_RTE_MASKED | 0x41);
    line(f, 4, true);
    put_entry(f, 4, 0x41);
    assert_int_equal(f->sent, 0);
    line(f, 4, false);
    assert_int_equal(f->sent, 0);
    line(f, 4, true);
    assert_int_equal(f->sent, 1);
    put_entry(f, 4, IOAPIC_RTE_MASKED | 0x41); // and masking takes nothing back
    put_entry(f, 4, 0x41);
    assert_int_equal(f->sent, 1);
}

static void polarity_is_the_wires_matter(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    put_entry(f, 9, IOAPIC_RTE_LOW | 0x39);
    line(f, 9, true);
    assert_int_equal(f->sent, 1);
    line(f, 9, false);
    assert_int_equal(f->sent, 1);
    assert_int_equal(get_entry(f, 9), IOAPIC_RTE_LOW | 0x39);
}

static void each_input_has_its_own_entry(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        put_entry(f, pin, (u64)(0x80 + pin) << 56 | IOAPIC_RTE_LOGICAL | (0x40 + pin));
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        line(f, pin, true);
        assert_int_equal(f->sent, pin + 1);
        assert_int_equal(f->last.vector, 0x40 + pin);
        assert_int_equal(f->last.dest, 0x80 + pin);
        assert_true(f->last.logical);
    }
    line(f, IOAPIC_PINS, true);
    line(f, 32, true);
    line(f, ~0u, true);
    assert_int_equal(f->sent, IOAPIC_PINS);
}

// ---- levels -------------------------------------------------------------------------------------

static void level_is_sent_again_after_eoi(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    u64 entry = IOAPIC_RTE_LEVEL | 0x52;
    put_entry(f, 10, entry);
    line(f, 10, true);
    assert_int_equal(f->sent, 1);
    assert_true(f->last.level_triggered);
    assert_int_equal(get_entry(f, 10), entry | IOAPIC_RTE_RIRR);
    line(f, 10, true);
    line(f, 10, false);
    line(f, 10, true); // remote IRR holds it
    assert_int_equal(f->sent, 1);
    ioapic_eoi(&f->ioapic, 0x51); // another's
    assert_int_equal(f->sent, 1);
    ioapic_eoi(&f->ioapic, 0x52);
    assert_int_equal(f->sent, 2);
    assert_int_equal(get_entry(f, 10), entry | IOAPIC_RTE_RIRR);
    line(f, 10, false);
    assert_int_equal(get_entry(f, 10), entry | IOAPIC_RTE_RIRR);
    ioapic_eoi(&f->ioapic, 0x52);
    assert_int_equal(f->sent, 2);
    assert_int_equal(get_entry(f, 10), entry);
}

static void level_waits_for_its_mask(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    u64 entry = IOAPIC_RTE_LEVEL | 0x52;
    put_entry(f, 10, entry | IOAPIC_RTE_MASKED);
    line(f, 10, true);
    assert_int_equal(f->sent, 0);
    assert_int_equal(get_entry(f, 10), entry | IOAPIC_RTE_MASKED);
    put_entry(f, 10, entry);
    assert_int_equal(f->sent, 1);
    // Masked while in service, as a threaded handler does: EOI counts, the line waits.
    put_entry(f, 10, entry | IOAPIC_RTE_MASKED);
    assert_int_equal(get_entry(f, 10), entry | IOAPIC_RTE_MASKED | IOAPIC_RTE_RIRR);
    ioapic_eoi(&f->ioapic, 0x52);
    assert_int_equal(get_entry(f, 10), entry | IOAPIC_RTE_MASKED);
    assert_int_equal(f->sent, 1);
    put_entry(f, 10, entry);
    assert_int_equal(f->sent, 2);
    ioapic_eoi(&f->ioapic, 0x52);
    line(f, 10, false);
    ioapic_eoi(&f->ioapic, 0x52);
    // Unmasked before its EOI: one at a time.
    line(f, 10, true);
    unsigned sent = f->sent;
    put_entry(f, 10, entry | IOAPIC_RTE_MASKED);
    put_entry(f, 10, entry);
    assert_int_equal(f->sent, sent);
}

static void directed_eoi_is_an_eoi(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    u64 entry = IOAPIC_RTE_LEVEL | 0x52;
    put_entry(f, 10, entry);
    line(f, 10, true);
    directed_eoi(f, 0x53);
    assert_int_equal(get_entry(f, 10), entry | IOAPIC_RTE_RIRR);
    line(f, 10, false);
    directed_eoi(f, 0x52);
    assert_int_equal(get_entry(f, 10), entry);
    line(f, 10, true);
    rig_write(&f->rig, IOAPIC_BASE + IOAPIC_EOI, 1, 0x52);
    assert_int_equal(f->sent, 3);
    rig_write(&f->rig, IOAPIC_BASE + IOAPIC_EOI, 4, 0xffffff52);
    assert_int_equal(f->sent, 4);
    rig_write(&f->rig, IOAPIC_BASE + IOAPIC_EOI + 1, 1, 0x52);
    assert_int_equal(f->sent, 4);
    assert_int_equal(rig_read(&f->rig, IOAPIC_BASE + IOAPIC_EOI, 4), 0);
}

static void eoi_ends_every_entry_with_the_vector(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    put_entry(f, 10, IOAPIC_RTE_LEVEL | 0x52);
    put_entry(f, 16, IOAPIC_RTE_LEVEL | 0x53);
    put_entry(f, 23, IOAPIC_RTE_LEVEL | 0x52);
    line(f, 10, true);
    line(f, 16, true);
    line(f, 23, true);
    line(f, 10, false);
    ioapic_eoi(&f->ioapic, 0x52);
    assert_int_equal(f->sent, 4); // 23 again
    assert_int_equal(get_entry(f, 10), IOAPIC_RTE_LEVEL | 0x52);
    assert_int_equal(get_entry(f, 16), IOAPIC_RTE_LEVEL | IOAPIC_RTE_RIRR | 0x53);
    assert_int_equal(get_entry(f, 23), IOAPIC_RTE_LEVEL | IOAPIC_RTE_RIRR | 0x52);
}

// What Linux does at boot, and for EOI where the version is below 20H: mask, edge, back to level.
static void becoming_edge_triggered_clears_remote_irr(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    u64 entry = IOAPIC_RTE_LEVEL | 0x52;
    put_entry(f, 10, entry);
    line(f, 10, true);
    put_entry(f, 10, 0x52 | IOAPIC_RTE_MASKED);
    assert_int_equal(get_entry(f, 10), 0x52 | IOAPIC_RTE_MASKED);
    put_entry(f, 10, entry | IOAPIC_RTE_MASKED);
    assert_int_equal(get_entry(f, 10), entry | IOAPIC_RTE_MASKED);
    assert_int_equal(f->sent, 1);
    put_entry(f, 10, entry);
    assert_int_equal(f->sent, 2);
}

static void status_bits_cannot_be_written(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    u64 entry = IOAPIC_RTE_LEVEL | 0x52;
    put_entry(f, 10, entry | IOAPIC_RTE_RIRR | IOAPIC_RTE_PENDING);
    assert_int_equal(get_entry(f, 10), entry);
    line(f, 10, true);
    assert_int_equal(f->sent, 1);
    put_entry(f, 10, entry);
    assert_int_equal(get_entry(f, 10), entry | IOAPIC_RTE_RIRR);
    assert_int_equal(f->sent, 1);
}

static void a_level_nobody_takes_stays_pending(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    u64 entry = IOAPIC_RTE_LEVEL | 0x52;
    f->refuse = true;
    put_entry(f, 10, entry);
    line(f, 10, true);
    assert_int_equal(get_entry(f, 10), entry | IOAPIC_RTE_PENDING);
    put_entry(f, 10, entry | IOAPIC_RTE_MASKED);
    assert_int_equal(get_entry(f, 10), entry | IOAPIC_RTE_MASKED);
    f->refuse = false;
    put_entry(f, 10, entry); // or with another destination
    assert_int_equal(get_entry(f, 10), entry | IOAPIC_RTE_RIRR);
    f->refuse = true;
    ioapic_eoi(&f->ioapic, 0x52);
    assert_int_equal(get_entry(f, 10), entry | IOAPIC_RTE_PENDING);
    line(f, 10, false);
    assert_int_equal(get_entry(f, 10), entry);
    // A new destination alone sends it too.
    line(f, 10, true);
    f->refuse = false;
    put(f, IOAPIC_REG_RTE + 2 * 10 + 1, 0x02000000);
    assert_int_equal(f->last.dest, 2);
    assert_int_equal(get_entry(f, 10), 2ull << 56 | entry | IOAPIC_RTE_RIRR);
}

// ---- delivery modes -----------------------------------------------------------------------------

static void lowest_priority_is_passed_on(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    put_entry(f, 8, 3ull << 56 | IOAPIC_RTE_LOGICAL | IOAPIC_RTE_LEVEL | mode(APIC_DM_LOWEST) | 40);
    line(f, 8, true);
    assert_int_equal(f->last.mode, APIC_DM_LOWEST);
    assert_true(f->last.logical);
    assert_true(f->last.level_triggered);
    ioapic_eoi(&f->ioapic, 40);
    assert_int_equal(f->sent, 2);
}

static void special_modes_are_edges_always(void **state)
{
    (void)state;
    static const enum apic_delivery modes[] = {APIC_DM_SMI, APIC_DM_NMI, APIC_DM_INIT,
                                               APIC_DM_EXTINT};
    for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
        struct fixture *f = fresh();
        u64 entry = IOAPIC_RTE_LEVEL | mode(modes[i]) | 0x52;
        put_entry(f, 7, entry);
        line(f, 7, true);
        line(f, 7, true);
        assert_int_equal(f->sent, 1);
        assert_int_equal(f->last.mode, modes[i]);
        assert_false(f->last.level_triggered);
        assert_int_equal(get_entry(f, 7), entry);
        ioapic_eoi(&f->ioapic, 0x52);
        put_entry(f, 7, entry);
        assert_int_equal(f->sent, 1);
        line(f, 7, false);
        line(f, 7, true);
        assert_int_equal(f->sent, 2);
    }
}

static void reserved_modes_send_nothing(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    static const u64 modes[] = {3, 6};
    for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
        put_entry(f, 7, modes[i] << 8 | IOAPIC_RTE_LEVEL | 0x52);
        pulse(f, 7);
        line(f, 7, true);
        put_entry(f, 7, modes[i] << 8 | 0x52);
        line(f, 7, false);
        pulse(f, 7);
    }
    assert_int_equal(f->sent, 0);
}

static void leaving_a_level_mode_clears_remote_irr(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    put_entry(f, 7, IOAPIC_RTE_LEVEL | 0x52);
    line(f, 7, true);
    put_entry(f, 7, IOAPIC_RTE_LEVEL | mode(APIC_DM_NMI));
    assert_int_equal(get_entry(f, 7), IOAPIC_RTE_LEVEL | mode(APIC_DM_NMI));
    assert_int_equal(f->sent, 1); // its edge was long ago
}

static void extint_lasts_while_its_line_is_up(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    struct ioapic_message m;
    assert_false(ioapic_extint(&f->ioapic, 0, &m));
    put_entry(f, 0, 0x0full << 56 | mode(APIC_DM_EXTINT) | IOAPIC_RTE_LOGICAL);
    assert_false(ioapic_extint(&f->ioapic, 0, &m));
    line(f, 0, true);
    assert_int_equal(f->sent, 1);
    assert_true(ioapic_extint(&f->ioapic, 0, &m));
    assert_int_equal(m.dest, 0x0f);
    assert_int_equal(m.mode, APIC_DM_EXTINT);
    assert_true(m.logical);
    line(f, 0, false);
    assert_false(ioapic_extint(&f->ioapic, 0, &m));
    line(f, 0, true);
    put_entry(f, 0, mode(APIC_DM_EXTINT) | IOAPIC_RTE_MASKED);
    assert_false(ioapic_extint(&f->ioapic, 0, &m));
    assert_int_equal(f->sent, 2);
    put_entry(f, 0, mode(APIC_DM_EXTINT)); // a line that is up is felt
    assert_int_equal(f->sent, 3);
    assert_true(ioapic_extint(&f->ioapic, 0, &m));
    put_entry(f, 0, mode(APIC_DM_EXTINT));
    assert_int_equal(f->sent, 3);
    assert_false(ioapic_extint(&f->ioapic, 1, &m)); // another input's
    put_entry(f, 0, mode(APIC_DM_NMI));
    assert_false(ioapic_extint(&f->ioapic, 0, &m));
}

static void modes_in_use_are_told(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    put_entry(f, 23, mode(APIC_DM_NMI) | IOAPIC_RTE_MASKED);
    assert_false(ioapic_uses(&f->ioapic, APIC_DM_NMI));
    put_entry(f, 23, mode(APIC_DM_NMI));
    assert_true(ioapic_uses(&f->ioapic, APIC_DM_NMI));
    assert_false(ioapic_uses(&f->ioapic, APIC_DM_FIXED));
    assert_false(ioapic_uses(&f->ioapic, APIC_DM_INIT));
}

// ---- with a local APIC --------------------------------------------------------------------------

static void eoi_broadcast_comes_back(void **state)
{
    (void)state;
    struct fixture *f = fresh_with_lapic();
    u64 entry = IOAPIC_RTE_LEVEL | 0x52;
    put_entry(f, 10, entry);
    line(f, 10, true);
    assert_int_equal(lapic_pending(&f->lapic), 0x52);
    lapic_accept(&f->lapic, 0x52);
    assert_int_equal(lapic_pending(&f->lapic), -1);
    rig_write(&f->rig, APIC_DEFAULT_BASE + APIC_EOI, 4, 0);
    assert_int_equal(lapic_pending(&f->lapic), 0x52); // still up: again
    lapic_accept(&f->lapic, 0x52);
    line(f, 10, false);
    rig_write(&f->rig, APIC_DEFAULT_BASE + APIC_EOI, 4, 0);
    assert_int_equal(lapic_pending(&f->lapic), -1);
    assert_int_equal(get_entry(f, 10), entry);
    assert_int_equal(f->sent, 2);
}

static void suppressed_broadcast_needs_the_eoi_register(void **state)
{
    (void)state;
    struct fixture *f = fresh_with_lapic();
    rig_write(&f->rig, APIC_DEFAULT_BASE + APIC_SVR, 4,
              APIC_SVR_ENABLE | APIC_SVR_EOI_SUPPRESS | 0xff);
    put_entry(f, 10, IOAPIC_RTE_LEVEL | 0x52);
    line(f, 10, true);
    lapic_accept(&f->lapic, 0x52);
    rig_write(&f->rig, APIC_DEFAULT_BASE + APIC_EOI, 4, 0);
    assert_int_equal(lapic_pending(&f->lapic), -1);
    assert_int_equal(get_entry(f, 10), IOAPIC_RTE_LEVEL | IOAPIC_RTE_RIRR | 0x52);
    directed_eoi(f, 0x52);
    assert_int_equal(lapic_pending(&f->lapic), 0x52);
}

static void destinations_are_matched(void **state)
{
    (void)state;
    struct fixture *f = fresh_with_lapic();
    rig_write(&f->rig, APIC_DEFAULT_BASE + APIC_LDR, 4, 0x04000000);
    put_entry(f, 10, 3ull << 56 | IOAPIC_RTE_LEVEL | 0x52); // no such local APIC
    line(f, 10, true);
    assert_int_equal(lapic_pending(&f->lapic), -1);
    assert_int_equal(get_entry(f, 10), 3ull << 56 | IOAPIC_RTE_LEVEL | IOAPIC_RTE_PENDING | 0x52);
    put_entry(f, 10, 0x0cull << 56 | IOAPIC_RTE_LOGICAL | IOAPIC_RTE_LEVEL | 0x52);
    assert_int_equal(lapic_pending(&f->lapic), 0x52);
    put_entry(f, 11, 0xffull << 56 | 0x62);
    pulse(f, 11);
    assert_int_equal(lapic_pending(&f->lapic), 0x62);
}

// ---- against the model --------------------------------------------------------------------------

// One input, told as the datasheet tells it: no sets of inputs, no short ways.
struct model_pin {
    u64 entry;
    bool up, remote_irr;
};

struct model {
    struct model_pin pins[IOAPIC_PINS];
    unsigned sent;
    u8 vector; // of the last message
    bool refuse;
};

static bool model_level(const struct model_pin *pin)
{
    return (pin->entry >> 15 & 1) && (pin->entry >> 8 & 7) < 2;
}

static void model_send(struct model *m, struct model_pin *pin)
{
    u64 delivery = pin->entry >> 8 & 7;
    if (delivery == 3 || delivery == 6)
        return;
    m->sent++;
    m->vector = (u8)pin->entry;
    if (model_level(pin) && !m->refuse)
        pin->remote_irr = true;
}

static void model_try_level(struct model *m, struct model_pin *pin)
{
    if (model_level(pin) && pin->up && !pin->remote_irr && !(pin->entry >> 16 & 1))
        model_send(m, pin);
}

static void model_line(struct model *m, unsigned index, bool level)
{
    struct model_pin *pin = &m->pins[index];
    bool rises = level && !pin->up;
    pin->up = level;
    if (model_level(pin))
        model_try_level(m, pin);
    else if (rises && !(pin->entry >> 16 & 1))
        model_send(m, pin);
}

static void model_eoi(struct model *m, u8 vector)
{
    for (unsigned i = 0; i < IOAPIC_PINS; i++) {
        struct model_pin *pin = &m->pins[i];
        if (!pin->remote_irr || (u8)pin->entry != vector)
            continue;
        pin->remote_irr = false;
        model_try_level(m, pin);
    }
}

static bool model_extint(const struct model_pin *pin)
{
    return (pin->entry >> 8 & 7) == 7 && !(pin->entry >> 16 & 1) && pin->up;
}

static void model_write(struct model *m, unsigned index, bool high, u32 value)
{
    struct model_pin *pin = &m->pins[index];
    bool extint = model_extint(pin);
    if (high)
        pin->entry = (pin->entry & 0xffffffff) | (u64)(value & 0xff000000) << 32;
    else
        pin->entry = (pin->entry >> 32 << 32) | (value & 0x1afff);
    if (!model_level(pin))
        pin->remote_irr = false;
    model_try_level(m, pin);
    if (!extint && model_extint(pin))
        model_send(m, pin);
}

static u64 model_read(const struct model *m, unsigned index)
{
    const struct model_pin *pin = &m->pins[index];
    u64 value = pin->entry;
    if (pin->remote_irr)
        value |= 1 << 14;
    else if (model_level(pin) && pin->up && !(pin->entry >> 16 & 1))
        value |= 1 << 12;
    return value;
}

static void random_step(struct fixture *f, struct model *m, u64 *seed)
{
    unsigned pin = rig_random(seed) % IOAPIC_PINS;
    u8 vector = (u8)(0x40 + rig_random(seed) % 4);
    bool high = rig_random(seed) % 4 == 0;
    bool level = rig_random(seed) & 1;
    u32 value = (rig_random(seed) & ~0x10ffu) | vector | (rig_random(seed) & 0x10000);
    if (rig_random(seed) % 4)
        value &= ~0x700u; // fixed, mostly
    switch (rig_random(seed) % 8) {
    case 0:
    case 1:
        put(f, (u8)(IOAPIC_REG_RTE + 2 * pin + high), value);
        model_write(m, pin, high, value);
        break;
    case 2:
        ioapic_eoi(&f->ioapic, vector);
        model_eoi(m, vector);
        break;
    case 3:
        directed_eoi(f, vector);
        model_eoi(m, vector);
        break;
    case 4:
        f->refuse = m->refuse = rig_random(seed) % 8 == 0;
        break;
    default:
        line(f, pin, level);
        model_line(m, pin, level);
    }
    struct ioapic_message unused;
    if (f->sent != m->sent || (m->sent && f->last.vector != m->vector) ||
        get_entry(f, pin) != model_read(m, pin) ||
        ioapic_extint(&f->ioapic, pin, &unused) != model_extint(&m->pins[pin]))
        fail_msg("pin %u: sent %u, want %u; entry %llx, want %llx", pin, f->sent, m->sent,
                 (unsigned long long)get_entry(f, pin), (unsigned long long)model_read(m, pin));
}

static void random_programs_match_the_model(void **state)
{
    (void)state;
    for (u64 run = 1; run <= 200; run++) {
        struct fixture *f = fresh();
        struct model m = {0};
        u64 seed = run;
        for (unsigned i = 0; i < IOAPIC_PINS; i++)
            m.pins[i].entry = 0x10000;
        for (unsigned step = 0; step < 2000; step++)
            random_step(f, &m, &seed);
        for (unsigned i = 0; i < IOAPIC_PINS; i++)
            assert_int_equal(get_entry(f, i), model_read(&m, i));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reset_masks_everything),
        cmocka_unit_test(id_has_four_bits),
        cmocka_unit_test(version_and_arbitration_are_read_only),
        cmocka_unit_test(entries_keep_what_is_theirs),
        cmocka_unit_test(reserved_registers_read_0_and_do_nothing),
        cmocka_unit_test(select_takes_the_low_byte_of_any_width),
        cmocka_unit_test(window_is_32_bits_wide),
        cmocka_unit_test(rest_of_the_page_reads_0),
        cmocka_unit_test(rising_edge_is_sent_once),
        cmocka_unit_test(edge_at_a_masked_input_is_lost),
        cmocka_unit_test(polarity_is_the_wires_matter),
        cmocka_unit_test(each_input_has_its_own_entry),
        cmocka_unit_test(level_is_sent_again_after_eoi),
        cmocka_unit_test(level_waits_for_its_mask),
        cmocka_unit_test(directed_eoi_is_an_eoi),
        cmocka_unit_test(eoi_ends_every_entry_with_the_vector),
        cmocka_unit_test(becoming_edge_triggered_clears_remote_irr),
        cmocka_unit_test(status_bits_cannot_be_written),
        cmocka_unit_test(a_level_nobody_takes_stays_pending),
        cmocka_unit_test(lowest_priority_is_passed_on),
        cmocka_unit_test(special_modes_are_edges_always),
        cmocka_unit_test(reserved_modes_send_nothing),
        cmocka_unit_test(leaving_a_level_mode_clears_remote_irr),
        cmocka_unit_test(extint_lasts_while_its_line_is_up),
        cmocka_unit_test(modes_in_use_are_told),
        cmocka_unit_test(eoi_broadcast_comes_back),
        cmocka_unit_test(suppressed_broadcast_needs_the_eoi_register),
        cmocka_unit_test(destinations_are_matched),
        cmocka_unit_test(random_programs_match_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
