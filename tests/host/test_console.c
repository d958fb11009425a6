// SPDX-License-Identifier: MIT
// The console: which sinks it finds, and what reaches each.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "arch/x86_64/console.h"
#include "arch/x86_64/lib/log.h"
#include "tests/host/fake_uart.h"

static u8 vga[25 * 160];
static const struct uart_place com1 = UART_AT_PORT(SERIAL_COM1), com2 = UART_AT_PORT(SERIAL_COM2);

// With serial_base 0 nothing is written to a serial port, but COM1 to COM4 may be listened to.
static struct console_config config_of(u16 serial_base, bool debug_port)
{
    struct console_config config = {.io = &fake_ports,
                                    .map = fake_map,
                                    .serial = serial_base != 0,
                                    .named = serial_base != 0,
                                    .debug_port = debug_port};
    struct uart_candidate first = {.place = UART_AT_PORT(serial_base), .from = UART_FROM_COMMAND};
    if (serial_base)
        uart_add(&config.uarts, &first);
    uart_add_pc(&config.uarts);
    return config;
}

// The characters of a row of the text screen, without the blanks after them.
static const char *vga_row(u32 row)
{
    static char text[81];
    for (u32 i = 0; i < 80; i++)
        text[i] = (char)vga[row * 160 + i * 2];
    for (size_t end = 80; end && text[end - 1] == ' ';)
        text[--end] = '\0';
    return text;
}

static void with_text_screen(struct console_config *config)
{
    memset(vga, 0, sizeof(vga));
    config->screen = (struct screen){SCREEN_TEXT, vga, 160, 80, 25, 16, {0}, {0}, {0}};
}

static int fresh(void **state)
{
    (void)state;
    fake_reset(FAKE_WORKS);
    log_set_sink(NULL, false);
    for (unsigned i = 0; i < LOG_RING_SIZE / 16 + 10; i++)
        log_raw("sixteen letters\n", 16);
    return 0;
}

static void what_is_found_is_reported(void **state)
{
    (void)state;
    fake.has_e9 = true;
    struct console_config config = config_of(FAKE_BASE, true);
    with_text_screen(&config);
    console_init(&config);
    assert_non_null(
        strstr(fake.e9, "\nconsole: serial port 2f8 (command line), port e9, text screen 80x25\n"));
    assert_string_equal(vga_row(24),
                        "console: serial port 2f8 (command line), port e9, text screen 80x25");
}

static void nothing_found_is_survived(void **state)
{
    (void)state;
    fake_reset(FAKE_NOTHING);
    struct console_config config = config_of(FAKE_BASE, true);
    console_init(&config);
    log_info("into the void");
    console_flush();
    console_alarm();
    assert_null(console_listen(NULL, NULL));
    assert_null(console_listen(&com2, NULL));
    assert_int_equal(console_screen_rows(), 0);
    assert_int_equal(console_screen_columns(), 0);
    char tail[100] = "";
    log_ring_tail(tail, 70);
    assert_string_equal(tail, "console: no serial port, no port e9, no screen\ninto the void\n");
}

static void only_what_is_allowed_is_looked_for(void **state)
{
    (void)state;
    fake.has_e9 = true;
    struct console_config config = config_of(0, false);
    console_init(&config);
    assert_int_equal(fake.reads, 0);
    assert_int_equal(fake.ne9, 0);
    assert_int_equal(fake.nsent, 0);
}

static void the_log_so_far_is_replayed(void **state)
{
    (void)state;
    fake.has_e9 = true;
    log_info("before there was a console");
    struct console_config config = config_of(0, true);
    console_init(&config);
    assert_non_null(strstr(fake.e9, "\nbefore there was a console\nconsole: "));
}

static void newlines_are_crlf_on_the_serial_port_only(void **state)
{
    (void)state;
    fake.has_e9 = true;
    struct console_config config = config_of(FAKE_BASE, true);
    console_init(&config);
    fake.nsent = fake.ne9 = 0;
    memset(fake.sent, 0, sizeof(fake.sent));
    memset(fake.e9, 0, sizeof(fake.e9));
    console_write("\none\n\ntwo", 9);
    console_flush();
    assert_string_equal(fake.sent, "\r\none\r\n\r\ntwo");
    assert_string_equal(fake.e9, "\none\n\ntwo");
    assert_int_equal(fake.overruns, 0);
    assert_int_equal(fake.fifo, 0);
}

static void streams_and_screen_can_be_written_apart(void **state)
{
    (void)state;
    fake.has_e9 = true;
    struct console_config config = config_of(FAKE_BASE, true);
    with_text_screen(&config);
    console_init(&config);
    fake.nsent = fake.ne9 = 0;
    memset(fake.sent, 0, sizeof(fake.sent));
    memset(fake.e9, 0, sizeof(fake.e9));
    console_write_screen("screen\n", 7);
    console_write_streams("stream\n", 7);
    assert_string_equal(fake.sent, "stream\r\n");
    assert_string_equal(fake.e9, "stream\n");
    assert_string_equal(vga_row(24), "screen");
}

static void the_alarm_clears_and_colours_the_screen(void **state)
{
    (void)state;
    struct console_config config = config_of(0, false);
    with_text_screen(&config);
    console_init(&config);
    assert_int_equal(console_screen_rows(), 25);
    assert_int_equal(console_screen_columns(), 80);
    console_alarm();
    console_write_screen("crash", 5);
    assert_string_equal(vga_row(0), "crash");
    assert_string_equal(vga_row(24), "");
    for (size_t i = 1; i < sizeof(vga); i += 2)
        assert_int_equal(vga[i], 0x4f);
}

static void a_dropped_screen_is_left_alone(void **state)
{
    (void)state;
    struct console_config config = config_of(0, false);
    with_text_screen(&config);
    console_init(&config);
    console_drop_screen();
    memset(vga, 0, sizeof(vga));
    console_write("text", 4);
    console_alarm();
    for (size_t i = 0; i < sizeof(vga); i++)
        assert_int_equal(vga[i], 0);
}

static void a_framebuffer_is_drawn_on(void **state)
{
    (void)state;
    struct console_config config = config_of(0, false);
    u32 *pixels = calloc(320 * 64, 4);
    config.screen = (struct screen){
        SCREEN_PIXELS, pixels, 320 * 4, 320, 64, 32, {16, 8},
                {8,  8},
                {0,  8}
    };
    console_init(&config);
    assert_int_equal(console_screen_columns(), 40);
    assert_int_equal(console_screen_rows(), 4);
    console_alarm();
    assert_int_equal(pixels[0], 0); // cleared when something is shown
    console_write_screen("_", 1);
    unsigned ink = 0, paper = 0;
    for (unsigned i = 0; i < 320 * 64; i++) {
        ink += pixels[i] == 0xffffff;
        paper += pixels[i] == 0xa00000;
    }
    assert_in_range(ink, 4, 16);
    assert_int_equal(ink + paper, 320 * 64);
    log_set_sink(NULL, false);
    free(pixels);
}

static void a_screen_it_cannot_show_is_named(void **state)
{
    (void)state;
    fake.has_e9 = true;
    struct console_config config = config_of(0, true);
    config.screen = (struct screen){SCREEN_PIXELS, vga, 1024, 1024, 768, 8, {0}, {0}, {0}};
    console_init(&config);
    assert_non_null(strstr(fake.e9, "framebuffer 1024x768x8 (not one this can show)\n"));
    assert_int_equal(console_screen_rows(), 0);
}

static void expect_input_from(struct serial *serial, u64 base)
{
    assert_non_null(serial);
    assert_int_equal(serial->place.base, base);
    fake_receive('k');
    serial_receive(serial);
    assert_int_equal(serial_read(serial), 'k');
    assert_int_equal(serial_read(serial), -1);
}

static void input_comes_from_the_port_the_log_goes_to(void **state)
{
    (void)state;
    struct console_config config = config_of(FAKE_BASE, false);
    console_init(&config);
    console_write("before", 6);
    fake.mirrored = true;  // COM1 is there too
    fake.divisor = 0x1234; // a second set-up would change it
    expect_input_from(console_listen(NULL, NULL), FAKE_BASE);
    expect_input_from(console_listen(&com2, NULL), FAKE_BASE);
    assert_int_equal(fake.divisor, 0x1234);
}

static void input_comes_from_a_port_where_nothing_goes(void **state)
{
    (void)state;
    fake.has_e9 = true;
    struct console_config config = config_of(0, true);
    console_init(&config);
    // Where the fake is: the second looked at.
    expect_input_from(console_listen(NULL, NULL), SERIAL_COM2);
    assert_int_equal(fake.divisor, 1);
    console_write("text", 4);
    assert_int_equal(fake.nsent, 0);
    expect_input_from(console_listen(&com2, NULL), FAKE_BASE);
    assert_null(console_listen(&com1, NULL));
    fake.mirrored = true;
    expect_input_from(console_listen(NULL, NULL), SERIAL_COM1);
}

// ---- which serial port ------------------------------------------------------------------------

static void the_first_port_that_works_is_taken(void **state)
{
    (void)state;
    struct console_config config = config_of(0, false);
    config.serial = true;
    console_init(&config);
    assert_non_null(strstr(fake.sent, "\r\nconsole: serial port 2f8 (COM2), no port e9"));
    fake_reset(FAKE_WORKS);
    fake.mirrored = true;
    console_init(&config);
    assert_non_null(strstr(fake.sent, "\r\nconsole: serial port 3f8 (COM1), no port e9"));
}

static void a_port_that_was_named_has_no_stand_in(void **state)
{
    (void)state;
    struct console_config config = config_of(0x3e8, false);
    fake.has_e9 = true;
    config.debug_port = true;
    console_init(&config);
    assert_int_equal(fake.nsent, 0);
    assert_non_null(strstr(fake.e9, "\nconsole: no serial port, port e9"));
}

static void a_port_in_memory_is_mapped(void **state)
{
    (void)state;
    struct console_config config = config_of(0, false);
    const struct uart_candidate spcr = {
        .place = {UART_MEMORY, FAKE_MEMORY, 4, 4, true},
          .from = UART_FROM_SPCR
    };
    config.serial = true;
    config.uarts.count = 0;
    uart_add(&config.uarts, &spcr);
    fake.stride = fake.width = 4;
    fake.divisor = 1;
    console_init(&config);
    assert_non_null(strstr(fake.sent, "\r\nconsole: serial port mmio32:fe034000 (SPCR), "));
    config.map = NULL;
    fake.nsent = 0;
    console_init(&config);
    assert_int_equal(fake.nsent, 0);
}

static unsigned pci_looks;

// A serial controller at 00:03.0, its ports where the fake UART is.
static u32 pci_with_serial(u32 address, const u32 *write)
{
    pci_looks++;
    if (write || (address & 0xffffff00) != 0x80001800)
        return ~0u;
    switch (address & 0xff) {
    case 0x00:
        return 0x00021b36;
    case 0x04:
        return 1;
    case 0x08:
        return 0x07000201;
    case 0x10:
        return FAKE_BASE | 1;
    default:
        return 0;
    }
}

static void pci_is_searched_when_nothing_else_works(void **state)
{
    (void)state;
    struct console_config config = config_of(0, false);
    config.serial = config.search_pci = true;
    fake.pci = pci_with_serial;
    pci_looks = 0;
    console_init(&config);
    assert_int_equal(pci_looks, 0);
    config.uarts.count = 1; // COM1 only, where nothing is
    fake.nsent = 0;
    console_init(&config);
    assert_non_null(strstr(fake.sent, "console: serial port 2f8 (PCI 00:03.0), no port e9"));
    assert_true(pci_looks > 0);
}

static void input_may_come_from_pci(void **state)
{
    (void)state;
    struct console_config config = config_of(0, false);
    config.search_pci = true;
    config.uarts.count = 1;
    fake.pci = pci_with_serial;
    console_init(&config);
    expect_input_from(console_listen(NULL, NULL), FAKE_BASE);
}

static void all_ports_that_work_are_listed(void **state)
{
    (void)state;
    char tail[200] = "";
    struct console_config config = config_of(FAKE_BASE, false);
    fake.mirrored = true; // COM1 and COM2
    fake.pci = pci_with_serial;
    console_init(&config);
    fake.divisor = 1;
    console_list_serial();
    log_ring_tail(tail, 85);
    assert_string_equal(tail,
                        "serial port 2f8 (command line): the console's\nserial port 3f8 (COM1)\n");
    fake_reset(FAKE_NOTHING);
    config.serial = false;
    console_init(&config);
    console_list_serial();
    memset(tail, 0, sizeof(tail));
    log_ring_tail(tail, 16);
    assert_string_equal(tail, "no serial port\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_is_found_is_reported, fresh),
        cmocka_unit_test_setup(nothing_found_is_survived, fresh),
        cmocka_unit_test_setup(only_what_is_allowed_is_looked_for, fresh),
        cmocka_unit_test_setup(the_log_so_far_is_replayed, fresh),
        cmocka_unit_test_setup(newlines_are_crlf_on_the_serial_port_only, fresh),
        cmocka_unit_test_setup(streams_and_screen_can_be_written_apart, fresh),
        cmocka_unit_test_setup(the_alarm_clears_and_colours_the_screen, fresh),
        cmocka_unit_test_setup(a_dropped_screen_is_left_alone, fresh),
        cmocka_unit_test_setup(a_framebuffer_is_drawn_on, fresh),
        cmocka_unit_test_setup(a_screen_it_cannot_show_is_named, fresh),
        cmocka_unit_test_setup(input_comes_from_the_port_the_log_goes_to, fresh),
        cmocka_unit_test_setup(input_comes_from_a_port_where_nothing_goes, fresh),
        cmocka_unit_test_setup(the_first_port_that_works_is_taken, fresh),
        cmocka_unit_test_setup(a_port_that_was_named_has_no_stand_in, fresh),
        cmocka_unit_test_setup(a_port_in_memory_is_mapped, fresh),
        cmocka_unit_test_setup(pci_is_searched_when_nothing_else_works, fresh),
        cmocka_unit_test_setup(input_may_come_from_pci, fresh),
        cmocka_unit_test_setup(all_ports_that_work_are_listed, fresh),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
