// SPDX-License-Identifier: MIT
// The PCI host bridge: configuration mechanism #1 at CF8H-CFFH (PCI Local Bus Specification,
// "Software Generation of Configuration Transactions") with one function behind it, the bridge
// itself at bus 0, device 0, function 0: an Intel 82441FX (8086H:1237H), the plainest bridge that
// guests know, without the registers of its own above the header, which read 0. Every other
// function is absent: reads give all ones.
//
// CONFIG_ADDRESS exists for accesses of 32 bits only. Others in CF8H-CFBH are ordinary port
// accesses, and a PC has its reset control register in their midst, at CF9H.
//
// Not locked: the caller holds whatever serialises a VM's devices.
#pragma once

#include "devices/bus.h"

#define PCI_CONFIG_ADDRESS 0xcf8u
#define PCI_CONFIG_DATA    0xcfcu
#define PCI_HEADER_WORDS   16u // of 4 bytes

struct pci {
    struct device dev;
    struct device *cf9; // answers byte accesses to CF9H; NULL: nobody
    u32 address;        // CONFIG_ADDRESS
    u32 bridge[PCI_HEADER_WORDS];
};

void pci_init(struct pci *pci, struct device *cf9);

// Claims CF8H-CFFH; bus_attach's errors.
int pci_attach(struct pci *pci, struct bus *bus);
