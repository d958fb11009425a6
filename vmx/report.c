// SPDX-License-Identifier: MIT
// What is printed of a VM that is stopped: everything needed to find out why, from one screen.
#include "arch/x86_64/lib/fmt.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/string.h"
#include "vmx/vcpu_internal.h"
#include "vmx/vmcs_access.h"

#define RD(name) ((unsigned long long)vmcs_read(VMCS_##name))

static void report_exit(const struct vcpu *v, const struct exit_info *exit)
{
    if (!exit)
        return;
    log_info("  exit reason %u: %s, qualification %016llx, instruction length %llu", exit->reason,
             exit_reason_name(exit->reason), RD(EXIT_QUALIFICATION), RD(EXIT_INSN_LENGTH));
    log_info("  interruption information %08llx, IDT-vectoring %08llx, exit %llu of its kind",
             RD(EXIT_INTR_INFO), RD(IDT_INFO),
             (unsigned long long)(exit->reason < REASON_COUNT ? v->exits[exit->reason] : 0));
}

static void report_registers(const struct vcpu *v)
{
    static const char *const names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                        "r8 ", "r9 ", "r10", "r11", "r12", "r13", "r14", "r15"};
    for (unsigned i = 0; i < GPR_COUNT; i += 4) {
        unsigned long long r[4];
        for (unsigned k = 0; k < 4; k++)
            r[k] = vcpu_read_gpr(v, i + k);
        log_info("  %s %016llx %s %016llx %s %016llx %s %016llx", names[i], r[0], names[i + 1],
                 r[1], names[i + 2], r[2], names[i + 3], r[3]);
    }
    log_info("  rip %016llx rflags %08llx activity %llu interruptibility %llx", RD(GUEST_RIP),
             RD(GUEST_RFLAGS), RD(GUEST_ACTIVITY), RD(GUEST_INTERRUPTIBILITY));
    log_info("  cr0 %08llx cr3 %016llx cr4 %08llx efer %llx", RD(GUEST_CR0), RD(GUEST_CR3),
             RD(GUEST_CR4), RD(GUEST_EFER));
}

static void report_segments(void)
{
    for (u32 i = 0; i < SEG_COUNT; i++) {
        struct guest_segment s;
        vcpu_segment(i, &s);
        log_info("  %-4s %04x base %016llx limit %08x rights %05x", segment_names[i], s.selector,
                 (unsigned long long)s.base, s.limit, s.ar);
    }
    log_info("  GDTR base %016llx limit %04llx, IDTR base %016llx limit %04llx",
             RD(GUEST_GDTR_BASE), RD(GUEST_GDTR_LIMIT), RD(GUEST_IDTR_BASE), RD(GUEST_IDTR_LIMIT));
}

static void report_code(struct vcpu *v)
{
    u8 bytes[INSTRUCTION_LENGTH_MAX];
    char text[3 * sizeof(bytes) + 1] = "";
    size_t done = 0;
    struct event fault;

    int err = vcpu_fetch(v, bytes, &done, &fault);
    for (size_t i = 0; i < done; i++)
        fmt_snprintf(text + 3 * i, sizeof(text) - 3 * i, " %02x", bytes[i]);
    log_info("  code at rip:%s%s", text, err && !done ? " not readable" : "");
}

static void say(void *ctx, const char *text)
{
    (void)ctx;
    log_info("  %s", text);
}

static void report_ept(const struct vcpu *v, const struct exit_info *exit)
{
    struct ept_walk walk;
    char text[128];

    if (!exit || (exit->reason != REASON_EPT_VIOLATION && exit->reason != REASON_EPT_MISCONFIG))
        return;
    if (exit->reason == REASON_EPT_VIOLATION) {
        ept_violation_describe(text, sizeof(text), exit->qualification);
        log_info("  EPT violation: %s", text);
    }
    log_info("  guest-physical %llx, guest-linear %llx", (unsigned long long)exit->gpa.raw,
             (unsigned long long)exit->gla.raw);
    ept_walk(&v->vm->ept, exit->gpa, &walk);
    ept_dump_walk(&walk, say, NULL);
}

void vcpu_report(struct vcpu *vcpu, const struct exit_info *exit)
{
    log_info("vm %s: %s: %s", vcpu->vm->name, vm_end_name(vcpu->vm->end), vcpu->vm->end_text);
    if (vcpu->vm->end == VM_END_ENTRY_FAILED)
        entry_report(vcpu);
    report_exit(vcpu, exit);
    report_registers(vcpu);
    report_segments();
    report_code(vcpu);
    report_ept(vcpu, exit);
}
