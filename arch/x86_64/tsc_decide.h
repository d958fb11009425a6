// SPDX-License-Identifier: MIT
// Which of several opinions on the TSC's frequency to believe. Pure.
#pragma once

#include "arch/x86_64/lib/types.h"

// In the order of trust among equals. The first three are what CPUID or an MSR tells, the rest are
// measured against a clock of known frequency.
enum tsc_source {
    TSC_CPUID_15, // TSC and crystal: exact where it is true
    TSC_OUTER,    // the outer hypervisor's word
    TSC_CPUID_16, // base frequency, a round number
    TSC_HPET,
    TSC_PM_TIMER,
    TSC_PIT,
    TSC_SOURCES,
    TSC_NONE = TSC_SOURCES,
};

struct tsc_opinions {
    u64 hz[TSC_SOURCES]; // 0: this source has none
};

struct tsc_decision {
    u64 hz;                 // 0: nothing is known
    enum tsc_source source; // of hz
    bool checked;           // another source agrees with it
    bool disputed;          // another source is more than 1% off
};

// What is told is believed only where a measurement agrees within 1%, or where there is none at all
// (emulators and hypervisors pass the real chip's CPUID through and run the TSC at their own pace).
// Leaf 16H's round number never stands in for a measurement. Among measurements the first that
// another one confirms, or a told one, or else the first.
struct tsc_decision tsc_decide(const struct tsc_opinions *opinions);

// "CPUID 15H", "PM timer"...; never NULL.
const char *tsc_source_name(enum tsc_source source);

// Writes the decision and every opinion as one line into buf: for the log.
void tsc_describe(const struct tsc_opinions *opinions, struct tsc_decision decision, char *buf,
                  size_t size);

// A reading of the TSC together with one of a reference counter.
struct tsc_sample {
    u64 tsc;
    u64 count;
};

#define TSC_SAMPLES 4u

// The TSC's frequency from samples taken one after the other against a counter of hz ticks a second
// that wraps at mask. The whole span is used if the three parts of it agree within 1% with each
// other, else the part in the middle: an interruption of one sample spoils two parts at most in
// opposite directions. 0 if the counter stood still or the TSC went back.
u64 tsc_rate(const struct tsc_sample samples[TSC_SAMPLES], u64 hz, u64 mask);
