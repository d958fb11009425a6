// SPDX-License-Identifier: MIT
// Events as VMX describes them: the interruption-information layout, the guest interruptibility
// state, the activity states, and the one form in which an event travels through Corbel. SDM
// volume 3, "VM-Entry Controls for Event Injection", "Information for VM Exits Due to Vectored
// Events" and "Guest Non-Register State".
#pragma once

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/regs/cr.h"

// Interruption information: VM-entry (4016H), VM-exit (4404H) and IDT-vectoring (4408H).
#define INTR_INFO_VECTOR         0x000000ffu
#define INTR_INFO_TYPE           0x00000700u
#define INTR_INFO_TYPE_SHIFT     8
#define INTR_INFO_ERROR_CODE     BIT32(11) // entry: deliver it; exit: the field is valid
#define INTR_INFO_NMI_UNBLOCKING BIT32(12) // VM-exit information only: unblocked by IRET
#define INTR_INFO_VALID          BIT32(31)

enum event_type {
    EVENT_EXTERNAL_INTERRUPT = 0,
    EVENT_NMI = 2,
    EVENT_HARDWARE_EXCEPTION = 3,
    EVENT_SOFTWARE_INTERRUPT = 4,            // INT n
    EVENT_PRIVILEGED_SOFTWARE_EXCEPTION = 5, // INT1 (ICEBP)
    EVENT_SOFTWARE_EXCEPTION = 6,            // INT3, INTO
    EVENT_OTHER = 7,                         // entry only: pending MTF VM exit
};

// Guest interruptibility state (4824H).
#define BLOCKING_BY_STI        BIT32(0)
#define BLOCKING_BY_MOV_SS     BIT32(1)
#define BLOCKING_BY_SMI        BIT32(2)
#define BLOCKING_BY_NMI        BIT32(3) // virtual-NMI blocking where virtual NMIs are on
#define ENCLAVE_INTERRUPTION   BIT32(4)
#define BLOCKING_BY_STI_MOV_SS (BLOCKING_BY_STI | BLOCKING_BY_MOV_SS)

// Guest activity state (4826H).
enum activity_state {
    ACTIVITY_ACTIVE = 0,
    ACTIVITY_HLT = 1,
    ACTIVITY_SHUTDOWN = 2,
    ACTIVITY_WAIT_FOR_SIPI = 3,
};

#define INSTRUCTION_LENGTH_MAX 15u

// An event on its way to a guest.
struct event {
    bool valid;
    bool has_cr2;   // a page fault: cr2 is loaded when it is delivered
    u8 vector;      // 0-255
    u8 type;        // enum event_type
    u8 length;      // instruction length in bytes; types 4, 5 and 6 only
    u32 error_code; // 0 where the vector has none
    u64 cr2;        // guest-linear address
};

// The event that an interruption-information field with its error code and instruction length
// describes; not valid if the field is not.
static inline struct event event_from_info(u32 info, u32 error_code, u32 length)
{
    return (struct event){
        .valid = (info & INTR_INFO_VALID) != 0,
        .vector = (u8)(info & INTR_INFO_VECTOR),
        .type = (u8)((info & INTR_INFO_TYPE) >> INTR_INFO_TYPE_SHIFT),
        .length = (u8)(length <= INSTRUCTION_LENGTH_MAX ? length : 0),
        .error_code = info & INTR_INFO_ERROR_CODE ? error_code : 0,
    };
}

// A hardware exception; error_code is 0 for a vector that has none.
static inline struct event event_exception(enum vector vector, u32 error_code)
{
    return (struct event){
        .valid = true,
        .vector = (u8)vector,
        .type = EVENT_HARDWARE_EXCEPTION,
        .error_code = error_code,
    };
}

// #PF for the guest-linear address cr2.
static inline struct event event_page_fault(u32 error_code, u64 cr2)
{
    struct event event = event_exception(VEC_PF, error_code);
    event.has_cr2 = true;
    event.cr2 = cr2;
    return event;
}

// Whether VM entry delivers an error code with this hardware exception while CR0.PE is 1. SDM
// volume 3, "VM-Entry Controls for Event Injection"; #CP is not among them.
static inline bool vector_has_error_code(u8 vector)
{
    return vector == VEC_DF || (vector >= VEC_TS && vector <= VEC_PF) || vector == VEC_AC;
}
