// SPDX-License-Identifier: MIT
// The start: the table of contents.
#include "boot/bring_up.h"

#include "arch/x86_64/console.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/crash.h"
#include "arch/x86_64/host_lapic.h"
#include "arch/x86_64/idt.h"
#include "arch/x86_64/layout.h"
#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/check.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/smp.h"
#include "arch/x86_64/stacks.h"
#include "boot/leftover.h"
#include "boot/machine.h"
#include "boot/mbi.h"
#include "boot/run.h"

static struct boot_info info;
static struct options options;

// The boot tables reach the low 4 GiB; the information is there, as GRUB's pointer has 32 bits.
static int read_boot_info(u32 mbi, struct why *why)
{
    int err = mbi_parse(phys_ptr(HPA(mbi)), SIZE_4G - mbi, &info, why);
    return err ? err : cmdline_parse(info.cmdline, &options, why);
}

// For a crash before there is one.
static void crash_console(void)
{
    machine_console(&info, &options);
}

static void bring_up_cpu(void)
{
    stacks_boot(cpus[0]);
    gdt_load(cpus[0]);
    idt_init();
    idt_load();
    cpu_read_features();
    cpu_setup();
    machine_name_for_crash();
}

// Nothing that stays may lead to the start's words and functions.
static void leave(struct hypervisor *hv, const struct guests *guests)
{
    if (console_keep_font(&hv->host) != OK) {
        log_warn("image: no memory for the screen's font: the start is kept");
        hv->start.size = 0;
        return;
    }
    crash_set_console(NULL);
    if (options.log >= LOG_DEBUG)
        leftover_search(guests);
}

int bring_up(u32 mbi, struct hypervisor *hv, struct guests *guests)
{
    struct why why;

    cmdline_defaults(&options);
    crash_set_end(run_end);
    crash_set_console(crash_console);
    bring_up_cpu();
    run_set_end(&options);

    int parsed = read_boot_info(mbi, &why);
    log_set_level(options.log);
    run_set_end(&options);
    if (!parsed && options.run == RUN_CRASH_EARLY)
        panic("run=crash-early: before there is memory or a console");
    int err = machine_memory(&info, mbi, !parsed && run_needs_lab(&options, &info), hv);
    machine_console(&info, &options);
    log_info("Corbel %s: %s%s%s", corbel_version, info.loader[0] ? "booted by " : "",
             info.loader[0] ? info.loader : "no loader name", info.efi_bits ? ", UEFI" : "");
    if (parsed) {
        log_error("%s", why.text);
        return STATUS_BAD_BOOT;
    }
    if (err)
        return STATUS_BAD_BOOT;
    machine_describe(&info, hv);
    err = machine_time(&options);
    if (err)
        return STATUS_NO_GUESTS;
    smp_start(machine_acpi(), &hv->host, &hv->guest);
    machine_wallclock(hv);
    machine_vmx(&options, hv);
    int status = run_mode(&options, &info, hv, guests);
    if (status == STATUS_READY)
        leave(hv, guests);
    return status;
}
