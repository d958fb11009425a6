// SPDX-License-Identifier: MIT
// The grid of characters behind both screens.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "arch/x86_64/textgrid.h"

static struct textgrid grid;
static char screen[TEXTGRID_MAX_ROWS][TEXTGRID_MAX_COLUMNS + 1];
static unsigned drawn;

static void draw(void *on, u32 column, u32 row, u8 character)
{
    assert_ptr_equal(on, screen);
    assert_true(column < grid.columns && row < grid.rows);
    screen[row][column] = (char)character;
    drawn++;
}

static void show(void)
{
    drawn = 0;
    textgrid_show(&grid, draw, screen);
}

static void write(const char *text)
{
    textgrid_write(&grid, text, strlen(text));
    show();
}

static void start(u32 columns, u32 rows)
{
    memset(screen, 0, sizeof(screen));
    textgrid_init(&grid, columns, rows);
    show();
}

// The row's text without the blanks after it.
static const char *row(u32 n)
{
    static char text[TEXTGRID_MAX_COLUMNS + 1];
    strcpy(text, screen[n]);
    for (size_t end = strlen(text); end && text[end - 1] == ' ';)
        text[--end] = '\0';
    return text;
}

static void a_new_grid_blanks_the_screen(void **state)
{
    (void)state;
    start(5, 3);
    assert_int_equal(drawn, 15);
    assert_string_equal(screen[2], "     ");
    show();
    assert_int_equal(drawn, 0);
}

static void lines_follow_one_another(void **state)
{
    (void)state;
    start(10, 4);
    write("one\ntwo\n\nfour");
    assert_string_equal(row(0), "one");
    assert_string_equal(row(1), "two");
    assert_string_equal(row(2), "");
    assert_string_equal(row(3), "four");
}

static void only_changed_cells_are_drawn(void **state)
{
    (void)state;
    start(10, 4);
    write("abc");
    assert_int_equal(drawn, 3);
    write("\rabX");
    assert_int_equal(drawn, 1);
    write("\n");
    assert_int_equal(drawn, 0);
}

static void the_bottom_scrolls(void **state)
{
    (void)state;
    start(10, 3);
    write("1\n2\n3");
    assert_string_equal(row(2), "3");
    write("\n4");
    assert_string_equal(row(0), "2");
    assert_string_equal(row(1), "3");
    assert_string_equal(row(2), "4");
    write("\n");
    assert_int_equal(drawn, 0);
    assert_string_equal(row(2), "4");
    write("\n\n");
    assert_string_equal(row(0), "4");
    assert_string_equal(row(2), "");
    write("5\n6");
    assert_string_equal(row(0), "");
    assert_string_equal(row(1), "5");
    assert_string_equal(row(2), "6");
}

static void long_lines_wrap(void **state)
{
    (void)state;
    start(4, 3);
    write("abcdef");
    assert_string_equal(row(0), "abcd");
    assert_string_equal(row(1), "ef");
}

// A line that fills its row exactly takes no second one.
static void a_full_line_wraps_only_when_it_goes_on(void **state)
{
    (void)state;
    start(4, 3);
    write("abcd\nef");
    assert_string_equal(row(0), "abcd");
    assert_string_equal(row(1), "ef");
}

static void controls_move_the_cursor(void **state)
{
    (void)state;
    start(20, 2);
    write("a\tb\tc");
    assert_string_equal(row(0), "a       b       c");
    write("\rxyz\b\bY\b\b\b\b\bX");
    assert_string_equal(row(0), "XYz     b       c");
    start(12, 2);
    write("0123456789\t|\t|");
    assert_string_equal(row(0), "0123456789");
    assert_string_equal(row(1), "|       |");
}

static void escape_sequences_are_swallowed(void **state)
{
    (void)state;
    start(40, 3);
    write("\x1b[0;31mred\x1b[m \x1b[2J\x1b[10;20Hhome \x1b"
          "7\x1b]0;title\x07"
          "x\x1b]0;t\x1b\\y");
    assert_string_equal(row(0), "red home xy");
    write("\x1b[31\nnext");
    assert_string_equal(row(1), "next");
    write("\a\x01\x7f!");
    assert_string_equal(row(1), "next!");
}

static void other_characters_are_one_unknown_each(void **state)
{
    (void)state;
    start(20, 2);
    write("a\xc3\xa4z\xe2\x82\xac.\xf0\x9f\x98\x80.");
    assert_string_equal(row(0), "a\x7fz\x7f.\x7f.");
}

static void clearing_draws_all_anew(void **state)
{
    (void)state;
    start(10, 3);
    write("old\nold");
    textgrid_clear(&grid);
    textgrid_write(&grid, "new", 3);
    show();
    assert_int_equal(drawn, 30);
    assert_string_equal(row(0), "new");
    assert_string_equal(row(1), "");
}

static void the_size_is_bounded(void **state)
{
    (void)state;
    start(100000, 100000);
    assert_int_equal(grid.columns, TEXTGRID_MAX_COLUMNS);
    assert_int_equal(grid.rows, TEXTGRID_MAX_ROWS);
    for (unsigned i = 0; i < TEXTGRID_MAX_COLUMNS * (TEXTGRID_MAX_ROWS + 3); i++)
        write("#");
    assert_string_equal(row(TEXTGRID_MAX_ROWS - 2), row(0));
    start(0, 10);
    write("text\n");
    assert_int_equal(drawn, 0);
    start(10, 0);
    write("text\n");
    assert_int_equal(drawn, 0);
    start(1, 1);
    write("abc");
    assert_string_equal(row(0), "c");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_grid_blanks_the_screen),
        cmocka_unit_test(lines_follow_one_another),
        cmocka_unit_test(only_changed_cells_are_drawn),
        cmocka_unit_test(the_bottom_scrolls),
        cmocka_unit_test(long_lines_wrap),
        cmocka_unit_test(a_full_line_wraps_only_when_it_goes_on),
        cmocka_unit_test(controls_move_the_cursor),
        cmocka_unit_test(escape_sequences_are_swallowed),
        cmocka_unit_test(other_characters_are_one_unknown_each),
        cmocka_unit_test(clearing_draws_all_anew),
        cmocka_unit_test(the_size_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
