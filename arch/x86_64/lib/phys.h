// SPDX-License-Identifier: MIT
// How pure code reaches host-physical memory: all RAM is mapped at one window.
#pragma once

#include "arch/x86_64/lib/types.h"

// The address at which host-physical 0 appears. Set once, by the kernel's paging code or by a host
// test (to an arena of its own).
extern uintptr_t phys_window;

// The pointer to host-physical RAM at pa; valid for what the memory map calls RAM only.
static inline void *phys_ptr(hpa_t pa)
{
    return (void *)(phys_window + pa.raw);
}

// The reverse, for a pointer that phys_ptr gave.
static inline hpa_t phys_addr(const void *ptr)
{
    return HPA((u64)((uintptr_t)ptr - phys_window));
}
