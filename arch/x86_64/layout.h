// SPDX-License-Identifier: MIT
// Where things are in the host's linear address space, and the image's own parts as linker.ld
// places them.
//
//   0000000000000000  nothing: page 0 and the whole lower half fault
//   ffff800000000000  all RAM, at PHYS_WINDOW + its physical address
//   ffffc00000000000  device registers and framebuffers, as mmio_map hands them out
//   ffffffff80000000  the image, at IMAGE_WINDOW + its link address
#pragma once

#include "arch/x86_64/lib/types.h"

#define PHYS_WINDOW     0xffff800000000000ull
#define MMIO_WINDOW     0xffffc00000000000ull
#define MMIO_WINDOW_END 0xffffffff80000000ull
#define IMAGE_WINDOW    0xffffffff80000000ull

// In this order, each from a page boundary; data includes bss.
extern const u8 image_start[], image_end[];
extern const u8 text_start[], text_end[];
extern const u8 rodata_start[], rodata_end[];
extern const u8 data_start[], data_end[];
// What only the start needs (tools/image.mk, INIT): see boot/start_over.h.
extern const u8 init_start[], init_text_end[];
extern const u8 init_rodata_start[], init_rodata_end[];
extern const u8 init_data_start[], init_data_end[];
// The laboratory: what only some runs need (Makefile, LAB). In others the image ends at lab_start
// and nothing from there on is mapped.
extern const u8 lab_start[], lab_text_end[];
extern const u8 lab_rodata_start[], lab_rodata_end[];
extern const u8 lab_data_start[], lab_data_end[];
// Within the read-only data: the names of functions, up to rodata_end.
extern const u8 ksyms_start[];

// Where the boot loader put image_start (it may move the image): host-physical.
extern u64 boot_load_base;

// The host-physical address of something in the image (code, constants, variables, stacks).
static inline hpa_t image_phys(const void *ptr)
{
    return HPA(boot_load_base + ((uintptr_t)ptr - (uintptr_t)image_start));
}
