// SPDX-License-Identifier: MIT
// The default guest: it shows that each part of the machine works and ends by the debug-exit port.
// The same source makes the 64-bit and the 32-bit program.
#include "guest/tiny/rt.h"

#define PIC1       0x20
#define PIC2       0xa0
#define IRQ_BASE   0x20
#define TIMER_VEC  0x50
#define PIT_HZ     1193182u
#define PIT_RATE   100u
#define PIT_TICKS  10u
#define TIMER_RUNS 5u

void guest_main(const struct guest_info *info);

static volatile u32 pit_ticks, timer_ticks;

static void line(const char *text)
{
    rt_print("tiny: ");
    rt_print(text);
}

static void show_cpuid(void)
{
    char text[13] = {0};
    struct cpuid_regs r = cpuid(0, 0);
    const u32 vendor[3] = {r.ebx, r.edx, r.ecx};
    __builtin_memcpy(text, vendor, 12);
    line("CPUID: ");
    rt_print(text);
    r = cpuid(0x40000000, 0);
    const u32 signature[3] = {r.ebx, r.ecx, r.edx};
    __builtin_memcpy(text, signature, 12);
    rt_print(" under ");
    rt_print(text);
    rt_print(", highest leaf ");
    rt_print_hex(cpuid(0, 0).eax, 2);
    rt_print("\n");
}

static void on_pit(struct rt_frame *frame)
{
    (void)frame;
    pit_ticks++;
    outb(PIC1, 0x20);
}

static void init_pics(void)
{
    static const struct {
        u16 port;
        u8 value;
    } words[] = {
        {PIC1,     0x11    },
        {PIC1 + 1, IRQ_BASE},
        {PIC1 + 1, 4       },
        {PIC1 + 1, 1       },
        {PIC2,     0x11    },
        {PIC2 + 1, 0x28    },
        {PIC2 + 1, 2       },
        {PIC2 + 1, 1       },
        {PIC1 + 1, 0xfe    }, // IRQ 0 only
        {PIC2 + 1, 0xff    },
    };
    for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        outb(words[i].port, words[i].value);
}

// Ten interrupts a hundredth of a second apart, asleep in between.
static void count_pit(void)
{
    u32 count = PIT_HZ / PIT_RATE;

    init_pics();
    rt_set_handler(IRQ_BASE, on_pit);
    outb(0x43, 0x34); // channel 0, low and high byte, mode 2
    outb(0x40, (u8)count);
    outb(0x40, (u8)(count >> 8));
    u64 start = rdtsc();
    while (pit_ticks < PIT_TICKS)
        sti_hlt_cli();
    u64 ticks = rdtsc() - start;
    outb(PIC1 + 1, 0xff);
    line("PIT: ");
    rt_print_u64(pit_ticks);
    rt_print(" interrupts at 100 Hz took ");
    rt_print_u64(rt_div(ticks, (u32)rt_div(rt_info->tsc_hz, 1000)));
    rt_print(" ms\n");
}

static void on_timer(struct rt_frame *frame)
{
    (void)frame;
    timer_ticks++;
    xapic_write(APIC_EOI, 0);
}

static void report_timer(const char *mode, u64 ticks)
{
    line("LAPIC timer, ");
    rt_print(mode);
    rt_print(": ");
    rt_print_u64(timer_ticks);
    rt_print(" interrupts, ");
    rt_print_u64(rt_div(ticks, (u32)rt_div(rt_info->tsc_hz, 1000000)));
    rt_print(" us\n");
}

#define PERIOD_US 200u

static void lapic_timer(void)
{
    u32 count = (u32)rt_div(rt_info->lapic_hz, 1000000u / PERIOD_US);
    u64 tsc_period = rt_div(rt_info->tsc_hz, 1000000u / PERIOD_US);

    rt_set_handler(TIMER_VEC, on_timer);
    xapic_write(APIC_SVR, APIC_SVR_ENABLE | 0xff);
    xapic_write(APIC_TDCR, 0xb); // divide by 1

    timer_ticks = 0;
    u64 start = rdtsc();
    xapic_write(APIC_LVT_TIMER, TIMER_VEC);
    while (timer_ticks < TIMER_RUNS) {
        xapic_write(APIC_TMICT, count);
        sti_hlt_cli();
    }
    report_timer("one-shot", rdtsc() - start);

    timer_ticks = 0;
    start = rdtsc();
    xapic_write(APIC_LVT_TIMER, 1u << 17 | TIMER_VEC);
    xapic_write(APIC_TMICT, count);
    while (timer_ticks < TIMER_RUNS)
        sti_hlt_cli();
    xapic_write(APIC_TMICT, 0);
    report_timer("periodic", rdtsc() - start);

    if (!(rt_info->features & GUEST_HAS_TSC_DEADLINE)) {
        line("LAPIC timer, TSC-deadline: not offered\n");
        return;
    }
    timer_ticks = 0;
    start = rdtsc();
    xapic_write(APIC_LVT_TIMER, 2u << 17 | TIMER_VEC);
    while (timer_ticks < TIMER_RUNS) {
        wrmsr(IA32_TSC_DEADLINE, start + (timer_ticks + 1) * tsc_period);
        sti_hlt_cli();
    }
    report_timer("TSC-deadline", rdtsc() - start);
}

void guest_main(const struct guest_info *info)
{
    rt_init(info);
    line("hello from ");
    rt_print(sizeof(void *) == 8 ? "64-bit" : "32-bit protected");
    rt_print(" mode\n");
    show_cpuid();
    count_pit();
    lapic_timer();
    line("done\n");
    rt_exit(0);
}
