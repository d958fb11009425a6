// SPDX-License-Identifier: MIT
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/string.h"

bool str_copy(char *dst, size_t size, const char *src)
{
    size_t i = 0;
    for (; i + 1 < size && src[i]; i++)
        dst[i] = src[i];
    dst[i] = '\0';
    return src[i] == '\0';
}

INIT bool str_glob(const char *pattern, const char *text)
{
    // Only the last '*' is ever reconsidered: whatever an earlier one could give up, the last one
    // can take instead. That keeps it to pattern times text steps, without recursion.
    const char *star = NULL;
    const char *retry = NULL;
    while (*text) {
        if (*pattern == '*') {
            star = ++pattern;
            retry = text;
        } else if (*pattern == '?' || *pattern == *text) {
            pattern++;
            text++;
        } else if (star) {
            pattern = star;
            text = ++retry;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

// The value of a digit in any base up to 16, or 16 if it is none.
static unsigned digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0');
    if (c >= 'a' && c <= 'f')
        return (unsigned)(c - 'a') + 10;
    if (c >= 'A' && c <= 'F')
        return (unsigned)(c - 'A') + 10;
    return 16;
}

// The power of two that a suffix multiplies by, or 0 if it is none.
static unsigned suffix_shift(char c)
{
    switch (c) {
    case 'K':
        return 10;
    case 'M':
        return 20;
    case 'G':
        return 30;
    default:
        return 0;
    }
}

INIT int str_to_u64(const char *text, size_t length, bool suffix, u64 *out)
{
    unsigned shift = suffix && length ? suffix_shift(text[length - 1]) : 0;
    if (shift)
        length--;
    unsigned base = 10;
    if (length > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
        base = 16;
        text += 2;
        length -= 2;
    }
    if (length == 0)
        return E_FORMAT;

    u64 value = 0;
    bool fits = true;
    for (size_t i = 0; i < length; i++) {
        unsigned digit = digit_value(text[i]);
        if (digit >= base)
            return E_FORMAT;
        fits = fits && value <= (~0ull - digit) / base;
        value = value * base + digit;
    }
    if (!fits || value > ~0ull >> shift)
        return E_RANGE;
    *out = value << shift;
    return OK;
}
