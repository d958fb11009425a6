// SPDX-License-Identifier: MIT
// What the host tests give the pure code in place of the kernel: a panic that cmocka can expect
// (expect_assert_failure) and that otherwise fails the test.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "arch/x86_64/lib/check.h"

void panic(const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    mock_assert(0, text, "panic", 0);
    abort();
}
