// SPDX-License-Identifier: MIT
// The PC that a guest without firmware finds: where its memory lies and which line is whose. The
// devices take their places from here, and so do the tables that describe them (ACPI, e820).
#pragma once

// ---- guest-physical memory --------------------------------------------------------------------
#define PC_EBDA        0x9fc00ull // to PC_VGA: reserved, as a PC's extended BIOS data area
#define PC_VGA         0xa0000ull // to PC_ROMS: nothing there
#define PC_ROMS        0xc0000ull // to PC_BIOS: RAM in place of cards' ROMs, which kernels look for
#define PC_BIOS        0xe0000ull // to 1 MiB: reserved; RSDP at its start, ACPI tables after it
#define PC_HIGH_RAM    0x100000ull
#define PC_LOW_RAM_END 0xc0000000ull // RAM that does not fit below goes on at 4 GiB
#define PC_ABOVE_4G    0x100000000ull
#define PC_IOAPIC      0xfec00000ull
#define PC_HPET        0xfed00000ull
#define PC_LAPIC       0xfee00000ull

// ---- I/O ports --------------------------------------------------------------------------------
#define PC_PM_BASE     0x600u // PM1a event block; control block at +4, PM timer at +8
#define PC_RESET_PORT  0xcf9u
#define PC_RESET_VALUE 6u
#define PC_SLEEP_S5    5u // SLP_TYP that turns the machine off

// ---- interrupt lines --------------------------------------------------------------------------
// Each ISA line goes to the same input of the PIC pair and of the I/O APIC, but for the timer's,
// which takes the I/O APIC's input 2 (the PICs have their cascade there).
#define PC_IRQ_PIT      0u
#define PC_IRQ_KEYBOARD 1u
#define PC_IRQ_COM1     4u
#define PC_IRQ_RTC      8u
#define PC_IRQ_SCI      9u
#define PC_GSI_INTR     0u // the PICs' INTR, for ExtINT
#define PC_GSI_PIT      2u
#define PC_GSI_HPET     0x00f00000u // inputs that the HPET's timers may take, a bit each
#define PC_IOAPIC_ID    1u
#define PC_IOAPIC_INS   24u
