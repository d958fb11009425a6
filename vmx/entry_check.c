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

struct report {
    const struct entry_view *view;
    entry_violation_fn violation;
    void *ctx;
    unsigned count;
};

u64 entry_read(const struct entry_state *state, u32 field)
{
    u64 value;
    return state->read(state->ctx, field, &value) ? value : 0;
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
    u64 link;

    s->linked = state->read(state->ctx, VMCS_VMCS_LINK_POINTER, &link) && link != ~0ull;
    s->link_readable = s->linked && is_aligned(link, PAGE_SIZE) && within(s, link) &&
                       state->memory &&
                       state->memory(state->ctx, HPA(link), &s->link_head, sizeof(s->link_head));
}

void entry_view_init(struct entry_view *view, const struct entry_state *state)
{
    *view = (struct entry_view){.state = state, .caps = state->caps};
    view->frame_high = bits_from(state->caps->maxphyaddr);
    view->address_high = view->frame_high | (state->caps->region_below_4g ? bits_from(32) : 0);
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

static void emit(struct report *r, const struct entry_rule *rule, const char *what, u64 number)
{
    char legal[96];
    fmt_snprintf(legal, sizeof(legal), rule->legal, (unsigned long long)number);
    r->violation(r->ctx, rule, what, legal);
    r->count++;
}

static void violated(struct report *r, const struct entry_rule *rule, u32 offset, const u64 *v,
                     u64 number)
{
    char what[256];
    size_t at = advance(0, fmt_snprintf(what, sizeof(what), "%s", rule->what), sizeof(what));

    for (unsigned i = 0; rule->fields[i] != ENTRY_NO_FIELD; i++) {
        u32 field = rule->fields[i] + offset;
        int written = fmt_snprintf(what + at, sizeof(what) - at, "%s %s %0*llx", i ? "," : ":",
                                   vmcs_field_name(field), digits(field), (unsigned long long)v[i]);
        at = advance(at, written, sizeof(what));
    }
    emit(r, rule, what, number);
}

// ---- judging ----------------------------------------------------------------------------------

// Judges the rule on the fields that lie offset after those it names.
static void judge(struct report *r, const struct entry_rule *rule, u32 offset)
{
    const struct entry_state *state = r->view->state;
    u64 v[ENTRY_FIELDS] = {0};
    u64 number;

    for (unsigned i = 0; rule->fields[i] != ENTRY_NO_FIELD; i++)
        if (!state->read(state->ctx, rule->fields[i] + offset, &v[i]))
            return;
    if (!entry_rule_holds(rule, r->view, v, &number))
        violated(r, rule, offset, v, number);
}

static void judge_segments(struct report *r, const struct entry_rule *rule)
{
    for (u32 seg = 0; seg < SEG_COUNT; seg++)
        if (rule->segments & BIT(seg))
            judge(r, rule, VMCS_GUEST_SEL(seg) - VMCS_GUEST_SEL(SEG_ES));
}

static void judge_msr(struct report *r, const struct msr_entry *entry, u32 slot)
{
    const u64 v[ENTRY_FIELDS] = {entry->index, entry->reserved, entry->value};
    char what[192];
    u64 number;

    for (unsigned i = 0; i < entry_rules_count; i++) {
        const struct entry_rule *rule = &entry_rules[i];
        if (rule->section != SECTION_LOADING || entry_rule_holds(rule, r->view, v, &number))
            continue;
        fmt_snprintf(what, sizeof(what), "%s: entry %u, MSR %x, value %016llx", rule->what, slot,
                     entry->index, (unsigned long long)entry->value);
        emit(r, rule, what, number);
    }
}

// The list that the entry loads; entries are counted from 1, as the exit qualification does.
static void judge_msr_list(struct report *r)
{
    const struct entry_state *state = r->view->state;
    u64 address = entry_read(state, VMCS_ENTRY_MSR_LOAD_ADDR);
    u32 count = (u32)entry_read(state, VMCS_ENTRY_MSR_LOAD_COUNT);
    struct msr_entry entry;

    if (!state->memory || !is_aligned(address, 16) || !within(r->view, address) ||
        !list_within(r->view, address, count))
        return;
    for (u32 i = 0; i < count && i < MSR_LIST_MAX; i++)
        if (state->memory(state->ctx, HPA(address + 16ull * i), &entry, sizeof(entry)))
            judge_msr(r, &entry, i + 1);
}

unsigned entry_check(const struct entry_state *state, entry_violation_fn violation, void *ctx)
{
    struct entry_view view;
    struct report report = {.view = &view, .violation = violation, .ctx = ctx};

    entry_view_init(&view, state);
    for (unsigned i = 0; i < entry_rules_count; i++) {
        if (entry_rules[i].section == SECTION_LOADING)
            continue;
        if (entry_rules[i].segments)
            judge_segments(&report, &entry_rules[i]);
        else
            judge(&report, &entry_rules[i], 0);
    }
    judge_msr_list(&report);
    return report.count;
}
