// SPDX-License-Identifier: MIT
// From the boot loader's hand-over to the end of the run.
#include "arch/x86_64/layout.h"
#include "arch/x86_64/lib/phys.h"
#include "boot/bring_up.h"
#include "boot/machine.h"
#include "boot/run.h"
#include "boot/start_over.h"

u64 boot_load_base;

struct hypervisor hypervisor;

void kmain(u32 mbi, u64 load_base);

void kmain(u32 mbi, u64 load_base)
{
    static struct guests guests; // large

    boot_load_base = load_base;
    phys_window = PHYS_WINDOW;
    int status = bring_up(mbi, &hypervisor, &guests);
    if (status == STATUS_READY) {
        start_over(&hypervisor);
        status = guests_run(&guests);
    }
    run_end(status);
}
