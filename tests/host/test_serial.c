// SPDX-License-Identifier: MIT
// The serial driver against a UART that works and against all the ways one can be missing or stuck.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/serial.h"
#include "tests/host/fake_uart.h"

// More than the driver's patience with a few waits, less than a hang.
#define BOUNDED 10000000u

static struct serial_input input;
static unsigned arrivals;
static const struct uart_place at_port = UART_AT_PORT(FAKE_BASE);

static void on_arrival(void)
{
    arrivals++;
}

// stuck: the value that a register stuck at one has.
static struct serial start_stuck(enum fake_fault fault, u8 stuck, int want)
{
    struct serial serial;
    fake_reset(fault);
    fake.stuck = stuck;
    assert_int_equal(serial_init(&serial, &fake_ports, &at_port, NULL), want);
    assert_int_equal(fake.stray, 0);
    return serial;
}

static struct serial start(enum fake_fault fault, int want)
{
    return start_stuck(fault, 0, want);
}

static void a_working_uart_is_set_up(void **state)
{
    (void)state;
    struct serial serial = start(FAKE_WORKS, OK);
    assert_int_equal(fake.divisor, 1);
    assert_int_equal(fake.lcr, 3);
    assert_int_equal(fake.ier, 0);
    assert_int_equal(fake.mcr, 3);
    assert_true(fake.fcr & 1);
    assert_int_equal(fake.nsent, 0);
    assert_false(fake.leaked);
    assert_int_equal(serial.fifo_size, 16);
    assert_int_equal(serial_read(&serial), -1);
}

static void text_arrives_whole_and_in_order(void **state)
{
    (void)state;
    struct serial serial = start(FAKE_WORKS, OK);
    char text[1000];
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)('a' + i % 26);
    serial_write(&serial, text, 5);
    serial_write(&serial, text + 5, sizeof(text) - 5);
    serial_drain(&serial);
    assert_int_equal(fake.nsent, sizeof(text));
    assert_memory_equal(fake.sent, text, sizeof(text));
    assert_int_equal(fake.overruns, 0);
    assert_int_equal(fake.while_misset, 0);
    assert_int_equal(fake.fifo, 0);
    assert_int_equal(fake.shifting, 0);
}

static void without_a_fifo_bytes_go_one_by_one(void **state)
{
    (void)state;
    struct serial serial = start(FAKE_NO_FIFO, OK);
    assert_int_equal(serial.fifo_size, 1);
    serial_write(&serial, "one by one", 10);
    assert_int_equal(fake.overruns, 0);
    assert_string_equal(fake.sent, "one by one");
}

static void the_fifo_saves_polls(void **state)
{
    (void)state;
    struct serial serial = start(FAKE_WORKS, OK);
    fake.pace = 1;
    u64 before = fake.reads;
    serial_write(&serial, "sixteen letters.", 16);
    assert_int_equal(fake.reads - before, 1);
}

static void a_missing_uart_is_not_touched_again(void **state)
{
    (void)state;
    static const enum fake_fault faults[] = {FAKE_NOTHING,    FAKE_ZEROS,       FAKE_BUSY,
                                             FAKE_NO_SCRATCH, FAKE_NO_LOOPBACK, FAKE_BAD_LOOPBACK};
    for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
        struct serial serial = start(faults[i], E_NOENT);
        assert_true(fake.reads < BOUNDED);
        u64 before = fake.reads;
        serial_write(&serial, "lost", 4);
        serial_drain(&serial);
        serial_listen(&serial, &input, NULL);
        serial_receive(&serial);
        assert_int_equal(serial_read(&serial), -1);
        assert_int_equal(fake.reads, before);
        assert_int_equal(fake.nsent, 0);
    }
}

static void registers_may_lie_apart_in_memory(void **state)
{
    (void)state;
    static const unsigned shapes[][2] = {
        {1, 1},
        {2, 1},
        {2, 2},
        {4, 1},
        {4, 2},
        {4, 4}
    };
    for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
        struct uart_place place = {UART_MEMORY, FAKE_MEMORY, (u8)shapes[i][0], (u8)shapes[i][1],
                                   false};
        struct serial serial;
        fake_reset(FAKE_WORKS);
        fake.stride = shapes[i][0];
        fake.width = shapes[i][1];
        assert_int_equal(uart_span(&place), 8 * fake.stride);
        void *memory = fake_map(place.base, uart_span(&place));
        assert_int_equal(serial_init(&serial, &fake_ports, &place, memory), OK);
        assert_int_equal(fake.divisor, 1);
        serial_write(&serial, "wide", 4);
        assert_string_equal(fake.sent, "wide");
        fake_receive('x');
        serial_listen(&serial, &input, NULL);
        serial_receive(&serial);
        assert_int_equal(serial_read(&serial), 'x');
        fake_reset(FAKE_NOTHING);
        fake.stride = shapes[i][0];
        fake.width = shapes[i][1];
        assert_int_equal(serial_init(&serial, &fake_ports, &place, memory), E_NOENT);
        assert_int_equal(fake.writes, 0);
    }
}

static void a_place_that_is_none_is_not_touched(void **state)
{
    (void)state;
    const struct uart_place places[] = {
        {UART_NOWHERE, FAKE_BASE,   1, 1, false},
        {UART_MEMORY,  FAKE_MEMORY, 4, 4, false}, // and not mapped
    };
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        struct serial serial;
        fake_reset(FAKE_WORKS);
        assert_int_equal(serial_init(&serial, &fake_ports, &places[i], NULL), E_NOENT);
        serial_write(&serial, "lost", 4);
        assert_int_equal(fake.reads + fake.writes, 0);
    }
}

static void a_rate_that_firmware_set_is_kept(void **state)
{
    (void)state;
    struct uart_place place = at_port;
    struct serial serial;
    place.keep_rate = true;
    fake_reset(FAKE_WORKS);
    fake.divisor = 0x1200;
    assert_int_equal(serial_init(&serial, &fake_ports, &place, NULL), OK);
    assert_int_equal(fake.divisor, 0x1200);
    assert_int_equal(fake.lcr, 3);
    fake_reset(FAKE_WORKS);
    fake.divisor = 0; // nobody has set it
    assert_int_equal(serial_init(&serial, &fake_ports, &place, NULL), OK);
    assert_int_equal(fake.divisor, 1);
}

// Ports that nothing answers may belong to something else.
static void nothing_there_is_not_written_to(void **state)
{
    (void)state;
    start(FAKE_NOTHING, E_NOENT);
    assert_int_equal(fake.reads, 1);
    assert_int_equal(fake.writes, 0);
}

static void a_register_stuck_at_any_value_is_noticed(void **state)
{
    (void)state;
    for (unsigned value = 0; value < 256; value++) {
        start_stuck(FAKE_NO_SCRATCH, (u8)value, E_NOENT);
        start_stuck(FAKE_BAD_LOOPBACK, (u8)value, E_NOENT);
    }
}

static void firmware_output_goes_out_before_the_probe(void **state)
{
    (void)state;
    fake_reset(FAKE_WORKS);
    fake.fcr = 1;
    fake.fifo = 16;
    fake.until_sent = fake.pace;
    struct serial serial;
    assert_int_equal(serial_init(&serial, &fake_ports, &at_port, NULL), OK);
    assert_int_equal(fake.overruns, 0);
}

static void stale_input_does_not_fail_the_loopback(void **state)
{
    (void)state;
    fake_reset(FAKE_WORKS);
    for (u8 i = 0; i < 20; i++)
        fake_receive(i);
    struct serial serial;
    assert_int_equal(serial_init(&serial, &fake_ports, &at_port, NULL), OK);
    fake_reset(FAKE_NO_FIFO); // where no reset of the FIFO drops it
    fake_receive('s');
    assert_int_equal(serial_init(&serial, &fake_ports, &at_port, NULL), OK);
}

static void endless_input_does_not_hang(void **state)
{
    (void)state;
    struct serial serial;
    fake_reset(FAKE_ALWAYS_DR);
    serial_init(&serial, &fake_ports, &at_port, NULL);
    assert_true(fake.reads < BOUNDED);
}

static void a_transmitter_that_gets_stuck_is_given_up(void **state)
{
    (void)state;
    struct serial serial = start(FAKE_WORKS, OK);
    fake.fault = FAKE_BUSY;
    serial_write(&serial, "lost", 4);
    assert_true(serial.timed_out);
    assert_true(fake.reads < BOUNDED);
    u64 before = fake.reads;
    for (int i = 0; i < 100; i++)
        serial_write(&serial, "lost", 4);
    serial_drain(&serial);
    assert_true(fake.reads - before <= 100);
    assert_int_equal(fake.nsent, 0);
}

static void a_transmitter_that_comes_back_is_used_again(void **state)
{
    (void)state;
    struct serial serial = start(FAKE_WORKS, OK);
    fake.fault = FAKE_BUSY;
    serial_write(&serial, "lost", 4);
    fake.fault = FAKE_WORKS;
    serial_write(&serial, "there", 5);
    serial_write(&serial, " again", 6);
    assert_string_equal(fake.sent, "there again");
    assert_int_equal(fake.overruns, 0);
}

static void a_uart_that_vanishes_does_not_hang(void **state)
{
    (void)state;
    struct serial serial = start(FAKE_WORKS, OK);
    fake.fault = FAKE_NOTHING;
    serial_write(&serial, "lost", 4);
    serial_drain(&serial);
    assert_true(fake.reads < BOUNDED);
}

static void drain_is_bounded(void **state)
{
    (void)state;
    struct serial serial = start(FAKE_WORKS, OK);
    fake.fault = FAKE_BUSY;
    serial_drain(&serial);
    assert_true(fake.reads < BOUNDED);
    assert_true(serial.timed_out);
}

static struct serial listening(void)
{
    struct serial serial = start(FAKE_WORKS, OK);
    arrivals = 0;
    serial_listen(&serial, &input, on_arrival);
    return serial;
}

static void receive_many(struct serial *serial, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        fake_receive((u8)(i * 7));
    serial_receive(serial);
}

static void listening_sets_fifo_interrupt_and_rts(void **state)
{
    (void)state;
    listening();
    assert_int_equal(fake.fcr, 0x41); // on, four bytes, nothing cleared
    assert_int_equal(fake.ier, 5);    // received data, line status
    assert_int_equal(fake.mcr, 0xb);  // DTR, RTS, OUT2
}

static void what_came_before_listening_is_not_lost(void **state)
{
    (void)state;
    struct serial serial = start(FAKE_WORKS, OK);
    fake_receive('x');
    serial_listen(&serial, &input, NULL);
    serial_receive(&serial);
    assert_int_equal(serial_read(&serial), 'x');
}

static void input_is_read_in_order(void **state)
{
    (void)state;
    struct serial serial = listening();
    fake_receive('x');
    assert_int_equal(serial_read(&serial), -1); // nobody has looked yet
    serial_receive(&serial);
    assert_int_equal(arrivals, 1);
    fake_receive(0xff);
    serial_receive(&serial);
    assert_int_equal(arrivals, 2);
    serial_receive(&serial);
    assert_int_equal(arrivals, 2);
    assert_int_equal(serial_read(&serial), 'x');
    assert_int_equal(serial_read(&serial), 0xff);
    assert_int_equal(serial_read(&serial), -1);
}

static void the_ring_wraps_without_loss(void **state)
{
    (void)state;
    struct serial serial = listening();
    u32 got = 0, want = 0;
    for (unsigned round = 0; round < 50; round++) {
        for (unsigned i = 0; i < 1000; i++)
            fake_receive((u8)(want++ * 3));
        serial_receive(&serial);
        for (unsigned i = 0; i < 1000; i++)
            assert_int_equal(serial_read(&serial), (u8)(got++ * 3));
        assert_int_equal(serial_read(&serial), -1);
    }
}

static void a_filling_ring_lowers_rts_until_half_is_read(void **state)
{
    (void)state;
    struct serial serial = listening();
    receive_many(&serial, SERIAL_RING / 4 * 3 - 1);
    assert_int_equal(fake.mcr, 0xb);
    receive_many(&serial, 1);
    assert_int_equal(fake.mcr, 0x9); // RTS down, the interrupt still let out
    for (unsigned i = 0; i < SERIAL_RING / 4; i++)
        serial_read(&serial);
    assert_int_equal(fake.mcr, 0x9);
    serial_read(&serial);
    assert_int_equal(fake.mcr, 0xb);
    receive_many(&serial, SERIAL_RING / 4);
    assert_int_equal(fake.mcr, 0xb);
    receive_many(&serial, 1);
    assert_int_equal(fake.mcr, 0x9);
}

static void a_full_ring_leaves_the_rest_to_the_uart(void **state)
{
    (void)state;
    struct serial serial = listening();
    receive_many(&serial, SERIAL_RING + 10);
    assert_int_equal(fake.nreceived - fake.next_received, 10);
    assert_int_equal(fake.ier, 0); // its interrupt would come again and again
    u64 before = fake.reads;
    serial_receive(&serial);
    assert_int_equal(fake.reads, before);
    for (unsigned i = 0; i < SERIAL_RING; i++)
        assert_int_equal(serial_read(&serial), (u8)(i * 7));
    assert_int_equal(fake.ier, 5);
    serial_receive(&serial);
    for (unsigned i = SERIAL_RING; i < SERIAL_RING + 10; i++)
        assert_int_equal(serial_read(&serial), (u8)(i * 7));
    assert_int_equal(serial_read(&serial), -1);
    assert_int_equal(input.overruns, 0);
}

static void one_byte_read_lets_the_interrupt_back(void **state)
{
    (void)state;
    struct serial serial = listening();
    receive_many(&serial, SERIAL_RING);
    assert_int_equal(fake.ier, 0);
    serial_read(&serial);
    assert_int_equal(fake.ier, 5);
}

static void overruns_are_counted_whoever_reads_lsr(void **state)
{
    (void)state;
    struct serial serial = listening();
    fake.overrun = true;
    serial_receive(&serial);
    assert_int_equal(input.overruns, 1);
    fake.overrun = true;
    serial_write(&serial, "x", 1);
    assert_int_equal(input.overruns, 2);
    fake.overrun = true;
    serial_drain(&serial);
    assert_int_equal(input.overruns, 3);
}

static void input_arrives_while_output_is_sent(void **state)
{
    (void)state;
    struct serial serial = listening();
    char text[100] = {0};
    fake.late = 26;
    serial_write(&serial, text, sizeof(text));
    assert_int_equal(fake.late, 0);
    assert_int_equal(fake.nreceived - fake.next_received, 0);
    assert_true(arrivals > 0);
    for (int i = 25; i >= 0; i--)
        assert_int_equal(serial_read(&serial), 'a' + i);
    assert_int_equal(fake.nsent, sizeof(text));
}

static void input_that_never_ends_fills_the_ring_and_no_more(void **state)
{
    (void)state;
    struct serial serial = listening();
    fake.fault = FAKE_ALWAYS_DR;
    serial_receive(&serial);
    assert_true(fake.reads < BOUNDED);
    unsigned n = 0;
    while (serial_read(&serial) >= 0)
        n++;
    assert_int_equal(n, SERIAL_RING);
}

static void a_uart_that_vanishes_has_no_input(void **state)
{
    (void)state;
    struct serial serial = listening();
    fake.fault = FAKE_NOTHING;
    serial_receive(&serial);
    assert_int_equal(serial_read(&serial), -1);
    assert_int_equal(input.overruns, 0);
}

static void a_byte_in_the_ring_is_found(void **state)
{
    (void)state;
    struct serial serial = listening();
    assert_false(serial_holds(&serial, 0));
    fake_receive('a');
    fake_receive('b');
    serial_receive(&serial);
    assert_true(serial_holds(&serial, 'a'));
    assert_true(serial_holds(&serial, 'b'));
    assert_false(serial_holds(&serial, 'c'));
    serial_read(&serial);
    assert_false(serial_holds(&serial, 'a'));
}

static void an_interrupt_can_be_provoked(void **state)
{
    (void)state;
    struct serial serial = listening();
    unsigned before = fake.iir_reads;
    serial_provoke(&serial, true);
    assert_int_equal(fake.ier, 7);
    assert_int_equal(fake.iir_reads, before); // that would take it back
    serial_provoke(&serial, false);
    assert_int_equal(fake.ier, 5);
    assert_int_equal(fake.iir_reads, before + 1);
}

static void nobody_listening_nothing_is_received(void **state)
{
    (void)state;
    struct serial serial = start(FAKE_WORKS, OK);
    u64 writes = fake.writes;
    fake_receive('x');
    serial_receive(&serial);
    serial_provoke(&serial, true);
    assert_int_equal(serial_read(&serial), -1);
    assert_false(serial_holds(&serial, 'x'));
    assert_int_equal(fake.writes, writes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_working_uart_is_set_up),
        cmocka_unit_test(text_arrives_whole_and_in_order),
        cmocka_unit_test(without_a_fifo_bytes_go_one_by_one),
        cmocka_unit_test(the_fifo_saves_polls),
        cmocka_unit_test(a_missing_uart_is_not_touched_again),
        cmocka_unit_test(registers_may_lie_apart_in_memory),
        cmocka_unit_test(a_place_that_is_none_is_not_touched),
        cmocka_unit_test(a_rate_that_firmware_set_is_kept),
        cmocka_unit_test(nothing_there_is_not_written_to),
        cmocka_unit_test(a_register_stuck_at_any_value_is_noticed),
        cmocka_unit_test(firmware_output_goes_out_before_the_probe),
        cmocka_unit_test(stale_input_does_not_fail_the_loopback),
        cmocka_unit_test(endless_input_does_not_hang),
        cmocka_unit_test(a_transmitter_that_gets_stuck_is_given_up),
        cmocka_unit_test(a_transmitter_that_comes_back_is_used_again),
        cmocka_unit_test(a_uart_that_vanishes_does_not_hang),
        cmocka_unit_test(drain_is_bounded),
        cmocka_unit_test(listening_sets_fifo_interrupt_and_rts),
        cmocka_unit_test(what_came_before_listening_is_not_lost),
        cmocka_unit_test(input_is_read_in_order),
        cmocka_unit_test(the_ring_wraps_without_loss),
        cmocka_unit_test(a_filling_ring_lowers_rts_until_half_is_read),
        cmocka_unit_test(a_full_ring_leaves_the_rest_to_the_uart),
        cmocka_unit_test(one_byte_read_lets_the_interrupt_back),
        cmocka_unit_test(overruns_are_counted_whoever_reads_lsr),
        cmocka_unit_test(input_arrives_while_output_is_sent),
        cmocka_unit_test(input_that_never_ends_fills_the_ring_and_no_more),
        cmocka_unit_test(a_uart_that_vanishes_has_no_input),
        cmocka_unit_test(a_byte_in_the_ring_is_found),
        cmocka_unit_test(an_interrupt_can_be_provoked),
        cmocka_unit_test(nobody_listening_nothing_is_received),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
