// SPDX-License-Identifier: MIT
// The log in memory: what is written can be found again, whatever else is in the memory cannot.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/ramlog.h"
#include "boot/lastlog.h"

static u8 area[RAMLOG_BYTES], copy[RAMLOG_BYTES];
static u8 memory_after_reset[RAMLOG_BYTES]; // what was flushed
static struct ramlog written;

static void flush(const volatile void *at, size_t size)
{
    size_t offset = (size_t)((const volatile u8 *)at - area);
    assert_true(offset + size <= sizeof(area));
    memcpy(memory_after_reset + offset, area + offset, size);
}

static int fresh(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(area); i++)
        area[i] = (u8)(i * 7 + (i >> 8));
    memcpy(memory_after_reset, area, sizeof(area));
    ramlog_start(&written, area, 1, flush);
    return 0;
}

static void say(const char *text)
{
    ramlog_write(&written, text, strlen(text));
}

// All lines of the latest log, each with "|" behind it.
static const char *found_in(const void *memory)
{
    static char all[2 * RAMLOG_TEXT];
    struct ramlog_old old;
    char line[100];
    all[0] = '\0';
    if (!ramlog_find(memory, &old))
        return NULL;
    size_t used = 0;
    while (ramlog_next_line(&old, line, sizeof(line)))
        used += (size_t)snprintf(all + used, sizeof(all) - used, "%s|", line);
    return all;
}

static void what_was_written_is_found(void **state)
{
    (void)state;
    assert_string_equal(found_in(area), "");
    say("first\nsecond");
    say(" goes on\n\nla");
    assert_string_equal(found_in(area), "first|second goes on||la|");
    assert_string_equal(found_in(memory_after_reset), "first|second goes on||la|");
    say("st\n");
    assert_string_equal(found_in(area), "first|second goes on||last|");
}

static void arbitrary_memory_holds_no_log(void **state)
{
    (void)state;
    memset(area, 0, sizeof(area));
    assert_null(found_in(area));
    memset(area, 0xff, sizeof(area));
    assert_null(found_in(area));
    srand(1);
    for (unsigned round = 0; round < 50; round++) {
        for (size_t i = 0; i < sizeof(area); i++)
            area[i] = (u8)rand();
        memcpy(area, "Corbel01", 8);
        assert_null(found_in(area));
    }
}

// Memory that loses a bit here or there loses the log, not its truth.
static void every_flipped_bit_is_noticed(void **state)
{
    (void)state;
    say("some lines\nof a log\n");
    memcpy(copy, area, sizeof(area));
    for (size_t i = 0; i < 28; i++)
        for (unsigned bit = 0; bit < 8; bit++) {
            copy[i] ^= (u8)(1u << bit);
            assert_null(found_in(copy));
            copy[i] ^= (u8)(1u << bit);
        }
    for (size_t i = 0; i < 20; i++)
        for (unsigned bit = 0; bit < 8; bit++) {
            copy[PAGE_SIZE + i] ^= (u8)(1u << bit);
            assert_null(found_in(copy));
            copy[PAGE_SIZE + i] ^= (u8)(1u << bit);
        }
    assert_non_null(found_in(copy));
    copy[PAGE_SIZE + 20] ^= 1; // beyond what was written
    assert_non_null(found_in(copy));
    // Two bytes exchanged.
    u8 byte = copy[PAGE_SIZE];
    copy[PAGE_SIZE] = copy[PAGE_SIZE + 2];
    copy[PAGE_SIZE + 2] = byte;
    assert_null(found_in(copy));
}

static void the_last_of_a_long_log_is_kept(void **state)
{
    (void)state;
    char line[64];
    for (unsigned i = 0; i < 10000; i++) {
        snprintf(line, sizeof(line), "this is line %u\n", i);
        say(line);
    }
    const char *all = found_in(area);
    assert_non_null(all);
    assert_true(strlen(all) > RAMLOG_TEXT - 20 && strlen(all) <= RAMLOG_TEXT);
    unsigned first = (unsigned)strtoul(all + strlen("this is line "), NULL, 10);
    size_t used = 0;
    for (unsigned i = first; i < 10000; i++) { // whole lines, none missing
        snprintf(line, sizeof(line), "this is line %u|", i);
        assert_memory_equal(all + used, line, strlen(line));
        used += strlen(line);
    }
    assert_int_equal(used, strlen(all));
    assert_string_equal(found_in(memory_after_reset), all);
    // And each byte of it counts, the overwritten ones no more.
    area[PAGE_SIZE + 12345] ^= 0x10;
    assert_null(found_in(area));
}

static void text_longer_than_the_ring_may_be_written_at_once(void **state)
{
    (void)state;
    static char text[3 * RAMLOG_TEXT];
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = i % 50 == 49 ? '\n' : (char)('a' + i / 50 % 26);
    ramlog_write(&written, text, sizeof(text));
    const char *all = found_in(area);
    assert_non_null(all);
    assert_in_range(strlen(all), RAMLOG_TEXT - 50, RAMLOG_TEXT);
    assert_string_equal(found_in(memory_after_reset), all);
}

static void only_what_can_be_printed_is_shown(void **state)
{
    (void)state;
    say("\x1b[2Jred\x7f\r\n\tand \xc3\xa4\n");
    ramlog_write(&written, "\0end", 4);
    assert_string_equal(found_in(area), "?[2Jred??|?and ??|?end|");
}

static void a_long_line_is_cut(void **state)
{
    (void)state;
    struct ramlog_old old;
    char line[8];
    say("0123456789\nabc\n");
    assert_true(ramlog_find(area, &old));
    assert_true(ramlog_next_line(&old, line, sizeof(line)));
    assert_string_equal(line, "0123456");
    assert_true(ramlog_next_line(&old, line, sizeof(line)));
    assert_string_equal(line, "abc");
    assert_false(ramlog_next_line(&old, line, sizeof(line)));
}

static void the_run_before_stays(void **state)
{
    (void)state;
    say("run 1\n");
    ramlog_start(&written, area, 2, NULL);
    assert_string_equal(found_in(area), "");
    say("run 2\n");
    assert_string_equal(found_in(area), "run 2|");
    // Its header lost, the one before is the latest again.
    area[64] ^= 1;
    assert_string_equal(found_in(area), "run 1|");
    ramlog_start(&written, area, 2, NULL);
    say("run 2 again\n");
    assert_string_equal(found_in(area), "run 2 again|");
    ramlog_start(&written, area, 3, NULL);
    say("run 3\n");
    assert_string_equal(found_in(area), "run 3|");
    area[0] ^= 1;
    assert_string_equal(found_in(area), "run 2 again|");
}

static void run_numbers_wrap(void **state)
{
    (void)state;
    area[0] ^= 1;
    ramlog_start(&written, area, ~0u, NULL);
    say("before\n");
    ramlog_start(&written, area, 0, NULL);
    say("after\n");
    assert_string_equal(found_in(area), "after|");
}

static void without_an_area_nothing_happens(void **state)
{
    (void)state;
    struct ramlog none = {0};
    ramlog_write(&none, "text", 4);
}

// ---- where it is kept -------------------------------------------------------------------------

static void the_place_is_the_first_that_is_free(void **state)
{
    (void)state;
    static const struct {
        struct mem_range free[3];
        u64 base; // 0: none
    } rows[] = {
        {{{0x1000, 0x9e000}, {0x600000, 0x1fa00000}},                         0xff00000},
        {{{0x1000, 0x9e000}, {0x600000, 0x3a00000}},                          0x3f00000},
        {{{0x600000, 0xff00000 - 0x600000 + RAMLOG_BYTES}},                   0xff00000},
        {{{0x600000, 0xff00000 - 0x600000 + RAMLOG_BYTES - 1}},               0x7f00000},
        {{{0xff00000, RAMLOG_BYTES}},                                         0xff00000},
        {{{0xff01000, 0x1000000}, {0x1f00000, 0x100000}, {0xf00000, 0x1000}}, 0x1f00000},
        {{{0xf00000, 0x100000}},                                              0xf00000 },
        {{{0x100000, 0xe00000}},                                              0        },
        {{{0xffff000000000000, ~0ull}},                                       0        },
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct mem_range place = {0, 0};
        assert_int_equal(lastlog_place(rows[i].free, 3, &place), rows[i].base != 0);
        assert_int_equal(place.base, rows[i].base);
        assert_int_equal(place.size, rows[i].base ? RAMLOG_BYTES : 0);
    }
}

static u8 *machine; // 17 MiB and more, from 15 MiB on

static const char *said(void)
{
    static char text[LOG_RING_SIZE + 1];
    text[log_ring_tail(text, LOG_RING_SIZE)] = '\0';
    return text;
}

static int fresh_machine(void **state)
{
    (void)state;
    machine = calloc(0x1100000, 1);
    phys_window = (uintptr_t)machine - 0xf00000;
    log_set_sink(NULL, false);
    for (unsigned i = 0; i < 3000; i++)
        log_raw("old line\n", 9);
    return 0;
}

static int end_machine(void **state)
{
    (void)state;
    free(machine);
    return 0;
}

static const struct mem_range small[] = {
    {0xf00000, 0x100000}
};
static const struct mem_range large[] = {
    {0xf00000, 0x1100000}
};

// One run that says text.
static void run(const struct mem_range *ranges, const char *text)
{
    struct mem_range place;
    assert_true(lastlog_place(ranges, 1, &place));
    struct ramlog *log = lastlog_open(ranges, 1, place, NULL);
    ramlog_write(log, text, strlen(text));
}

static void the_log_of_the_run_before_is_told_and_shown(void **state)
{
    (void)state;
    run(small, "one\ntwo\n");
    lastlog_tell();
    assert_null(strstr(said(), "are kept"));
    assert_false(lastlog_show());
    assert_non_null(strstr(said(), "error: no log of a run before"));
    run(small, "three\n");
    lastlog_tell();
    assert_non_null(strstr(said(), "log: 2 lines of the run before are kept (run=log shows them), "
                                   "the last is: two\n"));
    assert_true(lastlog_show());
    assert_non_null(strstr(said(), "\n| one\n| two\n"));
    assert_null(strstr(said(), "three"));
    run(small, "");
    lastlog_tell();
    assert_non_null(strstr(said(), "the last is: three\n"));
    run(small, "four\n"); // the empty run between them has nothing to tell
    run(small, "five\n");
    lastlog_tell();
    assert_non_null(strstr(said(), "the last is: four\n"));
}

static void it_is_found_where_the_last_run_kept_it(void **state)
{
    (void)state;
    run(small, "in the low place\n");
    run(large, "in the high place\n");
    lastlog_tell();
    assert_non_null(strstr(said(), "the last is: in the low place\n"));
    run(large, "again\n");
    lastlog_tell();
    assert_non_null(strstr(said(), "the last is: in the high place\n"));
    run(small, "lower\n"); // sees only what is free this time
    run(large, "");
    lastlog_tell();
    assert_non_null(strstr(said(), "the last is: again\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_was_written_is_found, fresh),
        cmocka_unit_test_setup(arbitrary_memory_holds_no_log, fresh),
        cmocka_unit_test_setup(every_flipped_bit_is_noticed, fresh),
        cmocka_unit_test_setup(the_last_of_a_long_log_is_kept, fresh),
        cmocka_unit_test_setup(text_longer_than_the_ring_may_be_written_at_once, fresh),
        cmocka_unit_test_setup(only_what_can_be_printed_is_shown, fresh),
        cmocka_unit_test_setup(a_long_line_is_cut, fresh),
        cmocka_unit_test_setup(the_run_before_stays, fresh),
        cmocka_unit_test_setup(run_numbers_wrap, fresh),
        cmocka_unit_test_setup(without_an_area_nothing_happens, fresh),
        cmocka_unit_test(the_place_is_the_first_that_is_free),
        cmocka_unit_test_setup_teardown(the_log_of_the_run_before_is_told_and_shown, fresh_machine,
                                        end_machine),
        cmocka_unit_test_setup_teardown(it_is_found_where_the_last_run_kept_it, fresh_machine,
                                        end_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
