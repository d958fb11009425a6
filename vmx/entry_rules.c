// SPDX-License-Identifier: MIT
// The rules: their words, their conditions and their table.
#include "vmx/entry_rules.h"

#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/regs/msr.h"
#include "arch/x86_64/regs/seg.h"
#include "vmx/entry_view.h"
#include "vmx/vmcs.h"

static const struct {
    const char *title;
    enum entry_group group;
} sections[SECTION_COUNT] = {
    [SECTION_BASIC] = {"Basic VM-Entry Checks",                                        ENTRY_BASIC   },
    [SECTION_EXEC] = {"VM-Execution Control Fields",                                  ENTRY_CONTROLS},
    [SECTION_EXIT] = {"VM-Exit Control Fields",                                       ENTRY_CONTROLS},
    [SECTION_ENTRY] = {"VM-Entry Control Fields",                                      ENTRY_CONTROLS},
    [SECTION_HOST_REGS] = {"Checks on Host Control Registers, MSRs, and SSP",              ENTRY_HOST    },
    [SECTION_HOST_SEGS] = {"Checks on Host Segment and Descriptor-Table Registers",        ENTRY_HOST    },
    [SECTION_SPACE] = {"Checks Related to Address-Space Size",                         ENTRY_HOST    },
    [SECTION_GUEST_REGS] = {"Checks on Guest Control Registers, Debug Registers, and MSRs",
                       ENTRY_GUEST                                                                   },
    [SECTION_GUEST_SEGS] = {"Checks on Guest Segment Registers",                            ENTRY_GUEST   },
    [SECTION_GUEST_TABLES] = {"Checks on Guest Descriptor-Table Registers",                   ENTRY_GUEST   },
    [SECTION_GUEST_RIP] = {"Checks on Guest RIP, RFLAGS, and SSP",                         ENTRY_GUEST   },
    [SECTION_GUEST_OTHER] = {"Checks on Guest Non-Register State",                           ENTRY_GUEST   },
    [SECTION_PDPTES] = {"Checks on Guest Page-Directory-Pointer-Table Entries",         ENTRY_GUEST   },
    [SECTION_LOADING] = {"Loading MSRs",                                                 ENTRY_MSR_LOAD},
};

const char *entry_section_title(enum entry_section section)
{
    return sections[section].title;
}

INIT enum entry_group entry_section_group(enum entry_section section)
{
    return sections[section].group;
}

// ---- the words of the conditions --------------------------------------------------------------

#define IF(condition, holds) (!(condition) || (holds))

// SDM, "Checks on Host Control Registers, MSRs, and SSP", footnote: VM entries and exits leave NW
// and CD alone, so they are never checked.
#define CR0_UNCHECKED         (CR0_NW | CR0_CD)
#define VMFUNC_EPTP_SWITCHING BIT(0)
#define S_CET_RESERVED        BITS(9, 6)
#define RFLAGS_RESERVED       (BITS(63, 22) | BIT(15) | BIT(5) | BIT(3))
#define DEBUG_ENABLED         BIT(12) // pending debug exceptions: a breakpoint was met
#define DEBUGCTL_BTF          BIT(1)

#define IN_ALL  (BIT(SEG_ES) | BIT(SEG_CS) | BIT(SEG_SS) | BIT(SEG_DS) | BIT(SEG_FS) | BIT(SEG_GS))
#define IN_DATA (BIT(SEG_DS) | BIT(SEG_ES) | BIT(SEG_FS) | BIT(SEG_GS))
#define IN_CS   BIT(SEG_CS)
#define IN_SS   BIT(SEG_SS)
#define IN_LDTR BIT(SEG_LDTR)
#define IN_TR   BIT(SEG_TR)

static bool has_all(u64 value, u64 must)
{
    return (value & must) == must;
}

static bool has_only(u64 value, u64 may)
{
    return (value & ~may) == 0;
}

// Bits 63:width are all the same.
static bool top_identical(u64 address, unsigned width)
{
    u64 top = width < 64 ? address >> width : 0;
    return top == 0 || top == ~0ull >> width;
}

static u64 sign_extend(u64 address, unsigned width)
{
    if (width == 0 || width >= 64)
        return address;
    return address & BIT(width - 1) ? address | BITS(63, width) : address & ~BITS(63, width);
}

static bool sign_extended(u64 address, unsigned width)
{
    return address == sign_extend(address, width);
}

// What registers hold is judged by the widest address the CPU has, whatever CR4.LA57 says: SDM
// volume 1, "Canonical Addressing".
static bool canonical(const struct entry_view *s, u64 address)
{
    return sign_extended(address, s->state->linear_bits);
}

// Each byte a memory type: SDM volume 3, "Page Attribute Table (PAT)".
bool entry_pat_ok(u64 pat)
{
    for (unsigned i = 0; i < 8; i++, pat >>= 8)
        if ((pat & 0xff) > 7 || (pat & 0xff) == 2 || (pat & 0xff) == 3)
            return false;
    return true;
}

// IA32_S_CET: SUPPRESS (bit 10) and TRACKER (bit 11).
static bool tracker_ok(u64 cet)
{
    return (cet & BITS(11, 10)) != BITS(11, 10);
}

static bool ept_type_ok(const struct entry_view *s, u64 eptp)
{
    u64 type = bits_get(eptp, 2, 0);
    return (type == 0 && s->caps->ept.tables_uc) || (type == 6 && s->caps->ept.tables_wb);
}

static bool ept_levels_ok(const struct entry_view *s, u64 eptp)
{
    u64 levels = bits_get(eptp, 5, 3);
    return (levels == 3 && s->caps->ept.walk_4) || (levels == 4 && s->caps->ept.walk_5);
}

static bool read_memory(const struct entry_view *s, u64 address, void *buf, u32 size)
{
    return s->state->memory && s->state->memory(s->state->ctx, HPA(address), buf, size);
}

// VTPR[7:4]; where it cannot be read, the highest. SDM volume 3, "TPR Virtualization".
static u64 virtual_tpr(const struct entry_view *s, u64 page)
{
    u8 vtpr;
    if (!is_aligned(page, PAGE_SIZE) || !within(s, page) || !read_memory(s, page + 0x80, &vtpr, 1))
        return 15;
    return vtpr >> 4;
}

static bool injects(const struct entry_view *s, enum event_type type)
{
    return s->injecting && s->type == type;
}

static bool injects_software(const struct entry_view *s)
{
    return s->injecting && s->type >= EVENT_SOFTWARE_INTERRUPT &&
           s->type <= EVENT_SOFTWARE_EXCEPTION;
}

// The two halves of the rule on the deliver-error-code bit: where VMX_BASIC[56] is 1, the bit is
// free for a hardware exception in protected mode.
static bool error_code_owed(const struct entry_view *s)
{
    return s->type == EVENT_HARDWARE_EXCEPTION && (s->cr0 & CR0_PE) && !s->caps->any_error_code &&
           vector_has_error_code(s->vector);
}

static bool error_code_barred(const struct entry_view *s)
{
    if (s->type != EVENT_HARDWARE_EXCEPTION || !(s->cr0 & CR0_PE))
        return true;
    return !s->caps->any_error_code && s->vector <= 31 && !vector_has_error_code(s->vector);
}

static u64 guest_cr0_must(const struct entry_view *s)
{
    return s->caps->cr0_fixed0 & ~(CR0_UNCHECKED | (s->ug ? CR0_PE | CR0_PG : 0));
}

static bool usable(u64 ar)
{
    return !(ar & AR_UNUSABLE);
}

static u64 type_of(u64 ar)
{
    return ar & AR_TYPE;
}

static u64 dpl_of(u64 ar)
{
    return bits_get(ar, 6, 5);
}

static bool nonconforming(u64 ar)
{
    return type_of(ar) == 9 || type_of(ar) == 11;
}

static bool conforming(u64 ar)
{
    return type_of(ar) == 13 || type_of(ar) == 15;
}

// A limit that has a 0 among bits 11:0 is one in bytes: G = 0.
static bool bytes_fit(u64 ar, u64 limit)
{
    return !(ar & AR_G) || (limit & BITS(11, 0)) == BITS(11, 0);
}

// A limit that has a 1 among bits 31:20 is one in pages: G = 1.
static bool pages_fit(u64 ar, u64 limit)
{
    return (ar & AR_G) || !(limit & BITS(31, 20));
}

static bool activity_offered(const struct entry_view *s, u64 activity)
{
    return activity == ACTIVITY_ACTIVE ||
           (activity <= ACTIVITY_WAIT_FOR_SIPI && (s->caps->activity & BIT(activity - 1)));
}

static bool ends_shutdown(const struct entry_view *s)
{
    return s->type == EVENT_NMI || (s->type == EVENT_HARDWARE_EXCEPTION && s->vector == VEC_MC);
}

static bool ends_hlt(const struct entry_view *s)
{
    return s->type == EVENT_EXTERNAL_INTERRUPT || ends_shutdown(s) ||
           (s->type == EVENT_HARDWARE_EXCEPTION && s->vector == VEC_DB) ||
           (s->type == EVENT_OTHER && s->vector == 0);
}

static u64 debug_reserved(const struct entry_view *s)
{
    return BITS(10, 4) | (s->state->bus_lock ? 0 : BIT(11)) | BIT(13) | BIT(15) | BITS(63, 17);
}

static bool steps(u64 rflags, u64 debugctl)
{
    return (rflags & RFLAGS_TF) && !(debugctl & DEBUGCTL_BTF);
}

// SDM volume 3, "PDPTE Registers".
static bool pdptes_ok(const struct entry_view *s, const u64 *pdptes)
{
    u64 reserved = BITS(2, 1) | BITS(8, 5) | s->frame_high;
    for (unsigned i = 0; i < 4; i++)
        if ((pdptes[i] & 1) && (pdptes[i] & reserved))
            return false;
    return true;
}

static bool table_ok(const struct entry_view *s, u64 cr3)
{
    u64 pdptes[4];
    return !read_memory(s, cr3 & BITS(31, 5), pdptes, sizeof(pdptes)) || pdptes_ok(s, pdptes);
}

static enum entry_msr_verdict msr_verdict(const struct entry_view *s, const u64 *entry)
{
    return s->state->load_msr ? s->state->load_msr(s->state->ctx, (u32)entry[0], entry[2])
                              : ENTRY_MSR_LOADS;
}

// ---- what many rules say ----------------------------------------------------------------------

#define MUST_BE_1(bits) "bits that must be 1 are 0", "%llx", v[0] | (bits)
#define MUST_BE_0(bits) "bits that must be 0 are 1", "%llx", v[0] & (bits)
#define UNALIGNED_4K                                                                               \
    "not 4-KiB aligned", "a multiple of 1000H, such as %llx", align_down(v[0], 4096)
#define UNALIGNED_16 "not 16-byte aligned", "a multiple of 10H, such as %llx", align_down(v[0], 16)
#define TOO_HIGH     "beyond the physical-address width", "no bit of %llx", s->address_high
#define LIST_TOO_LONG                                                                              \
    "the list ends beyond the physical-address width",                                             \
        "no bit of %llx in its last byte's address", s->address_high
#define NONCANONICAL    "not canonical", "such as %llx", sign_extend(v[0], s->state->linear_bits)
#define HIGH_HALF       "bits 63:32 are not 0", "%llx", v[0] & BITS(31, 0)
#define BOTH_OR_NEITHER "the second too, or not the first", 0
#define CET_NO_WP       "CR4.CET without CR0.WP", "both, or WP alone", 0
#define BAD_PAT         "a byte names no memory type", "0, 1, 4, 5, 6 or 7 in each byte", 0
#define BAD_TRACKER     "bits 10 and 11 are both 1", "at most one of them", 0
#define RPL_OR_TI       "RPL and TI are not 0", "%llx", v[0] & SEL_INDEX
#define NULL_SELECTOR   "a null selector", "a selector of the GDT", 0
#define S_IS_0          "a system segment", "bit 4 = 1", 0
#define S_IS_1          "not a system segment", "bit 4 = 0", 0
#define NOT_PRESENT     "not present", "bit 7 = 1", 0
#define AR_11_8         "bits 11:8 are not 0", "%llx", v[0] & ~BITS(11, 8)
#define AR_31_17        "bits 31:17 are not 0", "%llx", v[0] & BITS(16, 0)
#define G_IS_1          "G with a limit that is no whole number of pages", "G = 0, or bits 11:0 all 1", 0
#define G_IS_0          "a limit above 1 MiB without G", "G = 1, or bits 31:20 = 0", 0
#define EVENT_IN_ACTIVITY                                                                          \
    "an event that would not be delivered in this activity state",                                 \
        "0 (active), or nothing injected", 0
#define BAD_PDPTE                                                                                  \
    "a present PDPTE has reserved bits", "no bit of %llx", BITS(2, 1) | BITS(8, 5) | s->frame_high

// ---- the rules --------------------------------------------------------------------------------

#define FIELDS(...)                                                                                \
    {                                                                                              \
        __VA_ARGS__, ENTRY_NO_FIELD                                                                \
    }
#define ROW(name, set, where, fields_, holds, what_, legal_, number_)                              \
    [RULE_##name] = {.what = (what_),                                                              \
                     .legal = (legal_),                                                            \
                     .fields = FIELDS fields_,                                                     \
                     .id = #name,                                                                  \
                     .section = SECTION_##where,                                                   \
                     .segments = (set)},
// A level more, so that the words above are three arguments by then.
#define ROW_(...)                             ROW(__VA_ARGS__)
#define RULE(id, section, fields, holds, ...) ROW_(id, 0, section, fields, holds, __VA_ARGS__)
#define SEGMENT_RULE(id, set, fields, holds, ...)                                                  \
    ROW_(id, set, GUEST_SEGS, fields, holds, __VA_ARGS__)
const struct entry_rule entry_rules[] = {
#include "vmx/entry_controls.def"
#include "vmx/entry_guest.def"
};
#undef RULE
#undef SEGMENT_RULE

const unsigned entry_rules_count = ARRAY_SIZE(entry_rules);

INIT const struct entry_rule *entry_rule_find(const char *id, size_t length)
{
    for (unsigned i = 0; i < entry_rules_count; i++)
        if (strlen(entry_rules[i].id) == length && !memcmp(entry_rules[i].id, id, length))
            return &entry_rules[i];
    return NULL;
}

// ---- judging ----------------------------------------------------------------------------------

// The rules once more, as code that judges one after the other: the address of each value is known
// when this is compiled.

#define NO_FIELD ENTRY_NO_FIELD
#define VALUE(field, at)                                                                           \
    ((field) == NO_FIELD ? 0 : s->state->values->value[ENTRY_SLOT(field) + (at)])
#define FOUR_VALUES(at, a, b, c, d, ...)                                                           \
    {                                                                                              \
        VALUE(a, at), VALUE(b, at), VALUE(c, at), VALUE(d, at)                                     \
    }
#define VALUES(at, ...) FOUR_VALUES(at, __VA_ARGS__, NO_FIELD, NO_FIELD, NO_FIELD, NO_FIELD)
#define UNPACK(...)     __VA_ARGS__

#define JUDGE(id, at, fields_, holds)                                                              \
    do {                                                                                           \
        const u64 v[ENTRY_FIELDS] = VALUES(at, UNPACK fields_);                                    \
        (void)v;                                                                                   \
        if (unlikely(!(holds)))                                                                    \
            entry_violated(to, RULE_##id, at);                                                     \
    } while (0)
#define RULE(id, where, fields_, holds, ...)                                                       \
    if (SECTION_##where != SECTION_LOADING)                                                        \
        JUDGE(id, 0, fields_, holds);
#define SEGMENT_RULE(id, set, fields_, holds, ...)                                                 \
    for (u32 seg = 0; seg < SEG_COUNT; seg++)                                                      \
        if ((set)&BIT(seg))                                                                        \
            JUDGE(id, seg, fields_, holds);

static void judge_controls(const struct entry_view *s, struct entry_violations *to)
{
#include "vmx/entry_controls.def"
}

static void judge_guest(const struct entry_view *s, struct entry_violations *to)
{
#include "vmx/entry_guest.def"
}
#undef RULE
#undef SEGMENT_RULE

void entry_judge_rules(const struct entry_view *view, struct entry_violations *to)
{
    judge_controls(view, to);
    judge_guest(view, to);
}

#define RULE(id, where, fields_, holds, ...)                                                       \
    if (SECTION_##where == SECTION_LOADING && !(holds))                                            \
        entry_violated_by_msr(to, RULE_##id, v);
#define SEGMENT_RULE(...)
void entry_judge_msr(const struct entry_view *s, const u64 *v, struct entry_violations *to){
#include "vmx/entry_guest.def"
}
#undef RULE
#undef SEGMENT_RULE

#define CASE(name, what_, legal_, number_)                                                         \
    case RULE_##name:                                                                              \
        return (number_);
#define CASE_(...)                                CASE(__VA_ARGS__)
#define RULE(id, section, fields, holds, ...)     CASE_(id, __VA_ARGS__)
#define SEGMENT_RULE(id, set, fields, holds, ...) CASE_(id, __VA_ARGS__)
u64 entry_rule_number(enum entry_rule_id rule, const struct entry_view *s, const u64 *v)
{
    switch (rule) {
#include "vmx/entry_controls.def"
#include "vmx/entry_guest.def"
    case RULE_COUNT:
        break;
    }
    return 0;
}
#undef RULE
#undef SEGMENT_RULE
