// SPDX-License-Identifier: MIT
// What the two guests of the hostile test and Corbel's half share: a page each, at the start of
// their scratch areas.
#pragma once

#include "arch/x86_64/lib/types.h"

#define HOSTILE_LOST 0x12 // what it exits with when it can only start again

// The one that does what it likes.
struct hostile {
    u64 seed;   // of the operations to come; changes with each
    u64 done;   // operations, each with at least one access
    u64 target; // how many there are to be
    u64 faults; // operations that ended in an exception
    u64 interrupts;
};

// The one beside it, to whom nothing of that may happen.
struct bystander {
    u64 stop;   // set by Corbel: it may end
    u64 rounds; // in each it found all as it had left it
};
