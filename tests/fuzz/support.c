// SPDX-License-Identifier: MIT
// A panic under a fuzzer is a finding.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "arch/x86_64/lib/check.h"

void panic(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    abort();
}
