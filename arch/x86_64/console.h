// SPDX-License-Identifier: MIT
// The console: everything Corbel says goes to a serial port, the emulators' debug port E9H and the
// screen, as far as each is there.
#pragma once

#include "arch/x86_64/lib/frame.h"
#include "arch/x86_64/port_io.h"
#include "arch/x86_64/ramlog.h"
#include "arch/x86_64/screen.h"
#include "arch/x86_64/textgrid.h"
#include "arch/x86_64/uart_find.h"

struct console_config {
    const struct port_io *io;
    void *(*map)(u64 base, u64 size); // maps device memory at a host-physical address; NULL: cannot
    struct uart_list uarts;           // where a UART may be, in the order of preference
    bool search_pci;                  // if there is none, look for one on PCI
    bool serial;                      // write to the first that is there
    bool named;                       // or to the list's first and no other: the user chose it
    bool debug_port;                  // write to port E9H if it is there
    struct screen screen;             // kind SCREEN_NONE: none
    const struct ramlog *ramlog;      // gets all that the streams get; NULL: none; copied
};

// Looks for what config allows, becomes the log's sink (what the log holds already is replayed) and
// says in one line what was found. Nothing found is not an error: the log goes on in its ring.
void console_init(const struct console_config *config);

// Moves the font that the screen uses, if it uses one, into frames of the pool: the start, which
// holds all fonts, is over. E_NOMEM.
MUST_CHECK int console_keep_font(struct frame_pool *frames);

// Whether console_init() has been called.
bool console_is_open(void);

// Writes text everywhere; a newline becomes CR LF on the serial port. Not locked: the log's lock
// covers its lines, and the crash screen must not wait for one.
void console_write(const char *text, size_t length);

// The parts of that: the serial and debug ports and the log in memory, which keep what they were
// given, and the screen, which shows the last of it.
void console_write_streams(const char *text, size_t length);
void console_write_screen(const char *text, size_t length);

// Waits, boundedly, until all of it is out of the machine. Before the machine is ended, else the
// last characters are lost.
void console_flush(void);

// Starts receiving from the serial port at place, or with NULL from the first there is: the one the
// console writes to, else as it would be found for that, as serial_listen() does. The port, or NULL
// if there is none.
struct serial *console_listen(const struct uart_place *place, void (*arrived)(void));

// Logs every serial port of the configuration and on PCI that works.
void console_list_serial(void);

// The screen's size in characters; 0 if there is none.
u32 console_screen_columns(void);
u32 console_screen_rows(void);

// The screen's characters, for who wants to lay them out himself; console_show() draws them. NULL
// if there is no screen. What is logged meanwhile is written among them.
struct textgrid *console_grid(void);
void console_show(void);

// Writes to the screen no more: writing to it may be what crashed.
void console_drop_screen(void);

// Clears the screen and gives it the crash screen's colours.
void console_alarm(void);
