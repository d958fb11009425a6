// SPDX-License-Identifier: MIT
// Where a machine may have UARTs: what the firmware's tables name, a PC's four ports, and PCI.
// Nothing here touches a UART; serial_init() finds out whether one is there.
#pragma once

#include "arch/x86_64/acpi.h"
#include "arch/x86_64/serial.h"

struct uart_candidate {
    struct uart_place place;
    enum { UART_FROM_COMMAND, UART_FROM_SPCR, UART_FROM_PC, UART_FROM_PCI } from;
    u32 pci; // its function there: bus in bits 23:16, device in 15:11, function in 10:8
};

#define UART_LIST_MAX 16u

struct uart_list {
    struct uart_candidate at[UART_LIST_MAX];
    unsigned count;
};

// Whether a UART's registers can be there at all: not at 0, aligned, and before the space ends.
bool uart_place_valid(const struct uart_place *place);

// Adds a candidate unless the list is full or has one of that place.
void uart_add(struct uart_list *list, const struct uart_candidate *candidate);

// Adds the port that SPCR names, if it is one of a kind that serial.h can drive: Microsoft, "Serial
// Port Console Redirection Table (SPCR)". acpi may be empty.
void uart_add_spcr(struct uart_list *list, const struct acpi_info *acpi);

// Adds COM1 to COM4.
void uart_add_pc(struct uart_list *list);

// Adds the serial controllers on PCI that have a 16550's registers (class 07H, subclass 00H), by
// their first base address register that is set; where firmware left their decoding off it is
// turned on. Looks at bus 0 and the buses behind the bridges there, each once: PCI Local Bus
// Specification, "Configuration Mechanism #1", class codes of appendix D.
void uart_add_pci(struct uart_list *list, const struct port_io *io);

// "3f8" or "mmio32:fe034000", the way the command line takes it: into buf, terminated, cut to size.
void uart_name(char *buf, size_t size, const struct uart_place *place);

// "COM1", "SPCR", "PCI 00:16.3" or "command line": into buf, terminated, cut to size.
void uart_origin(char *buf, size_t size, const struct uart_candidate *candidate);
