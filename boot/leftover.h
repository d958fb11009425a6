// SPDX-License-Identifier: MIT
// A search for what the linker cannot see: addresses within the start that were stored while it
// ran.
#pragma once

#include "boot/guests.h"

// Looks through all that stays (the image's variables, the CPUs' and the VMs' state) for addresses
// of the start and logs each, or that there is none.
void leftover_search(const struct guests *guests);
