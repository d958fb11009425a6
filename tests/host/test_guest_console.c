// SPDX-License-Identifier: MIT
// The guests' terminal: a host's UART of the tests' own at one end, the VMs' own UARTs at the
// other.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "boot/guest_console.h"
#include "tests/host/device_rig.h"
#include "tests/host/fake_uart.h"

enum { DATA = 0x3f8, IER, FCR, LCR, MCR, LSR };

#define HZ  1000000u // a tick a microsecond
#define VMS 3u

static struct rig rigs[VMS];
static struct vm vms[VMS];
static struct guest_console consoles[VMS];
static struct terminal terminal;
static struct serial host;
static struct serial_input host_input;
static unsigned work; // how often a poll was asked for

static char shown[200000];
static size_t nshown;

static void catch_text(const char *text, size_t length)
{
    assert_true(nshown + length < sizeof(shown));
    memcpy(shown + nshown, text, length);
    nshown += length;
    shown[nshown] = '\0';
}

static void ask(void)
{
    work++;
}

// What was shown since the last time.
static const char *taken(void)
{
    static char text[sizeof(shown)];
    memcpy(text, shown, nshown + 1);
    nshown = 0;
    shown[0] = '\0';
    return text;
}

// A VM of which there are a UART and time.
static void make_vm(unsigned i)
{
    static const char *const names[VMS] = {"a", "bb", "ccc"};
    struct rig *rig = &rigs[i];
    struct vm *vm = &vms[i];

    rig_init(rig, HZ);
    memset(vm, 0, sizeof(*vm));
    strcpy(vm->name, names[i]);
    vm->clock = &rig->clock;
    deadline_queue_init(&vm->timers, vm->heap, VM_DEADLINES);
    uart_init(&vm->com1, &(struct uart_config){.name = "com1",
                                               .port = UART_COM1,
                                               .clock = vm->clock,
                                               .queue = &vm->timers,
                                               .irq = rig_pin(rig),
                                               .out = guest_console_chardev(&consoles[i])});
    assert_int_equal(uart_attach(&vm->com1, &rig->bus), OK);
}

static void start_with(unsigned n, u64 poll, bool input)
{
    fake_reset(FAKE_WORKS);
    const struct uart_place place = UART_AT_PORT(FAKE_BASE);
    assert_int_equal(serial_init(&host, &fake_ports, &place, NULL), OK);
    serial_listen(&host, &host_input, ask);
    log_set_sink(NULL, false);
    log_raw("\n", 1);
    log_set_sink(catch_text, false);
    terminal_init(&terminal,
                  &(struct terminal_config){
                      .input = input ? &host : NULL, .poll = poll, .labels = n > 1, .work = ask});
    memset(consoles, 0, sizeof(consoles));
    for (unsigned i = 0; i < n; i++) {
        make_vm(i);
        guest_console_attach(&consoles[i], &terminal, &vms[i]);
    }
    work = 0;
    taken();
}

static void start(unsigned n)
{
    start_with(n, 0, true);
}

// The guest's driver: interrupt of received data, FIFO.
static void listen(unsigned i)
{
    outb(&rigs[i], FCR, 0xc1);
    outb(&rigs[i], MCR, 0x0b);
    outb(&rigs[i], IER, 0x01);
}

static void say(unsigned i, const char *text)
{
    for (; *text; text++)
        outb(&rigs[i], DATA, (u8)*text);
}

static void type(const void *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        fake_receive(((const u8 *)text)[i]);
    serial_receive(&host);
}

static void type_text(const char *text)
{
    type(text, strlen(text));
    terminal_poll(&terminal);
}

// All that the guest finds in its UART now, at most max bytes.
static size_t read_guest(unsigned i, char *text, size_t max)
{
    size_t n = 0;
    while (n < max && (inb(&rigs[i], LSR) & 1))
        text[n++] = (char)inb(&rigs[i], DATA);
    return n;
}

static const char *heard(unsigned i)
{
    static char text[10000];
    text[read_guest(i, text, sizeof(text) - 1)] = '\0';
    return text;
}

static void pass(unsigned i, u64 ticks)
{
    u64 end = rigs[i].now + ticks;
    while (deadline_next(&vms[i].timers) <= end) {
        rigs[i].now = deadline_next(&vms[i].timers);
        deadline_run(&vms[i].timers, rigs[i].now);
    }
    rigs[i].now = end;
}

// ---- output -------------------------------------------------------------------------------------

static void one_vm_is_shown_as_it_is(void **state)
{
    (void)state;
    start(1);
    say(0, "one\r\n\033[1mtwo\rlogin: ");
    assert_string_equal(taken(), "one\r\n\033[1mtwo\rlogin: ");
    log_info("three");
    assert_string_equal(taken(), "\nthree\n");
    assert_int_equal(deadline_next(&vms[0].timers), DEADLINE_NEVER);
}

static void lines_of_several_are_whole_and_labelled(void **state)
{
    (void)state;
    start(3);
    const char *text[VMS] = {"first line\n", "line two\r\n", "3rd line..\n"};
    for (unsigned at = 0; at < 11; at++)
        for (unsigned i = 0; i < VMS; i++)
            if (text[i][at])
                outb(&rigs[i], DATA, (u8)text[i][at]);
    assert_string_equal(taken(), "[bb] line two\n[a] first line\n[ccc] 3rd line..\n");
    say(1, "\n");
    assert_string_equal(taken(), "[bb] \n");
}

static void an_unfinished_line_is_shown_after_a_while(void **state)
{
    (void)state;
    start(2);
    say(0, "login: ");
    pass(0, HZ / 50 - 1);
    assert_string_equal(taken(), "");
    pass(0, 1);
    assert_string_equal(taken(), "[a] login: ");
    say(0, "ro");
    assert_string_equal(taken(), "ro");
    say(0, "ot\r\nok\r\n");
    assert_string_equal(taken(), "ot\n[a] ok\n");
    assert_int_equal(deadline_next(&vms[0].timers), DEADLINE_NEVER);
}

static void others_do_not_write_into_an_unfinished_line(void **state)
{
    (void)state;
    start(2);
    say(0, "login: ");
    pass(0, HZ);
    say(1, "hello\n");
    assert_string_equal(taken(), "[a] login: \n[bb] hello\n");
    say(0, "x\n");
    assert_string_equal(taken(), "[a] x\n");
    say(0, "login: ");
    pass(0, HZ);
    log_info("corbel");
    say(0, "y");
    pass(0, HZ);
    assert_string_equal(taken(), "[a] login: \ncorbel\n[a] y");
    say(1, "prompt> ");
    pass(1, HZ);
    assert_string_equal(taken(), "\n[bb] prompt> ");
    say(0, "z\n");
    assert_string_equal(taken(), "\n[a] z\n");
}

static void a_carriage_return_does_not_write_over_the_label(void **state)
{
    (void)state;
    start(2);
    say(0, "10%\r20%\r\r\n\r30%\n");
    assert_string_equal(taken(), "[a] 10%\n[a] 20%\n[a] 30%\n");
    say(0, "40%");
    pass(0, HZ);
    say(0, "\r50%");
    pass(0, HZ);
    assert_string_equal(taken(), "[a] 40%\n[a] 50%");
}

static void a_long_line_is_one_line(void **state)
{
    (void)state;
    start(2);
    char want[1100] = "[a] ";
    for (unsigned i = 0; i < 1000; i++) {
        outb(&rigs[0], DATA, (u8)('a' + i % 26));
        want[4 + i] = (char)('a' + i % 26);
    }
    say(0, "\n");
    strcat(want, "\n");
    assert_string_equal(taken(), want);
}

static void what_is_left_is_shown_at_the_end(void **state)
{
    (void)state;
    start(2);
    say(0, "last words");
    guest_console_detach(&consoles[0]);
    assert_string_equal(taken(), "[a] last words\nvm bb: has the keyboard\n");
    assert_int_equal(deadline_next(&vms[0].timers), DEADLINE_NEVER);
    say(0, "nobody hears\n");
    guest_console_detach(&consoles[0]);
    assert_string_equal(taken(), "");
    say(1, "still labelled\n");
    assert_string_equal(taken(), "[bb] still labelled\n");
}

// ---- input --------------------------------------------------------------------------------------

static void what_is_typed_reaches_the_guest(void **state)
{
    (void)state;
    start(1);
    listen(0);
    type("l", 1);
    assert_int_equal(work, 1);
    terminal_poll(&terminal);
    pass(0, HZ);
    assert_true(rigs[0].irq.level);
    assert_string_equal(heard(0), "l");
    type_text("s\r");
    assert_string_equal(heard(0), "s\r");
    assert_string_equal(taken(), "");
}

// A paste that is far more than the FIFO, the queue and the ring hold together, from a side that
// heeds nothing but the UART's own buffer, to a guest that reads now and then.
static void a_paste_loses_nothing(void **state)
{
    (void)state;
    u64 seed = 1;
    static u8 text[19000], got[19000];
    size_t ngot = 0;

    start(1);
    listen(0);
    for (size_t i = 0; i < sizeof(text); i++)
        do
            text[i] = (u8)rig_random(&seed);
        while (text[i] == KEY_LEAVE);
    type(text, sizeof(text));
    while (ngot < sizeof(got)) {
        if (fake.ier & 1 && fake.nreceived != fake.next_received)
            serial_receive(&host); // its interrupt
        if (work) {
            work = 0;
            terminal_poll(&terminal);
        }
        pass(0, 10000); // the guest's timeout interrupt, if no other
        assert_true(rigs[0].irq.level);
        size_t some = rig_random(&seed) % 40;
        some = some < sizeof(got) - ngot ? some : sizeof(got) - ngot;
        ngot += read_guest(0, (char *)got + ngot, some);
    }
    assert_memory_equal(got, text, sizeof(text));
    assert_string_equal(heard(0), "");
    assert_int_equal(host_input.overruns, 0);
}

static void the_port_is_held_back_while_the_guest_is_deaf(void **state)
{
    (void)state;
    start(1);
    listen(0);
    for (unsigned i = 0; i < UART_FIFO + CONSOLE_INPUT + SERIAL_RING + 5; i++)
        fake_receive('x');
    for (unsigned i = 0; i < 5; i++) {
        serial_receive(&host);
        terminal_poll(&terminal);
    }
    assert_int_equal(fake.nreceived - fake.next_received, 5);
    assert_int_equal(fake.mcr & 2, 0); // RTS
}

static void a_guest_without_interrupts_gets_a_byte_at_a_time(void **state)
{
    (void)state;
    start(1);
    outb(&rigs[0], FCR, 0x01);
    type_text("typed ahead");
    assert_int_equal(uart_room(&vms[0].com1), UART_FIFO);
    assert_int_equal(inb(&rigs[0], LSR) & 1, 1); // it looks, and there one is
    assert_int_equal(uart_room(&vms[0].com1), UART_FIFO - 1);
    outb(&rigs[0], FCR, 0x07); // a driver starts: that one is lost
    outb(&rigs[0], IER, 0x01);
    assert_string_equal(heard(0), "yped ahead");
}

static void a_guest_that_clears_its_fifo_is_fed_again(void **state)
{
    (void)state;
    start(1);
    listen(0);
    char text[101] = "";
    for (unsigned i = 0; i < 100; i++)
        text[i] = (char)(' ' + i % 90);
    type_text(text);
    outb(&rigs[0], FCR, 0x03);
    assert_string_equal(heard(0), text + UART_FIFO);
}

static void a_guest_in_loopback_is_fed_afterwards(void **state)
{
    (void)state;
    start(1);
    listen(0);
    outb(&rigs[0], MCR, 0x1b);
    type_text("outside");
    assert_string_equal(heard(0), "");
    outb(&rigs[0], MCR, 0x0b);
    assert_string_equal(heard(0), "outside");
}

static void ctrl_bracket_ends_all_vms(void **state)
{
    (void)state;
    start(3);
    type_text("a\x1d"
              "b");
    for (unsigned i = 0; i < VMS; i++) {
        assert_int_equal(vms[i].end, VM_END_LEFT);
        assert_true(vms[i].attention & VM_ATTENTION_STOP);
    }
    listen(0);
    assert_string_equal(heard(0), "ab");
}

static void ctrl_bracket_does_not_wait_for_a_deaf_guest(void **state)
{
    (void)state;
    start(1);
    char text[CONSOLE_INPUT + 100];
    memset(text, 'x', sizeof(text));
    type(text, sizeof(text));
    terminal_poll(&terminal);
    assert_int_equal(vms[0].end, VM_RUNNING);
    type_text("\x1d");
    assert_int_equal(vms[0].end, VM_END_LEFT);
}

static void ctrl_backslash_is_the_only_guests_own(void **state)
{
    (void)state;
    start(1);
    listen(0);
    type_text("a\x1c"
              "b");
    assert_string_equal(heard(0), "a\x1c"
                                  "b");
}

static void ctrl_backslash_gives_the_keyboard_on(void **state)
{
    (void)state;
    start(3);
    for (unsigned i = 0; i < VMS; i++)
        listen(i);
    type_text("one\x1ctwo\x1cthree\x1c"
              "one");
    assert_string_equal(taken(), "vm bb: has the keyboard\nvm ccc: has the keyboard\n"
                                 "vm a: has the keyboard\n");
    assert_string_equal(heard(0), "oneone");
    assert_string_equal(heard(1), "two");
    assert_string_equal(heard(2), "three");
}

static void a_deaf_guest_does_not_keep_the_keyboard(void **state)
{
    (void)state;
    start(2);
    listen(1);
    char text[CONSOLE_INPUT - 1];
    memset(text, 'x', sizeof(text));
    type(text, sizeof(text));
    type_text("\x1c"
              "hello");
    assert_string_equal(heard(1), "hello");
}

static void the_keyboard_goes_on_when_a_vm_ends(void **state)
{
    (void)state;
    start(3);
    for (unsigned i = 0; i < VMS; i++)
        listen(i);
    type_text("\x1c");
    taken();
    guest_console_detach(&consoles[0]); // not its own: nothing changes
    assert_string_equal(taken(), "");
    type_text("1");
    assert_string_equal(heard(1), "1");
    guest_console_detach(&consoles[1]);
    assert_string_equal(taken(), "vm ccc: has the keyboard\n");
    type_text("2\x1c"
              "3");
    assert_string_equal(heard(2), "23");
    guest_console_detach(&consoles[2]);
    type_text("nobody\x1d\x1c");
    assert_int_equal(terminal.count, 0);
}

static void the_keyboard_of_the_last_goes_to_the_first(void **state)
{
    (void)state;
    start(2);
    listen(0);
    type_text("\x1c");
    guest_console_detach(&consoles[1]);
    type_text("x");
    assert_string_equal(heard(0), "x");
}

static void what_waited_for_a_deaf_guest_goes_to_the_next(void **state)
{
    (void)state;
    start(2);
    listen(1);
    for (unsigned i = 0; i < CONSOLE_INPUT + SERIAL_RING; i++)
        fake_receive(i < CONSOLE_INPUT ? 'x' : 'y');
    serial_receive(&host);
    terminal_poll(&terminal);
    serial_receive(&host);
    assert_int_equal(fake.ier, 0); // nothing more will come by itself
    work = 0;
    guest_console_detach(&consoles[0]);
    assert_true(work > 0);
    terminal_poll(&terminal);
    assert_int_equal(heard(1)[0], 'y');
}

static void a_vm_started_anew_keeps_what_was_typed(void **state)
{
    (void)state;
    start(1);
    listen(0);
    type_text("0123456789abcdefghij");
    bus_reset(&rigs[0].bus); // what its FIFO held is lost
    assert_int_equal(uart_room(&vms[0].com1), 1);
    listen(0);
    assert_string_equal(heard(0), "ghij");
}

// ---- without an interrupt, without input --------------------------------------------------------

static void a_polled_port_is_looked_at(void **state)
{
    (void)state;
    start_with(2, 1000, true);
    listen(0);
    listen(1);
    fake_receive('x');
    pass(0, 999);
    assert_int_equal(work, 0);
    pass(0, 1);
    assert_int_equal(work, 1);
    terminal_poll(&terminal);
    assert_string_equal(heard(0), "x");
    pass(0, 5000);
    assert_int_equal(work, 1);
    fake_receive('y');
    pass(0, 1000);
    assert_int_equal(work, 2);
    terminal_poll(&terminal);
    assert_string_equal(heard(0), "y");
}

static void whoever_has_the_keyboard_looks(void **state)
{
    (void)state;
    start_with(2, 1000, true);
    assert_int_equal(deadline_next(&vms[0].timers), 1000);
    assert_int_equal(deadline_next(&vms[1].timers), DEADLINE_NEVER);
    type_text("\x1c");
    assert_int_equal(deadline_next(&vms[0].timers), DEADLINE_NEVER);
    assert_int_equal(deadline_next(&vms[1].timers), 1000);
    guest_console_detach(&consoles[1]);
    assert_int_equal(deadline_next(&vms[1].timers), DEADLINE_NEVER);
    assert_int_equal(deadline_next(&vms[0].timers), 1000);
    guest_console_detach(&consoles[0]);
    assert_int_equal(deadline_next(&vms[0].timers), DEADLINE_NEVER);
}

static void an_overrun_is_told_once(void **state)
{
    (void)state;
    start(1);
    fake.overrun = true;
    type_text("x");
    type_text("y");
    assert_string_equal(taken(), "warning: input: characters were lost: the serial port was "
                                 "overrun 1 times\n");
    fake.overrun = true;
    type_text("z");
    assert_string_equal(taken(), "warning: input: characters were lost: the serial port was "
                                 "overrun 2 times\n");
}

static void without_input_there_is_output(void **state)
{
    (void)state;
    start_with(2, 1000, false);
    terminal_announce(&terminal);
    terminal_poll(&terminal);
    assert_int_equal(deadline_next(&vms[0].timers), DEADLINE_NEVER);
    say(0, "hello\n");
    guest_console_detach(&consoles[0]);
    assert_string_equal(taken(), "[a] hello\n");
}

static void the_keys_are_announced(void **state)
{
    (void)state;
    start(1);
    terminal_announce(&terminal);
    assert_string_equal(taken(), "input: Ctrl-] ends the VM\n");
    start(2);
    terminal_announce(&terminal);
    assert_string_equal(taken(), "input: Ctrl-] ends all VMs, Ctrl-\\ gives the keyboard to the "
                                 "next one\nvm a: has the keyboard\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_vm_is_shown_as_it_is),
        cmocka_unit_test(lines_of_several_are_whole_and_labelled),
        cmocka_unit_test(an_unfinished_line_is_shown_after_a_while),
        cmocka_unit_test(others_do_not_write_into_an_unfinished_line),
        cmocka_unit_test(a_carriage_return_does_not_write_over_the_label),
        cmocka_unit_test(a_long_line_is_one_line),
        cmocka_unit_test(what_is_left_is_shown_at_the_end),
        cmocka_unit_test(what_is_typed_reaches_the_guest),
        cmocka_unit_test(a_paste_loses_nothing),
        cmocka_unit_test(the_port_is_held_back_while_the_guest_is_deaf),
        cmocka_unit_test(a_guest_without_interrupts_gets_a_byte_at_a_time),
        cmocka_unit_test(a_guest_that_clears_its_fifo_is_fed_again),
        cmocka_unit_test(a_guest_in_loopback_is_fed_afterwards),
        cmocka_unit_test(ctrl_bracket_ends_all_vms),
        cmocka_unit_test(ctrl_bracket_does_not_wait_for_a_deaf_guest),
        cmocka_unit_test(ctrl_backslash_is_the_only_guests_own),
        cmocka_unit_test(ctrl_backslash_gives_the_keyboard_on),
        cmocka_unit_test(a_deaf_guest_does_not_keep_the_keyboard),
        cmocka_unit_test(the_keyboard_goes_on_when_a_vm_ends),
        cmocka_unit_test(the_keyboard_of_the_last_goes_to_the_first),
        cmocka_unit_test(what_waited_for_a_deaf_guest_goes_to_the_next),
        cmocka_unit_test(a_vm_started_anew_keeps_what_was_typed),
        cmocka_unit_test(a_polled_port_is_looked_at),
        cmocka_unit_test(whoever_has_the_keyboard_looks),
        cmocka_unit_test(an_overrun_is_told_once),
        cmocka_unit_test(without_input_there_is_output),
        cmocka_unit_test(the_keys_are_announced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
