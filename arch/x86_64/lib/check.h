// SPDX-License-Identifier: MIT
// CHECK: an invariant of the host, always compiled in. Never for anything a guest, a file or the
// user can cause.
#pragma once

#include "arch/x86_64/lib/types.h"

// Ends the run with the crash screen (kernel) or abort() (host tests); formatted as fmt_snprintf.
NORETURN void panic(const char *format, ...) PRINTF_LIKE(1, 2);

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (unlikely(!(cond)))                                                                     \
            panic("%s:%d: CHECK(%s) failed", __FILE__, __LINE__, #cond);                           \
    } while (0)
