// SPDX-License-Identifier: MIT
#include "boot/lastlog.h"

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/phys.h"

#define LINE_SHOWN 300u

// Free memory on most machines when Corbel starts. Boot loaders put modules low, and firmware keeps
// to the ends of memory: what is in the middle has the best chance to be left alone.
static const u64 places[] = {0xff00000, 0x7f00000, 0x3f00000, 0x1f00000, 0xf00000};

static struct {
    struct ramlog log;
    struct ramlog_old before;
    bool has_before;
} last;

static bool is_free(u64 base, const struct mem_range *free, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (base >= free[i].base && base - free[i].base <= free[i].size &&
            free[i].size - (base - free[i].base) >= RAMLOG_BYTES)
            return true;
    return false;
}

bool lastlog_place(const struct mem_range *free, unsigned n, struct mem_range *area)
{
    for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
        if (is_free(places[i], free, n)) {
            *area = (struct mem_range){places[i], RAMLOG_BYTES};
            return true;
        }
    }
    return false;
}

// Modules of another size may have made the last run keep its log elsewhere.
static void find_before(const struct mem_range *free, unsigned n)
{
    struct ramlog_old found;
    for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
        if (!is_free(places[i], free, n) || !ramlog_find(phys_ptr(HPA(places[i])), &found))
            continue;
        if (!last.has_before || found.run - last.before.run < 1u << 31)
            last.before = found;
        last.has_before = true;
    }
}

struct ramlog *lastlog_open(const struct mem_range *free, unsigned n, struct mem_range area,
                            void (*flush)(const volatile void *at, size_t size))
{
    last.has_before = false;
    find_before(free, n);
    u32 run = last.has_before ? last.before.run + 1 : 1;
    ramlog_start(&last.log, phys_ptr(HPA(area.base)), run, flush);
    return &last.log;
}

void lastlog_tell(void)
{
    char line[LINE_SHOWN];
    unsigned lines = 0;
    struct ramlog_old old = last.before;

    if (!last.has_before)
        return;
    while (ramlog_next_line(&old, line, sizeof(line)))
        lines++;
    if (lines)
        log_info("log: %u lines of the run before are kept (run=log shows them), the last is: %s",
                 lines, line);
}

bool lastlog_show(void)
{
    char line[LINE_SHOWN];
    struct ramlog_old old = last.before;

    if (!last.has_before) {
        log_error("no log of a run before this one was found in memory");
        return false;
    }
    while (ramlog_next_line(&old, line, sizeof(line)))
        log_info("| %s", line);
    return true;
}
