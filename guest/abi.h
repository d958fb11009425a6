// SPDX-License-Identifier: MIT
// What a built-in guest program and Corbel agree on: the record at the start of its image, and the
// ports and calls it ends or reports by.
#pragma once

#include "arch/x86_64/lib/types.h"

#define GUEST_MAGIC 0x6c65627243544755ull // "UGTCrbel" as bytes

enum image_mode {
    IMAGE_REAL = 16,      // real mode: image below 1 MiB, CS = SS = DS = ES = base >> 4
    IMAGE_PROTECTED = 32, // 32-bit protected mode with paging, flat segments
    IMAGE_LONG = 64,      // 64-bit mode
};

// The first bytes of an image. Addresses are those the program is linked for, which the page tables
// (or in real mode the segment bases) lead to where the image lies.
struct guest_image {
    u64 magic;
    u32 mode;        // enum image_mode
    u32 link_base;   // of this record; 0 in real mode
    u32 entry;       // linear address (real mode: offset) of the first instruction
    u32 stack_top;   // linear address (real mode: offset)
    u32 image_size;  // bytes to load
    u32 memory_size; // bytes it needs from link_base on, with zeroed data and stack
    u32 tests;       // linear address of the table of tests, 0 if it has none
    u32 tests_end;
};

// Passed in EDI (RDI) to the first instruction.
struct guest_info {
    u64 tsc_hz;
    u64 lapic_hz; // input clock of the LAPIC timer before its divider
    u32 features; // enum guest_feature
    u32 test;     // which test to run
    u64 scratch;  // guest-physical address of a free page-aligned area
    u64 scratch_size;
    u64 base; // guest-physical address of the image record
};

enum guest_feature {
    GUEST_HAS_X2APIC = 1u << 0,
    GUEST_HAS_TSC_DEADLINE = 1u << 1,
};

#define GUEST_EXIT_PORT 0xf4 // a byte v ends the VM with status v << 1 | 1

// VMCALL: RAX = function; anything else answers RAX = HYPERCALL_UNKNOWN.
#define HYPERCALL_PING       0x43524201u // RAX = RBX + 1
// RAX = VMREADs so far (bits 31:0) and VMWRITEs (63:32), in a kernel built to count them.
#define HYPERCALL_VMCS_COUNT 0x43524202u
#define HYPERCALL_UNKNOWN    (~0ull)

// CPUID 40000000H.
#define CPUID_SIGNATURE "CorbelCorbel"
