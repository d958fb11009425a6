// SPDX-License-Identifier: MIT
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/string.h"

static void copy_fits_or_is_cut(void **state)
{
    (void)state;
    char buf[6] = "xxxxx";
    assert_true(str_copy(buf, sizeof(buf), "abcde"));
    assert_string_equal(buf, "abcde");
    assert_false(str_copy(buf, sizeof(buf), "uvwxyz"));
    assert_string_equal(buf, "uvwxy");
    assert_true(str_copy(buf, sizeof(buf), ""));
    assert_string_equal(buf, "");
    assert_false(str_copy(buf, 1, "a"));
    assert_string_equal(buf, "");
    assert_true(str_copy(buf, 1, ""));
}

static void glob_matches(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *text;
        bool match;
    } rows[] = {
        {"",          "",                 true },
        {"",          "a",                false},
        {"*",         "",                 true },
        {"*",         "anything",         true },
        {"**",        "",                 true },
        {"?",         "",                 false},
        {"?",         "a",                true },
        {"?",         "ab",               false},
        {"abc",       "abc",              true },
        {"abc",       "abcd",             false},
        {"abcd",      "abc",              false},
        {"ept.*",     "ept.maps_1g",      true },
        {"ept.*",     "vmx.maps_1g",      false},
        {"*.maps_1g", "ept.maps_1g",      true },
        {"*a*b",      "xaxbxaxb",         true },
        {"*a*b",      "xaxbxaxbx",        false},
        {"a*b?c",     "axxbxbyc",         true },
        {"*ab",       "aab",              true },
        {"a*a",       "a",                false},
        {"*aaaaab",   "aaaaaaaaaaaaaaab", true },
        {"*?",        "",                 false},
        {"?*?",       "ab",               true },
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        if (str_glob(rows[i].pattern, rows[i].text) != rows[i].match)
            fail_msg("glob \"%s\" \"%s\"", rows[i].pattern, rows[i].text);
    }
}

// Exponential in a matcher that reconsiders every star.
static void glob_is_bounded(void **state)
{
    (void)state;
    char text[2001];
    for (size_t i = 0; i < 2000; i++)
        text[i] = 'a';
    text[2000] = '\0';
    assert_false(str_glob("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*ab", text));
}

static void numbers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool suffix;
        int err;
        u64 value;
    } rows[] = {
        {"0",                     false, OK,       0                     },
        {"00012",                 false, OK,       12                    },
        {"18446744073709551615",  false, OK,       UINT64_MAX            },
        {"18446744073709551616",  false, E_RANGE,  0                     },
        {"99999999999999999999",  false, E_RANGE,  0                     },
        {"999999999999999999999", false, E_RANGE,  0                     },
        {"0x0",                   false, OK,       0                     },
        {"0xffffffffffffffff",    false, OK,       UINT64_MAX            },
        {"0xFfFfFfFfFfFfFfFf0",   false, E_RANGE,  0                     },
        {"0XaB",                  false, OK,       0xab                  },
        {"0x",                    false, E_FORMAT, 0                     },
        {"0xg",                   false, E_FORMAT, 0                     },
        {"",                      false, E_FORMAT, 0                     },
        {"",                      true,  E_FORMAT, 0                     },
        {"-1",                    false, E_FORMAT, 0                     },
        {"+1",                    false, E_FORMAT, 0                     },
        {" 1",                    false, E_FORMAT, 0                     },
        {"1 ",                    false, E_FORMAT, 0                     },
        {"1a",                    false, E_FORMAT, 0                     },
        {"a",                     false, E_FORMAT, 0                     },
        {"1K",                    false, E_FORMAT, 0                     },
        {"1K",                    true,  OK,       1024                  },
        {"512M",                  true,  OK,       512ull << 20          },
        {"4G",                    true,  OK,       4ull << 30            },
        {"0x10K",                 true,  OK,       16 << 10              },
        {"17179869183G",          true,  OK,       17179869183ull << 30  },
        {"17179869184G",          true,  E_RANGE,  0                     },
        {"18014398509481983K",    true,  OK,       UINT64_MAX >> 10 << 10},
        {"18014398509481984K",    true,  E_RANGE,  0                     },
        {"K",                     true,  E_FORMAT, 0                     },
        {"1T",                    true,  E_FORMAT, 0                     },
        {"1m",                    true,  E_FORMAT, 0                     },
        {"1KK",                   true,  E_FORMAT, 0                     },
        {"99999999999999999999x", false, E_FORMAT, 0                     },
        {"0xK",                   true,  E_FORMAT, 0                     },
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        u64 value = 0;
        size_t length = 0;
        while (rows[i].text[length])
            length++;
        int err = str_to_u64(rows[i].text, length, rows[i].suffix, &value);
        if (err != rows[i].err || (err == OK && value != rows[i].value))
            fail_msg("\"%s\": %s, %llu", rows[i].text, err_name(err), (unsigned long long)value);
    }
}

static void numbers_end_at_their_length(void **state)
{
    (void)state;
    u64 value;
    const char digits[3] = {'1', '2', '3'}; // no terminator: the sanitizer sees a read too far
    assert_int_equal(str_to_u64(digits, 3, true, &value), OK);
    assert_int_equal(value, 123);
    assert_int_equal(str_to_u64("12,34", 2, true, &value), OK);
    assert_int_equal(value, 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copy_fits_or_is_cut),
        cmocka_unit_test(glob_matches),
        cmocka_unit_test(glob_is_bounded),
        cmocka_unit_test(numbers),
        cmocka_unit_test(numbers_end_at_their_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
