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

// stuck: the value that a register stuck at one has.
static struct serial start_stuck(enum fake_fault fault, u8 stuck, int want)
{
    struct serial serial;
    fake_reset(fault);
    fake.stuck = stuck;
    assert_int_equal(serial_init(&serial, &fake_ports, FAKE_BASE), want);
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
    assert_int_equal(serial_poll_read(&serial), -1);
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
        assert_int_equal(serial_poll_read(&serial), -1);
        assert_int_equal(fake.reads, before);
        assert_int_equal(fake.nsent, 0);
    }
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
    assert_int_equal(serial_init(&serial, &fake_ports, FAKE_BASE), OK);
    assert_int_equal(fake.overruns, 0);
}

static void stale_input_does_not_fail_the_loopback(void **state)
{
    (void)state;
    fake_reset(FAKE_WORKS);
    for (u8 i = 0; i < 20; i++)
        fake_receive(i);
    struct serial serial;
    assert_int_equal(serial_init(&serial, &fake_ports, FAKE_BASE), OK);
    fake_reset(FAKE_NO_FIFO); // where no reset of the FIFO drops it
    fake_receive('s');
    assert_int_equal(serial_init(&serial, &fake_ports, FAKE_BASE), OK);
}

static void endless_input_does_not_hang(void **state)
{
    (void)state;
    struct serial serial;
    fake_reset(FAKE_ALWAYS_DR);
    serial_init(&serial, &fake_ports, FAKE_BASE);
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
    assert_int_equal(serial_poll_read(&serial), -1);
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

static void input_is_read_in_order(void **state)
{
    (void)state;
    struct serial serial = start(FAKE_WORKS, OK);
    fake_receive('x');
    fake_receive(0xff);
    assert_int_equal(serial_poll_read(&serial), 'x');
    assert_int_equal(serial_poll_read(&serial), 0xff);
    assert_int_equal(serial_poll_read(&serial), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_working_uart_is_set_up),
        cmocka_unit_test(text_arrives_whole_and_in_order),
        cmocka_unit_test(without_a_fifo_bytes_go_one_by_one),
        cmocka_unit_test(the_fifo_saves_polls),
        cmocka_unit_test(a_missing_uart_is_not_touched_again),
        cmocka_unit_test(nothing_there_is_not_written_to),
        cmocka_unit_test(a_register_stuck_at_any_value_is_noticed),
        cmocka_unit_test(firmware_output_goes_out_before_the_probe),
        cmocka_unit_test(stale_input_does_not_fail_the_loopback),
        cmocka_unit_test(endless_input_does_not_hang),
        cmocka_unit_test(a_transmitter_that_gets_stuck_is_given_up),
        cmocka_unit_test(a_transmitter_that_comes_back_is_used_again),
        cmocka_unit_test(a_uart_that_vanishes_does_not_hang),
        cmocka_unit_test(drain_is_bounded),
        cmocka_unit_test(input_is_read_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
