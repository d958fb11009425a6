// SPDX-License-Identifier: MIT
// The real-time clock and CMOS memory (Motorola MC146818 datasheet), against the TSC.
#include "tests/guest/devices.h"

// Microseconds: as devices.h has it, half as much again as the most measured in Bochs, which is
// 1,771 ticks where the second carries up to the century, and 1,322 elsewhere.
#define LATE 32u

#define RTC_TEST(title) GUEST_TEST_WITH(rtc, title, GUEST_TEST_EXACT)

#define RTC        0x70u
#define RTC_VECTOR PIC2_VECTOR // IRQ 8 is the slave's first
#define RTC_HZ     32768u

enum { SECONDS, SECONDS_ALARM, MINUTES, MINUTES_ALARM, HOURS, HOURS_ALARM, WEEKDAY, DAY, MONTH };
enum { YEAR = 9, A, B, C, D, SHUTDOWN = 0x0f, CENTURY = 0x32 };
enum { UIP = 0x80, RUN = 0x20, HOLD = 0x60, RATE_8192 = 3, RATE_1024 = 6 };
enum { UIE = 0x10, AIE = 0x20, PIE = 0x40, SET = 0x80, H24 = 0x02 };
enum { UF = 0x10, AF = 0x20, PF = 0x40, IRQF = 0x80 };

static u8 get(u8 index)
{
    outb(RTC, index);
    return inb(RTC + 1);
}

static void put(u8 index, u8 value)
{
    outb(RTC, index);
    outb(RTC + 1, value);
}

// Interrupts by the PIC, noted; those of the clock have register C read, which lets the next come.
static void note_rtc(struct rt_frame *frame)
{
    note_pic(frame); // the time, before anything else
    get(C);
}

static void start_interrupts(rt_handler handler)
{
    pics_start(1 << 8 | 1 << 2);
    rt_set_handler(RTC_VECTOR, handler);
}

struct time {
    u8 hour, minute, second;
};

static void set_time(struct time t)
{
    put(B, SET | H24);
    put(SECONDS, t.second);
    put(MINUTES, t.minute);
    put(HOURS, t.hour);
}

#define G_EXPECT_TIME(h, m, s)                                                                     \
    do {                                                                                           \
        G_EXPECT_EQ(get(SECONDS), s);                                                              \
        G_EXPECT_EQ(get(MINUTES), m);                                                              \
        G_EXPECT_EQ(get(HOURS), h);                                                                \
    } while (0)

// The divider is let go: the next update is due half a second after a time in [from, to].
struct started {
    u64 from, to;
};

static struct started start_divider(u8 rate)
{
    struct started s;
    put(A, HOLD | rate);
    outb(RTC, A);
    s.from = rdtsc();
    outb(RTC + 1, RUN | rate);
    s.to = rdtsc();
    return s;
}

// ---- the registers ------------------------------------------------------------------------------

GUEST_TEST(rtc, starts_as_a_bios_leaves_it)
{
    G_EXPECT_EQ(get(A) & ~UIP, RUN | RATE_1024);
    G_EXPECT_EQ(get(B), H24);
    G_EXPECT_EQ(get(C) & IRQF, 0);
    G_EXPECT_EQ(get(D), 0x80);
    G_EXPECT_IN(get(MONTH), 0x01, 0x12);
    G_EXPECT_IN(get(DAY), 0x01, 0x31);
    G_EXPECT_IN(get(WEEKDAY), 1, 7);
    G_EXPECT(get(HOURS) <= 0x23);
    G_EXPECT_IN(get(CENTURY), 0x19, 0x20);
    G_EXPECT_EQ(inb(RTC), 0xff);
}

GUEST_TEST(rtc, cmos_tells_the_memory)
{
    G_EXPECT_EQ(get(0x15) | get(0x16) << 8, 640);
    G_EXPECT_IN(get(0x17) | get(0x18) << 8, 1024, 0xffff);
    G_EXPECT_EQ(get(0x30), get(0x17));
    G_EXPECT_EQ(get(0x31), get(0x18));
    u16 sum = 0;
    for (u8 i = 0x10; i <= 0x2d; i++)
        sum = (u16)(sum + get(i));
    G_EXPECT_EQ(get(0x2e) << 8 | get(0x2f), sum);
}

GUEST_TEST(rtc, memory_keeps_what_is_written)
{
    put(SHUTDOWN, 0x5a);
    put(0x7f, 0xa5);
    outw(RTC, 0x1240); // index and data at once
    G_EXPECT_EQ(get(SHUTDOWN), 0x5a);
    G_EXPECT_EQ(get(0x80 | 0x7f), 0xa5); // NMI masked
    G_EXPECT_EQ(get(0x40), 0x12);
}

GUEST_TEST(rtc, set_holds_the_time_written)
{
    set_time((struct time){0x12, 0x34, 0x56});
    put(B, SET | H24 | UIE);
    G_EXPECT_EQ(get(B), SET | H24); // SET clears UIE
    G_EXPECT_EQ(get(A) & UIP, 0);
    G_EXPECT_TIME(0x12, 0x34, 0x56);
}

// ---- time ---------------------------------------------------------------------------------------

// The last second of a century.
RTC_TEST(update_carries_up_to_the_century)
{
    static const u8 after[][2] = {
        {SECONDS, 0},
        {MINUTES, 0},
        {HOURS,   0},
        {WEEKDAY, 1},
        {DAY,     1},
        {MONTH,   1},
        {YEAR,    0}
    };
    set_time((struct time){0x23, 0x59, 0x59});
    put(WEEKDAY, 7);
    put(DAY, 0x31);
    put(MONTH, 0x12);
    put(YEAR, 0x99);
    put(CENTURY, 0x19);
    start_interrupts(note_rtc);
    struct started s = start_divider(RATE_1024);
    get(C);
    put(B, H24 | UIE);
    halt_until(1);
    u64 half = rt_info->tsc_hz / 2;
    G_EXPECT_VECTOR(0, RTC_VECTOR);
    G_EXPECT_ON_TIME(notes[0].tsc, s.from + half, s.to + half);
    for (u32 i = 0; i < ARRAY_SIZE(after); i++)
        G_EXPECT_EQ(get(after[i][0]), after[i][1]);
    G_EXPECT_EQ(get(CENTURY), 0x20);
}

// Reads while UIP is this. The TSC before the last read that found it so.
static u64 read_while(u8 uip)
{
    u64 before = rdtsc(), found = before;
    while ((inb(RTC + 1) & UIP) == uip) {
        found = before;
        before = rdtsc();
    }
    return found;
}

// A timer of the local APIC sleeps until shortly before.
RTC_TEST(uip_comes_244_microseconds_before_the_update)
{
    u64 us = rt_info->tsc_hz / 1000000;
    set_time((struct time){0, 0, 0});
    put(B, H24);
    handle(0x50, 0x50, note_lapic);
    lapic_write(APIC_LVT_TIMER, 0x50);
    lapic_write(APIC_TDCR, 0xb); // 1
    struct started s = start_divider(RATE_1024);
    lapic_write(APIC_TMICT, rt_info->lapic_hz / 2 - rt_info->lapic_hz / 2000);
    halt_until(1);
    outb(RTC, A);
    u64 early = read_while(0);
    u64 seen = rdtsc(), half = rt_info->tsc_hz / 2;
    G_EXPECT(early <= s.to + half - 244 * us);
    G_EXPECT(seen >= s.from + half - 245 * us);
    G_EXPECT_EQ(get(SECONDS), 0);
    outb(RTC, A);
    early = read_while(UIP);
    seen = rdtsc();
    G_EXPECT(early <= s.to + half);
    G_EXPECT(seen >= s.from + half);
    G_EXPECT_EQ(get(SECONDS), 1);
}

RTC_TEST(alarm_interrupts_at_its_second)
{
    set_time((struct time){0x07, 0x29, 0x59});
    put(HOURS_ALARM, 0xff);
    put(MINUTES_ALARM, 0x30);
    put(SECONDS_ALARM, 0x00);
    start_interrupts(note_pic);
    struct started s = start_divider(RATE_1024);
    get(C);
    put(B, H24 | AIE);
    halt_until(1);
    u64 half = rt_info->tsc_hz / 2;
    G_EXPECT_ON_TIME(notes[0].tsc, s.from + half, s.to + half);
    G_EXPECT_EQ(get(C), IRQF | AF | UF | PF);
    G_EXPECT_TIME(0x07, 0x30, 0x00);
}

// ---- the periodic interrupt ---------------------------------------------------------------------

// The chain begins half a second before its first update: a multiple of every period.
RTC_TEST(periodic_interrupt_keeps_its_schedule)
{
    start_interrupts(note_rtc);
    struct started s = start_divider(RATE_8192);
    get(C);
    put(B, H24 | PIE);
    halt_until(20);
    put(B, H24);
    for (u32 i = 0; i < 20; i++) {
        u64 due = ticks_of((i + 1) * 4, RTC_HZ);
        G_EXPECT_VECTOR(i, RTC_VECTOR);
        G_EXPECT_ON_TIME(notes[i].tsc, s.from + due, s.to + due + 1);
    }
}

// Until register C is read the line stays up: no edge, no interrupt.
RTC_TEST(register_c_lets_the_next_interrupt_come)
{
    start_interrupts(note_pic);
    start_divider(RATE_8192);
    get(C);
    put(B, H24 | PIE);
    halt_until(1);
    spin(ticks_of(12, RTC_HZ));
    take_pending();
    G_EXPECT_EQ(note_count, 1);
    G_EXPECT_EQ(get(C), IRQF | PF);
    G_EXPECT_EQ(get(C), 0);
    halt_until(2);
    put(B, H24);
    G_EXPECT_EQ(get(C), PF);
    take_pending();
    G_EXPECT_EQ(note_count, 2);
}
