// SPDX-License-Identifier: MIT
// The lists of VMCS fields and VM-instruction errors: complete in themselves and in agreement with
// what an encoding says of its field. SDM volume 3, "Field Encoding in VMCS".
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "vmx/vmcs.h"

static void fields_are_sorted_and_named_once(void **state)
{
    (void)state;
    assert_true(vmcs_fields_count > 150);
    for (unsigned i = 0; i < vmcs_fields_count; i++) {
        assert_true(vmcs_fields[i].name[0]);
        if (i)
            assert_true(vmcs_fields[i].encoding > vmcs_fields[i - 1].encoding);
        for (unsigned k = 0; k < i; k++)
            assert_string_not_equal(vmcs_fields[i].name, vmcs_fields[k].name);
    }
}

// Bit 0 is the access type (full), bits 11:10 the kind of field, 12 and 15 are reserved.
static void encodings_agree_with_names(void **state)
{
    (void)state;
    for (unsigned i = 0; i < vmcs_fields_count; i++) {
        u16 encoding = vmcs_fields[i].encoding;
        const char *name = vmcs_fields[i].name;
        unsigned kind = encoding >> 10 & 3;
        assert_int_equal(encoding & 0x9001, 0);
        assert_int_equal(strncmp(name, "host ", 5) == 0, kind == 3);
        if (strncmp(name, "guest ", 6) == 0 && strncmp(name, "guest-", 6) != 0)
            assert_int_equal(kind, 2);
    }
}

static void every_field_is_found_by_its_encoding(void **state)
{
    (void)state;
    unsigned next = 0;
    for (u32 encoding = 0; encoding < 0x10000; encoding++) {
        if (next < vmcs_fields_count && vmcs_fields[next].encoding == encoding)
            assert_ptr_equal(vmcs_field_name(encoding), vmcs_fields[next++].name);
        else
            assert_string_equal(vmcs_field_name(encoding), "unknown field");
    }
    assert_int_equal(next, vmcs_fields_count);
    // An encoding is 32 bits wide; only the low half means anything.
    assert_string_equal(vmcs_field_name(0x10000 + VMCS_GUEST_RIP), "unknown field");
    assert_string_equal(vmcs_field_name(~0u), "unknown field");
}

// From the SDM's appendix, a few of each width and kind.
static void encodings_are_the_sdms(void **state)
{
    static const u16 pairs[][2] = {
        {VMCS_VPID,                   0x0000},
        {VMCS_GUEST_CS_SEL,           0x0802},
        {VMCS_GUEST_TR_SEL,           0x080e},
        {VMCS_HOST_TR_SEL,            0x0c0c},
        {VMCS_IO_BITMAP_A,            0x2000},
        {VMCS_MSR_BITMAP,             0x2004},
        {VMCS_TSC_OFFSET,             0x2010},
        {VMCS_EPT_POINTER,            0x201a},
        {VMCS_GUEST_PHYSICAL_ADDR,    0x2400},
        {VMCS_VMCS_LINK_POINTER,      0x2800},
        {VMCS_GUEST_EFER,             0x2806},
        {VMCS_GUEST_PDPTE0,           0x280a},
        {VMCS_HOST_EFER,              0x2c02},
        {VMCS_PIN_CTLS,               0x4000},
        {VMCS_PROC_CTLS2,             0x401e},
        {VMCS_ENTRY_INTR_INFO,        0x4016},
        {VMCS_INSN_ERROR,             0x4400},
        {VMCS_EXIT_REASON,            0x4402},
        {VMCS_IDT_INFO,               0x4408},
        {VMCS_EXIT_INSN_LENGTH,       0x440c},
        {VMCS_GUEST_INTERRUPTIBILITY, 0x4824},
        {VMCS_PREEMPTION_TIMER,       0x482e},
        {VMCS_CR0_MASK,               0x6000},
        {VMCS_EXIT_QUALIFICATION,     0x6400},
        {VMCS_GUEST_LINEAR_ADDR,      0x640a},
        {VMCS_GUEST_CR0,              0x6800},
        {VMCS_GUEST_RSP,              0x681c},
        {VMCS_GUEST_RIP,              0x681e},
        {VMCS_GUEST_RFLAGS,           0x6820},
        {VMCS_HOST_RIP,               0x6c16},
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(pairs); i++)
        assert_int_equal(pairs[i][0], pairs[i][1]);
}

static void segment_fields_lie_in_the_segments_order(void **state)
{
    static const char *const names[SEG_COUNT] = {"ES", "CS", "SS", "DS", "FS", "GS", "LDTR", "TR"};
    (void)state;
    for (u32 seg = 0; seg < SEG_COUNT; seg++) {
        char want[40];
        assert_string_equal(segment_names[seg], names[seg]);
        snprintf(want, sizeof(want), "guest %s selector", names[seg]);
        assert_string_equal(vmcs_field_name(VMCS_GUEST_SEL(seg)), want);
        snprintf(want, sizeof(want), "guest %s limit", names[seg]);
        assert_string_equal(vmcs_field_name(VMCS_GUEST_LIMIT(seg)), want);
        snprintf(want, sizeof(want), "guest %s access rights", names[seg]);
        assert_string_equal(vmcs_field_name(VMCS_GUEST_AR(seg)), want);
        snprintf(want, sizeof(want), "guest %s base", names[seg]);
        assert_string_equal(vmcs_field_name(VMCS_GUEST_BASE(seg)), want);
    }
}

// SDM volume 3, "VM-Instruction Error Numbers": 14, 21 and 27 are not used.
static void instruction_errors_are_named(void **state)
{
    (void)state;
    for (u32 number = 0; number < 64; number++) {
        bool used = number >= 1 && number <= 28 && number != 14 && number != 21 && number != 27;
        assert_int_equal(strcmp(vmx_insn_error_name(number), "unknown error") != 0, used);
        for (u32 other = 1; used && other < number; other++)
            assert_string_not_equal(vmx_insn_error_name(number), vmx_insn_error_name(other));
    }
    assert_string_equal(vmx_insn_error_name(~0u), "unknown error");
    assert_string_equal(vmx_insn_error_name(7), "VM entry with invalid control field(s)");
    assert_string_equal(vmx_insn_error_name(26), "VM entry with events blocked by MOV SS");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_sorted_and_named_once),
        cmocka_unit_test(encodings_agree_with_names),
        cmocka_unit_test(every_field_is_found_by_its_encoding),
        cmocka_unit_test(encodings_are_the_sdms),
        cmocka_unit_test(segment_fields_lie_in_the_segments_order),
        cmocka_unit_test(instruction_errors_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
