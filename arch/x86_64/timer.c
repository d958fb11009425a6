// SPDX-License-Identifier: MIT
#include "arch/x86_64/timer.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/host_lapic.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/regs/apic.h"
#include "arch/x86_64/regs/msr.h"
#include "arch/x86_64/traps.h"
#include "arch/x86_64/tsc.h"

#define DIVIDE_BY_1    0xbu
#define MODE_SHIFT     17
#define CALIBRATE_PART 100u // of a second
#define LOOKS          4u   // at both clocks, of which the quickest counts

static struct {
    bool by_deadline;
    u64 apic_hz; // one-shot mode: counts a second
    u64 fired;
} timer;

static void on_timer(u8 vector)
{
    (void)vector;
    timer.fired++;
    host_lapic_eoi();
}

u64 timer_fired(void)
{
    return timer.fired;
}

struct both_clocks {
    u64 tsc;
    u32 left; // of the local APIC's count
};

// An SMI or an outer hypervisor may come between the two reads: the pair that took least is taken.
static struct both_clocks look_at_both(void)
{
    struct both_clocks best = {0};
    u64 least = ~0ull;
    for (unsigned i = 0; i < LOOKS; i++) {
        u64 before = rdtsc();
        u32 left = host_lapic_read(APIC_TMCCT);
        u64 took = rdtsc() - before;
        if (took < least) {
            least = took;
            best = (struct both_clocks){before + took / 2, left};
        }
    }
    return best;
}

// The counter runs while its interrupt is masked.
static u64 measure_apic_hz(void)
{
    host_lapic_write(APIC_TMICT, 0xffffffff);
    struct both_clocks start = look_at_both();
    tsc_spin(host_clock.hz / CALIBRATE_PART);
    struct both_clocks end = look_at_both();
    host_lapic_write(APIC_TMICT, 0);
    return mul_div(start.left - end.left, host_clock.hz, end.tsc - start.tsc);
}

static void set_mode(enum apic_timer_mode mode)
{
    host_lapic_write(APIC_LVT_TIMER, (u32)mode << MODE_SHIFT | VECTOR_TIMER);
    // A write to the xAPIC's memory is not ordered with the WRMSR that arms the deadline.
    mfence();
}

INIT int timer_init(void)
{
    timer.by_deadline = cpu_features.tsc_deadline;
    host_lapic_write(APIC_TDCR, DIVIDE_BY_1);
    if (!timer.by_deadline) {
        timer.apic_hz = measure_apic_hz();
        if (timer.apic_hz == 0) {
            log_error("timer: the local APIC's timer does not count");
            return E_NOENT;
        }
    }
    trap_set_handler(VECTOR_TIMER, on_timer);
    set_mode(timer.by_deadline ? APIC_TIMER_TSC_DEADLINE : APIC_TIMER_ONESHOT);
    return OK;
}

static u32 counts_until(u64 deadline)
{
    u64 now = rdtsc();
    if (deadline <= now)
        return 1;
    u64 counts = mul_div_up(deadline - now, timer.apic_hz, host_clock.hz);
    return counts > 0xffffffff ? 0xffffffff : (u32)counts;
}

void timer_arm(u64 deadline)
{
    if (timer.by_deadline)
        wrmsr(IA32_TSC_DEADLINE, deadline ? deadline : 1); // 0 would disarm
    else
        host_lapic_write(APIC_TMICT, counts_until(deadline));
}

void timer_disarm(void)
{
    if (timer.by_deadline)
        wrmsr(IA32_TSC_DEADLINE, 0);
    else
        host_lapic_write(APIC_TMICT, 0);
}
