// SPDX-License-Identifier: MIT
// A 16550A-compatible UART of the host: National Semiconductor's PC16550D data sheet. What is sent
// is polled; what is received goes into a ring as it arrives, by interrupt or whenever somebody
// looks.
#pragma once

#include "arch/x86_64/port_io.h"

// Where the eight registers of a UART are.
struct uart_place {
    enum { UART_NOWHERE, UART_PORT, UART_MEMORY } space;
    u64 base;  // first port, or host-physical address
    u8 stride; // bytes from one register to the next
    u8 width;  // bytes of an access: 1, 2 or 4; always 1 for ports
    // The firmware has set its rate, and its clock need not be a PC's: the divisor is left alone.
    bool keep_rate;
};

#define UART_AT_PORT(port) ((struct uart_place){UART_PORT, port, 1, 1, false})

// The bytes of memory that a UART there takes.
static inline u64 uart_span(const struct uart_place *place)
{
    return 8u * place->stride;
}

static inline bool uart_same(const struct uart_place *a, const struct uart_place *b)
{
    return a->space == b->space && a->base == b->base;
}

#define SERIAL_RING 8192u // bytes, a power of two

// Bytes received that nobody has read yet.
struct serial_input {
    u32 put, taken; // bytes ever
    bool held;      // the ring is filling up: RTS tells the other side to wait
    bool stopped;   // the ring is full: the UART keeps what comes and interrupts no more
    u32 overruns;   // times the UART had to drop bytes
    void (*arrived)(void);
    u8 ring[SERIAL_RING];
};

struct serial {
    const struct port_io *io;
    struct uart_place place;
    volatile u8 *memory; // of one in memory, mapped
    u8 fifo_size;        // bytes that may follow one another once the transmitter is empty
    bool absent;         // nothing there: never touched again
    bool timed_out;      // the transmitter got stuck; written to again as soon as it is ready
    struct serial_input *input; // NULL: nobody listens
};

#define SERIAL_COM1 0x3f8
#define SERIAL_COM2 0x2f8
#define SERIAL_COM3 0x3e8
#define SERIAL_COM4 0x2e8
#define SERIAL_BAUD 115200u

// Looks for a UART at place, which is mapped at memory if it is in memory, and sets it to 115200
// baud (a PC's clock given, or unless its rate is to be kept), 8N1, FIFOs on, interrupts off.
// Whatever is or is not there, every wait is bounded. E_NOENT if there is none that works; the
// other functions then do nothing.
int serial_init(struct serial *serial, const struct port_io *io, const struct uart_place *place,
                volatile void *memory);

// Sends text as it stands. Text is lost while the transmitter is stuck. What arrives meanwhile is
// received.
void serial_write(struct serial *serial, const char *text, size_t length);

// Waits, boundedly, until the last bit has left the UART.
void serial_drain(struct serial *serial);

// Starts receiving into *input, which is emptied; arrived (or NULL) is called whenever bytes were
// put into the ring, by whomever: often enough that is a serial_write(). From now on the UART
// interrupts (OUT2, which on a PC lets its interrupt out, is set), and RTS holds the other side
// back while the ring is three quarters full, until it is half empty.
void serial_listen(struct serial *serial, struct serial_input *input, void (*arrived)(void));

// Moves what has arrived into the ring, until the UART has no more or the ring is full: the work of
// its interrupt's handler. Interrupts are off.
void serial_receive(struct serial *serial);

// The next byte of the ring, or -1 if it is empty. Interrupts are off.
int serial_read(struct serial *serial);

// Whether the ring holds this byte.
bool serial_holds(const struct serial *serial, u8 byte);

// Asks for an interrupt at once (on), to see whether it arrives, and takes that back (off).
void serial_provoke(struct serial *serial, bool on);
