// SPDX-License-Identifier: MIT
// Characters on framebuffers of each pixel format and on the VGA's text memory, each byte of the
// memory compared with what a slow, obvious drawing gives.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "arch/x86_64/fbcon.h"
#include "arch/x86_64/font.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/textgrid.h"
#include "arch/x86_64/vga_text.h"
#include "tests/host/fake_uart.h"

#define BEFORE 0xa5 // what the memory holds where nothing may be drawn

static const struct format {
    u8 bpp;
    struct screen_channel red, green, blue;
    u32 ink, paper; // the pixels of 123456H and C0FFEEH
} formats[] = {
    {15, {10, 5}, {5, 5},  {0, 5},  2 << 10 | 6 << 5 | 10,  24 << 10 | 31 << 5 | 29 },
    {16, {11, 5}, {5, 6},  {0, 5},  2 << 11 | 13 << 5 | 10, 24 << 11 | 63 << 5 | 29 },
    {16, {0, 5},  {5, 6},  {11, 5}, 2 | 13 << 5 | 10 << 11, 24 | 63 << 5 | 29u << 11},
    {24, {16, 8}, {8, 8},  {0, 8},  0x123456,               0xc0ffee                },
    {24, {0, 8},  {8, 8},  {16, 8}, 0x563412,               0xeeffc0                },
    {32, {16, 8}, {8, 8},  {0, 8},  0x123456,               0xc0ffee                },
    {32, {24, 8}, {16, 8}, {8, 8},  0x12345600,             0xc0ffee00              },
    {32,
     {20, 10},
     {10, 10},
     {0, 10},
     0x48 << 20 | 0xd0 << 10 | 0x158,
     0x300u << 20 | 0x3fc << 10 | 0x3b8                                             },
};

static struct screen screen_of(const struct format *format, u32 width, u32 height, u32 slack)
{
    struct screen screen = {
        .kind = SCREEN_PIXELS,
        .width = width,
        .height = height,
        .pitch = width * ((format->bpp + 7u) / 8) + slack,
        .bpp = format->bpp,
        .red = format->red,
        .green = format->green,
        .blue = format->blue,
    };
    screen.memory = malloc((size_t)screen.pitch * height);
    memset(screen.memory, BEFORE, (size_t)screen.pitch * height);
    return screen;
}

// What the memory of a screen should hold after one character.
static u8 *expected(const struct screen *screen, const struct format *format,
                    const struct fbcon *fb, u32 column, u32 row, u8 character)
{
    size_t size = (size_t)screen->pitch * screen->height;
    u32 bytes = (format->bpp + 7u) / 8;
    u32 width = fb->font == &font_large ? 16 * fb->scale : 8;
    u8 *memory = malloc(size);
    memset(memory, BEFORE, size);
    for (u32 y = 0; y < 2 * width; y++)
        for (u32 x = 0; x < width; x++) {
            u16 line = font_glyph(fb->font, character)[y / fb->scale];
            bool ink = line >> (15 - x / fb->scale) & 1;
            u32 pixel = ink ? format->ink : format->paper;
            for (u32 b = 0; b < bytes; b++)
                memory[(row * 2 * width + y) * screen->pitch + (column * width + x) * bytes + b] =
                    (u8)(pixel >> (8 * b));
        }
    return memory;
}

// scale: 0 for the small font, else the large one's.
static void check_drawing(const struct format *format, u32 width, u32 height, u32 slack, u32 scale)
{
    static const u8 characters[] = {'A', 'g', ' ', '~', TEXTGRID_UNKNOWN};
    for (size_t i = 0; i < sizeof(characters); i++) {
        struct screen screen = screen_of(format, width, height, slack);
        struct fbcon fb;
        assert_int_equal(fbcon_init(&fb, &screen), OK);
        assert_ptr_equal(fb.font, scale ? &font_large : &font_small);
        assert_int_equal(fb.scale, scale ? scale : 1);
        fbcon_set_colours(&fb, 0x123456, 0xc0ffee);
        // The last cell: address sanitizer sees any byte beyond the screen.
        fbcon_draw(&fb, fb.columns - 1, fb.rows - 1, characters[i]);
        u8 *want = expected(&screen, format, &fb, fb.columns - 1, fb.rows - 1, characters[i]);
        assert_memory_equal(screen.memory, want, (size_t)screen.pitch * height);
        free(want);
        free(screen.memory);
    }
}

static void each_format_draws_its_pixels(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
        check_drawing(&formats[i], 32, 48, 0, 0);
        check_drawing(&formats[i], 37, 50, 13, 0); // part of a cell left over, an odd pitch
        check_drawing(&formats[i], 1607, 801, 13, 1);
        check_drawing(&formats[i], 3230, 1605, 6, 2);
    }
}

static void dense_displays_get_larger_characters(void **state)
{
    (void)state;
    static const struct {
        u32 width, height, scale, columns, rows;
    } sizes[] = {
        {640,  480,  0, 80,  30},
        {1024, 768,  0, 128, 48},
        {1366, 768,  0, 170, 48},
        {1599, 900,  0, 199, 56}, // 100 columns,
        {1600, 900,  1, 100, 28},
        {1600, 799,  0, 200, 49}, // 25 rows
        {1920, 1080, 1, 120, 33},
        {2560, 1440, 1, 160, 45},
        {3440, 1440, 1, 215, 45},
        {3840, 2160, 2, 120, 33},
        {5120, 2880, 3, 106, 30},
        {7680, 4320, 4, 120, 33},
        {8,    16,   0, 1,   1 },
 // More than the grid has room for: larger, however few they are.
        {2560, 600,  1, 160, 18},
        {1080, 1920, 1, 67,  60},
        {5120, 320,  2, 160, 5 },
    };
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct screen screen = {
            SCREEN_PIXELS,  &screen,         sizes[i].width * 4,
            sizes[i].width, sizes[i].height, 32,
            {16, 8},
              {8,  8},
              {0,  8}
        };
        struct fbcon fb;
        assert_int_equal(fbcon_init(&fb, &screen), OK);
        assert_ptr_equal(fb.font, sizes[i].scale ? &font_large : &font_small);
        assert_int_equal(fb.scale, sizes[i].scale ? sizes[i].scale : 1);
        assert_int_equal(fb.columns, sizes[i].columns);
        assert_int_equal(fb.rows, sizes[i].rows);
    }
}

static bool same_glyph(const struct font *font, u8 a, u8 b)
{
    return memcmp(font_glyph(font, a), font_glyph(font, b), font->height * sizeof(u16)) == 0;
}

static void check_font(const struct font *font, u32 width)
{
    assert_int_equal(font->width, width);
    assert_int_equal(font->height, 2 * width);
    for (u8 c = 0x20; c <= 0x7f; c++) {
        for (u8 d = (u8)(c + 1); d <= 0x7f; d++)
            assert_false(same_glyph(font, c, d));
        for (u32 y = 0; y < font->height; y++) {
            assert_false(font_glyph(font, c)[y] & 0xffff >> width);
            assert_true(c != ' ' || !font_glyph(font, c)[y]);
        }
    }
    // An underscore is a line near the bottom, a bar one from top to bottom.
    unsigned lines = 0, bar = 0;
    for (unsigned y = 0; y < font->height; y++) {
        lines += font_glyph(font, '_')[y] != 0;
        bar += font_glyph(font, '|')[y] != 0;
    }
    assert_in_range(lines, 1, width / 4);
    assert_true(bar >= width + width / 4);
}

static void the_fonts_are_ascii(void **state)
{
    (void)state;
    check_font(&font_small, 8);
    check_font(&font_large, 16);
}

static void screens_it_cannot_show_are_refused(void **state)
{
    (void)state;
    struct fbcon fb;
    const struct screen good = {
        SCREEN_PIXELS, &fb, 640 * 4, 640, 480, 32, {16, 8},
                {8,  8},
                {0,  8}
    };
    assert_int_equal(fbcon_init(&fb, &good), OK);
    struct screen bad[12];
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        bad[i] = good;
    bad[0].kind = SCREEN_TEXT;
    bad[1].kind = SCREEN_NONE;
    bad[2].memory = NULL;
    bad[3].bpp = 8;
    bad[4].bpp = 64;
    bad[5].pitch = 640 * 4 - 1;
    bad[6].width = 7;
    bad[7].height = 15;
    bad[8].red.size = 0;
    bad[9].green.position = 25;
    bad[10].blue.size = 17;
    bad[11].bpp = 15; // the channels lie beyond it
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(fbcon_init(&fb, &bad[i]), E_UNSUPP);
}

static void vga_text_writes_cells(void **state)
{
    (void)state;
    u8 memory[3 * 20];
    memset(memory, BEFORE, sizeof(memory));
    const struct screen screen = {SCREEN_TEXT, memory, 20, 8, 3, 16, {0}, {0}, {0}};
    struct vga_text vga;
    fake_reset(FAKE_WORKS);
    assert_int_equal(vga_text_init(&vga, &screen, &fake_ports), OK);
    assert_int_equal(fake.crtc[0], 0x0a);
    assert_int_equal(fake.crtc[1], 0x20);
    vga_text_draw(&vga, 7, 2, 'Q');
    vga.attribute = VGA_ALARM;
    vga_text_draw(&vga, 1, 1, TEXTGRID_UNKNOWN);
    u8 want[3 * 20];
    memset(want, BEFORE, sizeof(want));
    want[2 * 20 + 14] = 'Q';
    want[2 * 20 + 15] = VGA_NORMAL;
    want[20 + 2] = 0xfe;
    want[20 + 3] = VGA_ALARM;
    assert_memory_equal(memory, want, sizeof(memory));
}

static void vga_text_refuses_other_screens(void **state)
{
    (void)state;
    struct vga_text vga;
    const struct screen good = {SCREEN_TEXT, &vga, 160, 80, 25, 16, {0}, {0}, {0}};
    struct screen bad[4] = {good, good, good, good};
    bad[0].kind = SCREEN_PIXELS;
    bad[1].memory = NULL;
    bad[2].pitch = 159;
    bad[3].height = 0;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        fake_reset(FAKE_WORKS);
        assert_int_equal(vga_text_init(&vga, &bad[i], &fake_ports), E_UNSUPP);
        assert_int_equal(fake.crtc[0], 0);
    }
}

// Into memory of exactly its size: address sanitizer sees any byte beyond it.
static void the_font_is_moved_whole(void **state)
{
    (void)state;
    static const u32 widths[] = {640, 1920};
    for (size_t i = 0; i < 2; i++) {
        struct screen screen = screen_of(&formats[0], widths[i], widths[i] * 9 / 16, 0);
        struct fbcon fb;
        assert_int_equal(fbcon_init(&fb, &screen), OK);
        const struct font *before = fb.font;
        assert_ptr_equal(before, i ? &font_large : &font_small);
        struct font *memory = malloc(fbcon_font_size(&fb));
        fbcon_move_font(&fb, memory);
        assert_ptr_equal(fb.font, memory);
        assert_ptr_equal(memory->lines, memory + 1);
        for (u32 c = FONT_FIRST; c <= FONT_LAST; c++)
            assert_memory_equal(font_glyph(memory, (u8)c), font_glyph(before, (u8)c),
                                before->height * sizeof(u16));
        free(memory);
        free(screen.memory);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_format_draws_its_pixels),
        cmocka_unit_test(dense_displays_get_larger_characters),
        cmocka_unit_test(the_fonts_are_ascii),
        cmocka_unit_test(screens_it_cannot_show_are_refused),
        cmocka_unit_test(the_font_is_moved_whole),
        cmocka_unit_test(vga_text_writes_cells),
        cmocka_unit_test(vga_text_refuses_other_screens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
