// SPDX-License-Identifier: MIT
// The memory and string functions the compiler may call, and the bounded ones we use.
#pragma once

#include "arch/x86_64/lib/types.h"

void *memcpy(void *restrict dst, const void *restrict src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);

// Copies src into dst of size bytes (size > 0), cut to fit and always terminated. Returns whether
// all of it fitted.
bool str_copy(char *dst, size_t size, const char *src);

// Whether text matches pattern, in which '*' is any run of characters and '?' any one.
bool str_glob(const char *pattern, const char *text);

// The unsigned number that text (length bytes, not necessarily terminated) spells: decimal or 0x
// hexadecimal, with an optional suffix K, M or G (powers of 1024) when suffix is set. E_FORMAT if
// it is not one, E_RANGE if it does not fit 64 bits.
int str_to_u64(const char *text, size_t length, bool suffix, u64 *out);
