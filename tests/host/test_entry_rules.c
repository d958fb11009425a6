// SPDX-License-Identifier: MIT
// The VM-entry rules: seven guests that any CPU enters break none of them, and for each rule there
// is a guest, broken in one place, that breaks this rule and no other.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/host/entry_machine.h"

#define RULES 320 // room for them

// ---- judging it -------------------------------------------------------------------------------

struct verdict {
    u8 times[RULES]; // by rule
    unsigned count;
    char text[8192];
    char legal[RULES][96]; // by rule
};

static void note(void *ctx, const struct entry_rule *rule, const char *what, const char *legal)
{
    struct verdict *v = ctx;
    v->times[rule - entry_rules]++;
    v->count++;
    snprintf(v->legal[rule - entry_rules], sizeof(v->legal[0]), "%s", legal);
    size_t length = strlen(v->text);
    snprintf(v->text + length, sizeof(v->text) - length, "%s: %s; legal: %s\n", rule->id, what,
             legal);
    assert_true(what[0] && legal[0]);
    assert_null(strchr(what, '%'));
    assert_null(strchr(legal, '%'));
}

static void check(const struct machine *m, struct verdict *v)
{
    memset(v, 0, sizeof(*v));
    assert_int_equal(entry_check(&m->state, note, v), v->count);
}

static unsigned rule_index(const char *id)
{
    for (unsigned i = 0; i < entry_rules_count; i++)
        if (!strcmp(entry_rules[i].id, id))
            return i;
    fail_msg("no rule %s", id);
    return 0;
}

// ---- the vectors ------------------------------------------------------------------------------

struct broken {
    const char *id;
    enum baseline baseline;
    struct edit preparation[12], violation[4];
    const char *also;
    bool always;
};

#define SET(what, value)                                                                           \
    {                                                                                              \
        (what), OP_SET, (value)                                                                    \
    }
#define OR(what, value)                                                                            \
    {                                                                                              \
        (what), OP_OR, (value)                                                                     \
    }
#define CLEAR(what, value)                                                                         \
    {                                                                                              \
        (what), OP_CLEAR, (value)                                                                  \
    }
#define E(...)                                                                                     \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }
#define NOTHING                                                                                    \
    {                                                                                              \
        {                                                                                          \
            0, OP_END, 0                                                                           \
        }                                                                                          \
    }
#define TPR_SHADOW OR(VMCS_PROC_CTLS, PROC_TPR_SHADOW), SET(VMCS_VIRTUAL_APIC_ADDR, ARENA)
#define POSTED                                                                                     \
    TPR_SHADOW, OR(VMCS_PIN_CTLS, PIN_POSTED_INTR), OR(VMCS_PROC_CTLS2, PROC2_VIRT_INTR),          \
        OR(VMCS_EXIT_CTLS, EXIT_ACK_INTR)
#define EPTP_SWITCHING OR(VMCS_PROC_CTLS2, PROC2_VMFUNC), SET(VMCS_VM_FUNCTION_CTLS, 1)
#define PT_GPA                                                                                     \
    OR(VMCS_PROC_CTLS2, PROC2_PT_GPA), OR(VMCS_ENTRY_CTLS, ENTRY_LOAD_RTIT),                       \
        OR(VMCS_EXIT_CTLS, EXIT_CLEAR_RTIT)
#define INJECT(info)                                                                               \
    {                                                                                              \
        SET(VMCS_ENTRY_INTR_INFO, (info)), SET(VMCS_ENTRY_INSN_LENGTH, 1),                         \
            OR(VMCS_GUEST_RFLAGS, RFLAGS_IF)                                                       \
    }
#define IN_SMM SET(X_SMM, 1), SET(VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_BY_SMI)
#define HOST32                                                                                     \
    SET(X_LMA, 0), CLEAR(VMCS_EXIT_CTLS, EXIT_HOST64), SET(VMCS_HOST_EFER, 0),                     \
        SET(VMCS_HOST_RIP, 0x1000)
#define RING3                                                                                      \
    OR(VMCS_GUEST_CS_AR, 0x60), OR(VMCS_GUEST_SS_AR, 0x60), OR(VMCS_GUEST_CS_SEL, 3),              \
        OR(VMCS_GUEST_SS_SEL, 3)
#define LDT      SET(VMCS_GUEST_LDTR_AR, AR_LDT)
#define LINK     SET(VMCS_VMCS_LINK_POINTER, ARENA + 0x1000)
#define LOAD_ONE SET(VMCS_ENTRY_MSR_LOAD_ADDR, ARENA + 0x3000), SET(VMCS_ENTRY_MSR_LOAD_COUNT, 1)

#define VECTOR(id, baseline, preparation, violation, also)                                         \
    {#id, baseline, preparation, violation, also, false},
#define ALWAYS_VECTOR(id, baseline, preparation, violation, also)                                  \
    {#id, baseline, preparation, violation, also, true},
#define SOUND(baseline, edits)
static const struct broken vectors[] = {
#include "tests/host/entry_vectors.def"
};
#undef VECTOR
#undef ALWAYS_VECTOR
#undef SOUND

#define VECTOR(...)
#define ALWAYS_VECTOR(...)
#define SOUND(baseline, edits) {baseline, edits},
static const struct {
    enum baseline baseline;
    struct edit edits[16];
} sound[] = {
#include "tests/host/entry_vectors.def"
};

static unsigned failures;

static void complain(const struct broken *v, u32 seg, const char *when, const char *text)
{
    print_error("%s (line %zu, %s, %s): %s\n%s", v->id, (size_t)(v - vectors),
                baseline_names[v->baseline], segment_names[seg], when, text);
    failures++;
}

// Whether verdict has the vector's rule and those of also, and nothing else.
static bool as_expected(const struct broken *v, const struct verdict *verdict)
{
    bool expected[RULES] = {false};
    char also[64], *save = NULL;

    expected[rule_index(v->id)] = true;
    snprintf(also, sizeof(also), "%s", v->also);
    for (char *id = strtok_r(also, " ", &save); id; id = strtok_r(NULL, " ", &save))
        expected[rule_index(id)] = true;
    for (unsigned i = 0; i < entry_rules_count; i++)
        if (verdict->times[i] != expected[i])
            return false;
    return true;
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), n = strlen(end);
    return length >= n && !strcmp(text + length - n, end);
}

// Where the rule says what value would do, or which bits must not be, the first of its fields is
// given that, and the rule is no longer broken.
static void try_cure(struct machine *m, const struct broken *v, u32 seg, const char *legal)
{
    const struct entry_rule *rule = &entry_rules[rule_index(v->id)];
    bool value = !strcmp(rule->legal, "%llx") || ends_with(rule->legal, "such as %llx") ||
                 !strcmp(rule->legal, "at most %llx");
    bool mask = !strcmp(rule->legal, "no bit of %llx") && rule->section != SECTION_PDPTES;
    struct verdict verdict;

    if (!value && !mask)
        return;
    const char *space = strrchr(legal, ' ');
    u64 number = strtoull(space ? space + 1 : legal, NULL, 16);
    u64 *field = field_of(m, rule->fields[0] + (rule->segments ? 2 * seg : 0));
    *field = mask ? *field & ~number : number;
    check(m, &verdict);
    if (verdict.times[rule_index(v->id)])
        complain(v, seg, "what is said to be legal is not", verdict.text);
}

static void try_vector(const struct broken *v, u32 seg)
{
    struct machine m;
    struct verdict verdict;

    make(&m, v->baseline);
    apply(&m, v->preparation, seg);
    check(&m, &verdict);
    if (verdict.count)
        complain(v, seg, "already before the violation", verdict.text);
    apply(&m, v->violation, seg);
    check(&m, &verdict);
    if (!as_expected(v, &verdict))
        complain(v, seg, "not what was expected", verdict.text);
    try_cure(&m, v, seg, verdict.legal[rule_index(v->id)]);
    if (v->always)
        return;
    make(&m, v->baseline);
    apply(&m, v->violation, seg);
    check(&m, &verdict);
    if (verdict.times[rule_index(v->id)])
        complain(v, seg, "judged without its condition", verdict.text);
}

static void each_rule_is_broken_alone(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(vectors); i++) {
        u8 segments = entry_rules[rule_index(vectors[i].id)].segments;
        for (u32 seg = 0; seg < SEG_COUNT; seg++)
            if (segments ? segments & BIT(seg) : seg == 0)
                try_vector(&vectors[i], seg);
    }
    assert_int_equal(failures, 0);
}

static void rules_without_their_condition_are_silent(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(sound); i++) {
        struct machine m;
        struct verdict v;
        make(&m, sound[i].baseline);
        apply(&m, sound[i].edits, 0);
        check(&m, &v);
        if (v.count)
            fail_msg("row %u: %s", i, v.text);
    }
}

static void every_rule_has_a_vector(void **state)
{
    (void)state;
    bool has[RULES] = {false};
    for (unsigned i = 0; i < ARRAY_SIZE(vectors); i++)
        has[rule_index(vectors[i].id)] = true;
    for (unsigned i = 0; i < entry_rules_count; i++)
        if (!has[i])
            fail_msg("%s has none", entry_rules[i].id);
}

static void good_guests_break_nothing(void **state)
{
    (void)state;
    for (unsigned mode = 0; mode < BASELINES; mode++) {
        struct machine m;
        struct verdict v;
        make(&m, mode);
        check(&m, &v);
        if (v.count)
            fail_msg("%s: %s", baseline_names[mode], v.text);
        if (mode == REAL || mode == FLAT)
            continue;
        *field_of(&m, VMCS_PROC_CTLS2) &= ~(u64)PROC2_UNRESTRICTED;
        check(&m, &v);
        if (v.count)
            fail_msg("%s without unrestricted guest: %s", baseline_names[mode], v.text);
    }
}

// The events that N3 to N9 refuse, with bit 31 clear: nothing is injected.
static void no_event_no_rule_on_it(void **state)
{
    (void)state;
    struct machine m;
    struct verdict v;
    for (u32 info = 0; info < 0x1000; info += 3) {
        make(&m, info & 1 ? LONG : REAL);
        set(&m, VMCS_ENTRY_INTR_INFO, info | 0x7ffff000);
        set(&m, VMCS_ENTRY_INSN_LENGTH, 99);
        set(&m, VMCS_ENTRY_ERROR_CODE, ~0u);
        set(&m, VMCS_GUEST_ACTIVITY, ACTIVITY_WAIT_FOR_SIPI);
        check(&m, &v);
        assert_string_equal(v.text, "");
    }
}

static void secondary_controls_count_only_if_activated(void **state)
{
    (void)state;
    struct machine m;
    struct verdict v;
    make(&m, LONG);
    set(&m, VMCS_PROC_CTLS2, 0xffffffff & ~(u64)PROC2_UNRESTRICTED);
    set(&m, VMCS_VPID, 0);
    *field_of(&m, VMCS_PROC_CTLS) &= ~(u64)PROC_SECONDARY;
    check(&m, &v);
    assert_string_equal(v.text, "");
    *field_of(&m, VMCS_PROC_CTLS) |= PROC_SECONDARY;
    check(&m, &v);
    assert_true(v.times[rule_index("C5")] && v.times[rule_index("C32")]);
    // Unrestricted guest is such a control too.
    make(&m, REAL);
    *field_of(&m, VMCS_PROC_CTLS) &= ~(u64)PROC_SECONDARY;
    check(&m, &v);
    assert_true(v.times[rule_index("G1")]);
}

// A CPU without a field breaks no rule on it, whatever garbage the read leaves.
static void absent_fields_are_not_judged(void **state)
{
    (void)state;
    struct machine m;
    struct verdict v;
    for (unsigned i = 0; i < vmcs_fields_count; i++) {
        make(&m, LONG);
        m.values[i] = 0xdeadbeefdeadbeef;
        m.absent[i] = true;
        check(&m, &v);
        for (unsigned r = 0; r < entry_rules_count; r++)
            for (unsigned k = 0; entry_rules[r].fields[k] != ENTRY_NO_FIELD; k++)
                if (v.times[r] && !entry_rules[r].segments)
                    assert_int_not_equal(entry_rules[r].fields[k], vmcs_fields[i].encoding);
    }
    make(&m, LONG);
    memset(m.absent, 1, sizeof(m.absent));
    check(&m, &v);
    assert_string_equal(v.text, "");
}

static void unreadable_memory_is_not_judged(void **state)
{
    (void)state;
    static const struct edit edits[] = {
        TPR_SHADOW,
        LINK,
        LOAD_ONE,
        SET(VMCS_TPR_THRESHOLD, 15),
        SET(MEM(0x1000), 77),
        SET(MEM(0x3000), IA32_FS_BASE),
        {0, OP_END, 0}
    };
    struct machine m;
    struct verdict v;
    make(&m, LONG);
    apply(&m, edits, 0);
    check(&m, &v);
    assert_int_equal(v.count, 3); // C17, V3, L1
    m.state.memory = NULL;
    check(&m, &v);
    assert_string_equal(v.text, "");
    m.state.memory = read_arena;
    set(&m, VMCS_VIRTUAL_APIC_ADDR, 0x7000);
    set(&m, VMCS_VMCS_LINK_POINTER, 0x8000);
    set(&m, VMCS_ENTRY_MSR_LOAD_ADDR, 0x9000);
    check(&m, &v);
    assert_string_equal(v.text, "");
}

// Entries are counted from 1; every bad one is told.
static void msr_list_is_judged_entry_by_entry(void **state)
{
    (void)state;
    static const struct edit edits[] = {
        LOAD_ONE,
        SET(VMCS_ENTRY_MSR_LOAD_COUNT, 3),
        SET(MEM(0x3010), IA32_GS_BASE),
        SET(MEM(0x3020), 0x808),
        SET(MEM(0x3024), 9),
        {0, OP_END, 0}
    };
    struct machine m;
    struct verdict v;
    make(&m, LONG);
    memcpy(m.arena + 0x3018, m.arena + 0x3008, 8);
    memcpy(m.arena + 0x3028, m.arena + 0x3008, 8);
    apply(&m, edits, 0);
    check(&m, &v);
    assert_int_equal(v.count, 3);
    assert_non_null(strstr(v.text, "L1: IA32_FS_BASE and IA32_GS_BASE have fields of their own: "
                                   "entry 2, MSR c0000101, value 1122334455667788; legal: "));
    assert_non_null(strstr(v.text, "L2: an MSR of the local APIC: entry 3, MSR 808"));
    assert_non_null(strstr(v.text, "L5: "));
    set(&m, VMCS_ENTRY_MSR_LOAD_COUNT, 1);
    check(&m, &v);
    assert_string_equal(v.text, "");
}

// Where addresses of VMX structures must lie below 4 GiB: VMX_BASIC bit 48.
static void addresses_below_4g(void **state)
{
    (void)state;
    struct machine m;
    struct verdict v;
    make(&m, LONG);
    set(&m, VMCS_IO_BITMAP_A, SIZE_4G);
    set(&m, VMCS_GUEST_CR3, SIZE_4G);
    check(&m, &v);
    assert_string_equal(v.text, "");
    m.caps.region_below_4g = true;
    check(&m, &v);
    assert_true(v.count == 1 && v.times[rule_index("C9")]);
}

static void words(void **state)
{
    (void)state;
    struct machine m;
    struct verdict v;
    make(&m, LONG);
    set(&m, VMCS_IO_BITMAP_A, 0x2345);
    set(&m, VMCS_GUEST_FS_LIMIT, 0xfff0);
    check(&m, &v);
    assert_string_equal(v.text,
                        "C8: not 4-KiB aligned: address of I/O bitmap A 0000000000002345; legal: "
                        "a multiple of 1000H, such as 2000\n"
                        "S34: G with a limit that is no whole number of pages: guest FS access "
                        "rights 0000c093, guest FS limit 0000fff0; legal: G = 0, or bits 11:0 all "
                        "1\n");
    const struct entry_rule *rule = &entry_rules[rule_index("S34")];
    assert_string_equal(entry_section_title(rule->section), "Checks on Guest Segment Registers");
    assert_int_equal(entry_section_group(rule->section), ENTRY_GUEST);
    assert_int_equal(entry_section_group(entry_rules[rule_index("C8")].section), ENTRY_CONTROLS);
    assert_int_equal(entry_section_group(entry_rules[rule_index("N20")].section), ENTRY_CONTROLS);
    assert_int_equal(entry_section_group(entry_rules[rule_index("A10")].section), ENTRY_HOST);
    assert_int_equal(entry_section_group(entry_rules[rule_index("L6")].section), ENTRY_MSR_LOAD);
    assert_int_equal(entry_section_group(entry_rules[rule_index("E7")].section), ENTRY_BASIC);
}

static void ids_are_unique_and_fields_known(void **state)
{
    (void)state;
    for (unsigned i = 0; i < entry_rules_count; i++) {
        assert_int_equal(rule_index(entry_rules[i].id), i);
        assert_in_range(strlen(entry_rules[i].id), 2, 3);
        for (unsigned k = 0; entry_rules[i].fields[k] != ENTRY_NO_FIELD; k++)
            index_of(entry_rules[i].fields[k]);
    }
}

static void count_only(void *ctx, const struct entry_rule *rule, const char *what,
                       const char *legal)
{
    (void)legal;
    assert_in_range(rule - entry_rules, 0, entry_rules_count - 1);
    assert_true(strlen(what) < 256);
    ++*(unsigned *)ctx;
}

// Whatever the VMCS holds, the checker comes back.
static void survives_garbage(void **state)
{
    (void)state;
    u64 seed = 0x9e3779b97f4a7c15;
    for (unsigned round = 0; round < 3000; round++) {
        struct machine m;
        unsigned count = 0;
        make(&m, round % BASELINES);
        for (unsigned i = 0; i < vmcs_fields_count; i++) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            if (seed >> 60 < round % 16)
                m.values[i] = seed * 0x2545f4914f6cdd1d;
        }
        m.caps.maxphyaddr = (u8)(seed >> 8);
        m.state.linear_bits = (u8)(seed >> 16);
        m.state.load_msr = NULL;
        assert_int_equal(entry_check(&m.state, count_only, &count), count);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_guests_break_nothing),
        cmocka_unit_test(every_rule_has_a_vector),
        cmocka_unit_test(each_rule_is_broken_alone),
        cmocka_unit_test(rules_without_their_condition_are_silent),
        cmocka_unit_test(no_event_no_rule_on_it),
        cmocka_unit_test(secondary_controls_count_only_if_activated),
        cmocka_unit_test(absent_fields_are_not_judged),
        cmocka_unit_test(unreadable_memory_is_not_judged),
        cmocka_unit_test(msr_list_is_judged_entry_by_entry),
        cmocka_unit_test(addresses_below_4g),
        cmocka_unit_test(words),
        cmocka_unit_test(ids_are_unique_and_fields_known),
        cmocka_unit_test(survives_garbage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
