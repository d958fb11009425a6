// SPDX-License-Identifier: MIT
#include "arch/x86_64/vga_text.h"

#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/textgrid.h"

#define CELL_BYTES 2u

// IBM VGA technical reference, "CRT Controller": the cursor start register, bit 5 hides it.
#define CRTC_INDEX        0x3d4
#define CRTC_DATA         0x3d5
#define CRTC_CURSOR_START 0x0a
#define CURSOR_OFF        0x20

#define CP437_BLOCK 0xfe // a small square, for what has no character

INIT int vga_text_init(struct vga_text *vga, const struct screen *screen, const struct port_io *io)
{
    if (screen->kind != SCREEN_TEXT || !screen->memory || !screen->width || !screen->height ||
        screen->pitch / CELL_BYTES < screen->width)
        return E_UNSUPP;
    *vga = (struct vga_text){
        .memory = screen->memory,
        .pitch = screen->pitch,
        .attribute = VGA_NORMAL,
    };
    io->out8(CRTC_INDEX, CRTC_CURSOR_START);
    io->out8(CRTC_DATA, CURSOR_OFF);
    return OK;
}

void vga_text_draw(void *screen, u32 column, u32 row, u8 character)
{
    const struct vga_text *vga = screen;
    volatile u8 *cell = vga->memory + (size_t)row * vga->pitch + column * CELL_BYTES;
    cell[0] = character == TEXTGRID_UNKNOWN ? CP437_BLOCK : character;
    cell[1] = vga->attribute;
}
