// SPDX-License-Identifier: MIT
// The exits that need little: CPUID, HLT, the TSC, cache and VMX instructions, VMCALL, XSETBV,
// interrupts, the preemption timer, exceptions.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/regs/msr.h"
#include "tests/host/vmx_rig.h"

#define AVX512   (XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM)
#define XCR0_ALL (XCR0_X87 | XCR0_SSE | XCR0_AVX | AVX512)

static void do_exit(struct vmx_rig *r, u32 reason, u32 length)
{
    rig_exit(r, &(struct rig_exit){.reason = reason, .length = length});
}

// ---- CPUID ------------------------------------------------------------------------------------

static void cpuid_takes_eax_and_ecx_and_clears_upper_halves(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    char signature[13] = {0};
    r->vcpu.regs[GPR_RAX] = 0xdddddddd40000000ull; // the upper half does not count
    r->vcpu.regs[GPR_RBX] = ~0ull;
    r->vcpu.regs[GPR_RCX] = ~0ull;
    r->vcpu.regs[GPR_RDX] = ~0ull;
    do_exit(r, REASON_CPUID, 2);
    assert_int_equal(r->vcpu.regs[GPR_RAX], 0x40000010);
    memcpy(signature, &r->vcpu.regs[GPR_RBX], 4);
    memcpy(signature + 4, &r->vcpu.regs[GPR_RCX], 4);
    memcpy(signature + 8, &r->vcpu.regs[GPR_RDX], 4);
    assert_string_equal(signature, CPUID_SIGNATURE);
    for (unsigned reg = GPR_RAX; reg <= GPR_RBX; reg++)
        assert_int_equal(r->vcpu.regs[reg] >> 32, 0);
    assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE + 2);
    rig_close(r);
}

static void check_cpuid(struct vmx_rig *r, u32 leaf, u32 subleaf)
{
    struct cpuid_state state = {.cr4 = vmcs_read(VMCS_GUEST_CR4), .xcr0 = r->vcpu.xcr0};
    struct cpuid_regs want = cpuid_lookup(&r->vcpu.cpuid, leaf, subleaf, &state);
    r->vcpu.regs[GPR_RAX] = leaf;
    r->vcpu.regs[GPR_RCX] = subleaf;
    rig_exit(r, &(struct rig_exit){.reason = REASON_CPUID, .length = 2});
    assert_int_equal(r->vcpu.regs[GPR_RAX], want.eax);
    assert_int_equal(r->vcpu.regs[GPR_RBX], want.ebx);
    assert_int_equal(r->vcpu.regs[GPR_RCX], want.ecx);
    assert_int_equal(r->vcpu.regs[GPR_RDX], want.edx);
}

// Answers that are kept ready must not be given to other questions, or when they are old.
static void cpuid_answers_the_same_however_often_it_is_asked(void **state)
{
    static const u32 leaves[] = {0,    0x20, 0x40000000, 0x80000000, 4,          7,         0x0b,
                                 0x0d, 1,    0x40000001, 0x80000001, ~0u,        0x10000d,  0x2d,
                                 0x21, 0x24, 0x27,       0x40000010, 0x80000008, 0x8000001f};
    (void)state;
    struct vmx_rig *r =
        rig_open(&(struct rig_options){.xcr0_allowed = XCR0_X87 | XCR0_SSE | XCR0_AVX});
    for (unsigned round = 0; round < 4; round++) {
        vmcs_write(VMCS_GUEST_CR4, vmcs_read(VMCS_GUEST_CR4) ^ CR4_OSXSAVE);
        r->vcpu.xcr0 ^= XCR0_AVX;
        for (unsigned i = 0; i < ARRAY_SIZE(leaves); i++)
            for (u32 subleaf = 0; subleaf < 4; subleaf++)
                for (unsigned again = 0; again <= round % 2; again++)
                    check_cpuid(r, leaves[i], subleaf);
    }
    rig_close(r);
}

static void cpuid_shows_osxsave_as_cr4_has_it(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(&(struct rig_options){.xcr0_allowed = XCR0_ALL});
    for (unsigned on = 0; on < 2; on++) {
        vmcs_write(VMCS_GUEST_CR4, CR4_PAE | (on ? CR4_OSXSAVE : 0));
        r->vcpu.regs[GPR_RAX] = 1;
        do_exit(r, REASON_CPUID, 2);
        assert_int_equal(!!(r->vcpu.regs[GPR_RCX] & CPUID_1_ECX_OSXSAVE), on);
    }
    rig_close(r);
}

static void cpuid_hides_an_apic_that_is_off(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    u64 base = lapic_base_read(&r->vm.lapic);
    for (unsigned on = 0; on < 2; on++) {
        u64 enable = on ? APIC_BASE_ENABLE : 0;
        assert_int_equal(lapic_base_write(&r->vm.lapic, (base & ~APIC_BASE_ENABLE) | enable), OK);
        r->vcpu.regs[GPR_RAX] = 1;
        do_exit(r, REASON_CPUID, 2);
        assert_int_equal(!!(r->vcpu.regs[GPR_RDX] & CPUID_1_EDX_APIC), on);
    }
    rig_close(r);
}

static void cpuid_leaf_d_follows_xcr0(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(&(struct rig_options){.xcr0_allowed = XCR0_ALL});
    r->vcpu.xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
    r->vcpu.regs[GPR_RAX] = 0xd;
    r->vcpu.regs[GPR_RCX] = 0xffffffff00000000ull;
    do_exit(r, REASON_CPUID, 2);
    assert_int_equal(r->vcpu.regs[GPR_RBX], 576 + 256);
    rig_close(r);
}

// ---- the TSC ----------------------------------------------------------------------------------

static void rdtsc_gives_the_guests_count(void **state)
{
    static const struct {
        u64 host, offset, want;
    } rows[] = {
        {0x1122334455667788ull, 0,                       0x1122334455667788ull},
        {1000,                  ~0ull - 999 /* -1000 */, 0                    },
        {0xffffffff,            1,                       0x100000000ull       },
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_rig *r = rig_open(NULL);
        r->now = rows[i].host;
        r->vcpu.tsc_offset = rows[i].offset;
        r->tsc_aux = 0xaaaaaaaa00000007ull;
        r->vcpu.regs[GPR_RAX] = r->vcpu.regs[GPR_RDX] = r->vcpu.regs[GPR_RCX] = ~0ull;
        do_exit(r, REASON_RDTSC, 2);
        assert_int_equal(r->vcpu.regs[GPR_RAX], (u32)rows[i].want);
        assert_int_equal(r->vcpu.regs[GPR_RDX], rows[i].want >> 32);
        assert_int_equal(r->vcpu.regs[GPR_RCX], ~0ull);
        r->vcpu.regs[GPR_RAX] = r->vcpu.regs[GPR_RDX] = ~0ull;
        do_exit(r, REASON_RDTSCP, 3);
        assert_int_equal(r->vcpu.regs[GPR_RAX], (u32)rows[i].want);
        assert_int_equal(r->vcpu.regs[GPR_RDX], rows[i].want >> 32);
        assert_int_equal(r->vcpu.regs[GPR_RCX], 7);
        assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE + 5);
        rig_close(r);
    }
}

// ---- instructions that do nothing, or are not there --------------------------------------------

static void cache_instructions_are_done_by_doing_nothing(void **state)
{
    static const u32 reasons[] = {REASON_INVD, REASON_WBINVD};
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(reasons); i++) {
        struct vmx_rig *r = rig_open(NULL);
        struct vcpu before = r->vcpu;
        do_exit(r, reasons[i], 2);
        assert_memory_equal(before.regs, r->vcpu.regs, sizeof(before.regs));
        assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE + 2);
        rig_close(r);
    }
}

static void hidden_instructions_are_undefined(void **state)
{
    static const u8 reasons[] = {
        REASON_GETSEC,    REASON_RSM,    REASON_VMCLEAR,  REASON_VMLAUNCH, REASON_VMPTRLD,
        REASON_VMPTRST,   REASON_VMREAD, REASON_VMRESUME, REASON_VMWRITE,  REASON_VMXOFF,
        REASON_VMXON,     REASON_MWAIT,  REASON_MONITOR,  REASON_INVEPT,   REASON_INVVPID,
        REASON_VMFUNC,    REASON_ENCLS,  REASON_PCONFIG,  REASON_UMWAIT,   REASON_TPAUSE,
        REASON_LOADIWKEY, REASON_ENCLV,  REASON_SEAMCALL, REASON_TDCALL,
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(reasons); i++) {
        struct vmx_rig *r = rig_open(NULL);
        do_exit(r, reasons[i], 3);
        assert_int_equal(r->vm.end, VM_RUNNING);
        assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE);
        rig_inject(r);
        assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), INFO_UD);
        rig_close(r);
    }
}

static void there_is_no_performance_counter(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    do_exit(r, REASON_RDPMC, 2);
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), INFO_GP);
    assert_int_equal(vmcs_read(VMCS_ENTRY_ERROR_CODE), 0);
    rig_close(r);
}

static void hlt_waits_behind_the_instruction(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    do_exit(r, REASON_HLT, 1);
    assert_true(r->vcpu.halted);
    assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE + 1);
    assert_int_equal(vmcs_read(VMCS_GUEST_ACTIVITY), ACTIVITY_ACTIVE); // waiting is done outside
    rig_close(r);
}

// ---- VMCALL -----------------------------------------------------------------------------------

static void unknown_hypercall_says_so(void **state)
{
    static const struct {
        u64 rax, rbx, want;
    } rows[] = {
        {HYPERCALL_PING,                  41,    42               },
        {HYPERCALL_PING,                  ~0ull, 0                },
        {0,                               41,    HYPERCALL_UNKNOWN},
        {HYPERCALL_UNKNOWN,               41,    HYPERCALL_UNKNOWN},
        {0x100000000ull | HYPERCALL_PING, 41,    HYPERCALL_UNKNOWN},
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_rig *r = rig_open(NULL);
        r->vcpu.regs[GPR_RAX] = rows[i].rax;
        r->vcpu.regs[GPR_RBX] = rows[i].rbx;
        do_exit(r, REASON_VMCALL, 3);
        assert_int_equal(r->vcpu.regs[GPR_RAX], rows[i].want);
        assert_int_equal(r->vcpu.regs[GPR_RBX], rows[i].rbx);
        assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE + 3);
        rig_close(r);
    }
}

// ---- XSETBV -----------------------------------------------------------------------------------

static bool legal(u64 value, u64 allowed)
{
    // SDM volume 1, "Extended Control Registers (XCRs)", rule by rule.
    if (value & ~allowed)
        return false;
    if (!(value & 1))
        return false;
    bool sse = value >> 1 & 1, avx = value >> 2 & 1;
    unsigned wide = value >> 5 & 7;
    if (avx && !sse)
        return false;
    return wide == 0 || (wide == 7 && avx);
}

static void xsetbv(struct vmx_rig *r, u64 value, u64 rcx, u64 cr4, u32 info)
{
    vmcs_write(VMCS_GUEST_RIP, RIG_CODE);
    vmcs_write(VMCS_GUEST_CR4, cr4 | CR4_PAE | CR4_VMXE | CR4_MCE);
    r->xcr0_writes = 0;
    r->vcpu.xcr0 = XCR0_X87;
    r->vcpu.regs[GPR_RAX] = 0xeeeeeeee00000000ull | (u32)value; // upper halves do not count
    r->vcpu.regs[GPR_RDX] = 0xeeeeeeee00000000ull | value >> 32;
    r->vcpu.regs[GPR_RCX] = rcx;
    do_exit(r, REASON_XSETBV, 3);
    assert_int_equal(r->xcr0_writes, info ? 0 : 1);
    assert_int_equal(r->vcpu.xcr0, info ? XCR0_X87 : value);
    assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE + (info ? 0 : 3));
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), info);
}

static void xsetbv_takes_legal_values_only(void **state)
{
    static const u64 allowed[] = {
        XCR0_X87 | XCR0_SSE,
        XCR0_X87 | XCR0_SSE | XCR0_AVX,
        XCR0_ALL,
    };
    (void)state;
    unsigned good = 0;
    for (unsigned a = 0; a < ARRAY_SIZE(allowed); a++) {
        struct vmx_rig *r = rig_open(&(struct rig_options){.xcr0_allowed = allowed[a]});
        for (u64 value = 0; value < 0x400; value++) {
            good += legal(value, allowed[a]);
            xsetbv(r, value, 0, CR4_OSXSAVE, legal(value, allowed[a]) ? 0 : INFO_GP);
        }
        // What can be seen in the upper half.
        xsetbv(r, XCR0_X87 | BIT(32), 0, CR4_OSXSAVE, INFO_GP);
        xsetbv(r, XCR0_X87 | BIT(63), 0, CR4_OSXSAVE, INFO_GP);
        rig_close(r);
    }
    assert_int_equal(good, 2 + 3 + 4);
}

static void xsetbv_knows_register_zero_only(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(&(struct rig_options){.xcr0_allowed = XCR0_ALL});
    xsetbv(r, XCR0_X87, 1, CR4_OSXSAVE, INFO_GP);
    xsetbv(r, XCR0_X87, 0xffffffff, CR4_OSXSAVE, INFO_GP);
    xsetbv(r, XCR0_X87, 0x100000000ull, CR4_OSXSAVE, 0); // ECX is 0
    rig_close(r);
}

static void xsetbv_is_undefined_without_osxsave(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(&(struct rig_options){.xcr0_allowed = XCR0_ALL});
    xsetbv(r, XCR0_X87, 0, 0, INFO_UD);
    xsetbv(r, XCR0_X87, 5, 0, INFO_UD);
    rig_close(r);
}

// ---- what is the host's -----------------------------------------------------------------------

static void host_events_go_to_the_host(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    rig_exit(r, &(struct rig_exit){.reason = REASON_EXTERNAL_INTERRUPT,
                                   .intr_info = INFO(EVENT_EXTERNAL_INTERRUPT, 0xf0)});
    assert_int_equal(r->interrupts, 1);
    rig_exit(r, &(struct rig_exit){.reason = REASON_EXCEPTION_NMI, .intr_info = INFO_NMI});
    assert_int_equal(r->nmis, 1);
    rig_exit(r,
             &(struct rig_exit){.reason = REASON_EXCEPTION_NMI, .intr_info = INFO_FAULT(VEC_MC)});
    assert_int_equal(r->machine_checks, 1);
    assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE);
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), 0); // nothing of it reaches the guest
    rig_exit(r, &(struct rig_exit){.reason = REASON_PREEMPTION_TIMER});
    assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE);
    assert_int_equal(r->vm.end, VM_RUNNING);
    rig_close(r);
}

static void triple_fault_says_where(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    vmcs_write(VMCS_GUEST_CS_SEL, 0x33);
    vmcs_write(VMCS_GUEST_RIP, 0x123456);
    do_exit(r, REASON_TRIPLE_FAULT, 0);
    assert_int_equal(r->vm.end, VM_END_TRIPLE_FAULT);
    assert_string_equal(r->vm.end_text, "at 0033:0000000000123456");
    assert_non_null(strstr(rig_log(), "vm rig: triple fault: at 0033:"));
    rig_close(r);
}

// ---- exceptions -------------------------------------------------------------------------------

static void exception(struct vmx_rig *r, u32 info, u32 error, u64 qualification, u32 length)
{
    rig_exit(r, &(struct rig_exit){.reason = REASON_EXCEPTION_NMI,
                                   .intr_info = info,
                                   .intr_error = error,
                                   .qualification = qualification,
                                   .length = length});
}

static void debug_exception_is_delivered_with_its_causes(void **state)
{
    static const struct {
        u64 dr6, qualification, want;
    } rows[] = {
        {DR6_INIT,              DR6_BS,                DR6_INIT | DR6_BS    },
        {DR6_INIT,              5,                     DR6_INIT | 5         },
        {DR6_INIT,              DR6_BD,                DR6_INIT | DR6_BD    },
 // Bits 3-0 are this exception's alone; BD and BS stay until the guest clears them.
        {DR6_INIT | DR6_BS | 2, 4,                     DR6_INIT | DR6_BS | 4},
        {DR6_INIT | 0xf,        DR6_BS,                DR6_INIT | DR6_BS    },
 // Bits that are not the register's.
        {DR6_INIT,              0xffff00001000ull | 1, DR6_INIT | 1         },
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_rig *r = rig_open(NULL);
        r->dr6 = rows[i].dr6;
        vmcs_write(VMCS_GUEST_DR7, DR7_INIT | DR7_GD | 0xff);
        vmcs_write(VMCS_GUEST_DEBUGCTL, DEBUGCTL_LBR | DEBUGCTL_BTF);
        exception(r, INFO_DB, 0, rows[i].qualification, 0);
        assert_int_equal(r->dr6, rows[i].want);
        assert_int_equal(vmcs_read(VMCS_GUEST_DR7), DR7_INIT | 0xff);
        assert_int_equal(vmcs_read(VMCS_GUEST_DEBUGCTL), 0);
        assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE);
        // Whether it was a fault is in RF already.
        assert_int_equal(vmcs_read(VMCS_GUEST_RFLAGS), RFLAGS_FIXED);
        rig_inject(r);
        assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), INFO_DB);
        rig_close(r);
    }
}

static void icebp_keeps_its_type_and_length(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    u32 info = INFO(EVENT_PRIVILEGED_SOFTWARE_EXCEPTION, VEC_DB);
    exception(r, info, 0, 0, 1);
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), info);
    assert_int_equal(vmcs_read(VMCS_ENTRY_INSN_LENGTH), 1);
    assert_int_equal(r->dr6, DR6_INIT);
    rig_close(r);
}

// A step over STI, or a breakpoint or ICEBP behind MOV SS: the exit leaves no step pending.
static void debug_exception_in_a_shadow_ends_it(void **state)
{
    static const u32 infos[] = {INFO_DB, INFO(EVENT_PRIVILEGED_SOFTWARE_EXCEPTION, VEC_DB)};
    static const u32 shadows[] = {BLOCKING_BY_STI, BLOCKING_BY_MOV_SS};
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct vmx_rig *r = rig_open(NULL);
        vmcs_write(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_TF | RFLAGS_IF);
        vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, shadows[i / 2] | BLOCKING_BY_NMI);
        vmcs_write(VMCS_GUEST_PENDING_DEBUG, 0);
        exception(r, infos[i % 2], 0, i % 2 ? 0 : DR6_BS, 1);
        rig_inject(r);
        assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), infos[i % 2]);
        assert_int_equal(vmcs_read(VMCS_GUEST_INTERRUPTIBILITY), BLOCKING_BY_NMI);
        rig_close(r);
    }
}

static void alignment_check_is_delivered(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    exception(r, INFO_ERROR(EVENT_HARDWARE_EXCEPTION, VEC_AC), 0, 0, 0);
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), INFO_ERROR(EVENT_HARDWARE_EXCEPTION, VEC_AC));
    assert_int_equal(vmcs_read(VMCS_ENTRY_ERROR_CODE), 0);
    rig_close(r);
}

static void error_code_is_taken_where_it_is_valid(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    exception(r, INFO_GP, 0x1238, 0, 0);
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_ENTRY_ERROR_CODE), 0x1238);
    exception(r, INFO_FAULT(VEC_GP), 0x1238, 0, 0); // from real mode, say
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_ENTRY_ERROR_CODE), 0);
    rig_close(r);
}

static void nmi_blocking_that_iret_ended_is_set_again(void **state)
{
    static const struct {
        u32 info, idt_info;
        bool blocked;
    } rows[] = {
        {INFO_DB,                            0,       false},
        {INFO_DB | INTR_INFO_NMI_UNBLOCKING, 0,       true },
        {INFO_DF | INTR_INFO_NMI_UNBLOCKING, 0,       false},
        {INFO_DB | INTR_INFO_NMI_UNBLOCKING, INFO_GP, false},
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_rig *r = rig_open(NULL);
        rig_exit(r, &(struct rig_exit){.reason = REASON_EXCEPTION_NMI,
                                       .intr_info = rows[i].info,
                                       .idt_info = rows[i].idt_info});
        assert_int_equal(vmcs_read(VMCS_GUEST_INTERRUPTIBILITY),
                         rows[i].blocked ? BLOCKING_BY_NMI : 0);
        rig_close(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpuid_takes_eax_and_ecx_and_clears_upper_halves),
        cmocka_unit_test(cpuid_answers_the_same_however_often_it_is_asked),
        cmocka_unit_test(cpuid_shows_osxsave_as_cr4_has_it),
        cmocka_unit_test(cpuid_hides_an_apic_that_is_off),
        cmocka_unit_test(cpuid_leaf_d_follows_xcr0),
        cmocka_unit_test(rdtsc_gives_the_guests_count),
        cmocka_unit_test(cache_instructions_are_done_by_doing_nothing),
        cmocka_unit_test(hidden_instructions_are_undefined),
        cmocka_unit_test(there_is_no_performance_counter),
        cmocka_unit_test(hlt_waits_behind_the_instruction),
        cmocka_unit_test(unknown_hypercall_says_so),
        cmocka_unit_test(xsetbv_takes_legal_values_only),
        cmocka_unit_test(xsetbv_knows_register_zero_only),
        cmocka_unit_test(xsetbv_is_undefined_without_osxsave),
        cmocka_unit_test(host_events_go_to_the_host),
        cmocka_unit_test(triple_fault_says_where),
        cmocka_unit_test(debug_exception_is_delivered_with_its_causes),
        cmocka_unit_test(icebp_keeps_its_type_and_length),
        cmocka_unit_test(debug_exception_in_a_shadow_ends_it),
        cmocka_unit_test(alignment_check_is_delivered),
        cmocka_unit_test(error_code_is_taken_where_it_is_valid),
        cmocka_unit_test(nmi_blocking_that_iret_ended_is_set_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
