// SPDX-License-Identifier: MIT
// The I/O APIC of a PC: 24 inputs, each with an entry that says what message goes to which local
// APICs (Intel 82093AA datasheet). It is version 20H, as in the 82801 chipsets, whose datasheets
// add the EOI register at 40H: with it a guest may suppress the local APIC's EOI broadcast.
//
// What it chooses where the datasheets leave room:
// - Lines are given as asserted or not, so the polarity bit is kept and changes nothing.
// - A rising edge at a masked edge-triggered input is ignored, neither delivered nor held
//   ("Interrupt Mask"). A level-triggered input that is asserted when its mask is cleared delivers.
// - Only fixed and lowest priority have levels; all other modes are edge triggered whatever the
//   trigger mode says ("Delivery Mode"). The reserved modes deliver nothing.
// - ExtINT goes on while its line is up: see ioapic_extint().
// - Messages take no time. Delivery status reads "send pending" only for a level that no local APIC
//   has accepted; it is sent again when the entry is written or the line is asserted anew.
// - An entry made edge triggered loses its remote IRR: the way software ends a level-triggered
//   interrupt on an I/O APIC without an EOI register.
// - The ID is the configured one after reset, as firmware would have set it. The arbitration ID is
//   the ID. There is no pin assertion register (version register bit 15 is 0).
// - IOREGSEL and the EOI register take the low byte of a write of any width. IOWIN is to be
//   accessed as 32 bits: a shorter write is ignored, a shorter read gives the bytes it asks for.
//   What is reserved reads 0 and ignores writes.
//
// Not locked: the caller holds whatever serialises a VM's devices.
#pragma once

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/regs/apic.h"
#include "devices/bus.h"

#define IOAPIC_BASE 0xfec00000ull // guest-physical; 4 KiB
#define IOAPIC_PINS 24u

// Offsets in the page, and the registers behind the window.
#define IOAPIC_IOREGSEL 0x00u // the number of the register in the window
#define IOAPIC_IOWIN    0x10u
#define IOAPIC_EOI      0x40u // written with a vector: its level-triggered interrupts have ended
#define IOAPIC_REG_ID   0x00u
#define IOAPIC_REG_VER  0x01u
#define IOAPIC_REG_ARB  0x02u
#define IOAPIC_REG_RTE  0x10u // two registers an input, the low half first

// A redirection table entry.
#define IOAPIC_RTE_VECTOR   BITS(7, 0)
#define IOAPIC_RTE_DELIVERY BITS(10, 8) // enum apic_delivery
#define IOAPIC_RTE_LOGICAL  BIT(11)
#define IOAPIC_RTE_PENDING  BIT(12) // delivery status; read-only
#define IOAPIC_RTE_LOW      BIT(13) // active low
#define IOAPIC_RTE_RIRR     BIT(14) // remote IRR; read-only
#define IOAPIC_RTE_LEVEL    BIT(15)
#define IOAPIC_RTE_MASKED   BIT(16)
#define IOAPIC_RTE_DEST     BITS(63, 56)

// What goes to the local APICs.
struct ioapic_message {
    u8 dest;
    bool logical; // dest is matched with logical destination registers
    bool level_triggered;
    u8 vector;
    enum apic_delivery mode;
};

struct ioapic_config {
    u8 id; // 0-15
    // Sends a message to the local APICs it names; false if none of them takes it.
    bool (*deliver)(void *ctx, const struct ioapic_message *message);
    void *ctx;
};

struct ioapic {
    struct device dev;
    u8 select;                // IOREGSEL
    u8 id;                    // 4 bits
    u32 lines;                // inputs that are asserted
    u32 levels;               // inputs that are level triggered and not masked
    u32 remote_irr;           // level-triggered inputs that a local APIC has accepted and not ended
    u64 entries[IOAPIC_PINS]; // without the read-only bits
    struct ioapic_config config;
};

// Makes an I/O APIC with every input masked. config is copied.
void ioapic_init(struct ioapic *ioapic, const struct ioapic_config *config);

// Claims the page at IOAPIC_BASE; bus_attach's errors.
int ioapic_attach(struct ioapic *ioapic, struct bus *bus);

// Drives input pin; ctx is the struct ioapic, so that it serves as irq_pin.set. Inputs that are not
// there are ignored. What drives the inputs outlasts a reset.
void ioapic_set_irq(void *ctx, unsigned pin, bool level);

// A local APIC broadcasts the end of a level-triggered interrupt with this vector: remote IRR is
// cleared in every entry that has it, and those whose line is still up are sent again.
void ioapic_eoi(struct ioapic *ioapic, u8 vector);

// Whether input pin passes an external controller's interrupt on: it is asserted, not masked and
// ExtINT. message then says to which CPUs' INTR. deliver() is called when that becomes so, but not
// when it ends: the acknowledge has to ask.
bool ioapic_extint(const struct ioapic *ioapic, unsigned pin, struct ioapic_message *message);

// Whether an input that is not masked has this delivery mode.
bool ioapic_uses(const struct ioapic *ioapic, enum apic_delivery mode);
