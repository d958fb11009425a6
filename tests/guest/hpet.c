// SPDX-License-Identifier: MIT
// The HPET (IA-PC HPET specification 1.0a) by way of the I/O APIC and the PICs, against the TSC.
#include "tests/guest/ioapic.h"

// Microseconds: as devices.h has it, half as much again as the most measured in Bochs, which is
// 1,150 ticks by way of the PICs and 580 where the host's timer counts down.
#define LATE 25u

#define HPET_TEST(title) GUEST_TEST_WITH(hpet, title, GUEST_TEST_EXACT)

#define HPET    0xfed00000u
#define HPET_HZ 100000000u
#define VECTOR  0x60u

enum { CAPS = 0x00, ENABLE = 0x10, STATUS = 0x20, COUNTER = 0xf0, COMPARATOR = 8 }; // offsets
enum { RUN = 1, LEGACY = 2 };
enum { LEVEL = 0x02, INT = 0x04, PERIODIC = 0x08, SET = 0x40, NARROW = 0x100 };

static u64 get(u32 reg)
{
    return *(volatile u64 *)(uintptr_t)(HPET + reg);
}

static void put(u32 reg, u64 value)
{
    *(volatile u64 *)(uintptr_t)(HPET + reg) = value;
}

static u32 timer(u32 index)
{
    return 0x100 + 0x20 * index;
}

static u32 route(u32 pin)
{
    return pin << 9;
}

static u64 ticks(u64 counts)
{
    return ticks_of(counts, HPET_HZ);
}

// The counter is set going at 0, at a time in [from, to].
struct started {
    u64 from, to;
};

static struct started start(u32 more)
{
    struct started s;
    put(ENABLE, 0);
    put(COUNTER, 0);
    s.from = rdtsc();
    put(ENABLE, RUN | more);
    s.to = rdtsc();
    return s;
}

static void open_pin(u32 pin, u32 low)
{
    handle(VECTOR, VECTOR + 3, note_lapic);
    ioapic_entry(pin, low | VECTOR);
}

// A periodic timer 0, whose first match comes after a period.
static void set_periodic(u32 more, u32 period)
{
    put(timer(0), INT | PERIODIC | SET | more);
    put(timer(0) + COMPARATOR, period);
}

static void expect_schedule(struct started s, u32 first, u32 count, u32 period)
{
    for (u32 i = first; i < count; i++) {
        u64 due = (u64)(i + 1) * period;
        G_EXPECT_ON_TIME(notes[i].tsc, s.from + ticks(due), s.to + ticks(due + 1));
    }
}

// ---- the counter --------------------------------------------------------------------------------

GUEST_TEST(hpet, tells_what_it_can)
{
    G_EXPECT_EQ(get(CAPS), 10000000ull << 32 | 0x8086a201);
    G_EXPECT_EQ(get(ENABLE), 0);
    for (u32 i = 0; i < 3; i++) {
        G_EXPECT_EQ(get(timer(i)), 0x00f0000000000030);
        G_EXPECT_EQ(get(timer(i) + COMPARATOR), ~0ull);
    }
}

HPET_TEST(counter_keeps_time_with_the_tsc)
{
    struct started s = start(0);
    for (u32 i = 0; i < 10; i++) {
        spin(rt_info->tsc_hz / 2000);
        u64 before = rdtsc();
        u64 counter = get(COUNTER);
        u64 after = rdtsc();
        G_EXPECT_IN(ticks(counter), before - s.to - ticks(2), after - s.from);
    }
}

GUEST_TEST(hpet, counter_stands_while_halted)
{
    start(0);
    spin(rt_info->tsc_hz / 10000);
    put(ENABLE, 0);
    u64 counter = get(COUNTER);
    G_EXPECT(counter != 0);
    spin(rt_info->tsc_hz / 10000);
    G_EXPECT_EQ(get(COUNTER), counter);
    put(COUNTER, 0x123456789a);
    G_EXPECT_EQ(*(volatile u32 *)(uintptr_t)(HPET + COUNTER), 0x3456789a);
    G_EXPECT_EQ(*(volatile u32 *)(uintptr_t)(HPET + COUNTER + 4), 0x12);
}

// ---- interrupts ---------------------------------------------------------------------------------

// In two milliseconds, half of it busy, half halted; a wide comparator and a narrow one.
HPET_TEST(one_shot_is_punctual)
{
    for (u32 i = 0; i < 2; i++) {
        note_count = 0;
        open_pin(20 + i, 0);
        put(timer(i), INT | (i ? NARROW : 0) | route(20 + i));
        put(timer(i) + COMPARATOR, 200000);
        struct started s = start(0);
        spin(ticks(100000));
        halt_until(1);
        G_EXPECT_ON_TIME(notes[0].tsc, s.from + ticks(200000), s.to + ticks(200001));
        spin(ticks(1000));
        take_pending();
        G_EXPECT_EQ(note_count, 1);
        G_EXPECT_EQ(get(STATUS), 0);
    }
}

HPET_TEST(periodic_keeps_its_schedule)
{
    open_pin(22, 0);
    set_periodic(route(22), 20000);
    struct started s = start(0);
    expect_notes(10, ticks(20000 * 11));
    expect_schedule(s, 0, 10, 20000);
    G_EXPECT_EQ(get(timer(0) + COMPARATOR), 11 * 20000);
}

HPET_TEST(ends_a_hlt)
{
    open_pin(23, 0);
    set_periodic(route(23), 1000000); // a hundred a second
    struct started s = start(0);
    halt_until(5);
    expect_schedule(s, 0, 5, 1000000);
}

HPET_TEST(missed_periods_are_one_interrupt)
{
    open_pin(20, 0);
    set_periodic(route(20), 50000);
    struct started s = start(0);
    spin(ticks(50000 * 5 + 25000));
    take_pending();
    G_EXPECT_EQ(note_count, 1);
    note_count = 5; // where the schedule has got to
    halt_until(6);
    expect_schedule(s, 5, 6, 50000);
}

static void note_and_halt(struct rt_frame *frame)
{
    note_lapic(frame);
    if (note_count > 100)
        put(ENABLE, 0);
}

// A hundred microseconds lie between interrupts however short the period, which counts as written.
HPET_TEST(shortest_period_leaves_time)
{
    open_pin(20, 0);
    rt_set_handler(VECTOR, note_and_halt);
    set_periodic(route(20), 3);
    start(0);
    sti();
    spin(rt_info->tsc_hz / 200);
    cli();
    G_EXPECT_IN(note_count, 40, 51);
    u64 before = get(COUNTER);
    u64 next = get(timer(0) + COMPARATOR);
    G_EXPECT_IN(next, before + 1, get(COUNTER) + 3);
    G_EXPECT_EQ(next % 3, 0);
}

// The line stays up until the status bit is cleared, and the interrupt comes again until then.
static void note_twice(struct rt_frame *frame)
{
    note_no_eoi(frame);
    G_EXPECT_EQ(get(STATUS), 2);
    G_EXPECT(note_count < 10);
    if (note_count % 2 == 0)
        put(STATUS, 2);
    lapic_write(APIC_EOI, 0);
}

GUEST_TEST(hpet, level_lasts_until_status_is_cleared)
{
    open_pin(21, RTE_LEVEL);
    rt_set_handler(VECTOR, note_twice);
    put(timer(1), INT | LEVEL | route(21));
    put(timer(1) + COMPARATOR, 10000);
    start(0);
    halt_until(2);
    take_pending();
    G_EXPECT_EQ(note_count, 2);
    G_EXPECT_EQ(get(STATUS), 0);
    put(timer(1) + COMPARATOR, get(COUNTER) + 10000);
    halt_until(4);
    G_EXPECT_EQ(note_count, 4);
}

// ---- legacy replacement -------------------------------------------------------------------------

static void start_pit(void)
{
    outb(PIT + 3, 0x34);
    outb(PIT, 1193 & 0xff);
    outb(PIT, 1193 >> 8);
}

// The PIT runs beside it and is not heard, neither at the PICs nor at the I/O APIC; afterwards it
// is again.
HPET_TEST(legacy_replacement_takes_irq_0)
{
    handle(PIC_VECTOR, PIC_VECTOR, note_pic);
    pics_start(BIT32(0));
    start_pit();
    set_periodic(0, 150000);
    struct started s = start(LEGACY);
    expect_notes(5, ticks(150000 * 6));
    expect_schedule(s, 0, 5, 150000);
    outb(PIC1 + 1, 0xff);
    open_pin(2, 0);
    note_count = (u32)(get(COUNTER) / 150000);
    u32 first = note_count;
    halt_until(first + 3);
    G_EXPECT_VECTOR(first, VECTOR);
    expect_schedule(s, first, first + 3, 150000);

    note_count = 0;
    put(ENABLE, 0);
    u64 from = rdtsc();
    halt_until(3);
    G_EXPECT_IN(notes[2].tsc - from, ticks(199000), ticks(301000));
}

GUEST_TEST(hpet, legacy_replacement_takes_irq_8)
{
    handle(PIC2_VECTOR, PIC2_VECTOR, note_pic);
    pics_start(BIT32(8) | BIT32(2));
    put(timer(1), INT | PERIODIC | SET | route(20));
    put(timer(1) + COMPARATOR, 20000);
    start(LEGACY);
    halt_until(3);
    put(ENABLE, 0);
    outb(PIC2 + 1, 0xff);
    handle(VECTOR, VECTOR, note_lapic);
    ioapic_entry(8, VECTOR);
    start(LEGACY);
    put(timer(1), INT | PERIODIC | SET | route(20));
    put(timer(1) + COMPARATOR, get(COUNTER) + 20000);
    halt_until(4);
    G_EXPECT_VECTOR(3, VECTOR);
}

// ---- anything at all ----------------------------------------------------------------------------

HPET_TEST(random_accesses_do_no_harm)
{
    u64 seed = 1;
    for (u32 i = 0; i < 300; i++)
        mmio_junk(HPET, &seed);
    for (u32 i = 0; i < 3; i++)
        put(timer(i), 0);
    open_pin(20, 0);
    set_periodic(route(20), 20000);
    struct started s = start(0);
    expect_notes(3, ticks(20000 * 4));
    expect_schedule(s, 0, 3, 20000);
}
