// SPDX-License-Identifier: MIT
#include "boot/leftover.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/layout.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/smp.h"
#include "arch/x86_64/stacks.h"

// The boot CPU's stacks hold addresses of all that ran on them; they lie together.
static const u8 *after_stacks(const u8 *at)
{
    for (unsigned ist = 1; ist < IST_END; ist++) {
        const u8 *top = ist_stack_top(0, ist);
        if (at < top && at >= top - IST_STACK_SIZE)
            return top;
    }
    return at < boot_stack_top && at >= boot_stack ? boot_stack_top : at;
}

static unsigned search(const void *from, const void *to)
{
    unsigned found = 0;
    for (const u8 *at = from; at + sizeof(u64) <= (const u8 *)to; at += sizeof(u64)) {
        at = after_stacks(at);
        if (stack_is_guard((const u8 *)align_down((uintptr_t)at, PAGE_SIZE)))
            continue;
        u64 word = *(const u64 *)at;
        if (word <= (uintptr_t)init_start || word >= (uintptr_t)lab_start)
            continue;
        log_error("start: %p leads to %llx, which will not be there", (const void *)at,
                  (unsigned long long)word);
        found++;
    }
    return found;
}

void leftover_search(const struct guests *guests)
{
    unsigned found = search(data_start, data_end);
    for (unsigned i = 1; i < smp_online(); i++)
        found += search(cpus[i], cpus[i] + 1);
    for (unsigned i = 0; i < guests->count; i++)
        if (guests->list[i].cell)
            found += search(guests->list[i].cell, guests->list[i].cell + 1);
    if (!found)
        log_debug("start: nothing leads to it");
}
