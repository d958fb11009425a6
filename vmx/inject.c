// SPDX-License-Identifier: MIT
#include "vmx/inject.h"

#include "arch/x86_64/lib/check.h"

#define NO_VECTOR (-1)

// SDM volume 3, "Interrupt and Exception Classes".
enum exception_class { BENIGN, CONTRIBUTORY, PAGE_FAULT, DOUBLE_FAULT };

// Only hardware exceptions count: INT 13 is as benign as an interrupt at vector 13.
static enum exception_class class_of(const struct event *event)
{
    if (!event->valid || event->type != EVENT_HARDWARE_EXCEPTION)
        return BENIGN;
    switch (event->vector) {
    case VEC_DE:
    case VEC_TS:
    case VEC_NP:
    case VEC_SS:
    case VEC_GP:
    case VEC_CP:
        return CONTRIBUTORY;
    case VEC_PF:
    case VEC_VE:
        return PAGE_FAULT;
    case VEC_DF:
        return DOUBLE_FAULT;
    default:
        return BENIGN;
    }
}

// What a second exception does to the delivery of the first: SDM volume 3, "Conditions for
// Generating a Double Fault". A #DF that a handler raises counts as contributory.
enum combination { SERIAL, DOUBLE, TRIPLE };

static enum combination combine(enum exception_class first, enum exception_class second)
{
    static const u8 table[4][4] = {
        [BENIGN] = {SERIAL, SERIAL, SERIAL, SERIAL},
        [CONTRIBUTORY] = {SERIAL, DOUBLE, SERIAL, DOUBLE},
        [PAGE_FAULT] = {SERIAL, DOUBLE, DOUBLE, DOUBLE},
        [DOUBLE_FAULT] = {SERIAL, TRIPLE, TRIPLE, TRIPLE},
    };
    return (enum combination)table[first][second];
}

// Whether VM entry takes this event's type, vector and length.
static bool event_is_possible(const struct event *event)
{
    if (!event->valid)
        return false;
    switch (event->type) {
    case EVENT_EXTERNAL_INTERRUPT:
        return true;
    case EVENT_NMI:
        return event->vector == VEC_NMI;
    case EVENT_HARDWARE_EXCEPTION:
        return event->vector < 32;
    case EVENT_SOFTWARE_INTERRUPT:
    case EVENT_PRIVILEGED_SOFTWARE_EXCEPTION:
    case EVENT_SOFTWARE_EXCEPTION:
        return event->length >= 1 && event->length <= INSTRUCTION_LENGTH_MAX;
    default:
        return false;
    }
}

// The interruptibility state that a guest in this state can have. SMI blocking and enclave
// interruption never apply here, and an inactive CPU is past the instruction that blocked.
static u32 possible_interruptibility(const struct inject_input *in)
{
    u32 state = in->interruptibility & (BLOCKING_BY_STI_MOV_SS | BLOCKING_BY_NMI);
    if (in->activity != ACTIVITY_ACTIVE)
        state &= ~BLOCKING_BY_STI_MOV_SS;
    if (!(in->rflags & RFLAGS_IF) || (state & BLOCKING_BY_MOV_SS))
        state &= ~BLOCKING_BY_STI;
    return state;
}

static bool interrupts_open(const struct inject_input *in, const struct inject_decision *out)
{
    return (in->rflags & RFLAGS_IF) && !(out->interruptibility & BLOCKING_BY_STI_MOV_SS);
}

// Some CPUs refuse an NMI after STI too, so all are spared it.
static bool nmis_open(const struct inject_input *in, const struct inject_decision *out)
{
    if (out->interruptibility & BLOCKING_BY_STI_MOV_SS)
        return false;
    return in->virtual_nmis ? !(out->interruptibility & BLOCKING_BY_NMI) : !out->nmi_blocked;
}

static void commit(const struct inject_input *in, struct inject_decision *out,
                   enum inject_source source, const struct event *event)
{
    out->source = source;
    out->info = INTR_INFO_VALID | ((u32)event->type << INTR_INFO_TYPE_SHIFT) | (u32)event->vector;
    if (event->type == EVENT_HARDWARE_EXCEPTION && (in->cr0 & CR0_PE) &&
        vector_has_error_code(event->vector)) {
        out->info |= INTR_INFO_ERROR_CODE;
        out->error_code = event->error_code & 0xffff;
    }
    if (event->type >= EVENT_SOFTWARE_INTERRUPT)
        out->length = event->length;
    if (event->type == EVENT_NMI)
        out->nmi_blocked = !in->virtual_nmis;
    out->activity = ACTIVITY_ACTIVE;
}

static void commit_interrupt(const struct inject_input *in, struct inject_decision *out,
                             enum inject_source source, s32 vector)
{
    struct event event = {.type = EVENT_EXTERNAL_INTERRUPT, .vector = (u8)vector};
    commit(in, out, source, &event);
}

// The delivery of an NMI set its blocking; that delivery did not happen.
static void unblock_nmis(struct inject_decision *out)
{
    out->interruptibility &= ~BLOCKING_BY_NMI;
    out->nmi_blocked = false;
}

// Keeps what no instruction would cause again.
static void put_back(const struct inject_input *in, struct inject_decision *out,
                     const struct event *vectored)
{
    if (vectored->type == EVENT_NMI) {
        out->nmi = true;
    } else if (vectored->type == EVENT_EXTERNAL_INTERRUPT) {
        CHECK(in->held == NO_VECTOR);
        out->held = vectored->vector;
    }
}

static void decide_vectored(const struct inject_input *in, struct inject_decision *out,
                            const struct event *vectored)
{
    bool open = true;
    if (vectored->type == EVENT_EXTERNAL_INTERRUPT)
        open = interrupts_open(in, out);
    else if (vectored->type == EVENT_NMI)
        open = nmis_open(in, out);

    if (open)
        commit(in, out, INJECT_VECTORED, vectored);
    else
        put_back(in, out, vectored);
}

static void decide_exception(const struct inject_input *in, struct inject_decision *out,
                             const struct event *vectored)
{
    // CR2 is loaded by the page fault itself, whatever becomes of its delivery.
    out->set_cr2 = in->exception.has_cr2;
    out->cr2 = in->exception.cr2;

    switch (combine(class_of(vectored), class_of(&in->exception))) {
    case SERIAL:
        if (vectored->valid)
            put_back(in, out, vectored);
        commit(in, out, INJECT_EXCEPTION, &in->exception);
        return;
    case DOUBLE: {
        struct event double_fault = event_exception(VEC_DF, 0);
        commit(in, out, INJECT_EXCEPTION, &double_fault);
        return;
    }
    case TRIPLE:
        out->triple_fault = true;
        return;
    }
}

static void decide_asynchronous(const struct inject_input *in, struct inject_decision *out)
{
    if (out->nmi && nmis_open(in, out)) {
        struct event nmi = {.type = EVENT_NMI, .vector = VEC_NMI};
        out->nmi = false;
        commit(in, out, INJECT_NMI, &nmi);
    } else if (in->activity == ACTIVITY_SHUTDOWN || !interrupts_open(in, out)) {
        return;
    } else if (out->held != NO_VECTOR) {
        commit_interrupt(in, out, INJECT_HELD, out->held);
        out->held = NO_VECTOR;
    } else if (in->extint) {
        commit_interrupt(in, out, INJECT_EXTINT, 0);
    } else if (in->lapic != NO_VECTOR) {
        commit_interrupt(in, out, INJECT_LAPIC, in->lapic);
    }
}

static void open_windows(const struct inject_input *in, struct inject_decision *out)
{
    out->interrupt_window = out->held != NO_VECTOR ||
                            (in->extint && out->source != INJECT_EXTINT) ||
                            (in->lapic != NO_VECTOR && out->source != INJECT_LAPIC);
    if (!out->nmi)
        return;
    // An NMI window may open before the instruction after STI, where nothing can be injected: the
    // guest would not move. There, and without virtual NMIs, the interrupt window stands in.
    if (in->virtual_nmis && !(out->interruptibility & BLOCKING_BY_STI))
        out->nmi_window = true;
    else
        out->interrupt_window = true;
}

static bool ends_in(u32 activity, const struct event *event)
{
    if (activity == ACTIVITY_SHUTDOWN)
        return !(event->type == EVENT_HARDWARE_EXCEPTION && event->vector == VEC_MC) &&
               event->type != EVENT_NMI;
    return activity == ACTIVITY_WAIT_FOR_SIPI;
}

void inject_decide(const struct inject_input *in, struct inject_decision *out)
{
    *out = (struct inject_decision){
        .interruptibility = possible_interruptibility(in),
        .activity = in->activity,
        .nmi = in->nmi,
        .held = in->held,
    };
    if (in->activity == ACTIVITY_WAIT_FOR_SIPI)
        return;
    out->nmi_blocked = !in->virtual_nmis && in->nmi_blocked && in->activity != ACTIVITY_HLT &&
                       !interrupts_open(in, out);

    struct event vectored = in->vectored;
    vectored.valid = event_is_possible(&vectored) && !ends_in(in->activity, &vectored);
    if (vectored.valid && vectored.type == EVENT_NMI)
        unblock_nmis(out);

    if (event_is_possible(&in->exception) && !ends_in(in->activity, &in->exception))
        decide_exception(in, out, &vectored);
    else if (vectored.valid)
        decide_vectored(in, out, &vectored);
    if (out->source == INJECT_NONE && !out->triple_fault)
        decide_asynchronous(in, out);
    if (out->activity != ACTIVITY_SHUTDOWN)
        open_windows(in, out);
}
