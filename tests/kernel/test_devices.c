// SPDX-License-Identifier: MIT
// The other half of the guest's tests of devices: the world outside, which drives lines, sends
// bytes and counts what nobody answered; and the ends a guest can bring about by port F4H.
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/lib/string.h"
#include "tests/guest/world.h"
#include "tests/kernel/support.h"
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
    case WORLD_POWER_BUTTON:
        pm_power_button(&vm->pm);
        return 0;
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

#define WORLD_TEST(area, title)                                                                    \
    LAB_TEST(area, title, NEEDS_VMX)                                                               \
    {                                                                                              \
        run_in_world(t, lab);                                                                      \
    }

// Runs the guest's half of the same name with the world around it.
static void run_in_world(struct selftest_ctx *t, struct lab *lab)
{
    lab->vcpu->hook = world;
    lab->vcpu->hook_ctx = lab;
    if (lab_load(t, lab, t->name))
        lab_run_passes(t, lab);
}

WORLD_TEST(pic, slaves_lines_come_by_the_cascade)
WORLD_TEST(pic, masters_lines_1_3_5_6_7)
WORLD_TEST(pic, cascade_is_between_1_and_3)
WORLD_TEST(pic, either_mask_holds_a_slave_line)
WORLD_TEST(pic, slave_needs_an_eoi_at_each)
WORLD_TEST(pic, slave_with_automatic_eoi_raises_again)
WORLD_TEST(pic, special_fully_nested_mode)
WORLD_TEST(pic, slaves_spurious_has_the_cascade_in_service)

WORLD_TEST(uart, byte_from_the_world_interrupts)
WORLD_TEST(uart, world_waits_for_room)
WORLD_TEST(uart, output_reaches_the_world)

WORLD_TEST(ports, post_code_is_kept)
WORLD_TEST(ports, unclaimed_accesses_are_counted)
WORLD_TEST(mmio, unclaimed_accesses_are_counted)

WORLD_TEST(pm, power_button_raises_sci)

// ---- ports that end the VM ----------------------------------------------------------------------

// mov eax, value; mov edx, port; out; then a byte that the VM's end must come before.
#define MARK 0x9000u

static bool ends_by_port(struct selftest_ctx *t, struct lab *lab, u16 port, u8 size, u32 value)
{
    u8 code[] = {0xb8, 0,    0,    0, 0,         0xba, 0, 0, 0,
                 0,    0x90, 0xef, // the OUT is the last two
                 0xc6, 0x04, 0x25, 0, MARK >> 8, 0,    0, 1, 0xf4};
    memcpy(code + 1, &value, sizeof(value));
    memcpy(code + 6, &port, sizeof(port));
    if (size == 1)
        code[11] = 0xee;
    else if (size == 2)
        code[10] = 0x66;
    return lab_code(t, lab, IMAGE_LONG, code, sizeof(code));
}

LAB_TEST(ports, debug_exit_ends_with_its_status, NEEDS_VMX)
{
    static const struct {
        u16 port;
        u8 size;
        u32 value;
    } rows[] = {
        {0xf4, 1, 0         },
        {0xf4, 1, 0x10      },
        {0xf5, 1, 0xff      },
        {0xf6, 2, 0x1234    },
        {0xf7, 1, 0x7f      },
        {0xf4, 4, 0x12345678},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        if (!ends_by_port(t, lab, rows[i].port, rows[i].size, rows[i].value))
            return;
        lab->vm->end = VM_RUNNING;
        lab->vm->attention = 0;
        lab_run(lab);
        EXPECT_EQ(lab->vm->end, VM_END_DEBUG_EXIT);
        EXPECT_EQ(lab->vm->end_status, rows[i].value << 1 | 1);
        EXPECT_EQ(*(u8 *)vm_ptr(lab->vm, GPA(MARK), 1), 0);
    }
}

// S5, and each register that resets.
LAB_TEST(ports, power_off_and_resets_end_the_vm, NEEDS_VMX)
{
    static const struct {
        u16 port;
        u8 size;
        u32 value;
        enum vm_end_kind end;
        const char *text;
    } rows[] = {
        {0x604, 2, 0x3400, VM_END_POWER_OFF, "S5"                     },
        {0x605, 1, 0x34,   VM_END_POWER_OFF, "S5"                     },
        {0xcf9, 1, 0x06,   VM_END_RESET,     "port CF9H"              },
        {0x92,  1, 0x01,   VM_END_RESET,     "port 92H"               },
        {0x64,  1, 0xfe,   VM_END_RESET,     "the keyboard controller"},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        if (!ends_by_port(t, lab, rows[i].port, rows[i].size, rows[i].value))
            return;
        vm_revive(lab->vm);
        vm_reset_devices(lab->vm);
        lab_run(lab);
        if (!ended(t, lab, rows[i].end, rows[i].text))
            return;
        EXPECT_EQ(*(u8 *)vm_ptr(lab->vm, GPA(MARK), 1), 0);
    }
}

// Two bytes at F7H reach beyond the port's four: nobody's, and the guest goes on.
LAB_TEST(ports, debug_exit_is_four_ports_wide, NEEDS_VMX)
{
    if (!ends_by_port(t, lab, 0xf7, 2, 1))
        return;
    lab->vcpu->hook = NULL;
    run_quietly(lab);
    EXPECT(lab->vm->end != VM_END_DEBUG_EXIT);
    EXPECT_EQ(*(u8 *)vm_ptr(lab->vm, GPA(MARK), 1), 1);
}

// ---- without the preemption timer ---------------------------------------------------------------

// The host's own timer then ends the guest's turn, by an interrupt.
static void run_by_host_timer(struct selftest_ctx *t, struct lab *lab)
{
    if (cpu_features.outer.signature[0]) {
        selftest_skip(t, "an outer hypervisor takes time of its own");
        return;
    }
    u64 pin = lab_peek(lab, VMCS_PIN_CTLS);
    lab_poke(lab, VMCS_PIN_CTLS, pin & ~(u64)PIN_PREEMPTION_TIMER);
    lab->vcpu->has_preemption_timer = false;
    if (!lab_load(t, lab, t->name) || !lab_run_passes(t, lab))
        return;
    EXPECT_EQ(lab->vcpu->exits[REASON_PREEMPTION_TIMER], 0);
    EXPECT(lab->vcpu->exits[REASON_EXTERNAL_INTERRUPT] > 0);
}

#define HOST_TIMER_TEST(title)                                                                     \
    LAB_TEST(timing, title, NEEDS_VMX)                                                             \
    {                                                                                              \
        run_by_host_timer(t, lab);                                                                 \
    }

HOST_TIMER_TEST(host_timer_drives_the_local_apic)
HOST_TIMER_TEST(host_timer_drives_the_pit)
HOST_TIMER_TEST(host_timer_serves_both_and_hlt)
