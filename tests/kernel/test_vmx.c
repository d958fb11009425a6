// SPDX-License-Identifier: MIT
// VMX operation itself: how its instructions fail, how entries fail, off and on again. SDM volume
// 3, "VM-Instruction Error Numbers".
#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/check.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/regs/cr.h"
#include "arch/x86_64/regs/msr.h"
#include "arch/x86_64/traps.h"
#include "boot/machine.h"
#include "tests/kernel/support.h"
#include "vmx/apicv.h"
#include "vmx/vmx_host.h"

#define NO_VMCS (~0ull)

// ---- regions -----------------------------------------------------------------------------------

static hpa_t new_region(void)
{
    hpa_t region;
    CHECK(vmx_region_alloc(&hypervisor.caps, &hypervisor.host, &region) == OK);
    return region;
}

static void free_region(hpa_t region)
{
    frame_free(&hypervisor.host, region, 1);
}

// A test with a current VMCS that is cleared and has no valid field.
#define VMCS_TEST(title)                                                                           \
    static void vmcs_##title(struct selftest_ctx *t, hpa_t vmcs);                                  \
    SELFTEST(vmx, title, NEEDS_VMX)                                                                \
    {                                                                                              \
        with_vmcs(t, vmcs_##title);                                                                \
    }                                                                                              \
    static void vmcs_##title(struct selftest_ctx *t, hpa_t vmcs)

static void with_vmcs(struct selftest_ctx *t, void (*body)(struct selftest_ctx *t, hpa_t vmcs))
{
    hpa_t vmcs = new_region();
    CHECK(vmclear(vmcs.raw) == VMX_SUCCEED);
    CHECK(vmptrld(vmcs.raw) == VMX_SUCCEED);
    body(t, vmcs);
    CHECK(vmclear(vmcs.raw) == VMX_SUCCEED);
    free_region(vmcs);
}

// The error number that goes with a result; 0 for success, -1 without a current VMCS.
static s64 error_of(enum vmx_result result)
{
    u64 number = 0;
    if (result == VMX_SUCCEED)
        return 0;
    if (result == VMX_FAIL_INVALID || vmread_checked(VMCS_INSN_ERROR, &number) != VMX_SUCCEED)
        return -1;
    return (s64)number;
}

#define EXPECT_ERROR(result, number)                                                               \
    do {                                                                                           \
        s64 error_ = error_of(result);                                                             \
        if (error_ != (number)) {                                                                  \
            selftest_fail(t, "line %d: %s: error %lld, not %d", __LINE__, #result,                 \
                          (long long)error_, (number));                                            \
            return;                                                                                \
        }                                                                                          \
    } while (0)

static u64 past_the_width(void)
{
    return BIT(hypervisor.caps.maxphyaddr);
}

// ---- the state of the CPU ----------------------------------------------------------------------

SELFTEST(vmx, cpu_is_as_vmx_operation_needs_it, NEEDS_VMX)
{
    const struct vmx_caps *caps = &hypervisor.caps;
    EXPECT(vmx_enabled());
    EXPECT(read_cr4() & CR4_VMXE);
    EXPECT_EQ(read_cr0() & caps->cr0_fixed0, caps->cr0_fixed0);
    EXPECT_EQ(read_cr0() & ~caps->cr0_fixed1, 0);
    EXPECT_EQ(read_cr4() & caps->cr4_fixed0, caps->cr4_fixed0);
    EXPECT_EQ(read_cr4() & ~caps->cr4_fixed1, 0);
}

SELFTEST(vmx, feature_control_is_locked, NEEDS_VMX)
{
    u64 value = rdmsr(IA32_FEATURE_CONTROL);
    EXPECT(value & FEATURE_CONTROL_LOCK);
    EXPECT(value & FEATURE_CONTROL_VMX_OUTSIDE);
    EXPECT(!wrmsr_safe(IA32_FEATURE_CONTROL, value));
}

static void do_vmptrst(u64 arg)
{
    (void)arg;
    (void)vmptrst();
}

static void do_write_cr4(u64 value)
{
    write_cr4(value);
}

SELFTEST(vmx, off_and_on_again, NEEDS_VMX)
{
    u64 frames = hypervisor.host.free;
    // CR4.VMXE and CR0.NE are fixed in VMX operation.
    EXPECT_EQ(probe_call(do_write_cr4, read_cr4() & ~CR4_VMXE).vector, VEC_GP);
    vmx_disable(&hypervisor.host);
    bool off = !vmx_enabled() && !(read_cr4() & CR4_VMXE);
    s32 vector = probe_call(do_vmptrst, 0).vector;
    u64 given_back = hypervisor.host.free - frames;
    vmx_disable(&hypervisor.host); // nothing is left to do
    int err = vmx_enable(&hypervisor.caps, &hypervisor.host);
    EXPECT_EQ(err, OK);
    EXPECT(off);
    EXPECT_EQ(vector, VEC_UD);
    EXPECT_EQ(given_back, 1);
    EXPECT(vmx_enabled());
    EXPECT_EQ(probe_call(do_vmptrst, 0).vector, PROBE_NO_FAULT);
    EXPECT_EQ(hypervisor.host.free, frames);
    // A VM runs as before.
    static const u8 code[] = {0xe6, 0xf4};
    struct lab lab;
    EXPECT(lab_open(t, &lab, "again"));
    if (lab_code(t, &lab, IMAGE_LONG, code, sizeof(code))) {
        lab_run(&lab);
        ended(t, &lab, VM_END_DEBUG_EXIT, "");
    }
    lab_close(&lab);
}

// ---- without a current VMCS --------------------------------------------------------------------

SELFTEST(vmx, no_vmcs_is_current_between_vms, NEEDS_VMX)
{
    EXPECT_EQ(vmptrst(), NO_VMCS);
}

SELFTEST(vmx, without_a_vmcs_instructions_fail_invalid, NEEDS_VMX)
{
    u64 value = 0x1234;
    EXPECT_EQ(vmread_checked(VMCS_GUEST_RIP, &value), VMX_FAIL_INVALID);
    EXPECT_EQ(vmwrite_checked(VMCS_GUEST_RIP, 0), VMX_FAIL_INVALID);
    EXPECT_EQ(vmclear(1), VMX_FAIL_INVALID);
    EXPECT_EQ(vmptrld(1), VMX_FAIL_INVALID);
    EXPECT_EQ(invept(0, (struct inv_descriptor){0, 0}), VMX_FAIL_INVALID);
    hpa_t region = new_region();
    enum vmx_result result = vmxon(region.raw);
    free_region(region);
    EXPECT_EQ(result, VMX_FAIL_INVALID);
}

// The VMCS goes away under a running guest: the entry says so and that VM ends.
static bool lose_vmcs(struct vcpu *vcpu, const struct exit_info *exit, enum exit_action *action)
{
    if (exit->reason != REASON_IO)
        return false;
    CHECK(vmclear(vcpu->vmcs.raw) == VMX_SUCCEED);
    *action = ACT_RESUME;
    return true;
}

LAB_TEST(vmx, entry_without_a_vmcs_ends_that_vm, NEEDS_VMX)
{
    static const u8 code[] = {0xe6, 0x80};
    EXPECT(lab_code(t, lab, IMAGE_LONG, code, sizeof(code)));
    lab->vcpu->hook = lose_vmcs;
    run_quietly(lab);
    ended(t, lab, VM_END_ENTRY_FAILED, "VMfailInvalid");
}

// ---- instructions ------------------------------------------------------------------------------

VMCS_TEST(vmxon_in_vmx_operation_is_error_15)
{
    hpa_t region = new_region();
    enum vmx_result result = vmxon(region.raw);
    free_region(region);
    EXPECT_ERROR(result, 15);
    EXPECT_EQ(vmptrst(), vmcs.raw);
}

VMCS_TEST(vmclear_of_a_bad_address_is_error_2)
{
    EXPECT_ERROR(vmclear(vmcs.raw + 1), 2);
    EXPECT_ERROR(vmclear(vmcs.raw + 0x800), 2);
    EXPECT_ERROR(vmclear(past_the_width()), 2);
    EXPECT_ERROR(vmclear(BIT(63)), 2);
    EXPECT_EQ(vmptrst(), vmcs.raw); // it stays current
}

VMCS_TEST(vmptrld_of_a_bad_address_is_error_9)
{
    EXPECT_ERROR(vmptrld(vmcs.raw + 8), 9);
    EXPECT_ERROR(vmptrld(past_the_width()), 9);
    EXPECT_EQ(vmptrst(), vmcs.raw);
}

VMCS_TEST(vmptrld_of_a_wrong_revision_is_error_11)
{
    hpa_t other = new_region();
    u32 *revision = phys_ptr(other);
    *revision ^= 1;
    enum vmx_result wrong = vmptrld(other.raw);
    s64 error = error_of(wrong);
    free_region(other);
    EXPECT_EQ(error, 11);
    EXPECT_EQ(vmptrst(), vmcs.raw);
}

// Corbel's own region is not known here: VMX operation is entered with another one.
SELFTEST(vmx, vmxon_pointer_is_no_vmcs, NEEDS_VMX)
{
    hpa_t own = new_region(), vmcs = new_region();
    s64 clear = -2, load = -2;
    vmx_disable(&hypervisor.host);
    write_cr4(read_cr4() | CR4_VMXE);
    enum vmx_result on = vmxon(own.raw);
    if (on == VMX_SUCCEED) {
        CHECK(vmclear(vmcs.raw) == VMX_SUCCEED && vmptrld(vmcs.raw) == VMX_SUCCEED);
        clear = error_of(vmclear(own.raw));
        load = error_of(vmptrld(own.raw));
        CHECK(vmclear(vmcs.raw) == VMX_SUCCEED && vmxoff() == VMX_SUCCEED);
    }
    int err = vmx_enable(&hypervisor.caps, &hypervisor.host);
    free_region(own);
    free_region(vmcs);
    EXPECT_EQ(err, OK);
    EXPECT_EQ(on, VMX_SUCCEED);
    EXPECT_EQ(clear, 3);
    EXPECT_EQ(load, 10);
}

VMCS_TEST(vmptrst_follows_vmptrld)
{
    hpa_t other = new_region();
    CHECK(vmclear(other.raw) == VMX_SUCCEED && vmptrld(other.raw) == VMX_SUCCEED);
    u64 second = vmptrst();
    CHECK(vmptrld(vmcs.raw) == VMX_SUCCEED);
    u64 first = vmptrst();
    CHECK(vmclear(vmcs.raw) == VMX_SUCCEED);
    u64 none = vmptrst();
    CHECK(vmclear(other.raw) == VMX_SUCCEED);
    free_region(other);
    EXPECT_EQ(first, vmcs.raw);
    EXPECT_EQ(second, other.raw);
    EXPECT_EQ(none, NO_VMCS);
}

VMCS_TEST(missing_field_is_error_12)
{
    u64 value = 0x1234;
    EXPECT_ERROR(vmread_checked(0x7ffe, &value), 12);
    EXPECT_ERROR(vmwrite_checked(0x7ffe, 0), 12);
    EXPECT_ERROR(vmread_checked(0x10000 | VMCS_GUEST_RIP, &value), 12); // a reserved bit
    EXPECT_ERROR(vmread_checked(VMCS_GUEST_RIP + 1, &value), 12); // no upper half: natural width
    EXPECT_EQ(vmptrst(), vmcs.raw);
}

VMCS_TEST(read_only_field_is_error_13)
{
    u64 value;
    bool any = hypervisor.probe.msrs.misc & BIT(29); // VMWRITE to any field
    EXPECT_ERROR(vmread_checked(VMCS_EXIT_REASON, &value), 0);
    EXPECT_ERROR(vmwrite_checked(VMCS_EXIT_REASON, value), any ? 0 : 13);
    EXPECT_ERROR(vmwrite_checked(VMCS_EXIT_QUALIFICATION, 0), any ? 0 : 13);
    EXPECT_EQ(vmptrst(), vmcs.raw);
}

VMCS_TEST(fields_keep_their_widths)
{
    static const struct {
        enum vmcs_field field;
        u64 mask;
    } list[] = {
        {VMCS_GUEST_CS_SEL,      0xffff    },
        {VMCS_TSC_OFFSET,        ~0ull     },
        {VMCS_GUEST_CS_LIMIT,    0xffffffff},
        {VMCS_EXCEPTION_BITMAP,  0xffffffff},
        {VMCS_GUEST_RSP,         ~0ull     },
        {VMCS_HOST_RIP,          ~0ull     },
        {VMCS_VMCS_LINK_POINTER, ~0ull     },
    };
    u64 value;
    for (unsigned i = 0; i < ARRAY_SIZE(list); i++) {
        EXPECT_ERROR(vmwrite_checked(list[i].field, 0xfedcba9876543210ull + i), 0);
        EXPECT_ERROR(vmread_checked(list[i].field, &value), 0);
        EXPECT_EQ(value, (0xfedcba9876543210ull + i) & list[i].mask);
    }
    // The upper half of a 64-bit field has an encoding of its own.
    EXPECT_ERROR(vmread_checked(VMCS_TSC_OFFSET + 1, &value), 0);
    EXPECT_EQ(value, 0xfedcba98);
    EXPECT_EQ(vmptrst(), vmcs.raw);
}

VMCS_TEST(vmcs_keeps_its_fields_while_it_is_away)
{
    hpa_t other = new_region();
    u64 first = 0, second = 0;
    CHECK(vmwrite_checked(VMCS_GUEST_RIP, 0x1111) == VMX_SUCCEED);
    CHECK(vmclear(other.raw) == VMX_SUCCEED && vmptrld(other.raw) == VMX_SUCCEED);
    CHECK(vmwrite_checked(VMCS_GUEST_RIP, 0x2222) == VMX_SUCCEED);
    CHECK(vmclear(vmcs.raw) == VMX_SUCCEED && vmptrld(vmcs.raw) == VMX_SUCCEED);
    CHECK(vmread_checked(VMCS_GUEST_RIP, &first) == VMX_SUCCEED);
    CHECK(vmptrld(other.raw) == VMX_SUCCEED);
    CHECK(vmread_checked(VMCS_GUEST_RIP, &second) == VMX_SUCCEED);
    CHECK(vmclear(other.raw) == VMX_SUCCEED);
    free_region(other);
    EXPECT_EQ(first, 0x1111);
    EXPECT_EQ(second, 0x2222);
}

// IA32_VMX_VMCS_ENUM names the highest index there is; fields of Corbel's are there if their
// control is.
VMCS_TEST(fields_are_there_as_the_capabilities_say)
{
    struct vmx_caps caps; // with what without= takes from Corbel
    vmx_caps_decode(&hypervisor.probe, &caps);
    const struct ctl_allowed *ctl = caps.ctl;
    const struct {
        enum vmcs_field field;
        bool there;
    } list[] = {
        {VMCS_VPID,             ctl[CTL_PROC2].may & PROC2_VPID          },
        {VMCS_EPT_POINTER,      true                                     },
        {VMCS_PREEMPTION_TIMER, ctl[CTL_PIN].may & PIN_PREEMPTION_TIMER  },
        {VMCS_XSS_EXIT_BITMAP,  ctl[CTL_PROC2].may & PROC2_XSAVES        },
        {VMCS_TSC_MULTIPLIER,   ctl[CTL_PROC2].may & PROC2_TSC_SCALING   },
        {VMCS_VMREAD_BITMAP,    ctl[CTL_PROC2].may & PROC2_VMCS_SHADOWING},
        {VMCS_GUEST_PAT,        true                                     },
        {VMCS_GUEST_EFER,       true                                     },
        {VMCS_HOST_PAT,         true                                     },
        {VMCS_HOST_EFER,        true                                     },
    };
    u64 value, highest = 0;
    for (unsigned i = 0; i < vmcs_fields_count; i++)
        if (vmread_checked(vmcs_fields[i].encoding, &value) == VMX_SUCCEED) {
            u64 index = vmcs_fields[i].encoding >> 1 & 0x1ff;
            highest = index > highest ? index : highest;
        }
    EXPECT(highest <= bits_get(hypervisor.probe.msrs.vmcs_enum, 9, 1));
    for (unsigned i = 0; i < ARRAY_SIZE(list); i++)
        if ((vmread_checked(list[i].field, &value) == VMX_SUCCEED) != list[i].there)
            selftest_fail(t, "%s should %sbe there", vmcs_field_name(list[i].field),
                          list[i].there ? "" : "not ");
    EXPECT_EQ(vmptrst(), vmcs.raw);
}

VMCS_TEST(bad_invept_and_invvpid_are_error_28)
{
    const u64 caps = hypervisor.caps.ept_vpid;
    const struct inv_descriptor none = {0, 0};
    EXPECT_ERROR(invept(0, none), 28);
    EXPECT_ERROR(invept(3, none), 28);
    EXPECT_ERROR(invept(~0ull, none), 28);
    if (hypervisor.caps.ept.invept_single) // walk length 1, and a type there is not
        EXPECT_ERROR(invept(1, (struct inv_descriptor){0x7, 0}), 28);
    EXPECT_ERROR(invept(hypervisor.caps.ept.invept_all ? 2 : 1, none),
                 hypervisor.caps.ept.invept_all ? 0 : 28);
    if (!(caps & BIT(32)))
        return;
    EXPECT_ERROR(invvpid(4, none), 28);
    EXPECT_ERROR(invvpid(~0ull, none), 28);
    if (caps & BIT(41)) {
        EXPECT_ERROR(invvpid(1, none), 28); // VPID 0 is the host's
        EXPECT_ERROR(invvpid(1, (struct inv_descriptor){0x10001, 0}), 28);
        EXPECT_ERROR(invvpid(1, (struct inv_descriptor){1, 0}), 0);
    }
    if (caps & BIT(40)) // an address that is not canonical
        EXPECT_ERROR(invvpid(0, (struct inv_descriptor){1, 1ull << 63}), 28);
    EXPECT_EQ(vmptrst(), vmcs.raw);
}

// ---- entries that fail -------------------------------------------------------------------------

static const u8 two_outs[] = {0xe6, 0x80, 0xe6, 0xf4};

// The lab with one field changed: its VM ends with this text.
static void expect_entry_fails(struct selftest_ctx *t, enum vmcs_field field, u64 value,
                               const char *text)
{
    struct lab lab;
    if (t->failed || !lab_open(t, &lab, "entry"))
        return;
    if (lab_code(t, &lab, IMAGE_LONG, two_outs, sizeof(two_outs))) {
        lab_poke(&lab, field, value);
        run_quietly(&lab);
        if (ended(t, &lab, VM_END_ENTRY_FAILED, text) && !said("VM entry failed"))
            selftest_fail(t, "%s: no report", text);
    }
    lab_close(&lab);
}

LAB_TEST(vmx, vmresume_of_a_clear_vmcs_is_error_5, NEEDS_VMX)
{
    EXPECT(lab_code(t, lab, IMAGE_LONG, two_outs, sizeof(two_outs)));
    lab->vcpu->launched = 1;
    run_quietly(lab);
    ended(t, lab, VM_END_ENTRY_FAILED, "error 5: VMRESUME with non-launched VMCS");
}

// vmx_run() looks at it when it begins.
static bool forget_the_launch(struct vcpu *vcpu, const struct exit_info *exit,
                              enum exit_action *action)
{
    (void)exit;
    (void)action;
    vcpu->launched = 0;
    vcpu->vm->attention |= VM_ATTENTION_YIELD;
    return false;
}

LAB_TEST(vmx, vmlaunch_of_a_launched_vmcs_is_error_4, NEEDS_VMX)
{
    EXPECT(lab_code(t, lab, IMAGE_LONG, two_outs, sizeof(two_outs)));
    lab->vcpu->hook = forget_the_launch;
    run_quietly(lab);
    ended(t, lab, VM_END_ENTRY_FAILED, "error 4: VMLAUNCH with non-clear VMCS");
    EXPECT_EQ(lab->vcpu->exits[REASON_IO], 1);
}

SELFTEST(vmx, entry_with_bad_controls_is_error_7, NEEDS_VMX)
{
    expect_entry_fails(t, VMCS_PIN_CTLS, 0, "error 7");
    expect_entry_fails(t, VMCS_PROC_CTLS, ~0u, "error 7");
    expect_entry_fails(t, VMCS_IO_BITMAP_A, 0x1001, "error 7");
    expect_entry_fails(t, VMCS_MSR_BITMAP, past_the_width(), "error 7");
    expect_entry_fails(t, VMCS_EPT_POINTER, 0, "error 7");
    expect_entry_fails(t, VMCS_ENTRY_INTR_INFO, 0x80000100, "error 7"); // type 1
    expect_entry_fails(t, VMCS_CR3_TARGET_COUNT, 0x1000, "error 7");
}

SELFTEST(vmx, entry_with_bad_host_state_is_error_8, NEEDS_VMX)
{
    expect_entry_fails(t, VMCS_HOST_CS_SEL, 0, "error 8");
    expect_entry_fails(t, VMCS_HOST_TR_SEL, 0, "error 8");
    expect_entry_fails(t, VMCS_HOST_SS_SEL, 3, "error 8"); // RPL
    expect_entry_fails(t, VMCS_HOST_GS_BASE, 1ull << 63, "error 8");
    expect_entry_fails(t, VMCS_HOST_CR4, 0, "error 8");
    expect_entry_fails(t, VMCS_HOST_RIP, 1ull << 63, "error 8");
}

SELFTEST(vmx, entry_with_bad_guest_state_is_exit_33, NEEDS_VMX)
{
    static const char text[] = "exit reason 33: VM-entry failure: invalid guest state";
    expect_entry_fails(t, VMCS_GUEST_RFLAGS, 0, text); // bit 1
    expect_entry_fails(t, VMCS_GUEST_RFLAGS, 1u << 22 | 2, text);
    expect_entry_fails(t, VMCS_GUEST_TR_AR, 0x10000, text);          // unusable
    expect_entry_fails(t, VMCS_GUEST_CS_AR, 0xc09b | 1 << 13, text); // L and D
    expect_entry_fails(t, VMCS_GUEST_ACTIVITY, 4, text);
    expect_entry_fails(t, VMCS_GUEST_INTERRUPTIBILITY, 3, text);
    expect_entry_fails(t, VMCS_GUEST_CR4, 0, text);
    expect_entry_fails(t, VMCS_GUEST_EFER, 0, text);
    expect_entry_fails(t, VMCS_VMCS_LINK_POINTER, 1, "qualification 4");
}

// FS base may not be loaded from a list: the qualification is the entry's number.
LAB_TEST(vmx, entry_with_a_bad_msr_list_is_exit_34, NEEDS_VMX)
{
    struct {
        u32 msr, reserved;
        u64 value;
    } * list;
    hpa_t page;
    EXPECT_EQ(frame_alloc(&hypervisor.host, 1, PAGE_SIZE, 0, &page), OK);
    list = phys_ptr(page);
    memset(list, 0, PAGE_SIZE);
    list[0].msr = IA32_STAR;
    list[1].msr = IA32_FS_BASE;
    if (lab_code(t, lab, IMAGE_LONG, two_outs, sizeof(two_outs))) {
        lab_poke(lab, VMCS_ENTRY_MSR_LOAD_ADDR, page.raw);
        lab_poke(lab, VMCS_ENTRY_MSR_LOAD_COUNT, 2);
        run_quietly(lab);
        ended(t, lab, VM_END_ENTRY_FAILED,
              "exit reason 34: VM-entry failure: MSR loading, qualification 2");
    }
    frame_free(&hypervisor.host, page, 1);
}

// ---- capabilities ------------------------------------------------------------------------------

SELFTEST(vmx, controls_negotiate_on_this_cpu, NEEDS_VMX)
{
    for (unsigned word = 0; word < CTL_WORDS; word++) {
        const struct ctl_allowed *allowed = &hypervisor.caps.ctl[word];
        const struct ctl_policy *policy = &ctl_policies[word];
        struct ctl_outcome out;
        EXPECT_EQ(ctl_negotiate(allowed, policy, &out), OK);
        EXPECT_EQ(out.value & ~allowed->may, 0);
        EXPECT_EQ(~out.value & allowed->must, 0);
        EXPECT_EQ(out.value & policy->required, policy->required);
        EXPECT_EQ(out.value & policy->refused, 0);
    }
}

LAB_TEST(vmx, vmcs_has_the_controls_negotiated, NEEDS_VMX)
{
    static const enum vmcs_field fields[] = {
        [CTL_PIN] = VMCS_PIN_CTLS,    [CTL_PROC] = VMCS_PROC_CTLS, [CTL_PROC2] = VMCS_PROC_CTLS2,
        [CTL_PROC3] = VMCS_PROC_CTLS, [CTL_EXIT] = VMCS_EXIT_CTLS, [CTL_ENTRY] = VMCS_ENTRY_CTLS,
    };
    u32 values[CTL_WORDS];
    for (unsigned word = 0; word < CTL_WORDS; word++) {
        struct ctl_outcome out;
        (void)ctl_negotiate(&hypervisor.caps.ctl[word], &ctl_policies[word], &out);
        values[word] = out.value;
    }
    apicv_choose(&hypervisor.caps.ctl[CTL_PROC], values);
    // The guest that chooses the mode of its local APIC is not there yet.
    values[CTL_PROC2] &= ~(u32)(PROC2_X2APIC | PROC2_APIC_ACCESS);
    for (unsigned word = 0; word < CTL_WORDS; word++)
        if (word != CTL_PROC3)
            EXPECT_EQ(lab_peek(lab, fields[word]), values[word]);
}

// Every control in the report, in its order, and every line whole.
static struct {
    unsigned lines, next, longest;
} report;

static void take_line(void *ctx, const char *text)
{
    (void)ctx;
    report.lines++;
    if (strlen(text) > report.longest)
        report.longest = (unsigned)strlen(text);
    if (report.next < ctl_infos_count && contains(text, ctl_infos[report.next].name))
        report.next++;
}

SELFTEST(vmx, report_names_every_control, NEEDS_VMX)
{
    memset(&report, 0, sizeof(report));
    vmx_caps_report(&hypervisor.probe, &hypervisor.caps, &hypervisor.verdict, take_line, NULL);
    EXPECT_EQ(report.next, ctl_infos_count);
    EXPECT(report.lines > ctl_infos_count + 20);
    EXPECT(report.longest < 159);
}
