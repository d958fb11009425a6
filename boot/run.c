// SPDX-License-Identifier: MIT
#include "boot/run.h"

#include "arch/x86_64/console.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/layout.h"
#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/selftest.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/power.h"
#include "boot/bench.h"
#include "boot/break.h"
#include "boot/builtin.h"
#include "boot/grade.h"
#include "boot/guests.h"
#include "boot/identity.h"
#include "boot/lab.h"
#include "boot/lastlog.h"
#include "boot/run_end.h"
#include "vmx/vmx_cpus.h"
#include "vmx/vmx_host.h"

extern const struct selftest selftests_start[], selftests_end[];

static void say(void *ctx, const char *text)
{
    (void)ctx;
    log_info("%s", text);
}

static int refuse(const struct hypervisor *hv)
{
    log_error("cannot run guests here: %s", hv->verdict.why);
    log_error("what to do: %s", hv->verdict.advice);
    return STATUS_NO_GUESTS;
}

static int run_caps(const struct boot_info *info, const struct hypervisor *hv)
{
    identity_say(info, hv);
    vmx_caps_report(&hv->probe, &hv->caps, &hv->verdict, say, NULL);
    console_list_serial();
    return vmx_verdict_ok(&hv->verdict) ? STATUS_OK : STATUS_NO_GUESTS;
}

// A write where none may be: the exception is a real one, and so is all that the crash screen
// shows.
static int run_crash(void)
{
    log_info("run=crash: writing to the kernel's own text");
    *(volatile u8 *)(uintptr_t)text_start = 0;
    log_error("the text of the kernel can be written");
    return STATUS_FAILED;
}

// ---- self-tests -------------------------------------------------------------------------------

static u32 needs_met(struct hypervisor *hv)
{
    u32 have = NEEDS_NOTHING;
    if (!vmx_verdict_ok(&hv->verdict))
        return have;
    have |= NEEDS_VMX | NEEDS_X2APIC;
    if (hv->caps.ctl[CTL_PROC2].may & PROC2_UNRESTRICTED)
        have |= NEEDS_UNRESTRICTED;
    if (hv->caps.ctl[CTL_PIN].may & PIN_PREEMPTION_TIMER)
        have |= NEEDS_PREEMPTION;
    return have;
}

static int run_selftests(const struct options *options, struct hypervisor *hv)
{
    u32 have = needs_met(hv);
    if (!(have & NEEDS_VMX))
        log_warn("tests that need VT-x are skipped: %s", hv->verdict.why);
    const struct selftest_set sets[] = {
        {selftests_start, selftests_end},
        lab_guest_tests()
    };
    struct selftest_result result =
        selftest_run(sets, ARRAY_SIZE(sets), options->test[0] ? options->test : NULL, have);
    if (result.passed + result.failed + result.skipped == 0) {
        log_error("test=%s: no self-test has that name", options->test);
        return STATUS_BAD_BOOT;
    }
    return result.failed ? STATUS_FAILED : STATUS_OK;
}

// ---- the run ----------------------------------------------------------------------------------

bool run_needs_lab(const struct options *options, const struct boot_info *info)
{
    switch (options->run) {
    case RUN_CRASH:
    case RUN_CRASH_EARLY:
        return false;
    case RUN_GUEST:
        return info->nmodules == 0 || !entry_rule_set_empty(&options->broken);
    default:
        return true;
    }
}

int run_mode(const struct options *options, const struct boot_info *info, struct hypervisor *hv,
             struct guests *guests)
{
    if (options->run == RUN_CAPS)
        return run_caps(info, hv);
    if (options->run == RUN_CRASH)
        return run_crash();
    if (options->run == RUN_LOG)
        return lastlog_show() ? STATUS_OK : STATUS_FAILED;
    bool ready = vmx_verdict_ok(&hv->verdict);
    if (!ready && options->run != RUN_SELFTEST)
        return refuse(hv);
    if (ready) {
        if (vmx_enable(&hv->caps, &hv->host) != OK)
            return STATUS_NO_GUESTS;
        vmx_enable_others(hv);
    }

    switch (options->run) {
    case RUN_SELFTEST:
        return run_selftests(options, hv);
    case RUN_BENCH:
        return bench_run(hv);
    case RUN_GRADE:
        return grade_run(hv);
    default:
        if (!entry_rule_set_empty(&options->broken))
            return break_run(hv, &options->broken);
        return info->nmodules ? guests_make(guests, hv, info, &options->input) : builtin_run(hv);
    }
}

// Where no end= says otherwise: an emulator's exit where one is recognised, else the result stays
// on the screen.
static enum end_how end_of(const struct options *options)
{
    if (!options->end_auto)
        return options->end;
    if (inb(0xe9) == 0xe9) // Bochs
        return END_EMULATOR;
    const char *outer = cpu_features.outer.signature;
    bool qemu = !strcmp(outer, OUTER_TCG) || !strcmp(outer, OUTER_KVM);
    return qemu ? END_EMULATOR : END_HALT;
}

void run_set_end(const struct options *options)
{
    run_end_by(end_of(options));
}
