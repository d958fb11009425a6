// SPDX-License-Identifier: MIT
// A VM's RAM as a whole.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/host/vmx_rig.h"

#define ALL (RIG_RAM_SIZE + RIG_LAZY_SIZE)

static void fill(struct vmx_rig *r)
{
    memset(rig_ram(r, 0, RIG_RAM_SIZE), 0xff, RIG_RAM_SIZE);
    memset(rig_ram(r, RIG_LAZY, RIG_LAZY_SIZE), 0xff, RIG_LAZY_SIZE);
}

static u64 zeroes(struct vmx_rig *r)
{
    const u8 *low = rig_ram(r, 0, RIG_RAM_SIZE), *lazy = rig_ram(r, RIG_LAZY, RIG_LAZY_SIZE);
    u64 n = 0;
    for (u64 i = 0; i < RIG_RAM_SIZE; i++)
        n += low[i] == 0;
    for (u64 i = 0; i < RIG_LAZY_SIZE; i++)
        n += lazy[i] == 0;
    return n;
}

static void ram_is_cleared_in_pieces(void **state)
{
    static const u64 pieces[] = {1 << 12, 3 << 12, 0x7000, RIG_RAM_SIZE, ~0ull};
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(pieces); i++) {
        struct vmx_rig *r = rig_open(NULL);
        u64 done = 0, before = 0;
        fill(r);
        while (!vm_clear_ram_piece(&r->vm, &done, pieces[i])) {
            assert_true(done > before && done - before <= pieces[i]);
            assert_int_equal(zeroes(r), done);
            before = done;
        }
        assert_int_equal(done, ALL);
        rig_close(r);
    }
}

// RAM that is only lent, as the identity map is, stays as it is.
static void ram_of_others_is_left_alone(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    fill(r);
    for (u32 i = 0; i < r->vm.nram; i++)
        r->vm.ram[i].owned = r->vm.ram[i].gpa.raw == RIG_LAZY;
    vm_clear_ram(&r->vm);
    assert_int_equal(zeroes(r), RIG_LAZY_SIZE);
    for (u32 i = 0; i < r->vm.nram; i++)
        r->vm.ram[i].owned = true;
    rig_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ram_is_cleared_in_pieces),
        cmocka_unit_test(ram_of_others_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
