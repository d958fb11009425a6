// SPDX-License-Identifier: MIT
// A UART of the tests' own making behind struct port_io, with the ways a real one can fail: at
// ports, or in memory when fake.stride says so. The debug port E9H and PCI's configuration ports
// are beside it.
#pragma once

#include <stdlib.h>
#include <string.h>

#include "arch/x86_64/port_io.h"

#define FAKE_BASE   0x2f8
#define FAKE_MEMORY 0xfe034000 // host-physical, of the one in memory

enum fake_fault {
    FAKE_WORKS,
    FAKE_NO_FIFO,
    FAKE_NOTHING,      // all ones
    FAKE_ZEROS,        // all zeros
    FAKE_BUSY,         // never ready to transmit
    FAKE_NO_SCRATCH,   // LSR looks right, the scratch register always holds stuck
    FAKE_NO_LOOPBACK,  // a byte sent in loopback never comes back
    FAKE_BAD_LOOPBACK, // ... or comes back as stuck
    FAKE_ALWAYS_DR,    // data ready that never ends
};

static struct {
    enum fake_fault fault;
    u64 reads;  // of any port
    u64 writes; // of the UART's ports
    u8 stuck;   // what a register stuck at one value holds
    u8 ier, lcr, mcr, scratch, fcr;
    u16 divisor;
    unsigned fifo;         // bytes in the transmitter
    unsigned pace;         // LSR reads that one byte takes
    unsigned until_sent;   // LSR reads until the next byte is out
    unsigned shifting;     // LSR reads until the last bit is out, once the FIFO is empty
    unsigned overruns;     // bytes written with no room for them
    unsigned while_misset; // bytes sent at a wrong rate or format
    bool leaked;           // a loopback byte went out on the line
    u8 received[20000];
    unsigned nreceived, next_received;
    unsigned iir_reads;
    bool overrun;  // LSR has that bit until it is read
    unsigned late; // bytes 'a', 'b', ... that arrive one an LSR read
    char sent[80000];
    size_t nsent;
    bool has_e9;
    char e9[80000];
    size_t ne9;
    bool mirrored; // the UART answers at COM1's ports too
    u16 stray;     // a port written that is none of these
    u8 crtc[2];
    unsigned stride, width; // of the UART in memory; 0: it is at ports
    u32 pci_address;
    u32 (*pci)(u32 address, const u32 *write); // configuration space; NULL: no PCI
} fake;

static u8 fake_memory[64]; // what FAKE_MEMORY is mapped at

static void fake_reset(enum fake_fault fault)
{
    memset(&fake, 0, sizeof(fake));
    fake.fault = fault;
    fake.pace = 3;
    fake.divisor = 0x10c;
    fake.ier = 0xf;
}

static inline void fake_receive(u8 byte)
{
    fake.received[fake.nreceived++ % sizeof(fake.received)] = byte;
}

static void fake_transmit(u8 value)
{
    unsigned room = fake.fault == FAKE_NO_FIFO || !(fake.fcr & 1) ? 1 : 16;
    if (fake.fifo >= room) {
        fake.overruns++;
        return;
    }
    if (fake.divisor != 1 || fake.lcr != 3)
        fake.while_misset++;
    if (!fake.fifo++)
        fake.until_sent = fake.pace;
    fake.shifting = fake.pace;
    if (!(fake.mcr & 0x10)) {
        if (fake.nsent < sizeof(fake.sent) - 1)
            fake.sent[fake.nsent++] = (char)value;
    } else if (fake.fault != FAKE_NO_LOOPBACK) {
        fake_receive(fake.fault == FAKE_BAD_LOOPBACK ? fake.stuck : value);
    }
}

static u8 fake_lsr(void)
{
    u8 overrun = fake.overrun ? 2 : 0;
    fake.overrun = false;
    if (fake.late)
        fake_receive((u8)('a' + --fake.late % 26));
    if (fake.fault == FAKE_BUSY)
        return (fake.nreceived != fake.next_received) | overrun;
    if (fake.fifo && --fake.until_sent == 0) {
        fake.fifo--;
        fake.until_sent = fake.pace;
    } else if (!fake.fifo && fake.shifting) {
        fake.shifting--;
    }
    u8 ready = fake.nreceived != fake.next_received || fake.fault == FAKE_ALWAYS_DR;
    return (fake.fifo ? 0 : 0x20) | (fake.fifo || fake.shifting ? 0 : 0x40) | ready | overrun;
}

static u16 fake_port(u16 port)
{
    return fake.mirrored && port >> 3 == 0x3f8 >> 3 ? (u16)(FAKE_BASE + (port & 7)) : port;
}

static u8 fake_in8(u16 port)
{
    port = fake_port(port);
    fake.reads++;
    if (port == 0xe9)
        return fake.has_e9 ? 0xe9 : 0xff;
    if (fake.fault == FAKE_NOTHING || port < FAKE_BASE || port > FAKE_BASE + 7)
        return 0xff;
    if (fake.fault == FAKE_ZEROS)
        return 0;
    switch (port - FAKE_BASE) {
    case 0:
        if (fake.lcr & 0x80)
            return (u8)fake.divisor;
        return fake.nreceived == fake.next_received
                   ? 0
                   : fake.received[fake.next_received++ % sizeof(fake.received)];
    case 1:
        return fake.lcr & 0x80 ? (u8)(fake.divisor >> 8) : fake.ier;
    case 2:
        fake.iir_reads++;
        return fake.fault == FAKE_NO_FIFO || !(fake.fcr & 1) ? 0x01 : 0xc1;
    case 5:
        return fake_lsr();
    case 7:
        return fake.fault == FAKE_NO_SCRATCH ? fake.stuck : fake.scratch;
    default:
        return 0;
    }
}

static void fake_out8(u16 port, u8 value)
{
    port = fake_port(port);
    if (port == 0xe9) {
        if (fake.has_e9 && fake.ne9 < sizeof(fake.e9) - 1)
            fake.e9[fake.ne9++] = (char)value;
        return;
    }
    if (port == 0x3d4 || port == 0x3d5) {
        fake.crtc[port - 0x3d4] = value;
        return;
    }
    if (port < FAKE_BASE || port > FAKE_BASE + 7) {
        fake.stray = port;
        return;
    }
    fake.writes++;
    bool dlab = fake.lcr & 0x80;
    switch (port - FAKE_BASE) {
    case 0:
        if (dlab)
            fake.divisor = (fake.divisor & 0xff00) | value;
        else
            fake_transmit(value);
        break;
    case 1:
        if (dlab)
            fake.divisor = (u16)((fake.divisor & 0xff) | value << 8);
        else
            fake.ier = value;
        break;
    case 2:
        fake.fcr = value;
        if ((value & 2) && fake.fault != FAKE_NO_FIFO)
            fake.next_received = fake.nreceived;
        break;
    case 3:
        fake.lcr = value;
        break;
    case 4:
        if ((fake.mcr & 0x10) && !(value & 0x10) && fake.shifting)
            fake.leaked = true;
        fake.mcr = value;
        break;
    case 7:
        fake.scratch = value;
        break;
    default:
        break;
    }
}

static u32 fake_in32(u16 port)
{
    fake.reads++;
    if (port == 0xcf8)
        return fake.pci ? fake.pci_address : ~0u;
    return port == 0xcfc && fake.pci ? fake.pci(fake.pci_address, NULL) : ~0u;
}

static void fake_out32(u16 port, u32 value)
{
    if (port == 0xcf8)
        fake.pci_address = value;
    else if (port == 0xcfc && fake.pci)
        fake.pci(fake.pci_address, &value);
    else
        fake.stray = port;
}

// The port of the register at this address; the access must be one that the UART answers.
static u16 fake_register(const volatile void *at, unsigned width)
{
    size_t offset = (size_t)((const volatile u8 *)at - fake_memory);
    if (!fake.stride || width != fake.width || offset % fake.stride || offset / fake.stride > 7)
        abort();
    return (u16)(FAKE_BASE + offset / fake.stride);
}

static u32 fake_read(const volatile void *at, unsigned width)
{
    u16 port = fake_register(at, width);
    // The upper bytes of a wide register are anything.
    return 0xdeadbe00u | fake_in8(port);
}

static void fake_write(volatile void *at, unsigned width, u32 value)
{
    fake_out8(fake_register(at, width), (u8)value);
}

static inline void *fake_map(u64 base, u64 size)
{
    return base == FAKE_MEMORY && size == 8 * fake.stride ? fake_memory : NULL;
}

static const struct port_io fake_ports = {fake_in8,   fake_out8, fake_in32,
                                          fake_out32, fake_read, fake_write};
