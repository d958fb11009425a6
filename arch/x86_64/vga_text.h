// SPDX-License-Identifier: MIT
// The VGA's text mode. Only for a screen that the boot loader says is in it: memory at B8000H on a
// machine without one is anything.
#pragma once

#include "arch/x86_64/port_io.h"
#include "arch/x86_64/screen.h"

struct vga_text {
    volatile u8 *memory;
    u32 pitch;
    u8 attribute;
};

#define VGA_NORMAL 0x07 // light grey on black
#define VGA_ALARM  0x4f // white on red

// Takes the screen and hides its cursor, which would stay where the boot loader left it. E_UNSUPP
// if it is not one this can show.
int vga_text_init(struct vga_text *vga, const struct screen *screen, const struct port_io *io);

// Draws one cell (a textgrid_draw_fn; vga is the struct vga_text).
void vga_text_draw(void *vga, u32 column, u32 row, u8 character);
