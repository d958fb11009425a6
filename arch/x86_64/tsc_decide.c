// SPDX-License-Identifier: MIT
#include "arch/x86_64/tsc_decide.h"

#include "arch/x86_64/lib/clock.h"
#include "arch/x86_64/lib/fmt.h"

#define FIRST_MEASURED TSC_HPET

static bool agree(u64 a, u64 b)
{
    u64 apart = a > b ? a - b : b - a;
    u64 larger = a > b ? a : b;
    return apart <= larger / 100;
}

// Whether a source of [first, end) other than this one agrees with it.
static bool confirmed_by(const struct tsc_opinions *o, unsigned source, unsigned first,
                         unsigned end)
{
    for (unsigned i = first; i < end; i++)
        if (i != source && o->hz[i] && agree(o->hz[i], o->hz[source]))
            return true;
    return false;
}

static unsigned first_known(const struct tsc_opinions *o, unsigned first, unsigned end)
{
    while (first < end && !o->hz[first])
        first++;
    return first;
}

// The first measurement that a source of [first, end) confirms, or TSC_NONE.
static unsigned first_confirmed(const struct tsc_opinions *o, unsigned first, unsigned end)
{
    for (unsigned i = FIRST_MEASURED; i < TSC_SOURCES; i++)
        if (o->hz[i] && confirmed_by(o, i, first, end))
            return i;
    return TSC_NONE;
}

static unsigned choose(const struct tsc_opinions *o)
{
    unsigned measured = first_known(o, FIRST_MEASURED, TSC_SOURCES);
    if (measured == TSC_NONE) {
        unsigned told = first_known(o, 0, FIRST_MEASURED);
        return told == FIRST_MEASURED ? TSC_NONE : told;
    }
    for (unsigned exact = TSC_CPUID_15; exact <= TSC_OUTER; exact++)
        if (o->hz[exact] && confirmed_by(o, exact, FIRST_MEASURED, TSC_SOURCES))
            return exact;
    unsigned best = first_confirmed(o, FIRST_MEASURED, TSC_SOURCES);
    if (best == TSC_NONE)
        best = first_confirmed(o, 0, FIRST_MEASURED);
    return best == TSC_NONE ? measured : best;
}

struct tsc_decision tsc_decide(const struct tsc_opinions *opinions)
{
    unsigned source = choose(opinions);
    struct tsc_decision d = {.source = (enum tsc_source)source};
    if (source == TSC_NONE)
        return d;
    d.hz = opinions->hz[source];
    d.checked = confirmed_by(opinions, source, 0, TSC_SOURCES);
    for (unsigned i = 0; i < TSC_SOURCES; i++)
        if (opinions->hz[i] && !agree(opinions->hz[i], d.hz))
            d.disputed = true;
    return d;
}

const char *tsc_source_name(enum tsc_source source)
{
    static const char *const names[TSC_SOURCES + 1] = {
        [TSC_CPUID_15] = "CPUID 15H", [TSC_OUTER] = "hypervisor",  [TSC_CPUID_16] = "CPUID 16H",
        [TSC_HPET] = "HPET",          [TSC_PM_TIMER] = "PM timer", [TSC_PIT] = "PIT",
        [TSC_NONE] = "nothing",
    };
    return names[source <= TSC_NONE ? source : TSC_NONE];
}

// Appends "12.345678 MHz" and what follows to what buf holds already; returns the new length.
static size_t put_mhz(char *buf, size_t size, size_t used, const char *before, u64 hz,
                      const char *after)
{
    if (used >= size)
        return used;
    int length =
        fmt_snprintf(buf + used, size - used, "%s%llu.%06llu MHz%s", before,
                     (unsigned long long)(hz / 1000000), (unsigned long long)(hz % 1000000), after);
    return used + (size_t)length;
}

void tsc_describe(const struct tsc_opinions *opinions, struct tsc_decision decision, char *buf,
                  size_t size)
{
    size_t used = put_mhz(buf, size, 0, "TSC ", decision.hz, " by ");
    used = used < size ? used + (size_t)fmt_snprintf(buf + used, size - used, "%s",
                                                     tsc_source_name(decision.source))
                       : used;
    const char *before = " (";
    for (unsigned i = 0; i < TSC_SOURCES; i++) {
        if (i == decision.source || !opinions->hz[i])
            continue;
        if (used < size)
            used += (size_t)fmt_snprintf(buf + used, size - used, "%s%s", before,
                                         tsc_source_name((enum tsc_source)i));
        used = put_mhz(buf, size, used, ": ", opinions->hz[i], "");
        before = ", ";
    }
    if (used < size && before[0] == ',')
        fmt_snprintf(buf + used, size - used, ")");
}

static u64 rate_between(struct tsc_sample from, struct tsc_sample to, u64 hz, u64 mask)
{
    u64 counts = (to.count - from.count) & mask;
    if (counts == 0 || to.tsc <= from.tsc)
        return 0;
    return mul_div(to.tsc - from.tsc, hz, counts);
}

static u64 middle_of(u64 a, u64 b, u64 c)
{
    if ((a <= b) == (b <= c))
        return b;
    return (b <= a) == (a <= c) ? a : c;
}

u64 tsc_rate(const struct tsc_sample samples[TSC_SAMPLES], u64 hz, u64 mask)
{
    u64 part[TSC_SAMPLES - 1];
    for (unsigned i = 0; i + 1 < TSC_SAMPLES; i++) {
        part[i] = rate_between(samples[i], samples[i + 1], hz, mask);
        if (part[i] == 0)
            return 0;
    }
    u64 middle = middle_of(part[0], part[1], part[2]);
    for (unsigned i = 0; i + 1 < TSC_SAMPLES; i++)
        if (!agree(part[i], middle))
            return middle;
    return rate_between(samples[0], samples[TSC_SAMPLES - 1], hz, mask);
}
