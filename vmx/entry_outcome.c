// SPDX-License-Identifier: MIT
#include "vmx/entry_outcome.h"

#include "arch/x86_64/lib/fmt.h"
#include "arch/x86_64/regs/cr.h"

// VM-instruction errors and exit reasons: SDM volume 3, "VM-Instruction Error Numbers" and "Basic
// Exit Reasons".
#define ERROR_LAUNCH_NOT_CLEAR  4
#define ERROR_RESUME_NOT_LAUNCH 5
#define ERROR_CONTROLS          7
#define ERROR_HOST              8
#define ERROR_MOV_SS            26
#define EXIT_GUEST_STATE        33
#define EXIT_MSR_LOADING        34

// Exit qualifications of a failure of reason 33: SDM volume 3, "VM-Entry Failures During or After
// Loading Guest State".
#define QUALIFICATION_PDPTE 2
#define QUALIFICATION_NMI   3
#define QUALIFICATION_LINK  4

static struct entry_outcome basic_outcome(enum entry_rule_id rule)
{
    switch (rule) {
    case RULE_E1:
        return (struct entry_outcome){OUTCOME_FAULT, VEC_UD, 0};
    case RULE_E2:
        return (struct entry_outcome){OUTCOME_FAULT, VEC_GP, 0};
    case RULE_E5:
        return (struct entry_outcome){OUTCOME_FAIL_VALID, ERROR_MOV_SS, 0};
    case RULE_E6:
        return (struct entry_outcome){OUTCOME_FAIL_VALID, ERROR_LAUNCH_NOT_CLEAR, 0};
    case RULE_E7:
        return (struct entry_outcome){OUTCOME_FAIL_VALID, ERROR_RESUME_NOT_LAUNCH, 0};
    default: // E3, E4
        return (struct entry_outcome){OUTCOME_FAIL_INVALID, 0, 0};
    }
}

static u64 guest_qualification(enum entry_rule_id rule)
{
    if (rule == RULE_M13)
        return QUALIFICATION_NMI;
    if (rule >= RULE_V1 && rule <= RULE_V6)
        return QUALIFICATION_LINK;
    return entry_rules[rule].section == SECTION_PDPTES ? QUALIFICATION_PDPTE : 0;
}

static enum entry_group group_of(const struct entry_rule *rule)
{
    return entry_section_group((enum entry_section)rule->section);
}

struct entry_outcome entry_outcome_of(const struct entry_rule *rule)
{
    enum entry_rule_id id = (enum entry_rule_id)(rule - entry_rules);

    switch (group_of(rule)) {
    case ENTRY_BASIC:
        return basic_outcome(id);
    case ENTRY_CONTROLS:
        return (struct entry_outcome){OUTCOME_FAIL_VALID, ERROR_CONTROLS, 0};
    case ENTRY_HOST:
        return (struct entry_outcome){OUTCOME_FAIL_VALID, ERROR_HOST, 0};
    case ENTRY_GUEST:
        return (struct entry_outcome){OUTCOME_FAILED_EXIT, EXIT_GUEST_STATE,
                                      guest_qualification(id)};
    default: // the breaks have one entry on the list
        return (struct entry_outcome){OUTCOME_FAILED_EXIT, EXIT_MSR_LOADING, 1};
    }
}

bool entry_outcome_equal(const struct entry_outcome *a, const struct entry_outcome *b)
{
    return a->kind == b->kind && a->number == b->number &&
           (a->kind != OUTCOME_FAILED_EXIT || a->qualification == b->qualification);
}

void entry_outcome_text(char *buf, size_t size, const struct entry_outcome *outcome)
{
    switch (outcome->kind) {
    case OUTCOME_ENTERED:
        fmt_snprintf(buf, size, "entered, exit %u", outcome->number);
        return;
    case OUTCOME_FAULT:
        if (outcome->number == VEC_UD || outcome->number == VEC_GP)
            fmt_snprintf(buf, size, outcome->number == VEC_UD ? "#UD" : "#GP");
        else
            fmt_snprintf(buf, size, "exception %u", outcome->number);
        return;
    case OUTCOME_FAIL_INVALID:
        fmt_snprintf(buf, size, "VMfailInvalid");
        return;
    case OUTCOME_FAIL_VALID:
        fmt_snprintf(buf, size, "error %u", outcome->number);
        return;
    case OUTCOME_FAILED_EXIT:
        if (outcome->qualification)
            fmt_snprintf(buf, size, "exit %u, qualification %llu", outcome->number,
                         (unsigned long long)outcome->qualification);
        else
            fmt_snprintf(buf, size, "exit %u", outcome->number);
        return;
    }
}

static unsigned stage_of(const struct entry_rule *rule)
{
    static const u8 stages[] = {[ENTRY_BASIC] = 0,
                                [ENTRY_CONTROLS] = 1,
                                [ENTRY_HOST] = 1,
                                [ENTRY_GUEST] = 2,
                                [ENTRY_MSR_LOAD] = 3};
    return stages[group_of(rule)];
}

bool entry_outcome_fits(const struct entry_outcome *outcome, const struct entry_rule_set *violated,
                        const struct entry_rule_set *lax)
{
    unsigned first = ~0u;

    rule_set_for_each (i, violated)
        if (!entry_rule_set_has(lax, i) && stage_of(&entry_rules[i]) < first)
            first = stage_of(&entry_rules[i]);
    if (first == ~0u && outcome->kind == OUTCOME_ENTERED)
        return true;
    rule_set_for_each (i, violated) {
        struct entry_outcome said = entry_outcome_of(&entry_rules[i]);
        // What a lax CPU does not see always, it may see this time.
        if (stage_of(&entry_rules[i]) <= first && entry_outcome_equal(outcome, &said))
            return true;
    }
    return false;
}
