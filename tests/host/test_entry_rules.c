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

#include "arch/x86_64/regs/cr.h"
#include "arch/x86_64/regs/msr.h"
#include "arch/x86_64/regs/seg.h"
#include "vmx/entry_rules.h"
#include "vmx/events.h"
#include "vmx/vmcs.h"

#define MSR_OF_THE_MODEL 0x1234
#define MSR_THAT_FAULTS  0x4321

#define RULES 320 // room for them

#define ARENA      0x100000u // host-physical: virtual-APIC page, VMCS, PDPTEs, MSR list
#define ARENA_SIZE 0x4000u

// What else than a VMCS field an edit may change.
enum {
    X_FIRST = 0x10000,
    X_VMX_OPERATION = X_FIRST,
    X_CPL,
    X_CURRENT,
    X_SHADOW,
    X_MOV_SS,
    X_LAUNCHED,
    X_RESUME,
    X_LMA,
    X_SMM,
    X_TRACING,
    X_RTM,
    X_SGX,
    X_BUS_LOCK,
    X_ANY_ERROR_CODE,
    X_LENGTH_0,
    X_ACTIVITIES,
    X_EPT_CAPS,
    X_PROC_MAY,
    X_EXIT_MAY
};
#define MEM(offset) (0x20000u + (offset)) // 32 bits of the arena

struct machine {
    struct vmx_caps caps;
    struct entry_state state;
    u64 values[256]; // in the order of vmcs_fields
    bool absent[256];
    u8 arena[ARENA_SIZE];
};

enum op { OP_END, OP_SET, OP_OR, OP_CLEAR };
struct edit {
    u32 what;
    enum op op;
    u64 value;
};

enum baseline { REAL, V86, FLAT, PROT32, PAE, COMPAT, LONG, BASELINES };
static const char *const baseline_names[BASELINES] = {
    "real mode",     "virtual-8086 mode", "protected mode without paging",
    "32-bit paging", "PAE paging",        "compatibility mode",
    "64-bit mode"};

// ---- a machine --------------------------------------------------------------------------------

static unsigned index_of(u32 field)
{
    for (unsigned i = 0; i < vmcs_fields_count; i++)
        if (vmcs_fields[i].encoding == field)
            return i;
    fail_msg("no field %x", field);
    return 0;
}

static bool read_field(void *ctx, u32 field, u64 *value)
{
    struct machine *m = ctx;
    unsigned i = index_of(field);
    *value = m->values[i];
    return !m->absent[i];
}

static bool read_arena(void *ctx, hpa_t address, void *buf, u32 size)
{
    struct machine *m = ctx;
    if (address.raw < ARENA || address.raw - ARENA > ARENA_SIZE - size)
        return false;
    memcpy(buf, m->arena + (address.raw - ARENA), size);
    return true;
}

static enum entry_msr_verdict load_msr(void *ctx, u32 index, u64 value)
{
    (void)ctx;
    assert_int_equal(value, 0x1122334455667788);
    return index == MSR_OF_THE_MODEL  ? ENTRY_MSR_MODEL
           : index == MSR_THAT_FAULTS ? ENTRY_MSR_FAULTS
                                      : ENTRY_MSR_LOADS;
}

static u64 *field_of(struct machine *m, u32 field)
{
    return &m->values[index_of(field)];
}

static void set(struct machine *m, u32 field, u64 value)
{
    *field_of(m, field) = value;
}

static void set_caps(struct vmx_caps *c)
{
    static const u32 must[CTL_WORDS] = {0x16, 0x04006172, 0, 0, 0x36dfb, 0x11fb};

    memset(c, 0, sizeof(*c));
    for (unsigned i = 0; i < CTL_WORDS; i++)
        c->ctl[i] = (struct ctl_allowed){.must = must[i], .may = must[i]};
    for (unsigned i = 0; i < ctl_infos_count; i++)
        c->ctl[ctl_infos[i].word].may |= 1u << ctl_infos[i].bit;
    c->revision = 4;
    c->proc3_may = c->ctl[CTL_PROC3].may;
    c->exit2_may = 15;
    c->vmfunc = 1;
    c->activity = 7;
    c->cr3_targets = 4;
    c->cr0_fixed0 = CR0_PG | CR0_NE | CR0_PE;
    c->cr0_fixed1 = 0xffffffff;
    c->cr4_fixed0 = CR4_VMXE;
    c->cr4_fixed1 = 0x03ff7fff;
    c->ept_vpid = BIT(0) | BIT(6) | BIT(7) | BIT(8) | BIT(14) | BITS(17, 16) | BITS(21, 20) |
                  BIT(23) | BITS(26, 25);
    c->ept = ept_caps_decode(c->ept_vpid);
    c->maxphyaddr = 39;
}

static void set_controls(struct machine *m)
{
    const struct ctl_allowed *ctl = m->caps.ctl;
    set(m, VMCS_PIN_CTLS,
        ctl[CTL_PIN].must | PIN_EXT_INTR | PIN_NMI | PIN_VNMI | PIN_PREEMPTION_TIMER);
    set(m, VMCS_PROC_CTLS,
        ctl[CTL_PROC].must | PROC_HLT | PROC_IO_BITMAPS | PROC_MSR_BITMAPS | PROC_SECONDARY);
    set(m, VMCS_PROC_CTLS2, PROC2_EPT | PROC2_VPID | PROC2_UNRESTRICTED);
    set(m, VMCS_EXIT_CTLS,
        ctl[CTL_EXIT].must | EXIT_HOST64 | EXIT_SAVE_DEBUG | EXIT_LOAD_EFER | EXIT_LOAD_PAT);
    set(m, VMCS_ENTRY_CTLS,
        ctl[CTL_ENTRY].must | ENTRY_LOAD_DEBUG | ENTRY_LOAD_EFER | ENTRY_LOAD_PAT);
    set(m, VMCS_IO_BITMAP_A, 0x2000);
    set(m, VMCS_IO_BITMAP_B, 0x3000);
    set(m, VMCS_MSR_BITMAP, 0x4000);
    set(m, VMCS_EPT_POINTER, 0x501e);
    set(m, VMCS_VPID, 1);
    set(m, VMCS_VMCS_LINK_POINTER, ~0ull);
}

static void set_host(struct machine *m)
{
    static const u32 bases[] = {
        VMCS_HOST_FS_BASE,   VMCS_HOST_GS_BASE,      VMCS_HOST_TR_BASE,
        VMCS_HOST_GDTR_BASE, VMCS_HOST_IDTR_BASE,    VMCS_HOST_RSP,
        VMCS_HOST_RIP,       VMCS_HOST_SYSENTER_EIP, VMCS_HOST_SYSENTER_ESP};
    for (unsigned i = 0; i < ARRAY_SIZE(bases); i++)
        set(m, bases[i], 0xffff800000000000);
    for (u32 field = VMCS_HOST_ES_SEL; field <= VMCS_HOST_TR_SEL; field += 2)
        set(m, field, field == VMCS_HOST_CS_SEL ? 8 : 0x10);
    set(m, VMCS_HOST_CR0, 0x80050033);
    set(m, VMCS_HOST_CR3, 0x6000);
    set(m, VMCS_HOST_CR4, CR4_VMXE | CR4_PAE);
    set(m, VMCS_HOST_EFER, EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);
    set(m, VMCS_HOST_PAT, PAT_CORBEL);
}

static void set_segment(struct machine *m, u32 seg, u16 sel, u64 base, u32 limit, u32 ar)
{
    set(m, VMCS_GUEST_SEL(seg), sel);
    set(m, VMCS_GUEST_BASE(seg), base);
    set(m, VMCS_GUEST_LIMIT(seg), limit);
    set(m, VMCS_GUEST_AR(seg), ar);
}

static void set_guest_mode(struct machine *m, enum baseline mode)
{
    bool small = mode == REAL || mode == V86;
    bool ia32e = mode == COMPAT || mode == LONG;
    u64 cr0 = CR0_NE | CR0_ET;
    u32 code = mode == LONG ? AR_CODE64 : AR_CODE32, data = AR_DATA32;

    if (mode != REAL)
        cr0 |= CR0_PE;
    if (mode >= PROT32 || mode == V86)
        cr0 |= CR0_PG;
    if (small)
        code = mode == V86 ? 0xf3 : AR_CODE16, data = mode == V86 ? 0xf3 : AR_DATA16;
    for (u32 seg = SEG_ES; seg <= SEG_GS; seg++)
        set_segment(m, seg,
                    small           ? 0x1230
                    : seg == SEG_CS ? 8
                                    : 0x10,
                    small ? 0x12300 : 0, small ? 0xffff : 0xffffffff, seg == SEG_CS ? code : data);
    set_segment(m, SEG_LDTR, 0, 0, 0, AR_UNUSABLE);
    set_segment(m, SEG_TR, 0x18, 0, 0x67, AR_TSS_BUSY);
    set(m, VMCS_GUEST_CR0, cr0);
    set(m, VMCS_GUEST_CR4, CR4_VMXE | (mode >= PAE ? CR4_PAE : 0));
    set(m, VMCS_GUEST_EFER, ia32e ? EFER_LME | EFER_LMA : 0);
    set(m, VMCS_GUEST_RFLAGS, RFLAGS_FIXED | (mode == V86 ? RFLAGS_VM : 0));
    if (ia32e)
        *field_of(m, VMCS_ENTRY_CTLS) |= ENTRY_IA32E;
}

static void make(struct machine *m, enum baseline mode)
{
    static const u64 value = 0x1122334455667788;

    memset(m, 0, sizeof(*m));
    set_caps(&m->caps);
    m->state = (struct entry_state){
        .caps = &m->caps,
        .ctx = m,
        .read = read_field,
        .memory = read_arena,
        .load_msr = load_msr,
        .current_vmcs = 0x10000,
        .vmx_operation = true,
        .lma = true,
        .linear_bits = 48,
        .rtm = true,
        .sgx = true,
        .efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE,
        .debugctl = 0xffc7,
        .perf_global_ctrl = 0x70000000full,
        .rtit_ctl = 0xffff,
        .lbr_ctl = 0x7f000f,
    };
    set_controls(m);
    set_host(m);
    set_guest_mode(m, mode);
    set(m, VMCS_GUEST_CR3, 0x102000);
    set(m, VMCS_GUEST_PDPTE0, 0x7001);
    set(m, VMCS_GUEST_PAT, 0x0007040600070406ull);
    set(m, VMCS_GUEST_DR7, DR7_INIT);
    set(m, VMCS_GUEST_RIP, 0x1000);
    m->arena[0x1000] = 4;
    m->arena[0x3000] = 0x10;
    memcpy(m->arena + 0x3008, &value, sizeof(value));
}

// ---- changing it ------------------------------------------------------------------------------

static bool *flag_of(struct machine *m, u32 what)
{
    switch (what) {
    case X_VMX_OPERATION:
        return &m->state.vmx_operation;
    case X_SHADOW:
        return &m->state.shadow;
    case X_MOV_SS:
        return &m->state.mov_ss_blocking;
    case X_LAUNCHED:
        return &m->state.launched;
    case X_RESUME:
        return &m->state.resume;
    case X_LMA:
        return &m->state.lma;
    case X_SMM:
        return &m->state.smm;
    case X_TRACING:
        return &m->state.tracing;
    case X_RTM:
        return &m->state.rtm;
    case X_SGX:
        return &m->state.sgx;
    case X_BUS_LOCK:
        return &m->state.bus_lock;
    case X_ANY_ERROR_CODE:
        return &m->caps.any_error_code;
    case X_LENGTH_0:
        return &m->caps.insn_length_0;
    }
    return NULL;
}

static u64 changed(const struct edit *e, u64 value)
{
    return e->op == OP_SET ? e->value : e->op == OP_OR ? value | e->value : value & ~e->value;
}

static void apply_one(struct machine *m, const struct edit *e, u32 what)
{
    bool *flag = flag_of(m, what);
    if (flag) {
        *flag = e->value;
    } else if (what == X_CPL) {
        m->state.cpl = (u8)e->value;
    } else if (what == X_CURRENT) {
        m->state.current_vmcs = e->value;
    } else if (what == X_ACTIVITIES) {
        m->caps.activity = (u8)e->value;
    } else if (what == X_EPT_CAPS) {
        m->caps.ept_vpid = changed(e, m->caps.ept_vpid);
        m->caps.ept = ept_caps_decode(m->caps.ept_vpid);
    } else if (what == X_PROC_MAY || what == X_EXIT_MAY) {
        u32 *may = &m->caps.ctl[what == X_PROC_MAY ? CTL_PROC : CTL_EXIT].may;
        *may = (u32)changed(e, *may);
    } else if (what >= MEM(0)) {
        u32 value = (u32)e->value;
        memcpy(m->arena + (what - MEM(0)), &value, sizeof(value));
    } else {
        set(m, what, changed(e, *field_of(m, what)));
    }
}

static bool is_field_of_es(u32 what)
{
    return what == VMCS_GUEST_ES_SEL || what == VMCS_GUEST_ES_LIMIT || what == VMCS_GUEST_ES_AR ||
           what == VMCS_GUEST_ES_BASE;
}

// The edits, those of ES's fields going to seg.
static void apply(struct machine *m, const struct edit *edits, u32 seg)
{
    for (; edits->op; edits++)
        apply_one(m, edits, edits->what + (is_field_of_es(edits->what) ? 2 * seg : 0));
}

// ---- judging it -------------------------------------------------------------------------------

struct verdict {
    u8 times[RULES]; // by rule
    unsigned count;
    char text[8192];
};

static void note(void *ctx, const struct entry_rule *rule, const char *what, const char *legal)
{
    struct verdict *v = ctx;
    v->times[rule - entry_rules]++;
    v->count++;
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
static const struct broken vectors[] = {
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
