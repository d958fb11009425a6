// SPDX-License-Identifier: MIT
// A VM that sees all of the guests' memory where it is: that of the guests that come with the
// kernel.
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/regs/apic.h"
#include "vmx/hypervisor.h"

static int verify_own(const struct cell *cell)
{
    const struct hypervisor *hv = cell->hv;
    struct ept_offence offence;

    if (ept_verify_excluded(&cell->vm.ept, hv->own, ARRAY_SIZE(hv->own), &offence) == OK)
        return OK;
    log_error("vm %s: guest-physical %llx reaches Corbel's own memory at %llx", cell->vm.name,
              (unsigned long long)offence.leaf.gpa.raw, (unsigned long long)offence.leaf.hpa.raw);
    return E_EXIST;
}

static void dump_line(void *ctx, const char *text)
{
    const struct cell *cell = ctx;
    log_debug("vm %s: %s", cell->vm.name, text);
}

int cell_map_identity(struct cell *cell)
{
    struct hypervisor *hv = cell->hv;
    const struct ept_identity_map map = {
        .ram = hv->ram,
        .nram = hv->nram,
        .excluded = hv->own,
        .nexcluded = ARRAY_SIZE(hv->own),
        .lapic = HPA(APIC_DEFAULT_BASE),
        .mtrr = &hv->mtrr,
    };
    int err = ept_identity(&cell->vm.ept, &map);
    for (unsigned i = 0; err == OK && i < hv->nram; i++) {
        struct vm_ram ram = {
            .gpa = GPA(hv->ram[i].base), .hpa = HPA(hv->ram[i].base), .size = hv->ram[i].size};
        err = vm_note_ram(&cell->vm, ram);
    }
    if (err == OK && log_get_level() >= LOG_DEBUG)
        ept_dump(&cell->vm.ept, dump_line, cell);
    return err ? err : verify_own(cell);
}
