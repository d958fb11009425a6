// SPDX-License-Identifier: MIT
#include "boot/start_over.h"

#include "arch/x86_64/layout.h"
#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/paging.h"

void start_over(struct hypervisor *hv)
{
    struct mem_range start = hv->start;
    if (!start.size)
        return;
    int err = paging_withdraw(init_start, lab_start);
    if (err) {
        log_warn("image: the start cannot be given back: %s", err_name(err));
        return;
    }
    frame_free(&hv->guest, HPA(start.base), start.size >> PAGE_SHIFT);
    hv->start.size = 0;
    log_info("image: %llu KiB of start given back", (unsigned long long)start.size >> 10);
}
