// SPDX-License-Identifier: MIT
#include "devices/pci.h"

#include "arch/x86_64/lib/bits.h"
#include "devices/reset.h"

#define ADDRESS_ENABLE   BIT32(31)
#define ADDRESS_FUNCTION ((u32)BITS(23, 8)) // bus, device and function: 0 is the bridge
#define ADDRESS_REGISTER ((u32)BITS(7, 2))
#define ADDRESS_KEPT     (ADDRESS_ENABLE | ADDRESS_FUNCTION | ADDRESS_REGISTER)

// The bridge's header after reset, and the bits of it that software can change: all others are read
// only (82441FX datasheet, "PCI Configuration Space Mapped Registers"). Status has nothing to
// clear: no cycle on this bus goes wrong.
static const struct {
    u32 reset, writable;
} header[PCI_HEADER_WORDS] = {
    [0] = {0x12378086, 0         },
 // Status: DEVSEL timing medium, fast back-to-back. Command: memory and bus master, always on;
  // parity error response and SERR# can be set.
    [1] = {0x02800006, 0x00000140},
    [2] = {0x06000002, 0         }, // host bridge, revision 2
    [3] = {0,          0x0000f800}, // header type 0; the latency timer in steps of 8
};

static u32 config_read(const struct pci *pci)
{
    u32 index = (pci->address & ADDRESS_REGISTER) / 4;
    if (pci->address & ADDRESS_FUNCTION)
        return ~0u;
    return index < PCI_HEADER_WORDS ? pci->bridge[index] : 0;
}

static void config_write(struct pci *pci, u32 value, u32 mask)
{
    u32 index = (pci->address & ADDRESS_REGISTER) / 4;
    if (pci->address & ADDRESS_FUNCTION || index >= PCI_HEADER_WORDS)
        return;
    mask &= header[index].writable;
    pci->bridge[index] = (pci->bridge[index] & ~mask) | (value & mask);
}

// CONFIG_DATA: the bytes of the selected register that the access covers.
static enum io_result data_access(struct pci *pci, struct io_access *io)
{
    u32 shift = (io->addr & 3) * 8;
    if (!(pci->address & ADDRESS_ENABLE))
        return IO_UNCLAIMED;
    if (io->write)
        config_write(pci, (u32)io->value << shift, (u32)low_bytes(~0ull, io->size) << shift);
    else
        io->value = low_bytes(config_read(pci) >> shift, io->size);
    return IO_DONE;
}

static enum io_result pci_access(struct device *dev, struct io_access *io)
{
    struct pci *pci = container_of(dev, struct pci, dev);
    u64 last = io->addr + io->size - 1;
    if (io->addr >= PCI_CONFIG_DATA)
        return data_access(pci, io);
    if (last >= PCI_CONFIG_DATA)
        return IO_UNCLAIMED; // straddles the two registers
    if (io->size == 4) {     // so it is at CF8H
        if (io->write)
            pci->address = (u32)io->value & ADDRESS_KEPT;
        else
            io->value = pci->address;
        return IO_DONE;
    }
    if (io->addr == RESET_PORT_CF9 && io->size == 1 && pci->cf9)
        return pci->cf9->ops->access(pci->cf9, io);
    return IO_UNCLAIMED;
}

static void pci_reset(struct device *dev)
{
    struct pci *pci = container_of(dev, struct pci, dev);
    pci->address = 0;
    for (u32 i = 0; i < PCI_HEADER_WORDS; i++)
        pci->bridge[i] = header[i].reset;
}

static const struct device_ops pci_ops = {.reset = pci_reset, .access = pci_access};

INIT void pci_init(struct pci *pci, struct device *cf9)
{
    *pci = (struct pci){
        .dev = {.name = "pci", .ops = &pci_ops},
        .cf9 = cf9,
    };
    pci_reset(&pci->dev);
}

INIT int pci_attach(struct pci *pci, struct bus *bus)
{
    return bus_attach(bus, &pci->dev, IO_PORT, PCI_CONFIG_ADDRESS, 8);
}
