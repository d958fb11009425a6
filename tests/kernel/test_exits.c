// SPDX-License-Identifier: MIT
// Exits that end a VM, exits that no guest asked for, and how exits are counted.
#include "arch/x86_64/host_lapic.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/regs/cr.h"
#include "arch/x86_64/regs/msr.h"
#include "arch/x86_64/timer.h"
#include "arch/x86_64/traps.h"
#include "boot/machine.h"
#include "tests/kernel/support.h"
#include "vmx/vmcs_access.h"

SNIPPET(halt);
SNIPPET(halt_open);
SNIPPET(task_switch);
SNIPPET(paging_off);
SNIPPET(exit_once_each);
SNIPPET(exit_never);
SNIPPET(rdtsc_and_rdtscp);
SNIPPET(spin_open);

// A lab that has run: the next VM must be none the worse for it.
static void expect_next_vm_runs(struct selftest_ctx *t)
{
    struct lab next;
    if (t->failed || !lab_open(t, &next, "next"))
        return;
    if (lab_snippet(t, &next, IMAGE_LONG, &exit_never)) {
        lab_run(&next);
        ended(t, &next, VM_END_DEBUG_EXIT, "");
    }
    lab_close(&next);
}

// ---- how a VM ends -----------------------------------------------------------------------------

LAB_TEST(exits, triple_fault_stops_the_vm, NEEDS_VMX)
{
    static const u8 code[] = {0x0f, 0x0b}; // UD2 with no IDT
    EXPECT(lab_code(t, lab, IMAGE_LONG, code, sizeof(code)));
    run_quietly(lab);
    ended(t, lab, VM_END_TRIPLE_FAULT, "0008:0000000000008000");
    EXPECT_EQ(lab->vcpu->exits[REASON_TRIPLE_FAULT], 1);
    EXPECT(said("code at rip: 0f 0b"));
    expect_next_vm_runs(t);
}

LAB_TEST(exits, hlt_with_interrupts_off_ends_the_vm, NEEDS_VMX)
{
    EXPECT(lab_snippet(t, lab, IMAGE_LONG, &halt));
    run_quietly(lab);
    ended(t, lab, VM_END_HALTED, "HLT");
    EXPECT_EQ(lab->vcpu->exits[REASON_HLT], 1);
    expect_next_vm_runs(t);
}

LAB_TEST(exits, hlt_with_nothing_to_wait_for_ends_the_vm, NEEDS_VMX)
{
    EXPECT(lab_snippet(t, lab, IMAGE_LONG, &halt_open));
    run_quietly(lab);
    ended(t, lab, VM_END_HALTED, "nothing left that could wake it");
    EXPECT_EQ(lab_peek(lab, VMCS_GUEST_RIP), LAB_CODE + 2);
}

LAB_TEST(exits, task_switch_stops_the_vm, NEEDS_VMX)
{
    EXPECT(lab_snippet(t, lab, IMAGE_PROTECTED, &task_switch));
    run_quietly(lab);
    ended(t, lab, VM_END_UNHANDLED, "exit reason 9 (task switch)");
    EXPECT(said("exit reason 9: task switch"));
    EXPECT(said("TR"));
    expect_next_vm_runs(t);
}

// The guest's own page tables end where the CPU cannot run without them.
LAB_TEST(exits, paging_off_without_unrestricted_guest_stops_the_vm, NEEDS_VMX)
{
    lab->vcpu->unrestricted = false;
    EXPECT(lab_snippet(t, lab, IMAGE_PROTECTED, &paging_off));
    run_quietly(lab);
    ended(t, lab, VM_END_UNHANDLED, "needs unrestricted guest");
    EXPECT(said("cr0"));
}

LAB_TEST(exits, real_mode_without_unrestricted_guest_is_refused, NEEDS_VMX)
{
    const struct guest_start start = {.mode = IMAGE_REAL};
    lab->vcpu->unrestricted = false;
    log_quietly();
    int err = vcpu_start(lab->vcpu, &start);
    log_normally();
    EXPECT(err != 0);
    EXPECT(said("real mode"));
}

// ---- exits that Corbel never asks for ----------------------------------------------------------

static bool allow(struct lab *lab, enum ctl_word word, u32 bit)
{
    if (!(hypervisor.caps.ctl[word].may & bit))
        return false;
    enum vmcs_field field = word == CTL_PROC ? VMCS_PROC_CTLS : VMCS_PROC_CTLS2;
    lab_poke(lab, field, lab_peek(lab, field) | bit);
    lab->vcpu->proc_ctls = (u32)lab_peek(lab, VMCS_PROC_CTLS);
    return true;
}

// With this control the code must end the VM with this exit as one that is not handled. Returns
// whether the machine has the control.
static bool stops_unhandled(struct selftest_ctx *t, enum ctl_word word, u32 bit, const char *text,
                            const char *code)
{
    struct lab lab;
    bool there = false;
    if (!lab_open(t, &lab, "odd"))
        return false;
    if (lab_code(t, &lab, IMAGE_LONG, (const u8 *)code, strlen(code))) {
        there = allow(&lab, word, bit);
        if (there) {
            run_quietly(&lab);
            ended(t, &lab, VM_END_UNHANDLED, text);
        }
    }
    lab_close(&lab);
    return there;
}

SELFTEST(exits, those_without_a_handler_stop_the_vm, NEEDS_VMX)
{
    static const struct {
        enum ctl_word word;
        u32 bit;
        const char *text, *code; // no zero byte in it
    } list[] = {
        {CTL_PROC,  PROC_INVLPG,      "(INVLPG)",                 "\x0f\x01\x3e"    },
        {CTL_PROC,  PROC_MOV_DR,      "(MOV DR)",                 "\x0f\x21\xf8"    },
        {CTL_PROC,  PROC_PAUSE,       "(PAUSE)",                  "\xf3\x90"        },
        {CTL_PROC2, PROC2_DESC_TABLE, "(access to GDTR or IDTR)", "\x0f\x01\x0c\x24"},
        {CTL_PROC2, PROC2_DESC_TABLE, "(access to LDTR or TR)",   "\x0f\x00\xc8"    },
        {CTL_PROC2, PROC2_RDRAND,     "(RDRAND)",                 "\x0f\xc7\xf0"    },
        {CTL_PROC2, PROC2_RDSEED,     "(RDSEED)",                 "\x0f\xc7\xf8"    },
    };
    unsigned tried = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(list); i++)
        tried += stops_unhandled(t, list[i].word, list[i].bit, list[i].text, list[i].code);
    EXPECT(tried >= 3); // every CPU with VMX has the first three
    expect_next_vm_runs(t);
}

// CPUs that force these exits still give the guest what it asks for.
LAB_TEST(exits, forced_rdtsc_exits_are_answered, NEEDS_VMX)
{
    if (!(hypervisor.caps.ctl[CTL_PROC2].may & PROC2_RDTSCP)) {
        selftest_skip(t, "needs RDTSCP");
        return;
    }
    EXPECT(lab_snippet(t, lab, IMAGE_LONG, &rdtsc_and_rdtscp));
    EXPECT(allow(lab, CTL_PROC, PROC_RDTSC));
    lab->vcpu->switched[SWITCHED_TSC_AUX] = 0x1234;
    lab->vcpu->tsc_offset = 1ull << 50;
    lab_run(lab);
    ended(t, lab, VM_END_DEBUG_EXIT, "");
    EXPECT_EQ(lab->vcpu->exits[REASON_RDTSC], 1);
    EXPECT_EQ(lab->vcpu->exits[REASON_RDTSCP], 1);
    EXPECT_EQ(lab->vcpu->regs[GPR_RDI], 0x1234);
    EXPECT_EQ(lab->vcpu->regs[GPR_RSI] >> 50, 1);
    EXPECT(lab->vcpu->regs[GPR_RAX] > lab->vcpu->regs[GPR_RSI]);
    EXPECT(lab->vcpu->regs[GPR_RAX] < lab->vcpu->regs[GPR_RSI] + 10000000);
}

// ---- counts ------------------------------------------------------------------------------------

LAB_TEST(exits, each_is_counted_once, NEEDS_VMX)
{
    EXPECT(lab_snippet(t, lab, IMAGE_LONG, &exit_once_each));
    lab_run(lab);
    EXPECT(ended(t, lab, VM_END_DEBUG_EXIT, ""));
    // TPR may be shadowed, and the local APIC's version read in the virtual-APIC page.
    unsigned cr8 = lab->vm->lapic.cpu.page ? 0 : 2;
    u32 controls = lab->vcpu->apicv.controls;
    bool access = controls & PROC2_APIC_ACCESS;
    const struct {
        enum exit_reason reason;
        unsigned count;
    } list[] = {
        {REASON_CPUID,         1                                          },
        {REASON_RDMSR,         1                                          },
        {REASON_WRMSR,         1                                          },
        {REASON_VMCALL,        1                                          },
        {REASON_CR_ACCESS,     cr8                                        },
        {REASON_EPT_VIOLATION, !access                                    },
        {REASON_APIC_ACCESS,   access && !(controls & PROC2_APIC_REGISTER)},
        {REASON_IO,            1                                          },
    };
    u64 sum = lab->vcpu->exits[REASON_WBINVD]; // 1 where it can be made to exit
    EXPECT_EQ(sum, !!(hypervisor.caps.ctl[CTL_PROC2].may & PROC2_WBINVD));
    for (unsigned i = 0; i < ARRAY_SIZE(list); i++) {
        if (lab->vcpu->exits[list[i].reason] != list[i].count)
            selftest_fail(t, "%s: %llu", exit_reason_name(list[i].reason),
                          (unsigned long long)lab->vcpu->exits[list[i].reason]);
        sum += list[i].count;
    }
    EXPECT_EQ(exits_of_all_kinds(lab->vcpu), sum);
}

LAB_TEST(exits, what_needs_none_has_none, NEEDS_VMX)
{
    EXPECT(lab_snippet(t, lab, IMAGE_LONG, &exit_never));
    lab_run(lab);
    EXPECT(ended(t, lab, VM_END_DEBUG_EXIT, ""));
    EXPECT_EQ(lab->vcpu->exits[REASON_IO], 1); // its end
    EXPECT_EQ(exits_of_all_kinds(lab->vcpu), 1);
}

LAB_TEST(msr, those_passed_through_keep_their_values, NEEDS_VMX)
{
    EXPECT(lab_load(t, lab, t->name));
    EXPECT(lab_run_passes(t, lab));
    EXPECT_EQ(lab->vcpu->exits[REASON_RDMSR], 0);
    EXPECT_EQ(lab->vcpu->exits[REASON_WRMSR], 0);
    // They are the guest's: the host has its own, and another guest starts with zeroes.
    EXPECT_EQ(lab->vcpu->switched[SWITCHED_STAR], 0x0123456789abcdef);
    EXPECT_EQ(rdmsr(IA32_EFER) & EFER_SCE, 0);
    struct lab other;
    EXPECT(lab_open(t, &other, "other"));
    if (lab_load(t, &other, t->name))
        lab_run_passes(t, &other);
    lab_close(&other);
}

static u64 spec_ctrl_seen; // any bit that the host's had while the guest was out

static bool look_at_spec_ctrl(struct vcpu *vcpu, const struct exit_info *exit,
                              enum exit_action *action)
{
    (void)vcpu;
    (void)action;
    if (exit->reason == REASON_VMCALL)
        spec_ctrl_seen |= rdmsr(IA32_SPEC_CTRL);
    return false;
}

LAB_TEST(msr, spec_ctrl_is_the_guests_own, NEEDS_VMX)
{
    if (!(cpuid(7, 0).edx & CPUID_7_EDX_IBRS)) {
        selftest_skip(t, "this CPU has no IBRS");
        return;
    }
    u64 host = rdmsr(IA32_SPEC_CTRL);
    EXPECT(lab_load(t, lab, t->name));
    lab->vcpu->hook = look_at_spec_ctrl;
    spec_ctrl_seen = 0;
    EXPECT(lab_run_passes(t, lab));
    EXPECT_EQ(spec_ctrl_seen, host);
    EXPECT_EQ(rdmsr(IA32_SPEC_CTRL), host);
    // The first value but 0 exits, and the read before it: then it is the CPU's own.
    EXPECT_EQ(lab->vcpu->exits[REASON_RDMSR], 1);
    EXPECT_EQ(lab->vcpu->exits[REASON_WRMSR], 1);
    // Another guest starts with its own, which is 0.
    struct lab other;
    EXPECT(lab_open(t, &other, "other"));
    if (lab_load(t, &other, t->name))
        lab_run_passes(t, &other);
    lab_close(&other);
}

// #DB and #AC can be raised without end while they are delivered, so they go through Corbel.
static void expect_exception_exits(struct selftest_ctx *t, const char *guest, unsigned count)
{
    struct lab lab;
    if (t->failed || !lab_open(t, &lab, "reflect"))
        return;
    if (lab_load(t, &lab, guest) && lab_run_passes(t, &lab) &&
        lab.vcpu->exits[REASON_EXCEPTION_NMI] != count)
        selftest_fail(t, "%s: %llu exits", guest,
                      (unsigned long long)lab.vcpu->exits[REASON_EXCEPTION_NMI]);
    lab_close(&lab);
}

SELFTEST(exits, exceptions_that_could_hang_the_cpu_exit, NEEDS_VMX)
{
    expect_exception_exits(t, "exits.alignment_check_is_delivered", 1);
    expect_exception_exits(t, "exits.data_breakpoint_is_a_trap", 1);
    expect_exception_exits(t, "exits.icebp_is_delivered_after_itself", 1);
    expect_exception_exits(t, "exits.privileged_insns_fault_in_user_mode", 0);
}

// ---- the host's interrupts ---------------------------------------------------------------------

LAB_TEST(exits, host_interrupt_disturbs_no_register, NEEDS_VMX)
{
    EXPECT(lab_snippet(t, lab, IMAGE_LONG, &spin_open));
    lab->vcpu->regs[GPR_RDI] = 100000;
    lab->vcpu->regs[GPR_R15] = 0xfedcba9876543210;
    u64 before = timer_fired();
    timer_arm(rdtsc() + 20000);
    lab_run(lab);
    timer_disarm();
    EXPECT(ended(t, lab, VM_END_DEBUG_EXIT, ""));
    EXPECT_EQ(lab->vcpu->exits[REASON_EXTERNAL_INTERRUPT], 1);
    EXPECT_EQ(timer_fired(), before + 1);
    EXPECT_EQ(lab->vcpu->regs[GPR_RSI], 300000);
    EXPECT_EQ(lab->vcpu->regs[GPR_R15], 0xfedcba9876543210);
}

// An interrupt of the host comes as itself, whatever its vector, and once.
static unsigned seen[2];

static void see_first(u8 vector)
{
    seen[0] += vector == 0x71;
    host_lapic_eoi();
}

static void see_second(u8 vector)
{
    seen[1] += vector == 0xe2;
    host_lapic_eoi();
}

LAB_TEST(exits, host_interrupts_reach_their_handlers, NEEDS_VMX)
{
    trap_handler_fn before[] = {trap_handler(0x71), trap_handler(0xe2)};
    seen[0] = seen[1] = 0;
    trap_set_handler(0x71, see_first);
    trap_set_handler(0xe2, see_second);
    EXPECT(lab_snippet(t, lab, IMAGE_LONG, &spin_open));
    lab->vcpu->regs[GPR_RDI] = 1000;
    host_lapic_self_ipi(0x71); // interrupts are off here
    host_lapic_self_ipi(0xe2);
    lab_run(lab);
    trap_set_handler(0x71, before[0]);
    trap_set_handler(0xe2, before[1]);
    EXPECT(ended(t, lab, VM_END_DEBUG_EXIT, ""));
    EXPECT_EQ(seen[0], 1);
    EXPECT_EQ(seen[1], 1);
    // Acknowledged by the exit they come one by one, else all that wait are let in at once.
    EXPECT_EQ(lab->vcpu->exits[REASON_EXTERNAL_INTERRUPT], lab->vcpu->has_ack_on_exit ? 2 : 1);
    EXPECT_EQ(lab->vcpu->regs[GPR_RSI], 3000);
}

LAB_TEST(exits, deadline_ends_a_spin, NEEDS_PREEMPTION)
{
    EXPECT(lab_load(t, lab, t->name));
    EXPECT(lab_run_passes(t, lab));
    EXPECT_EQ(lab->vcpu->exits[REASON_PREEMPTION_TIMER], 1);
}

// ---- control registers, the host's side --------------------------------------------------------

static u64 cr0_in_the_vmcs, cr4_in_the_vmcs;

static bool look_at_crs(struct vcpu *vcpu, const struct exit_info *exit, enum exit_action *action)
{
    (void)vcpu;
    (void)action;
    if (exit->reason == REASON_CPUID) {
        cr0_in_the_vmcs = vmcs_read(VMCS_GUEST_CR0);
        cr4_in_the_vmcs = vmcs_read(VMCS_GUEST_CR4);
    }
    return false;
}

// MOV CR0 with CD and NW set and NE clear, CPUID, the end.
LAB_TEST(cr, caches_and_ne_stay_with_the_host, NEEDS_VMX)
{
    static const u8 code[] = {
        0x0f, 0x20, 0xc0,             // MOV RAX, CR0
        0x0d, 0x00, 0x00, 0x00, 0x60, // OR EAX, CD | NW
        0x83, 0xe0, 0xdf,             // AND EAX, ~NE
        0x0f, 0x22, 0xc0,             // MOV CR0, RAX
        0x0f, 0xa2,                   // CPUID
        0x0f, 0x20, 0xc3,             // MOV RBX, CR0
        0xe6, 0xf4,
    };
    EXPECT(lab_code(t, lab, IMAGE_LONG, code, sizeof(code)));
    lab->vcpu->hook = look_at_crs;
    lab_run(lab);
    EXPECT(ended(t, lab, VM_END_DEBUG_EXIT, ""));
    u64 guest = lab->vcpu->regs[GPR_RBX];
    EXPECT_EQ(guest & (CR0_CD | CR0_NW | CR0_NE), CR0_CD | CR0_NW);
    EXPECT_EQ(cr0_in_the_vmcs & (CR0_CD | CR0_NW | CR0_NE), CR0_NE);
    EXPECT_EQ(guest & (CR0_PE | CR0_PG | CR0_WP), cr0_in_the_vmcs & (CR0_PE | CR0_PG | CR0_WP));
    // CR4 as VMX needs it, which the guest does not see.
    EXPECT(cr4_in_the_vmcs & CR4_VMXE);
    EXPECT(cr4_in_the_vmcs & CR4_MCE);
}

// CLTS and LMSW exit where TS, EM and MP are the host's, as a CPU with other fixed bits might have
// them: to the guest it is all the same.
static void run_with_owned_cr0(struct selftest_ctx *t, struct lab *lab, const char *guest,
                               unsigned exits)
{
    EXPECT(lab_load(t, lab, guest));
    lab->vcpu->cr0_mask |= CR0_TS | CR0_EM | CR0_MP;
    lab_poke(lab, VMCS_CR0_MASK, lab->vcpu->cr0_mask);
    EXPECT(lab_run_passes(t, lab));
    EXPECT(lab->vcpu->exits[REASON_CR_ACCESS] >= exits);
}

LAB_TEST(cr, clts_that_exits, NEEDS_VMX)
{
    run_with_owned_cr0(t, lab, "cr.clts_clears_ts_alone", 5);
}

LAB_TEST(cr, lmsw_that_exits, NEEDS_VMX)
{
    run_with_owned_cr0(t, lab, "cr.lmsw_sets_four_bits_and_keeps_pe", 4);
}

// ---- what exits do not switch ------------------------------------------------------------------

SNIPPET(set_registers);
SNIPPET(get_registers);

// Of registers that only vcpu_load() and vcpu_put() see to.
static void expect_registers(struct selftest_ctx *t, const struct vcpu *vcpu, u64 want, u64 dr6)
{
    static const u8 regs[] = {GPR_RAX, GPR_RBX, GPR_RCX, GPR_RDX, GPR_RSI, GPR_RDI};
    static const char *const names[] = {"DR0", "DR3", "DR6", "CR2", "XMM0", "XMM15"};
    for (unsigned i = 0; i < ARRAY_SIZE(regs); i++)
        if (vcpu->regs[regs[i]] != (regs[i] == GPR_RCX ? dr6 : want))
            selftest_fail(t, "a guest finds %llx in %s", (unsigned long long)vcpu->regs[regs[i]],
                          names[i]);
}

static void run_code(struct selftest_ctx *t, struct lab *lab, const struct lab_snippet *code)
{
    EXPECT(lab_snippet(t, lab, IMAGE_LONG, code));
    lab_poke(lab, VMCS_GUEST_CR4, lab_peek(lab, VMCS_GUEST_CR4) | CR4_OSFXSR);
    lab_run(lab);
    ended(t, lab, VM_END_DEBUG_EXIT, "");
}

LAB_TEST(exits, registers_stay_with_their_guest, NEEDS_VMX)
{
    struct lab other;
    run_code(t, lab, &set_registers);
    EXPECT(lab_open(t, &other, "other"));
    run_code(t, &other, &get_registers);
    expect_registers(t, other.vcpu, 0, DR6_INIT);
    lab_close(&other);
    // The first one has its own when it goes on, behind the write that stopped it.
    lab->vm->end = VM_RUNNING;
    lab->vm->attention = 0;
    lab_run(lab);
    EXPECT(ended(t, lab, VM_END_DEBUG_EXIT, ""));
    expect_registers(t, lab->vcpu, 0x1234567812345678, 0xffff4ff0);
}
