// SPDX-License-Identifier: MIT
// The kernel's own memcpy and friends, under other names, each compared with a byte-by-byte oracle
// in buffers of exactly the right size, so that the sanitizer sees any step outside.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define memcpy  kernel_memcpy
#define memmove kernel_memmove
#define memset  kernel_memset
#define memcmp  kernel_memcmp
#define strlen  kernel_strlen
#define strcmp  kernel_strcmp
#define strncmp kernel_strncmp
#include "arch/x86_64/lib/memory.c"

#define LONGEST 150

static u8 byte_at(size_t i)
{
    return (u8)(i * 37 + 11);
}

static u8 *numbered(size_t n)
{
    u8 *buf = malloc(n ? n : 1);
    assert_non_null(buf);
    for (size_t i = 0; i < n; i++)
        buf[i] = byte_at(i);
    return buf;
}

static void memcpy_copies_exactly(void **state)
{
    (void)state;
    for (size_t n = 0; n <= LONGEST; n++) {
        for (size_t skew = 0; skew < 8; skew++) {
            u8 *src = numbered(skew + n);
            u8 *dst = calloc(1, n + 1);
            assert_non_null(dst);
            assert_ptr_equal(memcpy(dst, src + skew, n), dst);
            for (size_t i = 0; i < n; i++)
                assert_int_equal(dst[i], byte_at(skew + i));
            assert_int_equal(dst[n], 0);
            free(src);
            free(dst);
        }
    }
}

static void memmove_survives_overlap(void **state)
{
    (void)state;
    for (size_t n = 0; n <= LONGEST; n++) {
        for (size_t from = 0; from <= 40; from++) {
            for (size_t to = 0; to <= 40; to++) {
                size_t size = (from > to ? from : to) + n;
                u8 *buf = numbered(size);
                assert_ptr_equal(memmove(buf + to, buf + from, n), buf + to);
                for (size_t i = 0; i < size; i++) {
                    bool moved = i >= to && i < to + n;
                    if (buf[i] != byte_at(moved ? i - to + from : i))
                        fail_msg("n %zu from %zu to %zu at %zu", n, from, to, i);
                }
                free(buf);
            }
        }
    }
}

static void memset_fills_exactly(void **state)
{
    (void)state;
    for (size_t n = 0; n <= LONGEST; n++) {
        u8 *buf = numbered(n + 9);
        assert_ptr_equal(memset(buf + 8, 0x1a5, n), buf + 8);
        for (size_t i = 0; i < n + 9; i++)
            assert_int_equal(buf[i], i >= 8 && i < 8 + n ? 0xa5 : byte_at(i));
        free(buf);
        buf = malloc(n ? n : 1);
        memset(buf, 0, n);
        free(buf);
    }
}

static void memcmp_orders_by_first_difference(void **state)
{
    (void)state;
    for (size_t n = 0; n <= 70; n++) {
        u8 *a = numbered(n);
        u8 *b = numbered(n);
        assert_int_equal(memcmp(a, b, n), 0);
        for (size_t i = 0; i < n; i++) {
            // A later difference the other way round must not count, nor may bytes compare signed.
            a[i] = 0x01;
            b[i] = 0xff;
            if (i + 1 < n) {
                a[i + 1] = 0xff;
                b[i + 1] = 0x01;
            }
            assert_true(memcmp(a, b, n) < 0);
            assert_true(memcmp(b, a, n) > 0);
            assert_int_equal(memcmp(a, b, i), 0);
            a[i] = b[i] = byte_at(i);
            if (i + 1 < n)
                a[i + 1] = b[i + 1] = byte_at(i + 1);
        }
        free(a);
        free(b);
    }
}

static void strings(void **state)
{
    (void)state;
    assert_int_equal(strlen(""), 0);
    assert_int_equal(strlen("Corbel"), 6);
    assert_int_equal(strcmp("", ""), 0);
    assert_int_equal(strcmp("abc", "abc"), 0);
    assert_true(strcmp("abc", "abd") < 0);
    assert_true(strcmp("abd", "abc") > 0);
    assert_true(strcmp("ab", "abc") < 0);
    assert_true(strcmp("abc", "ab") > 0);
    assert_true(strcmp("\x01", "\xff") < 0);
    assert_true(strcmp("\xff", "\x01") > 0);
    assert_int_equal(strncmp("abc", "abd", 2), 0);
    assert_true(strncmp("abc", "abd", 3) < 0);
    assert_int_equal(strncmp("abc", "abc", 100), 0);
    assert_int_equal(strncmp("a", "b", 0), 0);
    const char open[2] = {'a', 'b'};
    assert_int_equal(strncmp(open, "abc", 2), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memcpy_copies_exactly),
        cmocka_unit_test(memmove_survives_overlap),
        cmocka_unit_test(memset_fills_exactly),
        cmocka_unit_test(memcmp_orders_by_first_difference),
        cmocka_unit_test(strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
