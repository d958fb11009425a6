// SPDX-License-Identifier: MIT
#include "arch/x86_64/textgrid.h"

#include "arch/x86_64/lib/string.h"

#define ESC 0x1b
#define BEL 0x07
#define TAB 8u

INIT void textgrid_init(struct textgrid *grid, u32 columns, u32 rows)
{
    grid->columns = (u16)(columns < TEXTGRID_MAX_COLUMNS ? columns : TEXTGRID_MAX_COLUMNS);
    grid->rows = (u16)(rows < TEXTGRID_MAX_ROWS ? rows : TEXTGRID_MAX_ROWS);
    textgrid_clear(grid);
}

static void mark_all(struct textgrid *grid)
{
    grid->dirty_first = 0;
    grid->dirty_end = grid->rows;
    grid->dirty_left = 0;
    grid->dirty_right = grid->columns;
}

static void mark_cell(struct textgrid *grid, u16 row, u16 column)
{
    if (row < grid->dirty_first)
        grid->dirty_first = row;
    if (row >= grid->dirty_end)
        grid->dirty_end = (u16)(row + 1);
    if (column < grid->dirty_left)
        grid->dirty_left = column;
    if (column >= grid->dirty_right)
        grid->dirty_right = (u16)(column + 1);
}

void textgrid_clear(struct textgrid *grid)
{
    memset(grid->cells, ' ', sizeof(grid->cells));
    memset(grid->shown, 0, sizeof(grid->shown));
    grid->x = 0;
    grid->y = 0;
    grid->scrolled = 0;
    grid->escape = ESCAPE_NONE;
    mark_all(grid);
}

static void scroll(struct textgrid *grid)
{
    memmove(grid->cells[0], grid->cells[1], (grid->rows - 1u) * sizeof(grid->cells[0]));
    memset(grid->cells[grid->rows - 1], ' ', sizeof(grid->cells[0]));
    grid->y = (u16)(grid->rows - 1);
    grid->scrolled++;
    mark_all(grid);
}

// Scrolls only when something follows: the last line's newline would cost a row otherwise.
static void next_row(struct textgrid *grid)
{
    if (grid->y >= grid->rows)
        scroll(grid);
    grid->x = 0;
    grid->y++;
}

static void put_cell(struct textgrid *grid, u8 character)
{
    if (grid->x >= grid->columns)
        next_row(grid);
    if (grid->y >= grid->rows)
        scroll(grid);
    mark_cell(grid, grid->y, grid->x);
    grid->cells[grid->y][grid->x++] = character;
}

static void put_tab(struct textgrid *grid)
{
    do
        put_cell(grid, ' ');
    while (grid->x % TAB != 0 && grid->x < grid->columns);
}

static void put_control(struct textgrid *grid, u8 c)
{
    switch (c) {
    case '\n':
        next_row(grid);
        break;
    case '\r':
        grid->x = 0;
        break;
    case '\t':
        put_tab(grid);
        break;
    case '\b':
        if (grid->x)
            grid->x--;
        break;
    case ESC:
        grid->escape = ESCAPE_BEGUN;
        break;
    default:
        break;
    }
}

// ECMA-48, "Control functions": what ends a sequence.
static enum textgrid_escape escape_after(enum textgrid_escape escape, u8 c)
{
    switch (escape) {
    case ESCAPE_BEGUN:
        return c == '[' ? ESCAPE_CSI : c == ']' ? ESCAPE_OSC : ESCAPE_NONE;
    case ESCAPE_CSI:
        return c >= 0x40 ? ESCAPE_NONE : ESCAPE_CSI;
    case ESCAPE_OSC:
        return c == BEL ? ESCAPE_NONE : c == ESC ? ESCAPE_BEGUN : ESCAPE_OSC;
    default:
        return ESCAPE_NONE;
    }
}

static void put_byte(struct textgrid *grid, u8 c)
{
    // A newline ends any sequence, so that a broken one cannot swallow the log.
    if (grid->escape != ESCAPE_NONE && c != '\n') {
        grid->escape = escape_after(grid->escape, c);
        return;
    }
    grid->escape = ESCAPE_NONE;
    if (c < 0x20)
        put_control(grid, c);
    else if (c < 0x7f)
        put_cell(grid, c);
    else if (c >= 0xc0) // the first byte of a UTF-8 character; 80H to BFH continue it
        put_cell(grid, TEXTGRID_UNKNOWN);
}

void textgrid_write(struct textgrid *grid, const char *text, size_t length)
{
    if (!grid->columns || !grid->rows)
        return;
    for (size_t i = 0; i < length; i++)
        put_byte(grid, (u8)text[i]);
}

size_t textgrid_fit(struct textgrid *grid, const char *text, size_t length)
{
    size_t fits = 0, lines = 0;
    textgrid_clear(grid);
    while (fits < length) {
        textgrid_write(grid, text + fits, 1);
        if (grid->scrolled)
            return lines ? lines : fits;
        if (text[fits++] == '\n')
            lines = fits;
    }
    return length;
}

void textgrid_last_row(struct textgrid *grid, const char *text, size_t length)
{
    if (!grid->rows)
        return;
    grid->x = 0;
    grid->y = (u16)(grid->rows - 1);
    grid->escape = ESCAPE_NONE;
    textgrid_write(grid, text, length < grid->columns ? length : grid->columns);
}

void textgrid_show(struct textgrid *grid, textgrid_draw_fn draw, void *screen)
{
    for (u32 row = grid->dirty_first; row < grid->dirty_end; row++) {
        for (u32 column = grid->dirty_left; column < grid->dirty_right; column++) {
            u8 character = grid->cells[row][column];
            if (grid->shown[row][column] == character)
                continue;
            draw(screen, column, row, character);
            grid->shown[row][column] = character;
        }
    }
    grid->dirty_first = grid->rows;
    grid->dirty_end = 0;
    grid->dirty_left = grid->columns;
    grid->dirty_right = 0;
}
