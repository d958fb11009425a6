// SPDX-License-Identifier: MIT
// The other CPUs: each is itself, in the boot CPU's state, and answers calls.
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/host_lapic.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/regs/cr.h"
#include "arch/x86_64/regs/msr.h"
#include "arch/x86_64/smp.h"
#include "arch/x86_64/stacks.h"
#include "arch/x86_64/traps.h"
#include "boot/machine.h"
#include "tests/kernel/support.h"
#include "vmx/vmx_cpus.h"
#include "vmx/vmx_host.h"

#define SMP_TEST(title, need)                                                                      \
    static void smp_##title(struct selftest_ctx *t);                                               \
    SELFTEST(smp, title, need)                                                                     \
    {                                                                                              \
        if (smp_online() < 2)                                                                      \
            selftest_skip(t, "one CPU");                                                           \
        else                                                                                       \
            smp_##title(t);                                                                        \
    }                                                                                              \
    static void smp_##title(struct selftest_ctx *t)

// What a CPU says of itself.
struct self {
    struct cpu *cpu;
    u32 apic_id;
    u64 cr0, cr3, cr4, efer, pat, gdt, idt, stack;
    bool interrupts, vmx;
};

static void look(void *arg)
{
    struct self *self = arg;
    *self = (struct self){
        .cpu = this_cpu(),
        .apic_id = host_lapic_id(),
        .cr0 = read_cr0(),
        .cr3 = read_cr3(),
        .cr4 = read_cr4(),
        .efer = rdmsr(IA32_EFER),
        .pat = cpu_features.pat ? rdmsr(IA32_PAT) : 0,
        .gdt = sgdt().base,
        .idt = sidt().base,
        .stack = (uintptr_t)__builtin_frame_address(0),
        .interrupts = read_rflags() & RFLAGS_IF,
        .vmx = vmx_enabled(),
    };
}

SMP_TEST(each_cpu_is_itself_in_the_same_state, NEEDS_NOTHING)
{
    struct self boot, other;
    look(&boot);
    for (unsigned i = 1; i < smp_online(); i++) {
        const struct cpu *cpu = cpus[i];
        EXPECT_EQ(smp_call(cpus[i], look, &other), OK);
        EXPECT(other.cpu == cpu && cpu->id == i);
        EXPECT_EQ(other.apic_id, cpu->apic_id);
        EXPECT(other.apic_id != boot.apic_id);
        EXPECT_EQ(other.cr0, boot.cr0);
        EXPECT_EQ(other.cr3, boot.cr3);
        EXPECT_EQ(other.cr4, boot.cr4);
        EXPECT_EQ(other.efer, boot.efer);
        EXPECT_EQ(other.pat, boot.pat);
        EXPECT_EQ(other.gdt, (uintptr_t)cpu->gdt);
        EXPECT_EQ(other.idt, boot.idt);
        EXPECT_EQ(other.vmx, boot.vmx);
        EXPECT(!other.interrupts);
        EXPECT((uintptr_t)cpu->stack_top - other.stack < RUN_STACK_SIZE);
    }
}

static void count(void *arg)
{
    __atomic_add_fetch((u32 *)arg, 1, __ATOMIC_RELAXED);
}

SMP_TEST(every_call_is_answered_once, NEEDS_NOTHING)
{
    u32 calls = 0;
    for (unsigned i = 0; i < 100; i++)
        EXPECT_EQ(smp_call_others(count, &calls), smp_online() - 1);
    EXPECT_EQ(calls, 100 * (smp_online() - 1));
}

static void break_in(void *arg)
{
    struct probe_result *results = arg;
    results[0] = probe_write(this_cpu()->stack_top - RUN_STACK_SIZE - 1);
    results[1] = probe_stack(this_cpu()->stack_top - RUN_STACK_SIZE);
    results[2] = probe_exec(this_cpu()->stack_top - 64);
}

SMP_TEST(stacks_end_at_guard_pages, NEEDS_NOTHING)
{
    for (unsigned i = 1; i < smp_online(); i++) {
        struct probe_result results[3];
        EXPECT_EQ(smp_call(cpus[i], break_in, results), OK);
        EXPECT_EQ(results[0].vector, VEC_PF);
        EXPECT_EQ(results[1].vector, VEC_DF);
        EXPECT_EQ(results[2].vector, cpu_features.nx ? VEC_PF : PROBE_NO_FAULT);
        for (unsigned ist = 1; ist < IST_END; ist++)
            EXPECT(stack_is_guard(ist_stack_top(i, ist) - IST_STACK_SIZE - PAGE_SIZE));
    }
}

static void read_nowhere(void *arg)
{
    *(struct probe_result *)arg = probe_read((const u8 *)(uintptr_t)BIT(63)); // not canonical
}

SMP_TEST(faults_are_caught_on_each_cpu, NEEDS_NOTHING)
{
    for (unsigned i = 1; i < smp_online(); i++) {
        struct probe_result result = {.vector = PROBE_NO_FAULT};
        EXPECT_EQ(smp_call(cpus[i], read_nowhere, &result), OK);
        EXPECT_EQ(result.vector, VEC_GP);
    }
}

// The mask is believed: a CPU that is in it is called and no other.
SMP_TEST(translations_are_shot_down_where_they_may_be, NEEDS_VMX)
{
    u32 before[2] = {cpus[0]->call_done, cpus[1]->call_done};
    vmx_shoot_down(&hypervisor.caps, 0, BIT(0));
    EXPECT_EQ(cpus[1]->call_done, before[1]);
    vmx_shoot_down(&hypervisor.caps, 0, BIT(0) | BIT(1));
    EXPECT_EQ(cpus[1]->call_done, before[1] + 1);
    EXPECT_EQ(cpus[0]->call_done, before[0]);
}

static void leave_and_come_back(void *arg)
{
    bool *good = arg;
    vmx_disable(&hypervisor.host);
    *good = !vmx_enabled() && !(read_cr4() & CR4_VMXE) &&
            vmx_enable(&hypervisor.caps, &hypervisor.host) == OK && vmx_enabled();
}

SMP_TEST(vmx_operation_can_be_left_and_entered_again, NEEDS_VMX)
{
    u64 free = hypervisor.host.free;
    for (unsigned i = 1; i < smp_online(); i++) {
        bool good = false;
        EXPECT_EQ(smp_call(cpus[i], leave_and_come_back, &good), OK);
        EXPECT(good);
    }
    EXPECT_EQ(hypervisor.host.free, free);
}

// Another CPU's NMI handler must not stop it unless all are to stop.
SMP_TEST(an_nmi_by_itself_stops_nobody, NEEDS_NOTHING)
{
    struct self self;
    u64 nmis = cpus[1]->nmis;
    host_lapic_ipi(cpus[1]->apic_id, 0x400 | BIT32(14));
    for (unsigned i = 0; i < 1000; i++)
        EXPECT_EQ(smp_call(cpus[1], look, &self), OK);
    EXPECT_EQ(cpus[1]->nmis, nmis + 1);
}
