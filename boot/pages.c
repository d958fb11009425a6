// SPDX-License-Identifier: MIT
#include "boot/pages.h"

#include "arch/x86_64/console.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/timer.h"
#include "arch/x86_64/tsc.h"
#include "boot/pager.h"

#define FIRST_SECONDS  30u // of the page with the results
#define SECONDS        10u // of each other page
#define LOOKS_A_SECOND 20u // for a key

static struct {
    struct pager pager;
    char text[LOG_RING_SIZE];
    size_t length;
    u8 scancode;
} pages;

static void keep(const char *text, size_t length)
{
    size_t room = sizeof(pages.text) - pages.length;
    if (length > room)
        length = room;
    memcpy(pages.text + pages.length, text, length);
    pages.length += length;
}

static void sleep_until(u64 deadline)
{
    // A timer that counts by a frequency of its own may fire a little early.
    while (rdtsc() < deadline) {
        timer_arm(deadline);
        sti_hlt_cli();
    }
}

// Whether a key ended the wait.
static bool wait_for_key(u64 seconds, bool for_ever)
{
    u64 look = host_clock.hz / LOOKS_A_SECOND;
    for (u64 looks = seconds * LOOKS_A_SECOND; looks || for_ever; looks--) {
        sleep_until(rdtsc() + look);
        if (pager_key(&host_ports, &pages.scancode))
            return true;
    }
    return false;
}

void pages_show(void)
{
    struct textgrid *grid = console_grid();
    bool by_key = false;

    if (!grid || !host_clock.hz)
        return;
    log_replay(keep);
    pager_init(&pages.pager, grid, pages.text, pages.length);
    if (pages.pager.pages == 1)
        return;
    pager_key(&host_ports, &pages.scancode); // what was pressed before is not meant for this
    for (unsigned page = 0;; page = (page + 1) % pages.pager.pages) {
        pager_page(&pages.pager, page,
                   by_key ? ", a key turns it" : ", turned by a key, or by itself");
        console_show();
        by_key |= wait_for_key(page ? SECONDS : FIRST_SECONDS, by_key);
    }
}
