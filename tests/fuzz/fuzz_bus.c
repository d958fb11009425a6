// SPDX-License-Identifier: MIT
// A PC's devices on their bus, wired as a VM wires them, under any sequence of guest accesses,
// outside events and steps of time. After each step the local APIC's idea of what is pending is
// recomputed from the registers the guest can read.
#include <stdlib.h>
#include <string.h>

#include "arch/x86_64/lib/check.h"
#include "arch/x86_64/lib/err.h"
#include "devices/lapic.h"
#include "devices/pic.h"
#include "devices/pit.h"
#include "devices/uart.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STEPS 4096u

struct machine {
    struct clock clock;
    u64 now;
    struct deadline *heap[4];
    struct deadline_queue queue;
    struct bus bus;
    struct lapic lapic;
    struct pic pic;
    struct pit pit;
    struct uart uart;
    unsigned kicks;
    const uint8_t *data;
    size_t size;
};

// ---- the input ----------------------------------------------------------------------------------

// The next n bytes, little-endian; zeros after the end.
static u64 take(struct machine *m, unsigned n)
{
    u64 value = 0;
    for (unsigned i = 0; i < n && m->size > 0; i++) {
        value |= (u64)*m->data++ << (i * 8);
        m->size--;
    }
    return value;
}

// A number of any width: most are small, or a little off an end of the range.
static u64 take_value(struct machine *m)
{
    u8 shape = (u8)take(m, 1);
    u64 value = take(m, shape & 3 ? shape & 3 : 8);
    if (shape & 4)
        value <<= 8 * (shape >> 5);
    return shape & 8 ? ~value : value;
}

// ---- the machine --------------------------------------------------------------------------------

static u64 machine_now(const struct clock *clock)
{
    return container_of(clock, struct machine, clock)->now;
}

static void on_kick(void *ctx)
{
    ((struct machine *)ctx)->kicks++;
}

static void on_init(void *ctx)
{
    lapic_receive_init(&((struct machine *)ctx)->lapic);
}

static void on_vector(void *ctx, u8 vector)
{
    (void)ctx;
    CHECK(vector >= 16);
}

static void on_ipi(void *ctx, const struct lapic_ipi *ipi)
{
    struct machine *m = ctx;
    bool to_self_alone = !ipi->logical && ipi->dest == m->lapic.config.id;
    CHECK(!to_self_alone);
}

static void console_write(void *ctx, const u8 *data, size_t length)
{
    (void)ctx;
    CHECK(length > 0 && data != NULL);
}

static void machine_init(struct machine *m, u8 options)
{
    static const u64 rates[] = {1000000000, 2999999999, 1, 24000000};
    static const struct lapic_ops ops = {
        .kick = on_kick,
        .init = on_init,
        .eoi = on_vector,
        .ipi = on_ipi,
    };
    memset(m, 0, sizeof(*m));
    m->now = 1000000;
    m->clock = (struct clock){.now = machine_now, .hz = rates[options & 1]};
    deadline_queue_init(&m->queue, m->heap, ARRAY_SIZE(m->heap));
    bus_init(&m->bus);
    struct lapic_config lapic = {
        .id = options >> 6,
        .bsp = true,
        .x2apic = !(options & 2),
        .tsc_deadline = !(options & 4),
        .eoi_suppress = options & 8,
        .timer_hz = rates[options >> 4 & 3],
        .clock = &m->clock,
        .queue = &m->queue,
        .ops = &ops,
        .ctx = m,
    };
    struct uart_config uart = {
        .name = "com1",
        .port = UART_COM1,
        .clock = &m->clock,
        .queue = &m->queue,
        .irq = {pic_set_irq, &m->pic,     4},
        .out = {.write = console_write,           .ctx = m},
    };
    lapic_init(&m->lapic, &lapic);
    pic_init(&m->pic, (struct irq_pin){lapic_lint_set, &m->lapic, 0});
    pit_init(&m->pit, &m->clock, &m->queue, (struct irq_pin){pic_set_irq, &m->pic, 0});
    uart_init(&m->uart, &uart);
    CHECK(bus_attach(&m->bus, &m->lapic.dev, IO_MEM, APIC_DEFAULT_BASE, PAGE_SIZE) == OK);
    CHECK(pic_attach(&m->pic, &m->bus) == OK);
    CHECK(pit_attach(&m->pit, &m->bus) == OK);
    CHECK(uart_attach(&m->uart, &m->bus) == OK);
    bus_reset(&m->bus);
    lapic_virtual_wire(&m->lapic);
}

// ---- what must hold -----------------------------------------------------------------------------

// A register as the guest reads it in the present mode.
static u32 reg(struct machine *m, u32 offset)
{
    u64 value = 0;
    struct io_access io = {.space = IO_MEM, .size = 4, .addr = APIC_DEFAULT_BASE + offset};
    if (lapic_in_x2apic(&m->lapic))
        CHECK(lapic_msr_read(&m->lapic, 0x800 + (offset >> 4), &value) == OK);
    else
        CHECK(bus_access(&m->bus, &io) == IO_DONE);
    return (u32)(lapic_in_x2apic(&m->lapic) ? value : io.value);
}

// The highest vector of the eight registers at base, or -1; no class may have two if nested is set.
static int highest(struct machine *m, u32 base, bool nested)
{
    int found = -1;
    for (int vector = 0; vector < 256; vector++) {
        u32 bits = reg(m, base + (u32)vector / 32 * 16);
        if (bits == 0) {
            vector |= 31;
            continue;
        }
        if (!(bits >> vector % 32 & 1))
            continue;
        CHECK(vector >= 16);
        CHECK(!nested || found < 0 || found >> 4 != vector >> 4);
        found = vector;
    }
    return found;
}

static void check_lapic(struct machine *m)
{
    int pending = lapic_pending(&m->lapic);
    if (!(lapic_base_read(&m->lapic) & APIC_BASE_ENABLE)) {
        CHECK(pending == -1 && lapic_accepts_extint(&m->lapic));
        return;
    }
    int irr = highest(m, APIC_IRR, false);
    int isr = highest(m, APIC_ISR, true);
    int tpr = (int)reg(m, APIC_TPR);
    int in_service = isr < 0 ? 0 : isr & 0xf0;
    int ppr = (tpr & 0xf0) >= in_service ? tpr : in_service;
    CHECK((int)reg(m, APIC_PPR) == ppr);
    CHECK(pending == (irr >= 0 && (irr & 0xf0) > (ppr & 0xf0) ? irr : -1));
    CHECK(lapic_tpr_threshold(&m->lapic) <= (u32)tpr >> 4);
    u32 count = reg(m, APIC_TMCCT);
    CHECK(count <= reg(m, APIC_TMICT));
    CHECK(count == 0 || deadline_armed(&m->lapic.timer.deadline));
    for (u32 offset = APIC_LVT_TIMER; offset <= APIC_LVT_ERROR; offset += 16)
        CHECK((reg(m, APIC_SVR) & APIC_SVR_ENABLE) || (reg(m, offset) & APIC_LVT_MASKED));
}

// Something the owner would inject.
static bool has_interrupt(const struct machine *m)
{
    return lapic_pending(&m->lapic) >= 0 ||
           (lapic_accepts_extint(&m->lapic) && pic_output(&m->pic));
}

// ---- the steps ----------------------------------------------------------------------------------

static void access_port(struct machine *m)
{
    static const u16 ports[] = {0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1, 0x40,
                                0x41, 0x42, 0x43, 0x61, 0x3f8, 0x80};
    u8 choice = (u8)take(m, 1);
    struct io_access io = {.space = IO_PORT, .write = choice & 0x80};
    io.size = (u8)(1u << (choice >> 5 & 3) % 3);
    io.addr = ports[(choice & 31) % ARRAY_SIZE(ports)];
    if (io.addr == UART_COM1)
        io.addr += take(m, 1) & 7;
    io.value = io.write ? low_bytes(take_value(m), io.size) : 0;
    bus_access(&m->bus, &io);
    CHECK(io.value == low_bytes(io.value, io.size));
}

static void access_page(struct machine *m)
{
    u16 choice = (u16)take(m, 2);
    struct io_access io = {.space = IO_MEM, .size = 4, .write = choice & 1};
    io.addr = APIC_DEFAULT_BASE + (choice & 0x3f0);
    if ((choice & 0xe) == 0xe) { // off the beaten track
        io.size = (u8)(1u << (choice >> 14));
        io.addr += take(m, 1) * 16 + take(m, 1);
    }
    io.value = io.write ? low_bytes(take_value(m), io.size) : 0;
    bus_access(&m->bus, &io);
    CHECK(io.value == low_bytes(io.value, io.size));
}

static void access_msr(struct machine *m)
{
    u64 value = 0;
    u32 msr = 0x800 + (u32)take(m, 1);
    if (lapic_msr_read(&m->lapic, msr, &value) == OK)
        CHECK(msr == 0x830 || value <= ~0u);
    msr = 0x800 + (u32)take(m, 1);
    lapic_msr_write(&m->lapic, msr, take_value(m));
}

static void write_base(struct machine *m)
{
    u8 choice = (u8)take(m, 1);
    u64 before = lapic_base_read(&m->lapic);
    u64 value = APIC_DEFAULT_BASE | (u64)(choice & 0xd) << 8;
    if (choice & 0x80)
        value ^= take_value(m);
    int err = lapic_base_write(&m->lapic, value);
    CHECK(lapic_base_read(&m->lapic) == (err ? before : value));
}

static void write_deadline(struct machine *m)
{
    u64 value = take_value(m);
    u64 read = 0;
    if (take(m, 1) & 1)
        value += m->now + m->lapic.tsc_offset;
    if (lapic_deadline_write(&m->lapic, value, m->now) != OK)
        return;
    CHECK(lapic_deadline_read(&m->lapic, &read) == OK);
    CHECK(read == 0 || (read == value && deadline_armed(&m->lapic.timer.deadline)));
}

// Every device arms its next deadline ahead of now, so one run is enough and none is left behind.
static void pass_time(struct machine *m)
{
    u8 choice = (u8)take(m, 1);
    u64 next = deadline_next(&m->queue);
    if (choice & 1 && next != DEADLINE_NEVER && next > m->now)
        m->now = next - (choice >> 1 & 1);
    else
        m->now += choice & 2 ? take(m, 5) : take(m, 2);
    if (choice & 4) // time passes and the queue is not served yet
        return;
    deadline_run(&m->queue, m->now);
    CHECK(deadline_next(&m->queue) > m->now);
}

// What a vCPU does at an entry.
static void take_interrupt(struct machine *m)
{
    int vector = lapic_pending(&m->lapic);
    if (lapic_accepts_extint(&m->lapic) && pic_output(&m->pic))
        pic_ack(&m->pic);
    else if (vector >= 0)
        lapic_accept(&m->lapic, (u8)vector);
}

static void outside_event(struct machine *m)
{
    u8 choice = (u8)take(m, 1);
    u8 more = (u8)take(m, 1);
    switch (choice & 7) {
    case 0:
        lapic_set_irq(&m->lapic, more, choice & 8);
        break;
    case 1:
        lapic_receive(&m->lapic, (enum apic_delivery)(choice >> 4 & 7), more, choice & 8);
        break;
    case 2:
        lapic_set_lint(&m->lapic, 1, choice & 8);
        break;
    case 3:
        pic_set_irq(&m->pic, more & 15, choice & 8);
        break;
    case 4:
        lapic_set_tpr(&m->lapic, more);
        break;
    case 5:
        m->lapic.tsc_offset = take_value(m);
        lapic_tsc_changed(&m->lapic);
        break;
    case 6:
        CHECK(uart_receive(&m->uart, &more, 1) <= 1);
        break;
    default:
        if (more < 16)
            bus_reset(&m->bus);
        else
            lapic_matches(&m->lapic, (u32)take_value(m), choice & 8);
    }
}

static void step(struct machine *m)
{
    switch (take(m, 1) & 7) {
    case 0:
        access_port(m);
        break;
    case 1:
        access_page(m);
        break;
    case 2:
        access_msr(m);
        break;
    case 3:
        write_base(m);
        break;
    case 4:
        write_deadline(m);
        break;
    case 5:
        pass_time(m);
        break;
    case 6:
        take_interrupt(m);
        break;
    default:
        outside_event(m);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct machine m;
    if (size == 0)
        return 0;
    machine_init(&m, data[0]);
    m.data = data + 1;
    m.size = size - 1;
    for (unsigned i = 0; i < STEPS && m.size > 0; i++) {
        bool had = has_interrupt(&m);
        unsigned kicks = m.kicks;
        step(&m);
        CHECK(had || !has_interrupt(&m) || m.kicks > kicks);
        check_lapic(&m);
        CHECK(m.queue.count <= ARRAY_SIZE(m.heap));
    }
    return 0;
}
