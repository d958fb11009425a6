// SPDX-License-Identifier: MIT
// The memory of a PC guest: which guest-physical ranges are RAM, and the map that its kernel is
// given. The addresses are those of guest/pc.h.
#pragma once

#include "arch/x86_64/lib/types.h"
#include "guest/vm.h"

// ACPI specification, "System Address Map Interfaces".
enum e820_type { E820_RAM = 1, E820_RESERVED = 2, E820_ACPI = 3, E820_NVS = 4 };

struct e820_entry {
    u64 base, size; // bytes
    u32 type;       // enum e820_type
} PACKED;
_Static_assert(sizeof(struct e820_entry) == 20, "as INT 15H, EAX=E820H gives it");

#define PC_RAM_RANGES   3u
#define PC_E820_ENTRIES 8u

struct pc_range {
    gpa_t gpa;
    u64 size; // bytes
};

struct pc_memory {
    struct pc_range ram[PC_RAM_RANGES]; // what the VM needs RAM for, in order, disjoint
    unsigned nram;
    struct e820_entry map[PC_E820_ENTRIES]; // in order, disjoint
    unsigned nmap;
    u64 low_end;  // end of the RAM that starts at 1 MiB; 1 MiB if there is none
    u64 high_end; // end of the RAM that starts at 4 GiB; 4 GiB if there is none
};

#define PC_MEMORY_MIN (1ull << 20)
#define PC_MEMORY_MAX (1ull << 40)

// The memory of a PC with size bytes, whole pages. As on a PC the size counts the hole below 1 MiB,
// and what does not fit below PC_LOW_RAM_END goes on at 4 GiB. E_INVAL if size is out of bounds or
// no whole pages.
MUST_CHECK int pc_memory_init(struct pc_memory *memory, u64 size);

// Writes what old software looks for in the BIOS data area: where COM1 is, how much memory there is
// below 1 MiB and where the extended BIOS data area starts. E_RANGE if there is no RAM.
MUST_CHECK int pc_write_bios_data(struct vm *vm);
