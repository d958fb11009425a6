// SPDX-License-Identifier: MIT
// Prints the time-stamp counter. As the first process (rdinit=/bin/ticks) it then waits for ever:
// what `make bench-linux` measures is over.
//
// No C library: its start would be a part of what is measured.
#include <stddef.h>

enum { SYS_WRITE = 1, SYS_PAUSE = 34, SYS_GETPID = 39, SYS_EXIT = 60 };

void _start(void);

static long system_call(long number, long a, long b, long c)
{
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c)
                     : "rcx", "r11", "memory");
    return result;
}

static unsigned long time_stamp(void)
{
    unsigned low, high;
    // The exchange does nothing, but Bochs can be told to stop at it (magic_break) and then says
    // the time, which is the same counter as no guest sees it.
    __asm__ volatile("xchg %%bx, %%bx\n\trdtsc" : "=a"(low), "=d"(high));
    return (unsigned long)high << 32 | low;
}

__attribute__((noreturn, used)) void _start(void)
{
    char text[24];
    char *at = text + sizeof(text);
    unsigned long now = time_stamp();
    *--at = '\n';
    do
        *--at = (char)('0' + now % 10);
    while (now /= 10);
    system_call(SYS_WRITE, 1, (long)at, text + sizeof(text) - at);
    while (system_call(SYS_GETPID, 0, 0, 0) == 1)
        system_call(SYS_PAUSE, 0, 0, 0);
    system_call(SYS_EXIT, 0, 0, 0);
    __builtin_unreachable();
}
