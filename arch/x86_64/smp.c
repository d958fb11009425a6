// SPDX-License-Identifier: MIT
#include "arch/x86_64/smp.h"

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
#include "arch/x86_64/stacks.h"
#include "arch/x86_64/traps.h"
#include "arch/x86_64/tsc.h"

// SDM volume 3, "MP Initialization Protocol Algorithm for MP Systems".
#define INIT_US     10000u
#define SIPI_US     200u
#define START_US    1000000u
#define CALL_US     1000000u
#define STOP_US     10000u
#define LOW_MEMORY  0xa0000u
#define NO_CPU_PAGE 1u // frames of a struct cpu

_Static_assert(sizeof(struct cpu) <= NO_CPU_PAGE * PAGE_SIZE, "a struct cpu is a page");

// ap_start.asm
struct trampoline_data {
    volatile u32 alive;
    u32 tables;
    u64 efer;
    u64 host_tables;
    u64 stack;
    u64 cpu;
};
extern const u8 ap_trampoline[], ap_trampoline_data[], ap_trampoline_end[];
extern u8 boot_tables[];

void ap_main(struct cpu *cpu);

static struct {
    unsigned online; // cpus[0] to cpus[online - 1]
    u32 stopping;    // APIC ID + 1 of the CPU that has all others stop
    u32 stopped;     // how many did
    void (*leave)(void);
} smp = {.online = 1};

unsigned smp_online(void)
{
    return smp.online;
}

// Polls until *word is value; false after us microseconds.
static bool wait_for(const volatile u32 *word, u32 value, u32 us)
{
    u64 end = rdtsc() + mul_div_up(us, host_clock.hz, 1000000);
    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) != value) {
        if (rdtsc() >= end)
            return false;
        cpu_pause();
    }
    return true;
}

// ---- on the other CPUs ------------------------------------------------------------------------

// What is different in a way that matters, or NULL.
static const char *difference(void)
{
    static struct cpu_features mine;

    cpu_features_decode(&mine, cpuid);
    if (strcmp(mine.vendor, cpu_features.vendor) || mine.family != cpu_features.family)
        return "another kind of CPU than the boot CPU";
    if (mine.vmx != cpu_features.vmx)
        return "VT-x is not as on the boot CPU";
    if (mine.nx != cpu_features.nx || mine.phys_bits != cpu_features.phys_bits ||
        mine.xcr0_allowed != cpu_features.xcr0_allowed || mine.smep != cpu_features.smep ||
        mine.smap != cpu_features.smap || mine.umip != cpu_features.umip)
        return "its features differ from the boot CPU's";
    return NULL;
}

static NORETURN void park(void)
{
    for (;;) {
        cli();
        hlt();
    }
}

static void on_call(u8 vector)
{
    (void)vector;
    host_lapic_eoi();
}

void ap_main(struct cpu *cpu)
{
    gdt_load(cpu);
    idt_load();
    cpu_setup();
    host_lapic_init_ap();
    cpu->trouble = difference();
    __atomic_store_n(&cpu->state, cpu->trouble ? CPU_PARKED : CPU_ONLINE, __ATOMIC_RELEASE);
    if (cpu->trouble)
        park();
    for (;;) {
        // A call that comes after the look is what ends HLT.
        if (__atomic_load_n(&cpu->call_asked, __ATOMIC_ACQUIRE) == cpu->call_done) {
            sti_hlt_cli();
            continue;
        }
        cpu->call(cpu->call_arg);
        __atomic_store_n(&cpu->call_done, cpu->call_done + 1, __ATOMIC_RELEASE);
    }
}

// ---- starting ---------------------------------------------------------------------------------

static void fill_trampoline(u8 *page, struct cpu *cpu)
{
    memcpy(page, ap_trampoline, (size_t)(ap_trampoline_end - ap_trampoline));
    struct trampoline_data *data = (void *)(page + (ap_trampoline_data - ap_trampoline));
    data->tables = (u32)image_phys(boot_tables).raw;
    data->efer = EFER_LME | (cpu_features.nx ? EFER_NXE : 0);
    data->host_tables = paging_cr3();
    data->stack = (uintptr_t)cpu->stack_top;
    data->cpu = (uintptr_t)cpu;
}

static bool alive(const u8 *page, u32 us)
{
    const struct trampoline_data *data =
        (const void *)(page + (ap_trampoline_data - ap_trampoline));
    return wait_for(&data->alive, 1, us);
}

// INIT, SIPI, SIPI; whether the CPU runs Corbel's code.
static bool wake(const struct cpu *cpu, hpa_t trampoline)
{
    const u8 *page = phys_ptr(trampoline);
    u32 sipi = APIC_DM_STARTUP << 8 | APIC_ICR_ASSERT | (u32)(trampoline.raw >> PAGE_SHIFT);

    host_lapic_ipi(cpu->apic_id, APIC_DM_INIT << 8 | APIC_ICR_ASSERT | APIC_ICR_LEVEL);
    tsc_spin_us(INIT_US);
    host_lapic_ipi(cpu->apic_id, sipi);
    if (!alive(page, SIPI_US))
        host_lapic_ipi(cpu->apic_id, sipi);
    return alive(page, START_US);
}

// A CPU that came late must not run what will be another's page by then.
static void send_to_sleep(const struct cpu *cpu)
{
    host_lapic_ipi(cpu->apic_id, APIC_DM_INIT << 8 | APIC_ICR_ASSERT | APIC_ICR_LEVEL);
}

// NULL where there is no memory for it.
static struct cpu *make_cpu(u32 apic_id, struct frame_pool *host)
{
    hpa_t page;
    if (frame_alloc(host, NO_CPU_PAGE, PAGE_SIZE, 0, &page) != OK)
        return NULL;
    struct cpu *cpu = phys_ptr(page);
    *cpu = (struct cpu){.id = smp.online, .apic_id = apic_id, .state = CPU_STARTING};
    if (stacks_alloc(cpu, host) == OK)
        return cpu;
    frame_free(host, page, NO_CPU_PAGE);
    return NULL;
}

// The stacks of one that failed stay with it: nobody knows what it still does.
static void start(u32 apic_id, struct frame_pool *host, hpa_t trampoline)
{
    struct cpu *cpu = make_cpu(apic_id, host);
    if (!cpu) {
        log_warn("cpu with APIC ID %u: not started: no memory for its stacks", apic_id);
        return;
    }
    fill_trampoline(phys_ptr(trampoline), cpu);
    if (!wake(cpu, trampoline)) {
        send_to_sleep(cpu);
        log_warn("cpu with APIC ID %u: did not start within a second; going on without it",
                 apic_id);
        return;
    }
    u64 end = rdtsc() + mul_div_up(START_US, host_clock.hz, 1000000);
    while (__atomic_load_n(&cpu->state, __ATOMIC_ACQUIRE) == CPU_STARTING && rdtsc() < end)
        cpu_pause();
    if (cpu->state == CPU_ONLINE) {
        cpus[smp.online++] = cpu;
        return;
    }
    if (cpu->state == CPU_STARTING)
        send_to_sleep(cpu);
    log_warn("cpu with APIC ID %u: parked: %s", apic_id,
             cpu->trouble ? cpu->trouble : "it started and was not heard of again");
}

static void start_all(const struct acpi_info *acpi, struct frame_pool *host, hpa_t trampoline)
{
    for (unsigned i = 0; i < acpi->ncpus; i++) {
        const struct acpi_cpu *row = &acpi->cpus[i];
        if (!row->enabled || row->apic_id == this_cpu()->apic_id)
            continue;
        if (smp.online == MAX_CPUS)
            log_warn("cpu with APIC ID %u: not started: Corbel keeps %u CPUs", row->apic_id,
                     MAX_CPUS);
        else if (row->apic_id > 254 && !host_lapic_x2())
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

    unsigned others = 0;
    for (unsigned i = 0; i < acpi->ncpus; i++)
        others += acpi->cpus[i].enabled && acpi->cpus[i].apic_id != this_cpu()->apic_id;
    if (!others)
        return;
    if (frame_alloc(low, 1, PAGE_SIZE, LOW_MEMORY, &trampoline) != OK) {
        log_warn("cpus: no page below 640 KiB to start the other %u with", others);
        return;
    }
    trap_set_handler(VECTOR_CALL, on_call);
    memcpy(saved, phys_ptr(trampoline), PAGE_SIZE);
    start_all(acpi, host, trampoline);
    memcpy(phys_ptr(trampoline), saved, PAGE_SIZE);
    frame_free(low, trampoline, 1);
    log_info("cpus: %u of %u are up", smp.online, others + 1);
}

// ---- calling ----------------------------------------------------------------------------------

int smp_call(struct cpu *cpu, void (*fn)(void *arg), void *arg)
{
    if (cpu->state != CPU_ONLINE)
        return E_TIMEOUT;
    cpu->call = fn;
    cpu->call_arg = arg;
    u32 number = cpu->call_done + 1;
    __atomic_store_n(&cpu->call_asked, number, __ATOMIC_RELEASE);
    host_lapic_ipi(cpu->apic_id, APIC_ICR_ASSERT | VECTOR_CALL);
    if (wait_for(&cpu->call_done, number, CALL_US))
        return OK;
    cpu->state = CPU_LOST;
    log_warn("cpu %u (APIC ID %u) does not answer any more", cpu->id, cpu->apic_id);
    return E_TIMEOUT;
}

unsigned smp_call_others(void (*fn)(void *arg), void *arg)
{
    unsigned n = 0;
    for (unsigned i = 0; i < smp.online; i++)
        if (cpus[i] != this_cpu() && smp_call(cpus[i], fn, arg) == OK)
            n++;
    return n;
}

// ---- stopping ---------------------------------------------------------------------------------

void smp_set_leave(void (*leave)(void))
{
    smp.leave = leave;
}

void smp_nmi(void)
{
    if (!__atomic_load_n(&smp.stopping, __ATOMIC_ACQUIRE) ||
        smp.stopping == this_cpu()->apic_id + 1)
        return;
    if (smp.leave)
        smp.leave();
    __atomic_add_fetch(&smp.stopped, 1, __ATOMIC_RELEASE);
    park();
}

void smp_stop_others(void)
{
    u32 none = 0;
    if (smp.online < 2 ||
        !__atomic_compare_exchange_n(&smp.stopping, &none, this_cpu()->apic_id + 1, false,
                                     __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return;
    unsigned asked = 0;
    for (unsigned i = 0; i < smp.online; i++) {
        if (cpus[i] == this_cpu())
            continue;
        cpus[i]->state = CPU_LOST;
        host_lapic_ipi(cpus[i]->apic_id, APIC_DM_NMI << 8 | APIC_ICR_ASSERT);
        asked++;
    }
    (void)wait_for(&smp.stopped, asked, STOP_US);
}
