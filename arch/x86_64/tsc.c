// SPDX-License-Identifier: MIT
#include "arch/x86_64/tsc.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/tsc_decide.h"

#define PM_TIMER_HZ   3579545u
#define PM_TIMER_MASK 0xffffffu // 24 bits are there in any case

// 8254, channel 2: its gate is ours through port 61H and nothing else uses it but the speaker.
#define PIT_HZ             1193182u
#define PIT_CHANNEL2       0x42
#define PIT_COMMAND        0x43
#define PIT_START_CHANNEL2 0xb0 // both bytes, mode 0, binary
#define PIT_LATCH_CHANNEL2 0x80
#define PORT_B             0x61
#define PORT_B_GATE2       BIT32(0)
#define PORT_B_SPEAKER     BIT32(1)

// IA-PC HPET specification, "Register Overview".
#define HPET_SIZE       0x400u
#define HPET_PERIOD     0x004 // femtoseconds a tick
#define HPET_CONFIG     0x010
#define HPET_COUNTER    0x0f0
#define HPET_ENABLE     BIT32(0)
#define HPET_MAX_PERIOD 100000000u
#define FS_PER_SECOND   1000000000000000ull

#define PARTS_PER_SECOND 200u // a part of the measurement is 5 ms
#define ALIVE_POLLS      10000u
#define WAIT_POLLS       1000000u

struct reference {
    enum tsc_source source;
    u64 hz, mask;
    u64 (*read)(const struct reference *ref);
    volatile u8 *registers; // HPET
    u32 config;             // HPET: as it was found
    u16 port;               // PM timer
    struct tsc_sample samples[TSC_SAMPLES];
};

static u64 clock_tsc(const struct clock *clock)
{
    (void)clock;
    return rdtsc();
}

struct clock host_clock = {.now = clock_tsc};

void tsc_spin(u64 ticks)
{
    u64 start = rdtsc();
    while (rdtsc() - start < ticks)
        cpu_pause();
}

static u64 read_pm_timer(const struct reference *ref)
{
    return inl(ref->port);
}

static u64 read_pit(const struct reference *ref)
{
    (void)ref;
    outb(PIT_COMMAND, PIT_LATCH_CHANNEL2);
    u64 low = inb(PIT_CHANNEL2);
    u64 high = inb(PIT_CHANNEL2);
    return 0xffff - (high << 8 | low); // it counts down
}

static u32 hpet_read(const volatile u8 *registers, u32 offset)
{
    return *(const volatile u32 *)(registers + offset);
}

static void hpet_write_config(const struct reference *ref, u32 config)
{
    *(volatile u32 *)(ref->registers + HPET_CONFIG) = config;
}

static u64 read_hpet(const struct reference *ref)
{
    return hpet_read(ref->registers, HPET_COUNTER);
}

// Lets channel 2 count down from FFFFH once: 55 ms. Returns what port 61H held.
static u8 start_pit(void)
{
    u8 before = inb(PORT_B);
    outb(PORT_B, (u8)((before & ~PORT_B_SPEAKER) | PORT_B_GATE2));
    outb(PIT_COMMAND, PIT_START_CHANNEL2);
    outb(PIT_CHANNEL2, 0xff);
    outb(PIT_CHANNEL2, 0xff);
    return before;
}

static bool moves(const struct reference *ref)
{
    u64 start = ref->read(ref);
    for (unsigned i = 0; i < ALIVE_POLLS; i++)
        if (((ref->read(ref) - start) & ref->mask) != 0)
            return true;
    return false;
}

static bool make_hpet(struct reference *ref, hpa_t base)
{
    volatile u8 *registers = base.raw ? mmio_map(base, HPET_SIZE, MEM_UC) : NULL;
    if (!registers)
        return false;
    u32 period = hpet_read(registers, HPET_PERIOD);
    if (period == 0 || period > HPET_MAX_PERIOD)
        return false;
    *ref = (struct reference){.source = TSC_HPET,
                              .hz = FS_PER_SECOND / period,
                              .mask = 0xffffffff,
                              .read = read_hpet,
                              .registers = registers,
                              .config = hpet_read(registers, HPET_CONFIG)};
    hpet_write_config(ref, ref->config | HPET_ENABLE);
    if (moves(ref))
        return true;
    hpet_write_config(ref, ref->config);
    return false;
}

static bool make_pm_timer(struct reference *ref, u16 port)
{
    *ref = (struct reference){.source = TSC_PM_TIMER,
                              .hz = PM_TIMER_HZ,
                              .mask = PM_TIMER_MASK,
                              .read = read_pm_timer,
                              .port = port};
    return port && moves(ref);
}

static bool make_pit(struct reference *ref)
{
    *ref = (struct reference){.source = TSC_PIT, .hz = PIT_HZ, .mask = 0xffff, .read = read_pit};
    return moves(ref);
}

// The best of three: the reading during which the least time passed, and the time in its middle.
static struct tsc_sample take_sample(const struct reference *ref)
{
    struct tsc_sample best = {0};
    u64 narrowest = ~0ull;
    for (unsigned i = 0; i < 3; i++) {
        lfence();
        u64 before = rdtsc();
        u64 count = ref->read(ref);
        lfence();
        u64 width = rdtsc() - before;
        if (width < narrowest) {
            narrowest = width;
            best = (struct tsc_sample){before + width / 2, count};
        }
    }
    return best;
}

static bool wait_part(const struct reference *ref)
{
    u64 start = ref->read(ref);
    for (unsigned i = 0; i < WAIT_POLLS; i++)
        if (((ref->read(ref) - start) & ref->mask) >= ref->hz / PARTS_PER_SECOND)
            return true;
    return false;
}

// All references over the same three parts of time, whose length the first one gives.
static void measure(struct reference *refs, unsigned n, struct tsc_opinions *opinions)
{
    for (unsigned point = 0; point < TSC_SAMPLES; point++) {
        if (point > 0 && !wait_part(&refs[0])) {
            log_warn("tsc: the %s stopped", tsc_source_name(refs[0].source));
            return;
        }
        for (unsigned i = 0; i < n; i++)
            refs[i].samples[point] = take_sample(&refs[i]);
    }
    for (unsigned i = 0; i < n; i++)
        opinions->hz[refs[i].source] = tsc_rate(refs[i].samples, refs[i].hz, refs[i].mask);
}

static void ask_references(const struct tsc_references *given, struct tsc_opinions *opinions)
{
    struct reference refs[3];
    unsigned n = 0;
    if (make_hpet(&refs[n], given->hpet))
        n++;
    if (make_pm_timer(&refs[n], given->pm_timer_port))
        n++;
    u8 port_b = start_pit();
    if (make_pit(&refs[n]))
        n++;
    if (n > 0)
        measure(refs, n, opinions);
    outb(PORT_B, port_b);
    if (n > 0 && refs[0].source == TSC_HPET)
        hpet_write_config(&refs[0], refs[0].config);
}

static void report(const struct tsc_opinions *opinions, struct tsc_decision decision)
{
    char line[200];
    tsc_describe(opinions, decision, line, sizeof(line));
    log_info("%s%s", line, cpu_features.invariant_tsc ? "" : ", not invariant");
    if (decision.disputed)
        log_warn("tsc: the sources above are more than 1%% apart");
    else if (!decision.checked)
        log_warn("tsc: nothing to check this frequency against");
}

int tsc_init(const struct tsc_references *refs)
{
    struct tsc_opinions opinions = {
        .hz = {[TSC_CPUID_15] = cpu_features.tsc_hz, [TSC_CPUID_16] = cpu_features.tsc_hz_nominal}
    };
    ask_references(refs, &opinions);
    struct tsc_decision decision = tsc_decide(&opinions);
    if (decision.hz == 0) {
        log_error("tsc: CPUID does not tell its frequency and no PIT, PM timer or HPET runs");
        return E_NOENT;
    }
    report(&opinions, decision);
    host_clock.hz = decision.hz;
    return OK;
}
