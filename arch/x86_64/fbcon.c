// SPDX-License-Identifier: MIT
#include "arch/x86_64/fbcon.h"

#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/textgrid.h"

// The top bits of an 8-bit intensity, in the channel's place.
static u32 channel_value(struct screen_channel channel, u32 intensity)
{
    u32 value =
        channel.size <= 8 ? intensity >> (8 - channel.size) : intensity << (channel.size - 8);
    return value << channel.position;
}

static u32 pixel_of(const struct fbcon *fb, u32 rgb)
{
    return channel_value(fb->red, rgb >> 16 & 0xff) | channel_value(fb->green, rgb >> 8 & 0xff) |
           channel_value(fb->blue, rgb & 0xff);
}

static bool channel_fits(struct screen_channel channel, u32 bits)
{
    return channel.size >= 1 && channel.size <= 16 && channel.position + channel.size <= bits;
}

static bool can_show(const struct screen *screen)
{
    if (screen->kind != SCREEN_PIXELS || !screen->memory)
        return false;
    if (screen->bpp != 15 && screen->bpp != 16 && screen->bpp != 24 && screen->bpp != 32)
        return false;
    if (screen->width < font_small.width || screen->height < font_small.height ||
        screen->pitch / ((screen->bpp + 7u) / 8) < screen->width)
        return false;
    return channel_fits(screen->red, screen->bpp) && channel_fits(screen->green, screen->bpp) &&
           channel_fits(screen->blue, screen->bpp);
}

#define COLUMNS_LEFT 100u // lines of the log and of reports rarely have more
#define ROWS_LEFT    25u  // a crash report

// Sizes of characters, in ascending order: the small font, the large font, the large font doubled
// and so on.
INIT static void set_size(struct fbcon *fb, const struct screen *screen, u32 size)
{
    fb->font = size ? &font_large : &font_small;
    fb->scale = size ? size : 1;
    fb->columns = screen->width / (fb->font->width * fb->scale);
    fb->rows = screen->height / (fb->font->height * fb->scale);
}

static void choose_size(struct fbcon *fb, const struct screen *screen)
{
    u32 size = 0;
    do
        set_size(fb, screen, ++size);
    while (fb->columns >= COLUMNS_LEFT && fb->rows >= ROWS_LEFT);
    set_size(fb, screen, --size);
    while (fb->columns > TEXTGRID_MAX_COLUMNS || fb->rows > TEXTGRID_MAX_ROWS)
        set_size(fb, screen, ++size);
}

INIT int fbcon_init(struct fbcon *fb, const struct screen *screen)
{
    if (!can_show(screen))
        return E_UNSUPP;
    *fb = (struct fbcon){
        .memory = screen->memory,
        .pitch = screen->pitch,
        .bytes = (screen->bpp + 7u) / 8,
        .red = screen->red,
        .green = screen->green,
        .blue = screen->blue,
    };
    choose_size(fb, screen);
    fbcon_set_colours(fb, RGB_INK, RGB_PAPER);
    return OK;
}

INIT static size_t lines_size(const struct font *font)
{
    return (FONT_LAST - FONT_FIRST + 1) * font->height * sizeof(font->lines[0]);
}

INIT size_t fbcon_font_size(const struct fbcon *fb)
{
    return sizeof(struct font) + lines_size(fb->font);
}

INIT void fbcon_move_font(struct fbcon *fb, void *memory)
{
    struct font *font = memory;
    u16 *lines = (u16 *)(font + 1);
    memcpy(lines, fb->font->lines, lines_size(fb->font));
    *font = *fb->font;
    font->lines = lines;
    fb->font = font;
}

void fbcon_set_colours(struct fbcon *fb, u32 ink, u32 paper)
{
    fb->ink = pixel_of(fb, ink);
    fb->paper = pixel_of(fb, paper);
}

// Nothing promises that lines begin at a multiple of a pixel's size.
typedef u16 pixel16 ALIGNED(1);
typedef u32 pixel32 ALIGNED(1);

// Volatile, so that each pixel is written as one access and none is read.
static inline void put_pixel(volatile u8 *at, u32 bytes, u32 value)
{
    switch (bytes) {
    case 4:
        *(volatile pixel32 *)at = value;
        break;
    case 3:
        at[0] = (u8)value;
        at[1] = (u8)(value >> 8);
        at[2] = (u8)(value >> 16);
        break;
    default:
        *(volatile pixel16 *)at = (u16)value;
        break;
    }
}

// One line of pixels of a character. bytes is a constant in each of the calls below, so that no
// pixel asks for the format again.
static inline void draw_line(const struct fbcon *fb, volatile u8 *at, u16 bits, u32 bytes)
{
    const u32 ink = fb->ink, paper = fb->paper, scale = fb->scale;
    for (u32 x = 0; x < fb->font->width; x++) {
        u32 value = bits & 0x8000 >> x ? ink : paper;
        for (u32 i = 0; i < scale; i++, at += bytes)
            put_pixel(at, bytes, value);
    }
}

void fbcon_draw(void *screen, u32 column, u32 row, u8 character)
{
    const struct fbcon *fb = screen;
    if (character < FONT_FIRST || character > FONT_LAST)
        character = TEXTGRID_UNKNOWN;
    const u16 *lines = font_glyph(fb->font, character);
    const u32 width = fb->font->width * fb->scale, height = fb->font->height * fb->scale;
    volatile u8 *at =
        fb->memory + (size_t)row * height * fb->pitch + (size_t)column * width * fb->bytes;
    for (u32 y = 0; y < height; y++, at += fb->pitch) {
        u16 bits = lines[y / fb->scale];
        if (fb->bytes == 4)
            draw_line(fb, at, bits, 4);
        else if (fb->bytes == 3)
            draw_line(fb, at, bits, 3);
        else
            draw_line(fb, at, bits, 2);
    }
}
