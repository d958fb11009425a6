// SPDX-License-Identifier: MIT
// A 16550A serial port (National Semiconductor PC16550D datasheet). Its interrupt leaves the chip
// through MCR's OUT2 bit, as PCs wire it.
//
// Time on the line: a byte written to THR is handed to the chardev at once, so the transmitter is
// empty again by the time the guest looks and there is no transmit FIFO to see. Received bytes
// arrive when uart_receive() brings them; the character timeout interrupt comes four character
// times, by the programmed rate, after the last byte came or was read.
//
// Modem inputs: CTS, DSR and DCD asserted, RI not: something is plugged in. Parity, framing and
// break errors do not happen. An overrun happens in loopback only, where the guest itself sends
// without looking; uart_receive() takes no more than there is room for.
//
// In loopback the OUT2 bit still gates the interrupt (the chip's pin would be inactive), so that a
// guest can test the interrupts it is told are fully operational there.
//
// Not locked: the caller holds whatever serialises a VM's devices.
#pragma once

#include "devices/bus.h"

#define UART_PORTS 8u
#define UART_FIFO  16u
#define UART_COM1  0x3f8u
#define UART_COM2  0x2f8u

struct uart_config {
    const char *name; // lives as long as the uart
    u16 port;         // of the first register
    const struct clock *clock;
    struct deadline_queue *queue; // with room for one deadline
    struct irq_pin irq;
    struct chardev out;
};

struct uart {
    struct device dev;
    struct uart_config config;
    struct deadline timeout;
    u64 timeout_ticks; // four character times at the programmed rate and format
    u8 ier, fcr, lcr, mcr, scr;
    u8 errors; // LSR bits 4-1
    u8 inputs; // MSR bits 7-4
    u8 deltas; // MSR bits 3-0
    u16 divisor;
    bool thr_emptied; // the THR interrupt: cleared by reading it in IIR and by writing THR
    bool timed_out;   // the character timeout interrupt
    bool line;        // what irq was last set to
    u8 fifo[UART_FIFO];
    u8 head, count; // received bytes; without FIFOs, at most one at head
};

void uart_init(struct uart *uart, const struct uart_config *config);

// Claims the eight ports; bus_attach's errors.
int uart_attach(struct uart *uart, struct bus *bus);

// The world's input: takes as many of the n bytes as there is room for and says how many. In
// loopback nothing is taken. The caller keeps the rest and offers it again when out.room is called:
// when the guest has read the last byte, looks for one in LSR, or turns on the interrupt for it.
size_t uart_receive(struct uart *uart, const u8 *data, size_t n);

// How many bytes uart_receive would take now.
size_t uart_room(const struct uart *uart);

// Whether the guest waits for the interrupt of received data; else it may look at LSR one day, or
// have no driver yet.
bool uart_listens(const struct uart *uart);
