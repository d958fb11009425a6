// SPDX-License-Identifier: MIT
// The I/O APIC as the tests of what is wired to it use it, and device memory at random.
#pragma once

#include "arch/x86_64/lib/bits.h"
#include "tests/guest/devices.h"

#define IOAPIC         0xfec00000u
#define IOAPIC_EOI_REG 0x40u

enum {
    RTE_LOGICAL = 1u << 11,
    RTE_PENDING = 1u << 12,
    RTE_RIRR = 1u << 14,
    RTE_LEVEL = 1u << 15,
    RTE_MASKED = 1u << 16,
};

static inline void ioapic_mmio(u32 offset, u32 value)
{
    *(volatile u32 *)(uintptr_t)(IOAPIC + offset) = value;
}

static inline u32 ioapic_read(u32 reg)
{
    ioapic_mmio(0, reg);
    return *(volatile u32 *)(uintptr_t)(IOAPIC + 0x10);
}

static inline void ioapic_write(u32 reg, u32 value)
{
    ioapic_mmio(0, reg);
    ioapic_mmio(0x10, value);
}

// An input's entry, to the local APIC of ID 0.
static inline void ioapic_entry(u32 pin, u32 low)
{
    ioapic_write(0x11 + 2 * pin, 0);
    ioapic_write(0x10 + 2 * pin, low);
}

// One access to a device's page: somewhere, of some width, with something.
static inline void mmio_junk(u32 page, u64 *seed)
{
    *seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
    u64 value = *seed >> 16;
    uintptr_t at = page + (value & 0x1ff);
    switch (value >> 9 & 7) {
    case 0:
        *(volatile u8 *)at = (u8)(value >> 20);
        break;
    case 1:
        *(volatile u16 *)at = (u16)(value >> 20);
        break;
    case 2:
        *(volatile u32 *)(at & ~3ull) = (u32)value;
        break;
    case 3:
        *(volatile u64 *)(at & ~7ull) = value;
        break;
    case 4:
        (void)*(volatile u64 *)at;
        break;
    case 5:
        (void)*(volatile u8 *)at;
        break;
    default: // where most registers are
        *(volatile u32 *)(at & ~0xefull) = (u32)(value >> 12);
    }
}
