// SPDX-License-Identifier: MIT
// From the boot loader's hand-over to the end of the run: the table of contents.
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
#include "arch/x86_64/paging.h"
#include "arch/x86_64/smp.h"
#include "arch/x86_64/stacks.h"
#include "arch/x86_64/timer.h"
#include "arch/x86_64/tsc.h"
#include "boot/machine.h"
#include "boot/mbi.h"
#include "boot/run.h"

u64 boot_load_base;

static struct boot_info info;
static struct options options;
struct hypervisor hypervisor;

void kmain(u32 mbi, u64 load_base);

// The boot tables reach the low 4 GiB; the information is there, as GRUB's pointer has 32 bits.
static int read_boot_info(u32 mbi, struct why *why)
{
    int err = mbi_parse(phys_ptr(HPA(mbi)), SIZE_4G - mbi, &info, why);
    return err ? err : cmdline_parse(info.cmdline, &options, why);
}

static void crash_end(int status)
{
    run_end(&options, status);
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

void kmain(u32 mbi, u64 load_base)
{
    struct why why;

    boot_load_base = load_base;
    phys_window = PHYS_WINDOW;
    cmdline_defaults(&options);
    crash_set_end(crash_end);
    crash_set_console(crash_console);
    bring_up_cpu();

    int parsed = read_boot_info(mbi, &why);
    log_set_level(options.log);
    if (!parsed && options.run == RUN_CRASH_EARLY)
        panic("run=crash-early: before there is memory or a console");
    int err = machine_memory(&info, mbi, !parsed && run_needs_lab(&options, &info), &hypervisor);
    machine_console(&info, &options);
    log_info("Corbel %s: %s%s%s", corbel_version, info.loader[0] ? "booted by " : "",
             info.loader[0] ? info.loader : "no loader name", info.efi_bits ? ", UEFI" : "");
    if (parsed) {
        log_error("%s", why.text);
        run_end(&options, STATUS_BAD_BOOT);
    }
    if (err)
        run_end(&options, STATUS_BAD_BOOT);
    machine_describe(&info, &hypervisor);
    err = machine_time(&options);
    if (err)
        run_end(&options, STATUS_NO_GUESTS);
    smp_start(machine_acpi(), &hypervisor.host, &hypervisor.guest);
    machine_wallclock(&hypervisor);
    machine_vmx(&options, &hypervisor);
    run_end(&options, run_mode(&options, &info, &hypervisor));
}
