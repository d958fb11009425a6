// SPDX-License-Identifier: MIT
#include "arch/x86_64/paging.h"

#include "arch/x86_64/insn.h"
#include "arch/x86_64/layout.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/smp.h"

static hpa_t root;

INIT void paging_use(hpa_t table)
{
    root = table;
    paging_load();
}

void paging_load(void)
{
    write_cr3(root.raw);
}

u64 paging_cr3(void)
{
    return root.raw;
}

bool paging_lookup(const volatile void *addr, struct page_mapping *out)
{
    return pagetable_lookup(root, (uintptr_t)addr, out);
}

static void forget(void *arg)
{
    (void)arg;
    paging_load();
}

int paging_withdraw(const u8 *first, const u8 *last)
{
    u64 size = (u64)(last - first);
    int err = pagetable_withdraw(root, (uintptr_t)first, size);
    if (err == OK)
        err = pagetable_make_writable(root, PHYS_WINDOW + image_phys(first).raw, size);
    forget(NULL);
    if (smp_call_others(forget, NULL) != smp_online() - 1)
        err = E_TIMEOUT;
    return err;
}
