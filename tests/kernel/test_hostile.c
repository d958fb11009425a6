// SPDX-License-Identifier: MIT
// A guest that does at random what a guest can do, and what it may not change: another guest, and
// Corbel.
#include "tests/guest/hostile.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/idt.h"
#include "arch/x86_64/layout.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/regs/cr.h"
#include "arch/x86_64/regs/msr.h"
#include "boot/machine.h"
#include "tests/kernel/support.h"
#include "vmx/sched.h"

#define SEED         1u
#define OPERATIONS   100000u
#define RESTARTS_MAX 100u

// ---- what is Corbel's --------------------------------------------------------------------------

// All that a guest's registers could have been mistaken for.
struct host_state {
    u64 cr0, cr3, cr4, xcr0;
    u64 gdt, idt;
    u64 efer, pat, apic_base, sysenter_eip, fs_base, gs_base;
    u64 image; // sum over text and read-only data
};

static u64 sum(const u8 *start, const u8 *end)
{
    u64 total = 0;
    for (const u64 *at = (const u64 *)start; at + 1 <= (const u64 *)end; at++)
        total = (total << 1 | total >> 63) ^ *at;
    return total;
}

static void look_at_host(struct host_state *s)
{
    *s = (struct host_state){
        .cr0 = read_cr0(),
        .cr3 = read_cr3(),
        .cr4 = read_cr4(),
        .xcr0 = cpu_features.xsave ? xgetbv(0) : 0,
        .gdt = sgdt().base,
        .idt = sidt().base,
        .efer = rdmsr(IA32_EFER),
        .pat = rdmsr(IA32_PAT),
        .apic_base = rdmsr(IA32_APIC_BASE),
        .sysenter_eip = rdmsr(IA32_SYSENTER_EIP),
        .fs_base = rdmsr(IA32_FS_BASE),
        .gs_base = rdmsr(IA32_GS_BASE),
        .image = sum(text_start, text_end) ^ sum(rodata_start, rodata_end),
    };
}

// ---- the two guests ----------------------------------------------------------------------------

struct pair {
    struct selftest_ctx *t;
    struct lab hostile, bystander;
    struct hostile state; // of the hostile guest when it last ended
    unsigned restarts;
    struct host_state before;
};

static struct hostile *hostile_page(struct pair *p)
{
    return vm_ptr(p->hostile.vm, GPA(LAB_SCRATCH), sizeof(struct hostile));
}

static struct bystander *bystander_page(struct pair *p)
{
    return vm_ptr(p->bystander.vm, GPA(LAB_SCRATCH), sizeof(struct bystander));
}

static bool load_hostile(struct pair *p)
{
    if (!lab_load(p->t, &p->hostile, "hostile.does_what_it_likes"))
        return false;
    *hostile_page(p) = p->state;
    return true;
}

// It ends itself now and then; it goes on from there, on a machine that is new.
static bool start_again(struct pair *p)
{
    struct vm *vm = p->hostile.vm;

    p->state = *hostile_page(p);
    if (p->state.done >= OPERATIONS || p->restarts == RESTARTS_MAX)
        return false;
    p->restarts++;
    p->state.seed++;
    vm_revive(vm);
    vm_clear_ram(vm);
    vm_reset_devices(vm);
    return load_hostile(p);
}

static bool one_ended(void *ctx, struct cell *cell)
{
    struct pair *p = ctx;

    if (cell == p->hostile.cell && start_again(p))
        return true;
    // Neither goes on without the other.
    if (cell == p->hostile.cell)
        bystander_page(p)->stop = 1;
    else
        vm_stop(p->hostile.vm, VM_END_TEST, "the bystander has ended");
    return false;
}

static void run_both(struct pair *p)
{
    struct sched sched = {
        .cells = {p->hostile.cell, p->bystander.cell},
          .count = 2, .ended = one_ended, .ctx = p
    };
    p->state = (struct hostile){.seed = SEED, .target = OPERATIONS};
    if (!load_hostile(p) || !lab_load(p->t, &p->bystander, "hostile.looks_on"))
        return;
    look_at_host(&p->before);
    log_quietly();
    sched_run(&sched);
    log_normally();
}

static void check(struct selftest_ctx *t, struct pair *p)
{
    const struct vm *vm = p->bystander.vm;
    if (vm->end != VM_END_DEBUG_EXIT || vm->end_status != (0x10u << 1 | 1))
        selftest_fail(t, "the bystander: %s: %s", vm->end_text, p->bystander.out);
    else if (p->state.done < OPERATIONS)
        selftest_fail(t, "%llu operations, %u restarts, at last %s: %s",
                      (unsigned long long)p->state.done, p->restarts,
                      vm_end_name(p->hostile.vm->end), p->hostile.vm->end_text);
    else if (bystander_page(p)->rounds < 10)
        selftest_fail(t, "the bystander had %llu rounds",
                      (unsigned long long)bystander_page(p)->rounds);
    EXPECT(p->state.faults > OPERATIONS / 100 && p->state.interrupts > 0);
}

static struct pair pair;

SELFTEST(hostile, random_accesses_harm_nobody, NEEDS_VMX)
{
    struct host_state after;
    u64 host = hypervisor.host.free, guest = hypervisor.guest.free;

    memset(&pair, 0, sizeof(pair));
    pair.t = t;
    if (lab_open(t, &pair.hostile, "hostile")) {
        if (lab_open(t, &pair.bystander, "bystander")) {
            run_both(&pair);
            if (!t->failed)
                check(t, &pair);
            lab_close(&pair.bystander);
        }
        lab_close(&pair.hostile);
    }
    look_at_host(&after);
    EXPECT(memcmp(&pair.before, &after, sizeof(after)) == 0);
    EXPECT_EQ(hypervisor.host.free, host);
    EXPECT_EQ(hypervisor.guest.free, guest);
}
