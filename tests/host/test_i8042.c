// SPDX-License-Identifier: MIT
// The keyboard controller without a keyboard: what each command answers, the status that goes with
// it, the interrupt, and the two ways to reset.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/lib/err.h"
#include "devices/i8042.h"
#include "tests/host/device_rig.h"

#define DATA    0x60
#define COMMAND 0x64

enum {
    FULL = 0x01,
    SYSTEM = 0x04,
    AFTER_COMMAND = 0x08,
    UNLOCKED = 0x10,
    AUX = 0x20,
    TIMED_OUT = 0x40,
    IDLE = UNLOCKED | SYSTEM,
};

struct fixture {
    struct rig rig;
    struct i8042 kbc;
    unsigned asked;
};

static void ask(void *ctx, const char *by)
{
    struct fixture *f = ctx;
    f->asked++;
    assert_string_equal(by, "the keyboard controller");
}

static struct fixture *fresh(void)
{
    static struct fixture f;
    f = (struct fixture){0};
    rig_init(&f.rig, 1000000000);
    i8042_init(&f.kbc, (struct reset_pin){.ask = ask, .ctx = &f}, rig_pin(&f.rig));
    assert_int_equal(i8042_attach(&f.kbc, &f.rig.bus), OK);
    return &f;
}

static u8 status(struct fixture *f)
{
    return inb(&f->rig, COMMAND);
}

static void command(struct fixture *f, u8 value)
{
    outb(&f->rig, COMMAND, value);
}

static void command_with(struct fixture *f, u8 value, u8 parameter)
{
    command(f, value);
    assert_int_equal(status(f) & (AFTER_COMMAND | FULL), AFTER_COMMAND);
    outb(&f->rig, DATA, parameter);
}

// The answer to a command, which must be there, alone, and not the keyboard's.
static u8 ask_for(struct fixture *f, u8 value)
{
    command(f, value);
    assert_int_equal(status(f) & (FULL | AUX | TIMED_OUT | AFTER_COMMAND), FULL | AFTER_COMMAND);
    u8 answer = inb(&f->rig, DATA);
    assert_int_equal(status(f) & FULL, 0);
    assert_int_equal(f->rig.irq.calls, 0);
    return answer;
}

static void starts_tested_and_empty(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    assert_int_equal(status(f), IDLE);
    assert_int_equal(inb(&f->rig, DATA), 0);
    assert_int_equal(ask_for(f, 0x20), 0x65);
    assert_int_equal(ask_for(f, 0xd0), 0xc3);
    assert_int_equal(f->asked, 0);
}

static void tests_answer(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    assert_int_equal(ask_for(f, 0xaa), 0x55);
    assert_int_equal(status(f), IDLE | AFTER_COMMAND);
    assert_int_equal(ask_for(f, 0x20), 0x74); // keyboard off, no interrupt
    assert_int_equal(ask_for(f, 0xab), 0x00);
    assert_int_equal(ask_for(f, 0xa9), 0x02); // no second port
    assert_int_equal(ask_for(f, 0xc0), 0x80);
}

static void command_byte_is_kept_but_for_the_second_port(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    for (u32 value = 0; value < 256; value++) {
        command_with(f, 0x60, (u8)value);
        assert_int_equal(status(f), UNLOCKED | (value & SYSTEM));
        assert_int_equal(ask_for(f, 0x20), (value & 0x77) | 0x20);
    }
    command_with(f, 0x60, 0x05);
    command(f, 0xad);
    assert_int_equal(ask_for(f, 0x20), 0x35);
    command(f, 0xae);
    assert_int_equal(ask_for(f, 0x20), 0x25);
    command(f, 0xa8);
    assert_int_equal(ask_for(f, 0x20), 0x25);
    command(f, 0xa7);
    assert_int_equal(ask_for(f, 0x20), 0x25);
}

static void keyboard_does_not_take_bytes(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    for (u32 value = 0; value < 256; value++) {
        outb(&f->rig, DATA, (u8)value);
        assert_int_equal(status(f), IDLE | FULL | TIMED_OUT);
        assert_true(f->rig.irq.level);
        assert_int_equal(inb(&f->rig, DATA), 0xfe);
        assert_false(f->rig.irq.level);
        assert_int_equal(status(f), IDLE);
        assert_int_equal(inb(&f->rig, DATA), 0xfe); // the buffer still shows it
    }
    assert_int_equal(f->rig.irq.rises, 256);
}

static void second_port_does_not_take_bytes(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    command_with(f, 0xd4, 0xf2);
    assert_int_equal(status(f), IDLE | FULL | AUX | TIMED_OUT);
    assert_int_equal(inb(&f->rig, DATA), 0xfe);
    assert_int_equal(status(f), IDLE);
    assert_int_equal(f->rig.irq.calls, 0);
}

static void buffers_loop_back(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    command_with(f, 0xd2, 0x5a);
    assert_int_equal(status(f), IDLE | FULL);
    assert_true(f->rig.irq.level);
    command(f, 0xd0);
    assert_int_equal(inb(&f->rig, DATA), 0xd3); // the interrupt's line, as it was
    assert_false(f->rig.irq.level);
    command_with(f, 0xd3, 0xa5);
    assert_int_equal(status(f), IDLE | FULL | AUX);
    assert_int_equal(inb(&f->rig, DATA), 0xa5);
    assert_int_equal(f->rig.irq.rises, 1);
}

static void interrupt_follows_its_enable(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    command_with(f, 0x60, 0x64);
    outb(&f->rig, DATA, 0xff);
    assert_false(f->rig.irq.level);
    // The byte waits while the command byte is written.
    command(f, 0x60);
    outb(&f->rig, DATA, 0x65);
    assert_true(f->rig.irq.level);
    command(f, 0x60);
    outb(&f->rig, DATA, 0x64);
    assert_false(f->rig.irq.level);
    assert_int_equal(inb(&f->rig, DATA), 0xfe);
}

static void answer_replaces_what_was_not_fetched(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    outb(&f->rig, DATA, 0xf2);
    assert_true(f->rig.irq.level);
    command(f, 0xaa);
    assert_false(f->rig.irq.level);
    assert_int_equal(status(f), IDLE | FULL | AFTER_COMMAND);
    assert_int_equal(inb(&f->rig, DATA), 0x55);
}

// A command that comes instead of the byte another waits for takes its place.
static void command_cancels_the_one_before(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    command(f, 0xd1);
    command(f, 0xff);
    outb(&f->rig, DATA, 0x00); // to the keyboard, not the output port
    assert_int_equal(f->asked, 0);
    assert_int_equal(inb(&f->rig, DATA), 0xfe);
    command_with(f, 0xd2, 0x11);
    assert_int_equal(inb(&f->rig, DATA), 0x11);
    outb(&f->rig, DATA, 0x22); // one byte a command
    assert_int_equal(inb(&f->rig, DATA), 0xfe);
}

static void a20_by_the_output_port_and_by_commands(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    command_with(f, 0xd1, 0xdd);
    assert_int_equal(ask_for(f, 0xd0), 0xcd);
    command_with(f, 0xd1, 0xdf);
    assert_int_equal(ask_for(f, 0xd0), 0xcf);
    command(f, 0xdd);
    assert_int_equal(ask_for(f, 0xd0), 0xcd);
    command(f, 0xdf);
    assert_int_equal(ask_for(f, 0xd0), 0xcf);
    assert_int_equal(f->asked, 0);
}

static void pulses_of_line_0_reset(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    unsigned want = 0;
    for (u32 value = 0xf0; value <= 0xff; value++) {
        command(f, (u8)value);
        want += !(value & 1);
        assert_int_equal(f->asked, want);
    }
    command_with(f, 0xd1, 0xfe);
    assert_int_equal(f->asked, want + 1);
    assert_int_equal(status(f) & FULL, 0);
}

static void unknown_commands_answer_nothing(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    static const u8 known[] = {0x20, 0xa9, 0xaa, 0xab, 0xc0, 0xd0};
    for (u32 value = 0; value < 256; value++) {
        command(f, (u8)value);
        assert_int_equal((status(f) & FULL) != 0, memchr(known, (int)value, sizeof(known)) != NULL);
        assert_true(f->asked == 0 || value >= 0xf0);
        inb(&f->rig, DATA);
    }
}

static void reset_empties_and_enables(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    command_with(f, 0xd1, 0x01);
    outb(&f->rig, DATA, 0xed);
    command(f, 0xd1);
    assert_true(f->rig.irq.level);
    bus_reset(&f->rig.bus);
    assert_false(f->rig.irq.level);
    assert_int_equal(status(f), IDLE);
    outb(&f->rig, DATA, 0x00); // the D1H is forgotten
    assert_int_equal(f->asked, 0);
    assert_int_equal(inb(&f->rig, DATA), 0xfe);
    f->rig.irq = (struct rig_line){0};
    assert_int_equal(ask_for(f, 0xd0), 0xc3);
    assert_int_equal(ask_for(f, 0x20), 0x65);
    // Wider accesses reach nobody: the ports stand alone.
    assert_int_equal(rig_in(&f->rig, DATA, 2), 0xffff);
    assert_int_equal(rig_in(&f->rig, COMMAND, 4), 0xffffffff);
    assert_int_equal(f->rig.bus.unclaimed[IO_PORT], 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starts_tested_and_empty),
        cmocka_unit_test(tests_answer),
        cmocka_unit_test(command_byte_is_kept_but_for_the_second_port),
        cmocka_unit_test(keyboard_does_not_take_bytes),
        cmocka_unit_test(second_port_does_not_take_bytes),
        cmocka_unit_test(buffers_loop_back),
        cmocka_unit_test(interrupt_follows_its_enable),
        cmocka_unit_test(answer_replaces_what_was_not_fetched),
        cmocka_unit_test(command_cancels_the_one_before),
        cmocka_unit_test(a20_by_the_output_port_and_by_commands),
        cmocka_unit_test(pulses_of_line_0_reset),
        cmocka_unit_test(unknown_commands_answer_nothing),
        cmocka_unit_test(reset_empties_and_enables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
