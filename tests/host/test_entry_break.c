// SPDX-License-Identifier: MIT
// The table of breaks on machines that are made up: one that has everything, and one that lacks
// what some rules ask about. Each break violates its rule and no other.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/host/entry_machine.h"
#include "vmx/entry_break.h"

// ---- the machine as a target ------------------------------------------------------------------

static bool write_field(void *ctx, u32 field, u64 value)
{
    struct machine *m = ctx;
    set(m, field, value);
    return !m->absent[index_of(field)];
}

static u32 read_arena_word(void *ctx, u32 offset)
{
    struct machine *m = ctx;
    u32 value;
    assert_in_range(offset, 0, ENTRY_SCRATCH_SIZE - 4);
    memcpy(&value, m->arena + offset, sizeof(value));
    return value;
}

static void write_arena_word(void *ctx, u32 offset, u32 value)
{
    struct machine *m = ctx;
    assert_in_range(offset, 0, ENTRY_SCRATCH_SIZE - 4);
    memcpy(m->arena + offset, &value, sizeof(value));
}

static void set_manner(void *ctx, u32 bits)
{
    struct machine *m = ctx;
    m->state.resume |= !!(bits & MANNER_RESUME);
    m->state.launched |= !!(bits & MANNER_LAUNCHED);
    m->state.mov_ss_blocking |= !!(bits & MANNER_MOV_SS);
    m->state.shadow |= !!(bits & MANNER_SHADOW);
    m->state.vmx_operation &= !(bits & MANNER_OUTSIDE_VMX);
    if (bits & MANNER_NO_VMCS)
        m->state.current_vmcs = ENTRY_NO_VMCS;
}

// As a CPU judges the value of PAT, and loads everything else.
static enum entry_msr_verdict load_real_msr(void *ctx, u32 index, u64 value)
{
    (void)ctx;
    return index == IA32_PAT && (value & 0xff) == 2 ? ENTRY_MSR_FAULTS : ENTRY_MSR_LOADS;
}

static struct entry_break_target target_of(struct machine *m)
{
    return (struct entry_break_target){
        .caps = &m->caps,
        .scratch = HPA(ARENA),
        .vmcs = HPA(m->state.current_vmcs),
        .ctx = m,
        .read = read_field,
        .write = write_field,
        .memory_read = read_arena_word,
        .memory_write = write_arena_word,
        .manner = set_manner,
    };
}

// A CPU whose lack makes rules that a richer one cannot break.
static void take_away(struct machine *m)
{
    m->caps.ept_vpid &= ~(BIT(21) | BIT(23));
    m->caps.ept = ept_caps_decode(m->caps.ept_vpid);
    m->caps.ctl[CTL_PROC].may &= ~(u32)PROC_MTF;
    m->caps.ctl[CTL_EXIT].may &= ~(u32)EXIT_LOAD_CET;
    m->state.sgx = false;
    m->state.rtm = false;
}

static void make_long(struct machine *m, bool poor)
{
    make(m, LONG);
    memset(m->arena, 0, sizeof(m->arena));
    m->state.load_msr = load_real_msr;
    set(m, VMCS_GUEST_PDPTE0, 0);
    *field_of(m, VMCS_GUEST_CR0) |= CR0_WP;
    if (poor)
        take_away(m);
}

static const char *ids(const struct entry_rule_set *set)
{
    static char text[512];
    text[0] = 0;
    for (unsigned i = 0; i < entry_rules_count; i++)
        if (entry_rule_set_has(set, i) && strlen(text) < 500)
            strcat(strcat(text, " "), entry_rules[i].id);
    return text;
}

// ---- the breaks -------------------------------------------------------------------------------

static unsigned failures;

// Whether the rule is broken, and alone, on this machine.
static bool breaks(const struct entry_rule *rule, u32 seg, bool poor, bool complain)
{
    entry_break what = entry_break_find(rule);
    struct machine m;
    struct entry_rule_set violated;

    make_long(&m, poor);
    struct entry_break_target target = target_of(&m);
    assert_true(entry_break_prepare(what, &target, seg));
    entry_rule_set_check(&m.state, &violated);
    if (!entry_rule_set_empty(&violated)) {
        if (complain)
            print_error("%s %s: already before:%s\n", rule->id, segment_names[seg], ids(&violated));
        return false;
    }
    assert_true(entry_break_violate(what, &target, seg));
    entry_rule_set_check(&m.state, &violated);
    if (entry_break_alone(what, &violated))
        return true;
    if (complain)
        print_error("%s %s: broken:%s\n", rule->id, segment_names[seg], ids(&violated));
    return false;
}

static void every_rule_breaks_alone_or_says_why_not(void **state)
{
    (void)state;
    unsigned broken = 0;
    for (const struct entry_rule *rule = entry_rules; rule < entry_rules + entry_rules_count;
         rule++) {
        const char *why = entry_unbreakable(rule);
        if (!entry_break_find(rule) == !why) {
            print_error("%s: a break and a reason against, or neither\n", rule->id);
            failures++;
        }
        if (why)
            continue;
        broken++;
        for (u32 seg = 0; seg < SEG_COUNT; seg++) {
            if (rule->segments ? !(rule->segments & BIT(seg)) : seg)
                continue;
            if (!breaks(rule, seg, true, false) && !breaks(rule, seg, false, true))
                failures++;
        }
    }
    assert_int_equal(failures, 0);
    assert_true(broken > 250);
}

static void baselines_violate_nothing(void **state)
{
    (void)state;
    for (unsigned base = 0; base < BASE_COUNT; base++) {
        for (unsigned poor = 0; poor < 2; poor++) {
            struct machine m;
            struct entry_rule_set violated;
            make_long(&m, poor);
            struct entry_break_target target = target_of(&m);
            assert_true(entry_baseline_make((enum entry_baseline)base, &target));
            entry_rule_set_check(&m.state, &violated);
            if (!entry_rule_set_empty(&violated))
                fail_msg("%s:%s", entry_baseline_name((enum entry_baseline)base), ids(&violated));
        }
    }
}

// The baseline is the mode that its name says, by the bits that make it.
static void baselines_are_their_modes(void **state)
{
    (void)state;
    for (unsigned base = 0; base < BASE_COUNT; base++) {
        struct machine m;
        make_long(&m, false);
        struct entry_break_target target = target_of(&m);
        assert_true(entry_baseline_make((enum entry_baseline)base, &target));
        u64 cr0 = *field_of(&m, VMCS_GUEST_CR0), cr4 = *field_of(&m, VMCS_GUEST_CR4);
        u64 ar = *field_of(&m, VMCS_GUEST_CS_AR), rflags = *field_of(&m, VMCS_GUEST_RFLAGS);
        bool ia32e = base == BASE_LONG || base == BASE_COMPAT;
        assert_int_equal(!!(*field_of(&m, VMCS_ENTRY_CTLS) & ENTRY_IA32E), ia32e);
        assert_int_equal(*field_of(&m, VMCS_GUEST_EFER), ia32e ? EFER_LME | EFER_LMA : 0);
        assert_int_equal(!!(ar & AR_L), base == BASE_LONG);
        assert_int_equal(!!(cr0 & CR0_PE), base != BASE_REAL);
        assert_int_equal(!!(cr0 & CR0_PG), base != BASE_REAL && base != BASE_FLAT);
        assert_int_equal(!!(cr4 & CR4_PAE), ia32e || base == BASE_PAE);
        assert_int_equal(!!(rflags & RFLAGS_VM), base == BASE_V86);
    }
}

// A field that the CPU lacks ends the preparation: nothing is broken by halves.
static void absent_field_ends_the_preparation(void **state)
{
    (void)state;
    const struct entry_rule *rule = entry_rule_find("C14", 3);
    struct machine m;
    make_long(&m, false);
    struct entry_break_target target = target_of(&m);
    m.absent[index_of(VMCS_VIRTUAL_APIC_ADDR)] = true;
    assert_false(entry_break_prepare(entry_break_find(rule), &target, SEG_ES));
}

// Where a control is not offered, the preparation shows as a violation of the rule on it.
static void missing_control_shows(void **state)
{
    (void)state;
    struct machine m;
    struct entry_rule_set violated;
    make_long(&m, false);
    m.caps.ctl[CTL_PROC2].may &= ~(u32)PROC2_PML;
    struct entry_break_target target = target_of(&m);
    assert_true(entry_break_prepare(entry_break_find(&entry_rules[RULE_C40]), &target, SEG_ES));
    entry_rule_set_check(&m.state, &violated);
    assert_string_equal(ids(&violated), " C5");
}

static void alone_means_alone(void **state)
{
    (void)state;
    struct entry_rule_set set = {0};
    entry_break c8 = entry_break_find(&entry_rules[RULE_C8]);
    entry_break n17 = entry_break_find(&entry_rules[RULE_N17]);
    assert_false(entry_break_alone(c8, &set));
    entry_rule_set_add(&set, &entry_rules[RULE_C8]);
    assert_true(entry_break_alone(c8, &set));
    entry_rule_set_add(&set, &entry_rules[RULE_M15]);
    assert_false(entry_break_alone(c8, &set));
    set = (struct entry_rule_set){0};
    entry_rule_set_add(&set, &entry_rules[RULE_N17]);
    assert_false(entry_break_alone(n17, &set));
    entry_rule_set_add(&set, &entry_rules[RULE_M15]);
    assert_true(entry_break_alone(n17, &set));
}

static void rules_are_found_by_name(void **state)
{
    (void)state;
    for (unsigned i = 0; i < entry_rules_count; i++)
        assert_ptr_equal(entry_rule_find(entry_rules[i].id, strlen(entry_rules[i].id)),
                         &entry_rules[i]);
    assert_null(entry_rule_find("C", 1));
    assert_null(entry_rule_find("C999", 4));
    assert_null(entry_rule_find("", 0));
    assert_ptr_equal(entry_rule_find("C10,", 3), &entry_rules[RULE_C10]);
    assert_ptr_equal(entry_rule_find("C10", 2), &entry_rules[RULE_C1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rule_breaks_alone_or_says_why_not),
        cmocka_unit_test(baselines_violate_nothing),
        cmocka_unit_test(baselines_are_their_modes),
        cmocka_unit_test(absent_field_ends_the_preparation),
        cmocka_unit_test(missing_control_shows),
        cmocka_unit_test(alone_means_alone),
        cmocka_unit_test(rules_are_found_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
