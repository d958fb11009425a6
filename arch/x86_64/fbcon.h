// SPDX-License-Identifier: MIT
// Characters on a linear RGB framebuffer. It is only ever written to: reads of write-combined
// memory are slow, and what is shown is known from RAM.
#pragma once

#include "arch/x86_64/font.h"
#include "arch/x86_64/screen.h"

struct fbcon {
    u8 *memory;
    u32 pitch;
    u32 bytes; // a pixel, 2 to 4
    const struct font *font;
    u32 scale;         // of the font, in both directions
    u32 columns, rows; // of characters
    u32 ink, paper;    // pixel values
    struct screen_channel red, green, blue;
};

#define RGB_INK   0xd0d0d0u
#define RGB_PAPER 0x000000u
#define RGB_ALARM 0xa00000u // paper of the crash screen
#define RGB_WHITE 0xffffffu

// Takes the screen: 15, 16, 24 or 32 bits a pixel with the channels anywhere in them. Characters
// are the small font's, the large one's, or the large one's scaled up: the largest that leave 100
// columns and 25 rows, so that they stay legible on a dense display and on a photograph of one, and
// larger still where the grid has no room for so many. E_UNSUPP if this cannot show the screen.
int fbcon_init(struct fbcon *fb, const struct screen *screen);

// The bytes that its font takes, and moving it: the fonts themselves go with the start. memory is
// 8-aligned.
size_t fbcon_font_size(const struct fbcon *fb);
void fbcon_move_font(struct fbcon *fb, void *memory);

// Sets the colours (RRGGBB) that characters are drawn in from now on.
void fbcon_set_colours(struct fbcon *fb, u32 ink, u32 paper);

// Draws one character (a textgrid_draw_fn; fb is the struct fbcon).
void fbcon_draw(void *fb, u32 column, u32 row, u8 character);
