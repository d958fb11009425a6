// SPDX-License-Identifier: MIT
#include "devices/uart.h"

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "devices/bytewise.h"

#define BAUD_BASE 115200u // with divisor 1, from the PC's 1.8432 MHz crystal

enum { REG_DATA, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR };

enum {
    IER_RECEIVED = 0x01,
    IER_THR = 0x02,
    IER_LINE = 0x04,
    IER_MODEM = 0x08,
    IER_KEPT = 0x0f,

    // Interrupt identifications, in the order of their priority.
    IIR_LINE = 0x06,
    IIR_RECEIVED = 0x04,
    IIR_TIMEOUT = 0x0c,
    IIR_THR = 0x02,
    IIR_MODEM = 0x00,
    IIR_NONE = 0x01,
    IIR_FIFOS = 0xc0,

    FCR_ENABLE = 0x01,
    FCR_CLEAR_RECEIVED = 0x02,

    LCR_LENGTH = 0x03,
    LCR_STOP = 0x04,
    LCR_PARITY = 0x08,
    LCR_DLAB = 0x80,

    MCR_DTR = 0x01,
    MCR_RTS = 0x02,
    MCR_OUT1 = 0x04,
    MCR_OUT2 = 0x08,
    MCR_LOOP = 0x10,
    MCR_KEPT = 0x1f,

    LSR_READY = 0x01,
    LSR_OVERRUN = 0x02,
    LSR_EMPTY = 0x60, // THR and the shift register

    MSR_DELTA_CTS = 0x01,
    MSR_DELTA_DSR = 0x02,
    MSR_RI_ENDED = 0x04,
    MSR_DELTA_DCD = 0x08,
    MSR_CTS = 0x10,
    MSR_DSR = 0x20,
    MSR_RI = 0x40,
    MSR_DCD = 0x80,
    MSR_CONNECTED = MSR_CTS | MSR_DSR | MSR_DCD,
};

static bool fifos_on(const struct uart *uart)
{
    return uart->fcr & FCR_ENABLE;
}

static unsigned capacity(const struct uart *uart)
{
    return fifos_on(uart) ? UART_FIFO : 1;
}

// ---- interrupts ---------------------------------------------------------------------------------

static unsigned trigger_level(const struct uart *uart)
{
    static const u8 levels[4] = {1, 4, 8, 14};
    return fifos_on(uart) ? levels[uart->fcr >> 6] : 1;
}

static u8 interrupt_id(const struct uart *uart)
{
    if (uart->ier & IER_LINE && uart->errors)
        return IIR_LINE;
    if (uart->ier & IER_RECEIVED && uart->count >= trigger_level(uart))
        return IIR_RECEIVED;
    if (uart->ier & IER_RECEIVED && uart->timed_out)
        return IIR_TIMEOUT;
    if (uart->ier & IER_THR && uart->thr_emptied)
        return IIR_THR;
    if (uart->ier & IER_MODEM && uart->deltas)
        return IIR_MODEM;
    return IIR_NONE;
}

static void update_irq(struct uart *uart)
{
    bool level = uart->mcr & MCR_OUT2 && interrupt_id(uart) != IIR_NONE;
    if (level != uart->line)
        irq_set(&uart->config.irq, level);
    uart->line = level;
}

// A byte came or went: the wait for more starts anew. Nobody waits unless the interrupt is on and
// there is something to be told about.
static void restart_timeout(struct uart *uart)
{
    uart->timed_out = false;
    if (fifos_on(uart) && uart->count > 0 && uart->ier & IER_RECEIVED)
        deadline_arm(uart->config.queue, &uart->timeout,
                     clock_now(uart->config.clock) + uart->timeout_ticks);
    else
        deadline_cancel(uart->config.queue, &uart->timeout);
}

static void timeout_fire(struct deadline *entry, u64 now)
{
    struct uart *uart = container_of(entry, struct uart, timeout);
    (void)now;
    uart->timed_out = true;
    update_irq(uart);
}

// A character is a start bit, five to eight data bits, perhaps a parity bit, and one or two stop
// bits (1.5 for five data bits, counted as 2). Divisor 0, which the datasheet does not allow,
// counts as 1.
static void update_rate(struct uart *uart)
{
    u32 bits = 1 + 5 + (uart->lcr & LCR_LENGTH) + 1;
    bits += uart->lcr & LCR_PARITY ? 1 : 0;
    bits += uart->lcr & LCR_STOP ? 1 : 0;
    u32 divisor = uart->divisor ? uart->divisor : 1;
    uart->timeout_ticks = mul_div_up(4ull * bits * divisor, uart->config.clock->hz, BAUD_BASE);
}

// ---- received data ------------------------------------------------------------------------------

static void push(struct uart *uart, u8 byte)
{
    uart->fifo[(uart->head + uart->count) % UART_FIFO] = byte;
    uart->count++;
}

// A byte off the line whether there is room or not. The FIFO keeps what it holds and loses the new
// byte; the single register is overwritten.
static void force_receive(struct uart *uart, u8 byte)
{
    if (uart->count < capacity(uart)) {
        push(uart, byte);
    } else {
        uart->errors |= LSR_OVERRUN;
        if (!fifos_on(uart))
            uart->fifo[uart->head] = byte;
    }
    restart_timeout(uart);
}

static void clear_received(struct uart *uart)
{
    uart->head = uart->count = 0;
    restart_timeout(uart);
}

size_t uart_room(const struct uart *uart)
{
    return uart->mcr & MCR_LOOP ? 0 : capacity(uart) - uart->count;
}

size_t uart_receive(struct uart *uart, const u8 *data, size_t n)
{
    size_t room = uart_room(uart);
    size_t taken = n < room ? n : room;
    if (taken == 0)
        return 0;
    for (size_t i = 0; i < taken; i++)
        push(uart, data[i]);
    restart_timeout(uart);
    update_irq(uart);
    return taken;
}

bool uart_listens(const struct uart *uart)
{
    return uart->ier & IER_RECEIVED;
}

// The guest could take a byte now if there is one.
static void tell_room(struct uart *uart)
{
    if (uart->count == 0 && uart->config.out.room)
        uart->config.out.room(uart->config.out.ctx);
}

static u8 read_data(struct uart *uart)
{
    u8 byte = uart->fifo[uart->head];
    if (uart->count == 0)
        return byte; // what was there last
    uart->count--;
    if (fifos_on(uart))
        uart->head = (u8)(uart->head + 1) % UART_FIFO;
    restart_timeout(uart);
    update_irq(uart);
    tell_room(uart);
    return byte;
}

// ---- modem lines --------------------------------------------------------------------------------

// In loopback the modem inputs are the modem outputs.
static u8 modem_inputs(u8 mcr)
{
    if (!(mcr & MCR_LOOP))
        return MSR_CONNECTED;
    return (u8)((mcr & MCR_RTS ? MSR_CTS : 0) | (mcr & MCR_DTR ? MSR_DSR : 0) |
                (mcr & MCR_OUT1 ? MSR_RI : 0) | (mcr & MCR_OUT2 ? MSR_DCD : 0));
}

static void write_mcr(struct uart *uart, u8 value)
{
    uart->mcr = value & MCR_KEPT;
    u8 inputs = modem_inputs(uart->mcr);
    u8 changed = inputs ^ uart->inputs;
    u8 ended = changed & uart->inputs;
    uart->deltas |= changed >> 4 & (MSR_DELTA_CTS | MSR_DELTA_DSR | MSR_DELTA_DCD);
    uart->deltas |= ended >> 4 & MSR_RI_ENDED; // RI's bit is for its end only
    uart->inputs = inputs;
    update_irq(uart);
    if (uart_listens(uart))
        tell_room(uart);
}

static u8 read_msr(struct uart *uart)
{
    u8 value = uart->inputs | uart->deltas;
    uart->deltas = 0;
    update_irq(uart);
    return value;
}

// ---- the other registers ------------------------------------------------------------------------

static void send(struct uart *uart, u8 byte)
{
    if (uart->config.out.write)
        uart->config.out.write(uart->config.out.ctx, &byte, 1);
}

// Writing THR ends its interrupt and, the byte being gone at once, raises it again: the line shows
// both edges to a guest that never reads IIR.
static void write_data(struct uart *uart, u8 byte)
{
    uart->thr_emptied = false;
    if (uart->ier & IER_THR)
        update_irq(uart);
    if (uart->mcr & MCR_LOOP)
        force_receive(uart, byte);
    else
        send(uart, byte);
    uart->thr_emptied = true;
    if (uart->ier)
        update_irq(uart);
}

static void write_ier(struct uart *uart, u8 value)
{
    u8 risen = value & ~uart->ier;
    uart->ier = value & IER_KEPT;
    if (risen & IER_THR)
        uart->thr_emptied = true; // THR is empty when its interrupt is switched on
    if (risen & IER_RECEIVED)
        restart_timeout(uart);
    update_irq(uart);
    if (risen & IER_RECEIVED)
        tell_room(uart);
}

static u8 read_iir(struct uart *uart)
{
    u8 id = interrupt_id(uart);
    if (id == IIR_THR) {
        uart->thr_emptied = false;
        update_irq(uart);
    }
    return fifos_on(uart) ? id | IIR_FIFOS : id;
}

// FCR's other bits count only in a write that has the enable bit.
static void write_fcr(struct uart *uart, u8 value)
{
    u8 effective = value & FCR_ENABLE ? value : 0;
    bool switched = (effective ^ uart->fcr) & FCR_ENABLE;
    uart->fcr = effective;
    if (switched || effective & FCR_CLEAR_RECEIVED)
        clear_received(uart);
    update_irq(uart);
    if (uart_listens(uart))
        tell_room(uart);
}

static u8 read_lsr(struct uart *uart)
{
    tell_room(uart);
    u8 value = LSR_EMPTY | uart->errors | (uart->count ? LSR_READY : 0);
    if (uart->errors) {
        uart->errors = 0;
        update_irq(uart);
    }
    return value;
}

static void write_divisor(struct uart *uart, unsigned shift, u8 value)
{
    uart->divisor = (u16)((uart->divisor & ~(0xffu << shift)) | (u32)value << shift);
    update_rate(uart);
}

NOINLINE static u8 uart_read(struct uart *uart, u32 port)
{
    bool dlab = uart->lcr & LCR_DLAB;
    switch (port - uart->config.port) {
    case REG_DATA:
        return dlab ? (u8)uart->divisor : read_data(uart);
    case REG_IER:
        return dlab ? (u8)(uart->divisor >> 8) : uart->ier;
    case REG_IIR_FCR:
        return read_iir(uart);
    case REG_LCR:
        return uart->lcr;
    case REG_MCR:
        return uart->mcr;
    case REG_LSR:
        return read_lsr(uart);
    case REG_MSR:
        return read_msr(uart);
    default:
        return uart->scr;
    }
}

NOINLINE static void uart_write(struct uart *uart, u32 port, u8 value)
{
    u32 reg = port - uart->config.port;
    if (uart->lcr & LCR_DLAB && reg <= REG_IER) {
        write_divisor(uart, reg == REG_IER ? 8 : 0, value);
        return;
    }
    switch (reg) {
    case REG_DATA:
        write_data(uart, value);
        break;
    case REG_IER:
        write_ier(uart, value);
        break;
    case REG_IIR_FCR:
        write_fcr(uart, value);
        break;
    case REG_LCR:
        uart->lcr = value;
        update_rate(uart);
        break;
    case REG_MCR:
        write_mcr(uart, value);
        break;
    case REG_SCR:
        uart->scr = value;
        break;
    default: // LSR and MSR: writing them is for the factory
        break;
    }
}

// THR where nothing but the byte itself is of any consequence: guests print by this.
static bool only_sends(const struct uart *uart, u64 port)
{
    return port == uart->config.port && !(uart->lcr & LCR_DLAB) && !uart->ier &&
           !(uart->mcr & MCR_LOOP) && uart->thr_emptied;
}

static enum io_result uart_access(struct device *dev, struct io_access *io)
{
    struct uart *uart = container_of(dev, struct uart, dev);
    if (unlikely(io->size != 1))
        return bytewise_access(dev, io);
    if (!io->write)
        io->value = uart_read(uart, (u32)io->addr);
    else if (only_sends(uart, io->addr))
        send(uart, (u8)io->value);
    else
        uart_write(uart, (u32)io->addr, (u8)io->value);
    return IO_DONE;
}

static size_t uart_take(struct device *dev, u64 addr, const u8 *bytes, size_t n)
{
    struct uart *uart = container_of(dev, struct uart, dev);
    if (!only_sends(uart, addr))
        return 0;
    if (uart->config.out.write)
        uart->config.out.write(uart->config.out.ctx, bytes, n);
    return n;
}

// Master reset leaves the divisor and SCR as they are; the first one finds 9600 and 0.
static void uart_reset(struct device *dev)
{
    struct uart *uart = container_of(dev, struct uart, dev);
    uart->ier = uart->fcr = uart->lcr = uart->mcr = uart->errors = uart->deltas = 0;
    uart->inputs = modem_inputs(0);
    uart->thr_emptied = true;
    clear_received(uart);
    update_rate(uart);
    update_irq(uart);
}

static const struct device_ops uart_ops = {
    .reset = uart_reset, .access = uart_access, .take = uart_take};

INIT void uart_init(struct uart *uart, const struct uart_config *config)
{
    *uart = (struct uart){
        .dev = {.name = config->name, .ops = &uart_ops},
        .config = *config,
        .timeout = {.fire = timeout_fire                   },
        .divisor = 12,
    };
    uart_reset(&uart->dev);
}

INIT int uart_attach(struct uart *uart, struct bus *bus)
{
    return bus_attach(bus, &uart->dev, IO_PORT, uart->config.port, UART_PORTS);
}
