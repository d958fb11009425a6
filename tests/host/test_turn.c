// SPDX-License-Identifier: MIT
// What lies between an exit and the next entry: deadlines, what wants attention, the timer that
// ends the guest's time, and that nothing else is done.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/host/vmx_rig.h"

static const struct rig_exit wbinvd = {.reason = REASON_WBINVD, .length = 2};
static const struct rig_exit hlt = {.reason = REASON_HLT, .length = 1};

struct alarm {
    struct deadline deadline;
    struct vmx_rig *rig;
    u32 attention;
    unsigned rings;
    u64 at;
};

static void ring(struct deadline *entry, u64 now)
{
    struct alarm *a = container_of(entry, struct alarm, deadline);
    a->rings++;
    a->at = now;
    a->rig->vm.attention |= a->attention;
}

// A guest that is running and has its first exits behind it.
static struct vmx_rig *open_running(void)
{
    struct vmx_rig *r = rig_open(NULL);
    assert_true(rig_turn(r, &wbinvd));
    assert_int_equal(r->vm.attention, 0);
    return r;
}

// ---- nothing to do ----------------------------------------------------------------------------

static void an_exit_writes_rip_and_the_timer_only(void **state)
{
    (void)state;
    struct vmx_rig *r = open_running();
    unsigned before = fake_vmcs_writes();
    assert_true(rig_turn(r, &wbinvd));
    assert_int_equal(fake_vmcs_writes() - before, 2);
    assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE + 4);
    assert_int_equal(r->host_timer_arms, 0);
    rig_close(r);
}

// ---- the timer --------------------------------------------------------------------------------

// The tick at which a timer ends that is armed with count at now: it counts when the TSC passes a
// multiple of 2^rate.
static u64 timer_ends(u64 now, u32 count, unsigned rate)
{
    return count == 0 ? now : ((now >> rate) + count) << rate;
}

static void timer_ends_at_the_deadline_and_not_before(void **state)
{
    static const u8 rates[] = {0, 5, 7};
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rates); i++) {
        struct vmx_rig *r = open_running();
        struct alarm a = {.deadline.fire = ring, .rig = r};
        u64 counted = BIT(rates[i]);
        r->vcpu.preemption_rate = rates[i];
        deadline_set_rate(&r->vm.timers, rates[i]);
        for (u64 left = 1; left < 300; left++) {
            r->now++;
            u64 when = r->now + left;
            deadline_arm(&r->vm.timers, &a.deadline, when);
            assert_true(rig_turn(r, &wbinvd));
            u64 ends = timer_ends(r->now, (u32)vmcs_read(VMCS_PREEMPTION_TIMER), rates[i]);
            assert_true(ends >= when);
            assert_true(ends - when <= (rates[i] ? counted : 0));
        }
        assert_int_equal(a.rings, 0);
        deadline_cancel(&r->vm.timers, &a.deadline);
        rig_close(r);
    }
}

// Of a far deadline the low half counts: the exits on the way find nothing due, and the last comes
// in time.
static void far_deadline_is_reached_in_stages(void **state)
{
    (void)state;
    struct vmx_rig *r = open_running();
    struct alarm a = {.deadline.fire = ring, .rig = r};
    u64 when = r->now + (5ull << 32) + 12345;
    unsigned exits = 0;
    deadline_arm(&r->vm.timers, &a.deadline, when);
    for (;;) {
        assert_true(rig_turn(r, &wbinvd));
        if (a.rings)
            break;
        r->now = timer_ends(r->now, (u32)vmcs_read(VMCS_PREEMPTION_TIMER), 0);
        assert_true(r->now <= when);
        r->now += 7; // what the exit takes
        exits++;
    }
    assert_int_equal(exits, 6);
    assert_true(a.at >= when && a.at < when + 100);
    rig_close(r);
}

static void deadline_that_has_come_runs_before_the_entry(void **state)
{
    (void)state;
    struct vmx_rig *r = open_running();
    struct alarm a = {.deadline.fire = ring, .rig = r};
    deadline_arm(&r->vm.timers, &a.deadline, r->now + 10);
    assert_true(rig_turn(r, &wbinvd));
    assert_int_equal(a.rings, 0);
    r->now += 11;
    assert_true(rig_turn(r, &wbinvd));
    assert_int_equal(a.rings, 1);
    assert_int_equal(a.at, r->now);
    rig_close(r);
}

// The one that comes at this very tick is left to the timer, which ends at once.
static void deadline_of_this_tick_ends_the_guest_at_once(void **state)
{
    (void)state;
    struct vmx_rig *r = open_running();
    struct alarm a = {.deadline.fire = ring, .rig = r};
    deadline_arm(&r->vm.timers, &a.deadline, r->now);
    assert_true(rig_turn(r, &wbinvd));
    assert_true(a.rings == 1 || vmcs_read(VMCS_PREEMPTION_TIMER) == 0);
    deadline_cancel(&r->vm.timers, &a.deadline);
    rig_close(r);
}

// ---- attention --------------------------------------------------------------------------------

static void what_wants_attention_ends_the_run(void **state)
{
    static const struct {
        u32 attention;
        enum vcpu_pause pause;
        u32 left;
    } rows[] = {
        {VM_ATTENTION_STOP,                       VCPU_ENDED, VM_ATTENTION_STOP },
        {VM_ATTENTION_YIELD,                      VCPU_YIELD, 0                 },
        {VM_ATTENTION_YIELD | VM_ATTENTION_EVENT, VCPU_YIELD, VM_ATTENTION_EVENT},
        {VM_ATTENTION_STOP | VM_ATTENTION_YIELD,  VCPU_ENDED,
         VM_ATTENTION_STOP | VM_ATTENTION_YIELD                                 },
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_rig *r = open_running();
        struct alarm a = {.deadline.fire = ring, .rig = r};
        a.attention = rows[i].attention;
        deadline_arm(&r->vm.timers, &a.deadline, r->now - 1);
        assert_false(rig_turn(r, &wbinvd));
        assert_int_equal(r->vcpu.pause, rows[i].pause);
        assert_int_equal(r->vm.attention, rows[i].left);
        // The instruction is done all the same.
        assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE + 4);
        rig_close(r);
    }
}

static void interrupt_that_came_goes_in_with_the_entry(void **state)
{
    (void)state;
    struct vmx_rig *r = open_running();
    vmcs_write(VMCS_GUEST_RFLAGS, vmcs_read(VMCS_GUEST_RFLAGS) | RFLAGS_IF);
    lapic_set_irq(&r->vm.lapic, 0x51, false);
    assert_true(rig_turn(r, &wbinvd));
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), INFO(EVENT_EXTERNAL_INTERRUPT, 0x51));
    assert_int_equal(r->vm.attention, 0);
    rig_close(r);
}

static void halted_vcpu_is_not_entered_until_something_wakes_it(void **state)
{
    (void)state;
    struct vmx_rig *r = open_running();
    vmcs_write(VMCS_GUEST_RFLAGS, vmcs_read(VMCS_GUEST_RFLAGS) | RFLAGS_IF);
    assert_false(rig_turn(r, &hlt));
    assert_int_equal(r->vcpu.pause, VCPU_IDLE);
    assert_null(vcpu_prepare(&r->vcpu));
    assert_int_equal(r->vcpu.pause, VCPU_IDLE);
    lapic_set_irq(&r->vm.lapic, 0x52, false);
    assert_non_null(vcpu_prepare(&r->vcpu));
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), INFO(EVENT_EXTERNAL_INTERRUPT, 0x52));
    rig_close(r);
}

static void hlt_with_an_interrupt_waiting_goes_on(void **state)
{
    (void)state;
    struct vmx_rig *r = open_running();
    vmcs_write(VMCS_GUEST_RFLAGS, vmcs_read(VMCS_GUEST_RFLAGS) | RFLAGS_IF);
    lapic_set_irq(&r->vm.lapic, 0x53, false);
    assert_true(rig_turn(r, &hlt));
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), INFO(EVENT_EXTERNAL_INTERRUPT, 0x53));
    assert_false(r->vcpu.halted);
    rig_close(r);
}

// #GP on top of #DF: the guest is in shutdown and must not be entered.
static void triple_fault_is_not_entered(void **state)
{
    (void)state;
    struct vmx_rig *r = open_running();
    r->vcpu.vectored = event_exception(VEC_DF, 0);
    vcpu_raise(&r->vcpu, event_exception(VEC_GP, 0));
    assert_false(rig_turn(r, &(struct rig_exit){.reason = REASON_PREEMPTION_TIMER}));
    assert_int_equal(r->vcpu.pause, VCPU_ENDED);
    assert_int_equal(r->vm.end, VM_END_TRIPLE_FAULT);
    rig_close(r);
}

// check=entry: every entry is judged, no halted vCPU is, and an unsound one is not entered.
static void entries_are_checked_where_asked(void **state)
{
    (void)state;
    struct vmx_rig *r = open_running();
    assert_int_equal(r->entry_checks, 0);
    r->vm.attention |= VM_ATTENTION_CHECK;
    for (unsigned i = 1; i <= 3; i++) {
        assert_true(rig_turn(r, &wbinvd));
        assert_int_equal(r->entry_checks, i);
        assert_int_equal(r->vm.attention, VM_ATTENTION_CHECK);
    }
    r->entry_unsound = true;
    assert_false(rig_turn(r, &wbinvd));
    assert_int_equal(r->vcpu.pause, VCPU_ENDED);
    assert_int_equal(r->entry_checks, 4);
    vmcs_write(VMCS_GUEST_RFLAGS, vmcs_read(VMCS_GUEST_RFLAGS) | RFLAGS_IF);
    assert_false(rig_turn(r, &hlt));
    assert_int_equal(r->vcpu.pause, VCPU_IDLE);
    assert_int_equal(r->entry_checks, 4);
    rig_close(r);
}

// ---- with care --------------------------------------------------------------------------------

static void timer_that_is_not_there_is_the_hosts(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(&(struct rig_options){.without = FEATURE_PREEMPTION_TIMER});
    assert_false(r->vcpu.has_preemption_timer);
    r->vcpu.answer = exit_answer_with_care;
    r->vcpu.finish = exit_finish_with_care;
    fake_vmcs_set(VMCS_PREEMPTION_TIMER, 0x12345678);
    for (unsigned i = 1; i <= 3; i++) {
        assert_true(rig_turn(r, &wbinvd));
        assert_int_equal(r->host_timer_arms, i);
    }
    assert_int_equal(vmcs_read(VMCS_PREEMPTION_TIMER), 0x12345678);
    assert_int_equal(r->vcpu.exits[REASON_WBINVD], 3);
    rig_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_exit_writes_rip_and_the_timer_only),
        cmocka_unit_test(timer_ends_at_the_deadline_and_not_before),
        cmocka_unit_test(far_deadline_is_reached_in_stages),
        cmocka_unit_test(deadline_that_has_come_runs_before_the_entry),
        cmocka_unit_test(deadline_of_this_tick_ends_the_guest_at_once),
        cmocka_unit_test(what_wants_attention_ends_the_run),
        cmocka_unit_test(interrupt_that_came_goes_in_with_the_entry),
        cmocka_unit_test(halted_vcpu_is_not_entered_until_something_wakes_it),
        cmocka_unit_test(hlt_with_an_interrupt_waiting_goes_on),
        cmocka_unit_test(triple_fault_is_not_entered),
        cmocka_unit_test(entries_are_checked_where_asked),
        cmocka_unit_test(timer_that_is_not_there_is_the_hosts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
