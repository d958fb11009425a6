// SPDX-License-Identifier: MIT
// The smallest parts: bits, names of errors, the window to physical memory, and the clock's
// arithmetic.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/clock.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/phys.h"

// ---- errors -----------------------------------------------------------------------------------

static void every_error_has_its_own_name(void **state)
{
    (void)state;
    assert_string_equal(err_name(OK), "OK");
    assert_string_equal(err_name(E_INVAL), "E_INVAL");
    assert_string_equal(err_name(E_LOCKED), "E_LOCKED");
    for (int err = E_LOCKED; err < 0; err++) {
        assert_int_equal(strncmp(err_name(err), "E_", 2), 0);
        for (int other = E_LOCKED; other < err; other++)
            assert_string_not_equal(err_name(err), err_name(other));
    }
    assert_string_equal(err_name(E_LOCKED - 1), "unknown error");
    assert_string_equal(err_name(1), "unknown error");
    assert_string_equal(err_name(INT32_MIN), "unknown error");
}

// ---- bits -------------------------------------------------------------------------------------

static void fields_are_cut_out_and_put_in(void **state)
{
    (void)state;
    assert_int_equal(BITS(63, 0), ~0ull);
    assert_int_equal(BITS(0, 0), 1);
    assert_int_equal(BITS(63, 63), 1ull << 63);
    assert_int_equal(BITS(11, 4), 0xff0);
    assert_int_equal(bits_get(0x123456789abcdef0, 63, 60), 1);
    assert_int_equal(bits_get(0x123456789abcdef0, 11, 4), 0xef);
    assert_int_equal(bits_get(~0ull, 63, 0), ~0ull);
    assert_int_equal(bits_set(0, 11, 4, 0xabc), 0xbc0);
    assert_int_equal(bits_set(~0ull, 11, 4, 0), ~0xff0ull);
    assert_int_equal(bits_set(~0ull, 63, 0, 5), 5);
}

static void addresses_are_aligned(void **state)
{
    (void)state;
    assert_int_equal(align_down(0x1fff, 0x1000), 0x1000);
    assert_int_equal(align_down(0x1000, 0x1000), 0x1000);
    assert_int_equal(align_up(0x1001, 0x1000), 0x2000);
    assert_int_equal(align_up(0x1000, 0x1000), 0x1000);
    assert_int_equal(align_up(0, 0x1000), 0);
    assert_int_equal(align_up(7, 1), 7);
    assert_true(is_aligned(0, SIZE_1G));
    assert_false(is_aligned(SIZE_2M, SIZE_1G));
    assert_false(is_power_of_two(0));
    assert_true(is_power_of_two(1));
    assert_true(is_power_of_two(1ull << 63));
    assert_false(is_power_of_two(3));
    for (unsigned bit = 0; bit < 64; bit++) {
        assert_int_equal(bit_lowest(~0ull << bit), bit);
        assert_int_equal(bit_highest(~0ull >> (63 - bit)), bit);
    }
}

static void low_bytes_are_kept(void **state)
{
    static const struct {
        unsigned size;
        u64 want;
    } rows[] = {
        {1, 0x88              },
        {2, 0x7788            },
        {4, 0x55667788        },
        {8, 0x1122334455667788},
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        assert_int_equal(low_bytes(0x1122334455667788, rows[i].size), rows[i].want);
}

// ---- the window -------------------------------------------------------------------------------

static void window_leads_there_and_back(void **state)
{
    static u8 memory[64];
    (void)state;
    phys_window = (uintptr_t)memory - 0x100000;
    assert_ptr_equal(phys_ptr(HPA(0x100000)), memory);
    assert_ptr_equal(phys_ptr(HPA(0x100010)), memory + 16);
    assert_int_equal(phys_addr(memory + 63).raw, 0x10003f);
}

// ---- mul_div ----------------------------------------------------------------------------------

static void check_mul_div(u64 count, u64 num, u64 den)
{
    unsigned __int128 product = (unsigned __int128)count * num, quotient = product / den;
    bool fits = quotient >> 64 == 0;
    u64 down = mul_div(count, num, den), up = mul_div_up(count, num, den);
    assert_int_equal(down, fits ? (u64)quotient : ~0ull);
    bool exact = product % den == 0;
    assert_int_equal(up, !fits || (u64)quotient == ~0ull ? ~0ull : (u64)quotient + !exact);
}

static void mul_div_at_the_edges(void **state)
{
    static const u64 edges[] = {0,          1,          2,       3,          0x7fffffff,
                                0xffffffff, 1ull << 32, 1193182, 1000000000, 2600000000,
                                1ull << 63, ~0ull - 1,  ~0ull};
    (void)state;
    for (unsigned a = 0; a < ARRAY_SIZE(edges); a++)
        for (unsigned b = 0; b < ARRAY_SIZE(edges); b++)
            for (unsigned c = 1; c < ARRAY_SIZE(edges); c++)
                check_mul_div(edges[a], edges[b], edges[c]);
}

static u64 random64(void)
{
    static u64 x = 0x9e3779b97f4a7c15;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return x;
}

static void mul_div_at_random(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 200000; i++) {
        u64 den = random64() >> (random64() & 63);
        check_mul_div(random64() >> (random64() & 63), random64() >> (random64() & 63),
                      den ? den : 1);
    }
}

// A deadline converted to ticks and back never comes early.
static void rounding_up_is_never_early(void **state)
{
    static const u64 rates[] = {100000000, 2399999999, 3999999999};
    (void)state;
    for (unsigned r = 0; r < ARRAY_SIZE(rates); r++) {
        for (u64 count = 1; count < 3000000000; count = count * 3 + 1) {
            u64 ticks = mul_div_up(count, rates[r], 1193182);
            assert_true(mul_div(ticks, 1193182, rates[r]) >= count);
            assert_true(ticks == 0 || mul_div(ticks - 1, 1193182, rates[r]) < count);
        }
    }
}

static u64 five(const struct clock *clock)
{
    return clock->hz + 5;
}

static void clock_is_asked(void **state)
{
    (void)state;
    const struct clock clock = {five, 100};
    assert_int_equal(clock_now(&clock), 105);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_error_has_its_own_name),
        cmocka_unit_test(fields_are_cut_out_and_put_in),
        cmocka_unit_test(addresses_are_aligned),
        cmocka_unit_test(low_bytes_are_kept),
        cmocka_unit_test(window_leads_there_and_back),
        cmocka_unit_test(mul_div_at_the_edges),
        cmocka_unit_test(mul_div_at_random),
        cmocka_unit_test(rounding_up_is_never_early),
        cmocka_unit_test(clock_is_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
