// SPDX-License-Identifier: MIT
// The functions a compiler calls on its own, even when it is told that there is no library.
//
// Every loop here goes through volatile: otherwise the optimiser recognises the loop as a copy, a
// fill or a strlen and replaces it with a call to the very function it stands in.
#include "arch/x86_64/lib/string.h"

// Eight bytes at any address: the CPU does not mind, so nothing is gained by aligning first.
typedef u64 word_t __attribute__((may_alias, aligned(1)));

#define WORD sizeof(word_t)

static void copy_up(volatile u8 *dst, const volatile u8 *src, size_t n)
{
    for (; n >= 4 * WORD; n -= 4 * WORD, dst += 4 * WORD, src += 4 * WORD) {
        const volatile word_t *from = (const volatile word_t *)src;
        volatile word_t *to = (volatile word_t *)dst;
        // All loads before the stores, so that memmove may use it with dst anywhere below src.
        u64 a = from[0], b = from[1], c = from[2], d = from[3];
        to[0] = a;
        to[1] = b;
        to[2] = c;
        to[3] = d;
    }
    for (; n >= WORD; n -= WORD, dst += WORD, src += WORD)
        *(volatile word_t *)dst = *(const volatile word_t *)src;
    for (; n; n--)
        *dst++ = *src++;
}

static void copy_down(volatile u8 *dst, const volatile u8 *src, size_t n)
{
    for (; n >= WORD; n -= WORD)
        *(volatile word_t *)(dst + n - WORD) = *(const volatile word_t *)(src + n - WORD);
    for (; n; n--)
        dst[n - 1] = src[n - 1];
}

void *memcpy(void *restrict dst, const void *restrict src, size_t n)
{
    copy_up(dst, src, n);
    return dst;
}

void *memmove(void *dst, const void *src, size_t n)
{
    if ((uintptr_t)dst <= (uintptr_t)src)
        copy_up(dst, src, n);
    else
        copy_down(dst, src, n);
    return dst;
}

void *memset(void *dst, int c, size_t n)
{
    volatile u8 *to = dst;
    u64 pattern = (u8)c * 0x0101010101010101ull;
    for (; n >= 4 * WORD; n -= 4 * WORD, to += 4 * WORD) {
        volatile word_t *words = (volatile word_t *)to;
        words[0] = pattern;
        words[1] = pattern;
        words[2] = pattern;
        words[3] = pattern;
    }
    for (; n; n--)
        *to++ = (u8)c;
    return dst;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const volatile u8 *x = a;
    const volatile u8 *y = b;
    for (; n >= WORD; n -= WORD, x += WORD, y += WORD) {
        if (*(const volatile word_t *)x != *(const volatile word_t *)y)
            break; // the bytes below find where and which way
    }
    for (; n; n--, x++, y++) {
        int difference = *x - *y;
        if (difference)
            return difference;
    }
    return 0;
}

size_t strlen(const char *s)
{
    const volatile char *end = s;
    while (*end)
        end++;
    return (size_t)(end - s);
}

int strcmp(const char *a, const char *b)
{
    return strncmp(a, b, SIZE_MAX);
}

int strncmp(const char *a, const char *b, size_t n)
{
    for (; n; n--, a++, b++) {
        u8 x = *(const volatile u8 *)a;
        u8 y = *(const volatile u8 *)b;
        if (x != y || x == 0)
            return x - y;
    }
    return 0;
}
