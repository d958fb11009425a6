// SPDX-License-Identifier: MIT
// A 16550A-compatible UART of the host, polled: National Semiconductor's PC16550D data sheet.
#pragma once

#include "arch/x86_64/port_io.h"

struct serial {
    const struct port_io *io;
    u16 base;       // first of its eight ports
    u8 fifo_size;   // bytes that may follow one another once the transmitter is empty
    bool absent;    // nothing there: never touched again
    bool timed_out; // the transmitter got stuck; written to again as soon as it is ready
};

#define SERIAL_COM1 0x3f8
#define SERIAL_BAUD 115200u

// Looks for a UART at base and sets it to 115200 baud, 8N1, FIFOs on, interrupts off. Whatever is
// or is not there, every wait is bounded. E_NOENT if there is none that works; the other functions
// then do nothing.
int serial_init(struct serial *serial, const struct port_io *io, u16 base);

// Sends text as it stands. Text is lost while the transmitter is stuck.
void serial_write(struct serial *serial, const char *text, size_t length);

// Waits, boundedly, until the last bit has left the UART.
void serial_drain(struct serial *serial);

// The next byte received, or -1 if there is none now.
int serial_poll_read(struct serial *serial);
