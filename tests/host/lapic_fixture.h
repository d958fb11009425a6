// SPDX-License-Identifier: MIT
// What the tests of the local APIC share: one LAPIC with a clock the test moves, and a record of
// what it asks of its owner. A test includes cmocka first.
#pragma once

#include <stdlib.h>

#include "arch/x86_64/lib/err.h"
#include "devices/lapic.h"

#define X2(offset) (0x800u + ((offset) >> 4))

#define CLOCK_HZ 1000000000ull

struct fixture {
    struct clock clock;
    u64 now;
    struct deadline *heap[1];
    struct deadline_queue queue;
    struct lapic lapic;
    unsigned kicks, nmis, inits, startups, eois, ipis;
    u8 startup_vector, eoi_vector;
    struct lapic_ipi ipi; // the last
};

static inline u64 fixture_now(const struct clock *clock)
{
    return container_of(clock, struct fixture, clock)->now;
}

static inline void on_kick(void *ctx)
{
    ((struct fixture *)ctx)->kicks++;
}

static inline void on_nmi(void *ctx)
{
    ((struct fixture *)ctx)->nmis++;
}

static inline void on_init(void *ctx)
{
    ((struct fixture *)ctx)->inits++;
}

static inline void on_startup(void *ctx, u8 vector)
{
    ((struct fixture *)ctx)->startups++;
    ((struct fixture *)ctx)->startup_vector = vector;
}

static inline void on_eoi(void *ctx, u8 vector)
{
    ((struct fixture *)ctx)->eois++;
    ((struct fixture *)ctx)->eoi_vector = vector;
}

static inline void on_ipi(void *ctx, const struct lapic_ipi *ipi)
{
    ((struct fixture *)ctx)->ipis++;
    ((struct fixture *)ctx)->ipi = *ipi;
}

static const struct lapic_ops recording_ops = {
    .kick = on_kick,
    .nmi = on_nmi,
    .init = on_init,
    .startup = on_startup,
    .eoi = on_eoi,
    .ipi = on_ipi,
};

// A LAPIC with everything offered; change lapic.config and call lapic_init() again for another.
static inline int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->clock = (struct clock){.now = fixture_now, .hz = CLOCK_HZ};
    f->now = 1000;
    deadline_queue_init(&f->queue, f->heap, 1);
    struct lapic_config config = {
        .id = 0x25,
        .bsp = true,
        .x2apic = true,
        .tsc_deadline = true,
        .timer_hz = CLOCK_HZ,
        .clock = &f->clock,
        .queue = &f->queue,
        .ops = &recording_ops,
        .ctx = f,
    };
    lapic_init(&f->lapic, &config);
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    free(*state);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

// Moves the clock to tick and runs what is due.
static inline void run_to(struct fixture *f, u64 tick)
{
    f->now = tick;
    deadline_run(&f->queue, tick);
}

// ---- the guest's accesses -----------------------------------------------------------------------

static inline u64 page_access(struct fixture *f, bool write, u32 offset, u8 size, u64 value)
{
    struct io_access io = {.space = IO_MEM, .size = size, .write = write};
    io.addr = APIC_DEFAULT_BASE + offset;
    io.value = value;
    assert_int_equal(f->lapic.dev.ops->access(&f->lapic.dev, &io), IO_DONE);
    return io.value;
}

static inline u32 rd(struct fixture *f, u32 offset)
{
    return (u32)page_access(f, false, offset, 4, 0x5555);
}

static inline void wr(struct fixture *f, u32 offset, u32 value)
{
    page_access(f, true, offset, 4, value);
}

static inline u64 rdmsr(struct fixture *f, u32 offset)
{
    u64 value = 0;
    assert_int_equal(lapic_msr_read(&f->lapic, X2(offset), &value), OK);
    return value;
}

static inline void wrmsr(struct fixture *f, u32 offset, u64 value)
{
    assert_int_equal(lapic_msr_write(&f->lapic, X2(offset), value), OK);
}

static inline void software_enable(struct fixture *f)
{
    wr(f, APIC_SVR, APIC_SVR_ENABLE | 0xff);
}

static inline void to_x2apic(struct fixture *f)
{
    u64 base = lapic_base_read(&f->lapic);
    assert_int_equal(lapic_base_write(&f->lapic, base | APIC_BASE_X2APIC), OK);
}

// Forgets what was recorded.
static inline void forget(struct fixture *f)
{
    f->kicks = f->nmis = f->inits = f->startups = f->eois = f->ipis = 0;
}

// Takes the pending interrupt, which must be vector.
static inline void take(struct fixture *f, u8 vector)
{
    assert_int_equal(lapic_pending(&f->lapic), vector);
    lapic_accept(&f->lapic, vector);
}
