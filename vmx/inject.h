// SPDX-License-Identifier: MIT
// Which event enters the guest with the next VM entry: one pure decision over all that waits, made
// after every exit and committed to the VMCS as it stands. What it commits passes the VM-entry
// checks on event injection and on the guest's non-register state. SDM volume 3, "Event Injection",
// "VM-Entry Control Fields", "Checks on Guest Non-Register State"; "Interrupt 8 - Double Fault
// Exception" for what two exceptions make together.
#pragma once

#include "vmx/events.h"

struct inject_input {
    struct event vectored;  // what was being delivered when the last exit cut it short
    struct event exception; // what a handler raised: type 3, 5 or 6
    bool nmi;               // an NMI waits
    bool extint;            // the PIC asserts INTR towards this vCPU; not acknowledged yet
    s32 held;               // vector as inject_decision.held of the decision before, or -1
    s32 lapic;              // highest vector the local APIC would deliver now, or -1
    bool virtual_nmis;      // the pin-based control
    bool nmi_blocked;       // inject_decision.nmi_blocked of the decision before
    u32 interruptibility;   // as saved by the exit
    u32 activity;           // enum activity_state
    u64 cr0, rflags;
};

// Who gave the event that is injected: the caller takes it from there (clears the request, moves
// the local APIC's vector into service).
enum inject_source {
    INJECT_NONE,
    INJECT_VECTORED,
    INJECT_EXCEPTION,
    INJECT_NMI,
    INJECT_HELD,
    INJECT_EXTINT, // acknowledge the PIC now and give the vector to inject_set_vector()
    INJECT_LAPIC,
};

struct inject_decision {
    u32 info;       // VM-entry interruption information; 0 = nothing is injected
    u32 error_code; // VM-entry exception error code
    u32 length;     // VM-entry instruction length
    u32 interruptibility;
    u32 activity;
    enum inject_source source;
    bool interrupt_window; // interrupt-window exiting: an interrupt waits for the guest
    bool nmi_window;       // NMI-window exiting; never without virtual NMIs
    bool triple_fault;     // the guest is in shutdown: nothing else here counts
    bool set_cr2;          // load CR2 with cr2 before entering
    u64 cr2;
    // What the caller keeps for the next decision.
    bool nmi;         // an NMI still waits
    bool nmi_blocked; // without virtual NMIs: the guest is taken to be in its NMI handler
    s32 held;         // an interrupt its controller has given up already, still to be delivered
};

// Decides. The order is: the vectored event, an exception, an NMI, the PIC, the local APIC; what
// stays behind gets a window. An exception raised while another was being delivered becomes #DF or
// a triple fault where the table says so. Where it does not, it goes first, and what was being
// delivered comes back: an interrupt as held, an NMI as nmi, a fault or a software interrupt when
// its instruction runs again.
//
// A vectored or raised event that no CPU produces (a type, vector or instruction length VM entry
// would refuse) is left out. Vectored events and exceptions end in wait-for-SIPI, and in shutdown
// all but #MC; only an NMI or #MC leaves shutdown. Without virtual NMIs the CPU does not tell when
// the guest's NMI handler returns: the guest taking interrupts again stands for it, or its HLT,
// which no handler would wake from.
//
// in->held must be -1 while an external interrupt is vectored: a held one always goes first.
void inject_decide(const struct inject_input *in, struct inject_decision *out);

// Completes a decision for INJECT_EXTINT with the vector the PIC acknowledged.
static inline void inject_set_vector(struct inject_decision *decision, u8 vector)
{
    decision->info = (decision->info & ~INTR_INFO_VECTOR) | vector;
}
