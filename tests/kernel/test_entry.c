// SPDX-License-Identifier: MIT
// The rules of VM entry against the CPU: what it enters breaks none, what it refuses breaks the
// rule that is named.
#include "arch/x86_64/lib/fmt.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/regs/msr.h"
#include "boot/lab.h"
#include "vmx/vcpu_internal.h"
#include "vmx/vmcs_access.h"

static const u8 code[] = {0x0f, 0x0b}; // UD2

static void add_id(void *ctx, const struct entry_rule *rule, const char *what, const char *legal)
{
    char *ids = ctx;
    size_t length = strlen(ids);
    (void)what;
    (void)legal;
    fmt_snprintf(ids + length, 40 - length, " %s", rule->id);
}

// The rules that the lab's VMCS breaks, as " C8 S21".
static void judge(const struct lab *lab, char ids[40])
{
    ids[0] = 0;
    vcpu_load(lab->vcpu);
    entry_judge(lab->vcpu, add_id, ids);
    vcpu_put(lab->vcpu);
}

static void start_is_legal(struct selftest_ctx *t, enum image_mode mode)
{
    struct lab lab;
    char ids[40];
    if (!lab_open(t, &lab, "legal"))
        return;
    if (lab_code(t, &lab, mode, code, sizeof(code))) {
        judge(&lab, ids);
        if (ids[0])
            selftest_fail(t, "these rules are broken:%s", ids);
    }
    lab_close(&lab);
}

SELFTEST(entry, start_in_long_mode_breaks_no_rule, NEEDS_VMX)
{
    start_is_legal(t, IMAGE_LONG);
}

SELFTEST(entry, start_in_real_mode_breaks_no_rule, NEEDS_VMX | NEEDS_UNRESTRICTED)
{
    start_is_legal(t, IMAGE_REAL);
}

struct breakage {
    u16 field;
    u64 value;
    const char *rule;
    const char *verdict; // the CPU's
};

static bool log_names(const char *rule)
{
    static char tail[6144];
    char line[32];
    size_t length = log_ring_tail(tail, sizeof(tail) - 1);
    fmt_snprintf(line, sizeof(line), "*  %s: *", rule);
    tail[length] = 0;
    return str_glob(line, tail);
}

static void refused(struct selftest_ctx *t, struct lab *lab, const struct breakage *b)
{
    char ids[40], want[8];

    vcpu_load(lab->vcpu);
    vmcs_write((enum vmcs_field)b->field, b->value);
    vcpu_put(lab->vcpu);
    judge(lab, ids);
    fmt_snprintf(want, sizeof(want), " %s", b->rule);
    if (strcmp(ids, want))
        selftest_fail(t, "the rules broken are%s, not%s", ids, want);
    lab_run(lab);
    if (lab->vm->end != VM_END_ENTRY_FAILED ||
        strncmp(lab->vm->end_text, b->verdict, strlen(b->verdict)))
        selftest_fail(t, "%s: %s: %s", b->rule, vm_end_name(lab->vm->end), lab->vm->end_text);
    else if (!log_names(b->rule))
        selftest_fail(t, "the report does not name %s", b->rule);
}

SELFTEST(entry, refused_entry_names_the_rule, NEEDS_VMX)
{
    static const char controls[] = "VM-instruction error 7", host[] = "VM-instruction error 8",
                      guest[] = "exit reason 33";
    static const struct breakage rows[] = {
        {VMCS_CR3_TARGET_COUNT,   0x1ff,      "C7",  controls},
        {VMCS_IO_BITMAP_A,        0x1008,     "C8",  controls},
        {VMCS_ENTRY_INTR_INFO,    0x80000203, "N6",  controls},
        {VMCS_HOST_SYSENTER_ESP,  BIT(62),    "H7",  host    },
        {VMCS_HOST_CS_SEL,        0,          "H27", host    },
        {VMCS_GUEST_RFLAGS,       0,          "R4",  guest   },
        {VMCS_GUEST_SYSENTER_EIP, BIT(62),    "G14", guest   },
        {VMCS_GUEST_FS_AR,        0xc092,     "S17", guest   },
        {VMCS_GUEST_ACTIVITY,     7,          "M1",  guest   },
        {VMCS_VMCS_LINK_POINTER,  0x1008,     "V1",  guest   },
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows) && !t->failed; i++) {
        struct lab lab;
        if (!lab_open(t, &lab, "refused"))
            return;
        if (lab_code(t, &lab, IMAGE_LONG, code, sizeof(code)))
            refused(t, &lab, &rows[i]);
        lab_close(&lab);
    }
}

// SDM volume 3, "Loading MSRs": the exit qualification is the entry's number.
SELFTEST(entry, refused_msr_load_names_the_rule, NEEDS_VMX)
{
    static const struct breakage row = {VMCS_ENTRY_MSR_LOAD_COUNT, 1, "L1",
                                        "exit reason 34: VM-entry failure: MSR loading, "
                                        "qualification 1"};
    struct lab lab;
    if (!lab_open(t, &lab, "refused"))
        return;
    if (lab_code(t, &lab, IMAGE_LONG, code, sizeof(code))) {
        // No guest runs, so a bitmap is a page to spare.
        hpa_t list = lab.vcpu->io_bitmap_b;
        u64 *entry = phys_ptr(list);
        entry[0] = IA32_FS_BASE;
        entry[1] = 0;
        vcpu_load(lab.vcpu);
        vmcs_write(VMCS_ENTRY_MSR_LOAD_ADDR, list.raw);
        vcpu_put(lab.vcpu);
        refused(t, &lab, &row);
    }
    lab_close(&lab);
}

// ---- check=entry ------------------------------------------------------------------------------

static const u8 two_exits[] = {0x0f, 0xa2, 0x0f, 0xa2, 0x0f, 0x0b}; // CPUID, CPUID, UD2

// Breaks G14 on the way back from the second CPUID.
static bool spoil(struct vcpu *vcpu, const struct exit_info *exit, enum exit_action *action)
{
    (void)action;
    if (exit->reason == REASON_CPUID && vcpu->exits[REASON_CPUID] == 2)
        vmcs_write(VMCS_GUEST_SYSENTER_EIP, BIT(62));
    return false;
}

// false: there is no lab.
static bool run_checked(struct selftest_ctx *t, struct lab *lab, bool spoilt)
{
    if (!lab_open(t, lab, "checked"))
        return false;
    if (lab_code(t, lab, IMAGE_LONG, two_exits, sizeof(two_exits))) {
        lab->vm->attention |= VM_ATTENTION_CHECK;
        lab->vcpu->hook = spoilt ? spoil : NULL;
        lab_run(lab);
    }
    return true;
}

SELFTEST(entry, checked_guest_runs_as_others_do, NEEDS_VMX)
{
    struct lab lab;
    if (!run_checked(t, &lab, false))
        return;
    if (lab.vm->end != VM_END_TRIPLE_FAULT || lab.vcpu->exits[REASON_CPUID] != 2)
        selftest_fail(t, "%s: %s", vm_end_name(lab.vm->end), lab.vm->end_text);
    lab_close(&lab);
}

SELFTEST(entry, check_stops_the_guest_before_the_cpu_does, NEEDS_VMX)
{
    struct lab lab;
    if (!run_checked(t, &lab, true))
        return;
    if (lab.vm->end != VM_END_ENTRY_FAILED || strncmp(lab.vm->end_text, "check=entry", 11) ||
        lab.vcpu->exits[REASON_CPUID] != 2)
        selftest_fail(t, "%s: %s", vm_end_name(lab.vm->end), lab.vm->end_text);
    else if (!log_names("G14"))
        selftest_fail(t, "the report does not name G14");
    lab_close(&lab);
}
