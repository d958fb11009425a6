// SPDX-License-Identifier: MIT
// The framebuffer console's fonts, made by tools/font.py: ASCII 20H to 7EH, and at 7FH the
// replacement for everything else.
#pragma once

#include "arch/x86_64/lib/types.h"

#define FONT_FIRST 0x20u
#define FONT_LAST  0x7fu

struct font {
    u32 width, height; // pixels, the width at most 16
    const u16 *lines;  // height for each character, the leftmost pixel in bit 15
};

// The lines of a character from FONT_FIRST to FONT_LAST, from the top.
static inline const u16 *font_glyph(const struct font *font, u8 character)
{
    return font->lines + (character - FONT_FIRST) * font->height;
}

extern const struct font font_small; // 8 x 16
extern const struct font font_large; // 16 x 32
