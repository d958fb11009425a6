// SPDX-License-Identifier: MIT
// Giving back the memory of what only the start needs: its code, constants and variables.
#pragma once

#include "vmx/hypervisor.h"

// Takes the start out of the address space of every CPU and leaves its memory to guests, if that
// can be. Who returns into it, calls it or reads from it later gets a page fault; that nothing
// else refers to it is what tools/check-kernel.sh looks for.
void start_over(struct hypervisor *hv);
