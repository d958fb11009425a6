// SPDX-License-Identifier: MIT
#include "boot/grade.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/fmt.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/regs/msr.h"
#include "arch/x86_64/traps.h"
#include "boot/run.h"
#include "vmx/entry_rig.h"
#include "vmx/vmcs.h"

// ---- the machine ------------------------------------------------------------------------------

// Bochs says nothing of itself in CPUID, not even that there is a hypervisor; its debug port
// answers, which no bare machine's does.
enum entry_platform grade_platform(const struct hypervisor *hv)
{
    return !hv->probe.hypervisor[0] && inb(0xe9) == 0xe9 ? PLATFORM_BOCHS : PLATFORM_ANY;
}

// SDM volume 3, "Determining the Signature": CPUID leaf 1 puts it there.
static u32 microcode_revision(void)
{
    u64 value;
    if (!wrmsr_safe(IA32_BIOS_SIGN_ID, 0))
        return 0;
    (void)cpuid(1, 0);
    return rdmsr_safe(IA32_BIOS_SIGN_ID, &value) ? (u32)(value >> 32) : 0;
}

static void print_machine(const struct hypervisor *hv, enum entry_platform platform)
{
    log_info("grade: CPU: %s, family %u model %u stepping %u, microcode revision %x",
             cpu_features.brand[0] ? cpu_features.brand : cpu_features.vendor, cpu_features.family,
             cpu_features.model, cpu_features.stepping, microcode_revision());
    log_info("grade: outer hypervisor: %s; emulator: %s; VMCS revision %x",
             hv->probe.hypervisor[0] ? hv->probe.hypervisor : "none",
             platform == PLATFORM_ANY ? "none known" : entry_platform_name(platform),
             hv->caps.revision);
}

// ---- a rule -----------------------------------------------------------------------------------

enum grade {
    GRADE_AGREE,
    GRADE_ACCEPTS,
    GRADE_OTHERWISE,
    GRADE_NOT_OFFERED,
    GRADE_SKIPPED,
    GRADE_COUNT
};

static const char *const grade_names[GRADE_COUNT] = {
    "agree", "CPU accepts", "CPU rejects otherwise", "not offered", "skipped",
};

struct verdict {
    enum grade grade;
    char observed[40];
    char why[60]; // GRADE_SKIPPED
};

static struct verdict skipped(const char *why)
{
    struct verdict v = {.grade = GRADE_SKIPPED, .observed = "-"};
    str_copy(v.why, sizeof(v.why), why);
    return v;
}

// What the CPU lacks or has makes the violation break other rules too, or none.
static struct verdict not_alone(const struct entry_rule *rule,
                                const struct entry_rule_set *violated)
{
    char why[60] = "this breaks";
    size_t length = strlen(why);

    if (entry_rule_set_empty(violated))
        return skipped("this CPU allows all that the rule could forbid");
    rule_set_for_each (i, violated)
        if (&entry_rules[i] != rule && length + 12 < sizeof(why))
            length +=
                (size_t)fmt_snprintf(why + length, sizeof(why) - length, " %s", entry_rules[i].id);
    fmt_snprintf(why + length, sizeof(why) - length, " too");
    return skipped(why);
}

static struct verdict attempt(struct entry_rig *rig, const struct entry_rule *rule, u32 seg)
{
    struct entry_outcome said = entry_outcome_of(rule), seen = entry_rig_attempt(rig);
    struct verdict v = {.grade = GRADE_AGREE};
    char text[32];

    if (seen.kind == OUTCOME_ENTERED)
        v.grade = GRADE_ACCEPTS;
    else if (!entry_outcome_equal(&said, &seen))
        v.grade = GRADE_OTHERWISE;
    entry_outcome_text(text, sizeof(text), &seen);
    fmt_snprintf(v.observed, sizeof(v.observed), "%s%s%s", text,
                 rule->segments && v.grade != GRADE_AGREE ? " in " : "",
                 rule->segments && v.grade != GRADE_AGREE ? segment_names[seg] : "");
    return v;
}

// Makes the VMCS violate the rule alone; GRADE_AGREE: it does.
static struct verdict break_rule(struct entry_rig *rig, const struct entry_rule *rule, u32 seg)
{
    const struct verdict not_offered = {.grade = GRADE_NOT_OFFERED, .observed = "-"};
    entry_break what = entry_break_find(rule);
    struct entry_rule_set violated;

    entry_rig_reset(rig);
    bool made = entry_break_prepare(what, &rig->target, seg);
    entry_rule_set_check(&rig->state, &violated);
    if (!made || !entry_rule_set_empty(&violated) || !entry_break_violate(what, &rig->target, seg))
        return not_offered;
    entry_rule_set_check(&rig->state, &violated);
    return entry_break_alone(what, &violated) ? (struct verdict){.grade = GRADE_AGREE}
                                              : not_alone(rule, &violated);
}

static struct verdict judge_segment(struct entry_rig *rig, const struct entry_rule *rule, u32 seg)
{
    struct verdict v = break_rule(rig, rule, seg);
    return v.grade == GRADE_AGREE ? attempt(rig, rule, seg) : v;
}

// A rule on several segments is broken for each of them, and the first that is not as predicted
// speaks for all.
static struct verdict judge(struct entry_rig *rig, const struct entry_rule *rule,
                            enum entry_platform platform)
{
    const char *why = entry_unbreakable(rule);
    struct verdict v = {.grade = GRADE_AGREE};

    if (!why)
        why = entry_known_fatal(platform, rule);
    if (why)
        return skipped(why);
    for (u32 seg = 0; seg < SEG_COUNT && v.grade == GRADE_AGREE; seg++)
        if (rule->segments ? rule->segments & BIT(seg) : seg == 0)
            v = judge_segment(rig, rule, seg);
    return v;
}

static void print_verdict(const struct entry_rule *rule, const struct verdict *v)
{
    struct entry_outcome said = entry_outcome_of(rule);
    char predicted[32];

    entry_outcome_text(predicted, sizeof(predicted), &said);
    log_info("grade\t%s\t%s\t%s\t%s\t%s%s%s", rule->id,
             entry_section_title((enum entry_section)rule->section), predicted, v->observed,
             grade_names[v->grade], v->why[0] ? ": " : "", v->why);
}

static struct entry_rig rig; // large, so not on the stack

const char *grade_obstacle(struct hypervisor *hv, const struct entry_rule *rule, u32 seg)
{
    static struct verdict v;

    if (entry_rig_open(hv, &rig) != OK)
        return "no memory";
    v = break_rule(&rig, rule, seg);
    entry_rig_close(&rig);
    if (v.grade == GRADE_NOT_OFFERED)
        return "this CPU does not offer what the rule is about";
    return v.grade == GRADE_AGREE ? NULL : v.why;
}

int grade_run(struct hypervisor *hv)
{
    enum entry_platform platform = grade_platform(hv);
    unsigned counts[GRADE_COUNT] = {0};

    print_machine(hv, platform);
    if (entry_rig_open(hv, &rig) != OK)
        return STATUS_FAILED;
    for (unsigned i = 0; i < entry_rules_count; i++) {
        struct verdict v = judge(&rig, &entry_rules[i], platform);
        counts[v.grade]++;
        print_verdict(&entry_rules[i], &v);
    }
    entry_rig_close(&rig);
    log_info("grade: %u rules: %u agree, %u CPU accepts, %u CPU rejects otherwise, %u not offered, "
             "%u skipped",
             entry_rules_count, counts[GRADE_AGREE], counts[GRADE_ACCEPTS], counts[GRADE_OTHERWISE],
             counts[GRADE_NOT_OFFERED], counts[GRADE_SKIPPED]);
    return STATUS_OK;
}
