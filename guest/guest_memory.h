// SPDX-License-Identifier: MIT
// Writing into guest RAM across its regions, for loaders. A range that is contiguous for the guest
// may lie in several pieces of host memory, of which vm_ptr() gives one.
#pragma once

#include "guest/vm.h"

// Whether the whole range is RAM of the VM; an empty one is.
bool guest_is_ram(const struct vm *vm, gpa_t gpa, u64 size);

// Copies size bytes of data to gpa. E_RANGE, with nothing written, if not all of it is RAM.
MUST_CHECK int guest_write(struct vm *vm, gpa_t gpa, const void *data, u64 size);

// Clears size bytes at gpa. E_RANGE likewise.
MUST_CHECK int guest_clear(struct vm *vm, gpa_t gpa, u64 size);
