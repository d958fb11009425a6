// SPDX-License-Identifier: MIT
// The 16550A serial port COM1 (National Semiconductor PC16550D datasheet), mostly in loopback.
#include "tests/guest/devices.h"

enum {
    DATA = COM1,
    IER,
    IIR, // FCR when written
    LCR,
    MCR,
    LSR,
    MSR,
    SCR,
    FCR = IIR,
};

enum {
    IER_RECEIVED = 1,
    IER_THR = 2,
    IER_LINE = 4,
    IER_MODEM = 8,
    ID_MODEM = 0,
    ID_NONE = 1,
    ID_THR = 2,
    ID_RECEIVED = 4,
    ID_LINE = 6,
    ID_TIMEOUT = 12,
    ID_FIFOS = 0xc0,
    FIFO_ON = 1,
    FIFO_CLEAR_RECEIVED = 2,
    DLAB = 0x80,
    OUT2 = 8,
    LOOP = 0x10,
    READY = 1,
    OVERRUN = 2,
    EMPTY = 0x60,
};

static void send(u32 first, u32 count)
{
    for (u32 i = 0; i < count; i++)
        outb(DATA, (u8)(first + i));
}

static void expect_received(u32 first, u32 count)
{
    for (u32 i = 0; i < count; i++) {
        G_EXPECT_EQ(inb(LSR) & READY, READY);
        G_EXPECT_EQ(inb(DATA), (u8)(first + i));
    }
    G_EXPECT_EQ(inb(LSR) & READY, 0);
}

static void set_divisor(u16 divisor, u8 format)
{
    outb(LCR, DLAB | format);
    outb(DATA, (u8)divisor);
    outb(IER, (u8)(divisor >> 8));
    outb(LCR, format);
}

// ---- registers ----------------------------------------------------------------------------------

GUEST_TEST(uart, state_after_reset)
{
    G_EXPECT_EQ(inb(IER), 0);
    G_EXPECT_EQ(inb(IIR), ID_NONE);
    G_EXPECT_EQ(inb(LCR), 0);
    G_EXPECT_EQ(inb(MCR), 0);
    G_EXPECT_EQ(inb(LSR), EMPTY);
    G_EXPECT_EQ(inb(MSR), 0xb0); // something is plugged in
}

GUEST_TEST(uart, registers_keep_the_bits_there_are)
{
    outb(MCR, LOOP); // so that nothing leaves
    outb(IER, 0xff);
    G_EXPECT_EQ(inb(IER), 0x0f);
    outb(MCR, 0xff);
    G_EXPECT_EQ(inb(MCR), 0x1f);
    outb(LCR, 0x7f);
    G_EXPECT_EQ(inb(LCR), 0x7f);
    for (u32 value = 0; value < 256; value += 5) {
        outb(SCR, (u8)value);
        G_EXPECT_EQ(inb(SCR), value);
    }
    outb(MSR, 0xff);
    outb(LSR, 0xff);
    G_EXPECT_EQ(inb(LSR) & (READY | OVERRUN), 0);
}

GUEST_TEST(uart, divisor_latch_hides_data_and_ier)
{
    outb(IER, 5);
    outb(LCR, DLAB | 3);
    outb(DATA, 0x34);
    outb(IER, 0x12);
    G_EXPECT_EQ(inb(DATA), 0x34);
    G_EXPECT_EQ(inb(IER), 0x12);
    outb(LCR, 3);
    G_EXPECT_EQ(inb(IER), 5);
    G_EXPECT_EQ(inb(LSR), EMPTY); // nothing was sent or received
}

GUEST_TEST(uart, fifos_show_in_iir)
{
    G_EXPECT_EQ(inb(IIR), ID_NONE);
    outb(FCR, FIFO_ON);
    G_EXPECT_EQ(inb(IIR), ID_FIFOS | ID_NONE);
    outb(FCR, 0);
    G_EXPECT_EQ(inb(IIR), ID_NONE);
}

// ---- loopback -----------------------------------------------------------------------------------

GUEST_TEST(uart, loopback_returns_what_is_sent)
{
    outb(MCR, LOOP);
    for (u32 value = 0; value < 256; value += 51) {
        send(value, 1);
        expect_received(value, 1);
    }
}

GUEST_TEST(uart, loopback_joins_the_modem_lines)
{
    static const u8 inputs[] = {0x20, 0x10, 0x40, 0x80}; // of DTR, RTS, OUT1, OUT2
    for (u32 outputs = 0; outputs < 16; outputs++) {
        u32 want = 0;
        outb(MCR, (u8)(LOOP | outputs));
        for (u32 i = 0; i < 4; i++)
            want |= outputs >> i & 1 ? inputs[i] : 0;
        G_EXPECT_EQ(inb(MSR) & 0xf0, want);
    }
}

// A change shows once; of RI only its end does.
GUEST_TEST(uart, modem_status_shows_changes_once)
{
    static const struct {
        u8 outputs, deltas;
    } rows[] = {
        {1, 2        },
        {3, 1        },
        {7, 0        },
        {3, 4        },
        {8, 8 | 1 | 2},
    };
    outb(MCR, LOOP);
    inb(MSR);
    for (u32 i = 0; i < ARRAY_SIZE(rows); i++) {
        outb(MCR, LOOP | rows[i].outputs);
        G_EXPECT_EQ(inb(MSR) & 0x0f, rows[i].deltas);
        G_EXPECT_EQ(inb(MSR) & 0x0f, 0);
    }
}

// ---- the receiver -------------------------------------------------------------------------------

GUEST_TEST(uart, fifo_holds_16_and_loses_the_17th)
{
    outb(MCR, LOOP);
    outb(FCR, FIFO_ON);
    send(0x30, 16);
    G_EXPECT_EQ(inb(LSR), EMPTY | READY);
    send(0x99, 1);
    G_EXPECT_EQ(inb(LSR), EMPTY | READY | OVERRUN);
    G_EXPECT_EQ(inb(LSR), EMPTY | READY); // reading cleared it
    expect_received(0x30, 16);
}

GUEST_TEST(uart, without_fifos_a_byte_overwrites)
{
    outb(MCR, LOOP);
    send(0x41, 2);
    G_EXPECT_EQ(inb(LSR), EMPTY | READY | OVERRUN);
    expect_received(0x42, 1);
}

GUEST_TEST(uart, fcr_empties_the_fifo)
{
    outb(MCR, LOOP);
    outb(FCR, FIFO_ON);
    send(0, 5);
    outb(FCR, FIFO_CLEAR_RECEIVED); // counts only with the enable bit; but this switches them off
    G_EXPECT_EQ(inb(LSR) & READY, 0);
    outb(FCR, FIFO_ON);
    send(0, 5);
    outb(FCR, FIFO_ON | 4); // clears the transmitter's
    G_EXPECT_EQ(inb(LSR) & READY, READY);
    outb(FCR, FIFO_ON | FIFO_CLEAR_RECEIVED);
    G_EXPECT_EQ(inb(LSR) & READY, 0);
}

GUEST_TEST(uart, trigger_levels)
{
    static const u8 levels[] = {1, 4, 8, 14};
    outb(MCR, LOOP);
    outb(IER, IER_RECEIVED);
    for (u32 i = 0; i < ARRAY_SIZE(levels); i++) {
        outb(FCR, (u8)(i << 6 | FIFO_ON | FIFO_CLEAR_RECEIVED));
        for (u32 n = 1; n < levels[i]; n++) {
            send(n, 1);
            G_EXPECT_EQ(inb(IIR), ID_FIFOS | ID_NONE);
        }
        send(0, 1);
        G_EXPECT_EQ(inb(IIR), ID_FIFOS | ID_RECEIVED);
        inb(DATA);
        G_EXPECT_EQ(inb(IIR), ID_FIFOS | ID_NONE);
    }
}

// ---- interrupts ---------------------------------------------------------------------------------

GUEST_TEST(uart, interrupts_have_priorities)
{
    outb(MCR, LOOP);
    inb(MSR);
    outb(IER, 0x0f);
    outb(MCR, LOOP | 1); // the modem status changes
    send(0x41, 2);       // received, overrun, and THR empty
    G_EXPECT_EQ(inb(IIR), ID_LINE);
    inb(LSR);
    G_EXPECT_EQ(inb(IIR), ID_RECEIVED);
    inb(DATA);
    G_EXPECT_EQ(inb(IIR), ID_THR); // reading it is what ends it
    G_EXPECT_EQ(inb(IIR), ID_MODEM);
    inb(MSR);
    G_EXPECT_EQ(inb(IIR), ID_NONE);
}

GUEST_TEST(uart, ier_gates_each_interrupt)
{
    static const struct {
        u8 ier, id;
    } rows[] = {
        {IER_LINE,     ID_LINE    },
        {IER_RECEIVED, ID_RECEIVED},
        {IER_THR,      ID_THR     },
        {IER_MODEM,    ID_MODEM   },
    };
    outb(MCR, LOOP);
    send(0x41, 2);
    G_EXPECT_EQ(inb(IIR), ID_NONE);
    for (u32 i = 0; i < ARRAY_SIZE(rows); i++) {
        outb(IER, rows[i].ier);
        G_EXPECT_EQ(inb(IIR), rows[i].id);
    }
}

// Enabling the interrupt with THR empty raises it, and so does every byte that has gone.
GUEST_TEST(uart, thr_interrupt)
{
    outb(MCR, LOOP);
    outb(IER, IER_THR);
    G_EXPECT_EQ(inb(IIR), ID_THR);
    G_EXPECT_EQ(inb(IIR), ID_NONE);
    send(0x41, 1);
    G_EXPECT_EQ(inb(IIR), ID_THR);
    G_EXPECT_EQ(inb(IIR), ID_NONE);
    outb(IER, 0);
    outb(IER, IER_THR);
    G_EXPECT_EQ(inb(IIR), ID_THR);
}

// OUT2 lets the interrupt out of the card.
GUEST_TEST(uart, irq_4_needs_out2)
{
    handle(PIC_VECTOR, PIC_VECTOR + 7, note_pic);
    pics_start(BIT32(4));
    outb(IER, IER_THR);
    take_pending();
    G_EXPECT_EQ(note_count, 0);
    outb(MCR, OUT2);
    take_pending();
    G_EXPECT_EQ(note_count, 1);
    G_EXPECT_VECTOR(0, PIC_VECTOR + 4);
    inb(IIR);
    outb(MCR, 0);
    G_EXPECT_EQ(pic_irr(PIC1), 0);
}

// Each byte written makes a new edge, though nobody reads IIR in between.
GUEST_TEST(uart, each_byte_sent_is_an_edge)
{
    handle(PIC_VECTOR, PIC_VECTOR + 7, note_pic);
    pics_start(BIT32(4));
    outb(MCR, OUT2 | LOOP);
    outb(IER, IER_THR);
    for (u32 i = 1; i <= 4; i++) {
        take_pending();
        G_EXPECT_EQ(note_count, i);
        send(i, 1);
    }
}

// Fewer bytes than the trigger level are told of four character times after the last.
GUEST_TEST_WITH(uart, character_timeout_is_on_time, GUEST_TEST_EXACT)
{
    static const struct {
        u16 divisor;
        u8 format, bits;
    } rows[] = {
        {1, 3,                10},
        {2, 2 | 4 | 8 | 0x10, 11}, // 7 bits, even parity, two stop bits
        {3, 0,                7 },
    };
    handle(PIC_VECTOR, PIC_VECTOR + 7, note_pic);
    pics_start(BIT32(4));
    outb(MCR, OUT2 | LOOP);
    outb(IER, IER_RECEIVED);
    for (u32 i = 0; i < ARRAY_SIZE(rows); i++) {
        note_count = 0;
        set_divisor(rows[i].divisor, rows[i].format);
        outb(FCR, 0xc0 | FIFO_ON | FIFO_CLEAR_RECEIVED);
        u64 ticks = ticks_of(4ull * rows[i].bits * rows[i].divisor, 115200);
        send(0x40, 3);
        spin(ticks / 2);
        u64 t0 = rdtsc();
        send(0x43, 1); // starts the wait anew
        u64 t1 = rdtsc();
        expect_notes(1, 2 * ticks);
        G_EXPECT_IN(notes[0].tsc, t0 + ticks, t1 + ticks + late_ticks(LATE_PIC));
        G_EXPECT_EQ(inb(IIR), ID_FIFOS | ID_TIMEOUT);
        expect_received(0x40, 4);
        G_EXPECT_EQ(inb(IIR), ID_FIFOS | ID_NONE);
    }
}

// ---- the world ----------------------------------------------------------------------------------

GUEST_PART(uart, byte_from_the_world_interrupts)
{
    handle(PIC_VECTOR, PIC_VECTOR + 7, note_pic);
    pics_start(BIT32(4));
    outb(MCR, OUT2);
    outb(IER, IER_RECEIVED);
    for (u32 i = 1; i <= 3; i++) {
        G_EXPECT_EQ(inb(LSR) & READY, 0);
        G_EXPECT_EQ(vmcall(WORLD_RECEIVE, 0x60 + i), 1);
        take_pending();
        G_EXPECT_EQ(note_count, i);
        G_EXPECT_EQ(inb(IIR), ID_RECEIVED);
        expect_received(0x60 + i, 1);
        G_EXPECT_EQ(inb(IIR), ID_NONE);
    }
}

GUEST_PART(uart, world_waits_for_room)
{
    G_EXPECT_EQ(vmcall(WORLD_RECEIVE, 1), 1);
    G_EXPECT_EQ(vmcall(WORLD_RECEIVE, 2), 0);
    expect_received(1, 1);
    outb(FCR, FIFO_ON);
    for (u32 i = 0; i < 16; i++)
        G_EXPECT_EQ(vmcall(WORLD_RECEIVE, i), 1);
    G_EXPECT_EQ(vmcall(WORLD_RECEIVE, 16), 0);
    G_EXPECT_EQ(inb(LSR) & OVERRUN, 0);
    expect_received(0, 16);
    outb(MCR, LOOP); // cut off
    G_EXPECT_EQ(vmcall(WORLD_RECEIVE, 1), 0);
}

GUEST_PART(uart, output_reaches_the_world)
{
    send('a', 2);
    outb(MCR, LOOP);
    send('x', 1); // stays here
    outb(MCR, 0);
    send('c', 1);
    for (u32 i = 0; i < 3; i++)
        G_EXPECT_EQ(vmcall(WORLD_WRITTEN, i), 'a' + i);
    G_EXPECT_EQ(vmcall(WORLD_WRITTEN, 3), ~0ull);
}
