// SPDX-License-Identifier: MIT
// The console's state, which console_open.c sets up and console.c uses.
#pragma once

#include "arch/x86_64/console.h"
#include "arch/x86_64/fbcon.h"
#include "arch/x86_64/serial.h"
#include "arch/x86_64/vga_text.h"

// The debug port of Bochs and QEMU. Bochs answers a read with the port's own number; so does
// QEMU's debugcon there.
#define DEBUG_PORT 0xe9

struct console {
    const struct port_io *io; // NULL: not open yet
    bool has_serial, has_debug_port;
    struct ramlog ramlog;
    struct serial serial;
    struct serial input; // where that is another port
    struct serial_input received;
    struct vga_text vga;
    struct fbcon fb;
    struct textgrid grid;
    textgrid_draw_fn draw; // NULL: no screen
    void *draw_on;         // its first argument
};

// One of the few variables: a crash knows no context.
extern struct console console;
