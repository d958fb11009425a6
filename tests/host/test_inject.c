// SPDX-License-Identifier: MIT
// The injection decision, whole: every combination of what can wait and where a guest can stand,
// against an oracle written from the SDM's text, the VM-entry rules that each decision must pass,
// and a few stories told by hand.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "vmx/inject.h"

static struct inject_input quiet_input(void)
{
    return (struct inject_input){
        .held = -1,
        .lapic = -1,
        .virtual_nmis = true,
        .cr0 = CR0_PE | CR0_PG,
        .rflags = RFLAGS_FIXED | RFLAGS_IF,
    };
}

static struct inject_decision decide(const struct inject_input *in)
{
    struct inject_decision out;
    memset(&out, 0x5a, sizeof(out));
    inject_decide(in, &out);
    return out;
}

// ---- the VM-entry rules -----------------------------------------------------------------------

static bool in_list(u32 value, const u8 *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (list[i] == value)
            return true;
    return false;
}

#define RULE(name, cond)                                                                           \
    do {                                                                                           \
        if (!(cond))                                                                               \
            return name;                                                                           \
    } while (0)

// The rule of "VM-Entry Control Fields" that the injection breaks, or NULL. All MSRs at their
// strictest.
static const char *broken_event_rule(const struct inject_input *in, const struct inject_decision *d)
{
    static const u8 with_error[] = {8, 10, 11, 12, 13, 14, 17};
    u32 type = (d->info >> 8) & 7, vector = d->info & 0xff;
    bool error = d->info >> 11 & 1, pe = in->cr0 & 1;
    if (!(d->info >> 31)) {
        RULE("nothing injected, fields clear", !d->info && !d->error_code && !d->length);
        return NULL;
    }
    RULE("N3 type", type != 1);
    RULE("N4 type 7", type != 7);
    RULE("N6 NMI vector", type != 2 || vector == 2);
    RULE("N7 exception vector", type != 3 || vector <= 31);
    if (type == 3 && pe && in_list(vector, with_error, sizeof(with_error)))
        RULE("N8 error code", error);
    else
        RULE("N9 no error code", !error);
    RULE("N10 reserved", !(d->info & 0x7ffff000));
    RULE("N11 error code", !error || !(d->error_code >> 16));
    RULE("N12 N13 length", type < 4 || (d->length >= 1 && d->length <= 15));
    RULE("length of its own", type >= 4 || d->length == 0);
    RULE("R7 IF", type != 0 || (in->rflags >> 9 & 1));
    return NULL;
}

// The same for "Checks on Guest Non-Register State".
static const char *broken_state_rule(const struct inject_input *in, const struct inject_decision *d)
{
    u32 type = (d->info >> 8) & 7, vector = d->info & 0xff, block = d->interruptibility;
    bool injects = d->info >> 31;
    RULE("M3 inactive", !(block & 3) || d->activity == 0);
    if (injects && d->activity == 1)
        RULE("M4 HLT", type == 0 || type == 2 || (type == 3 && (vector == 1 || vector == 18)));
    if (injects && d->activity == 2)
        RULE("M5 shutdown", type == 2 || (type == 3 && vector == 18));
    RULE("M6 wait-for-SIPI", !injects || d->activity != 3);
    RULE("M8 reserved", !(block >> 5));
    RULE("M9 both", (block & 3) != 3);
    RULE("M10 STI needs IF", !(block & 1) || (in->rflags >> 9 & 1));
    RULE("M11 interrupt", !injects || type != 0 || !(block & 3));
    RULE("M12 M13 NMI", !injects || type != 2 || !(block & 3));
    RULE("M14 SMI", !(block & 4));
    RULE("M16 virtual NMI", !injects || type != 2 || !in->virtual_nmis || !(block & 8));
    RULE("M17 M18 enclave", !(block & 16));
    RULE("C19 C18 NMI window", !d->nmi_window || in->virtual_nmis);
    return NULL;
}

// ---- the oracle -------------------------------------------------------------------------------

// One letter a vector: benign, contributory, page fault, double fault.
static const char classes[33] = "CBBBBBBBDBCCCCPBBBBBPCBBBBBBBBBB";

static char letter(const struct event *e)
{
    return e->valid && e->type == 3 ? classes[e->vector] : 'B';
}

// The SDM's table: rows first, columns second, both in the order B C P D.
static char fate(const struct event *first, const struct event *second)
{
    static const char order[] = "BCPD";
    static const char table[4][5] = {"ssss", "sdsd", "sddd", "sttt"};
    return table[strchr(order, letter(first)) - order][strchr(order, letter(second)) - order];
}

static bool sane(const struct event *e)
{
    return e->valid && e->type != 1 && e->type != 7 && (e->type != 2 || e->vector == 2) &&
           (e->type != 3 || e->vector <= 31) && (e->type < 4 || e->length > 0);
}

static bool survives(const struct inject_input *in, const struct event *e)
{
    bool machine_check = e->type == 3 && e->vector == 18;
    return sane(e) && in->activity != 3 && (in->activity != 2 || machine_check || e->type == 2);
}

static void take(struct inject_decision *d, const struct inject_input *in,
                 enum inject_source source, u32 type, u32 vector, u32 error, u32 length)
{
    bool has_error = type == 3 && (in->cr0 & 1) && vector < 32 && (0x27d00u >> vector & 1);
    d->source = source;
    d->info = 0x80000000u | type << 8 | vector | (has_error ? 0x800 : 0);
    d->error_code = has_error ? error & 0xffff : 0;
    d->length = type >= 4 ? length : 0;
    d->activity = 0;
    if (type == 2 && !in->virtual_nmis)
        d->nmi_blocked = true;
}

static void oracle_events(const struct inject_input *in, struct inject_decision *d, bool irq_open,
                          bool nmi_open)
{
    bool first = survives(in, &in->vectored), second = survives(in, &in->exception);
    const struct event *v = &in->vectored, *x = &in->exception;
    struct event none = {0};
    if (second) {
        d->set_cr2 = x->has_cr2;
        d->cr2 = x->cr2;
        char how = fate(first ? v : &none, x);
        if (how == 't') {
            d->triple_fault = true;
            return;
        }
        if (how == 'd')
            take(d, in, INJECT_EXCEPTION, 3, 8, 0, 0);
        else
            take(d, in, INJECT_EXCEPTION, x->type, x->vector, x->error_code, x->length);
    } else if (first &&
               (v->type >= 3 || (v->type == 0 && irq_open) || (v->type == 2 && nmi_open))) {
        take(d, in, INJECT_VECTORED, v->type, v->vector, v->error_code, v->length);
        return;
    }
    if (first && v->type == 2)
        d->nmi = true;
    if (first && v->type == 0)
        d->held = v->vector;
}

static void oracle_interrupts(const struct inject_input *in, struct inject_decision *d,
                              bool irq_open, bool nmi_open)
{
    if (d->source != INJECT_NONE || in->activity == 3)
        return;
    if (d->nmi && nmi_open) {
        take(d, in, INJECT_NMI, 2, 2, 0, 0);
        d->nmi = false;
        return;
    }
    if (!irq_open || in->activity == 2)
        return;
    if (d->held >= 0) {
        take(d, in, INJECT_HELD, 0, (u32)d->held, 0, 0);
        d->held = -1;
    } else if (in->extint) {
        take(d, in, INJECT_EXTINT, 0, 0, 0, 0);
    } else if (in->lapic >= 0) {
        take(d, in, INJECT_LAPIC, 0, (u32)in->lapic, 0, 0);
    }
}

static struct inject_decision oracle(const struct inject_input *in)
{
    struct inject_decision d;
    memset(&d, 0, sizeof(d));
    bool if_set = in->rflags & 0x200;
    bool mov_ss = (in->interruptibility & 2) && in->activity == 0;
    bool sti = (in->interruptibility & 1) && in->activity == 0 && if_set && !mov_ss;
    bool irq_open = if_set && !mov_ss && !sti;
    bool nmi_was_vectored = survives(in, &in->vectored) && in->vectored.type == 2;
    bool bit3 = (in->interruptibility & 8) && !nmi_was_vectored;
    bool soft =
        !in->virtual_nmis && in->nmi_blocked && !nmi_was_vectored && !irq_open && in->activity != 1;
    bool nmi_open = !mov_ss && !sti && !(in->virtual_nmis ? bit3 : soft);

    d.interruptibility = (u32)sti | (u32)mov_ss << 1 | (u32)bit3 << 3;
    d.activity = in->activity;
    d.nmi = in->nmi;
    d.held = in->held;
    d.nmi_blocked = soft && in->activity != 3;
    oracle_events(in, &d, irq_open, nmi_open);
    if (!d.triple_fault)
        oracle_interrupts(in, &d, irq_open, nmi_open);
    if (d.activity >= 2)
        return d;
    d.nmi_window = d.nmi && in->virtual_nmis && !sti;
    d.interrupt_window = d.held >= 0 || (in->extint && d.source != INJECT_EXTINT) ||
                         (in->lapic >= 0 && d.source != INJECT_LAPIC) || (d.nmi && !d.nmi_window);
    return d;
}

// ---- comparison -------------------------------------------------------------------------------

static bool same(const struct inject_decision *a, const struct inject_decision *b)
{
    return a->info == b->info && a->error_code == b->error_code && a->length == b->length &&
           a->interruptibility == b->interruptibility && a->activity == b->activity &&
           a->source == b->source && a->interrupt_window == b->interrupt_window &&
           a->nmi_window == b->nmi_window && a->triple_fault == b->triple_fault &&
           a->set_cr2 == b->set_cr2 && a->cr2 == b->cr2 && a->nmi == b->nmi &&
           a->nmi_blocked == b->nmi_blocked && a->held == b->held;
}

static void print_event(const char *name, const struct event *e)
{
    if (e->valid)
        print_error("  %s: type %u vector %u error %x length %u\n", name, e->type, e->vector,
                    e->error_code, e->length);
}

static void print_decision(const char *name, const struct inject_decision *d)
{
    print_error(
        "  %s: info %x error %x length %u blocking %x activity %u source %u iwin %u nwin %u "
        "triple %u cr2 %u nmi %u soft %u held %d\n",
        name, d->info, d->error_code, d->length, d->interruptibility, d->activity, d->source,
        d->interrupt_window, d->nmi_window, d->triple_fault, d->set_cr2, d->nmi, d->nmi_blocked,
        d->held);
}

static void check_one(const struct inject_input *in)
{
    struct inject_decision got = decide(in), want = oracle(in);
    const char *broken = broken_event_rule(in, &got);
    if (!broken)
        broken = broken_state_rule(in, &got);
    if (!broken && same(&got, &want))
        return;
    print_event("vectored", &in->vectored);
    print_event("exception", &in->exception);
    print_error(
        "  nmi %u extint %u held %d lapic %d vnmi %u soft %u blocking %x activity %u if %u\n",
        in->nmi, in->extint, in->held, in->lapic, in->virtual_nmis, in->nmi_blocked,
        in->interruptibility, in->activity, (unsigned)(in->rflags >> 9 & 1));
    print_decision("got ", &got);
    print_decision("want", &want);
    fail_msg("%s", broken ? broken : "differs from the oracle");
}

// Every way the asynchronous sources and the guest's state can be, for one pair of events.
static void check_all_states(struct event vectored, struct event exception)
{
    for (u32 n = 0; n < 1u << 16; n++) {
        struct inject_input in = {
            .vectored = vectored,
            .exception = exception,
            .nmi = n & 1,
            .extint = n >> 1 & 1,
            .lapic = n >> 2 & 1 ? 0xfe : -1,
            .held = n >> 3 & 1 ? 0x31 : -1,
            .virtual_nmis = n >> 4 & 1,
            .nmi_blocked = n >> 5 & 1,
            .interruptibility = n >> 6 & 0x1f,
            .activity = n >> 11 & 3,
            .rflags = RFLAGS_FIXED | (n >> 13 & 1 ? RFLAGS_IF : 0),
            .cr0 = n >> 14 & 1 ? CR0_PE : 0,
        };
        if (n >> 15 & 1) // bits no CPU defines
            in.interruptibility |= 0xffffffe0u;
        if (sane(&vectored) && vectored.type == 0 && in.held >= 0)
            continue; // excluded: a held interrupt goes first
        check_one(&in);
    }
}

static struct event make(u32 type, u32 vector, u32 error, u32 length)
{
    return event_from_info(0x80000800u | type << 8 | vector, error, length);
}

static void every_state_with_representative_events(void **state)
{
    (void)state;
    const struct event vectored[] = {
        {0},
        make(0, 0x20, 0, 0),
        make(0, 0xff, 0, 0),
        make(2, 2, 0, 0),
        make(3, VEC_DE, 0, 0),
        make(3, VEC_DB, 0, 0),
        make(3, VEC_DF, 0, 0),
        make(3, VEC_PF, 7, 0),
        make(3, VEC_GP, 0xfff8, 0),
        make(4, 0x80, 0, 2),
        make(6, VEC_BP, 0, 1),
    };
    const struct event raised[] = {
        {0},
        event_exception(VEC_UD, 0),
        event_exception(VEC_GP, 0x18),
        event_page_fault(2, 0xffff800000001000),
        event_exception(VEC_DF, 0),
        event_exception(VEC_MC, 0),
        make(5, VEC_DB, 0, 1),
    };
    for (size_t i = 0; i < ARRAY_SIZE(vectored); i++)
        for (size_t j = 0; j < ARRAY_SIZE(raised); j++)
            check_all_states(vectored[i], raised[j]);
}

// All 8 x 256 vectored events, with lengths at the edges and error codes with high bits, alone.
static void every_vectored_event(void **state)
{
    (void)state;
    static const u32 lengths[] = {0, 1, 2, 15, 16, 0xffffffff};
    for (u32 n = 0; n < 8 * 256 * ARRAY_SIZE(lengths) * 4; n++) {
        struct inject_input in = quiet_input();
        u32 length = lengths[(n >> 11) % ARRAY_SIZE(lengths)];
        u32 flags = n / (2048 * (u32)ARRAY_SIZE(lengths));
        in.vectored = make(n >> 8 & 7, n & 0xff, 0xdeadbeef, length);
        in.cr0 = flags & 1;
        in.rflags = flags & 2 ? RFLAGS_IF : 0;
        check_one(&in);
    }
}

// Every pair of exception vectors, in protected and real mode.
static void every_pair_of_exceptions(void **state)
{
    (void)state;
    for (u32 n = 0; n < 32 * 32 * 2; n++) {
        struct inject_input in = quiet_input();
        in.vectored = make(3, n & 31, 0x10, 0);
        in.exception = make(3, n >> 5 & 31, 0x20, 0);
        in.cr0 = n >> 10;
        check_one(&in);
    }
}

// Events a handler raises with a type, vector or length that cannot be injected.
static void impossible_exceptions_are_left_out(void **state)
{
    (void)state;
    const struct event bad[] = {make(1, 3, 0, 0),  make(7, 0, 0, 0),  make(2, 3, 0, 0),
                                make(3, 32, 0, 0), make(4, 13, 0, 0), make(5, 1, 0, 16),
                                make(6, 3, 0, 0)};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct inject_input in = quiet_input();
        in.exception = bad[i];
        in.lapic = 0x40;
        check_one(&in);
        assert_int_equal(decide(&in).info, 0x80000040);
    }
}

// ---- by hand ----------------------------------------------------------------------------------

static void nothing_waits(void **state)
{
    (void)state;
    struct inject_input in = quiet_input();
    struct inject_decision d = decide(&in);
    assert_int_equal(d.source, INJECT_NONE);
    assert_int_equal(d.info, 0);
    assert_false(d.interrupt_window || d.nmi_window || d.triple_fault || d.set_cr2);
    in.activity = ACTIVITY_HLT;
    assert_int_equal(decide(&in).activity, ACTIVITY_HLT);
}

static void order_of_sources(void **state)
{
    (void)state;
    struct inject_input in = quiet_input();
    in.vectored = make(4, 0x21, 0, 2);
    in.nmi = in.extint = true;
    in.held = 0x50;
    in.lapic = 0x60;
    assert_int_equal(decide(&in).source, INJECT_VECTORED);
    assert_int_equal(decide(&in).info, 0x80000421);
    assert_int_equal(decide(&in).length, 2);
    in.vectored.valid = false;
    in.exception = event_exception(VEC_UD, 0);
    assert_int_equal(decide(&in).info, 0x80000306);
    in.exception.valid = false;
    assert_int_equal(decide(&in).info, 0x80000202);
    in.nmi = false;
    assert_int_equal(decide(&in).info, 0x80000050);
    in.held = -1;
    assert_int_equal(decide(&in).source, INJECT_EXTINT);
    struct inject_decision d = decide(&in);
    inject_set_vector(&d, 0x08);
    assert_int_equal(d.info, 0x80000008);
    assert_true(d.interrupt_window); // the local APIC's still waits
    in.extint = false;
    assert_int_equal(decide(&in).info, 0x80000060);
    assert_false(decide(&in).interrupt_window);
}

static void sti_shadow_holds_an_interrupt_back(void **state)
{
    (void)state;
    struct inject_input in = quiet_input();
    in.lapic = 0x60;
    in.interruptibility = BLOCKING_BY_STI;
    struct inject_decision d = decide(&in);
    assert_int_equal(d.source, INJECT_NONE);
    assert_true(d.interrupt_window);
    assert_int_equal(d.interruptibility, BLOCKING_BY_STI);
}

static void interrupt_cut_short_by_a_page_fault_comes_back(void **state)
{
    (void)state;
    struct inject_input in = quiet_input();
    in.vectored = make(0, 0x33, 0, 0);
    in.exception = event_page_fault(PFEC_W, 0x1234);
    struct inject_decision d = decide(&in);
    assert_int_equal(d.info, 0x80000b0e);
    assert_int_equal(d.error_code, PFEC_W);
    assert_true(d.set_cr2);
    assert_int_equal(d.cr2, 0x1234);
    assert_int_equal(d.held, 0x33);
    assert_true(d.interrupt_window);

    struct inject_input next = quiet_input();
    next.held = d.held;
    next.rflags &= ~RFLAGS_IF; // in the page-fault handler
    assert_true(decide(&next).interrupt_window);
    assert_int_equal(decide(&next).held, 0x33);
    next.rflags |= RFLAGS_IF;
    assert_int_equal(decide(&next).info, 0x80000033);
    assert_int_equal(decide(&next).held, -1);
}

static void page_fault_twice_is_a_double_fault_with_the_second_cr2(void **state)
{
    (void)state;
    struct inject_input in = quiet_input();
    in.vectored = make(3, VEC_PF, 0, 0);
    in.exception = event_page_fault(PFEC_W, 0x5000);
    struct inject_decision d = decide(&in);
    assert_int_equal(d.info, 0x80000b08);
    assert_int_equal(d.error_code, 0);
    assert_true(d.set_cr2);
    assert_int_equal(d.cr2, 0x5000);
    in.vectored = make(3, VEC_DF, 0, 0);
    assert_true(decide(&in).triple_fault);
    assert_int_equal(decide(&in).info, 0);
}

static void without_virtual_nmis_the_next_waits_for_interrupts(void **state)
{
    (void)state;
    struct inject_input in = quiet_input();
    in.virtual_nmis = false;
    in.nmi = true;
    in.rflags &= ~RFLAGS_IF;
    struct inject_decision d = decide(&in);
    assert_int_equal(d.info, 0x80000202);
    assert_true(d.nmi_blocked);
    in.nmi_blocked = true;
    d = decide(&in);
    assert_int_equal(d.source, INJECT_NONE);
    assert_true(d.interrupt_window);
    assert_false(d.nmi_window);
    in.activity = ACTIVITY_HLT;
    assert_int_equal(decide(&in).info, 0x80000202);
    in.activity = ACTIVITY_ACTIVE;
    in.rflags |= RFLAGS_IF;
    assert_int_equal(decide(&in).info, 0x80000202);
}

static void real_mode_pushes_no_error_code(void **state)
{
    (void)state;
    struct inject_input in = quiet_input();
    in.exception = event_exception(VEC_GP, 0x70);
    assert_int_equal(decide(&in).info, 0x80000b0d);
    assert_int_equal(decide(&in).error_code, 0x70);
    in.cr0 = 0;
    assert_int_equal(decide(&in).info, 0x8000030d);
    assert_int_equal(decide(&in).error_code, 0);
}

static void hlt_ends_with_an_event(void **state)
{
    (void)state;
    struct inject_input in = quiet_input();
    in.activity = ACTIVITY_HLT;
    in.lapic = 0x40;
    assert_int_equal(decide(&in).activity, ACTIVITY_ACTIVE);
    in.rflags &= ~RFLAGS_IF;
    assert_int_equal(decide(&in).activity, ACTIVITY_HLT);
    in.nmi = true;
    assert_int_equal(decide(&in).activity, ACTIVITY_ACTIVE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_waits),
        cmocka_unit_test(order_of_sources),
        cmocka_unit_test(sti_shadow_holds_an_interrupt_back),
        cmocka_unit_test(interrupt_cut_short_by_a_page_fault_comes_back),
        cmocka_unit_test(page_fault_twice_is_a_double_fault_with_the_second_cr2),
        cmocka_unit_test(without_virtual_nmis_the_next_waits_for_interrupts),
        cmocka_unit_test(real_mode_pushes_no_error_code),
        cmocka_unit_test(hlt_ends_with_an_event),
        cmocka_unit_test(impossible_exceptions_are_left_out),
        cmocka_unit_test(every_vectored_event),
        cmocka_unit_test(every_pair_of_exceptions),
        cmocka_unit_test(every_state_with_representative_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
