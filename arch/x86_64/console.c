// SPDX-License-Identifier: MIT
#include "arch/x86_64/console.h"

#include "arch/x86_64/fbcon.h"
#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/fmt.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/textgrid.h"
#include "arch/x86_64/vga_text.h"

// The debug port of Bochs and QEMU. Bochs answers a read with the port's own number; so does
// QEMU's debugcon there.
#define DEBUG_PORT 0xe9

static struct {
    const struct port_io *io;
    bool has_serial, has_debug_port;
    struct serial serial;
    struct serial input; // where that is another port
    struct serial_input received;
    struct vga_text vga;
    struct fbcon fb;
    struct textgrid grid;
    textgrid_draw_fn draw; // NULL: no screen
    void *draw_on;         // its first argument
} console;

static void init_ports(const struct console_config *config)
{
    console.io = config->io;
    console.has_serial =
        config->serial_base && serial_init(&console.serial, config->io, config->serial_base) == OK;
    console.has_debug_port = config->debug_port && config->io->in8(DEBUG_PORT) == DEBUG_PORT;
}

static void init_screen(const struct screen *screen)
{
    console.draw = NULL;
    textgrid_init(&console.grid, 0, 0);
    if (vga_text_init(&console.vga, screen, console.io) == OK) {
        console.draw = vga_text_draw;
        console.draw_on = &console.vga;
        textgrid_init(&console.grid, screen->width, screen->height);
    } else if (fbcon_init(&console.fb, screen) == OK) {
        console.draw = fbcon_draw;
        console.draw_on = &console.fb;
        textgrid_init(&console.grid, console.fb.columns, console.fb.rows);
    }
}

// "text 80x25", "framebuffer 1024x768x32", or why there is none.
static void describe_screen(char *buf, size_t size, const struct screen *screen)
{
    const char *format = screen->kind == SCREEN_NONE   ? "no screen"
                         : screen->kind == SCREEN_TEXT ? "text screen %ux%u"
                                                       : "framebuffer %ux%ux%u";
    int length = fmt_snprintf(buf, size, format, screen->width, screen->height, screen->bpp);
    if (screen->kind != SCREEN_NONE && !console.draw)
        fmt_snprintf(buf + length, size - (size_t)length, " (not one this can show)");
}

static void report(const struct console_config *config)
{
    char serial[32] = "no serial port", screen[72];
    if (console.has_serial)
        fmt_snprintf(serial, sizeof(serial), "serial port %x", config->serial_base);
    describe_screen(screen, sizeof(screen), &config->screen);
    log_info("console: %s, %s, %s", serial, console.has_debug_port ? "port e9" : "no port e9",
             screen);
}

bool console_is_open(void)
{
    return console.io != NULL;
}

void console_init(const struct console_config *config)
{
    init_ports(config);
    init_screen(&config->screen);
    log_set_sink(console_write, true);
    report(config);
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

// The port itself where the console writes to it already: a second set-up would lose what it sends.
static struct serial *find_input(u16 base)
{
    if (console.has_serial && base == console.serial.base)
        return &console.serial;
    return serial_init(&console.input, console.io, base) == OK ? &console.input : NULL;
}

static struct serial *first_input(void)
{
    static const u16 bases[] = {SERIAL_COM1, SERIAL_COM2, SERIAL_COM3, SERIAL_COM4};
    struct serial *found = console.has_serial ? &console.serial : NULL;
    for (unsigned i = 0; i < ARRAY_SIZE(bases) && !found; i++)
        found = find_input(bases[i]);
    return found;
}

struct serial *console_listen(u16 base, void (*arrived)(void))
{
    struct serial *found = base ? find_input(base) : first_input();
    if (found)
        serial_listen(found, &console.received, arrived);
    return found;
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
