// SPDX-License-Identifier: MIT
// Finding the console's ports and its screen.
#include "arch/x86_64/console_parts.h"
#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/fmt.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/phys.h"

// Where ports are looked for.
static struct {
    void *(*map)(u64 base, u64 size);
    struct uart_list uarts;
    bool pci;
    struct uart_candidate ours; // what the console writes to
} search;

// ---- serial ports -----------------------------------------------------------------------------

static bool open_serial(struct serial *serial, const struct uart_place *place)
{
    void *memory = NULL;
    if (place->space == UART_MEMORY && search.map)
        memory = search.map(place->base, uart_span(place));
    return serial_init(serial, console.io, place, memory) == OK;
}

// Opens the first of the list that works, from one on; its index, or the list's length.
static unsigned open_first(struct serial *serial, const struct uart_list *list, unsigned from)
{
    while (from < list->count && !open_serial(serial, &list->at[from].place))
        from++;
    return from;
}

// PCI comes last: looking there takes a while, and where another port works it is not needed.
static bool find_serial(struct serial *serial, struct uart_candidate *which)
{
    struct uart_list *list = &search.uarts;
    unsigned found = open_first(serial, list, 0);
    if (found == list->count && search.pci) {
        uart_add_pci(list, console.io);
        search.pci = false;
        found = open_first(serial, list, found);
    }
    if (found == list->count)
        return false;
    *which = list->at[found];
    return true;
}

static bool open_ours(const struct console_config *config)
{
    if (!config->named)
        return find_serial(&console.serial, &search.ours);
    search.ours = config->uarts.at[0];
    return open_serial(&console.serial, &search.ours.place);
}

static void init_ports(const struct console_config *config)
{
    console.io = config->io;
    search.map = config->map;
    search.uarts = config->uarts;
    search.pci = config->search_pci;
    console.ramlog = config->ramlog ? *config->ramlog : (struct ramlog){0};
    console.has_serial = config->serial && open_ours(config);
    console.has_debug_port = config->debug_port && config->io->in8(DEBUG_PORT) == DEBUG_PORT;
}

// ---- the console ------------------------------------------------------------------------------

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

// "serial port 3f8 (COM1)"
static void describe_serial(char *buf, size_t size, const struct uart_candidate *candidate)
{
    char name[32], origin[32];
    uart_name(name, sizeof(name), &candidate->place);
    uart_origin(origin, sizeof(origin), candidate);
    fmt_snprintf(buf, size, "serial port %s (%s)", name, origin);
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
    char serial[72] = "no serial port", screen[72];
    if (console.has_serial)
        describe_serial(serial, sizeof(serial), &search.ours);
    describe_screen(screen, sizeof(screen), &config->screen);
    log_info("console: %s, %s, %s", serial, console.has_debug_port ? "port e9" : "no port e9",
             screen);
}

void console_init(const struct console_config *config)
{
    init_ports(config);
    init_screen(&config->screen);
    log_set_sink(console_write, true);
    report(config);
}

int console_keep_font(struct frame_pool *frames)
{
    if (console.draw != fbcon_draw)
        return OK;
    u64 bytes = align_up(fbcon_font_size(&console.fb), PAGE_SIZE);
    hpa_t memory;
    int err = frame_alloc(frames, bytes >> PAGE_SHIFT, PAGE_SIZE, 0, &memory);
    if (err == OK)
        fbcon_move_font(&console.fb, phys_ptr(memory));
    return err;
}

// ---- input ------------------------------------------------------------------------------------

// The port itself where the console writes to it already: a second set-up would lose what it sends.
static struct serial *find_input(const struct uart_place *place)
{
    if (console.has_serial && uart_same(place, &console.serial.place))
        return &console.serial;
    return open_serial(&console.input, place) ? &console.input : NULL;
}

static struct serial *first_input(void)
{
    struct uart_candidate which;
    if (console.has_serial)
        return &console.serial;
    return find_serial(&console.input, &which) ? &console.input : NULL;
}

struct serial *console_listen(const struct uart_place *place, void (*arrived)(void))
{
    struct serial *found = place ? find_input(place) : first_input();
    if (found)
        serial_listen(found, &console.received, arrived);
    return found;
}

void console_list_serial(void)
{
    struct uart_list list = search.uarts;
    unsigned found = 0;

    uart_add_pci(&list, console.io);
    for (unsigned i = 0; i < list.count; i++) {
        char text[72];
        struct serial other;
        bool ours = console.has_serial && uart_same(&list.at[i].place, &console.serial.place);
        if (!ours && !open_serial(&other, &list.at[i].place))
            continue;
        describe_serial(text, sizeof(text), &list.at[i]);
        log_info("%s%s", text, ours ? ": the console's" : "");
        found++;
    }
    if (!found)
        log_info("no serial port");
}
