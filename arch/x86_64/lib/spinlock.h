// SPDX-License-Identifier: MIT
// A ticket lock. Root mode runs with interrupts off, so there is no interrupt-safe variant.
#pragma once

#include "arch/x86_64/lib/types.h"

struct spinlock {
    u32 next;
    u32 owner;
};

static inline void spin_lock(struct spinlock *lock)
{
    u32 ticket = __atomic_fetch_add(&lock->next, 1, __ATOMIC_RELAXED);
    while (__atomic_load_n(&lock->owner, __ATOMIC_ACQUIRE) != ticket)
        __builtin_ia32_pause();
}

static inline void spin_unlock(struct spinlock *lock)
{
    __atomic_store_n(&lock->owner, lock->owner + 1, __ATOMIC_RELEASE);
}
