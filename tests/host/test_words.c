// SPDX-License-Identifier: MIT
// Lines of words, and the one line that says why something was refused.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/fmt.h"
#include "boot/why.h"
#include "boot/words.h"

static void lines_fall_into_words(void **state)
{
    static const struct {
        const char *line;
        const char *words[4];
    } rows[] = {
        {"",                   {NULL}                 },
        {" \t\r\n ",           {NULL}                 },
        {"one",                {"one"}                },
        {"  one  two\tthree ", {"one", "two", "three"}},
        {"a=b,c d",            {"a=b,c", "d"}         },
        {"\x01one\x1ftwo\x7f", {"one", "two\x7f"}     }, // DEL is no separator
        {"\xc3\xa4 \xff",      {"\xc3\xa4", "\xff"}   }, // nor is what is not ASCII
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        char *line = strdup(rows[i].line); // so that a byte too far is found
        const char *at = line;
        struct word word;
        for (unsigned k = 0; rows[i].words[k]; k++) {
            assert_true(word_next(&at, &word));
            assert_true(word_is(word, rows[i].words[k]));
        }
        assert_false(word_next(&at, &word));
        assert_int_equal(word.length, 0);
        assert_int_equal(*at, '\0');
        assert_false(word_next(&at, &word)); // and again
        free(line);
    }
}

static void words_fall_into_items(void **state)
{
    static const struct {
        const char *text;
        const char *items[4];
    } rows[] = {
        {"",      {""}           },
        {"a",     {"a"}          },
        {"a,b,c", {"a", "b", "c"}},
        {",",     {"", ""}       },
        {"a,",    {"a", ""}      },
        {",,b",   {"", "", "b"}  },
        {"a=b",   {"a=b"}        },
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct word rest = {rows[i].text, strlen(rows[i].text)}, item;
        for (unsigned k = 0; rows[i].items[k]; k++) {
            assert_true(word_split(&rest, ',', &item));
            assert_true(word_is(item, rows[i].items[k]));
        }
        assert_false(word_split(&rest, ',', &item));
    }
}

// An item ends where the word does, whatever stands behind it in memory.
static void items_stay_within_their_word(void **state)
{
    (void)state;
    struct word rest = {"ab,cd", 2}, item;
    assert_true(word_split(&rest, ',', &item));
    assert_true(word_is(item, "ab"));
    assert_false(word_split(&rest, ',', &item));
}

static void word_is_compares_all_of_it(void **state)
{
    static const struct {
        const char *word, *text;
        bool same;
    } rows[] = {
        {"run", "run",  true },
        {"run", "ru",   false},
        {"run", "runs", false},
        {"run", "Run",  false},
        {"",    "",     true },
        {"",    "a",    false},
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct word word = {rows[i].word, strlen(rows[i].word)};
        assert_int_equal(word_is(word, rows[i].text), rows[i].same);
    }
    assert_true(word_is((struct word){"runs", 3}, "run"));
}

static void word_copy_fits_or_leaves_things_alone(void **state)
{
    (void)state;
    for (size_t size = 1; size < 8; size++) {
        char dst[8] = "xxxxxxx";
        bool fits = size > 4;
        assert_int_equal(word_copy(dst, size, (struct word){"quite long", 4}), fits);
        assert_string_equal(dst, fits ? "quit" : "xxxxxxx");
    }
    char dst[1] = "";
    assert_true(word_copy(dst, 1, (struct word){"", 0}));
}

static void words_in_messages_are_cut(void **state)
{
    (void)state;
    char text[100];
    const char *longer = "0123456789012345678901234567890123456789tail";
    struct word word = {longer, strlen(longer)};
    fmt_snprintf(text, sizeof(text), "[%.*s]", WORD_ARGS(word));
    assert_string_equal(text, "[0123456789012345678901234567890123456789]");
    word.length = 3;
    fmt_snprintf(text, sizeof(text), "[%.*s]", WORD_ARGS(word));
    assert_string_equal(text, "[012]");
}

static void why_is_one_line_and_the_error(void **state)
{
    (void)state;
    struct why why;
    memset(&why, 0x7f, sizeof(why));
    assert_int_equal(why_set(&why, E_RANGE, "%s: %u is too much", "mem", 7u), E_RANGE);
    assert_string_equal(why.text, "mem: 7 is too much");
    assert_int_equal(why_set(&why, E_INVAL, "%0600d", 1), E_INVAL);
    assert_int_equal(strlen(why.text), WHY_SIZE - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_fall_into_words),
        cmocka_unit_test(words_fall_into_items),
        cmocka_unit_test(items_stay_within_their_word),
        cmocka_unit_test(word_is_compares_all_of_it),
        cmocka_unit_test(word_copy_fits_or_leaves_things_alone),
        cmocka_unit_test(words_in_messages_are_cut),
        cmocka_unit_test(why_is_one_line_and_the_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
