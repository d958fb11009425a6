// SPDX-License-Identifier: MIT
// A screen of characters in RAM: what vga_text and fbcon show. It turns text into cells, and tells
// its owner which cells differ from what the screen shows, so the screen is never read back.
#pragma once

#include "arch/x86_64/lib/types.h"

#define TEXTGRID_MAX_COLUMNS 240u
#define TEXTGRID_MAX_ROWS    80u

// Cells hold the ASCII characters 20H to 7EH, and this for what is none of them.
#define TEXTGRID_UNKNOWN 0x7f

enum textgrid_escape { ESCAPE_NONE, ESCAPE_BEGUN, ESCAPE_CSI, ESCAPE_OSC };

struct textgrid {
    u16 columns, rows;
    u16 x, y; // where the next character goes: after the last column it wraps, after the last row
              // it scrolls
    u16 dirty_first, dirty_end;  // rows that may differ from what is shown,
    u16 dirty_left, dirty_right; // and columns in them: [first, end), [left, right)
    u32 scrolled;                // rows that have left the screen at its top
    enum textgrid_escape escape;
    u8 cells[TEXTGRID_MAX_ROWS][TEXTGRID_MAX_COLUMNS];
    u8 shown[TEXTGRID_MAX_ROWS][TEXTGRID_MAX_COLUMNS]; // 0: unknown
};

// An empty grid of columns by rows, each cut to the largest allowed, of which nothing is shown yet.
void textgrid_init(struct textgrid *grid, u32 columns, u32 rows);

// Empties the grid, puts the cursor at the top and forgets what is shown: all is drawn anew.
void textgrid_clear(struct textgrid *grid);

// Writes text at the cursor, scrolling at the bottom. Understands newline (to the next line's
// start), carriage return, tab and backspace; swallows ECMA-48 escape sequences and all other
// control characters; shows each UTF-8 character beyond ASCII as one TEXTGRID_UNKNOWN.
void textgrid_write(struct textgrid *grid, const char *text, size_t length);

// How much of the text an empty grid holds, up to the end of a line unless that is the first one.
// The grid's content is lost.
size_t textgrid_fit(struct textgrid *grid, const char *text, size_t length);

// Writes text into the last row, from its start, as far as it fits.
void textgrid_last_row(struct textgrid *grid, const char *text, size_t length);

// Calls draw for each cell that differs from what is shown, and takes it for shown.
typedef void (*textgrid_draw_fn)(void *screen, u32 column, u32 row, u8 character);
void textgrid_show(struct textgrid *grid, textgrid_draw_fn draw, void *screen);
