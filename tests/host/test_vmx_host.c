// SPDX-License-Identifier: MIT
// The two computations on the way into VMX operation: control-register bits that VMX fixes, and
// IA32_FEATURE_CONTROL.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "arch/x86_64/regs/msr.h"
#include "vmx/vmx_host.h"

// SDM volume 3, "VMX-Fixed Bits in CR0": FIXED0 has the bits that must be 1, FIXED1 those that may
// be.
static void fixed_bits_of_one_register_bit(void **state)
{
    static const struct {
        bool fixed0, fixed1, cr, want;
    } rows[] = {
        {0, 0, 0, 0},
        {0, 0, 1, 0}, // must be 0
        {0, 1, 0, 0},
        {0, 1, 1, 1}, // free
        {1, 1, 0, 1},
        {1, 1, 1, 1}, // must be 1
    };
    (void)state;
    for (unsigned bit = 0; bit < 64; bit++)
        for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
            assert_int_equal(vmx_fix_cr((u64)rows[i].cr << bit, (u64)rows[i].fixed0 << bit,
                                        (u64)rows[i].fixed1 << bit),
                             (u64)rows[i].want << bit);
}

static void fixed_bits_of_whole_registers(void **state)
{
    static const struct {
        u64 cr, fixed0, fixed1, want;
    } rows[] = {
        {0x80000011,         0x80000021,         0xffffffff,         0x80000031        },
        {0x80050033,         0x80000021,         0xffffffff,         0x80050033        },
        {0x20 | BIT(24),     0x2000,             0x3727ff,           0x2020            },
        {0,                  0xa5a5a5a500000000, 0xa5a5a5a5ffffffff, 0xa5a5a5a500000000},
        {~0ull,              0,                  0x123456789abcdef0, 0x123456789abcdef0},
        {0x0f0f0f0f0f0f0f0f, 0x1010101010101010, 0x1f1f1f1f1f1f1f1f, 0x1f1f1f1f1f1f1f1f},
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        u64 got = vmx_fix_cr(rows[i].cr, rows[i].fixed0, rows[i].fixed1);
        assert_int_equal(got, rows[i].want);
        assert_int_equal(rows[i].fixed0 & ~got, 0);
        assert_int_equal(got & ~rows[i].fixed1, 0);
    }
}

static void feature_control_is_set_and_locked_if_it_is_open(void **state)
{
    // Lock, VMX inside SMX, VMX outside SMX.
    static const u8 wanted[8] = {5, 1, 7, 3, 5, 5, 7, 7};
    (void)state;
    for (u64 value = 0; value < 8; value++) {
        assert_int_equal(vmx_feature_control_wanted(value), wanted[value]);
        // What else firmware has set stays: SENTER, SGX, LMCE.
        assert_int_equal(vmx_feature_control_wanted(value | 0x16ff00), wanted[value] | 0x16ff00);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fixed_bits_of_one_register_bit),
        cmocka_unit_test(fixed_bits_of_whole_registers),
        cmocka_unit_test(feature_control_is_set_and_locked_if_it_is_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
