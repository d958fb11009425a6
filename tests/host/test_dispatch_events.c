// SPDX-License-Identifier: MIT
// Events on their way into the guest: what an exit cut short, what a handler raised, what the
// interrupt controllers have, written to the VMCS.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/host/vmx_rig.h"

// ---- events that an exit cut short ------------------------------------------------------------

static void vectored_event_is_delivered_again(void **state)
{
    static const struct {
        u8 type, vector;
        u32 flags;                   // of the IDT-vectoring information
        u32 error, length;           // as the exit has them
        u32 want_error, want_length; // as the entry gets them
    } rows[] = {
        {EVENT_EXTERNAL_INTERRUPT,            0x31,    0,                        9,      7, RIG_NO_ERROR, RIG_NO_LENGTH},
        {EVENT_NMI,                           VEC_NMI, 0,                        0,      0, RIG_NO_ERROR, RIG_NO_LENGTH},
        {EVENT_HARDWARE_EXCEPTION,            VEC_PF,  INTR_INFO_ERROR_CODE,     6,      3, 6,            RIG_NO_LENGTH},
        {EVENT_HARDWARE_EXCEPTION,            VEC_GP,  INTR_INFO_ERROR_CODE,     0x1234, 3, 0x1234,       RIG_NO_LENGTH},
        {EVENT_HARDWARE_EXCEPTION,            VEC_UD,  0,                        0,      3, RIG_NO_ERROR, RIG_NO_LENGTH},
        {EVENT_SOFTWARE_INTERRUPT,            0x80,    0,                        0,      2, RIG_NO_ERROR, 2            },
        {EVENT_PRIVILEGED_SOFTWARE_EXCEPTION, VEC_DB,  0,                        0,      1, RIG_NO_ERROR, 1            },
        {EVENT_SOFTWARE_EXCEPTION,            VEC_BP,  0,                        0,      1, RIG_NO_ERROR, 1            },
 // Bit 12 is undefined there and must not reach the entry.
        {EVENT_EXTERNAL_INTERRUPT,            0x31,    INTR_INFO_NMI_UNBLOCKING, 0,      0, RIG_NO_ERROR,
         RIG_NO_LENGTH                                                                                                 },
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_rig *r = rig_open(NULL);
        u32 info = INFO(rows[i].type, rows[i].vector);
        vmcs_write(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF);
        r->vm.attention = 0;
        // The stack was in RAM that had not been touched.
        rig_exit(r, &(struct rig_exit){.reason = REASON_EPT_VIOLATION,
                                       .qualification = 0x182,
                                       .length = rows[i].length,
                                       .gpa = RIG_LAZY,
                                       .gla = RIG_LAZY,
                                       .idt_info = info | rows[i].flags,
                                       .idt_error = rows[i].error});
        assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE);
        assert_int_equal(r->vm.attention, VM_ATTENTION_EVENT);
        rig_inject(r);
        assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO),
                         info | (rows[i].flags & INTR_INFO_ERROR_CODE));
        assert_int_equal(vmcs_read(VMCS_ENTRY_ERROR_CODE), rows[i].want_error);
        assert_int_equal(vmcs_read(VMCS_ENTRY_INSN_LENGTH), rows[i].want_length);
        assert_false(r->vcpu.vectored.valid);
        rig_close(r);
    }
}

static void information_that_is_not_valid_is_no_event(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    vmcs_write(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF);
    r->vm.attention = 0;
    rig_exit(r, &(struct rig_exit){.reason = REASON_EPT_VIOLATION,
                                   .qualification = 0x182,
                                   .gpa = RIG_LAZY,
                                   .idt_info = 0x31});
    assert_int_equal(r->vm.attention, 0);
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), 0);
    rig_close(r);
}

// A reason that says nothing of vectoring leaves what an earlier exit left in the field alone.
static void stale_vectoring_information_is_not_read(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    vmcs_write(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF);
    rig_exit(r, &(struct rig_exit){.reason = REASON_CPUID,
                                   .length = 2,
                                   .idt_info = INFO(EVENT_EXTERNAL_INTERRUPT, 0x31)});
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), 0);
    rig_close(r);
}

static void second_exception_is_combined_with_the_vectored_one(void **state)
{
    static const struct {
        enum vector first, second;
        u32 info; // 0: triple fault
    } rows[] = {
        {VEC_PF, VEC_GP, INFO_DF},
        {VEC_GP, VEC_PF, INFO_PF},
        {VEC_GP, VEC_GP, INFO_DF},
        {VEC_DF, VEC_GP, 0      },
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_rig *r = rig_open(NULL);
        rig_exit(
            r, &(struct rig_exit){.reason = REASON_EPT_VIOLATION,
                                  .qualification = 0x182,
                                  .gpa = RIG_LAZY,
                                  .idt_info = INFO_ERROR(EVENT_HARDWARE_EXCEPTION, rows[i].first)});
        vcpu_raise(&r->vcpu, event_exception(rows[i].second, 0));
        rig_inject(r);
        assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), rows[i].info);
        assert_int_equal(r->vm.end, rows[i].info ? VM_RUNNING : VM_END_TRIPLE_FAULT);
        assert_false(r->vcpu.exception.valid);
        rig_close(r);
    }
}

// ---- injection --------------------------------------------------------------------------------

static void page_fault_loads_cr2_when_it_is_delivered(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    vcpu_raise(&r->vcpu, event_page_fault(PFEC_W, 0x123456789000));
    assert_int_equal(r->cr2_writes, 0);
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), INFO_ERROR(EVENT_HARDWARE_EXCEPTION, VEC_PF));
    assert_int_equal(vmcs_read(VMCS_ENTRY_ERROR_CODE), PFEC_W);
    assert_int_equal(r->cr2, 0x123456789000);
    assert_int_equal(r->cr2_writes, 1);
    rig_close(r);
}

static void real_mode_exceptions_have_no_error_code(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(&(struct rig_options){.mode = IMAGE_REAL});
    rig_exit(r, &(struct rig_exit){.reason = REASON_RDPMC, .length = 2});
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), INFO(EVENT_HARDWARE_EXCEPTION, VEC_GP));
    assert_int_equal(vmcs_read(VMCS_ENTRY_ERROR_CODE), RIG_NO_ERROR);
    rig_close(r);
}

static void lapic_interrupt_goes_into_service_when_injected(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    lapic_set_irq(&r->vm.lapic, 0x51, false);
    assert_true(r->vm.attention & VM_ATTENTION_EVENT);
    rig_inject(r); // interrupts are off: a window
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), 0);
    assert_true(vmcs_read(VMCS_PROC_CTLS) & PROC_INTR_WINDOW);
    assert_int_equal(r->vm.lapic.isr_high, 0);
    assert_false(r->vm.attention & VM_ATTENTION_EVENT);

    vmcs_write(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF);
    rig_exit(r, &(struct rig_exit){.reason = REASON_INTERRUPT_WINDOW});
    assert_true(r->vm.attention & VM_ATTENTION_EVENT);
    assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE);
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), INFO(EVENT_EXTERNAL_INTERRUPT, 0x51));
    assert_false(vmcs_read(VMCS_PROC_CTLS) & PROC_INTR_WINDOW);
    assert_int_equal(r->vm.lapic.isr_high, 0x51);
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), 0);
    rig_close(r);
}

static void pic_is_acknowledged_when_its_interrupt_is_injected(void **state)
{
    static const u8 setup[][2] = {
        {0x20, 0x11},
        {0x21, 0x30},
        {0x21, 0x04},
        {0x21, 0x01},
        {0x21, 0xf7}, // all but IRQ 3 masked
    };
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    for (unsigned i = 0; i < ARRAY_SIZE(setup); i++) {
        struct io_access io = {
            .space = IO_PORT, .size = 1, .write = true, .addr = setup[i][0], .value = setup[i][1]};
        bus_access(&r->vm.bus, &io);
    }
    pic_set_irq(&r->vm.pic, 3, true);
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), 0);
    assert_int_equal(r->vm.pic.master.isr, 0);
    assert_true(vmcs_read(VMCS_PROC_CTLS) & PROC_INTR_WINDOW);
    vmcs_write(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF);
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), INFO(EVENT_EXTERNAL_INTERRUPT, 0x33));
    assert_int_equal(r->vm.pic.master.isr, BIT(3));
    rig_close(r);
}

// From the local APIC's request to the guest; with the other NMI waiting behind a window.
static void nmi_is_injected_once_and_the_next_gets_a_window(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    assert_true(r->vcpu.has_virtual_nmis);
    lapic_receive(&r->vm.lapic, APIC_DM_NMI, 0, false);
    assert_true(r->vm.nmi_requested);
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), INFO(EVENT_NMI, VEC_NMI));
    assert_false(r->vm.nmi_requested);
    vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_BY_NMI); // in its handler
    lapic_receive(&r->vm.lapic, APIC_DM_NMI, 0, false);
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), 0);
    assert_true(r->vcpu.nmi);
    assert_true(vmcs_read(VMCS_PROC_CTLS) & PROC_NMI_WINDOW);
    vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, 0);
    r->vm.attention = 0;
    rig_exit(r, &(struct rig_exit){.reason = REASON_NMI_WINDOW});
    assert_true(r->vm.attention & VM_ATTENTION_EVENT);
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), INFO(EVENT_NMI, VEC_NMI));
    assert_false(vmcs_read(VMCS_PROC_CTLS) & PROC_NMI_WINDOW);
    rig_close(r);
}

static void proc_controls_are_written_only_when_a_window_changes(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    lapic_set_irq(&r->vm.lapic, 0x51, false);
    vcpu_inject(&r->vcpu);
    unsigned before = fake_vmcs_writes();
    vcpu_inject(&r->vcpu);
    assert_int_equal(fake_vmcs_writes(), before);
    rig_close(r);
}

static void interrupt_ends_hlt(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    vmcs_write(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF);
    vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_BY_STI);
    r->vm.attention = 0;
    rig_exit(r, &(struct rig_exit){.reason = REASON_HLT, .length = 1});
    assert_true(r->vcpu.halted);
    assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE + 1);
    assert_int_equal(vmcs_read(VMCS_GUEST_INTERRUPTIBILITY), 0);
    assert_true(r->vm.attention & VM_ATTENTION_EVENT);
    rig_inject(r);
    assert_true(r->vcpu.halted); // nothing there
    lapic_set_irq(&r->vm.lapic, 0x51, false);
    rig_inject(r);
    assert_false(r->vcpu.halted);
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), INFO(EVENT_EXTERNAL_INTERRUPT, 0x51));
    rig_close(r);
}

// An interrupt whose delivery an exception cut short has left its controller: it is held.
static void vectored_interrupt_comes_back_after_an_exception(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    vmcs_write(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF);
    rig_exit(r, &(struct rig_exit){.reason = REASON_EXCEPTION_NMI,
                                   .intr_info = INFO_ERROR(EVENT_HARDWARE_EXCEPTION, VEC_AC),
                                   .idt_info = INFO(EVENT_EXTERNAL_INTERRUPT, 0x77)});
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), INFO_ERROR(EVENT_HARDWARE_EXCEPTION, VEC_AC));
    assert_int_equal(r->vcpu.held, 0x77);
    assert_true(vmcs_read(VMCS_PROC_CTLS) & PROC_INTR_WINDOW);
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), INFO(EVENT_EXTERNAL_INTERRUPT, 0x77));
    assert_int_equal(r->vcpu.held, -1);
    rig_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectored_event_is_delivered_again),
        cmocka_unit_test(information_that_is_not_valid_is_no_event),
        cmocka_unit_test(stale_vectoring_information_is_not_read),
        cmocka_unit_test(second_exception_is_combined_with_the_vectored_one),
        cmocka_unit_test(page_fault_loads_cr2_when_it_is_delivered),
        cmocka_unit_test(real_mode_exceptions_have_no_error_code),
        cmocka_unit_test(lapic_interrupt_goes_into_service_when_injected),
        cmocka_unit_test(pic_is_acknowledged_when_its_interrupt_is_injected),
        cmocka_unit_test(nmi_is_injected_once_and_the_next_gets_a_window),
        cmocka_unit_test(proc_controls_are_written_only_when_a_window_changes),
        cmocka_unit_test(interrupt_ends_hlt),
        cmocka_unit_test(vectored_interrupt_comes_back_after_an_exception),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
