// SPDX-License-Identifier: MIT
// The log's levels, ring, replay and rate limit.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "arch/x86_64/lib/log.h"

static char seen[64 * 1024];
static size_t seen_length;
static char tail[2 * LOG_RING_SIZE];

static void catch (const char *text, size_t length)
{
    assert_true(seen_length + length < sizeof(seen));
    memcpy(seen + seen_length, text, length);
    seen_length += length;
    seen[seen_length] = '\0';
}

static void forget(void)
{
    seen_length = 0;
    seen[0] = '\0';
}

static const char *tail_of(size_t size)
{
    size_t length = log_ring_tail(tail, size);
    assert_true(length <= size);
    tail[length] = '\0';
    return tail;
}

// Pushes everything older out of the ring, whose size is no multiple of the line's.
static void fill_ring(void)
{
    for (size_t i = 0; i <= LOG_RING_SIZE / 16; i++)
        log_raw("sixteen letters.\n", 17);
}

static int fresh(void **state)
{
    (void)state;
    log_set_sink(NULL, false);
    log_set_level(LOG_INFO);
    fill_ring();
    forget();
    return 0;
}

static void levels_choose_and_tag_lines(void **state)
{
    (void)state;
    log_set_sink(catch, false);
    log_error("one %d", 1);
    log_warn("two");
    log_info("three");
    log_debug("four");
    assert_string_equal(seen, "error: one 1\nwarning: two\nthree\n");
    forget();
    log_set_level(LOG_DEBUG);
    assert_int_equal(log_get_level(), LOG_DEBUG);
    log_debug("five");
    log_set_level(LOG_ERROR);
    log_warn("six");
    log_raw("raw", 3);
    assert_string_equal(seen, "five\nraw");
}

static void the_ring_keeps_hidden_lines_too(void **state)
{
    (void)state;
    log_info("shown");
    log_debug("hidden");
    log_raw("raw \x01\x02\x03\x04\x05.\n", 11);
    assert_string_equal(tail_of(30), "shown\nhidden\nraw \?\?\?\?\x05.\n");
}

static void tail_begins_at_a_line(void **state)
{
    (void)state;
    log_raw("aaaa\nbbbb\ncccc\n", 15);
    assert_string_equal(tail_of(15), "aaaa\nbbbb\ncccc\n");
    assert_string_equal(tail_of(14), "bbbb\ncccc\n");
    assert_string_equal(tail_of(10), "bbbb\ncccc\n");
    assert_string_equal(tail_of(9), "cccc\n");
    assert_string_equal(tail_of(0), "");
    log_raw("no newline at all", 17);
    assert_string_equal(tail_of(10), "ine at all");
}

static void the_ring_holds_its_size(void **state)
{
    (void)state;
    size_t length = strlen(tail_of(2 * LOG_RING_SIZE));
    assert_true(length <= LOG_RING_SIZE);
    assert_true(length > LOG_RING_SIZE - 18);
    assert_memory_equal(tail, "sixteen letters.\n", 17);
}

static void replay_obeys_the_level(void **state)
{
    (void)state;
    log_error("worst");
    log_debug("detail");
    log_info("plain");
    log_set_level(LOG_WARN);
    log_set_sink(catch, true);
    assert_non_null(strstr(seen, "letters.\nerror: worst\n"));
    assert_null(strstr(seen, "plain"));
    forget();
    log_set_level(LOG_DEBUG);
    log_set_sink(catch, true);
    const char *end = "\nerror: worst\ndetail\nplain\n";
    assert_string_equal(seen + seen_length - strlen(end), end);
    forget();
    log_set_sink(catch, false);
    assert_string_equal(seen, "");
}

// Text with no newline may stand before a line: its end is the line's mark.
static void replay_keeps_raw_text_and_lines_apart(void **state)
{
    (void)state;
    log_raw("\nprompt> ", 9);
    log_info("plain");
    log_debug("hidden");
    log_raw("raw\n", 4);
    log_set_sink(catch, true);
    const char *end = "\nprompt> \nplain\nraw\n";
    assert_string_equal(seen + seen_length - strlen(end), end);
}

static void a_line_does_not_begin_within_raw_text(void **state)
{
    (void)state;
    log_set_sink(catch, false);
    assert_false(log_mid_line());
    log_raw("login: ", 7);
    assert_true(log_mid_line());
    log_debug("hidden");
    assert_true(log_mid_line());
    log_info("line");
    assert_false(log_mid_line());
    log_info("line");
    log_raw("root", 4);
    log_raw("", 0);
    assert_true(log_mid_line());
    log_raw("\n", 1);
    log_warn("last");
    assert_string_equal(seen, "login: \nline\nline\nroot\nwarning: last\n");
}

static void a_long_line_is_cut(void **state)
{
    (void)state;
    char text[2000];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    log_set_sink(catch, false);
    log_error("%s", text);
    assert_int_equal(seen_length, 511);
    assert_memory_equal(seen, "error: xxx", 10);
    assert_string_equal(seen + seen_length - 5, "x...\n");
}

// The longest line that is not cut, and the shortest that is.
static void the_cut_is_exact(void **state)
{
    (void)state;
    char text[512];
    memset(text, 'y', sizeof(text));
    log_set_sink(catch, false);
    log_info("%.*s", 510, text);
    assert_int_equal(seen_length, 511);
    assert_null(strstr(seen, "..."));
    forget();
    log_info("%.*s", 511, text);
    assert_int_equal(seen_length, 511);
    assert_non_null(strstr(seen, "y...\n"));
}

static void crash(const char *text, size_t length)
{
    catch (text, length);
    log_crashed();
    log_set_sink(NULL, false);
    log_info("after the crash"); // hangs if it waits for the lock
}

// The last test: the log has no way back from it.
static void a_crash_while_the_lock_is_held_can_log(void **state)
{
    (void)state;
    log_set_sink(crash, false);
    log_info("before");
    assert_string_equal(seen, "before\n");
    assert_string_equal(tail_of(25), "before\nafter the crash\n");
}

static void repeated_lines_are_limited(void **state)
{
    (void)state;
    struct log_limit limit = {0};
    unsigned shown = 0;
    log_set_sink(catch, false);
    for (int i = 1; i <= 1000; i++) {
        forget();
        bool now = log_limited(&limit, LOG_WARN, "guest did %d", i);
        bool expected = i <= (int)LOG_LIMIT_BURST || (i & (i - 1)) == 0;
        assert_int_equal(now, expected);
        assert_int_equal(seen_length != 0, expected);
        if (i == 3)
            assert_string_equal(seen, "warning: guest did 3\n");
        if (i == 512)
            assert_non_null(strstr(seen, "guest did 512\nwarning: (512 like this"));
        shown += now;
    }
    assert_int_equal(limit.count, 1000);
    assert_int_equal(shown, LOG_LIMIT_BURST + 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(levels_choose_and_tag_lines, fresh),
        cmocka_unit_test_setup(the_ring_keeps_hidden_lines_too, fresh),
        cmocka_unit_test_setup(tail_begins_at_a_line, fresh),
        cmocka_unit_test_setup(the_ring_holds_its_size, fresh),
        cmocka_unit_test_setup(replay_obeys_the_level, fresh),
        cmocka_unit_test_setup(replay_keeps_raw_text_and_lines_apart, fresh),
        cmocka_unit_test_setup(a_line_does_not_begin_within_raw_text, fresh),
        cmocka_unit_test_setup(a_long_line_is_cut, fresh),
        cmocka_unit_test_setup(the_cut_is_exact, fresh),
        cmocka_unit_test_setup(repeated_lines_are_limited, fresh),
        cmocka_unit_test_setup(a_crash_while_the_lock_is_held_can_log, fresh),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
