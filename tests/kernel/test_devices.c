// SPDX-License-Identifier: MIT
// The other half of the guest's tests of devices: the world outside, which drives lines, sends
// bytes and counts what nobody answered; and the ends a guest can bring about by port F4H.
#include "arch/x86_64/lib/string.h"
#include "boot/lab.h"
#include "tests/guest/world.h"
#include "vmx/vmcs_access.h"

static u64 answer(struct vm *vm, const char *out, u32 out_length, u64 function, u64 arg)
{
    u8 byte = (u8)arg;
    switch (function) {
    case WORLD_LINE:
        pic_set_irq(&vm->pic, byte, arg >> 8);
        return 0;
    case WORLD_RECEIVE:
        return uart_receive(&vm->com1, &byte, 1);
    case WORLD_UNCLAIMED:
        return vm->bus.unclaimed[arg ? IO_MEM : IO_PORT];
    case WORLD_POST:
        return vm->post.code;
    case WORLD_WRITTEN:
        return arg < out_length ? (u8)out[arg] : ~0ull;
    default:
        return HYPERCALL_UNKNOWN;
    }
}

static bool world(struct vcpu *vcpu, const struct exit_info *exit, enum exit_action *action)
{
    const struct lab *lab = vcpu->hook_ctx;
    u64 *rax = &vcpu->regs[GPR_RAX];

    if (exit->reason != REASON_VMCALL)
        return false;
    *rax = answer(vcpu->vm, lab->out, lab->out_length, *rax, vcpu->regs[GPR_RBX]);
    *action = ACT_SKIP;
    return true;
}

// Runs the guest's half of the same name with the world around it.
static void run_with_world(struct selftest_ctx *t)
{
    struct lab lab;

    if (!lab_open(t, &lab, "world"))
        return;
    lab.vcpu->hook = world;
    lab.vcpu->hook_ctx = &lab;
    if (lab_load(t, &lab, t->name))
        lab_run_passes(t, &lab);
    lab_close(&lab);
}

#define WORLD_TEST(area, title)                                                                    \
    SELFTEST(area, title, NEEDS_VMX)                                                               \
    {                                                                                              \
        run_with_world(t);                                                                         \
    }

WORLD_TEST(pic, slaves_lines_come_by_the_cascade)
WORLD_TEST(pic, masters_lines_1_3_5_6_7)
WORLD_TEST(pic, cascade_is_between_1_and_3)
WORLD_TEST(pic, either_mask_holds_a_slave_line)
WORLD_TEST(pic, slave_needs_an_eoi_at_each)
WORLD_TEST(pic, special_fully_nested_mode)
WORLD_TEST(pic, slaves_spurious_has_the_cascade_in_service)
