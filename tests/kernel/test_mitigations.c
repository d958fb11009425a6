// SPDX-License-Identifier: MIT
// The loops of enter.asm, each by itself, whatever this CPU needs of them. Where it has no
// IA32_SPEC_CTRL another MSR stands for it that is switched by nothing else while a guest runs.
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/regs/cpuid.h"
#include "arch/x86_64/regs/msr.h"
#include "boot/machine.h"
#include "tests/kernel/support.h"
#include "vmx/mitigations.h"

#define STAND_IN  IA32_FMASK
#define HOSTS_OWN 0x4100u

// Mitigations that come to this set of enum way.
static struct mitigations made_for(unsigned set)
{
    struct mitigations m = {.spec_msr = STAND_IN, .spec_each = set & WAY_SPEC};
    m.state[MITIGATE_REGISTERS] = set & WAY_BARE ? MITIGATION_OFF : MITIGATION_ON;
    if (set & WAY_VERW)
        m.state[MITIGATE_VERW] = MITIGATION_ON;
    if (set & WAY_RSB) {
        m.state[MITIGATE_RSB] = MITIGATION_ON;
        m.rsb_calls = 32;
        m.history = true;
    }
    return m;
}

static u64 landings[WAY_COUNT];

static void run_way(struct selftest_ctx *t, unsigned set, const char *guest)
{
    const struct mitigations m = made_for(set);
    struct lab lab;

    if (t->failed || !lab_open(t, &lab, "way"))
        return;
    vcpu_guard(lab.vcpu, &m, HOSTS_OWN);
    if (lab_load(t, &lab, guest) && !lab_run_passes(t, &lab))
        selftest_fail(t, "with set %u", set);
    landings[set] = lab_peek(&lab, VMCS_HOST_RIP);
    lab_close(&lab);
}

SELFTEST(mitigations, registers_and_flags_survive_each_way, NEEDS_VMX)
{
    for (unsigned set = 0; set < WAY_COUNT; set++) {
        run_way(t, set, "exits.registers_survive");
        run_way(t, set, "exits.flags_survive");
        for (unsigned other = 0; other < set; other++)
            if (landings[set] == landings[other])
                selftest_fail(t, "sets %u and %u go the same way", other, set);
    }
}

SNIPPET(cpuid_ticks);
#define EXITS 1000u // of that snippet

static u64 ticks_of_exits(struct selftest_ctx *t, const struct mitigations *m)
{
    struct lab lab;
    u64 ticks = 0;

    if (t->failed || !lab_open(t, &lab, "ticks"))
        return 0;
    vcpu_guard(lab.vcpu, m, HOSTS_OWN);
    if (lab_snippet(t, &lab, IMAGE_LONG, &cpuid_ticks)) {
        lab_run(&lab);
        ended(t, &lab, VM_END_DEBUG_EXIT, "");
        ticks = lab.vcpu->regs[GPR_RSI];
    }
    lab_close(&lab);
    return ticks;
}

// That it is done shows in nothing but the time: 32 calls, and the 65 branches of the history. Of
// many exits together, as the clock of a machine with several CPUs may go in steps.
SELFTEST(mitigations, what_is_on_takes_its_time, NEEDS_VMX)
{
    if (cpu_features.outer.signature[0]) {
        selftest_skip(t, "an outer hypervisor takes time of its own");
        return;
    }
    const struct mitigations plain = made_for(0), history = made_for(WAY_RSB),
                             verw = made_for(WAY_VERW);
    struct mitigations calls = history;
    calls.history = false;
    u64 least = ticks_of_exits(t, &plain), with_calls = ticks_of_exits(t, &calls);
    EXPECT(with_calls >= least + 31 * EXITS);
    EXPECT(ticks_of_exits(t, &history) >= with_calls + 64 * EXITS);
    EXPECT(ticks_of_exits(t, &verw) >= least + EXITS / 2);
}

// ---- IA32_SPEC_CTRL ----------------------------------------------------------------------------

SNIPPET(keep_fmask);

static struct {
    u64 host; // what the host has
    u32 exits, wrong;
} seen;

static bool look_at_stand_in(struct vcpu *vcpu, const struct exit_info *exit,
                             enum exit_action *action)
{
    (void)vcpu;
    (void)action;
    if (exit->reason == REASON_CPUID) {
        seen.exits++;
        seen.wrong += rdmsr(STAND_IN) != seen.host;
    }
    return false;
}

static void expect_switched(struct selftest_ctx *t, bool each, bool used, u32 guests)
{
    struct mitigations m = made_for(each ? WAY_SPEC : 0);
    struct lab lab;

    if (t->failed || !lab_open(t, &lab, "switched"))
        return;
    vcpu_guard(lab.vcpu, &m, HOSTS_OWN);
    if (lab_snippet(t, &lab, IMAGE_LONG, &keep_fmask)) {
        lab.vcpu->spec.ctrl_passed = used;
        lab.vcpu->spec.ctrl = 0x200;
        lab.vcpu->regs[GPR_RDI] = guests;
        lab.vcpu->hook = look_at_stand_in;
        seen.host = HOSTS_OWN;
        seen.exits = seen.wrong = 0;
        lab_run(&lab);
        ended(t, &lab, VM_END_DEBUG_EXIT, "");
        EXPECT_EQ(lab.vcpu->regs[GPR_RBP], 0x200);  // at the start
        EXPECT_EQ(lab.vcpu->regs[GPR_RSI], guests); // after the last exit
        EXPECT_EQ(lab.vcpu->spec.ctrl, guests);
        EXPECT_EQ(seen.exits, 10);
        EXPECT_EQ(seen.wrong, 0);
        EXPECT_EQ(lab.vcpu->switched[SWITCHED_FMASK], HOSTS_OWN); // found by vcpu_put()
    }
    lab_close(&lab);
}

SELFTEST(mitigations, spec_ctrl_is_switched_for_a_guest_that_uses_it, NEEDS_VMX)
{
    expect_switched(t, false, true, 0x600);
    expect_switched(t, false, true, HOSTS_OWN);
    expect_switched(t, false, true, 0);
}

SELFTEST(mitigations, spec_ctrl_is_written_at_each_exit, NEEDS_VMX)
{
    expect_switched(t, true, false, 0);
    expect_switched(t, true, false, HOSTS_OWN);
    expect_switched(t, true, true, 0x600);
}

LAB_TEST(mitigations, spec_ctrl_is_the_hosts_after_a_refused_entry, NEEDS_VMX)
{
    const struct mitigations m = made_for(WAY_SPEC);
    vcpu_guard(lab->vcpu, &m, HOSTS_OWN);
    EXPECT(lab_snippet(t, lab, IMAGE_LONG, &keep_fmask));
    lab_poke(lab, VMCS_CR3_TARGET_COUNT, 0x1ff);
    run_quietly(lab);
    EXPECT(ended(t, lab, VM_END_ENTRY_FAILED, "VM-instruction error 7"));
    EXPECT_EQ(lab->vcpu->switched[SWITCHED_FMASK], HOSTS_OWN);
}

// The real one: rows of tests/kernel/test_exits.c see to the guest's.
SELFTEST(mitigations, spec_ctrl_of_the_host_is_as_decided, NEEDS_VMX)
{
    u64 wanted = hypervisor.mitigations.spec_ctrl;
    if (!wanted) {
        selftest_skip(t, "nothing of it is on");
        return;
    }
    EXPECT_EQ(rdmsr(IA32_SPEC_CTRL) & wanted, wanted);
}

// ---- a switch of vCPUs -------------------------------------------------------------------------

// MSRs that every VM exit sets to 0 and nothing else in a switch touches.
static void expect_commanded(struct selftest_ctx *t, struct lab *lab, u64 first, u64 second)
{
    wrmsr(IA32_SYSENTER_ESP, 0);
    wrmsr(IA32_SYSENTER_EIP, 0);
    vcpu_load(lab->vcpu);
    if (rdmsr(IA32_SYSENTER_ESP) != first || rdmsr(IA32_SYSENTER_EIP) != second)
        selftest_fail(t, "%llx and %llx are written", (unsigned long long)rdmsr(IA32_SYSENTER_ESP),
                      (unsigned long long)rdmsr(IA32_SYSENTER_EIP));
    vcpu_put(lab->vcpu);
    wrmsr(IA32_SYSENTER_ESP, 0);
    wrmsr(IA32_SYSENTER_EIP, 0);
}

LAB_TEST(mitigations, commands_are_given_at_each_switch, NEEDS_VMX)
{
    struct mitigations m = made_for(0);
    struct lab other;

    m.commands[0] = (struct msr_command){IA32_SYSENTER_ESP, 0x1000};
    m.commands[1] = (struct msr_command){IA32_SYSENTER_EIP, 0x2000};
    EXPECT(lab_open(t, &other, "other"));
    vcpu_guard(lab->vcpu, &m, 0);
    vcpu_guard(other.vcpu, &m, 0);
    expect_commanded(t, lab, 0, 0);
    m.command_count = 1;
    expect_commanded(t, lab, 0x1000, 0);
    m.command_count = 2;
    expect_commanded(t, &other, 0x1000, 0x2000);
    expect_commanded(t, lab, 0x1000, 0x2000);
    lab_close(&other);
}
