// SPDX-License-Identifier: MIT
#include "vmx/vmcs.h"

#define FIELD(name, encoding, text) {(encoding), (text)},
const struct vmcs_field_info vmcs_fields[] = {
#include "vmx/vmcs_fields.def"
};
#undef FIELD

const unsigned vmcs_fields_count = ARRAY_SIZE(vmcs_fields);

const char *const segment_names[SEG_COUNT] = {"ES", "CS", "SS", "DS", "FS", "GS", "LDTR", "TR"};

// SDM volume 3, "VM-Instruction Error Numbers".
static const char *const insn_errors[] = {
    [1] = "VMCALL executed in VMX root operation",
    [2] = "VMCLEAR with invalid physical address",
    [3] = "VMCLEAR with VMXON pointer",
    [4] = "VMLAUNCH with non-clear VMCS",
    [5] = "VMRESUME with non-launched VMCS",
    [6] = "VMRESUME after VMXOFF",
    [7] = "VM entry with invalid control field(s)",
    [8] = "VM entry with invalid host-state field(s)",
    [9] = "VMPTRLD with invalid physical address",
    [10] = "VMPTRLD with VMXON pointer",
    [11] = "VMPTRLD with incorrect VMCS revision identifier",
    [12] = "VMREAD/VMWRITE from/to unsupported VMCS component",
    [13] = "VMWRITE to read-only VMCS component",
    [15] = "VMXON executed in VMX root operation",
    [16] = "VM entry with invalid executive-VMCS pointer",
    [17] = "VM entry with non-launched executive VMCS",
    [18] = "VM entry with executive-VMCS pointer not VMXON pointer",
    [19] = "VMCALL with non-clear VMCS",
    [20] = "VMCALL with invalid VM-exit control fields",
    [22] = "VMCALL with incorrect MSEG revision identifier",
    [23] = "VMXOFF under dual-monitor treatment of SMIs and SMM",
    [24] = "VMCALL with invalid SMM-monitor features",
    [25] = "VM entry with invalid VM-execution control fields in executive VMCS",
    [26] = "VM entry with events blocked by MOV SS",
    [28] = "invalid operand to INVEPT/INVVPID",
};

const char *vmx_insn_error_name(u32 number)
{
    if (number < ARRAY_SIZE(insn_errors) && insn_errors[number])
        return insn_errors[number];
    return "unknown error";
}

const char *vmcs_field_name(u32 encoding)
{
    unsigned low = 0, high = vmcs_fields_count;
    while (low < high) {
        unsigned mid = (low + high) / 2;
        if (vmcs_fields[mid].encoding == encoding)
            return vmcs_fields[mid].name;
        if (vmcs_fields[mid].encoding < encoding)
            low = mid + 1;
        else
            high = mid;
    }
    return "unknown field";
}
