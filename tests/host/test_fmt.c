// SPDX-License-Identifier: MIT
// fmt against the C library's vsnprintf.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86_64/lib/fmt.h"

#define BUF 512

// Formats with both and compares text and returned length, with room and with size bytes only.
static void same(size_t size, const char *format, ...)
{
    char ours[BUF], libc[BUF];
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    memset(ours, 'Z', sizeof(ours));
    memset(libc, 'Z', sizeof(libc));
    int want = vsnprintf(libc, size, format, args);
    int got = fmt_vsnprintf(ours, size, format, again);
    va_end(args);
    va_end(again);
    if (want != got || memcmp(ours, libc, sizeof(ours)) != 0)
        fail_msg("\"%s\": got %d \"%.*s\", libc %d \"%.*s\"", format, got, BUF, ours, want, BUF,
                 libc);
}

static const char *const flag_sets[] = {
    "", "-", "0", "+", " ", "#", "-0", "-+", "0+", "0 ", "0#", "-#", "+#", "-0+ #", "0+#",
};
static const char *const widths[] = {"", "1", "2", "8", "17", "40"};
static const char *const precisions[] = {"", ".", ".0", ".1", ".7", ".22", ".30"};
static const struct {
    const char *text;
    unsigned bytes;
} lengths[] = {
    {"hh", 1},
    {"h",  2},
    {"",   4},
    {"l",  8},
    {"ll", 8},
    {"z",  8},
    {"j",  8},
    {"t",  8},
};
static const u64 values[] = {
    0,
    1,
    7,
    8,
    9,
    10,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0x8000,
    0xffff,
    0x10000,
    0x7fffffff,
    0x80000000,
    0xffffffff,
    0x100000000,
    0x123456789abcdef0,
    0x7fffffffffffffff,
    0x8000000000000000,
    0xffffffffffffffff,
};

static void integer_formats_match_libc(void **state)
{
    (void)state;
    for (size_t f = 0; f < ARRAY_SIZE(flag_sets); f++)
        for (size_t w = 0; w < ARRAY_SIZE(widths); w++)
            for (size_t p = 0; p < ARRAY_SIZE(precisions); p++)
                for (size_t l = 0; l < ARRAY_SIZE(lengths); l++)
                    for (const char *conv = "diuxXo"; *conv; conv++) {
                        char format[64];
                        snprintf(format, sizeof(format), "<%%%s%s%s%s%c>", flag_sets[f], widths[w],
                                 precisions[p], lengths[l].text, *conv);
                        for (size_t v = 0; v < ARRAY_SIZE(values); v++) {
                            if (lengths[l].bytes == 8)
                                same(BUF, format, values[v]);
                            else
                                same(BUF, format, (unsigned)values[v]);
                        }
                    }
}

static void string_and_char_formats_match_libc(void **state)
{
    (void)state;
    const char *const texts[] = {"", "a", "hello", "a rather longer text than the field"};
    for (size_t t = 0; t < ARRAY_SIZE(texts); t++) {
        same(BUF, "<%s>", texts[t]);
        same(BUF, "<%10s>", texts[t]);
        same(BUF, "<%-10s>", texts[t]);
        same(BUF, "<%.3s>", texts[t]);
        same(BUF, "<%.0s>", texts[t]);
        same(BUF, "<%10.3s>", texts[t]);
        same(BUF, "<%-10.3s>", texts[t]);
        same(BUF, "<%*s>", 12, texts[t]);
        same(BUF, "<%*s>", -12, texts[t]);
        same(BUF, "<%.*s>", 2, texts[t]);
        same(BUF, "<%.*s>", -1, texts[t]);
    }
    same(BUF, "<%c%5c%-5c>", 'x', 'y', 'z');
    same(BUF, "<%c>", '\0');
    same(BUF, "<%%>");
    same(BUF, "no conversion at all");
    same(BUF, "");
}

static void arguments_follow_one_another(void **state)
{
    (void)state;
    same(BUF, "%s=%d %c%% %#llx|%5u|%-5hhd|%zu %s %lu %d %d %d", "name", -5, 'q', 0xdeadbeefcafeull,
         77u, (signed char)-3, (size_t)12, "tail", 99ul, 1, 2, 3);
    same(BUF, "%*.*d|%-*.*x|", 9, 4, -42, 9, 4, 42);
    same(BUF, "%*d|%d", -6, 5, 6);
}

static void pointers_match_libc(void **state)
{
    (void)state;
    int here;
    same(BUF, "<%p>", (void *)&here);
    same(BUF, "<%30p>", (void *)&here);
    same(BUF, "<%-30p>", (void *)&here);
    char text[16];
    assert_int_equal(fmt_snprintf(text, sizeof(text), "%p", NULL), 3);
    assert_string_equal(text, "0x0");
}

static void a_null_string_is_named(void **state)
{
    (void)state;
    char text[16];
    const char *volatile none = NULL;
    assert_int_equal(fmt_snprintf(text, sizeof(text), "%s", none), 6);
    assert_string_equal(text, "(null)");
}

static void every_size_truncates_as_libc_does(void **state)
{
    (void)state;
    for (size_t size = 0; size < 48; size++) {
        same(size, "%-12s|%+08d|%#20x|", "abc", 4711, 0xbeefu);
        same(size, "plain text");
        same(size, "%40s", "right");
        same(size, "%.40d", 5);
    }
}

// The bytes past size must stay untouched even for a width that exceeds every buffer.
static void huge_widths_are_cut_and_counted(void **state)
{
    (void)state;
    char text[8] = "#######";
    assert_int_equal(fmt_snprintf(text, 4, "%2000000000d", 7), 2000000000);
    assert_memory_equal(text, "   \0###", 8);
    assert_int_equal(fmt_snprintf(text, 4, "%*d", INT_MIN, 7), INT_MAX);
    assert_memory_equal(text, "7  \0###", 8);
    assert_int_equal(fmt_snprintf(text, 4, "%99999999999999999999d%.99999999999d", 7, 8), INT_MAX);
    assert_memory_equal(text, "   \0###", 8);
}

static void unknown_conversions_are_copied(void **state)
{
    (void)state;
    static const char *const formats[] = {"<%y>", "<%-5.3lf>", "<%n>", "<%", "%5", "%ll"};
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
        char text[32];
        const char *volatile format = formats[i];
        int length = fmt_snprintf(text, sizeof(text), format, 0);
        assert_string_equal(text, formats[i]);
        assert_int_equal(length, strlen(formats[i]));
    }
}

static void random_values_match_libc(void **state)
{
    (void)state;
    u64 x = 88172645463325252ull;
    for (int i = 0; i < 20000; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        u64 value = x >> (x % 64);
        same(BUF, "%lu %ld %lx %lo %d %u %hx %hhd", value, value, value, value, (int)value,
             (unsigned)value, (unsigned short)value, (signed char)value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integer_formats_match_libc),
        cmocka_unit_test(string_and_char_formats_match_libc),
        cmocka_unit_test(arguments_follow_one_another),
        cmocka_unit_test(pointers_match_libc),
        cmocka_unit_test(a_null_string_is_named),
        cmocka_unit_test(every_size_truncates_as_libc_does),
        cmocka_unit_test(huge_widths_are_cut_and_counted),
        cmocka_unit_test(unknown_conversions_are_copied),
        cmocka_unit_test(random_values_match_libc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
