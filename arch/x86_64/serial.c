// SPDX-License-Identifier: MIT
#include "arch/x86_64/serial.h"

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"

// Registers, from the base port.
#define REG_RBR 0 // receive buffer, read
#define REG_THR 0 // transmit holding, write
#define REG_DLL 0 // divisor, with LCR_DLAB
#define REG_DLM 1
#define REG_IER 1
#define REG_IIR 2 // read
#define REG_FCR 2 // write
#define REG_LCR 3
#define REG_MCR 4
#define REG_LSR 5
#define REG_SCR 7 // scratch

#define IIR_FIFO_ON  0xc0
#define FCR_ENABLE   0x01
#define FCR_CLEAR    0x06 // receiver and transmitter
#define LCR_8N1      0x03
#define LCR_DLAB     0x80
#define MCR_DTR_RTS  0x03
#define MCR_LOOPBACK 0x10
#define LSR_DR       0x01 // data ready
#define LSR_THRE     0x20 // transmit holding register (and FIFO) empty
#define LSR_TEMT     0x40 // shift register empty too
#define LSR_ABSENT   0xff // no UART sets all of them

#define DIVISOR_115200 1
#define FIFO_SIZE      16

// Sixteen characters take 1.4 ms at 115200 baud; a port read takes from a tenth of a microsecond to
// a few. This many reads are far beyond the first and never much more than a second.
#define WAIT_POLLS 1000000u

static u8 get(const struct serial *serial, unsigned reg)
{
    return serial->io->in8((u16)(serial->base + reg));
}

static void put(const struct serial *serial, unsigned reg, u8 value)
{
    serial->io->out8((u16)(serial->base + reg), value);
}

static bool lsr_has(const struct serial *serial, u8 bits)
{
    u8 lsr = get(serial, REG_LSR);
    return lsr != LSR_ABSENT && (lsr & bits) == bits;
}

// Whether the bits came before the patience ended.
static bool wait_lsr(const struct serial *serial, u8 bits)
{
    for (u32 i = 0; i < WAIT_POLLS; i++)
        if (lsr_has(serial, bits))
            return true;
    return false;
}

static bool scratch_holds(const struct serial *serial, u8 value)
{
    put(serial, REG_SCR, value);
    return get(serial, REG_SCR) == value;
}

static void set_line(const struct serial *serial)
{
    put(serial, REG_IER, 0);
    put(serial, REG_LCR, LCR_DLAB | LCR_8N1);
    put(serial, REG_DLL, DIVISOR_115200);
    put(serial, REG_DLM, 0);
    put(serial, REG_LCR, LCR_8N1);
    put(serial, REG_FCR, FCR_ENABLE | FCR_CLEAR);
}

static void drop_received(const struct serial *serial)
{
    for (unsigned i = 0; i < FIFO_SIZE && lsr_has(serial, LSR_DR); i++)
        get(serial, REG_RBR);
}

// Sends a byte to the UART's own receiver.
static bool loopback_returns(const struct serial *serial, u8 value)
{
    put(serial, REG_THR, value);
    // The byte has left the transmitter for good when this is over: the next one finds it empty,
    // and none goes out on the line when the loopback ends.
    return wait_lsr(serial, LSR_DR | LSR_THRE | LSR_TEMT) && get(serial, REG_RBR) == value;
}

static bool probe(const struct serial *serial)
{
    if (get(serial, REG_LSR) == LSR_ABSENT)
        return false;
    if (!scratch_holds(serial, 0xae) || !scratch_holds(serial, 0x51))
        return false;
    // What the firmware still has to say goes out before the line changes under it.
    if (!wait_lsr(serial, LSR_THRE | LSR_TEMT))
        return false;
    set_line(serial);
    put(serial, REG_MCR, MCR_LOOPBACK | MCR_DTR_RTS);
    drop_received(serial);
    bool works = loopback_returns(serial, 0x5a) && loopback_returns(serial, 0xa5);
    put(serial, REG_MCR, MCR_DTR_RTS);
    return works;
}

int serial_init(struct serial *serial, const struct port_io *io, u16 base)
{
    *serial = (struct serial){.io = io, .base = base};
    if (!probe(serial)) {
        serial->absent = true;
        return E_NOENT;
    }
    // A UART without a (working) FIFO takes one byte at a time.
    bool fifo = (get(serial, REG_IIR) & IIR_FIFO_ON) == IIR_FIFO_ON;
    serial->fifo_size = fifo ? FIFO_SIZE : 1;
    return OK;
}

// A transmitter that got stuck once is given one look, not the whole patience, from then on.
static bool ready(struct serial *serial)
{
    bool now = serial->timed_out ? lsr_has(serial, LSR_THRE) : wait_lsr(serial, LSR_THRE);
    serial->timed_out = !now;
    return now;
}

void serial_write(struct serial *serial, const char *text, size_t length)
{
    if (serial->absent)
        return;
    while (length && ready(serial)) {
        size_t burst = length < serial->fifo_size ? length : serial->fifo_size;
        for (size_t i = 0; i < burst; i++)
            put(serial, REG_THR, (u8)text[i]);
        text += burst;
        length -= burst;
    }
}

void serial_drain(struct serial *serial)
{
    if (!serial->absent && !serial->timed_out)
        serial->timed_out = !wait_lsr(serial, LSR_THRE | LSR_TEMT);
}

int serial_poll_read(struct serial *serial)
{
    if (serial->absent || !lsr_has(serial, LSR_DR))
        return -1;
    return get(serial, REG_RBR);
}
