// SPDX-License-Identifier: MIT
// Starting the other CPUs.
#include "arch/x86_64/cpu_start.h"
#include "arch/x86_64/host_lapic.h"
#include "arch/x86_64/idt.h"
#include "arch/x86_64/layout.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/regs/apic.h"
#include "arch/x86_64/regs/msr.h"
#include "arch/x86_64/smp_parts.h"
#include "arch/x86_64/stacks.h"
#include "arch/x86_64/traps.h"
#include "arch/x86_64/tsc.h"

#define READY_US   1000000u
#define LOW_MEMORY 0xa0000u

_Static_assert(sizeof(struct cpu) <= PAGE_SIZE, "a struct cpu is a page");

// ap_start.asm
struct trampoline_data {
    volatile u32 alive;
    u32 tables;
    u32 efer;
    u32 has_misc_enable; // the MSR that can hide NX is there
    u64 host_tables;
    u64 stack;
    u64 cpu;
};
extern const u8 ap_trampoline[], ap_trampoline_data[], ap_trampoline_end[];
extern u8 boot_tables[];

void ap_main(struct cpu *cpu);

// ---- on the other CPUs ------------------------------------------------------------------------

static void come_up(struct cpu *cpu)
{
    static struct cpu_features mine; // one CPU comes up at a time

    gdt_load(cpu);
    idt_load();
    cpu_unhide_features();
    // Before cpu_setup: bits of CR4 that it has not would fault.
    cpu_features_decode(&mine, cpuid);
    cpu->trouble = cpu_difference(&mine, &cpu_features);
    if (!cpu->trouble) {
        cpu_setup();
        host_lapic_init_ap();
    }
    __atomic_store_n(&cpu->state, cpu->trouble ? CPU_PARKED : CPU_ONLINE, __ATOMIC_RELEASE);
}

void ap_main(struct cpu *cpu)
{
    come_up(cpu);
    if (cpu->trouble)
        smp_park();
    smp_serve(cpu);
}

// ---- starting ---------------------------------------------------------------------------------

static void fill_trampoline(u8 *page, struct cpu *cpu)
{
    u64 misc;
    memcpy(page, ap_trampoline, (size_t)(ap_trampoline_end - ap_trampoline));
    struct trampoline_data *data = (void *)(page + (ap_trampoline_data - ap_trampoline));
    data->tables = (u32)image_phys(boot_tables).raw;
    data->efer = EFER_LME | (cpu_features.nx ? EFER_NXE : 0);
    data->has_misc_enable = cpu_features.nx && rdmsr_safe(IA32_MISC_ENABLE, &misc);
    data->host_tables = paging_cr3();
    data->stack = (uintptr_t)cpu->stack_top;
    data->cpu = (uintptr_t)cpu;
}

static void send_ipi(void *ctx, u32 apic_id, u32 icr)
{
    (void)ctx;
    host_lapic_ipi(apic_id, icr);
}

static void spin(void *ctx, u32 us)
{
    (void)ctx;
    tsc_spin_us(us);
}

static bool alive(void *page, u32 us)
{
    const struct trampoline_data *data =
        (const void *)((const u8 *)page + (ap_trampoline_data - ap_trampoline));
    return smp_wait_for(&data->alive, 1, us);
}

// NULL where there is no memory for it.
static struct cpu *make_cpu(u32 apic_id, struct frame_pool *host)
{
    hpa_t page;
    if (frame_alloc(host, 1, PAGE_SIZE, 0, &page) != OK)
        return NULL;
    struct cpu *cpu = phys_ptr(page);
    *cpu = (struct cpu){.id = smp_online(), .apic_id = apic_id, .state = CPU_STARTING};
    if (stacks_alloc(cpu, host) == OK)
        return cpu;
    frame_free(host, page, 1);
    return NULL;
}

// The stacks of one that failed stay with it: nobody knows what it still does.
static void start(u32 apic_id, struct frame_pool *host, hpa_t trampoline)
{
    const struct cpu_waker waker = {send_ipi, spin, alive, phys_ptr(trampoline)};
    struct cpu *cpu = make_cpu(apic_id, host);
    if (!cpu) {
        log_warn("cpu with APIC ID %u: not started: no memory for its stacks", apic_id);
        return;
    }
    fill_trampoline(phys_ptr(trampoline), cpu);
    if (!cpu_wake(&waker, apic_id, (u8)(trampoline.raw >> PAGE_SHIFT))) {
        // Should it come late, it must not run what will be another's page by then.
        cpu_send_to_sleep(&waker, apic_id);
        log_warn("cpu with APIC ID %u: did not start within a second; going on without it",
                 apic_id);
        return;
    }
    u64 end = rdtsc() + mul_div_up(READY_US, host_clock.hz, 1000000);
    while (__atomic_load_n(&cpu->state, __ATOMIC_ACQUIRE) == CPU_STARTING && rdtsc() < end)
        cpu_pause();
    if (cpu->state == CPU_ONLINE) {
        smp_add(cpu);
        return;
    }
    if (cpu->state == CPU_STARTING)
        cpu_send_to_sleep(&waker, apic_id);
    log_warn("cpu with APIC ID %u: parked: %s", apic_id,
             cpu->trouble ? cpu->trouble : "it started and was not heard of again");
}

static void start_all(const struct acpi_info *acpi, struct frame_pool *host, hpa_t trampoline)
{
    for (unsigned i = 0; i < acpi->ncpus; i++) {
        const struct acpi_cpu *row = &acpi->cpus[i];
        if (!row->enabled || row->apic_id == this_cpu()->apic_id)
            continue;
        if (smp_online() == MAX_CPUS)
            log_warn("cpu with APIC ID %u: not started: Corbel keeps %u CPUs", row->apic_id,
                     MAX_CPUS);
        else if (row->apic_id > XAPIC_ID_MAX && !host_lapic_x2())
            log_warn("cpu with APIC ID %u: not started: it can be reached in x2APIC mode only",
                     row->apic_id);
        else
            start(row->apic_id, host, trampoline);
    }
}

void smp_start(const struct acpi_info *acpi, struct frame_pool *host, struct frame_pool *low)
{
    static u8 saved[PAGE_SIZE];
    hpa_t trampoline;

    unsigned others = cpu_start_count(acpi, this_cpu()->apic_id);
    if (!others)
        return;
    if (frame_alloc(low, 1, PAGE_SIZE, LOW_MEMORY, &trampoline) != OK) {
        log_warn("cpus: no page below 640 KiB to start the other %u with", others);
        return;
    }
    trap_set_handler(VECTOR_CALL, smp_on_call);
    memcpy(saved, phys_ptr(trampoline), PAGE_SIZE);
    start_all(acpi, host, trampoline);
    memcpy(phys_ptr(trampoline), saved, PAGE_SIZE);
    frame_free(low, trampoline, 1);
    log_info("cpus: %u of %u are up", smp_online(), others + 1);
}
