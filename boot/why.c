// SPDX-License-Identifier: MIT
#include "boot/why.h"
#include "arch/x86_64/lib/fmt.h"

int why_set(struct why *why, int err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fmt_vsnprintf(why->text, sizeof(why->text), format, args);
    va_end(args);
    return err;
}
