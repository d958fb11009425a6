// SPDX-License-Identifier: MIT
#include "arch/x86_64/traps.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/crash.h"
#include "arch/x86_64/idt.h"
#include "arch/x86_64/lib/check.h"
#include "arch/x86_64/regs/cr.h"
#include "arch/x86_64/smp.h"

// A row of the .fixups section, made in assembly.
struct fixup {
    u64 rip;
    u64 landing;
};
extern const struct fixup fixups_start[], fixups_end[];

extern const u8 probe_landing[];
struct probe_result probe_enter(void (*fn)(u64 arg), u64 arg, u64 *resume);
void probe_load(u64 addr);
void probe_store(u64 addr);
void probe_on_stack(u64 top);

struct idt_gate host_idt[IDT_GATES] ALIGNED(PAGE_SIZE);

static trap_handler_fn handlers[256];

INIT void trap_set_handler(u8 vector, trap_handler_fn handler)
{
    CHECK(vector >= TRAP_FIRST_INTERRUPT);
    handlers[vector] = handler;
}

INIT trap_handler_fn trap_handler(u8 vector)
{
    return handlers[vector];
}

void trap_ignore(u8 vector)
{
    (void)vector;
}

void trap_interrupt(u8 vector)
{
    CHECK(handlers[vector]);
    handlers[vector](vector);
}

static bool resume_at_fixup(struct trap_frame *frame)
{
    for (const struct fixup *row = fixups_start; row < fixups_end; row++) {
        if (row->rip == frame->rip) {
            frame->rip = row->landing;
            return true;
        }
    }
    return false;
}

// The whole state to continue with comes from the probe's own record: after a #DF nothing of the
// saved state can be relied on.
static bool resume_probe(struct trap_frame *frame)
{
    u64 rsp = this_cpu()->probe_rsp;
    if (!rsp)
        return false;
    frame->rax = (u64)(u32)frame->error << 32 | (u32)frame->vector;
    frame->rip = (uintptr_t)probe_landing;
    frame->rsp = rsp;
    frame->cs = SEL_HOST_CS;
    frame->ss = SEL_HOST_DS;
    frame->rflags = RFLAGS_FIXED;
    return true;
}

void trap_dispatch(struct trap_frame *frame)
{
    u8 vector = (u8)frame->vector;
    if (vector == VEC_NMI) {
        this_cpu()->nmis++;
        smp_nmi();
        return;
    }
    if (vector >= TRAP_FIRST_INTERRUPT && handlers[vector]) {
        handlers[vector](vector);
        return;
    }
    if (vector < TRAP_FIRST_INTERRUPT && vector != VEC_MC &&
        (resume_at_fixup(frame) || resume_probe(frame)))
        return;
    crash_trap(frame);
}

INIT struct probe_result probe_call(void (*fn)(u64 arg), u64 arg)
{
    u64 *resume = &this_cpu()->probe_rsp;
    CHECK(!*resume);
    return probe_enter(fn, arg, resume);
}

INIT struct probe_result probe_read(const volatile void *addr)
{
    return probe_call(probe_load, (uintptr_t)addr);
}

INIT struct probe_result probe_write(const volatile void *addr)
{
    return probe_call(probe_store, (uintptr_t)addr);
}

INIT struct probe_result probe_exec(const volatile void *addr)
{
    return probe_call((void (*)(u64))(uintptr_t)addr, 0);
}

INIT struct probe_result probe_stack(const volatile void *top)
{
    return probe_call(probe_on_stack, (uintptr_t)top);
}
