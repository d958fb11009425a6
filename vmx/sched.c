// SPDX-License-Identifier: MIT
#include "vmx/sched.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/regs/cr.h"
#include "arch/x86_64/timer.h"
#include "vmx/vmcs_access.h"

// Of the one CPU that runs guests.
static volatile bool host_work;
static struct vm *running;

void sched_host_work(void)
{
    host_work = true;
    if (running)
        running->attention |= VM_ATTENTION_YIELD;
}

static void slice_over(struct deadline *entry, u64 now)
{
    struct cell *cell = container_of(entry, struct cell, slice);
    (void)now;
    cell->vm.attention |= VM_ATTENTION_YIELD;
}

// ---- choosing ---------------------------------------------------------------------------------

static bool is_idle(const struct cell *cell, u64 now)
{
    return cell->vcpu.halted && !cell->chore && !(cell->vm.attention & ~(u32)VM_ATTENTION_CHECK) &&
           deadline_next(&cell->vm.timers) > now;
}

// The next one after the one that ran last that is not idle and has something of its slice left, or
// NULL.
static struct cell *pick_entitled(struct sched *s, u64 now)
{
    for (unsigned i = 1; i <= s->count; i++) {
        unsigned index = s->current + i;
        if (index >= s->count)
            index %= s->count;
        if (s->cells[index]->left && !is_idle(s->cells[index], now)) {
            s->current = index;
            return s->cells[index];
        }
    }
    return NULL;
}

// The same, after new slices for all if need be: NULL if all are idle.
static struct cell *pick(struct sched *s, u64 now)
{
    struct cell *cell = pick_entitled(s, now);
    if (cell)
        return cell;
    for (unsigned i = 0; i < s->count; i++)
        s->cells[i]->left = s->slice;
    return pick_entitled(s, now);
}

// The nearest deadline of the VMs but this one that are idle at now and have something left.
static u64 next_wake(const struct sched *s, const struct cell *but, u64 now)
{
    u64 next = DEADLINE_NEVER;
    for (unsigned i = 0; i < s->count; i++) {
        const struct cell *cell = s->cells[i];
        if (cell != but && cell->left && is_idle(cell, now) &&
            deadline_next(&cell->vm.timers) < next)
            next = deadline_next(&cell->vm.timers);
    }
    return next;
}

// All are idle: the CPU halts until the nearest deadline or any interrupt.
static void wait(const struct sched *s)
{
    u64 next = next_wake(s, NULL, 0);
    if (next != DEADLINE_NEVER)
        timer_arm(next);
    if (!host_work && rdtsc() < next)
        sti_hlt_cli();
    timer_disarm();
}

// ---- running ----------------------------------------------------------------------------------

static void load(struct sched *s, struct cell *cell)
{
    if (s->loaded)
        vcpu_put(&s->loaded->vcpu);
    s->switches += s->loaded && cell;
    s->loaded = cell;
    if (cell) {
        cell->ran_on |= BIT(this_cpu()->id);
        vcpu_load(&cell->vcpu);
    }
}

// With interrupts off only an NMI ends HLT.
static bool can_wake(const struct cell *cell)
{
    return vm_nmi_wired(&cell->vm) || (vmcs_read(VMCS_GUEST_RFLAGS) & RFLAGS_IF);
}

// A VM in HLT that nothing will ever wake has ended.
static void stop_if_stuck(const struct sched *s, struct cell *cell)
{
    if (!s->input && deadline_next(&cell->vm.timers) == DEADLINE_NEVER)
        vm_stop(&cell->vm, VM_END_HALTED, "HLT and nothing left that could wake it");
    else if (!can_wake(cell))
        vm_stop(&cell->vm, VM_END_HALTED, "HLT with interrupts off");
}

static void remove(struct sched *s, struct cell *cell)
{
    load(s, NULL);
    if (s->ended && s->ended(s->ctx, cell))
        return;
    for (unsigned i = s->current + 1; i < s->count; i++)
        s->cells[i - 1] = s->cells[i];
    s->count--;
    // The one after it is next.
    s->current = s->current ? s->current - 1 : s->count ? s->count - 1 : 0;
}

// A VM that waits shall not wait longer than it asked for: its deadline ends the slice early.
static u64 slice_end(const struct sched *s, const struct cell *cell, u64 now)
{
    u64 wake = next_wake(s, cell, now);
    u64 end = now + cell->left;
    return wake < end ? wake : end;
}

static void arm_slice(struct sched *s, struct cell *cell, u64 now)
{
    cell->slice.fire = slice_over;
    deadline_arm(&cell->vm.timers, &cell->slice, slice_end(s, cell, now));
}

static void charge(struct cell *cell, u64 ticks)
{
    cell->left -= ticks < cell->left ? ticks : cell->left;
}

// No vCPU is loaded meanwhile, since a chore may start the VM; the host's interrupts get their turn
// after each piece.
static void do_chore(struct sched *s, struct cell *cell, u64 now)
{
    u64 end = slice_end(s, cell, now);

    load(s, NULL);
    while (cell->chore && !host_work && rdtsc() < end) {
        if (cell->chore(s->ctx, cell))
            cell->chore = NULL;
        sti_nop_cli();
    }
    charge(cell, rdtsc() - now);
    if (cell->vm.end != VM_RUNNING)
        remove(s, cell);
}

static void run(struct sched *s, struct cell *cell, u64 now)
{
    if (s->loaded != cell)
        load(s, cell);
    if (s->count > 1)
        arm_slice(s, cell, now);
    running = &cell->vm;
    enum vcpu_pause pause = vcpu_run(&cell->vcpu);
    running = NULL;
    deadline_cancel(&cell->vm.timers, &cell->slice);
    charge(cell, rdtsc() - now);
    if (pause == VCPU_IDLE)
        stop_if_stuck(s, cell);
    if (cell->vm.end != VM_RUNNING)
        remove(s, cell);
}

void sched_run(struct sched *sched)
{
    if (!sched->slice && sched->count)
        sched->slice = sched->cells[0]->vm.clock->hz / 1000 * SCHED_SLICE_MS;
    while (sched->count) {
        if (host_work) {
            host_work = false;
            if (sched->poll)
                sched->poll(sched->ctx);
        }
        u64 now = rdtsc();
        struct cell *cell = pick(sched, now);
        if (!cell)
            wait(sched);
        else if (cell->chore)
            do_chore(sched, cell, now);
        else
            run(sched, cell, now);
    }
}

INIT void cell_run(struct cell *cell)
{
    struct sched sched = {.cells = {cell}, .count = 1};
    sched_run(&sched);
}
