// SPDX-License-Identifier: MIT
// Finding the TSC's frequency.
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/traps.h"
#include "arch/x86_64/tsc.h"
#include "arch/x86_64/tsc_measure.h"

static u64 ordered_tsc(void)
{
    lfence();
    return rdtsc();
}

// Hyper-V Top Level Functional Specification, "Partition Reference Counter" and "Feature
// Discovery".
#define HV_FEATURES              0x40000003u
#define HV_FREQUENCY_REGISTERS   BIT32(11)
#define HV_X64_MSR_TSC_FREQUENCY 0x40000022u

static u64 outer_hz(void)
{
    u64 hz;
    if (!strcmp(cpu_features.outer.signature, OUTER_HYPER_V) &&
        (cpuid(HV_FEATURES, 0).eax & HV_FREQUENCY_REGISTERS) &&
        rdmsr_safe(HV_X64_MSR_TSC_FREQUENCY, &hz))
        return hz;
    return cpu_features.outer.tsc_hz;
}

static void report(const struct tsc_opinions *opinions, struct tsc_decision decision)
{
    char line[240];
    tsc_describe(opinions, decision, line, sizeof(line));
    log_info("%s%s", line, cpu_features.invariant_tsc ? "" : ", not invariant");
    if (decision.disputed)
        log_warn("tsc: the sources above are more than 1%% apart");
    else if (!decision.checked)
        log_warn("tsc: nothing to check this frequency against");
}

int tsc_init(const struct tsc_references *refs)
{
    struct tsc_opinions opinions = {
        .hz = {[TSC_CPUID_15] = cpu_features.tsc_hz,
               [TSC_OUTER] = outer_hz(),
               [TSC_CPUID_16] = cpu_features.tsc_hz_nominal}
    };
    const struct tsc_measure_config config = {
        .io = &host_ports,
        .tsc = ordered_tsc,
        .pm_timer_port = refs->pm_timer_port,
        .hpet = refs->hpet.raw ? mmio_map(refs->hpet, HPET_SIZE, MEM_UC) : NULL,
    };
    tsc_measure(&config, &opinions);
    struct tsc_decision decision = tsc_decide(&opinions);
    if (decision.hz == 0) {
        log_error("tsc: CPUID does not tell its frequency and no PIT, PM timer or HPET runs");
        return E_NOENT;
    }
    report(&opinions, decision);
    host_clock.hz = decision.hz;
    return OK;
}
