// SPDX-License-Identifier: MIT
// Where the parts of a kernel go that lies in guest memory as its file says, rather than where the
// loader likes: Multiboot kernels and flat images.
#pragma once

#include "guest/kernel.h"

struct layout_segment {
    u64 at;          // guest-physical
    u64 memory_size; // bytes, zero behind what the file has
    u64 offset;      // in the file
    u64 file_size;   // bytes, at most memory_size
};

// A kernel has a handful; more than these are refused.
#define LAYOUT_SEGMENTS 16u

struct layout {
    struct layout_segment segments[LAYOUT_SEGMENTS];
    unsigned count;
    u64 entry; // guest-physical, below 4 GiB
};

// Adds a segment; one without memory is left out. E_TRUNC if its bytes are not in the file,
// E_FORMAT if it has more bytes than memory or there are too many (each logged).
MUST_CHECK int layout_add(const struct vm *vm, struct layout *layout, const struct boot_file *file,
                          struct layout_segment segment);

// The address fields of a Multiboot header, guest-physical: Multiboot specification, "The address
// fields of Multiboot header".
struct layout_addresses {
    u64 header_offset; // where in the file the header is
    u64 header;        // where in memory it goes
    u64 load;          // where what is loaded starts
    u64 load_end;      // 0: it goes on to the end of the file
    u64 bss_end;       // 0: no memory behind that
};

// Adds the one segment that address fields describe. E_FORMAT, E_TRUNC (logged).
MUST_CHECK int layout_add_addresses(const struct vm *vm, struct layout *layout,
                                    const struct boot_file *file, const struct layout_addresses *a);

// Whether every segment lies in RAM that the memory map calls free and below 4 GiB, no two overlap,
// and the entry is in one of them. E_RANGE, E_FORMAT (logged).
MUST_CHECK int layout_check(const struct vm *vm, const struct layout *layout,
                            const struct pc_memory *memory);

// Whether any segment touches size bytes at at.
bool layout_overlaps(const struct layout *layout, u64 at, u64 size);

// Start of the lowest segment and end of the highest, guest-physical.
u64 layout_start(const struct layout *layout);
u64 layout_end(const struct layout *layout);

// Copies a checked layout's segments into guest memory. E_RANGE (logged) if the VM lacks RAM that
// its memory map has.
MUST_CHECK int layout_write(struct vm *vm, const struct layout *layout,
                            const struct boot_file *file);
