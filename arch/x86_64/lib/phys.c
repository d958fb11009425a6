// SPDX-License-Identifier: MIT
#include "arch/x86_64/lib/phys.h"

uintptr_t phys_window;
