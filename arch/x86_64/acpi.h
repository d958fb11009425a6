// SPDX-License-Identifier: MIT
// The few facts Corbel wants from ACPI's static tables: ACPI specification, "ACPI Software
// Programming Model". Nothing here touches the hardware; memory comes through a callback.
#pragma once

#include "arch/x86_64/power.h"

// How the tables are reached. map returns size bytes at host-physical pa, good to read until the
// reading is over, or NULL if that is not memory that may be read.
struct acpi_memory {
    const void *(*map)(void *ctx, u64 pa, u64 size);
    void *ctx;
};

#define ACPI_CPUS_MAX      256u
#define ACPI_IOAPICS_MAX   16u
#define ACPI_OVERRIDES_MAX 32u
#define ACPI_NMIS_MAX      ACPI_CPUS_MAX // firmware likes to give each CPU its own

struct acpi_cpu {
    u32 apic_id;
    u32 uid;      // processor object, as the namespace names it
    bool enabled; // else it is not there yet, but may come: online capable
};

struct acpi_ioapic {
    u32 id;
    u32 address; // host-physical
    u32 gsi_base;
};

// Interrupt Source Override: where an ISA interrupt arrives.
struct acpi_override {
    u8 source; // ISA IRQ
    u32 gsi;
    u16 flags; // MPS INTI flags: polarity in bits 1:0, trigger mode in 3:2
};

#define ACPI_ALL_CPUS (~0u)

struct acpi_nmi {
    u32 uid; // or ACPI_ALL_CPUS
    u8 lint; // local APIC input the NMI line is on
    u16 flags;
};

struct acpi_register {
    enum { ACPI_NOWHERE, ACPI_MEMORY, ACPI_PORT } space;
    u64 address; // host-physical, or port
};

struct acpi_info {
    // MADT
    bool has_madt;
    bool has_8259;     // the two 8259s are there too and must be masked
    u64 lapic_address; // host-physical
    struct acpi_cpu cpus[ACPI_CPUS_MAX];
    unsigned ncpus;
    struct acpi_ioapic ioapics[ACPI_IOAPICS_MAX];
    unsigned nioapics;
    struct acpi_override overrides[ACPI_OVERRIDES_MAX];
    unsigned noverrides;
    struct acpi_nmi nmis[ACPI_NMIS_MAX];
    unsigned nnmis;
    // FADT
    bool has_fadt;
    struct acpi_register pm_timer;
    unsigned pm_timer_bits; // it counts modulo 2^24 or 2^32
    struct acpi_register pm1a_control, pm1b_control;
    bool has_reset;
    struct reset_register reset; // as power_set_reset() takes it
    // HPET
    u64 hpet_address; // host-physical, 0 where there is none
    // SPCR
    struct acpi_register serial;
    u8 serial_type;   // 0 a full 16550, 1 a 16450 or its like; others are in the DBG2 table's list
    u8 serial_bits;   // of a register, 8 to 32; firmware that does not care says 0
    u8 serial_access; // Generic Address Structure's access size: 1 byte, 2 word, 3 dword; 0 not
                      // said
};

// Reads the tables that rsdp (a copy of size bytes, as the boot loader gives it) leads to. With
// size 0 and bios set it is looked for in memory where a BIOS puts it; ebda is that area's
// host-physical address or 0. Wrong checksums and broken tables are reported in the log and worked
// around: whatever is not found is left zero. E_NOENT if there is no RSDP, E_FORMAT if it leads
// nowhere.
int acpi_read(const struct acpi_memory *memory, const void *rsdp, u32 size, bool bios, u64 ebda,
              struct acpi_info *info);

// Reads a Multiple APIC Description Table of length bytes, header included, into info.
void acpi_read_madt(const u8 *table, u32 length, struct acpi_info *info);
