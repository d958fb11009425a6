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

#define IER_RECEIVED 0x01
#define IER_THR      0x02 // transmit holding register empty
#define IER_LINE     0x04 // errors
#define IIR_FIFO_ON  0xc0
#define FCR_ENABLE   0x01
#define FCR_CLEAR    0x06 // receiver and transmitter
#define FCR_TRIGGER  0x40 // interrupt at four bytes: the twelve others last a millisecond
#define LCR_8N1      0x03
#define LCR_DLAB     0x80
#define MCR_RTS      0x02
#define MCR_DTR_RTS  0x03
#define MCR_OUT2     0x08 // on a PC it lets the interrupt out
#define MCR_LISTEN   (MCR_DTR_RTS | MCR_OUT2)
#define MCR_LOOPBACK 0x10
#define LSR_DR       0x01 // data ready
#define LSR_OE       0x02 // overrun error
#define LSR_THRE     0x20 // transmit holding register (and FIFO) empty
#define LSR_TEMT     0x40 // shift register empty too
#define LSR_ABSENT   0xff // no UART sets all of them

#define DIVISOR_115200 1
#define FIFO_SIZE      16

#define RING_HIGH (SERIAL_RING / 4 * 3)
#define RING_LOW  (SERIAL_RING / 2)

// Sixteen characters take 1.4 ms at 115200 baud; a port read takes from a tenth of a microsecond to
// a few. This many reads are far beyond the first and never much more than a second.
#define WAIT_POLLS 1000000u

static u8 get(const struct serial *serial, unsigned reg)
{
    const struct uart_place *place = &serial->place;
    reg *= place->stride;
    if (place->space == UART_MEMORY)
        return (u8)serial->io->read(serial->memory + reg, place->width);
    return serial->io->in8((u16)(place->base + reg));
}

static void put(const struct serial *serial, unsigned reg, u8 value)
{
    const struct uart_place *place = &serial->place;
    reg *= place->stride;
    if (place->space == UART_MEMORY)
        serial->io->write(serial->memory + reg, place->width, value);
    else
        serial->io->out8((u16)(place->base + reg), value);
}

// Reading LSR clears its errors, so that each of them is counted here whoever reads it.
static bool lsr_has(const struct serial *serial, u8 bits)
{
    u8 lsr = get(serial, REG_LSR);
    if (lsr & LSR_OE && lsr != LSR_ABSENT && serial->input)
        serial->input->overruns++;
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

// A divisor of 0, which no rate is, was never set.
static bool has_rate(const struct serial *serial)
{
    return get(serial, REG_DLL) | get(serial, REG_DLM);
}

static void set_line(const struct serial *serial)
{
    put(serial, REG_IER, 0);
    put(serial, REG_LCR, LCR_DLAB | LCR_8N1);
    if (!serial->place.keep_rate || !has_rate(serial)) {
        put(serial, REG_DLL, DIVISOR_115200);
        put(serial, REG_DLM, 0);
    }
    put(serial, REG_LCR, LCR_8N1);
    put(serial, REG_FCR, FCR_ENABLE | FCR_CLEAR);
}

static void drop_received(const struct serial *serial)
{
    for (unsigned i = 0; i < FIFO_SIZE && lsr_has(serial, LSR_DR); i++)
        get(serial, REG_RBR);
}

// Sends a byte to the UART's own receiver.
INIT static bool loopback_returns(const struct serial *serial, u8 value)
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

INIT int serial_init(struct serial *serial, const struct port_io *io,
                     const struct uart_place *place, volatile void *memory)
{
    *serial = (struct serial){.io = io, .place = *place, .memory = memory};
    if (place->space == UART_NOWHERE || (place->space == UART_MEMORY && !memory) ||
        !probe(serial)) {
        serial->absent = true;
        return E_NOENT;
    }
    // A UART without a (working) FIFO takes one byte at a time.
    bool fifo = (get(serial, REG_IIR) & IIR_FIFO_ON) == IIR_FIFO_ON;
    serial->fifo_size = fifo ? FIFO_SIZE : 1;
    return OK;
}

// ---- sending ------------------------------------------------------------------------------------

static bool set_ready(struct serial *serial, bool now)
{
    serial->timed_out = !now;
    return now;
}

// A transmitter that got stuck once is given one look, not the whole patience, from then on.
// Receiving goes on meanwhile: sixteen bytes sent take as long as sixteen that overrun the
// receiver.
static bool ready(struct serial *serial)
{
    u32 patience = serial->timed_out ? 1 : WAIT_POLLS;
    for (u32 i = 0; i < patience; i++) {
        if (lsr_has(serial, LSR_THRE))
            return set_ready(serial, true);
        serial_receive(serial);
    }
    return set_ready(serial, false);
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

// ---- receiving ----------------------------------------------------------------------------------

static void set_interrupts(const struct serial *serial, bool on)
{
    put(serial, REG_IER, on ? IER_RECEIVED | IER_LINE : 0);
}

INIT void serial_listen(struct serial *serial, struct serial_input *input, void (*arrived)(void))
{
    if (serial->absent)
        return;
    *input = (struct serial_input){.arrived = arrived};
    serial->input = input;
    put(serial, REG_FCR, FCR_ENABLE | FCR_TRIGGER);
    put(serial, REG_MCR, MCR_LISTEN);
    set_interrupts(serial, true);
}

// A full ring leaves the rest to the UART, whose interrupt would not cease then: it is turned off
// until there is room.
static void control_flow(struct serial *serial)
{
    struct serial_input *in = serial->input;
    u32 count = in->put - in->taken;
    bool held = count >= (in->held ? RING_LOW : RING_HIGH);
    bool stopped = count == SERIAL_RING;

    if (held != in->held)
        put(serial, REG_MCR, held ? MCR_LISTEN & ~MCR_RTS : MCR_LISTEN);
    if (stopped != in->stopped)
        set_interrupts(serial, !stopped);
    in->held = held;
    in->stopped = stopped;
}

void serial_receive(struct serial *serial)
{
    struct serial_input *in = serial->input;

    if (!in)
        return;
    u32 before = in->put;
    while (in->put - in->taken < SERIAL_RING && lsr_has(serial, LSR_DR))
        in->ring[in->put++ % SERIAL_RING] = get(serial, REG_RBR);
    control_flow(serial);
    if (in->put != before && in->arrived)
        in->arrived();
}

int serial_read(struct serial *serial)
{
    struct serial_input *in = serial->input;
    if (!in || in->put == in->taken)
        return -1;
    int byte = in->ring[in->taken++ % SERIAL_RING];
    control_flow(serial);
    return byte;
}

bool serial_holds(const struct serial *serial, u8 byte)
{
    const struct serial_input *in = serial->input;
    for (u32 at = in ? in->taken : 0; in && at != in->put; at++)
        if (in->ring[at % SERIAL_RING] == byte)
            return true;
    return false;
}

// The interrupt of an empty THR comes once when it is turned on; reading IIR ends it.
INIT void serial_provoke(struct serial *serial, bool on)
{
    if (!serial->input)
        return;
    put(serial, REG_IER, IER_RECEIVED | IER_LINE | (on ? IER_THR : 0));
    if (!on)
        get(serial, REG_IIR);
}
