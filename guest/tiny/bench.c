// SPDX-License-Identifier: MIT
// Measures VM exits from inside: each operation bracketed by RDTSC, the cost of an empty bracket
// taken off, minimum, median, 99th percentile and maximum of RUNS. A line a measurement, tabs
// between: bench, name, minimum, median, p99, maximum, VMREADs, VMWRITEs (per operation, "-" if not
// counted), the TSC at which the last bracket began and ended (for tools/profile.py).
#include "guest/tiny/rt.h"

#define RUNS     1000u
#define P99      (RUNS * 99 / 100)
#define PIT      0x40
#define PIC_DATA 0x21
#define UART     0x3f8
#define UART_LSR (UART + 5)
#define IOAPIC   0xfec00000u
#define TIMER    0x50
#define SELF     0x51

void guest_main(const struct guest_info *info);

static u32 samples[RUNS];
static u32 empty;            // ticks of an empty bracket
static u64 last_at, last_to; // TSC where the last bracket began and ended
static volatile u64 handler_tsc;

// One block, so that no compiler moves a part of it into or out of a bracket.
__attribute__((always_inline)) static inline u64 ticks(void)
{
    u64 now;
    __asm__ volatile("rdtsc; shl $32, %%rdx; or %%rdx, %0" : "=a"(now) : : "rdx", "memory");
    return now;
}

static void take(unsigned run, u64 at, u64 to)
{
    samples[run] = (u32)(to - at);
    last_at = at;
    last_to = to;
}

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

// ---- reports ----------------------------------------------------------------------------------

static u64 vmcs_count(void)
{
    return vmcall(HYPERCALL_VMCS_COUNT, 0);
}

// What the two calls that count cost themselves.
static u64 own_count(void)
{
    u64 before = vmcs_count();
    return vmcs_count() - before;
}

static void cell(u64 value)
{
    rt_putc('\t');
    rt_print_u64(value);
}

static void count_cell(u64 total, u64 own)
{
    cell((total - own + RUNS / 2) / RUNS);
}

static void report(const char *name, u64 counted)
{
    sort(samples, RUNS);
    rt_print("bench\t");
    rt_print(name);
    const u32 shown[] = {samples[0], samples[RUNS / 2], samples[P99], samples[RUNS - 1]};
    for (unsigned i = 0; i < ARRAY_SIZE(shown); i++)
        cell(shown[i] > empty ? shown[i] - empty : 0);
    if (vmcs_count() == HYPERCALL_UNKNOWN) {
        rt_print("\t-\t-");
    } else {
        u64 own = own_count();
        count_cell(counted & 0xffffffffu, own & 0xffffffffu);
        count_cell(counted >> 32, own >> 32);
    }
    cell(last_at);
    cell(last_to);
    rt_putc('\n');
}

#define BRACKET(operation)                                                                         \
    do {                                                                                           \
        for (unsigned i_ = 0; i_ < RUNS; i_++) {                                                   \
            u64 start_ = ticks();                                                                  \
            operation;                                                                             \
            take(i_, start_, ticks());                                                             \
        }                                                                                          \
    } while (0)

#define MEASURE(name, operation)                                                                   \
    do {                                                                                           \
        u64 count_ = vmcs_count();                                                                 \
        BRACKET(operation);                                                                        \
        report(name, vmcs_count() - count_);                                                       \
    } while (0)

static void find_empty(void)
{
    BRACKET(__asm__ volatile(""));
    sort(samples, RUNS);
    empty = samples[RUNS / 2];
}

// ---- instructions -----------------------------------------------------------------------------

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
    MEASURE("cpuid", cpuid(0, 0));
    MEASURE("vmcall", vmcall(HYPERCALL_PING, 0));
    MEASURE("rdmsr", rdmsr(IA32_APIC_BASE));
    MEASURE("wrmsr", wrmsr(IA32_BIOS_SIGN_ID, 0));
    if (cpuid(1, 0).ecx & CPUID_1_ECX_XSAVE) {
        set_cr4(cr4() | CR4_OSXSAVE);
        MEASURE("xsetbv", xsetbv(XCR0_X87 | XCR0_SSE));
    }
    u64 value = cr0();
    MEASURE("cr0_write", set_cr0(value ^ CR0_TS));
    set_cr0(value);
    value = cr4();
    MEASURE("cr4_write", set_cr4(value ^ CR4_PGE));
    set_cr4(value);
    value = cr3();
    MEASURE("cr3_write", set_cr3(value));
    MEASURE("wbinvd", __asm__ volatile("wbinvd" : : : "memory"));
}

// ---- devices ----------------------------------------------------------------------------------

static void outsb_64(void)
{
    static const u8 zeros[64];
    const u8 *from = zeros;
    u64 count = sizeof(zeros);
    __asm__ volatile("rep outsb" : "+S"(from), "+c"(count) : "d"(UART) : "memory");
}

static u32 mmio_read(u64 address)
{
    return *(volatile u32 *)address;
}

static void devices(void)
{
    outb(PIT + 3, 0x34); // counter 0 as PCs run it: mode 2, 65536
    outb(PIT, 0);
    outb(PIT, 0);
    MEASURE("pit_read", inb(PIT));
    outb(PIT + 3, 0x30); // and mode 0, which waits for a count
    MEASURE("pic_read", inb(PIC_DATA));
    MEASURE("pic_write", outb(PIC_DATA, 0xff));
    MEASURE("uart_write", outb(UART, 0));
    MEASURE("uart_lsr", inb(UART_LSR));
    MEASURE("rep_outsb_64", outsb_64());
    *(volatile u32 *)(u64)IOAPIC = 1; // its register select: the version
    MEASURE("ioapic_read", mmio_read(IOAPIC + 0x10));
}

// Each page is touched once: Corbel maps it then.
static void ept_fill(void)
{
    volatile u8 *page = (volatile u8 *)rt_info->scratch;
    u64 count = vmcs_count();
    for (unsigned i = 0; i < RUNS; i++, page += 4096) {
        u64 start = ticks();
        (void)*page;
        take(i, start, ticks());
    }
    report("ept_fill", vmcs_count() - count);
}

// ---- the local APIC ---------------------------------------------------------------------------

static void xapic(void)
{
    xapic_write(APIC_SVR, APIC_SVR_ENABLE | 0xff);
    xapic_write(APIC_TMICT, 0x7fffffff);
    MEASURE("xapic_timer_read", xapic_read(APIC_TMCCT));
    xapic_write(APIC_TMICT, 0);
    MEASURE("xapic_eoi", xapic_write(APIC_EOI, 0));
    MEASURE("xapic_tpr", xapic_write(APIC_TPR, 0));
}

static void x2apic(void)
{
    wrmsr(IA32_APIC_BASE, rdmsr(IA32_APIC_BASE) | APIC_BASE_X2APIC);
    x2apic_write(APIC_TDCR, 0xb);
    x2apic_write(APIC_LVT_TIMER, APIC_LVT_MASKED | TIMER);
    MEASURE("x2apic_timer_write", x2apic_write(APIC_TMICT, 0x7fffffff));
    MEASURE("x2apic_timer_read", x2apic_read(APIC_TMCCT));
    x2apic_write(APIC_TMICT, 0);
    MEASURE("x2apic_eoi", x2apic_write(APIC_EOI, 0));
}

// Entered by the CPU itself, without the runtime's way to a handler: that is not what is measured.
__attribute__((interrupt)) static void on_interrupt(struct interrupt_frame *frame)
{
    u32 low, high;
    (void)frame;
    // No call: clang wants none from here that may change a register.
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    handler_tsc = (u64)high << 32 | low;
    __asm__ volatile("wrmsr"
                     :
                     : "c"(IA32_X2APIC_FIRST + (APIC_EOI >> 4)), "a"(0), "d"(0)
                     : "memory");
}

// The interrupt comes with the first instruction after the write, IF being set.
static void self_ipi(void)
{
    rt_set_entry(SELF, on_interrupt);
    u64 count = vmcs_count();
    sti();
    for (unsigned i = 0; i < RUNS; i++) {
        u64 start = ticks();
        x2apic_write(APIC_SELF_IPI, SELF);
        take(i, start, handler_tsc);
    }
    cli();
    report("self_ipi", vmcs_count() - count);
}

#define AHEAD 4000u // ticks from arming to the deadline

static void deadlines(const char *name, bool halt)
{
    u64 count = vmcs_count();
    for (unsigned i = 0; i < RUNS; i++) {
        u64 deadline = ticks() + AHEAD;
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
        take(i, deadline - empty, handler_tsc); // no bracket here
    }
    report(name, vmcs_count() - count);
}

static void timer(void)
{
    rt_set_entry(TIMER, on_interrupt);
    x2apic_write(APIC_LVT_TIMER, 2u << 17 | TIMER);
    u64 far = ticks() + (1u << 30);
    MEASURE("tsc_deadline_write", wrmsr(IA32_TSC_DEADLINE, far));
    wrmsr(IA32_TSC_DEADLINE, 0);
    deadlines("deadline_spin", false);
    deadlines("deadline_hlt", true);
}

void guest_main(const struct guest_info *info)
{
    rt_init(info);
    find_empty();
    instructions();
    devices();
    xapic();
    ept_fill();
    if (info->features & GUEST_HAS_X2APIC) {
        x2apic();
        self_ipi();
        timer();
    }
    rt_exit(0);
}
