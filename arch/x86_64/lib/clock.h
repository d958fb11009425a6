// SPDX-License-Identifier: MIT
// The one clock: host TSC ticks. Devices convert their own rates to ticks when they are programmed,
// so the run loop compares deadlines without converting anything.
#pragma once

#include "arch/x86_64/lib/types.h"

struct clock {
    u64 (*now)(const struct clock *clock); // ticks, never going back
    u64 hz;                                // ticks a second
};

static inline u64 clock_now(const struct clock *clock)
{
    return clock->now(clock);
}

// count * num / den with a 128-bit product, rounded down. den is not 0 and the result must fit
// 64 bits; it is ~0 where it does not.
static inline u64 mul_div(u64 count, u64 num, u64 den)
{
    unsigned __int128 product = (unsigned __int128)count * num;
    u64 hi = (u64)(product >> 64);
    if (hi >= den)
        return ~0ull;
    // The 128-by-64 division of the CPU; the compiler would call a library for it.
    u64 quotient, remainder;
    __asm__("divq %4" : "=a"(quotient), "=d"(remainder) : "0"((u64)product), "1"(hi), "rm"(den));
    return quotient;
}

// The same, rounded up: a deadline computed this way is never early.
static inline u64 mul_div_up(u64 count, u64 num, u64 den)
{
    u64 down = mul_div(count, num, den);
    return (unsigned __int128)down * den == (unsigned __int128)count * num || down == ~0ull
               ? down
               : down + 1;
}
