// SPDX-License-Identifier: MIT
#include "boot/break.h"

#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/check.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/lib/string.h"
#include "boot/builtin.h"
#include "boot/grade.h"
#include "boot/run.h"
#include "vmx/vcpu_internal.h"

#define SCRATCH_FRAMES (ENTRY_SCRATCH_SIZE / PAGE_SIZE)

// ---- the guest's VMCS as what edits change ----------------------------------------------------

struct breaking {
    const struct entry_rule *rule;
    hpa_t scratch;
    bool entered;
};

static bool read_field(void *ctx, u32 field, u64 *value)
{
    (void)ctx;
    return vmread_checked(field, value) == VMX_SUCCEED;
}

static bool write_field(void *ctx, u32 field, u64 value)
{
    (void)ctx;
    return vmwrite_checked(field, value) == VMX_SUCCEED;
}

static u32 memory_read(void *ctx, u32 offset)
{
    const struct breaking *b = ctx;
    const u32 *words = phys_ptr(b->scratch);
    return words[offset / 4];
}

static void memory_write(void *ctx, u32 offset, u32 value)
{
    const struct breaking *b = ctx;
    u32 *words = phys_ptr(b->scratch);
    words[offset / 4] = value;
}

// The rules that the vCPU's VMCS violates, which becomes current for that.
static void check(struct vcpu *v, struct entry_rule_set *violated)
{
    struct entry_state state;
    entry_state_init(&state, v->caps);
    state.current_vmcs = v->vmcs.raw;
    entry_rule_set_check(&state, violated);
}

// The first segment that the rule is on.
static u32 segment_of(const struct entry_rule *rule)
{
    return rule->segments ? bit_lowest(rule->segments) : SEG_ES;
}

static bool break_guest(void *ctx, struct cell *cell)
{
    struct breaking *b = ctx;
    struct vcpu *v = &cell->vcpu;
    entry_break what = entry_break_find(b->rule);
    u32 seg = segment_of(b->rule);
    struct entry_rule_set violated;
    const struct entry_break_target target = {
        .caps = v->caps,
        .scratch = b->scratch,
        .vmcs = v->vmcs,
        .ctx = b,
        .read = read_field,
        .write = write_field,
        .memory_read = memory_read,
        .memory_write = memory_write,
    };

    memset(phys_ptr(b->scratch), 0, ENTRY_SCRATCH_SIZE);
    CHECK(vmptrld(v->vmcs.raw) == VMX_SUCCEED);
    bool done = entry_break_prepare(what, &target, seg) && entry_break_violate(what, &target, seg);
    check(v, &violated);
    done = done && entry_break_alone(what, &violated);
    CHECK(vmclear(v->vmcs.raw) == VMX_SUCCEED);
    if (!done)
        log_error("break=%s: this guest cannot be made to violate it alone", b->rule->id);
    return done;
}

// The report that was printed speaks of the VMCS as it still is.
static void judge_guest(void *ctx, struct cell *cell)
{
    struct breaking *b = ctx;
    struct entry_rule_set violated;

    b->entered = cell->vm.end != VM_END_ENTRY_FAILED;
    if (b->entered) {
        log_info("break=%s: the CPU entered the guest all the same", b->rule->id);
        return;
    }
    CHECK(vmptrld(cell->vcpu.vmcs.raw) == VMX_SUCCEED);
    check(&cell->vcpu, &violated);
    CHECK(vmclear(cell->vcpu.vmcs.raw) == VMX_SUCCEED);
    log_info("break=%s: the entry failed; the report names %s", b->rule->id,
             entry_break_alone(entry_break_find(b->rule), &violated) ? "this rule and no other"
                                                                     : "other rules");
}

// ---- the run ----------------------------------------------------------------------------------

// Why the rule cannot be broken here; NULL: it can.
static const char *obstacle(struct hypervisor *hv, const struct entry_rule *rule)
{
    enum entry_platform platform = grade_platform(hv);
    const char *why = entry_unbreakable(rule);

    if (why)
        return why;
    if (rule->section == SECTION_BASIC)
        return "it is not on the VMCS but on the instruction; run=grade tries it";
    if (entry_known_unchecked(platform, rule))
        return "this machine does not check it";
    why = entry_known_fatal(platform, rule);
    return why ? why : grade_obstacle(hv, rule, segment_of(rule));
}

static bool all_possible(struct hypervisor *hv, const struct entry_rule_set *rules)
{
    bool possible = true;
    rule_set_for_each (i, rules) {
        const char *why = obstacle(hv, &entry_rules[i]);
        if (why)
            log_error("break=%s: cannot be broken: %s", entry_rules[i].id, why);
        possible = possible && !why;
    }
    return possible;
}

int break_run(struct hypervisor *hv, const struct entry_rule_set *rules)
{
    struct breaking b = {0};
    const struct builtin_watch watch = {.ctx = &b, .before = break_guest, .after = judge_guest};
    bool good = true;

    if (!all_possible(hv, rules))
        return STATUS_BAD_BOOT;
    // PAE paging without EPT takes its tables from below 4 GiB.
    if (frame_alloc(&hv->host, SCRATCH_FRAMES, PAGE_SIZE, SIZE_4G, &b.scratch) != OK)
        return STATUS_FAILED;
    rule_set_for_each (i, rules) {
        b.rule = &entry_rules[i];
        log_info("break=%s: %s", b.rule->id,
                 entry_section_title((enum entry_section)b.rule->section));
        good = builtin_run_tiny(hv, &watch) && good;
    }
    frame_free(&hv->host, b.scratch, SCRATCH_FRAMES);
    return good ? STATUS_OK : STATUS_FAILED;
}
