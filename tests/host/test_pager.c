// SPDX-License-Identifier: MIT
// A long log in pages: nothing is lost between them, and what matters is on the first.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/lib/bits.h"
#include "boot/pager.h"

static struct textgrid grid;
static struct pager pager;
static char text[70000];
static size_t length;

static int fresh(void **state)
{
    (void)state;
    length = 0;
    textgrid_init(&grid, 80, 25);
    return 0;
}

static void line(const char *format, ...) PRINTF_LIKE(1, 2);
static void line(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    length += (size_t)vsnprintf(text + length, sizeof(text) - length, format, args);
    va_end(args);
    text[length++] = '\n';
}

// A row of the grid without the blanks after it.
static const char *row(u32 number)
{
    static char buf[TEXTGRID_MAX_COLUMNS + 1];
    u32 end = grid.columns;
    while (end && grid.cells[number][end - 1] == ' ')
        end--;
    memcpy(buf, grid.cells[number], end);
    buf[end] = '\0';
    return buf;
}

static void show(unsigned n)
{
    pager_page(&pager, n, ", hint");
    char last[60];
    snprintf(last, sizeof(last), "-- page %u of %u, hint", n + 1, pager.pages);
    size_t end = strlen(last) < grid.columns ? strlen(last) : grid.columns;
    while (last[end - 1] == ' ')
        end--;
    last[end] = '\0';
    assert_string_equal(row(grid.rows - 1), last);
}

static bool first_page_says(const char *what)
{
    show(0);
    for (u32 i = 0; i + 1 < grid.rows; i++)
        if (strcmp(row(i), what) == 0)
            return true;
    return false;
}

static void what_fits_is_one_page(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 25; i++)
        line("line %u", i);
    pager_init(&pager, &grid, text, length);
    assert_int_equal(pager.pages, 1);
    line("one more");
    pager_init(&pager, &grid, text, length);
    assert_int_equal(pager.pages, 3);
    pager_init(&pager, &grid, text, 0);
    assert_int_equal(pager.pages, 1);
}

static void pages_hold_every_line_once(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 500; i++)
        line("line %u", i);
    pager_init(&pager, &grid, text, length);
    assert_int_equal(pager.pages, 1 + (500 + 23) / 24);
    unsigned next = 0;
    for (unsigned page = 1; page < pager.pages; page++) {
        show(page);
        for (u32 i = 0; i < 24 && next < 500; i++) {
            char want[40];
            snprintf(want, sizeof(want), "line %u", next++);
            assert_string_equal(row(i), want);
        }
    }
    assert_int_equal(next, 500);
    show(1); // back again
    assert_string_equal(row(0), "line 0");
}

static void a_line_is_not_cut_by_a_page(void **state)
{
    (void)state;
    textgrid_init(&grid, 10, 4);
    line("one");
    line("two");
    line("a line of three rows and"); // does not fit below the two
    line("four\tis tabbed");          // 8 columns and 9 more
    pager_init(&pager, &grid, text, length);
    assert_int_equal(pager.pages, 4);
    show(1);
    assert_string_equal(row(0), "one");
    assert_string_equal(row(2), "");
    show(2);
    assert_string_equal(row(0), "a line of");
    assert_string_equal(row(2), " and");
    show(3);
    assert_string_equal(row(0), "four    is");
    assert_string_equal(row(1), " tabbed");
}

static void a_line_longer_than_a_page_is_cut(void **state)
{
    (void)state;
    textgrid_init(&grid, 10, 3);
    for (unsigned i = 0; i < 55; i++)
        text[length++] = (char)('a' + i % 26);
    pager_init(&pager, &grid, text, length);
    assert_int_equal(pager.pages, 4);
    show(3);
    assert_string_equal(row(0), "opqrstuvwx");
    assert_string_equal(row(1), "yzabc");
}

static void a_report(unsigned tests, unsigned failures, unsigned skips)
{
    line("Corbel 0.1: booted by GRUB");
    line("warning: tsc: nothing to check this frequency against");
    for (unsigned i = 0; i < tests; i++)
        line("%s area.test_%u", i < failures ? "FAIL" : i < failures + skips ? "SKIP" : "PASS", i);
    line("%u passed, %u failed, %u skipped", tests - failures - skips, failures, skips);
    line("corbel: done: status %d", failures != 0);
    pager_init(&pager, &grid, text, length);
}

static void results_and_failures_come_first(void **state)
{
    (void)state;
    a_report(400, 3, 5);
    assert_true(first_page_says("warning: tsc: nothing to check this frequency against"));
    assert_true(first_page_says("FAIL area.test_0"));
    assert_true(first_page_says("FAIL area.test_2"));
    assert_true(first_page_says("SKIP area.test_3"));
    assert_true(first_page_says("SKIP area.test_7"));
    assert_true(first_page_says("392 passed, 3 failed, 5 skipped"));
    assert_true(first_page_says("corbel: done: status 1"));
    assert_true(first_page_says("..."));
    assert_false(first_page_says("Corbel 0.1: booted by GRUB"));
    assert_false(first_page_says("PASS area.test_200"));
}

static void skipped_tests_give_way(void **state)
{
    (void)state;
    a_report(400, 2, 300);
    assert_true(first_page_says("FAIL area.test_1"));
    assert_false(first_page_says("SKIP area.test_3"));
    assert_true(first_page_says("98 passed, 2 failed, 300 skipped"));
}

static void more_failures_than_fit_are_counted(void **state)
{
    (void)state;
    a_report(400, 100, 0);
    // 24 rows: 8 at the end, dots before them, the count, and 14 of 101.
    assert_string_equal((show(0), row(13)), "FAIL area.test_12");
    assert_string_equal(row(14), "(87 more like these on the next pages)");
    assert_string_equal(row(15), "...");
    assert_true(first_page_says("corbel: done: status 1"));
}

static void verdicts_of_the_grade_matter(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 200; i++)
        line("grade\tC%u\tSDM\trejects\terror 7\tagree", i);
    line("grade\tX7\tSDM\trejects\tenters\tCPU accepts: known");
    line("grade\tX8\tSDM\tenters\terror 7\tCPU rejects otherwise");
    for (unsigned i = 0; i < 50; i++)
        line("grade\tS%u\tSDM\trejects\terror 7\tagree", i);
    line("grade: 252 rules");
    pager_init(&pager, &grid, text, length);
    show(0);
    assert_true(strncmp(row(0), "grade   X7 ", 11) == 0);
    assert_true(strncmp(row(1), "grade   X8 ", 11) == 0);
    assert_string_equal(row(2), "...");
    assert_true(first_page_says("grade: 252 rules"));
}

static void last_lines_that_fill_a_page_are_cut(void **state)
{
    (void)state;
    textgrid_init(&grid, 20, 6);
    for (unsigned i = 0; i < 30; i++)
        line("%u: a line of forty characters and more", i);
    pager_init(&pager, &grid, text, length);
    show(0);
    assert_string_equal(row(0), "22: a line of forty");
    assert_string_equal(row(4), "");
    show(1);
    assert_string_equal(row(0), "0: a line of forty c");
}

static void screens_of_any_size_are_survived(void **state)
{
    (void)state;
    for (u32 columns = 1; columns < 60; columns += 7)
        for (u32 rows = 0; rows < 20; rows += 3) {
            length = 0;
            textgrid_init(&grid, columns, rows);
            a_report(50, 20, 10);
            for (unsigned page = 0; pager.pages > 1 && page < pager.pages; page++)
                pager_page(&pager, page, ", a hint that is longer than the screen is wide");
        }
}

// ---- the keyboard -----------------------------------------------------------------------------

static const u16 *bytes; // status in the upper byte; 0 ends them
static unsigned reads;

static u8 in8(u16 port)
{
    reads++;
    if (port == 0x64)
        return (u8)(*bytes >> 8);
    assert_int_equal(port, 0x60);
    return (u8)*bytes++;
}

static bool pressed(const u16 *what)
{
    static const struct port_io io = {.in8 = in8};
    static u8 last;
    bytes = what;
    reads = 0;
    return pager_key(&io, &last);
}

static void keys_are_told_from_everything_else(void **state)
{
    (void)state;
    assert_false(pressed((const u16[]){0}));
    assert_false(pressed((const u16[]){0xff1c})); // no controller
    assert_int_equal(reads, 1);
    assert_true(pressed((const u16[]){0x1d39, 0}));  // space, set 1
    assert_false(pressed((const u16[]){0x1db9, 0})); // released
    assert_true(pressed((const u16[]){0x1d39, 0x1db9, 0}));
    assert_true(pressed((const u16[]){0x15e0, 0x1551, 0})); // page down
    assert_false(pressed((const u16[]){0x15e0, 0x15d1, 0}));
    assert_false(pressed((const u16[]){0x1df0, 0x1d29, 0})); // space released, set 2
    assert_false(pressed((const u16[]){0x1df0, 0}));         // the same in two pieces
    assert_false(pressed((const u16[]){0x1d29, 0}));
    assert_true(pressed((const u16[]){0x1d29, 0}));
    assert_false(pressed((const u16[]){0x3d08, 0x3d01, 0x3dff, 0})); // the mouse
}

static void a_port_that_never_ends_is_no_key(void **state)
{
    (void)state;
    static u16 endless[40];
    for (unsigned i = 0; i < ARRAY_SIZE(endless); i++)
        endless[i] = 0x0139;
    assert_false(pressed(endless));
    assert_int_equal(reads, 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_fits_is_one_page, fresh),
        cmocka_unit_test_setup(pages_hold_every_line_once, fresh),
        cmocka_unit_test_setup(a_line_is_not_cut_by_a_page, fresh),
        cmocka_unit_test_setup(a_line_longer_than_a_page_is_cut, fresh),
        cmocka_unit_test_setup(results_and_failures_come_first, fresh),
        cmocka_unit_test_setup(skipped_tests_give_way, fresh),
        cmocka_unit_test_setup(more_failures_than_fit_are_counted, fresh),
        cmocka_unit_test_setup(verdicts_of_the_grade_matter, fresh),
        cmocka_unit_test_setup(last_lines_that_fill_a_page_are_cut, fresh),
        cmocka_unit_test_setup(screens_of_any_size_are_survived, fresh),
        cmocka_unit_test(keys_are_told_from_everything_else),
        cmocka_unit_test(a_port_that_never_ends_is_no_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
