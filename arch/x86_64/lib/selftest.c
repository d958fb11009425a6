// SPDX-License-Identifier: MIT
#include "arch/x86_64/lib/selftest.h"

#include "arch/x86_64/lib/fmt.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/string.h"

void selftest_fail(struct selftest_ctx *t, const char *format, ...)
{
    if (t->failed)
        return;
    t->failed = true;
    va_list args;
    va_start(args, format);
    fmt_vsnprintf(t->why, sizeof(t->why), format, args);
    va_end(args);
}

// A test that failed stays failed, with the failure's text.
void selftest_skip(struct selftest_ctx *t, const char *format, ...)
{
    if (t->failed || t->skipped)
        return;
    t->skipped = true;
    va_list args;
    va_start(args, format);
    fmt_vsnprintf(t->why, sizeof(t->why), format, args);
    va_end(args);
}

static const char *need_name(u32 need)
{
    switch (need) {
    case NEEDS_VMX:
        return "VMX";
    case NEEDS_UNRESTRICTED:
        return "unrestricted guest";
    case NEEDS_X2APIC:
        return "x2APIC";
    case NEEDS_PREEMPTION:
        return "VMX-preemption timer";
    default:
        return "something unknown";
    }
}

static void put(const char *format, ...) PRINTF_LIKE(1, 2);
static void put(const char *format, ...)
{
    char line[240];
    va_list args;
    va_start(args, format);
    fmt_vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    log_raw(line, strlen(line));
}

static void run_one(const struct selftest *test, u32 have, struct selftest_result *result)
{
    struct selftest_ctx t = {.name = test->name, .arg = test->arg};
    u32 missing = test->needs & ~have;
    if (missing)
        selftest_skip(&t, "needs %s", need_name(missing & -missing));
    else
        test->run(&t);
    if (t.failed) {
        result->failed++;
        put("FAIL %s: %s\n", t.name, t.why);
    } else if (t.skipped) {
        result->skipped++;
        put("SKIP %s: %s\n", t.name, t.why);
    } else {
        result->passed++;
        put("PASS %s\n", t.name);
    }
}

struct selftest_result selftest_run(const struct selftest_set *sets, unsigned nsets,
                                    const char *glob, u32 have)
{
    struct selftest_result result = {0};
    for (unsigned i = 0; i < nsets; i++)
        for (const struct selftest *test = sets[i].first; test < sets[i].last; test++)
            if (!glob || str_glob(glob, test->name))
                run_one(test, have, &result);
    put("%u passed, %u failed, %u skipped\n", result.passed, result.failed, result.skipped);
    return result;
}
