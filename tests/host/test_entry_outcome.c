// SPDX-License-Identifier: MIT
// What a CPU does about a violation, and what may become of several.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "vmx/entry_known.h"
#include "vmx/entry_outcome.h"
#include "vmx/vmcs.h"

static const char *said(enum entry_rule_id rule)
{
    static char text[40];
    struct entry_outcome outcome = entry_outcome_of(&entry_rules[rule]);
    entry_outcome_text(text, sizeof(text), &outcome);
    return text;
}

static void a_rule_says_its_outcome(void **state)
{
    (void)state;
    assert_string_equal(said(RULE_E1), "#UD");
    assert_string_equal(said(RULE_E2), "#GP");
    assert_string_equal(said(RULE_E3), "VMfailInvalid");
    assert_string_equal(said(RULE_E4), "VMfailInvalid");
    assert_string_equal(said(RULE_E5), "error 26");
    assert_string_equal(said(RULE_E6), "error 4");
    assert_string_equal(said(RULE_E7), "error 5");
    assert_string_equal(said(RULE_C1), "error 7");
    assert_string_equal(said(RULE_X10), "error 7");
    assert_string_equal(said(RULE_N20), "error 7");
    assert_string_equal(said(RULE_H1), "error 8");
    assert_string_equal(said(RULE_H34), "error 8");
    assert_string_equal(said(RULE_A10), "error 8");
    assert_string_equal(said(RULE_G1), "exit 33");
    assert_string_equal(said(RULE_S53), "exit 33");
    assert_string_equal(said(RULE_R9), "exit 33");
    assert_string_equal(said(RULE_M12), "exit 33");
    assert_string_equal(said(RULE_M13), "exit 33, qualification 3");
    assert_string_equal(said(RULE_P6), "exit 33");
    assert_string_equal(said(RULE_V1), "exit 33, qualification 4");
    assert_string_equal(said(RULE_V6), "exit 33, qualification 4");
    assert_string_equal(said(RULE_T1), "exit 33, qualification 2");
    assert_string_equal(said(RULE_T2), "exit 33, qualification 2");
    assert_string_equal(said(RULE_L6), "exit 34, qualification 1");
}

static void outcomes_in_words(void **state)
{
    (void)state;
    static const struct {
        struct entry_outcome outcome;
        const char *text;
    } rows[] = {
        {{OUTCOME_ENTERED, 52, 0},     "entered, exit 52"},
        {{OUTCOME_FAULT, 14, 0},       "exception 14"    },
        {{OUTCOME_FAILED_EXIT, 41, 0}, "exit 41"         },
    };
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[40];
        entry_outcome_text(text, sizeof(text), &rows[i].outcome);
        assert_string_equal(text, rows[i].text);
    }
}

static void equal_in_all_that_counts(void **state)
{
    (void)state;
    struct entry_outcome a = {OUTCOME_FAILED_EXIT, 33, 0}, b = a;
    assert_true(entry_outcome_equal(&a, &b));
    b.qualification = 4;
    assert_false(entry_outcome_equal(&a, &b));
    b = (struct entry_outcome){OUTCOME_FAILED_EXIT, 34, 0};
    assert_false(entry_outcome_equal(&a, &b));
    b = (struct entry_outcome){OUTCOME_FAIL_VALID, 33, 0};
    assert_false(entry_outcome_equal(&a, &b));
    // Only a failed entry has a qualification.
    a = (struct entry_outcome){OUTCOME_FAIL_VALID, 7, 1};
    b = (struct entry_outcome){OUTCOME_FAIL_VALID, 7, 2};
    assert_true(entry_outcome_equal(&a, &b));
}

#define ENTERED  ((struct entry_outcome){OUTCOME_ENTERED, 52, 0})
#define CONTROLS ((struct entry_outcome){OUTCOME_FAIL_VALID, 7, 0})
#define HOST     ((struct entry_outcome){OUTCOME_FAIL_VALID, 8, 0})
#define GUEST    ((struct entry_outcome){OUTCOME_FAILED_EXIT, 33, 0})
#define LINK     ((struct entry_outcome){OUTCOME_FAILED_EXIT, 33, 4})
#define MSR      ((struct entry_outcome){OUTCOME_FAILED_EXIT, 34, 1})
#define BAD      ((struct entry_outcome){OUTCOME_FAIL_VALID, 12, 0})
#define NO_RULE  RULE_COUNT

static bool fits(struct entry_outcome outcome, enum entry_rule_id a, enum entry_rule_id b,
                 enum entry_rule_id lax_rule)
{
    struct entry_rule_set violated = {0}, lax = {0};
    if (a != NO_RULE)
        entry_rule_set_add(&violated, &entry_rules[a]);
    if (b != NO_RULE)
        entry_rule_set_add(&violated, &entry_rules[b]);
    if (lax_rule != NO_RULE)
        entry_rule_set_add(&lax, &entry_rules[lax_rule]);
    return entry_outcome_fits(&outcome, &violated, &lax);
}

static void the_first_stage_speaks(void **state)
{
    (void)state;
    assert_true(fits(ENTERED, NO_RULE, NO_RULE, NO_RULE));
    assert_false(fits(GUEST, NO_RULE, NO_RULE, NO_RULE));
    assert_false(fits(ENTERED, RULE_C8, NO_RULE, NO_RULE));
    assert_true(fits(CONTROLS, RULE_C8, RULE_G1, NO_RULE));
    assert_false(fits(GUEST, RULE_C8, RULE_G1, NO_RULE));
    assert_false(fits(HOST, RULE_C8, RULE_G1, NO_RULE));
    assert_false(fits(BAD, RULE_C8, RULE_G1, NO_RULE));
    assert_true(fits(GUEST, RULE_G1, RULE_L1, NO_RULE));
    assert_false(fits(MSR, RULE_G1, RULE_L1, NO_RULE));
    assert_true(fits(MSR, RULE_L1, NO_RULE, NO_RULE));
}

// Controls and host state are one stage, the guest's state another: any order within.
static void within_a_stage_any_order(void **state)
{
    (void)state;
    assert_true(fits(CONTROLS, RULE_C8, RULE_H1, NO_RULE));
    assert_true(fits(HOST, RULE_C8, RULE_H1, NO_RULE));
    assert_true(fits(GUEST, RULE_G1, RULE_V1, NO_RULE));
    assert_true(fits(LINK, RULE_G1, RULE_V1, NO_RULE));
    assert_false(fits(LINK, RULE_G1, RULE_G2, NO_RULE));
}

// A rule that the machine does not always check decides nothing, and forbids nothing.
static void a_lax_rule_may_be_seen_or_not(void **state)
{
    (void)state;
    assert_true(fits(ENTERED, RULE_G7, NO_RULE, RULE_G7));
    assert_true(fits(GUEST, RULE_G7, NO_RULE, RULE_G7));
    assert_false(fits(CONTROLS, RULE_G7, NO_RULE, RULE_G7));
    assert_true(fits(GUEST, RULE_H9, RULE_G1, RULE_H9));
    assert_true(fits(HOST, RULE_H9, RULE_G1, RULE_H9));
    assert_false(fits(ENTERED, RULE_H9, RULE_G1, RULE_H9));
    assert_false(fits(ENTERED, RULE_G1, NO_RULE, RULE_H9));
    assert_false(fits(MSR, RULE_G7, RULE_G1, RULE_G7));
}

static void what_is_known_of_bochs(void **state)
{
    (void)state;
    struct entry_rule_set lax;
    assert_null(entry_known_fatal(PLATFORM_ANY, &entry_rules[RULE_N5]));
    assert_non_null(entry_known_fatal(PLATFORM_BOCHS, &entry_rules[RULE_N5]));
    assert_null(entry_known_fatal(PLATFORM_BOCHS, &entry_rules[RULE_N6]));
    entry_known_lax(PLATFORM_ANY, &lax);
    assert_true(entry_rule_set_empty(&lax));
    entry_known_lax(PLATFORM_BOCHS, &lax);
    assert_true(entry_rule_set_has(&lax, RULE_E4));
    assert_true(entry_rule_set_has(&lax, RULE_P1));
    assert_true(entry_known_unchecked(PLATFORM_BOCHS, &entry_rules[RULE_G7]));
    assert_false(entry_known_unchecked(PLATFORM_BOCHS, &entry_rules[RULE_P1]));
    assert_false(entry_known_unchecked(PLATFORM_BOCHS, &entry_rules[RULE_C8]));
    assert_false(entry_known_unchecked(PLATFORM_ANY, &entry_rules[RULE_G7]));
    assert_false(entry_rule_set_has(&lax, RULE_C8));
    assert_string_equal(entry_platform_name(PLATFORM_BOCHS), "Bochs");
    assert_string_not_equal(entry_platform_name(PLATFORM_ANY), "Bochs");
}

// What Bochs makes of a null SS in 64-bit mode, and of an RPL in CS.
static void what_bochs_does_in_a_state(void **state)
{
    (void)state;
    static struct entry_values values;
    const struct entry_state guest = {.values = &values};
    struct entry_rule_set violated = {0}, lax = {0};
    u64 *ctls = &values.value[ENTRY_SLOT(VMCS_ENTRY_CTLS)];
    u64 *ar = &values.value[ENTRY_SLOT(VMCS_GUEST_CS_AR)];
    u64 *cs = &values.value[ENTRY_SLOT(VMCS_GUEST_CS_SEL)];
    u64 *ss = &values.value[ENTRY_SLOT(VMCS_GUEST_SS_SEL)];

    *ctls = ENTRY_IA32E, *ar = 0xa0fb, *cs = 0xb, *ss = 0x13;
    entry_known_state(PLATFORM_BOCHS, &guest, &violated, &lax);
    assert_true(entry_rule_set_empty(&lax));
    *ss = 3;
    entry_known_state(PLATFORM_ANY, &guest, &violated, &lax);
    assert_true(entry_rule_set_empty(&lax));
    entry_known_state(PLATFORM_BOCHS, &guest, &violated, &lax);
    assert_true(entry_rule_set_has(&lax, RULE_S16) && entry_rule_set_has(&lax, RULE_S12));
    lax = (struct entry_rule_set){0};
    *ctls = 0;
    entry_known_state(PLATFORM_BOCHS, &guest, &violated, &lax);
    *ctls = ENTRY_IA32E, *ar = 0xc0fb;
    entry_known_state(PLATFORM_BOCHS, &guest, &violated, &lax);
    assert_true(entry_rule_set_empty(&lax));
    // RPL 3 and DPL 3 up to here.
    assert_true(entry_rule_set_empty(&violated));
    *cs = 8;
    entry_known_state(PLATFORM_ANY, &guest, &violated, &lax);
    assert_true(entry_rule_set_empty(&violated));
    entry_known_state(PLATFORM_BOCHS, &guest, &violated, &lax);
    assert_true(entry_rule_set_has(&violated, RULE_S22));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rule_says_its_outcome),  cmocka_unit_test(outcomes_in_words),
        cmocka_unit_test(equal_in_all_that_counts), cmocka_unit_test(the_first_stage_speaks),
        cmocka_unit_test(within_a_stage_any_order), cmocka_unit_test(a_lax_rule_may_be_seen_or_not),
        cmocka_unit_test(what_is_known_of_bochs),   cmocka_unit_test(what_bochs_does_in_a_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
