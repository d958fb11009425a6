// SPDX-License-Identifier: MIT
// The 16550A: each register and interrupt of the datasheet, and random use compared with a model
// that keeps received bytes in a plain list.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/lib/err.h"
#include "devices/uart.h"
#include "tests/host/device_rig.h"

enum { DATA = 0x3f8, IER, IIR, LCR, MCR, LSR, MSR, SCR, FCR = IIR, DLL = DATA, DLM = IER };

struct fixture {
    struct rig rig;
    struct uart uart;
    u8 sent[256];
    size_t nsent;
};

static void collect(void *ctx, const u8 *data, size_t length)
{
    struct fixture *f = ctx;
    for (size_t i = 0; i < length; i++)
        f->sent[f->nsent++ % sizeof(f->sent)] = data[i];
}

#define HZ 1152000000u // 10,000 ticks a bit at 115200 baud

static struct fixture *fresh(void)
{
    static struct fixture f;
    memset(&f, 0, sizeof(f));
    rig_init(&f.rig, HZ);
    uart_init(&f.uart, &(struct uart_config){
                           .name = "com1",
                           .port = UART_COM1,
                           .clock = &f.rig.clock,
                           .queue = &f.rig.queue,
                           .irq = rig_pin(&f.rig),
                           .out = {.write = collect, .ctx = &f},
    });
    assert_int_equal(uart_attach(&f.uart, &f.rig.bus), OK);
    return &f;
}

// With interrupts let out of the chip, FIFOs on with this trigger code, 115200 8N1.
static struct fixture *fresh_with(u8 ier, u8 fcr)
{
    struct fixture *f = fresh();
    outb(&f->rig, LCR, 0x83);
    outb(&f->rig, DLL, 1);
    outb(&f->rig, DLM, 0);
    outb(&f->rig, LCR, 0x03);
    outb(&f->rig, MCR, 0x0b);
    outb(&f->rig, FCR, fcr);
    outb(&f->rig, IER, ier);
    return f;
}

static size_t receive(struct fixture *f, const char *text)
{
    return uart_receive(&f->uart, (const u8 *)text, strlen(text));
}

static void after_reset(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    for (int i = 0; i < 2; i++) {
        assert_int_equal(inb(&f->rig, IER), 0);
        assert_int_equal(inb(&f->rig, IIR), 0x01);
        assert_int_equal(inb(&f->rig, LCR), 0);
        assert_int_equal(inb(&f->rig, MCR), 0);
        assert_int_equal(inb(&f->rig, LSR), 0x60);
        assert_int_equal(inb(&f->rig, MSR), 0xb0);
        assert_false(f->rig.irq.level);
        // Everything is disturbed, then reset again.
        outb(&f->rig, FCR, 0x01);
        outb(&f->rig, MCR, 0x1f);
        outb(&f->rig, IER, 0x0f);
        outb(&f->rig, MCR, 0x0b);
        outb(&f->rig, LCR, 0x1b);
        receive(f, "xyz");
        assert_true(f->rig.irq.level);
        bus_reset(&f->rig.bus);
        assert_false(f->rig.irq.level);
        assert_int_equal(deadline_next(&f->rig.queue), DEADLINE_NEVER);
    }
}

static void registers_keep_what_they_have(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    outb(&f->rig, SCR, 0x5a);
    outb(&f->rig, IER, 0xff);
    outb(&f->rig, MCR, 0xef);
    outb(&f->rig, LCR, 0x7f);
    outb(&f->rig, LSR, 0xff);
    outb(&f->rig, MSR, 0x0f);
    assert_int_equal(inb(&f->rig, SCR), 0x5a);
    assert_int_equal(inb(&f->rig, IER), 0x0f);
    assert_int_equal(inb(&f->rig, MCR), 0x0f);
    assert_int_equal(inb(&f->rig, LCR), 0x7f);
    assert_int_equal(inb(&f->rig, LSR), 0x60);
    assert_int_equal(inb(&f->rig, MSR), 0xb0);
}

static void divisor_is_behind_dlab(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    receive(f, "q");
    outb(&f->rig, IER, 0x05);
    outb(&f->rig, LCR, 0x80);
    outb(&f->rig, DLL, 0x34);
    outb(&f->rig, DLM, 0x12);
    assert_int_equal(inb(&f->rig, DLL), 0x34);
    assert_int_equal(inb(&f->rig, DLM), 0x12);
    assert_int_equal(f->uart.divisor, 0x1234);
    outb(&f->rig, LCR, 0x00);
    assert_int_equal(f->nsent, 0);
    assert_int_equal(inb(&f->rig, IER), 0x05);
    assert_int_equal(inb(&f->rig, DATA), 'q');
}

static void output_goes_out_at_once(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    for (const char *c = "hello"; *c; c++) {
        assert_int_equal(inb(&f->rig, LSR) & 0x60, 0x60);
        outb(&f->rig, DATA, (u8)*c);
    }
    assert_int_equal(f->nsent, 5);
    assert_memory_equal(f->sent, "hello", 5);
    assert_int_equal(f->rig.irq.calls, 0);
}

static void unwired_ends_are_legal(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    f->uart.config.out.write = NULL;
    f->uart.config.irq.set = NULL;
    outb(&f->rig, MCR, 0x08);
    outb(&f->rig, IER, 0x0f);
    outb(&f->rig, DATA, 'x');
    assert_int_equal(inb(&f->rig, IIR), 0x02);
}

// ---- the transmitter's interrupt ----------------------------------------------------------------

static void thr_interrupt_on_enable_and_its_two_ends(void **state)
{
    (void)state;
    struct fixture *f = fresh_with(0, 0);
    outb(&f->rig, IER, 0x02);
    assert_true(f->rig.irq.level);
    outb(&f->rig, IER, 0x02); // already on: nothing new
    assert_int_equal(inb(&f->rig, IIR), 0x02);
    assert_false(f->rig.irq.level);
    assert_int_equal(inb(&f->rig, IIR), 0x01);
    outb(&f->rig, IER, 0x02);
    assert_int_equal(inb(&f->rig, IIR), 0x01);
    outb(&f->rig, IER, 0x00); // off and on: pending again, as drivers test
    outb(&f->rig, IER, 0x02);
    assert_true(f->rig.irq.level);
    assert_int_equal(inb(&f->rig, IIR), 0x02);
    outb(&f->rig, DATA, 'a'); // sent at once, so empty at once
    assert_true(f->rig.irq.level);
    outb(&f->rig, IER, 0);
    assert_false(f->rig.irq.level);
}

// An edge-triggered controller must see an edge for each byte even from a guest that never reads
// IIR.
static void writing_thr_makes_an_edge(void **state)
{
    (void)state;
    struct fixture *f = fresh_with(0x02, 0);
    for (unsigned i = 0; i < 5; i++) {
        struct rig_line before = f->rig.irq;
        outb(&f->rig, DATA, 'a');
        assert_int_equal(f->rig.irq.falls, before.falls + 1);
        assert_int_equal(f->rig.irq.rises, before.rises + 1);
        assert_true(f->rig.irq.level);
    }
}

static void iir_read_clears_thr_only_when_it_shows_it(void **state)
{
    (void)state;
    struct fixture *f = fresh_with(0x03, 0);
    receive(f, "z");
    assert_int_equal(inb(&f->rig, IIR), 0x04);
    assert_int_equal(inb(&f->rig, IIR), 0x04);
    inb(&f->rig, DATA);
    assert_int_equal(inb(&f->rig, IIR), 0x02);
    assert_int_equal(inb(&f->rig, IIR), 0x01);
}

// ---- the receiver -------------------------------------------------------------------------------

static void one_byte_without_fifos(void **state)
{
    (void)state;
    struct fixture *f = fresh_with(0x01, 0);
    assert_int_equal(uart_room(&f->uart), 1);
    assert_int_equal(receive(f, "ab"), 1);
    assert_int_equal(deadline_next(&f->rig.queue), DEADLINE_NEVER); // no timeout without FIFOs
    assert_int_equal(uart_room(&f->uart), 0);
    assert_int_equal(receive(f, "b"), 0);
    assert_true(f->rig.irq.level);
    assert_int_equal(inb(&f->rig, IIR), 0x04);
    assert_int_equal(inb(&f->rig, LSR), 0x61);
    assert_int_equal(inb(&f->rig, DATA), 'a');
    assert_false(f->rig.irq.level);
    assert_int_equal(inb(&f->rig, LSR), 0x60);
    assert_int_equal(inb(&f->rig, DATA), 'a'); // RBR keeps what it had
    assert_int_equal(deadline_next(&f->rig.queue), DEADLINE_NEVER);
    assert_int_equal(receive(f, "b"), 1);
    assert_int_equal(inb(&f->rig, DATA), 'b');
}

static void sixteen_bytes_with_fifos_in_order(void **state)
{
    (void)state;
    struct fixture *f = fresh_with(0, 0x01);
    const char *text = "0123456789abcdefghij";
    u8 next = '0';
    for (int round = 0; round < 5; round++) { // five starts at different places of the ring
        assert_int_equal(uart_room(&f->uart), 16);
        assert_int_equal(receive(f, text), 16);
        assert_int_equal(uart_room(&f->uart), 0);
        assert_int_equal(receive(f, text), 0);
        for (int i = 0; i < 7; i++)
            assert_int_equal(inb(&f->rig, DATA), text[i]);
        assert_int_equal(receive(f, text + 16), 4);
        for (int i = 7; i < 20; i++)
            assert_int_equal(inb(&f->rig, DATA), text[i]);
        assert_int_equal(inb(&f->rig, LSR), 0x60);
        receive(f, (const char[]){(char)next, 0});
        assert_int_equal(inb(&f->rig, DATA), next++);
    }
}

static void trigger_levels(void **state)
{
    (void)state;
    static const u8 levels[4] = {1, 4, 8, 14};
    for (u8 code = 0; code < 4; code++) {
        struct fixture *f = fresh_with(0x01, (u8)(code << 6 | 1));
        for (unsigned n = 1; n <= 16; n++) {
            assert_int_equal(receive(f, "x"), 1);
            assert_int_equal(f->rig.irq.level, n >= levels[code]);
            assert_int_equal(inb(&f->rig, IIR), n >= levels[code] ? 0xc4 : 0xc1);
        }
        for (unsigned left = 15; left > 0; left--) {
            inb(&f->rig, DATA);
            assert_int_equal(f->rig.irq.level, left >= levels[code]);
        }
    }
}

// 8N1 at 115200 is ten bits of HZ/115200 ticks: four characters are 40 of them.
static void timeout_comes_after_four_characters(void **state)
{
    (void)state;
    struct fixture *f = fresh_with(0x01, 0x81);
    u64 bit = HZ / 115200;
    receive(f, "ab");
    rig_run_to(&f->rig, 30 * bit);
    receive(f, "c"); // starts the wait anew
    rig_run_to(&f->rig, 70 * bit - 1);
    assert_false(f->rig.irq.level);
    assert_int_equal(inb(&f->rig, IIR), 0xc1);
    rig_run_to(&f->rig, 70 * bit);
    assert_true(f->rig.irq.level);
    assert_int_equal(inb(&f->rig, IIR), 0xcc);
    assert_int_equal(inb(&f->rig, IIR), 0xcc); // stays until the data are read
    assert_int_equal(inb(&f->rig, DATA), 'a');
    assert_false(f->rig.irq.level); // an edge will come for what is left
    rig_run_to(&f->rig, 110 * bit - 1);
    assert_false(f->rig.irq.level);
    rig_run_to(&f->rig, 110 * bit);
    assert_true(f->rig.irq.level);
    inb(&f->rig, DATA);
    inb(&f->rig, DATA);
    assert_int_equal(deadline_next(&f->rig.queue), DEADLINE_NEVER);
    assert_int_equal(inb(&f->rig, IIR), 0xc1);
}

static void timeout_follows_rate_and_format(void **state)
{
    (void)state;
    static const struct {
        u8 lcr;
        u16 divisor;
        u64 bits;
    } cases[] = {
        {0x00, 1,     4 * 7            }, // 5N1
        {0x03, 1,     4 * 10           }, // 8N1
        {0x0b, 1,     4 * 11           }, // 8O1
        {0x0f, 1,     4 * 12           }, // 8O2
        {0x03, 12,    4 * 10 * 12      },
        {0x03, 65535, 4ull * 10 * 65535},
        {0x03, 0,     4 * 10           }, // not allowed; taken as 1
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct fixture *f = fresh_with(0x01, 0x81);
        outb(&f->rig, LCR, 0x80);
        outb(&f->rig, DLL, (u8)cases[i].divisor);
        outb(&f->rig, DLM, (u8)(cases[i].divisor >> 8));
        outb(&f->rig, LCR, cases[i].lcr);
        receive(f, "a");
        assert_int_equal(deadline_next(&f->rig.queue), cases[i].bits * (HZ / 115200));
    }
}

static void timeout_waits_only_where_it_matters(void **state)
{
    (void)state;
    struct fixture *f = fresh_with(0x00, 0x81);
    receive(f, "a");
    assert_int_equal(deadline_next(&f->rig.queue), DEADLINE_NEVER);
    outb(&f->rig, IER, 0x01); // switched on with a byte waiting: its wait begins
    assert_int_not_equal(deadline_next(&f->rig.queue), DEADLINE_NEVER);
    outb(&f->rig, FCR, 0x83); // the FIFO is cleared
    assert_int_equal(deadline_next(&f->rig.queue), DEADLINE_NEVER);
    assert_int_equal(inb(&f->rig, LSR), 0x60);
}

static void a_timeout_gives_way_to_the_trigger(void **state)
{
    (void)state;
    struct fixture *f = fresh_with(0x01, 0x41);
    receive(f, "abc");
    rig_run_to(&f->rig, HZ);
    assert_int_equal(inb(&f->rig, IIR), 0xcc);
    receive(f, "d");
    assert_int_equal(inb(&f->rig, IIR), 0xc4);
    inb(&f->rig, DATA);
    assert_int_equal(inb(&f->rig, IIR), 0xc1);
}

static void fcr_rules(void **state)
{
    (void)state;
    struct fixture *f = fresh_with(0, 0xc1);
    receive(f, "abc");
    outb(&f->rig, FCR, 0x41); // another level: the data stay
    assert_int_equal(f->uart.count, 3);
    outb(&f->rig, FCR, 0x45); // clears only the transmitter's
    assert_int_equal(f->uart.count, 3);
    outb(&f->rig, FCR, 0x00); // off: cleared
    assert_int_equal(inb(&f->rig, LSR), 0x60);
    assert_int_equal(inb(&f->rig, IIR), 0x01);
    receive(f, "d");
    outb(&f->rig, FCR, 0x02); // without the enable bit the others are not looked at
    assert_int_equal(inb(&f->rig, LSR), 0x61);
    outb(&f->rig, FCR, 0x01); // on: cleared
    assert_int_equal(inb(&f->rig, LSR), 0x60);
}

// ---- loopback and modem lines -------------------------------------------------------------------

static void loopback_data_come_back(void **state)
{
    (void)state;
    struct fixture *f = fresh_with(0x01, 0x01);
    outb(&f->rig, MCR, 0x18);
    assert_int_equal(uart_room(&f->uart), 0);
    assert_int_equal(receive(f, "outside"), 0);
    outb(&f->rig, DATA, 0xae);
    assert_true(f->rig.irq.level);
    assert_int_equal(f->nsent, 0);
    assert_int_equal(inb(&f->rig, LSR), 0x61);
    assert_int_equal(inb(&f->rig, DATA), 0xae);
    assert_false(f->rig.irq.level);
}

static void loopback_overrun_with_fifos(void **state)
{
    (void)state;
    struct fixture *f = fresh_with(0x04, 0x01);
    outb(&f->rig, MCR, 0x18);
    for (u8 i = 0; i < 16; i++)
        outb(&f->rig, DATA, i);
    assert_int_equal(inb(&f->rig, IIR), 0xc1);
    outb(&f->rig, DATA, 16); // lost
    assert_int_equal(inb(&f->rig, IIR), 0xc6);
    assert_true(f->rig.irq.level);
    assert_int_equal(inb(&f->rig, LSR), 0x63);
    assert_false(f->rig.irq.level);
    assert_int_equal(inb(&f->rig, LSR), 0x61); // the error is told once
    for (u8 i = 0; i < 16; i++)
        assert_int_equal(inb(&f->rig, DATA), i);
    assert_int_equal(inb(&f->rig, LSR), 0x60);
}

static void loopback_overrun_without_fifos(void **state)
{
    (void)state;
    struct fixture *f = fresh_with(0, 0);
    outb(&f->rig, MCR, 0x10);
    outb(&f->rig, DATA, 1);
    outb(&f->rig, DATA, 2);
    assert_int_equal(inb(&f->rig, LSR), 0x63);
    assert_int_equal(inb(&f->rig, DATA), 2); // RBR was overwritten
    assert_int_equal(inb(&f->rig, LSR), 0x60);
}

static void loopback_modem_lines(void **state)
{
    (void)state;
    static const struct {
        u8 mcr, msr; // as they follow each other
    } steps[] = {
        {0x10, 0x0b}, // CTS, DSR, DCD fell with the cable
        {0x10, 0x00},
        {0x12, 0x11}, // RTS is CTS
        {0x13, 0x32}, // DTR is DSR
        {0x17, 0x70}, // OUT1 is RI: its rise has no bit
        {0x13, 0x34}, // its end has
        {0x1b, 0xb8}, // OUT2 is DCD
        {0x1a, 0x92}, // the test drivers make: DCD and CTS
        {0x1a, 0x90},
        {0x0a, 0xb2}, // and back: DSR from outside
        {0x0a, 0xb0},
    };
    struct fixture *f = fresh();
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        outb(&f->rig, MCR, steps[i].mcr);
        assert_int_equal(inb(&f->rig, MSR), steps[i].msr);
    }
    outb(&f->rig, MCR, 0x10); // deltas add up until they are read
    outb(&f->rig, MCR, 0x1b);
    assert_int_equal(inb(&f->rig, MSR), 0xbb);
}

static void modem_interrupt(void **state)
{
    (void)state;
    struct fixture *f = fresh_with(0x08, 0);
    outb(&f->rig, MCR, 0x1b);
    assert_true(f->uart.deltas == 0); // the same lines as the cable's
    outb(&f->rig, MCR, 0x19);
    assert_true(f->rig.irq.level);
    assert_int_equal(inb(&f->rig, IIR), 0x00);
    assert_int_equal(inb(&f->rig, MSR), 0xa1);
    assert_false(f->rig.irq.level);
    assert_int_equal(inb(&f->rig, IIR), 0x01);
}

// ---- priorities, the gate, widths ---------------------------------------------------------------

static void four_priorities(void **state)
{
    (void)state;
    struct fixture *f = fresh_with(0, 0);
    outb(&f->rig, MCR, 0x18);
    outb(&f->rig, DATA, 1);
    outb(&f->rig, DATA, 2);
    outb(&f->rig, IER, 0x0f);
    assert_int_equal(inb(&f->rig, IIR), 0x06);
    inb(&f->rig, LSR);
    assert_int_equal(inb(&f->rig, IIR), 0x04);
    inb(&f->rig, DATA);
    assert_int_equal(inb(&f->rig, IIR), 0x02);
    assert_int_equal(inb(&f->rig, IIR), 0x00);
    inb(&f->rig, MSR);
    assert_int_equal(inb(&f->rig, IIR), 0x01);
    assert_false(f->rig.irq.level);
}

static void out2_gates_the_line(void **state)
{
    (void)state;
    struct fixture *f = fresh_with(0x02, 0);
    outb(&f->rig, MCR, 0x03);
    assert_false(f->rig.irq.level);
    outb(&f->rig, MCR, 0x08);
    assert_true(f->rig.irq.level);
    outb(&f->rig, MCR, 0x00);
    assert_int_equal(inb(&f->rig, IIR), 0x02); // the chip itself knows
    outb(&f->rig, MCR, 0x08);
    assert_false(f->rig.irq.level);
}

static void wide_access_is_byte_by_byte(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    rig_out(&f->rig, LCR, 2, 0x0b83);
    rig_out(&f->rig, DLL, 2, 0x1234);
    assert_int_equal(rig_in(&f->rig, DLL, 4), 0x83011234); // DLL, DLM, IIR, LCR
    outb(&f->rig, LCR, 0x03);
    rig_out(&f->rig, DATA, 4, 0x03c10141); // a byte out, IER, FCR, LCR
    assert_int_equal(f->nsent, 1);
    assert_int_equal(f->sent[0], 0x41);
    assert_int_equal(inb(&f->rig, IER), 0x01);
    assert_int_equal(inb(&f->rig, IIR), 0xc1);
    rig_out(&f->rig, SCR, 2, 0x7777); // past the last register: nobody
    assert_int_equal(inb(&f->rig, SCR), 0);
}

// ---- against a model ----------------------------------------------------------------------------

// The datasheet's interrupt rules as flags, received data as a list.
struct model {
    u8 ier, fcr, mcr, list[16];
    unsigned length;
    bool overrun, thr, waited;
    u64 activity; // ticks of the last byte in or out
};

static u8 model_iir(const struct model *m)
{
    static const unsigned levels[4] = {1, 4, 8, 14};
    bool fifos = m->fcr & 1;
    u8 high = fifos ? 0xc0 : 0;
    if (m->ier & 4 && m->overrun)
        return high | 6;
    if (m->ier & 1 && m->length >= (fifos ? levels[m->fcr >> 6] : 1))
        return high | 4;
    if (m->ier & 1 && m->length && m->waited)
        return high | 0xc;
    return high | (m->ier & 2 && m->thr ? 2 : 1);
}

static void model_in(struct model *m, u8 byte)
{
    unsigned room = m->fcr & 1 ? 16 : 1;
    if (m->length < room)
        m->list[m->length++] = byte;
    else if (room == 1)
        m->list[0] = byte;
    m->waited = false;
}

static u8 model_out(struct model *m)
{
    u8 byte = m->list[0];
    memmove(m->list, m->list + 1, 15);
    m->length--;
    m->waited = false;
    return byte;
}

static void model_fcr(struct model *m, u8 value)
{
    u8 old = m->fcr;
    m->fcr = value & 1 ? value : 0;
    if ((old ^ value) & 1 || (value & 3) == 3)
        m->length = 0;
    if (m->length == 0)
        m->waited = false;
}

// Line and identification after one random act of guest or world.
static void random_act(struct fixture *f, struct model *m, u64 *seed)
{
    u64 wait = 4 * 10 * (HZ / 115200);
    u8 value = (u8)rig_random(seed);
    switch (rig_random(seed) % 10) {
    case 0:
    case 1: {
        unsigned n = value % 6, room = m->mcr & 0x10 ? 0 : (m->fcr & 1 ? 16 : 1) - m->length;
        u8 bytes[6] = {1, (u8)(value + 1), (u8)(value + 2), 4, value, 6};
        assert_int_equal(uart_room(&f->uart), room);
        assert_int_equal(uart_receive(&f->uart, bytes, n), n < room ? n : room);
        for (unsigned i = 0; i < n && i < room; i++) {
            model_in(m, bytes[i]);
            m->activity = f->rig.now;
        }
        break;
    }
    case 2:
    case 3:
        if (m->length == 0)
            break;
        assert_int_equal(inb(&f->rig, DATA), model_out(m));
        m->activity = f->rig.now;
        break;
    case 4:
        assert_int_equal(inb(&f->rig, LSR), 0x60 | (m->length > 0) | m->overrun << 1);
        m->overrun = false;
        break;
    case 5:
        outb(&f->rig, DATA, value);
        m->thr = true;
        if (m->mcr & 0x10) {
            m->overrun |= m->length == (m->fcr & 1 ? 16u : 1u);
            model_in(m, value);
            m->activity = f->rig.now;
        }
        break;
    case 6:
        value &= 7;
        outb(&f->rig, IER, value);
        m->thr |= value & ~m->ier & 2;
        if (value & ~m->ier & 1) {
            m->activity = f->rig.now;
            m->waited = false;
        }
        m->ier = value;
        break;
    case 7:
        value = value % 4 ? value | 1 : value;
        value = value % 3 ? (u8)(value & ~2) : value;
        outb(&f->rig, FCR, value);
        model_fcr(m, value);
        break;
    case 8:
        m->mcr = value & 0x18;
        outb(&f->rig, MCR, m->mcr);
        break;
    default:
        rig_run_to(&f->rig, f->rig.now + wait * value / 200);
        if (m->fcr & 1 && m->ier & 1 && m->length && f->rig.now >= m->activity + wait)
            m->waited = true;
    }
}

static void random_use_matches_the_model(void **state)
{
    (void)state;
    for (u64 s = 1; s <= 300; s++) {
        struct fixture *f = fresh_with(0, 0);
        struct model m = {.mcr = 0x08};
        u64 seed = s * 31337;
        outb(&f->rig, MCR, 0x08);
        for (unsigned step = 0; step < 1000; step++) {
            random_act(f, &m, &seed);
            u8 want = model_iir(&m);
            bool level = m.mcr & 8 && (want & 0xf) != 1;
            if (f->rig.irq.level != level)
                fail_msg("seed %llu, step %u: line %d, want %d", (unsigned long long)s, step,
                         f->rig.irq.level, level);
            if (rig_random(&seed) % 4)
                continue;
            assert_int_equal(inb(&f->rig, IIR), want);
            if ((want & 0xf) == 2)
                m.thr = false;
        }
    }
}

// ---- room for input -----------------------------------------------------------------------------

// A world that is told of room, and gives what it keeps.
struct giver {
    struct fixture *f;
    const char *text; // NULL: it gives nothing
    unsigned asked;
};
static struct giver giver;

static void on_room(void *ctx)
{
    struct fixture *f = ctx;
    giver.asked++;
    if (giver.text)
        giver.text += uart_receive(&f->uart, (const u8 *)giver.text, strlen(giver.text));
}

static struct fixture *fresh_with_giver(u8 ier, u8 fcr, const char *text)
{
    struct fixture *f = fresh_with(ier, fcr);
    giver = (struct giver){.f = f, .text = text};
    f->uart.config.out.room = on_room;
    return f;
}

static void the_last_byte_read_asks_for_more(void **state)
{
    (void)state;
    struct fixture *f = fresh_with_giver(0x01, 0xc1, NULL);
    receive(f, "ab");
    inb(&f->rig, DATA);
    assert_int_equal(giver.asked, 0);
    inb(&f->rig, DATA);
    assert_int_equal(giver.asked, 1);
}

static void more_comes_within_the_read(void **state)
{
    (void)state;
    static const char text[] = "more than the sixteen bytes that there is room for";
    struct fixture *f = fresh_with_giver(0x01, 0xc1, text);
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        assert_int_equal(inb(&f->rig, LSR) & 1, 1);
        assert_int_equal(inb(&f->rig, DATA), text[i]);
    }
    assert_int_equal(inb(&f->rig, LSR) & 1, 0);
}

// The line falls and rises: an edge-triggered controller sees that there is more.
static void more_is_a_new_edge(void **state)
{
    (void)state;
    struct fixture *f = fresh_with_giver(0x01, 0x01, NULL);
    receive(f, "a");
    giver.text = "b";
    unsigned rises = f->rig.irq.rises;
    inb(&f->rig, DATA);
    assert_true(f->rig.irq.level);
    assert_int_equal(f->rig.irq.rises, rises + 1);
}

static void looking_for_a_byte_asks_for_one(void **state)
{
    (void)state;
    struct fixture *f = fresh_with_giver(0x00, 0x01, "x");
    assert_int_equal(inb(&f->rig, LSR) & 1, 1);
    assert_int_equal(giver.asked, 1);
    inb(&f->rig, LSR); // it is still there
    assert_int_equal(giver.asked, 1);
}

static void turning_the_interrupt_on_asks(void **state)
{
    (void)state;
    struct fixture *f = fresh_with_giver(0x00, 0x01, "x");
    assert_false(uart_listens(&f->uart));
    outb(&f->rig, IER, 0x0e);
    assert_int_equal(giver.asked, 0);
    assert_false(uart_listens(&f->uart));
    outb(&f->rig, IER, 0x01);
    assert_int_equal(giver.asked, 1);
    assert_true(uart_listens(&f->uart));
    assert_true(f->rig.irq.level);
    outb(&f->rig, IER, 0x03); // was on before
    assert_int_equal(giver.asked, 1);
}

static void clearing_asks_only_a_listening_guests_world(void **state)
{
    (void)state;
    struct fixture *f = fresh_with_giver(0x00, 0x01, NULL);
    receive(f, "x");
    outb(&f->rig, FCR, 0x03);
    outb(&f->rig, MCR, 0x1b);
    outb(&f->rig, MCR, 0x0b);
    assert_int_equal(giver.asked, 0);
    f = fresh_with_giver(0x01, 0x01, NULL);
    receive(f, "x");
    outb(&f->rig, MCR, 0x1b);
    outb(&f->rig, MCR, 0x0b);
    assert_int_equal(giver.asked, 0);
    outb(&f->rig, FCR, 0x03);
    assert_int_equal(giver.asked, 1);
    giver.text = "y";
    outb(&f->rig, MCR, 0x1b); // in loopback nothing is taken
    assert_int_equal(uart_room(&f->uart), 0);
    assert_int_equal(*giver.text, 'y');
    outb(&f->rig, MCR, 0x0b);
    assert_int_equal(inb(&f->rig, DATA), 'y');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(after_reset),
        cmocka_unit_test(registers_keep_what_they_have),
        cmocka_unit_test(divisor_is_behind_dlab),
        cmocka_unit_test(output_goes_out_at_once),
        cmocka_unit_test(unwired_ends_are_legal),
        cmocka_unit_test(thr_interrupt_on_enable_and_its_two_ends),
        cmocka_unit_test(writing_thr_makes_an_edge),
        cmocka_unit_test(iir_read_clears_thr_only_when_it_shows_it),
        cmocka_unit_test(one_byte_without_fifos),
        cmocka_unit_test(sixteen_bytes_with_fifos_in_order),
        cmocka_unit_test(trigger_levels),
        cmocka_unit_test(timeout_comes_after_four_characters),
        cmocka_unit_test(timeout_follows_rate_and_format),
        cmocka_unit_test(timeout_waits_only_where_it_matters),
        cmocka_unit_test(a_timeout_gives_way_to_the_trigger),
        cmocka_unit_test(fcr_rules),
        cmocka_unit_test(loopback_data_come_back),
        cmocka_unit_test(loopback_overrun_with_fifos),
        cmocka_unit_test(loopback_overrun_without_fifos),
        cmocka_unit_test(loopback_modem_lines),
        cmocka_unit_test(modem_interrupt),
        cmocka_unit_test(four_priorities),
        cmocka_unit_test(out2_gates_the_line),
        cmocka_unit_test(wide_access_is_byte_by_byte),
        cmocka_unit_test(random_use_matches_the_model),
        cmocka_unit_test(the_last_byte_read_asks_for_more),
        cmocka_unit_test(more_comes_within_the_read),
        cmocka_unit_test(more_is_a_new_edge),
        cmocka_unit_test(looking_for_a_byte_asks_for_one),
        cmocka_unit_test(turning_the_interrupt_on_asks),
        cmocka_unit_test(clearing_asks_only_a_listening_guests_world),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
