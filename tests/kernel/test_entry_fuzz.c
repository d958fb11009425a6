// SPDX-License-Identifier: MIT
// The rules of VM entry against the CPU, by chance: what they call legal must enter, what they call
// illegal must be refused as they say. Seeded, so each run tries the same.
#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/fmt.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/selftest.h"
#include "arch/x86_64/regs/cr.h"
#include "arch/x86_64/regs/msr.h"
#include "arch/x86_64/regs/seg.h"
#include "boot/grade.h"
#include "boot/machine.h"
#include "vmx/entry_rig.h"
#include "vmx/events.h"
#include "vmx/vmcs.h"

#define ATTEMPTS 10000u
#define FLIPS    9u // of single bits, from each state

struct fuzz {
    struct selftest_ctx *t;
    struct entry_rig *rig;
    enum entry_platform platform;
    struct entry_rule_set lax;
    u64 seed;
    u32 tried, entered, refused, spared;
    const char *base;
    u32 field; // that was flipped, and its bit; ~0: none
    unsigned bit;
};

static u64 chance(struct fuzz *f)
{
    f->seed ^= f->seed << 13;
    f->seed ^= f->seed >> 7;
    f->seed ^= f->seed << 17;
    return f->seed * 0x2545f4914f6cdd1d;
}

static u32 below(struct fuzz *f, u32 limit)
{
    return (u32)((chance(f) >> 32) * limit >> 32);
}

static u64 value_of(const struct fuzz *f, u32 field)
{
    return f->rig->now.value[ENTRY_SLOT(field)];
}

// ---- attempts ---------------------------------------------------------------------------------

static void complain(struct fuzz *f, const struct entry_rule_set *violated,
                     const struct entry_outcome *seen)
{
    char ids[48] = "", text[32];
    size_t length = 0;

    rule_set_for_each (i, violated)
        if (length + 6 < sizeof(ids))
            length +=
                (size_t)fmt_snprintf(ids + length, sizeof(ids) - length, " %s", entry_rules[i].id);
    entry_outcome_text(text, sizeof(text), seen);
    selftest_fail(f->t, "attempt %u, %s, %s bit %u: %s; rules broken:%s", f->tried, f->base,
                  f->field == ENTRY_NO_FIELD ? "no flip" : vmcs_field_name(f->field), f->bit, text,
                  ids);
}

static bool injects_other_event(const struct fuzz *f)
{
    u32 info = (u32)value_of(f, VMCS_ENTRY_INTR_INFO);
    return (info & INTR_INFO_VALID) && (info & INTR_INFO_TYPE) == EVENT_OTHER
                                                                      << INTR_INFO_TYPE_SHIFT;
}

// A guest that waits for a SIPI never comes back, nor may one that halts or is shut down with no
// preemption timer to end that: no rule is trusted to keep it out.
static bool would_hang(const struct fuzz *f)
{
    u64 activity = value_of(f, VMCS_GUEST_ACTIVITY);
    if (value_of(f, VMCS_ENTRY_INTR_INFO) & INTR_INFO_VALID)
        return false;
    return activity == ACTIVITY_WAIT_FOR_SIPI ||
           (activity != ACTIVITY_ACTIVE && !f->rig->preemption_timer);
}

// Whether this machine can be asked at all.
static bool can_be_tried(const struct fuzz *f, const struct entry_rule_set *violated)
{
    bool host_refused = false;

    rule_set_for_each (i, violated) {
        if (entry_known_fatal(f->platform, &entry_rules[i]))
            return false;
        if (entry_section_group((enum entry_section)entry_rules[i].section) == ENTRY_HOST)
            host_refused = host_refused || !entry_rule_set_has(&f->lax, i);
    }
    // Bochs stops at an event of type 7 that passes its checks.
    if (f->platform == PLATFORM_BOCHS && injects_other_event(f))
        return false;
    // A host state that is legal and different is not what Corbel runs in.
    return !would_hang(f) && (!f->rig->host_dirty || host_refused);
}

// Whether the outcome is what the rules say, or what this machine is known for.
static bool explained(const struct fuzz *f, const struct entry_rule_set *violated,
                      const struct entry_outcome *seen)
{
    struct entry_rule_set known = *violated, lax = f->lax;
    struct entry_outcome qualified = *seen;

    entry_known_state(f->platform, &f->rig->state, &known, &lax);
    if (entry_outcome_fits(seen, &known, &lax))
        return true;
    // Bochs refuses an NMI under blocking by STI without saying so in the qualification.
    if (f->platform != PLATFORM_BOCHS || seen->qualification)
        return false;
    qualified.qualification = 3;
    return entry_outcome_fits(&qualified, &known, &lax);
}

static void attempt(struct fuzz *f)
{
    struct entry_rule_set violated;

    entry_rule_set_check(&f->rig->state, &violated);
    if (!can_be_tried(f, &violated)) {
        f->spared++;
        return;
    }
    struct entry_outcome seen = entry_rig_attempt(f->rig);
    f->tried++;
    f->entered += seen.kind == OUTCOME_ENTERED;
    f->refused += seen.kind != OUTCOME_ENTERED;
    if (!explained(f, &violated, &seen))
        complain(f, &violated, &seen);
}

// ---- states -----------------------------------------------------------------------------------

enum kind {
    ANY,       // all bits by chance
    LOW_32,    // those below bit 32
    CANONICAL, // an address with 47 bits by chance, in the upper or the lower half
    CHOICE,    // one of choices, from index value on, as many as the byte above says
};

static const u32 choices[] = {
#define SEL 0
    0x8,        0x10,       0x13,       0x30,       0,          0x1230,
#define DATA_AR 6
    0xc093,     0xc091,     0xc097,     0xc09b,     0xc0f3,     0x10000,    0x93,       0xf3,
#define CODE_AR 14
    0xa09b,     0xc09b,     0xa09f,     0xc09f,     0xa0fb,     0x9b,       0xc093,     0xf3,
#define LIMITS 22
    0xffffffff, 0xffff,     0xfffff,    0x67,       0,          0x12fff,
#define FLAGS 28
    0x2,        0x202,      0x102,      0x3202,     0x246,      0x200002,   0x44ad7,
#define EVENTS 35
    0x80000020, 0x80000202, 0x80000301, 0x80000b0d, 0x8000030d, 0x80000403, 0x80000603, 0x80000501,
    0x80000312, 0,
#define BLOCKING 45
    0,          1,          2,          8,          0xa,        9,          4,          0x10,
#define ACTIVITIES 53
    0,          0,          0,          1,          2,          3,
#define PENDING 59
    0,          0x4000,     0x100f,     0x1000,     1,          0x11000,
#define TSS_AR 65
    0x8b,       0x83,       0x89,
#define LDT_AR 68
    0x82,       0x10000,    0x8082,
};

static const struct variation {
    u16 field;
    u8 kind, first, count;
} variations[] = {
    {VMCS_GUEST_ES_SEL,           CHOICE,    SEL,        6 },
    {VMCS_GUEST_CS_SEL,           CHOICE,    SEL,        6 },
    {VMCS_GUEST_SS_SEL,           CHOICE,    SEL,        6 },
    {VMCS_GUEST_LDTR_SEL,         CHOICE,    SEL,        6 },
    {VMCS_GUEST_TR_SEL,           CHOICE,    SEL,        6 },
    {VMCS_GUEST_ES_AR,            CHOICE,    DATA_AR,    8 },
    {VMCS_GUEST_CS_AR,            CHOICE,    CODE_AR,    8 },
    {VMCS_GUEST_SS_AR,            CHOICE,    DATA_AR,    8 },
    {VMCS_GUEST_DS_AR,            CHOICE,    DATA_AR,    8 },
    {VMCS_GUEST_GS_AR,            CHOICE,    DATA_AR,    8 },
    {VMCS_GUEST_LDTR_AR,          CHOICE,    LDT_AR,     3 },
    {VMCS_GUEST_TR_AR,            CHOICE,    TSS_AR,     3 },
    {VMCS_GUEST_ES_LIMIT,         CHOICE,    LIMITS,     6 },
    {VMCS_GUEST_CS_LIMIT,         CHOICE,    LIMITS,     6 },
    {VMCS_GUEST_TR_LIMIT,         CHOICE,    LIMITS,     6 },
    {VMCS_GUEST_GDTR_LIMIT,       CHOICE,    LIMITS,     6 },
    {VMCS_GUEST_IDTR_LIMIT,       CHOICE,    LIMITS,     6 },
    {VMCS_GUEST_RFLAGS,           CHOICE,    FLAGS,      7 },
    {VMCS_ENTRY_INTR_INFO,        CHOICE,    EVENTS,     10},
    {VMCS_GUEST_INTERRUPTIBILITY, CHOICE,    BLOCKING,   8 },
    {VMCS_GUEST_ACTIVITY,         CHOICE,    ACTIVITIES, 6 },
    {VMCS_GUEST_PENDING_DEBUG,    CHOICE,    PENDING,    6 },
    {VMCS_GUEST_FS_BASE,          CANONICAL, 0,          0 },
    {VMCS_GUEST_GS_BASE,          CANONICAL, 0,          0 },
    {VMCS_GUEST_TR_BASE,          CANONICAL, 0,          0 },
    {VMCS_GUEST_GDTR_BASE,        CANONICAL, 0,          0 },
    {VMCS_GUEST_IDTR_BASE,        CANONICAL, 0,          0 },
    {VMCS_GUEST_SYSENTER_ESP,     CANONICAL, 0,          0 },
    {VMCS_GUEST_SYSENTER_EIP,     CANONICAL, 0,          0 },
    {VMCS_GUEST_RIP,              CANONICAL, 0,          0 },
    {VMCS_GUEST_CS_BASE,          LOW_32,    0,          0 },
    {VMCS_GUEST_DS_BASE,          LOW_32,    0,          0 },
    {VMCS_GUEST_DR7,              LOW_32,    0,          0 },
    {VMCS_GUEST_RSP,              ANY,       0,          0 },
    {VMCS_CR0_MASK,               ANY,       0,          0 },
    {VMCS_CR4_MASK,               ANY,       0,          0 },
    {VMCS_CR0_SHADOW,             ANY,       0,          0 },
    {VMCS_CR4_SHADOW,             ANY,       0,          0 },
    {VMCS_TSC_OFFSET,             ANY,       0,          0 },
    {VMCS_GUEST_SYSENTER_CS,      ANY,       0,          0 },
    {VMCS_CR3_TARGET0,            ANY,       0,          0 },
    {VMCS_PF_ERROR_MASK,          ANY,       0,          0 },
};

static void set(struct fuzz *f, u32 field, u64 value)
{
    const struct entry_break_target *t = &f->rig->target;
    (void)t->write(t->ctx, field, value);
}

static void vary(struct fuzz *f)
{
    const struct variation *v = &variations[below(f, ARRAY_SIZE(variations))];
    u64 value = chance(f);

    if (v->kind == CHOICE)
        value = choices[v->first + below(f, v->count)];
    else if (v->kind == LOW_32)
        value &= UINT32_MAX;
    else if (v->kind == CANONICAL)
        value = value & 1 ? value | BITS(63, 47) : value & BITS(46, 0);
    set(f, v->field, value);
}

// A guest of one of the modes that this CPU has, up to five of its fields by chance.
static bool make_state(struct fuzz *f)
{
    enum entry_baseline base = (enum entry_baseline)below(f, BASE_COUNT);
    struct entry_rule_set violated;

    entry_rig_restart(f->rig);
    f->base = entry_baseline_name(base);
    f->field = ENTRY_NO_FIELD;
    f->bit = 0;
    if (!entry_baseline_make(base, &f->rig->target))
        return false;
    entry_rule_set_check(&f->rig->state, &violated);
    if (!entry_rule_set_empty(&violated))
        return false; // it needs unrestricted guest
    for (u32 n = below(f, 6); n > 0; n--)
        vary(f);
    entry_rig_keep(f->rig);
    return true;
}

// ---- single bits ------------------------------------------------------------------------------

// What must stay for the host to be well after the exit, and for the guest to come back: MSR lists
// that an exit works on, the MSRs it loads, the preemption timer, and where a page-table walk by
// chance would lead.
static bool is_sacred(u32 field, unsigned bit)
{
    switch (field) {
    case VMCS_EXIT_MSR_STORE_ADDR:
    case VMCS_EXIT_MSR_STORE_COUNT:
    case VMCS_EXIT_MSR_LOAD_ADDR:
    case VMCS_EXIT_MSR_LOAD_COUNT:
    case VMCS_ENTRY_MSR_LOAD_COUNT:
    case VMCS_PREEMPTION_TIMER:
        return true;
    case VMCS_EXIT_CTLS:
        return BIT(bit) & (EXIT_LOAD_EFER | EXIT_LOAD_PAT);
    case VMCS_PIN_CTLS:
        return BIT(bit) & (PIN_EXT_INTR | PIN_NMI | PIN_PREEMPTION_TIMER);
    case VMCS_EPT_POINTER:
    case VMCS_GUEST_CR3:
        return bit >= 12 && bit < hypervisor.caps.maxphyaddr;
    }
    return false;
}

static void flip(struct fuzz *f)
{
    static const u8 widths[] = {16, 64, 32, 64};
    const struct entry_rig *rig = f->rig;
    do {
        f->field = rig->fields[below(f, rig->nfields)];
        f->bit = below(f, widths[bits_get(f->field, 14, 13)]);
    } while (is_sacred(f->field, f->bit));
    set(f, f->field, value_of(f, f->field) ^ BIT(f->bit));
}

SELFTEST(entry, fuzzed_states_do_as_the_rules_say, NEEDS_VMX)
{
    static struct entry_rig rig;
    struct fuzz f = {.t = t, .rig = &rig, .seed = 0x9e3779b97f4a7c15};

    f.platform = grade_platform(&hypervisor);
    entry_known_lax(f.platform, &f.lax);
    if (entry_rig_open(&hypervisor, &rig) != OK) {
        selftest_fail(t, "no guest to try with");
        return;
    }
    u64 start = rdtsc();
    while (f.tried < ATTEMPTS && !t->failed) {
        if (!make_state(&f))
            continue;
        u32 entered = f.entered;
        attempt(&f);
        // What one bit does is best seen where nothing else is wrong.
        unsigned flips = f.entered > entered ? FLIPS : 0;
        for (unsigned i = 0; i < flips && f.tried < ATTEMPTS && !t->failed; i++) {
            entry_rig_reset(&rig);
            flip(&f);
            attempt(&f);
        }
    }
    log_info("entry fuzz: %u attempts: %u entered, %u refused; %u spared; %llu ticks", f.tried,
             f.entered, f.refused, f.spared, (unsigned long long)(rdtsc() - start));
    entry_rig_close(&rig);
    if (!t->failed && (f.entered < f.tried / 5 || f.refused < f.tried / 5))
        selftest_fail(t, "%u of %u entered", f.entered, f.tried);
}
