// SPDX-License-Identifier: MIT
// The table of breaks: one array of edits, a header before each break's, so that a break costs some
// thirty bytes.
#include "vmx/entry_break.h"

#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/regs/msr.h"
#include "arch/x86_64/regs/seg.h"
#include "vmx/events.h"
#include "vmx/vmcs.h"

enum edit_op {
    OP_END,
    OP_BREAK,      // a break begins: field is its rule, shift its base
    OP_VIOLATE,    // its preparation is over
    OP_ALSO,       // field is a rule that it breaks too
    OP_MANNER,     // value is bits of enum entry_manner
    OP_SET,        // the field becomes value << shift
    OP_OR,         // ... gets these bits
    OP_CLEAR,      // ... loses them
    OP_FLIP,       // ... has them inverted
    OP_SCRATCH,    // the field becomes an address in the scratch memory
    OP_VMCS,       // ... that of the current VMCS
    OP_REVISION,   // ... the revision of this CPU's VMCSs
    OP_BEYOND,     // ... gets the lowest bit that no physical address has
    OP_TOP,        // the field becomes the address value bytes below that bit
    OP_CLEAR_MUST, // the field, of control word value, loses a bit that must be 1
    OP_OR_SPARE,   // ... gets one that may not be
};

struct entry_edit {
    u16 field; // of a VMCS; from MEMORY: 32 bits of the scratch memory
    u8 op, shift;
    u32 value;
};

#define MEMORY      0x8000u
#define MEM(offset) (MEMORY + (offset))

// ---- the vocabulary ---------------------------------------------------------------------------

// A constant that does not fit does not compile.
#define SHIFT(k) ((u8)((k) ? __builtin_ctzll(k) : 0))
#define EDIT(what, how, k)                                                                         \
    {                                                                                              \
        (what), (how), SHIFT(k), ((k) >> SHIFT(k))                                                 \
    }
#define SET(what, k)         EDIT(what, OP_SET, k)
#define OR(what, k)          EDIT(what, OP_OR, k)
#define CLEAR(what, k)       EDIT(what, OP_CLEAR, k)
#define FLIP(what, k)        EDIT(what, OP_FLIP, k)
#define SET_SCRATCH(what, k) EDIT(what, OP_SCRATCH, k)
#define PLAIN(what, how, k)                                                                        \
    {                                                                                              \
        (what), (how), 0, (k)                                                                      \
    }
#define SET_VMCS(what)      PLAIN(what, OP_VMCS, 0)
#define SET_REVISION(what)  PLAIN(what, OP_REVISION, 0)
#define OR_BEYOND(what)     PLAIN(what, OP_BEYOND, 0)
#define SET_TOP(what, k)    PLAIN(what, OP_TOP, k)
#define CLEAR_MUST(what, k) PLAIN(what, OP_CLEAR_MUST, k)
#define OR_SPARE(what, k)   PLAIN(what, OP_OR_SPARE, k)
#define ALSO(id)            PLAIN(RULE_##id, OP_ALSO, 0)
#define MANNER(name)        PLAIN(0, OP_MANNER, MANNER_##name)

#define TPR_SHADOW       OR(VMCS_PROC_CTLS, PROC_TPR_SHADOW), SET_SCRATCH(VMCS_VIRTUAL_APIC_ADDR, 0)
// ... and nothing that builds on it, of what the guest may come with.
#define TPR_SHADOW_ALONE TPR_SHADOW, CLEAR(VMCS_PROC_CTLS2, APICV_CONTROLS)
#define APIC_ACCESS                                                                                \
    OR(VMCS_PROC_CTLS2, PROC2_APIC_ACCESS), SET_SCRATCH(VMCS_APIC_ACCESS_ADDR, 0x1000)
#define POSTED                                                                                     \
    TPR_SHADOW, OR(VMCS_PIN_CTLS, PIN_POSTED_INTR), OR(VMCS_PROC_CTLS2, PROC2_VIRT_INTR),          \
        OR(VMCS_EXIT_CTLS, EXIT_ACK_INTR), SET_SCRATCH(VMCS_POSTED_INTR_DESC, 0x1000)
#define RESTRICTED CLEAR(VMCS_PROC_CTLS2, PROC2_UNRESTRICTED)
// Without EPT a guest's CR3 is an address of the host's: an empty table, so that a guest that is
// entered all the same faults with its first fetch.
#define OWN_TABLES RESTRICTED, SET_SCRATCH(VMCS_GUEST_CR3, 0x2000)
#define SPP        OR(VMCS_PROC_CTLS2, PROC2_SPP), SET_SCRATCH(VMCS_SPPT_POINTER, 0)
#define EPTP_SWITCHING                                                                             \
    OR(VMCS_PROC_CTLS2, PROC2_VMFUNC), SET(VMCS_VM_FUNCTION_CTLS, 1),                              \
        SET_SCRATCH(VMCS_EPTP_LIST_ADDR, 0)
#define SHADOWING                                                                                  \
    OR(VMCS_PROC_CTLS2, PROC2_VMCS_SHADOWING), SET_SCRATCH(VMCS_VMREAD_BITMAP, 0),                 \
        SET_SCRATCH(VMCS_VMWRITE_BITMAP, 0)
#define PT_GPA                                                                                     \
    OR(VMCS_PROC_CTLS2, PROC2_PT_GPA), OR(VMCS_ENTRY_CTLS, ENTRY_LOAD_RTIT),                       \
        OR(VMCS_EXIT_CTLS, EXIT_CLEAR_RTIT), SET(VMCS_GUEST_RTIT_CTL, 0)
// One entry, an MSR that each VM exit loads anew.
#define LIST(address, count)                                                                       \
    SET(MEM(0x3000), IA32_SYSENTER_CS), SET_SCRATCH(address, 0x3000), SET(count, 1)
#define HIGH_LIST(address, count) SET_TOP(address, 32), SET(count, 2)
#define INJECT(info)                                                                               \
    SET(VMCS_ENTRY_INTR_INFO, info), SET(VMCS_ENTRY_INSN_LENGTH, 1),                               \
        OR(VMCS_GUEST_RFLAGS, RFLAGS_IF)
#define HOST_CET                                                                                   \
    OR(VMCS_EXIT_CTLS, EXIT_LOAD_CET), SET(VMCS_HOST_S_CET, 0), SET(VMCS_HOST_SSP, 0),             \
        SET(VMCS_HOST_INTR_SSP_TABLE, 0)
#define GUEST_CET                                                                                  \
    OR(VMCS_ENTRY_CTLS, ENTRY_LOAD_CET), SET(VMCS_GUEST_S_CET, 0), SET(VMCS_GUEST_SSP, 0),         \
        SET(VMCS_GUEST_INTR_SSP_TABLE, 0)
#define RING3                                                                                      \
    OR(VMCS_GUEST_CS_AR, 0x60), OR(VMCS_GUEST_SS_AR, 0x60), OR(VMCS_GUEST_CS_SEL, 3),              \
        OR(VMCS_GUEST_SS_SEL, 3)
#define LDT  SET(VMCS_GUEST_LDTR_AR, AR_LDT)
#define LINK SET_REVISION(MEM(0x1000)), SET_SCRATCH(VMCS_VMCS_LINK_POINTER, 0x1000)
#define STI_BLOCKING                                                                               \
    OR(VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_BY_STI), OR(VMCS_GUEST_RFLAGS, RFLAGS_IF)
#define SEGMENT(name, ar)                                                                          \
    SET(VMCS_GUEST_##name##_SEL, 0), SET(VMCS_GUEST_##name##_BASE, 0),                             \
        SET(VMCS_GUEST_##name##_LIMIT, 0xffff), SET(VMCS_GUEST_##name##_AR, ar)
#define SEGMENTS(code, data)                                                                       \
    SEGMENT(CS, code), SEGMENT(SS, data), SEGMENT(DS, data), SEGMENT(ES, data), SEGMENT(FS, data), \
        SEGMENT(GS, data)

#define IN_LONG_MODE "Corbel runs in IA-32e mode, and that breaks A3 too"
#define IN_SMM       "Corbel does not run in SMM"

// ---- the tables -------------------------------------------------------------------------------

#define NOTHING
#define E(...) __VA_ARGS__,
#define BREAK(id, base, preparation, violation)                                                    \
    {RULE_##id, OP_BREAK, BASE_##base, 0}, preparation{0, OP_VIOLATE, 0, 0}, violation
#define UNBREAKABLE(id, why)
static const struct entry_edit breaks[] = {
#include "vmx/entry_breaks.def"
    {0, OP_END, 0, 0}
};
#undef BREAK
#undef UNBREAKABLE

#define BREAK(id, base, preparation, violation)
#define UNBREAKABLE(id, why) {RULE_##id, why},
static const struct {
    u16 rule;
    const char *why;
} unbreakable[] = {
#include "vmx/entry_breaks.def"
};

#define LEAVE_LONG                                                                                 \
    CLEAR(VMCS_ENTRY_CTLS, ENTRY_IA32E), SET(VMCS_GUEST_EFER, 0), SET(VMCS_GUEST_CS_AR, AR_CODE32)
#define LEAVE_PAE    CLEAR(VMCS_GUEST_CR4, CR4_PAE)
#define LEAVE_PAGING CLEAR(VMCS_GUEST_CR0, CR0_PG), OR(VMCS_PROC_CTLS2, PROC2_UNRESTRICTED)
#define DONE                                                                                       \
    {                                                                                              \
        0, OP_END, 0, 0                                                                            \
    }

static const struct {
    const char *name;
    const struct entry_edit *edits;
} bases[BASE_COUNT] = {
    [BASE_LONG] = {"64-bit mode",                   (const struct entry_edit[]){DONE}                                           },
    [BASE_COMPAT] = {"compatibility mode",
                   (const struct entry_edit[]){SET(VMCS_GUEST_CS_AR, AR_CODE32), DONE}                                          },
    [BASE_PAE] = {"PAE paging",                    (const struct entry_edit[]){LEAVE_LONG, DONE}                               },
    [BASE_PROT32] = {"32-bit paging",                 (const struct entry_edit[]){LEAVE_LONG, LEAVE_PAE, DONE}                    },
    [BASE_V86] = {"virtual-8086 mode",
                   (const struct entry_edit[]){LEAVE_LONG, LEAVE_PAE, SEGMENTS(0xf3, 0xf3),
                                              OR(VMCS_GUEST_RFLAGS, RFLAGS_VM), DONE}                                           },
    [BASE_FLAT] = {"protected mode without paging",
                   (const struct entry_edit[]){LEAVE_LONG, LEAVE_PAE, LEAVE_PAGING, DONE}                                       },
    [BASE_REAL] = {"real mode",                     (const struct entry_edit[]){LEAVE_LONG, LEAVE_PAE, LEAVE_PAGING,
                                                            CLEAR(VMCS_GUEST_CR0, CR0_PE),
                                                            SEGMENTS(AR_CODE16, AR_DATA16), DONE}},
};

// ---- applying edits ---------------------------------------------------------------------------

static bool edit_read(const struct entry_break_target *t, u32 field, u64 *value)
{
    if (field < MEMORY)
        return t->read(t->ctx, field, value);
    *value = t->memory_read(t->ctx, field - MEMORY);
    return true;
}

static bool edit_write(const struct entry_break_target *t, u32 field, u64 value)
{
    if (field < MEMORY)
        return t->write(t->ctx, field, value);
    t->memory_write(t->ctx, field - MEMORY, (u32)value);
    return true;
}

static u64 lowest(u64 bits)
{
    return bits ? BIT(bit_lowest(bits)) : 0;
}

static u64 spare(const struct ctl_allowed *ctl)
{
    return ~ctl->may ? BIT(bit_highest((u32)~ctl->may)) : 0;
}

static u64 edited(const struct entry_edit *e, const struct entry_break_target *t, u64 old)
{
    u64 value = (u64)e->value << e->shift;
    u64 beyond = BIT(t->caps->maxphyaddr);

    switch ((enum edit_op)e->op) {
    case OP_SET:
        return value;
    case OP_OR:
        return old | value;
    case OP_CLEAR:
        return old & ~value;
    case OP_FLIP:
        return old ^ value;
    case OP_SCRATCH:
        return t->scratch.raw + value;
    case OP_VMCS:
        return t->vmcs.raw;
    case OP_REVISION:
        return t->caps->revision;
    case OP_BEYOND:
        return old | beyond;
    case OP_TOP:
        return beyond - value;
    case OP_CLEAR_MUST:
        return old & ~lowest(t->caps->ctl[value].must);
    case OP_OR_SPARE:
        return old | spare(&t->caps->ctl[value]);
    default:
        return old;
    }
}

// An edit of a field of ES is one of the same field of seg.
static u32 field_for(u32 field, u32 seg)
{
    bool template = field == VMCS_GUEST_ES_SEL || field == VMCS_GUEST_ES_BASE ||
                    field == VMCS_GUEST_ES_LIMIT || field == VMCS_GUEST_ES_AR;
    return template ? field + VMCS_GUEST_SEL(seg) - VMCS_GUEST_ES_SEL : field;
}

// Applies edits up to the first that is none.
static bool apply(const struct entry_edit *e, const struct entry_break_target *t, u32 seg)
{
    u64 old;
    for (; e->op >= OP_ALSO; e++) {
        u32 field = field_for(e->field, seg);
        if (e->op == OP_ALSO)
            continue;
        if (e->op == OP_MANNER)
            t->manner(t->ctx, e->value);
        else if (!edit_read(t, field, &old) || !edit_write(t, field, edited(e, t, old)))
            return false;
    }
    return true;
}

static const struct entry_edit *violation_of(entry_break what)
{
    const struct entry_edit *e = what + 1;
    while (e->op != OP_VIOLATE)
        e++;
    return e + 1;
}

entry_break entry_break_find(const struct entry_rule *rule)
{
    for (const struct entry_edit *e = breaks; e->op != OP_END; e++)
        if (e->op == OP_BREAK && e->field == rule - entry_rules)
            return e;
    return NULL;
}

const char *entry_unbreakable(const struct entry_rule *rule)
{
    for (unsigned i = 0; i < ARRAY_SIZE(unbreakable); i++)
        if (unbreakable[i].rule == rule - entry_rules)
            return unbreakable[i].why;
    return NULL;
}

bool entry_baseline_make(enum entry_baseline base, const struct entry_break_target *target)
{
    return apply(bases[base].edits, target, SEG_ES);
}

const char *entry_baseline_name(enum entry_baseline base)
{
    return bases[base].name;
}

bool entry_break_prepare(entry_break what, const struct entry_break_target *target, u32 seg)
{
    return entry_baseline_make((enum entry_baseline)what->shift, target) &&
           apply(what + 1, target, seg);
}

bool entry_break_violate(entry_break what, const struct entry_break_target *target, u32 seg)
{
    return apply(violation_of(what), target, seg);
}

// ---- what is violated -------------------------------------------------------------------------

bool entry_break_alone(entry_break what, const struct entry_rule_set *violated)
{
    struct entry_rule_set expected = {0};
    entry_rule_set_add(&expected, &entry_rules[what->field]);
    for (const struct entry_edit *e = violation_of(what); e->op >= OP_ALSO; e++)
        if (e->op == OP_ALSO)
            entry_rule_set_add(&expected, &entry_rules[e->field]);
    return !memcmp(&expected, violated, sizeof(expected));
}
