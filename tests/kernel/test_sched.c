// SPDX-License-Identifier: MIT
// VMs that share the CPU: turns, what HLT gives away, and that one's end is not another's.
#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/tsc.h"
#include "boot/machine.h"
#include "tests/kernel/support.h"
#include "vmx/sched.h"

#define LABS 3u

struct labs {
    struct lab labs[LABS];
    unsigned count;
    struct sched sched;
};

static struct labs labs;

static void close_all(void)
{
    while (labs.count)
        lab_close(&labs.labs[--labs.count]);
}

// Makes a lab for each name, loaded with that guest half, for body to run; they are gone after it.
static void with_labs(struct selftest_ctx *t, const char *const names[], unsigned n,
                      void (*body)(struct selftest_ctx *t))
{
    memset(&labs, 0, sizeof(labs));
    for (unsigned i = 0; i < n; i++) {
        struct lab *lab = &labs.labs[i];
        if (!lab_open(t, lab, "shared"))
            break;
        labs.count++;
        if (!lab_load(t, lab, names[i]))
            break;
        labs.sched.cells[labs.sched.count++] = lab->cell;
    }
    if (labs.sched.count == n)
        body(t);
    close_all();
}

// The test's body with a lab for each of the guest halves.
#define SCHED_TEST(title, ...)                                                                     \
    static void run_##title(struct selftest_ctx *t);                                               \
    SELFTEST(sched, title, NEEDS_VMX)                                                              \
    {                                                                                              \
        static const char *const names[] = {__VA_ARGS__};                                          \
        with_labs(t, names, ARRAY_SIZE(names), run_##title);                                       \
    }                                                                                              \
    static void run_##title(struct selftest_ctx *t)

#define WATCHES "sched.watches_the_clock"
#define SLEEPS  "sched.sleeps"
#define NAPS    "sched.naps"
#define SHARE   "sched.counts_its_share"
#define DIES    "sched.dies_at_once"

// What the guest of lab i left.
static u64 seen(unsigned i, unsigned number)
{
    const u64 *page = vm_ptr(labs.labs[i].vm, GPA(LAB_SCRATCH), PAGE_SIZE);
    return page[number];
}

static bool passed(unsigned i)
{
    const struct vm *vm = labs.labs[i].vm;
    return vm->end == VM_END_DEBUG_EXIT && vm->end_status == (0x10u << 1 | 1);
}

static u64 ms(u64 n)
{
    return n * (host_clock.hz / 1000);
}

SCHED_TEST(a_lone_vm_keeps_the_cpu, WATCHES)
{
    sched_run(&labs.sched);
    EXPECT(passed(0));
    EXPECT_EQ(seen(0, 0), 0);
    EXPECT_EQ(labs.sched.switches, 0);
}

// Three that never halt: each waits for two slices, about as often as 40 ms hold three of them.
SCHED_TEST(busy_vms_take_turns, WATCHES, WATCHES, WATCHES)
{
    labs.sched.slice = ms(2);
    sched_run(&labs.sched);
    for (unsigned i = 0; i < labs.count; i++) {
        EXPECT(passed(i));
        EXPECT(seen(i, 0) >= 5 && seen(i, 0) <= 8);
        EXPECT(seen(i, 1) >= ms(2) && seen(i, 1) <= ms(4) + ms(1) / 2);
    }
    EXPECT(labs.sched.switches >= 15);
}

// One that sleeps is awake again when it asked for it, though the other would go on for 20 ms.
SCHED_TEST(waking_ends_the_slice_of_another, WATCHES, SLEEPS)
{
    labs.sched.slice = ms(20);
    sched_run(&labs.sched);
    EXPECT(passed(0) && passed(1));
    EXPECT(seen(1, 0) < ms(1) / 10);
    // The sleeper's few instructions are all that is taken away.
    EXPECT(seen(0, 1) < ms(1) / 2);
}

// Waking ends a slice, but begins none.
SCHED_TEST(naps_bring_no_more_than_a_share, SHARE, NAPS)
{
    labs.sched.slice = ms(2);
    sched_run(&labs.sched);
    EXPECT(passed(0) && passed(1));
    EXPECT(seen(0, 0) > ms(15) && seen(0, 0) < ms(25));
}

SCHED_TEST(one_that_dies_leaves_the_others, WATCHES, DIES, SLEEPS)
{
    log_quietly();
    sched_run(&labs.sched);
    log_normally();
    EXPECT(passed(0) && passed(2));
    EXPECT_EQ(labs.labs[1].vm->end, VM_END_TRIPLE_FAULT);
}

static unsigned restarts;

static bool start_again(void *ctx, struct cell *cell)
{
    struct selftest_ctx *t = ctx;
    if (restarts++ == 2)
        return false;
    vm_revive(&cell->vm);
    vm_clear_ram(&cell->vm);
    vm_reset_devices(&cell->vm);
    return lab_load(t, &labs.labs[0], "sched.sleeps");
}

SCHED_TEST(a_vm_that_is_started_again_runs_again, SLEEPS)
{
    restarts = 0;
    labs.sched.ended = start_again;
    labs.sched.ctx = t;
    sched_run(&labs.sched);
    EXPECT(passed(0));
    EXPECT_EQ(restarts, 3);
}

static unsigned pieces, loaded;

// 100 pieces of a tenth of a millisecond each.
static bool tedious(void *ctx, struct cell *cell)
{
    (void)ctx;
    loaded += cell->vcpu.loaded;
    tsc_spin(ms(1) / 10);
    return ++pieces == 100;
}

// What is done for a VM is done in its own time.
SCHED_TEST(a_chore_takes_turns, WATCHES, DIES)
{
    pieces = loaded = 0;
    labs.sched.slice = ms(2);
    labs.labs[1].cell->chore = tedious;
    log_quietly();
    sched_run(&labs.sched);
    log_normally();
    EXPECT(passed(0));
    EXPECT(seen(0, 0) >= 4 && seen(0, 0) <= 6);
    EXPECT(seen(0, 1) <= ms(2) + ms(1) / 2);
    EXPECT_EQ(pieces, 100);
    EXPECT_EQ(loaded, 0);
    EXPECT_EQ(labs.labs[1].vm->end, VM_END_TRIPLE_FAULT);
}

// One that sleeps is not kept waiting by it.
SCHED_TEST(waking_interrupts_a_chore, DIES, SLEEPS)
{
    pieces = 0;
    labs.sched.slice = ms(20);
    labs.labs[0].cell->chore = tedious;
    log_quietly();
    sched_run(&labs.sched);
    log_normally();
    EXPECT(passed(1));
    EXPECT(seen(1, 0) < ms(1) / 4);
}

static void run_all(struct selftest_ctx *t)
{
    (void)t;
    sched_run(&labs.sched);
}

// All that a VM had is free again, and its tables, by which alone it could be reached, are gone.
SELFTEST(sched, a_destroyed_vm_gives_everything_back, NEEDS_VMX)
{
    static const char *const names[] = {SLEEPS, SLEEPS};
    u64 host = hypervisor.host.free, guest = hypervisor.guest.free;
    with_labs(t, names, ARRAY_SIZE(names), run_all);
    EXPECT_EQ(hypervisor.host.free, host);
    EXPECT_EQ(hypervisor.guest.free, guest);
}
