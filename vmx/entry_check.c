// SPDX-License-Identifier: MIT
// Judging an entry by the rules.
#include "arch/x86_64/lib/fmt.h"
#include "arch/x86_64/regs/cr.h"
#include "vmx/entry_view.h"
#include "vmx/vmcs.h"

// No CPU recommends longer lists: SDM volume 3, "Miscellaneous Data". The rest is not looked at.
#define MSR_LIST_MAX 4096u

// What an entry of the MSR-load list looks like: SDM volume 3, "VM-Exit Controls for MSRs".
struct msr_entry {
    u32 index, reserved;
    u64 value;
};

struct entry_violations {
    const struct entry_view *view;
    entry_violation_fn violation; // may be NULL
    void *ctx;
    struct entry_rule_set *set; // may be NULL
    unsigned count;
    u32 msr_slot; // of the MSR list, while that is judged
};

// The field, or 0.
static u64 entry_read(const struct entry_state *state, u32 field)
{
    return state->values->value[ENTRY_SLOT(field)];
}

// ---- what many rules look at ------------------------------------------------------------------

static u64 bits_from(unsigned bit)
{
    return bit < 64 ? BITS(63, bit) : 0;
}

static void view_controls(struct entry_view *s)
{
    const struct entry_state *state = s->state;

    s->pin = (u32)entry_read(state, VMCS_PIN_CTLS);
    s->proc = (u32)entry_read(state, VMCS_PROC_CTLS);
    s->exit = (u32)entry_read(state, VMCS_EXIT_CTLS);
    s->entry = (u32)entry_read(state, VMCS_ENTRY_CTLS);
    s->proc2 = s->proc & PROC_SECONDARY ? (u32)entry_read(state, VMCS_PROC_CTLS2) : 0;
    s->proc3 = s->proc & PROC_TERTIARY ? entry_read(state, VMCS_PROC_CTLS3) : 0;
    s->vmfunc = s->proc2 & PROC2_VMFUNC ? entry_read(state, VMCS_VM_FUNCTION_CTLS) : 0;
}

static void view_event(struct entry_view *s)
{
    s->info = (u32)entry_read(s->state, VMCS_ENTRY_INTR_INFO);
    s->injecting = s->info & INTR_INFO_VALID;
    s->type = (u8)((s->info & INTR_INFO_TYPE) >> INTR_INFO_TYPE_SHIFT);
    s->vector = (u8)(s->info & INTR_INFO_VECTOR);
}

static void view_guest(struct entry_view *s)
{
    const struct entry_state *state = s->state;
    u64 blocking = entry_read(state, VMCS_GUEST_INTERRUPTIBILITY);

    s->cr0 = entry_read(state, VMCS_GUEST_CR0);
    s->cs_sel = (u32)entry_read(state, VMCS_GUEST_CS_SEL);
    s->cs_ar = (u32)entry_read(state, VMCS_GUEST_CS_AR);
    s->ss_ar = (u32)entry_read(state, VMCS_GUEST_SS_AR);
    s->ug = s->proc2 & PROC2_UNRESTRICTED;
    s->v86 = entry_read(state, VMCS_GUEST_RFLAGS) & RFLAGS_VM;
    s->ia32e = s->entry & ENTRY_IA32E;
    s->pae = (s->cr0 & CR0_PG) && (entry_read(state, VMCS_GUEST_CR4) & CR4_PAE) && !s->ia32e;
    s->step_frozen = (blocking & BLOCKING_BY_STI_MOV_SS) ||
                     entry_read(state, VMCS_GUEST_ACTIVITY) == ACTIVITY_HLT;
}

static void view_link(struct entry_view *s)
{
    const struct entry_state *state = s->state;
    u64 link = entry_read(state, VMCS_VMCS_LINK_POINTER);

    s->linked = state->values->present[ENTRY_SLOT(VMCS_VMCS_LINK_POINTER)] && link != ~0ull;
    s->link_readable = s->linked && is_aligned(link, PAGE_SIZE) && within(s, link) &&
                       state->memory &&
                       state->memory(state->ctx, HPA(link), &s->link_head, sizeof(s->link_head));
}

static void read_values(const struct entry_state *state)
{
    struct entry_values *values = state->values;
    for (unsigned i = 0; i < vmcs_fields_count; i++) {
        u32 field = vmcs_fields[i].encoding, slot = ENTRY_SLOT(field);
        u64 value;
        values->present[slot] = state->read(state->ctx, field, &value);
        values->value[slot] = values->present[slot] ? value : 0;
    }
}

void entry_view_init(struct entry_view *view, const struct entry_state *state)
{
    *view = (struct entry_view){.state = state, .caps = state->caps};
    view->frame_high = bits_from(state->caps->maxphyaddr);
    view->address_high = view->frame_high | (state->caps->region_below_4g ? bits_from(32) : 0);
    if (state->read)
        read_values(state);
    view_controls(view);
    view_event(view);
    view_guest(view);
    view_link(view);
}

// ---- a violation in words ---------------------------------------------------------------------

// Hexadecimal digits of a field: SDM volume 3, "Field Encoding in VMCS".
static int digits(u32 field)
{
    static const u8 by_width[] = {4, 16, 8, 16};
    return by_width[bits_get(field, 14, 13)];
}

// Where the text ends after written more characters were wanted at at.
static size_t advance(size_t at, int written, size_t size)
{
    size_t end = at + (size_t)written;
    return end < size ? end : size - 1;
}

static void field_words(char *what, size_t size, const struct entry_rule *rule, u32 offset,
                        const u64 *v)
{
    size_t at = advance(0, fmt_snprintf(what, size, "%s", rule->what), size);
    for (unsigned i = 0; rule->fields[i] != ENTRY_NO_FIELD; i++) {
        u32 field = rule->fields[i] + offset;
        int written = fmt_snprintf(what + at, size - at, "%s %s %0*llx", i ? "," : ":",
                                   vmcs_field_name(field), digits(field), (unsigned long long)v[i]);
        at = advance(at, written, size);
    }
}

static void note(struct entry_violations *to, enum entry_rule_id id)
{
    to->count++;
    if (to->set)
        entry_rule_set_add(to->set, &entry_rules[id]);
}

static void tell(struct entry_violations *to, enum entry_rule_id id, const char *what, const u64 *v)
{
    char legal[96];
    fmt_snprintf(legal, sizeof(legal), entry_rules[id].legal,
                 (unsigned long long)entry_rule_number(id, to->view, v));
    to->violation(to->ctx, &entry_rules[id], what, legal);
}

void entry_violated(struct entry_violations *to, enum entry_rule_id id, u32 seg)
{
    const struct entry_values *values = to->view->state->values;
    const struct entry_rule *rule = &entry_rules[id];
    u64 v[ENTRY_FIELDS] = {0};
    char what[256];

    for (unsigned i = 0; rule->fields[i] != ENTRY_NO_FIELD; i++) {
        u32 slot = ENTRY_SLOT(rule->fields[i]) + seg;
        if (!values->present[slot])
            return;
        v[i] = values->value[slot];
    }
    note(to, id);
    if (!to->violation)
        return;
    field_words(what, sizeof(what), rule, 2 * seg, v);
    tell(to, id, what, v);
}

void entry_violated_by_msr(struct entry_violations *to, enum entry_rule_id id, const u64 *v)
{
    char what[192];

    note(to, id);
    if (!to->violation)
        return;
    fmt_snprintf(what, sizeof(what), "%s: entry %u, MSR %x, value %016llx", entry_rules[id].what,
                 to->msr_slot, (u32)v[0], (unsigned long long)v[2]);
    tell(to, id, what, v);
}

// ---- judging ----------------------------------------------------------------------------------

// The list that the entry loads; entries are counted from 1, as the exit qualification does.
static void judge_msr_list(struct entry_violations *to)
{
    const struct entry_state *state = to->view->state;
    u64 address = entry_read(state, VMCS_ENTRY_MSR_LOAD_ADDR);
    u32 count = (u32)entry_read(state, VMCS_ENTRY_MSR_LOAD_COUNT);
    struct msr_entry entry;

    if (!state->memory || !is_aligned(address, 16) || !within(to->view, address) ||
        !list_within(to->view, address, count))
        return;
    for (u32 i = 0; i < count && i < MSR_LIST_MAX; i++) {
        if (!state->memory(state->ctx, HPA(address + 16ull * i), &entry, sizeof(entry)))
            continue;
        const u64 v[ENTRY_FIELDS] = {entry.index, entry.reserved, entry.value};
        to->msr_slot = i + 1;
        entry_judge_msr(to->view, v, to);
    }
}

static void judge(const struct entry_state *state, struct entry_violations *to)
{
    struct entry_view view;

    entry_view_init(&view, state);
    to->view = &view;
    entry_judge_rules(&view, to);
    judge_msr_list(to);
}

unsigned entry_check(const struct entry_state *state, entry_violation_fn violation, void *ctx)
{
    struct entry_violations to = {.violation = violation, .ctx = ctx};
    judge(state, &to);
    return to.count;
}

INIT void entry_rule_set_check(const struct entry_state *state, struct entry_rule_set *violated)
{
    struct entry_violations to = {.set = violated};
    *violated = (struct entry_rule_set){0};
    judge(state, &to);
}

INIT bool entry_rule_set_empty(const struct entry_rule_set *set)
{
    u64 any = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(set->words); i++)
        any |= set->words[i];
    return !any;
}

INIT unsigned entry_rule_set_next(const struct entry_rule_set *set, unsigned from)
{
    for (unsigned word = from / 64; word < ARRAY_SIZE(set->words); word++, from = 0) {
        u64 left = set->words[word] >> from % 64 << from % 64;
        if (left)
            return word * 64 + bit_lowest(left);
    }
    return RULE_COUNT;
}
