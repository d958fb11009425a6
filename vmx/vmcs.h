// SPDX-License-Identifier: MIT
// The VMCS fields by name: SDM volume 3, "Virtual Machine Control Structures".
#pragma once

#include "arch/x86_64/lib/types.h"

#define FIELD(name, encoding, text) VMCS_##name = (encoding),
enum vmcs_field {
#include "vmx/vmcs_fields.def"
};
#undef FIELD

struct vmcs_field_info {
    u16 encoding;
    const char *name; // in words, as the SDM has it
} PACKED;             // for the image's size: nobody is in a hurry who looks for a name

// All fields in order of encoding.
extern const struct vmcs_field_info vmcs_fields[];
extern const unsigned vmcs_fields_count;

// The field's name in words, or "unknown field".
const char *vmcs_field_name(u32 encoding);

// The number's name from the SDM's table "VM-Instruction Error Numbers", or "unknown error".
const char *vmx_insn_error_name(u32 number);

// Access-rights, selector, limit and base fields of the segment registers lie at equal distances;
// the order is that of the encodings.
enum vmcs_segment { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR, SEG_COUNT };

#define VMCS_GUEST_SEL(seg)   (VMCS_GUEST_ES_SEL + 2u * (seg))
#define VMCS_GUEST_LIMIT(seg) (VMCS_GUEST_ES_LIMIT + 2u * (seg))
#define VMCS_GUEST_AR(seg)    (VMCS_GUEST_ES_AR + 2u * (seg))
#define VMCS_GUEST_BASE(seg)  (VMCS_GUEST_ES_BASE + 2u * (seg))

extern const char *const segment_names[SEG_COUNT];
