// SPDX-License-Identifier: MIT
// The exit table, and what stands around every handler: counting, moving RIP, blocking, single
// steps and the resume flag, and the end of a VM whose exit nobody answers.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/regs/msr.h"
#include "tests/host/vmx_rig.h"

// ---- the table --------------------------------------------------------------------------------

// SDM volume 3, "VMX Basic Exit Reasons"; 35, 38, 42 and 71 are not used.
static const u8 numbers[][2] = {
    {REASON_EXCEPTION_NMI,       0 },
    {REASON_EXTERNAL_INTERRUPT,  1 },
    {REASON_TRIPLE_FAULT,        2 },
    {REASON_INIT,                3 },
    {REASON_SIPI,                4 },
    {REASON_IO_SMI,              5 },
    {REASON_OTHER_SMI,           6 },
    {REASON_INTERRUPT_WINDOW,    7 },
    {REASON_NMI_WINDOW,          8 },
    {REASON_TASK_SWITCH,         9 },
    {REASON_CPUID,               10},
    {REASON_GETSEC,              11},
    {REASON_HLT,                 12},
    {REASON_INVD,                13},
    {REASON_INVLPG,              14},
    {REASON_RDPMC,               15},
    {REASON_RDTSC,               16},
    {REASON_RSM,                 17},
    {REASON_VMCALL,              18},
    {REASON_VMCLEAR,             19},
    {REASON_VMLAUNCH,            20},
    {REASON_VMPTRLD,             21},
    {REASON_VMPTRST,             22},
    {REASON_VMREAD,              23},
    {REASON_VMRESUME,            24},
    {REASON_VMWRITE,             25},
    {REASON_VMXOFF,              26},
    {REASON_VMXON,               27},
    {REASON_CR_ACCESS,           28},
    {REASON_DR_ACCESS,           29},
    {REASON_IO,                  30},
    {REASON_RDMSR,               31},
    {REASON_WRMSR,               32},
    {REASON_BAD_GUEST_STATE,     33},
    {REASON_MSR_LOAD_FAIL,       34},
    {REASON_MWAIT,               36},
    {REASON_MTF,                 37},
    {REASON_MONITOR,             39},
    {REASON_PAUSE,               40},
    {REASON_MACHINE_CHECK_ENTRY, 41},
    {REASON_TPR_BELOW,           43},
    {REASON_APIC_ACCESS,         44},
    {REASON_VIRTUAL_EOI,         45},
    {REASON_GDTR_IDTR,           46},
    {REASON_LDTR_TR,             47},
    {REASON_EPT_VIOLATION,       48},
    {REASON_EPT_MISCONFIG,       49},
    {REASON_INVEPT,              50},
    {REASON_RDTSCP,              51},
    {REASON_PREEMPTION_TIMER,    52},
    {REASON_INVVPID,             53},
    {REASON_WBINVD,              54},
    {REASON_XSETBV,              55},
    {REASON_APIC_WRITE,          56},
    {REASON_RDRAND,              57},
    {REASON_INVPCID,             58},
    {REASON_VMFUNC,              59},
    {REASON_ENCLS,               60},
    {REASON_RDSEED,              61},
    {REASON_PML_FULL,            62},
    {REASON_XSAVES,              63},
    {REASON_XRSTORS,             64},
    {REASON_PCONFIG,             65},
    {REASON_SPP_EVENT,           66},
    {REASON_UMWAIT,              67},
    {REASON_TPAUSE,              68},
    {REASON_LOADIWKEY,           69},
    {REASON_ENCLV,               70},
    {REASON_ENQCMD_PASID,        72},
    {REASON_ENQCMDS_PASID,       73},
    {REASON_BUS_LOCK,            74},
    {REASON_INSN_TIMEOUT,        75},
    {REASON_SEAMCALL,            76},
    {REASON_TDCALL,              77},
};

static bool is_gap(u32 reason)
{
    return reason == 35 || reason == 38 || reason == 42 || reason == 71;
}

static void table_has_every_reason_at_its_number(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++)
        assert_int_equal(numbers[i][0], numbers[i][1]);
    assert_int_equal(REASON_COUNT, 78);
    assert_int_equal(ARRAY_SIZE(numbers), REASON_COUNT - 4);
    for (u32 reason = 0; reason < REASON_COUNT; reason++) {
        if (is_gap(reason)) {
            assert_null(exit_table[reason].name);
            assert_null(exit_table[reason].handler);
            assert_string_equal(exit_reason_name(reason), "unknown reason");
        } else {
            assert_non_null(exit_table[reason].name);
            assert_true(exit_table[reason].name[0]);
            assert_ptr_equal(exit_reason_name(reason), exit_table[reason].name);
        }
    }
    assert_string_equal(exit_reason_name(REASON_COUNT), "unknown reason");
    assert_string_equal(exit_reason_name(~0u), "unknown reason");
    assert_string_equal(exit_reason_name(REASON_CPUID), "CPUID");
}

static void names_are_unique(void **state)
{
    (void)state;
    for (u32 a = 0; a < REASON_COUNT; a++)
        for (u32 b = 0; b < a; b++)
            if (exit_table[a].name && exit_table[b].name)
                assert_string_not_equal(exit_table[a].name, exit_table[b].name);
}

// Exits for which the SDM defines IDT-vectoring information that matters, and those whose
// instruction length is valid: "Information for VM Exits That Occur During Event Delivery",
// "Information for VM Exits Due to Instruction Execution".
static void needs_are_what_the_reason_defines(void **state)
{
    static const u8 vectoring[] = {0, 1, 2, 9, 44, 48, 49, 62, 66};
    static const u8 no_length[] = {1,  2,  3,  4,  5,  6,  7,  8,  33, 34, 37, 41, 43,
                                   44, 45, 48, 49, 52, 56, 62, 66, 72, 73, 74, 75};
    static const u8 qualified[] = {0,  4,  9,  14, 28, 29, 30, 33, 34, 36, 44,
                                   45, 46, 47, 48, 56, 58, 62, 66, 72, 73, 75};
    (void)state;
    for (u32 reason = 0; reason < REASON_COUNT; reason++) {
        if (is_gap(reason))
            continue;
        u32 needs = exit_table[reason].needs;
        assert_int_equal(!!(needs & NEED_V), !!memchr(vectoring, (int)reason, sizeof(vectoring)));
        assert_int_equal(!(needs & NEED_L), !!memchr(no_length, (int)reason, sizeof(no_length)));
        assert_int_equal(!!(needs & NEED_Q), !!memchr(qualified, (int)reason, sizeof(qualified)));
        assert_int_equal(!!(needs & NEED_A), reason == 48 || reason == 49);
        assert_int_equal(!!(needs & NEED_I), reason == 0 || reason == 1);
    }
}

// ---- exits nobody answers ---------------------------------------------------------------------

static void check_next_vm_runs(void)
{
    struct vmx_rig *r = rig_open(NULL);
    r->vcpu.regs[GPR_RAX] = HYPERCALL_PING;
    r->vcpu.regs[GPR_RBX] = 41;
    rig_exit(r, &(struct rig_exit){.reason = REASON_VMCALL, .length = 3});
    assert_int_equal(r->vcpu.regs[GPR_RAX], 42);
    assert_int_equal(r->vm.end, VM_RUNNING);
    rig_close(r);
}

static void unhandled_reason_stops_this_vm_with_a_report(void **state)
{
    (void)state;
    static const u32 others[] = {78, 79, 255, 256, 0x7fff, 0xffff};
    for (u32 i = 0; i < REASON_COUNT + ARRAY_SIZE(others); i++) {
        u32 reason = i < REASON_COUNT ? i : others[i - REASON_COUNT];
        if (i < REASON_COUNT && exit_table[i].handler)
            continue;
        struct vmx_rig *r = rig_open(NULL);
        char want[80];
        rig_exit(r, &(struct rig_exit){.reason = reason, .length = 2, .qualification = 0x1234abcd});
        assert_int_equal(r->vm.end, VM_END_UNHANDLED);
        assert_true(r->vm.attention & VM_ATTENTION_STOP);
        snprintf(want, sizeof(want), "exit reason %u (%s) is not handled", reason,
                 exit_reason_name(reason));
        assert_string_equal(r->vm.end_text, want);
        assert_non_null(strstr(rig_log(), want));
        assert_non_null(strstr(rig_log(), "qualification 000000001234abcd"));
        assert_non_null(strstr(rig_log(), "  rip 0000000000008000"));
        assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE);
        if (reason < REASON_COUNT)
            assert_int_equal(r->vcpu.exits[reason], 1);
        rig_close(r);
        check_next_vm_runs();
    }
}

static void failed_entry_stops_this_vm_with_its_reason(void **state)
{
    // A reason that has a handler too: bit 31 decides.
    static const u32 reasons[] = {33, 34, 41, 35, REASON_CPUID, 0xffff};
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(reasons); i++) {
        struct vmx_rig *r = rig_open(NULL);
        char want[96];
        rig_exit(r, &(struct rig_exit){
                        .reason = reasons[i] | BIT32(31), .qualification = 3, .length = 2});
        assert_int_equal(r->vm.end, VM_END_ENTRY_FAILED);
        snprintf(want, sizeof(want), "exit reason %u: %s, qualification 3", reasons[i],
                 exit_reason_name(reasons[i]));
        assert_string_equal(r->vm.end_text, want);
        assert_non_null(strstr(rig_log(), want));
        assert_int_equal(r->entry_reports, 1);
        assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE);
        assert_int_equal(r->vcpu.exits[REASON_CPUID], 0);
        rig_close(r);
        check_next_vm_runs();
    }
}

static void other_bits_of_the_reason_are_not_part_of_it(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    // Bit 27: in enclave mode; bit 16 is 0 by definition.
    rig_exit(r, &(struct rig_exit){.reason = REASON_INVD | BIT32(27), .length = 2});
    assert_int_equal(r->vm.end, VM_RUNNING);
    assert_int_equal(r->vcpu.exit.reason, REASON_INVD);
    assert_int_equal(r->vcpu.exits[REASON_INVD], 1);
    rig_close(r);
}

static void exits_are_counted_by_reason(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    for (unsigned i = 0; i < 3; i++)
        rig_exit(r, &(struct rig_exit){.reason = REASON_WBINVD, .length = 2});
    rig_exit(r, &(struct rig_exit){.reason = REASON_PREEMPTION_TIMER});
    for (u32 reason = 0; reason < REASON_COUNT; reason++)
        assert_int_equal(r->vcpu.exits[reason], reason == REASON_WBINVD             ? 3
                                                : reason == REASON_PREEMPTION_TIMER ? 1
                                                                                    : 0);
    assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE + 6);
    rig_close(r);
}

// ---- the hook ---------------------------------------------------------------------------------

static unsigned hook_calls;

static bool hook(struct vcpu *vcpu, const struct exit_info *exit, enum exit_action *action)
{
    hook_calls++;
    assert_ptr_equal(vcpu->hook_ctx, &hook_calls);
    assert_int_equal(exit->length, 3);
    *action = ACT_SKIP;
    return exit->reason == REASON_MTF || exit->reason == REASON_CPUID;
}

static void hook_sees_an_exit_before_the_table(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    hook_calls = 0;
    r->vcpu.hook = hook;
    r->vcpu.hook_ctx = &hook_calls;
    r->vcpu.regs[GPR_RAX] = 0x40000000;
    rig_exit(r, &(struct rig_exit){.reason = REASON_CPUID, .length = 3});
    assert_int_equal(r->vcpu.regs[GPR_RAX], 0x40000000); // the handler did not run
    assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE + 3);
    rig_exit(r, &(struct rig_exit){.reason = REASON_INVD, .length = 3}); // passed on
    assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE + 6);
    assert_int_equal(hook_calls, 2);
    assert_int_equal(r->vcpu.exits[REASON_CPUID], 1);
    rig_close(r);
}

// ---- moving RIP -------------------------------------------------------------------------------

static void rip_moves_by_the_instruction_length(void **state)
{
    static const struct {
        enum image_mode mode;
        u32 cs_ar; // 0: as it starts
        bool lma_off;
        u64 rip, want;
        u32 length;
    } rows[] = {
        {IMAGE_LONG,      0,         false, 0x1000,                0x1002,                2 },
        {IMAGE_LONG,      0,         false, 0xfffffffeull,         0x100000000ull,        2 },
        {IMAGE_LONG,      0,         false, 0xffffffffull,         0x10000000eull,        15},
        {IMAGE_LONG,      0,         false, 0xffffffff80000000ull, 0xffffffff80000003ull, 3 },
 // A guest that runs off the end of the canonical half finds out at VM entry.
        {IMAGE_LONG,      0,         false, 0x00007fffffffffffull, 0x0000800000000001ull, 2 },
        {IMAGE_LONG,      0,         false, ~0ull,                 1,                     2 },
 // Compatibility mode.
        {IMAGE_LONG,      AR_CODE32, false, 0xfffffffeull,         0,                     2 },
        {IMAGE_LONG,      AR_CODE32, false, 0xffffffffull,         2,                     3 },
        {IMAGE_LONG,      AR_CODE16, false, 0xfffeull,             0x10000,               2 },
        {IMAGE_PROTECTED, 0,         false, 0x8000,                0x8003,                3 },
        {IMAGE_PROTECTED, 0,         false, 0xfffffffeull,         1,                     3 },
        {IMAGE_PROTECTED, 0,         false, 0xfffffffdull,         0xffffffffull,         2 },
 // The L bit means nothing outside IA-32e mode.
        {IMAGE_PROTECTED, AR_CODE64, false, 0xffffffffull,         1,                     2 },
        {IMAGE_REAL,      0,         false, 0xfffe,                0x10000,               2 },
        {IMAGE_REAL,      0,         false, 0xffffffffull,         0,                     1 },
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_rig *r = rig_open(&(struct rig_options){.mode = rows[i].mode});
        if (rows[i].cs_ar)
            vmcs_write(VMCS_GUEST_CS_AR, rows[i].cs_ar);
        vmcs_write(VMCS_GUEST_RIP, rows[i].rip);
        rig_exit(r, &(struct rig_exit){.reason = REASON_INVD, .length = rows[i].length});
        if (vmcs_read(VMCS_GUEST_RIP) != rows[i].want)
            fail_msg("row %u: %llx", i, (unsigned long long)vmcs_read(VMCS_GUEST_RIP));
        assert_false(r->vcpu.exception.valid);
        rig_close(r);
    }
}

static void skipping_ends_sti_and_mov_ss_blocking(void **state)
{
    static const struct {
        u32 before, after;
        bool attention;
    } rows[] = {
        {0,                                    0,               false},
        {BLOCKING_BY_STI,                      0,               true },
        {BLOCKING_BY_MOV_SS,                   0,               true },
        {BLOCKING_BY_NMI,                      BLOCKING_BY_NMI, false},
        {BLOCKING_BY_NMI | BLOCKING_BY_STI,    BLOCKING_BY_NMI, true },
        {BLOCKING_BY_NMI | BLOCKING_BY_MOV_SS, BLOCKING_BY_NMI, true },
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_rig *r = rig_open(NULL);
        r->vm.attention = 0;
        vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, rows[i].before);
        rig_exit(r, &(struct rig_exit){.reason = REASON_INVD, .length = 2});
        assert_int_equal(vmcs_read(VMCS_GUEST_INTERRUPTIBILITY), rows[i].after);
        assert_int_equal(r->vm.attention, rows[i].attention ? VM_ATTENTION_EVENT : 0);
        rig_close(r);
    }
}

static void fault_leaves_rip_and_blocking_alone(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_BY_MOV_SS);
    vmcs_write(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_TF);
    rig_exit(r, &(struct rig_exit){.reason = REASON_VMXON, .length = 4});
    assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE);
    assert_int_equal(vmcs_read(VMCS_GUEST_INTERRUPTIBILITY), BLOCKING_BY_MOV_SS);
    assert_int_equal(r->vcpu.exception.vector, VEC_UD);
    // What the handler returns to has RF set.
    assert_int_equal(vmcs_read(VMCS_GUEST_RFLAGS), RFLAGS_FIXED | RFLAGS_TF | RFLAGS_RF);
    assert_int_equal(r->dr6, DR6_INIT);
    rig_close(r);
}

// ---- single step ------------------------------------------------------------------------------

static void step_is_due_after_an_emulated_instruction(void **state)
{
    static const struct {
        u64 rflags, debugctl, pending, dr7;
        bool step;
        u64 dr6;
    } rows[] = {
        {0,                     0,            0,      DR7_INIT,          false, DR6_INIT             },
        {RFLAGS_TF,             0,            0,      DR7_INIT,          true,  DR6_INIT | DR6_BS    },
        {RFLAGS_TF | RFLAGS_IF, 0,            0,      DR7_INIT | DR7_GD, true,  DR6_INIT | DR6_BS    },
        {RFLAGS_TF,             DEBUGCTL_BTF, 0,      DR7_INIT,          false, DR6_INIT             },
        {0,                     DEBUGCTL_BTF, 0,      DR7_INIT,          false, DR6_INIT             },
 // Breakpoints that MOV SS held back.
        {RFLAGS_TF,             0,            0x1005, DR7_INIT,          true,  DR6_INIT | DR6_BS | 5},
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_rig *r = rig_open(NULL);
        vmcs_write(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | rows[i].rflags);
        vmcs_write(VMCS_GUEST_DEBUGCTL, rows[i].debugctl);
        vmcs_write(VMCS_GUEST_PENDING_DEBUG, rows[i].pending);
        vmcs_write(VMCS_GUEST_DR7, rows[i].dr7);
        rig_exit(r, &(struct rig_exit){.reason = REASON_INVD, .length = 2});
        assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE + 2);
        assert_int_equal(r->vcpu.exception.valid, rows[i].step);
        assert_int_equal(r->dr6, rows[i].dr6);
        assert_int_equal(vmcs_read(VMCS_GUEST_DEBUGCTL), rows[i].debugctl);
        rig_inject(r);
        assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), rows[i].step ? INFO_DB : 0);
        if (rows[i].step) {
            assert_int_equal(vmcs_read(VMCS_GUEST_PENDING_DEBUG), 0);
            assert_int_equal(vmcs_read(VMCS_GUEST_DR7), DR7_INIT);
        }
        rig_close(r);
    }
}

// An interrupt injected with the entry would discard what is pending: the step goes first.
static void step_comes_before_an_interrupt(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    vmcs_write(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_TF | RFLAGS_IF);
    lapic_set_irq(&r->vm.lapic, 0x40, false);
    rig_exit(r, &(struct rig_exit){.reason = REASON_INVD, .length = 2});
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), INFO_DB);
    assert_true(vmcs_read(VMCS_PROC_CTLS) & PROC_INTR_WINDOW);
    vmcs_write(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF); // in the handler, say
    rig_exit(r, &(struct rig_exit){.reason = REASON_INTERRUPT_WINDOW});
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), INFO(EVENT_EXTERNAL_INTERRUPT, 0x40));
    rig_close(r);
}

// The trap after HLT ends the halt: SDM volume 3, "Single-Step Exception Condition" and HLT.
static void step_over_hlt_is_not_lost(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    vmcs_write(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_TF);
    rig_exit(r, &(struct rig_exit){.reason = REASON_HLT, .length = 1});
    assert_true(r->vm.attention & VM_ATTENTION_EVENT);
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), INFO_DB);
    assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE + 1);
    assert_false(r->vcpu.halted);
    rig_close(r);
}

// ---- the resume flag --------------------------------------------------------------------------

static enum exit_action next_action;

static bool answer(struct vcpu *vcpu, const struct exit_info *exit, enum exit_action *action)
{
    (void)exit;
    if (next_action == ACT_FAULT)
        vcpu_raise(vcpu, event_exception(VEC_GP, 0));
    *action = next_action;
    return true;
}

static void resume_flag_follows_what_was_done(void **state)
{
    static const struct {
        enum exit_action action;
        bool before, after;
    } rows[] = {
        {ACT_SKIP,   true,  false},
        {ACT_SKIP,   false, false},
        {ACT_IDLE,   true,  false},
        {ACT_REPEAT, false, true },
        {ACT_REPEAT, true,  true },
        {ACT_FAULT,  false, true },
        {ACT_FAULT,  true,  true },
        {ACT_RESUME, false, false},
        {ACT_RESUME, true,  true },
        {ACT_STOP,   true,  true },
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_rig *r = rig_open(NULL);
        r->vcpu.hook = answer;
        next_action = rows[i].action;
        vmcs_write(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_DF | (rows[i].before ? RFLAGS_RF : 0));
        rig_exit(r, &(struct rig_exit){.reason = REASON_CPUID, .length = 2});
        assert_int_equal(vmcs_read(VMCS_GUEST_RFLAGS),
                         RFLAGS_FIXED | RFLAGS_DF | (rows[i].after ? RFLAGS_RF : 0));
        rig_close(r);
    }
}

static void element_of_a_repeated_instruction_steps_in_place(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    r->vcpu.hook = answer;
    next_action = ACT_REPEAT;
    vmcs_write(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_TF);
    vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_BY_STI);
    rig_exit(r, &(struct rig_exit){.reason = REASON_IO, .length = 2});
    assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE);
    assert_int_equal(vmcs_read(VMCS_GUEST_INTERRUPTIBILITY), 0);
    assert_int_equal(r->dr6, DR6_INIT | DR6_BS);
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), INFO_DB);
    rig_close(r);
}

// ---- registers --------------------------------------------------------------------------------

static void rsp_lives_in_the_vmcs(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    for (unsigned i = 0; i < GPR_COUNT; i++)
        vcpu_write_gpr(&r->vcpu, i, 0x1111111111111111ull * i);
    for (unsigned i = 0; i < GPR_COUNT; i++) {
        assert_int_equal(vcpu_read_gpr(&r->vcpu, i), 0x1111111111111111ull * i);
        if (i != GPR_RSP)
            assert_int_equal(r->vcpu.regs[i], 0x1111111111111111ull * i);
    }
    assert_int_equal(vmcs_read(VMCS_GUEST_RSP), 0x4444444444444444ull);
    rig_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_has_every_reason_at_its_number),
        cmocka_unit_test(names_are_unique),
        cmocka_unit_test(needs_are_what_the_reason_defines),
        cmocka_unit_test(unhandled_reason_stops_this_vm_with_a_report),
        cmocka_unit_test(failed_entry_stops_this_vm_with_its_reason),
        cmocka_unit_test(other_bits_of_the_reason_are_not_part_of_it),
        cmocka_unit_test(exits_are_counted_by_reason),
        cmocka_unit_test(hook_sees_an_exit_before_the_table),
        cmocka_unit_test(rip_moves_by_the_instruction_length),
        cmocka_unit_test(skipping_ends_sti_and_mov_ss_blocking),
        cmocka_unit_test(fault_leaves_rip_and_blocking_alone),
        cmocka_unit_test(step_is_due_after_an_emulated_instruction),
        cmocka_unit_test(step_comes_before_an_interrupt),
        cmocka_unit_test(step_over_hlt_is_not_lost),
        cmocka_unit_test(resume_flag_follows_what_was_done),
        cmocka_unit_test(element_of_a_repeated_instruction_steps_in_place),
        cmocka_unit_test(rsp_lives_in_the_vmcs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
