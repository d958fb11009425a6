// SPDX-License-Identifier: MIT
// EPT violations and misconfigurations: RAM that is mapped when it is touched, and the ends of
// those that no instruction on a device's memory can answer.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/phys.h"
#include "tests/host/vmx_rig.h"

// Exit qualification.
#define Q_READ   (BIT(0) | BIT(7) | BIT(8))
#define Q_WRITE  (BIT(1) | BIT(7) | BIT(8))
#define Q_RMW    (Q_READ | Q_WRITE)
#define Q_FETCH  (BIT(2) | BIT(7) | BIT(8))
#define Q_WALK   (BIT(0) | BIT(7))
#define Q_NMI    BIT(12)
#define Q_NO_GLA (BIT(0))

static void violation(struct vmx_rig *r, u64 qualification, u64 gpa)
{
    rig_exit(r, &(struct rig_exit){.reason = REASON_EPT_VIOLATION,
                                   .qualification = qualification,
                                   .gpa = gpa,
                                   .gla = gpa,
                                   .length = 99}); // not valid for this exit
}

// ---- RAM --------------------------------------------------------------------------------------

static bool mapped(struct vmx_rig *r, u64 gpa)
{
    hpa_t hpa;
    return ept_translate(&r->vm.ept, GPA(gpa), EPT_RWX, &hpa, NULL) == OK;
}

static void lazy_ram_is_mapped_by_the_page(void **state)
{
    static const u64 qualifications[] = {Q_READ, Q_WRITE, Q_RMW, Q_FETCH, Q_WALK, Q_NO_GLA};
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(qualifications); i++) {
        struct vmx_rig *r = rig_open(NULL);
        assert_false(mapped(r, RIG_LAZY + 0x3000));
        violation(r, qualifications[i], RIG_LAZY + 0x3abc);
        assert_int_equal(r->vm.end, VM_RUNNING);
        assert_true(mapped(r, RIG_LAZY + 0x3000));
        assert_true(mapped(r, RIG_LAZY + 0x3fff));
        assert_false(mapped(r, RIG_LAZY + 0x2fff));
        assert_false(mapped(r, RIG_LAZY + 0x4000));
        assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE);
        assert_false(r->vcpu.exception.valid);
        rig_close(r);
    }
}

static void lazy_page_is_the_one_a_device_sees(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    hpa_t hpa;
    *(u32 *)rig_ram(r, RIG_LAZY + 0x1004, 4) = 0x600df00d;
    violation(r, Q_READ, RIG_LAZY + 0x1000);
    assert_int_equal(ept_translate(&r->vm.ept, GPA(RIG_LAZY + 0x1004), EPT_RWX, &hpa, NULL), OK);
    assert_int_equal(*(u32 *)phys_ptr(hpa), 0x600df00d);
    rig_close(r);
}

// Another CPU may have mapped it in between, and the exit's translation be an old one.
static void violation_of_a_mapped_lazy_page_is_just_entered_again(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    violation(r, Q_READ, RIG_LAZY);
    violation(r, Q_WRITE, RIG_LAZY);
    assert_int_equal(r->vm.end, VM_RUNNING);
    assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE);
    rig_close(r);
}

static void ram_mapped_at_once_cannot_be_violated(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    violation(r, Q_WRITE, 0x5123);
    assert_int_equal(r->vm.end, VM_END_EPT);
    assert_string_equal(r->vm.end_text, "RAM without the right used at guest-physical 5123");
    assert_non_null(strstr(rig_log(), "EPT violation: "));
    assert_non_null(strstr(rig_log(), "guest-physical 5123, guest-linear 5123"));
    rig_close(r);
}

static void no_memory_for_a_table_stops_the_vm(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    hpa_t frames[512];
    unsigned n = 0;
    // The lazy region shares its table with other RAM: take that away first.
    assert_int_equal(ept_unmap(&r->vm.ept, GPA(0), RIG_RAM_SIZE), OK);
    while (frame_alloc(&r->frames, 1, PAGE_SIZE, 0, &frames[n]) == OK)
        n++;
    violation(r, Q_READ, RIG_LAZY);
    assert_int_equal(r->vm.end, VM_END_EPT);
    assert_string_equal(r->vm.end_text, "no memory for a page table at guest-physical 100000");
    while (n)
        frame_free(&r->frames, frames[--n], 1);
    rig_close(r);
}

// ---- instructions that cannot be done ---------------------------------------------------------

static void bad_instruction_is_the_guests_own_fault(void **state)
{
    static const struct {
        const char *code;
        u8 length;
        u32 info;
    } rows[] = {
        {"\xf0\x89\x07",                                                     3,  INFO_UD}, // LOCK MOV
        {"\xc7\x0f\x00\x00\x00\x00",                                         6,  INFO_UD}, // C7 /1
        {"\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x8b\x07", 16, INFO_GP},
        {"\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e", 16, INFO_GP},
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_rig *r = rig_open(NULL);
        rig_code(r, (const u8 *)rows[i].code, rows[i].length);
        r->vcpu.regs[GPR_RDI] = RIG_MMIO;
        violation(r, Q_WRITE, RIG_MMIO);
        assert_int_equal(r->vm.end, VM_RUNNING);
        assert_int_equal(r->mmio.count, 0);
        assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE);
        rig_inject(r);
        assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), rows[i].info);
        rig_close(r);
    }
}

static void instruction_that_is_not_emulated_stops_the_vm(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    rig_code(r, (const u8 *)"\x0f\xae\x07\x90", 4); // FXSAVE [RDI]
    r->vcpu.regs[GPR_RDI] = RIG_MMIO;
    violation(r, Q_WRITE, RIG_MMIO);
    assert_int_equal(r->vm.end, VM_END_EMULATION);
    assert_string_equal(r->vm.end_text,
                        "an instruction that is not emulated at guest-physical d0000000");
    assert_non_null(strstr(rig_log(), "code at rip: 0f ae 07 90"));
    rig_close(r);
}

// RIP at the end of a page of the window whose next page is not there (it was when the CPU fetched
// the instruction).
static void at_the_edge(struct vmx_rig *r, const char *code, unsigned length)
{
    const u64 edge = RIG_WINDOW + 0x21000;
    *rig_pte(r, edge) = 0;
    memcpy(rig_ram(r, RIG_IMAGE + 0x21000 - length, length), code, length);
    vmcs_write(VMCS_GUEST_RIP, edge - length);
    r->vcpu.regs[GPR_RDI] = RIG_MMIO;
    violation(r, Q_READ, RIG_MMIO);
}

static void instruction_that_cannot_be_fetched_faults(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    at_the_edge(r, "\x48\x8b", 2);
    assert_int_equal(r->mmio.count, 0);
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), INFO_PF);
    assert_int_equal(r->cr2, RIG_WINDOW + 0x21000);
    rig_close(r);
}

static void short_instruction_before_a_bad_page_is_done(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    at_the_edge(r, "\x48\x8b\x07", 3);
    assert_int_equal(r->mmio.count, 1);
    assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_WINDOW + 0x21000);
    assert_false(r->vcpu.exception.valid);
    rig_close(r);
}

static void instruction_in_memory_that_is_none_stops_the_vm(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    vmcs_write(VMCS_GUEST_RIP, 0xc0000000);
    violation(r, Q_READ, RIG_MMIO);
    assert_int_equal(r->vm.end, VM_END_EMULATION);
    assert_non_null(strstr(rig_log(), "code at rip: not readable"));
    rig_close(r);
}

// ---- what no instruction stands for -----------------------------------------------------------

static void accesses_by_the_cpu_itself_stop_the_vm(void **state)
{
    static const struct {
        u64 qualification;
        u32 idt_info;
        const char *text;
    } rows[] = {
        {Q_FETCH, 0,        "code in memory that is none"                      },
        {Q_WALK,  0,        "page tables in memory that is none"               },
        {Q_WRITE, INFO_UD,  "an event is delivered through memory that is none"},
        {Q_FETCH, INFO_NMI, "an event is delivered through memory that is none"},
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_rig *r = rig_open(NULL);
        rig_code(r, (const u8 *)"\x8b\x07", 2);
        r->vcpu.regs[GPR_RDI] = RIG_MMIO;
        rig_exit(r, &(struct rig_exit){.reason = REASON_EPT_VIOLATION,
                                       .qualification = rows[i].qualification,
                                       .gpa = RIG_MMIO,
                                       .gla = RIG_MMIO,
                                       .idt_info = rows[i].idt_info});
        assert_int_equal(r->vm.end, VM_END_EMULATION);
        assert_non_null(strstr(r->vm.end_text, rows[i].text));
        assert_non_null(strstr(r->vm.end_text, " at guest-physical d0000000"));
        assert_int_equal(r->mmio.count, 0);
        rig_close(r);
    }
}

static void nmi_blocking_that_iret_ended_is_set_again(void **state)
{
    static const struct {
        u64 qualification;
        u32 idt_info;
        bool blocked;
    } rows[] = {
        {Q_READ,         0,       false},
        {Q_READ | Q_NMI, 0,       true },
        {Q_READ | Q_NMI, INFO_UD, false},
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_rig *r = rig_open(NULL);
        rig_exit(r, &(struct rig_exit){.reason = REASON_EPT_VIOLATION,
                                       .qualification = rows[i].qualification,
                                       .gpa = RIG_LAZY,
                                       .idt_info = rows[i].idt_info});
        assert_int_equal(vmcs_read(VMCS_GUEST_INTERRUPTIBILITY),
                         rows[i].blocked ? BLOCKING_BY_NMI : 0);
        rig_close(r);
    }
}

static void misconfiguration_stops_the_vm_with_the_entries(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    struct ept_walk walk;
    // Write without read in the PTE of page 5.
    ept_walk(&r->vm.ept, GPA(0x5000), &walk);
    u64 *table = phys_ptr(HPA(walk.entries[2] & EPT_ADDR));
    table[5] = (table[5] & ~(u64)EPT_RWX) | EPT_W;
    rig_exit(r, &(struct rig_exit){.reason = REASON_EPT_MISCONFIG, .gpa = 0x5678});
    assert_int_equal(r->vm.end, VM_END_EPT);
    assert_string_equal(r->vm.end_text, "a misconfigured EPT entry at guest-physical 5678");
    assert_non_null(strstr(rig_log(), "guest-physical 5678"));
    assert_non_null(strstr(rig_log(), ept_rule_name(EPT_RULE_WRITE_ONLY)));
    rig_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lazy_ram_is_mapped_by_the_page),
        cmocka_unit_test(lazy_page_is_the_one_a_device_sees),
        cmocka_unit_test(violation_of_a_mapped_lazy_page_is_just_entered_again),
        cmocka_unit_test(ram_mapped_at_once_cannot_be_violated),
        cmocka_unit_test(no_memory_for_a_table_stops_the_vm),
        cmocka_unit_test(bad_instruction_is_the_guests_own_fault),
        cmocka_unit_test(instruction_that_is_not_emulated_stops_the_vm),
        cmocka_unit_test(instruction_that_cannot_be_fetched_faults),
        cmocka_unit_test(short_instruction_before_a_bad_page_is_done),
        cmocka_unit_test(instruction_in_memory_that_is_none_stops_the_vm),
        cmocka_unit_test(accesses_by_the_cpu_itself_stop_the_vm),
        cmocka_unit_test(nmi_blocking_that_iret_ended_is_set_again),
        cmocka_unit_test(misconfiguration_stops_the_vm_with_the_entries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
