// SPDX-License-Identifier: MIT
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/lib/types.h"
#include "arch/x86_64/tsc_decide.h"

#define MHZ 1000000ull

static void decisions(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        u64 mhz[TSC_SOURCES]; // 15H, hypervisor, 16H, HPET, PM timer, PIT
        enum tsc_source want;
        bool checked, disputed;
    } rows[] = {
        {"nothing",                     {0, 0, 0, 0, 0, 0},                TSC_NONE,     false, false},
        {"only 15H",                    {2000, 0, 0, 0, 0, 0},             TSC_CPUID_15, false, false},
        {"only 16H",                    {0, 0, 2000, 0, 0, 0},             TSC_CPUID_16, false, false},
        {"only HPET",                   {0, 0, 0, 2000, 0, 0},             TSC_HPET,     false, false},
        {"only PM timer",               {0, 0, 0, 0, 2000, 0},             TSC_PM_TIMER, false, false},
        {"only PIT",                    {0, 0, 0, 0, 0, 2000},             TSC_PIT,      false, false},
        {"all agree: 15H is exact",     {2000, 0, 2000, 2001, 1999, 2002}, TSC_CPUID_15, true,  false},
        {"15H within 1%",               {2000, 0, 0, 0, 2019, 0},          TSC_CPUID_15, true,  false},
        {"15H past 1%",                 {2000, 0, 0, 0, 2021, 0},          TSC_PM_TIMER, false, true },
        {"an emulator",                 {3500, 0, 3500, 0, 100, 100},      TSC_PM_TIMER, true,  true },
        {"told twice, measured once",   {3500, 0, 3500, 0, 0, 100},        TSC_PIT,      false, true },
        {"16H against HPET",            {0, 0, 3500, 100, 0, 0},           TSC_HPET,     false, true },
        {"16H agrees, but is round",    {0, 0, 2900, 0, 2904, 0},          TSC_PM_TIMER, true,  false},
        {"HPET is outvoted",            {0, 0, 0, 1000, 2000, 2000},       TSC_PM_TIMER, true,  true },
        {"PM timer is outvoted",        {0, 0, 0, 2000, 1000, 2000},       TSC_HPET,     true,  true },
        {"PIT is outvoted",             {0, 0, 0, 2000, 2000, 1000},       TSC_HPET,     true,  true },
        {"16H has no vote",             {0, 0, 1000, 1000, 2000, 2000},    TSC_PM_TIMER, true,  true },
        {"15H decides between two",     {2000, 0, 0, 1000, 2000, 0},       TSC_CPUID_15, true,  true },
        {"16H decides between two",     {0, 0, 2000, 1000, 0, 2000},       TSC_PIT,      true,  true },
        {"nothing decides between two", {0, 0, 0, 1000, 2000, 0},          TSC_HPET,     false, true },
        {"only the hypervisor",         {0, 2000, 0, 0, 0, 0},             TSC_OUTER,    false, false},
        {"the hypervisor before 16H",   {0, 2000, 2010, 0, 0, 0},          TSC_OUTER,    true,  false},
        {"the hypervisor, confirmed",   {0, 2000, 0, 0, 2001, 0},          TSC_OUTER,    true,  false},
        {"the hypervisor is wrong",     {0, 3000, 0, 0, 2001, 0},          TSC_PM_TIMER, false, true },
        {"15H with the outvoted one",   {2000, 0, 0, 2000, 1000, 1000},    TSC_CPUID_15, true,  true },
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct tsc_opinions o;
        for (unsigned s = 0; s < TSC_SOURCES; s++)
            o.hz[s] = rows[i].mhz[s] * MHZ;
        struct tsc_decision d = tsc_decide(&o);
        if (d.source != rows[i].want || d.checked != rows[i].checked ||
            d.disputed != rows[i].disputed)
            fail_msg("%s: source %u, checked %d, disputed %d", rows[i].what, d.source, d.checked,
                     d.disputed);
        assert_int_equal(d.hz, d.source == TSC_NONE ? 0 : o.hz[d.source]);
    }
}

static void one_percent_is_the_border(void **state)
{
    (void)state;
    struct tsc_opinions o = {
        .hz = {[TSC_CPUID_15] = 99 * MHZ, [TSC_PIT] = 100 * MHZ}
    };
    assert_int_equal(tsc_decide(&o).source, TSC_CPUID_15);
    o.hz[TSC_CPUID_15]--;
    assert_int_equal(tsc_decide(&o).source, TSC_PIT);
    o.hz[TSC_CPUID_15] = 101 * MHZ;
    assert_int_equal(tsc_decide(&o).source, TSC_CPUID_15);
}

static void the_description_names_every_opinion(void **state)
{
    (void)state;
    struct tsc_opinions o = {
        .hz = {[TSC_CPUID_15] = 3504 * MHZ, [TSC_PM_TIMER] = 100000042, [TSC_PIT] = 99999000}
    };
    char text[200];
    tsc_describe(&o, tsc_decide(&o), text, sizeof(text));
    assert_string_equal(text, "TSC 100.000042 MHz by PM timer (CPUID 15H: 3504.000000 MHz, PIT: "
                              "99.999000 MHz)");
    o = (struct tsc_opinions){.hz = {[TSC_PIT] = 1}};
    tsc_describe(&o, tsc_decide(&o), text, sizeof(text));
    assert_string_equal(text, "TSC 0.000001 MHz by PIT");
}

static void the_description_is_cut_to_fit(void **state)
{
    (void)state;
    struct tsc_opinions o;
    for (unsigned s = 0; s < TSC_SOURCES; s++)
        o.hz[s] = ~0ull;
    char whole[256];
    tsc_describe(&o, tsc_decide(&o), whole, sizeof(whole));
    assert_true(strlen(whole) < 240); // what tsc.c has room for
    for (size_t size = 1; size <= strlen(whole) + 1; size++) {
        char text[256];
        memset(text, '#', sizeof(text));
        tsc_describe(&o, tsc_decide(&o), text, size);
        assert_int_equal(strlen(text), size - 1);
        assert_memory_equal(text, whole, size - 1);
        assert_int_equal(text[size], '#');
    }
}

static u64 rate(u64 t0, u64 c0, u64 t1, u64 c1, u64 t2, u64 c2, u64 t3, u64 c3)
{
    struct tsc_sample s[TSC_SAMPLES] = {
        {t0, c0},
        {t1, c1},
        {t2, c2},
        {t3, c3}
    };
    return tsc_rate(s, 1000, 0xffff);
}

static void the_rate_of_steady_samples(void **state)
{
    (void)state;
    // 100 ticks a count of 1/1000 s.
    assert_int_equal(rate(0, 0, 1000, 10, 2000, 20, 3000, 30), 100000);
    // The whole span is used: small errors of the inner samples do not show.
    assert_int_equal(rate(0, 0, 100300, 1000, 200100, 2000, 300000, 3000), 100000);
}

static void the_reference_may_wrap(void **state)
{
    (void)state;
    assert_int_equal(rate(0, 0xfff0, 1600, 0, 3200, 0x10, 4800, 0x20), 100000);
    assert_int_equal(rate(5, 0xffff, 1005, 9, 2005, 19, 3005, 29), 100000);
}

static void a_spoiled_sample_is_left_out(void **state)
{
    (void)state;
    // Each sample in turn is read 500 ticks late, with parts of 1,000.
    assert_int_equal(rate(500, 0, 1000, 10, 2000, 20, 3000, 30), 100000);
    assert_int_equal(rate(0, 0, 1000, 10, 2000, 20, 3500, 30), 100000);
    // Both ends late: the part between them is the middle one.
    assert_int_equal(rate(500, 0, 1000, 10, 2000, 20, 3500, 30), 100000);
    // A late inner one makes its two parts wrong in opposite directions: the third is the middle.
    assert_int_equal(rate(0, 0, 1500, 10, 2000, 20, 3000, 30), 100000);
    assert_int_equal(rate(0, 0, 1000, 10, 2500, 20, 3000, 30), 100000);
}

static void a_dead_counter_gives_no_rate(void **state)
{
    (void)state;
    assert_int_equal(rate(0, 7, 1000, 7, 2000, 7, 3000, 7), 0);
    assert_int_equal(rate(0, 0, 1000, 10, 2000, 10, 3000, 20), 0);
    assert_int_equal(rate(3000, 0, 2000, 10, 1000, 20, 0, 30), 0);
    assert_int_equal(rate(0, 0, 0, 10, 0, 20, 0, 30), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decisions),
        cmocka_unit_test(one_percent_is_the_border),
        cmocka_unit_test(the_description_names_every_opinion),
        cmocka_unit_test(the_description_is_cut_to_fit),
        cmocka_unit_test(the_rate_of_steady_samples),
        cmocka_unit_test(the_reference_may_wrap),
        cmocka_unit_test(a_spoiled_sample_is_left_out),
        cmocka_unit_test(a_dead_counter_gives_no_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
