// SPDX-License-Identifier: MIT
#include "arch/x86_64/tsc_measure.h"

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/log.h"

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
    const struct tsc_measure_config *config;
    u32 hpet_before; // its configuration, as it was found
    struct tsc_sample samples[TSC_SAMPLES];
};

static u64 read_pm_timer(const struct reference *ref)
{
    return ref->config->io->in32(ref->config->pm_timer_port);
}

static u64 read_pit(const struct reference *ref)
{
    const struct port_io *io = ref->config->io;
    io->out8(PIT_COMMAND, PIT_LATCH_CHANNEL2);
    u64 low = io->in8(PIT_CHANNEL2);
    u64 high = io->in8(PIT_CHANNEL2);
    return 0xffff - (high << 8 | low); // it counts down
}

static u32 hpet_read(const struct tsc_measure_config *config, u32 offset)
{
    return config->io->read((const volatile u8 *)config->hpet + offset, sizeof(u32));
}

static void hpet_configure(const struct tsc_measure_config *config, u32 value)
{
    config->io->write((volatile u8 *)config->hpet + HPET_CONFIG, sizeof(u32), value);
}

static u64 read_hpet(const struct reference *ref)
{
    return hpet_read(ref->config, HPET_COUNTER);
}

// Lets channel 2 count down from FFFFH once: 55 ms. Returns what port 61H held.
static u8 start_pit(const struct port_io *io)
{
    u8 before = io->in8(PORT_B);
    io->out8(PORT_B, (u8)((before & ~PORT_B_SPEAKER) | PORT_B_GATE2));
    io->out8(PIT_COMMAND, PIT_START_CHANNEL2);
    io->out8(PIT_CHANNEL2, 0xff);
    io->out8(PIT_CHANNEL2, 0xff);
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

static bool make_hpet(struct reference *ref, const struct tsc_measure_config *config)
{
    if (!config->hpet)
        return false;
    u32 period = hpet_read(config, HPET_PERIOD);
    if (period == 0 || period > HPET_MAX_PERIOD)
        return false;
    *ref = (struct reference){.source = TSC_HPET,
                              .hz = FS_PER_SECOND / period,
                              .mask = 0xffffffff,
                              .read = read_hpet,
                              .config = config,
                              .hpet_before = hpet_read(config, HPET_CONFIG)};
    hpet_configure(config, ref->hpet_before | HPET_ENABLE);
    if (moves(ref))
        return true;
    hpet_configure(config, ref->hpet_before);
    return false;
}

static bool make_pm_timer(struct reference *ref, const struct tsc_measure_config *config)
{
    *ref = (struct reference){.source = TSC_PM_TIMER,
                              .hz = PM_TIMER_HZ,
                              .mask = PM_TIMER_MASK,
                              .read = read_pm_timer,
                              .config = config};
    return config->pm_timer_port && moves(ref);
}

static bool make_pit(struct reference *ref, const struct tsc_measure_config *config)
{
    *ref = (struct reference){
        .source = TSC_PIT, .hz = PIT_HZ, .mask = 0xffff, .read = read_pit, .config = config};
    return moves(ref);
}

// The best of three: the reading during which the least time passed, and the time in its middle.
static struct tsc_sample take_sample(const struct reference *ref)
{
    struct tsc_sample best = {0};
    u64 narrowest = ~0ull;
    for (unsigned i = 0; i < 3; i++) {
        u64 before = ref->config->tsc();
        u64 count = ref->read(ref);
        u64 width = ref->config->tsc() - before;
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

// All references over the same three parts of time, whose length the first one gives. False if that
// one stopped.
static bool take_samples(struct reference *refs, unsigned n)
{
    for (unsigned point = 0; point < TSC_SAMPLES; point++) {
        if (point > 0 && !wait_part(&refs[0])) {
            log_warn("tsc: the %s stopped", tsc_source_name(refs[0].source));
            return false;
        }
        for (unsigned i = 0; i < n; i++)
            refs[i].samples[point] = take_sample(&refs[i]);
    }
    return true;
}

static void measure(struct reference *refs, unsigned n, struct tsc_opinions *opinions)
{
    while (n && !take_samples(refs, n)) { // without the one that stopped
        refs++;
        n--;
    }
    for (unsigned i = 0; i < n; i++)
        opinions->hz[refs[i].source] = tsc_rate(refs[i].samples, refs[i].hz, refs[i].mask);
}

void tsc_measure(const struct tsc_measure_config *config, struct tsc_opinions *opinions)
{
    struct reference refs[3];
    unsigned n = 0;
    if (make_hpet(&refs[n], config))
        n++;
    if (make_pm_timer(&refs[n], config))
        n++;
    u8 port_b = start_pit(config->io);
    if (make_pit(&refs[n], config))
        n++;
    measure(refs, n, opinions);
    config->io->out8(PORT_B, port_b);
    if (n > 0 && refs[0].source == TSC_HPET)
        hpet_configure(config, refs[0].hpet_before);
}
