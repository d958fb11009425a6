// SPDX-License-Identifier: MIT
#include "boot/run_end.h"

#include "arch/x86_64/console.h"
#include "arch/x86_64/lib/log.h"
#include "boot/pages.h"
#include "vmx/vmx_cpus.h"

static enum end_how how;

INIT void run_end_by(enum end_how by)
{
    how = by;
}

void run_end(int status)
{
    vmx_disable_everywhere();
    log_info("corbel: done: status %d", status);
    console_flush();
    if (how == END_EMULATOR)
        emulator_exit(status);
    if (how != END_RESET && status != STATUS_CRASHED)
        pages_show();
    machine_end(how);
}
