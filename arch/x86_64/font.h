// SPDX-License-Identifier: MIT
// The framebuffer console's font, made by tools/font.py: ASCII 20H to 7EH, and at 7FH the
// replacement for everything else.
#pragma once

#include "arch/x86_64/lib/types.h"

#define FONT_FIRST  0x20u
#define FONT_LAST   0x7fu
#define FONT_WIDTH  8u
#define FONT_HEIGHT 16u

// A byte a line, the leftmost pixel in bit 7.
extern const u8 font[FONT_LAST - FONT_FIRST + 1][FONT_HEIGHT];
