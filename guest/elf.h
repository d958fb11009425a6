// SPDX-License-Identifier: MIT
// An ELF kernel's segments: System V ABI, "Object Files", and its x86-64 supplement.
#pragma once

#include "guest/layout.h"

// Reads the program headers of a 32- or 64-bit ELF file for i386 or x86-64, little-endian, that is
// executable as it stands. The layout has its physical addresses; an entry that is a virtual
// address of a segment is moved to that segment's physical place. Errors as of loaders (logged).
MUST_CHECK int elf_layout(const struct vm *vm, const struct boot_file *file, struct layout *layout);
