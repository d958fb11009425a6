// SPDX-License-Identifier: MIT
// What the loaders of Multiboot, Multiboot2 and flat images share: where the boot information and
// the module go, and the machine state, which is the same for all three: Multiboot specification,
// "Machine state"; Multiboot2 specification, "I386 machine state".
#pragma once

#include "guest/layout.h"
#include "guest/pc.h"

#define MULTIBOOT_INFO_SIZE 0x10000u
#define MULTIBOOT1_BOOTED   0x2badb002u // EAX on entry
#define MULTIBOOT2_BOOTED   0x36d76289u
#define MULTIBOOT_LOADER    "Corbel" // its name, for the kernel
#define MULTIBOOT_MODULE    "initrd" // the module's string

struct multiboot {
    struct vm *vm;
    const struct kernel_boot *boot;
    struct layout layout;
    u64 module_at; // guest-physical, whole pages; 0: there is no module
    u64 info_at;   // guest-physical, of MULTIBOOT_INFO_SIZE bytes below 1 MiB
    u8 *info;      // the same, cleared
    u32 used;      // bytes of it
};

// Checks the layout, writes the kernel and the module into guest memory, and finds room for the
// boot information. Errors as of loaders (logged).
MUST_CHECK int multiboot_place(struct multiboot *mb);

// size more bytes of the boot information, at a multiple of align; their guest-physical address in
// *at unless NULL. CHECKs that there is room: multiboot_place() has seen to it.
u8 *multiboot_take(struct multiboot *mb, u32 size, u32 align, u32 *at);

// A copy of text in the boot information; its guest-physical address.
u32 multiboot_text(struct multiboot *mb, const char *text);

// KiB of memory from 0 on, and from 1 MiB on.
#define MULTIBOOT_MEM_LOWER ((u32)(PC_EBDA >> 10))
u32 multiboot_mem_upper(const struct multiboot *mb);

// Enters the kernel with magic in EAX and the boot information in EBX.
void multiboot_start(const struct multiboot *mb, u32 magic, struct guest_start *start);

// The Multiboot information structure and all that it points to.
void multiboot1_write_info(struct multiboot *mb);
