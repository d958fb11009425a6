// SPDX-License-Identifier: MIT
// Formatting into a bounded buffer.
#pragma once

#include "arch/x86_64/lib/types.h"

// printf's %c %s %d %i %u %x %X %o %p %% with the flags '-', '0', '+', ' ' and '#', width and
// precision (also as '*') and the lengths hh, h, l, ll, z, j and t. Always terminates (size > 0);
// returns the length the whole text would have, as snprintf does. An unknown conversion is copied
// through as it stands.
int fmt_snprintf(char *buf, size_t size, const char *format, ...) PRINTF_LIKE(3, 4);
int fmt_vsnprintf(char *buf, size_t size, const char *format, va_list args) PRINTF_LIKE(3, 0);
