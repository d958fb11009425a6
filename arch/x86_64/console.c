// SPDX-License-Identifier: MIT
#include "arch/x86_64/console.h"

#include "arch/x86_64/console_parts.h"

struct console console;

bool console_is_open(void)
{
    return console.io != NULL;
}

static void write_serial(const char *text, size_t length)
{
    size_t start = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] != '\n')
            continue;
        serial_write(&console.serial, text + start, i - start);
        serial_write(&console.serial, "\r\n", 2);
        start = i + 1;
    }
    serial_write(&console.serial, text + start, length - start);
}

void console_write_streams(const char *text, size_t length)
{
    ramlog_write(&console.ramlog, text, length);
    if (console.has_debug_port)
        for (size_t i = 0; i < length; i++)
            console.io->out8(DEBUG_PORT, (u8)text[i]);
    if (console.has_serial)
        write_serial(text, length);
}

void console_write_screen(const char *text, size_t length)
{
    if (!console.draw)
        return;
    textgrid_write(&console.grid, text, length);
    console_show();
}

struct textgrid *console_grid(void)
{
    return console.draw ? &console.grid : NULL;
}

void console_show(void)
{
    if (console.draw)
        textgrid_show(&console.grid, console.draw, console.draw_on);
}

void console_write(const char *text, size_t length)
{
    // The screen first: who has read a line elsewhere finds it there too.
    console_write_screen(text, length);
    console_write_streams(text, length);
}

void console_flush(void)
{
    if (console.has_serial)
        serial_drain(&console.serial);
}

u32 console_screen_columns(void)
{
    return console.grid.columns;
}

u32 console_screen_rows(void)
{
    return console.grid.rows;
}

void console_drop_screen(void)
{
    console.draw = NULL;
}

void console_alarm(void)
{
    if (!console.draw)
        return;
    console.vga.attribute = VGA_ALARM;
    fbcon_set_colours(&console.fb, RGB_WHITE, RGB_ALARM);
    textgrid_clear(&console.grid);
}
