// SPDX-License-Identifier: MIT
// Measures VM exits from inside: each operation bracketed by RDTSC, the cost of an empty bracket
// taken off, minimum, median and maximum of RUNS. A line a measurement, tab-separated:
// bench, name, minimum, median, maximum, VMREADs, VMWRITEs (per operation, "-" if not counted).
#include "guest/tiny/rt.h"

#define RUNS  1000u
#define UART  0x3f8
#define TIMER 0x50
#define SELF  0x51

void guest_main(const struct guest_info *info);

static u32 samples[RUNS];
static u32 empty; // ticks of an empty bracket
static volatile u64 handler_tsc;

// Shell sort: in place, no recursion, quick enough for a thousand.
static void sort(u32 *a, unsigned n)
{
    for (unsigned gap = n / 2; gap; gap /= 2)
        for (unsigned i = gap; i < n; i++) {
            u32 value = a[i];
            unsigned k = i;
            for (; k >= gap && a[k - gap] > value; k -= gap)
                a[k] = a[k - gap];
            a[k] = value;
        }
}

static u64 vmcs_count(void)
{
    return vmcall(HYPERCALL_VMCS_COUNT, 0);
}

static void print_count(u64 total, u64 own)
{
    rt_putc('\t');
    rt_print_u64((total - own + RUNS / 2) / RUNS);
}

// What the two calls that count cost themselves.
static u64 own_count(void)
{
    u64 before = vmcs_count();
    return vmcs_count() - before;
}

static void report(const char *name, u64 counted)
{
    sort(samples, RUNS);
    rt_print("bench\t");
    rt_print(name);
    const u32 shown[3] = {samples[0], samples[RUNS / 2], samples[RUNS - 1]};
    for (unsigned i = 0; i < 3; i++) {
        rt_putc('\t');
        rt_print_u64(shown[i] > empty ? shown[i] - empty : 0);
    }
    if (vmcs_count() == HYPERCALL_UNKNOWN) {
        rt_print("\t-\t-\n");
        return;
    }
    u64 own = own_count();
    print_count(counted & 0xffffffffu, own & 0xffffffffu);
    print_count(counted >> 32, own >> 32);
    rt_putc('\n');
}

#define MEASURE(name, operation)                                                                   \
    do {                                                                                           \
        u64 count_ = vmcs_count();                                                                 \
        for (unsigned i_ = 0; i_ < RUNS; i_++) {                                                   \
            u64 start_ = rdtsc();                                                                  \
            operation;                                                                             \
            samples[i_] = (u32)(rdtsc() - start_);                                                 \
        }                                                                                          \
        report(name, vmcs_count() - count_);                                                       \
    } while (0)

static void find_empty(void)
{
    for (unsigned i = 0; i < RUNS; i++) {
        u64 start = rdtsc();
        samples[i] = (u32)(rdtsc() - start);
    }
    sort(samples, RUNS);
    empty = samples[RUNS / 2];
}

static void outsb_64(void)
{
    static const u8 zeros[64];
    const u8 *from = zeros;
    u64 count = sizeof(zeros);
    __asm__ volatile("rep outsb" : "+S"(from), "+c"(count) : "d"(UART) : "memory");
}

static void xsetbv(u64 value)
{
    __asm__ volatile("xsetbv" : : "c"(0), "a"((u32)value), "d"((u32)(value >> 32)));
}

static u64 cr0(void)
{
    u64 value;
    __asm__ volatile("mov %%cr0, %0" : "=r"(value));
    return value;
}

static u64 cr3(void)
{
    u64 value;
    __asm__ volatile("mov %%cr3, %0" : "=r"(value));
    return value;
}

static u64 cr4(void)
{
    u64 value;
    __asm__ volatile("mov %%cr4, %0" : "=r"(value));
    return value;
}

static void set_cr0(u64 value)
{
    __asm__ volatile("mov %0, %%cr0" : : "r"(value) : "memory");
}

static void set_cr3(u64 value)
{
    __asm__ volatile("mov %0, %%cr3" : : "r"(value) : "memory");
}

static void set_cr4(u64 value)
{
    __asm__ volatile("mov %0, %%cr4" : : "r"(value) : "memory");
}

static void instructions(void)
{
    MEASURE("CPUID", cpuid(0, 0));
    MEASURE("VMCALL", vmcall(HYPERCALL_PING, 0));
    MEASURE("RDMSR intercepted", rdmsr(IA32_APIC_BASE));
    MEASURE("WRMSR intercepted", wrmsr(IA32_BIOS_SIGN_ID, 0));
    if (cpuid(1, 0).ecx & CPUID_1_ECX_XSAVE) {
        set_cr4(cr4() | CR4_OSXSAVE);
        MEASURE("XSETBV", xsetbv(XCR0_X87 | XCR0_SSE));
    }
    u64 value = cr0();
    MEASURE("CR0.TS write", set_cr0(value ^ CR0_TS));
    set_cr0(value);
    value = cr4();
    MEASURE("CR4.PGE write", set_cr4(value ^ CR4_PGE));
    set_cr4(value);
    value = cr3();
    MEASURE("CR3 write", set_cr3(value));
    MEASURE("WBINVD", __asm__ volatile("wbinvd" : : : "memory"));
}

static void ports(void)
{
    MEASURE("PIT read", inb(0x40));
    MEASURE("PIC read", inb(0x21));
    MEASURE("PIC write", outb(0x21, 0xff));
    MEASURE("UART write", outb(UART, 0));
    MEASURE("UART line-status read", inb(UART + 5));
    MEASURE("REP OUTSB of 64 bytes", outsb_64());
}

static void on_interrupt(struct rt_frame *frame)
{
    (void)frame;
    handler_tsc = rdtsc();
    if (rdmsr(IA32_APIC_BASE) & APIC_BASE_X2APIC)
        x2apic_write(APIC_EOI, 0);
    else
        xapic_write(APIC_EOI, 0);
}

static void xapic(void)
{
    xapic_write(APIC_SVR, APIC_SVR_ENABLE | 0xff);
    MEASURE("xAPIC read", xapic_read(APIC_ID));
    MEASURE("xAPIC EOI", xapic_write(APIC_EOI, 0));
    MEASURE("xAPIC TPR write", xapic_write(APIC_TPR, 0));
}

static void x2apic(void)
{
    wrmsr(IA32_APIC_BASE, rdmsr(IA32_APIC_BASE) | APIC_BASE_X2APIC);
    x2apic_write(APIC_TDCR, 0xb);
    x2apic_write(APIC_LVT_TIMER, APIC_LVT_MASKED | TIMER);
    MEASURE("x2APIC timer read", x2apic_read(APIC_TMCCT));
    MEASURE("x2APIC initial-count write", x2apic_write(APIC_TMICT, 0x7fffffff));
    x2apic_write(APIC_TMICT, 0);
    MEASURE("x2APIC EOI", x2apic_write(APIC_EOI, 0));
}

// The interrupt comes with the first instruction after the write, IF being set.
static void self_ipi(void)
{
    rt_set_handler(SELF, on_interrupt);
    u64 count = vmcs_count();
    sti();
    for (unsigned i = 0; i < RUNS; i++) {
        u64 start = rdtsc();
        x2apic_write(APIC_SELF_IPI, SELF);
        samples[i] = (u32)(handler_tsc - start);
    }
    cli();
    report("self-IPI to handler", vmcs_count() - count);
}

#define AHEAD 4000u // ticks from arming to the deadline

static void deadlines(const char *name, bool halt)
{
    u64 count = vmcs_count();
    for (unsigned i = 0; i < RUNS; i++) {
        u64 deadline = rdtsc() + AHEAD;
        handler_tsc = 0;
        wrmsr(IA32_TSC_DEADLINE, deadline);
        if (halt) {
            sti_hlt_cli();
        } else {
            sti();
            while (!handler_tsc)
                __asm__ volatile("" : : : "memory");
            cli();
        }
        samples[i] = (u32)(handler_tsc - deadline) + empty;
    }
    report(name, vmcs_count() - count);
}

static void timer(void)
{
    rt_set_handler(TIMER, on_interrupt);
    x2apic_write(APIC_LVT_TIMER, 2u << 17 | TIMER);
    u64 far = rdtsc() + (1ull << 40);
    MEASURE("TSC-deadline write", wrmsr(IA32_TSC_DEADLINE, far));
    wrmsr(IA32_TSC_DEADLINE, 0);
    deadlines("deadline to handler, spinning", false);
    deadlines("HLT to timer wake", true);
}

// Each page is touched once: Corbel maps it then.
static void ept_fill(void)
{
    volatile u8 *page = (volatile u8 *)rt_info->scratch;
    u64 count = vmcs_count();
    for (unsigned i = 0; i < RUNS; i++, page += 4096) {
        u64 start = rdtsc();
        (void)*page;
        samples[i] = (u32)(rdtsc() - start);
    }
    report("EPT violation, page filled", vmcs_count() - count);
}

void guest_main(const struct guest_info *info)
{
    rt_init(info);
    find_empty();
    instructions();
    ports();
    xapic();
    ept_fill();
    if (info->features & GUEST_HAS_X2APIC) {
        x2apic();
        self_ipi();
        timer();
    }
    rt_exit(0);
}
