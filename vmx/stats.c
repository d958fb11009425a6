// SPDX-License-Identifier: MIT
// How often a VM exited and why.
#include "arch/x86_64/lib/log.h"
#include "vmx/hypervisor.h"

static void by_reason(const struct vcpu *v)
{
    u64 total = 0;
    for (unsigned i = 0; i < REASON_COUNT; i++)
        total += v->exits[i];
    log_info("stats: vm %s: %llu exits", v->vm->name, (unsigned long long)total);
    for (u32 i = 0; i < REASON_COUNT; i++)
        if (v->exits[i])
            log_info("stats:   %-32s %llu", exit_reason_name(i), (unsigned long long)v->exits[i]);
}

static u64 total_hits(const struct bus_range *range)
{
    u64 total = 0;
    for (unsigned i = 0; i < BUS_HITS; i++)
        total += range->hits[i];
    return total;
}

static void by_port(const struct bus *bus)
{
    const struct bus_space *ports = &bus->spaces[IO_PORT];
    for (u32 i = 0; i < ports->count; i++) {
        const struct bus_range *r = &ports->ranges[i];
        if (r->last - r->first >= BUS_HITS) {
            u64 total = total_hits(r);
            if (total)
                log_info("stats:   ports %llxH-%llxH (%s) %llu", (unsigned long long)r->first,
                         (unsigned long long)r->last, r->dev->name, (unsigned long long)total);
            continue;
        }
        for (u64 port = r->first; port <= r->last; port++)
            if (r->hits[port % BUS_HITS])
                log_info("stats:   port %llxH (%s) %u", (unsigned long long)port, r->dev->name,
                         r->hits[port % BUS_HITS]);
    }
    for (u32 i = 0; i < BUS_UNCLAIMED_PORTS; i++)
        if (bus->unclaimed_ports[i].count)
            log_info("stats:   port %xH (nobody) %u", bus->unclaimed_ports[i].port,
                     bus->unclaimed_ports[i].count);
}

static void by_address(const struct bus *bus)
{
    const struct bus_space *memory = &bus->spaces[IO_MEM];
    for (u32 i = 0; i < memory->count; i++) {
        u64 total = total_hits(&memory->ranges[i]);
        if (total)
            log_info("stats:   memory %llxH (%s) %llu", (unsigned long long)memory->ranges[i].first,
                     memory->ranges[i].dev->name, (unsigned long long)total);
    }
    if (bus->unclaimed[IO_MEM])
        log_info("stats:   memory (nobody) %llu", (unsigned long long)bus->unclaimed[IO_MEM]);
}

// The one with the lowest number that is not below from, or NULL.
static const struct msr_slot *next_msr(const struct vcpu *v, u64 from)
{
    const struct msr_slot *next = NULL;
    for (unsigned i = 0; i < MSR_SLOTS; i++) {
        const struct msr_slot *c = &v->msrs[i];
        if (c->count && c->msr >= from && (!next || c->msr < next->msr))
            next = c;
    }
    return next;
}

static void by_msr(const struct vcpu *v)
{
    const struct msr_slot *c;
    for (u64 from = 0; (c = next_msr(v, from)); from = (u64)c->msr + 1)
        log_info("stats:   MSR %xH %llu", c->msr, (unsigned long long)c->count);
}

void cell_stats(const struct cell *cell)
{
    by_reason(&cell->vcpu);
    by_port(&cell->vm.bus);
    by_address(&cell->vm.bus);
    by_msr(&cell->vcpu);
}
