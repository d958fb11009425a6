// SPDX-License-Identifier: MIT
#include "arch/x86_64/smp.h"

#include "arch/x86_64/host_lapic.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/regs/apic.h"
#include "arch/x86_64/smp_parts.h"
#include "arch/x86_64/traps.h"
#include "arch/x86_64/tsc.h"

#define CALL_US 1000000u
#define STOP_US 10000u

static struct {
    unsigned online; // cpus[0] to cpus[online - 1]
    u32 stopping;    // APIC ID + 1 of the CPU that has all others stop
    u32 stopped;     // how many did
    void (*leave)(void);
} smp = {.online = 1};

unsigned smp_online(void)
{
    return smp.online;
}

INIT void smp_add(struct cpu *cpu)
{
    cpus[smp.online++] = cpu;
}

bool smp_wait_for(const volatile u32 *word, u32 value, u32 us)
{
    u64 end = rdtsc() + mul_div_up(us, host_clock.hz, 1000000);
    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) != value) {
        if (rdtsc() >= end)
            return false;
        cpu_pause();
    }
    return true;
}

// ---- on the other CPUs ------------------------------------------------------------------------

NORETURN void smp_park(void)
{
    for (;;) {
        cli();
        hlt();
    }
}

void smp_on_call(u8 vector)
{
    (void)vector;
    host_lapic_eoi();
}

NORETURN void smp_serve(struct cpu *cpu)
{
    for (;;) {
        // A call that comes after the look is what ends HLT.
        if (__atomic_load_n(&cpu->call_asked, __ATOMIC_ACQUIRE) == cpu->call_done) {
            sti_hlt_cli();
            continue;
        }
        cpu->call(cpu->call_arg);
        __atomic_store_n(&cpu->call_done, cpu->call_done + 1, __ATOMIC_RELEASE);
    }
}

// ---- calling ----------------------------------------------------------------------------------

int smp_call(struct cpu *cpu, void (*fn)(void *arg), void *arg)
{
    if (cpu->state != CPU_ONLINE)
        return E_TIMEOUT;
    cpu->call = fn;
    cpu->call_arg = arg;
    u32 number = cpu->call_done + 1;
    __atomic_store_n(&cpu->call_asked, number, __ATOMIC_RELEASE);
    host_lapic_ipi(cpu->apic_id, APIC_ICR_ASSERT | VECTOR_CALL);
    if (smp_wait_for(&cpu->call_done, number, CALL_US)) {
        cpu->call = NULL; // it may go with the start
        return OK;
    }
    cpu->state = CPU_LOST;
    log_warn("cpu %u (APIC ID %u) does not answer any more", cpu->id, cpu->apic_id);
    return E_TIMEOUT;
}

unsigned smp_call_others(void (*fn)(void *arg), void *arg)
{
    unsigned n = 0;
    for (unsigned i = 0; i < smp.online; i++)
        if (cpus[i] != this_cpu() && smp_call(cpus[i], fn, arg) == OK)
            n++;
    return n;
}

// ---- stopping ---------------------------------------------------------------------------------

INIT void smp_set_leave(void (*leave)(void))
{
    smp.leave = leave;
}

void smp_nmi(void)
{
    if (!__atomic_load_n(&smp.stopping, __ATOMIC_ACQUIRE) ||
        smp.stopping == this_cpu()->apic_id + 1)
        return;
    if (smp.leave)
        smp.leave();
    __atomic_add_fetch(&smp.stopped, 1, __ATOMIC_RELEASE);
    smp_park();
}

void smp_stop_others(void)
{
    u32 none = 0;
    if (smp.online < 2 ||
        !__atomic_compare_exchange_n(&smp.stopping, &none, this_cpu()->apic_id + 1, false,
                                     __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return;
    unsigned asked = 0;
    for (unsigned i = 0; i < smp.online; i++) {
        if (cpus[i] == this_cpu())
            continue;
        cpus[i]->state = CPU_LOST;
        host_lapic_ipi(cpus[i]->apic_id, APIC_DM_NMI << 8 | APIC_ICR_ASSERT);
        asked++;
    }
    (void)smp_wait_for(&smp.stopped, asked, STOP_US);
}
