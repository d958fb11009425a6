// SPDX-License-Identifier: MIT
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/selftest.h"

static char output[2048];
static size_t output_length;
static unsigned runs;

static void collect(const char *text, size_t length)
{
    assert_true(output_length + length < sizeof(output));
    memcpy(output + output_length, text, length);
    output_length += length;
    output[output_length] = 0;
}

static int setup(void **state)
{
    (void)state;
    output_length = 0;
    output[0] = 0;
    runs = 0;
    log_set_sink(collect, false);
    return 0;
}

static void passes(struct selftest_ctx *t)
{
    runs++;
    EXPECT(runs > 0);
    EXPECT_EQ(1 + 1, 2);
}

static void fails_at_expect(struct selftest_ctx *t)
{
    EXPECT(runs == 12345);
    runs++; // EXPECT ends the test
}

static void fails_at_expect_eq(struct selftest_ctx *t)
{
    EXPECT_EQ(runs + 0x10u, 0x20);
    runs++;
}

static void fails_twice(struct selftest_ctx *t)
{
    selftest_fail(t, "first %d", 1);
    selftest_fail(t, "second");
}

static void fails_with_a_long_story(struct selftest_ctx *t)
{
    selftest_fail(t, "%0200d", 7);
}

static void skips(struct selftest_ctx *t)
{
    selftest_skip(t, "no %s here", "HPET");
    selftest_skip(t, "again");
}

static void skips_then_fails(struct selftest_ctx *t)
{
    selftest_skip(t, "a reason");
    selftest_fail(t, "the failure");
    selftest_skip(t, "too late");
}

#define RUN(tests, glob, have)                                                                     \
    selftest_run(&(struct selftest_set){tests, tests + ARRAY_SIZE(tests)}, 1, glob, have)

static void expect_counts(struct selftest_result r, u32 passed, u32 failed, u32 skipped)
{
    assert_int_equal(r.passed, passed);
    assert_int_equal(r.failed, failed);
    assert_int_equal(r.skipped, skipped);
}

static void each_outcome_has_its_line(void **state)
{
    (void)state;
    static const struct selftest tests[] = {
        {"a.passes",      passes,             0, 0},
        {"a.expect_eq",   fails_at_expect_eq, 0, 0},
        {"a.fails_twice", fails_twice,        0, 0},
        {"a.skips",       skips,              0, 0},
        {"a.both",        skips_then_fails,   0, 0},
    };
    expect_counts(RUN(tests, NULL, 0), 1, 3, 1);
    assert_int_equal(runs, 1);
    const char *eq = strstr(output, "FAIL a.expect_eq: line ");
    assert_non_null(eq);
    assert_non_null(strstr(eq, ": runs + 0x10u is 0x11, not 0x20\n"));
    assert_ptr_equal(strstr(output, "PASS a.passes\n"), output);
    assert_non_null(strstr(output, "FAIL a.fails_twice: first 1\n"));
    assert_non_null(strstr(output, "SKIP a.skips: no HPET here\n"));
    assert_non_null(strstr(output, "FAIL a.both: the failure\n"));
    assert_non_null(strstr(output, "\n1 passed, 3 failed, 1 skipped\n"));
    assert_null(strstr(output, "second"));
}

static void expect_names_what_failed(void **state)
{
    (void)state;
    static const struct selftest tests[] = {
        {"a.expect", fails_at_expect, 0, 0}
    };
    expect_counts(RUN(tests, NULL, 0), 0, 1, 0);
    assert_int_equal(runs, 0);
    assert_non_null(strstr(output, ": runs == 12345\n"));
}

static void the_glob_chooses(void **state)
{
    (void)state;
    static const struct selftest tests[] = {
        {"host.one",  passes, 0, 0},
        {"host.two",  passes, 0, 0},
        {"guest.one", passes, 0, 0},
    };
    expect_counts(RUN(tests, "host.*", 0), 2, 0, 0);
    expect_counts(RUN(tests, "*.one", 0), 2, 0, 0);
    expect_counts(RUN(tests, "host.two", 0), 1, 0, 0);
    expect_counts(RUN(tests, "nothing", 0), 0, 0, 0);
    expect_counts(RUN(tests, NULL, 0), 3, 0, 0);
    assert_int_equal(runs, 8);
}

static void what_is_missing_is_named(void **state)
{
    (void)state;
    static const struct selftest tests[] = {
        {"a.none",  passes, NEEDS_NOTHING,                   0},
        {"a.vmx",   passes, NEEDS_VMX,                       0},
        {"a.both",  passes, NEEDS_VMX | NEEDS_UNRESTRICTED,  0},
        {"a.timer", passes, NEEDS_PREEMPTION,                0},
        {"a.x2",    passes, NEEDS_X2APIC,                    0},
        {"a.two",   passes, NEEDS_X2APIC | NEEDS_PREEMPTION, 0},
        {"a.odd",   passes, 1u << 31,                        0},
    };
    expect_counts(RUN(tests, NULL, NEEDS_VMX), 2, 0, 5);
    assert_int_equal(runs, 2);
    assert_non_null(strstr(output, "PASS a.vmx\n"));
    assert_non_null(strstr(output, "SKIP a.both: needs unrestricted guest\n"));
    assert_non_null(strstr(output, "SKIP a.timer: needs VMX-preemption timer\n"));
    assert_non_null(strstr(output, "SKIP a.x2: needs x2APIC\n"));
    assert_non_null(strstr(output, "SKIP a.two: needs x2APIC\n")); // the first of them
    assert_non_null(strstr(output, "SKIP a.odd: needs something unknown\n"));
    expect_counts(RUN(tests, NULL, ~0u), 7, 0, 0);
}

static void a_long_text_is_cut(void **state)
{
    (void)state;
    static const struct selftest tests[] = {
        {"a.long", fails_with_a_long_story, 0, 0}
    };
    expect_counts(RUN(tests, NULL, 0), 0, 1, 0);
    size_t want = sizeof(((struct selftest_ctx *)0)->why) - 1;
    const char *line = strstr(output, "FAIL a.long: ");
    assert_non_null(line);
    assert_int_equal(strcspn(line, "\n"), strlen("FAIL a.long: ") + want);
}

static void passes_for_7(struct selftest_ctx *t)
{
    EXPECT_EQ(t->arg, 7);
    runs++;
}

static void sets_run_one_after_the_other(void **state)
{
    (void)state;
    static const struct selftest first[] = {
        {"a.first", passes, 0, 0}
    };
    static const struct selftest second[] = {
        {"b.seven", passes_for_7, 0, 7},
        {"b.eight", passes_for_7, 0, 8}
    };
    const struct selftest_set sets[] = {
        {first,  first + 1 },
        {first,  first     },
        {second, second + 2}
    };
    expect_counts(selftest_run(sets, 3, NULL, 0), 2, 1, 0);
    const char *a = strstr(output, "PASS a.first\n");
    assert_ptr_equal(a, output);
    assert_non_null(strstr(a, "PASS b.seven\nFAIL b.eight: "));
    output_length = 0;
    expect_counts(selftest_run(sets, 3, "b.*", 0), 1, 1, 0);
    expect_counts(selftest_run(sets, 1, "b.*", 0), 0, 0, 0);
}

static void no_tests_is_no_failure(void **state)
{
    (void)state;
    expect_counts(selftest_run(NULL, 0, NULL, 0), 0, 0, 0);
    assert_string_equal(output, "0 passed, 0 failed, 0 skipped\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(each_outcome_has_its_line, setup),
        cmocka_unit_test_setup(expect_names_what_failed, setup),
        cmocka_unit_test_setup(the_glob_chooses, setup),
        cmocka_unit_test_setup(what_is_missing_is_named, setup),
        cmocka_unit_test_setup(a_long_text_is_cut, setup),
        cmocka_unit_test_setup(sets_run_one_after_the_other, setup),
        cmocka_unit_test_setup(no_tests_is_no_failure, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
