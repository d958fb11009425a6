// SPDX-License-Identifier: MIT
// Finding the function an address lies in; and the generator's output, compiled in as the kernel's
// own table would be.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86_64/symbols.h"

static const u32 offsets[] = {0, 0x10, 0x11, 0x3000, 0x4000, 0x80000000};
static const struct symbol_table table = {
    .base = 0xffffffff00100000,
    .size = 0x80000040,
    .count = ARRAY_SIZE(offsets),
    .offsets = offsets,
    .names = "start\0one_byte\0next\0\0far.part.0\0last\0",
};
// What symbol_find() looks in.
const struct symbol_table symbol_table = {
    .base = 0x1000, .size = 8, .count = 1, .offsets = offsets, .names = "only\0"};

static void expect(u64 addr, const char *name, u64 offset)
{
    u64 got = ~0ull;
    const char *found = symbol_lookup(&table, addr, &got);
    assert_non_null(found);
    assert_string_equal(found, name);
    assert_int_equal(got, offset);
    assert_ptr_equal(symbol_lookup(&table, addr, NULL), found);
}

static void addresses_find_their_function(void **state)
{
    (void)state;
    expect(table.base, "start", 0);
    expect(table.base + 0xf, "start", 0xf);
    expect(table.base + 0x10, "one_byte", 0);
    expect(table.base + 0x11, "next", 0);
    expect(table.base + 0x2fff, "next", 0x2fee);
    expect(table.base + 0x4000, "far.part.0", 0);
    expect(table.base + 0x7fffffff, "far.part.0", 0x7fffbfff);
    expect(table.base + 0x80000000, "last", 0);
    expect(table.base + 0x8000003f, "last", 0x3f);
}

static void addresses_outside_find_nothing(void **state)
{
    (void)state;
    assert_null(symbol_lookup(&table, 0, NULL));
    assert_null(symbol_lookup(&table, table.base - 1, NULL));
    assert_null(symbol_lookup(&table, table.base + 0x3000, NULL)); // between two parts of the text
    assert_null(symbol_lookup(&table, table.base + 0x3fff, NULL));
    assert_null(symbol_lookup(&table, table.base + 0x80000040, NULL));
    assert_null(symbol_lookup(&table, ~0ull, NULL));
}

static void an_empty_table_finds_nothing(void **state)
{
    (void)state;
    static const u32 none[] = {0};
    struct symbol_table empty = {.offsets = none, .names = ""};
    assert_null(symbol_lookup(&empty, 0, NULL));
    empty.size = 100; // a first function that does not begin at base
    assert_null(symbol_lookup(&empty, 5, NULL));
}

static void the_kernels_own_table_is_used(void **state)
{
    (void)state;
    u64 offset;
    assert_string_equal(symbol_find(0x1007, &offset), "only");
    assert_int_equal(offset, 7);
    assert_null(symbol_find(0x1008, &offset));
}

// Runs the generator on nm's output and returns its C file's text.
static const char *generate(const char *nm)
{
    static char text[4096];
    char command[2048];
    snprintf(command, sizeof(command), "printf '%s' | python3 tools/symbols.py", nm);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    text[fread(text, 1, sizeof(text) - 1, pipe)] = '\0';
    assert_int_equal(pclose(pipe), 0);
    return text;
}

static void the_generator_keeps_functions_in_reach(void **state)
{
    (void)state;
    const char *text = generate("                 U undefined\\n"
                                "0000000000000123 A an_absolute\\n"
                                "0000000000100000 T low_boot\\n"
                                "ffffffff80100000 R before\\n"
                                "ffffffff80200000 T first\\n"
                                "ffffffff80200000 t alias\\n"
                                "ffffffff80200020 t second\\n"
                                "ffffffff80200040 t ..@7.label\\n"
                                "ffffffff80200100 T text_end\\n"
                                "ffffffff80201000 R constants\\n"
                                "ffffffff80203000 B data\\n"
                                "ffffffff80204000 B lab_start\\n"
                                "ffffffff80204000 t in_lab\\n"
                                "ffffffff80204800 R constants_too\\n");
    assert_non_null(strstr(text, "    0x0,\n    0x20,\n    0x100,\n    0x1000,\n    0x4000,\n"
                                 "    0,\n};"));
    assert_non_null(strstr(text, "\"first\\0\"\n    \"second\\0\"\n    \"text_end\\0\"\n"
                                 "    \"\\0\"\n    \"in_lab\\0\"\n"));
    assert_non_null(strstr(text, "0xffffffff80200000ull, 0x4800, 5, offsets, names,"));
    assert_null(strstr(text, "low_boot"));
    assert_null(strstr(text, "alias"));
    assert_null(strstr(text, "constants"));
}

static void the_generator_refuses_no_symbols(void **state)
{
    (void)state;
    assert_int_not_equal(system("python3 tools/symbols.py </dev/null >/dev/null 2>&1"), 0);
    assert_int_equal(system("python3 tools/symbols.py --empty | grep -q '0x0ull, 0x0, 0, offsets'"),
                     0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_find_their_function),
        cmocka_unit_test(addresses_outside_find_nothing),
        cmocka_unit_test(an_empty_table_finds_nothing),
        cmocka_unit_test(the_kernels_own_table_is_used),
        cmocka_unit_test(the_generator_keeps_functions_in_reach),
        cmocka_unit_test(the_generator_refuses_no_symbols),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
