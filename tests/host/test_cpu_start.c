// SPDX-License-Identifier: MIT
// Which CPUs are started, by which messages, on which memory, and which of them are parked.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "arch/x86_64/cpu_start.h"
#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/frame.h"
#include "arch/x86_64/regs/apic.h"
#include "arch/x86_64/stacks.h"

// ---- waking -----------------------------------------------------------------------------------

enum { IPI, SPIN, LOOK };

struct event {
    int what;
    u32 id, value; // of an IPI its ICR, else microseconds
};

struct stage {
    struct event events[16];
    unsigned count;
    unsigned alive_after; // the SIPI that the CPU comes up at; 0: none
    unsigned sipis;
};

static void note(struct stage *stage, int what, u32 id, u32 value)
{
    assert_in_range(stage->count, 0, ARRAY_SIZE(stage->events) - 1);
    stage->events[stage->count++] = (struct event){what, id, value};
}

static void ipi(void *ctx, u32 apic_id, u32 icr)
{
    struct stage *stage = ctx;
    note(stage, IPI, apic_id, icr);
    stage->sipis += (icr >> 8 & 7) == APIC_DM_STARTUP;
}

static void spin_us(void *ctx, u32 us)
{
    note(ctx, SPIN, 0, us);
}

static bool alive(void *ctx, u32 us)
{
    struct stage *stage = ctx;
    note(stage, LOOK, 0, us);
    return stage->alive_after && stage->sipis >= stage->alive_after;
}

static bool wake(struct stage *stage, u32 apic_id)
{
    const struct cpu_waker waker = {ipi, spin_us, alive, stage};
    return cpu_wake(&waker, apic_id, 0x9e);
}

static void assert_events(const struct stage *stage, const struct event *expected, unsigned n)
{
    assert_int_equal(stage->count, n);
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(stage->events[i].what, expected[i].what);
        assert_int_equal(stage->events[i].id, expected[i].id);
        assert_int_equal(stage->events[i].value, expected[i].value);
    }
}

// The values of the SDM's example, 000C4500H and 000C46VVH, without its shorthand for all CPUs.
static void a_cpu_is_woken_as_the_sdm_says(void **state)
{
    (void)state;
    struct stage stage = {.alive_after = 1};
    assert_true(wake(&stage, 0x123));
    const struct event expected[] = {
        {IPI,  0x123, 0x4500 },
        {SPIN, 0,     10000  },
        {IPI,  0x123, 0x469e },
        {LOOK, 0,     200    },
        {LOOK, 0,     1000000},
    };
    assert_events(&stage, expected, ARRAY_SIZE(expected));
}

static void a_second_sipi_is_sent_to_one_that_missed_the_first(void **state)
{
    (void)state;
    struct stage stage = {.alive_after = 2};
    assert_true(wake(&stage, 2));
    const struct event expected[] = {
        {IPI,  2, 0x4500 },
        {SPIN, 0, 10000  },
        {IPI,  2, 0x469e },
        {LOOK, 0, 200    },
        {IPI,  2, 0x469e },
        {LOOK, 0, 1000000},
    };
    assert_events(&stage, expected, ARRAY_SIZE(expected));
}

static void a_dead_cpu_is_given_up_after_a_second(void **state)
{
    (void)state;
    struct stage stage = {.alive_after = 0};
    assert_false(wake(&stage, 2));
    assert_int_equal(stage.count, 6);
    assert_int_equal(stage.events[5].value, 1000000);
    const struct cpu_waker waker = {ipi, spin_us, alive, &stage};
    cpu_send_to_sleep(&waker, 2);
    assert_int_equal(stage.events[6].what, IPI);
    assert_int_equal(stage.events[6].value, 0x4500);
}

// ---- which ------------------------------------------------------------------------------------

static struct acpi_info tables;

// n CPUs with APIC IDs from 0 on, step apart.
static const struct acpi_info *machine(unsigned n, u32 step)
{
    memset(&tables, 0, sizeof(tables));
    for (u32 i = 0; i < n; i++)
        tables.cpus[tables.ncpus++] = (struct acpi_cpu){i * step, i, true};
    return &tables;
}

static void the_boot_cpu_and_empty_sockets_are_not_started(void **state)
{
    (void)state;
    const struct acpi_info *acpi = machine(8, 2);
    assert_int_equal(cpu_start_count(acpi, 0), 7);
    assert_int_equal(cpu_start_count(acpi, 6), 7);
    tables.cpus[7].enabled = false;
    assert_int_equal(cpu_start_count(acpi, 0), 6);
    assert_int_equal(cpu_start_count(machine(1, 1), 0), 0);
    assert_int_equal(cpu_start_count(machine(0, 1), 0), 0); // no MADT
}

static void x2apic_mode_is_for_ids_above_254(void **state)
{
    (void)state;
    assert_false(cpu_start_needs_x2apic(machine(255, 1)));
    assert_true(cpu_start_needs_x2apic(machine(256, 1)));
    assert_true(cpu_start_needs_x2apic(machine(2, 0x100)));
    tables.cpus[1].enabled = false;
    assert_false(cpu_start_needs_x2apic(&tables));
}

// ---- memory -----------------------------------------------------------------------------------

static bool take(struct frame_pool *pool, u64 bytes)
{
    hpa_t at;
    return frame_alloc(pool, bytes >> PAGE_SHIFT, PAGE_SIZE, 0, &at) == OK;
}

// As smp_start and vmx_enable take it.
static unsigned cpus_that_fit(u64 size)
{
    struct mem_range range = {SIZE_2M, size};
    struct frame_pool pool;
    void *bitmap = calloc(1, frame_bitmap_bytes(&range, 1));
    assert_int_equal(frame_pool_init(&pool, &range, 1, bitmap), OK);
    unsigned n = 0;
    for (bool fits = true; fits; n += fits) {
        fits = take(&pool, PAGE_SIZE) && take(&pool, RUN_STACK_SIZE);
        for (unsigned i = 0; i < IST_END - 1; i++)
            fits = fits && take(&pool, IST_STACK_SIZE);
        fits = fits && take(&pool, PAGE_SIZE);
    }
    free(bitmap);
    return n;
}

static void memory_is_kept_for_every_cpu(void **state)
{
    (void)state;
    static const unsigned counts[] = {2, 8, 64, 256};
    for (unsigned i = 0; i < ARRAY_SIZE(counts); i++) {
        const struct acpi_info *acpi = machine(counts[i], 1);
        u64 bytes = cpu_start_memory(acpi, 0, 16 * SIZE_1G);
        assert_int_equal(cpus_that_fit(bytes), counts[i] - 1);
    }
    assert_int_equal(cpu_start_memory(machine(1, 1), 0, SIZE_1G), 0);
}

static void nonsense_in_the_tables_does_not_take_all_memory(void **state)
{
    (void)state;
    assert_int_equal(cpu_start_memory(machine(256, 1), 0, 32 << 20), 4 << 20);
}

// ---- differences ------------------------------------------------------------------------------

static const struct cpu_features boot = {.vendor = "GenuineIntel",
                                         .family = 6,
                                         .model = 0x9a,
                                         .phys_bits = 46,
                                         .nx = true,
                                         .vmx = true,
                                         .smep = true,
                                         .smap = true,
                                         .umip = true,
                                         .xcr0_allowed = 0x207};

static void cores_of_a_hybrid_cpu_are_taken(void **state)
{
    (void)state;
    struct cpu_features other = boot;
    assert_null(cpu_difference(&other, &boot));
    other.model = 0xbe;
    other.stepping = 2;
    other.apic_id = 0x40;
    strcpy(other.brand, "another brand string");
    assert_null(cpu_difference(&other, &boot));
}

#define DIFFERS(field, value, word)                                                                \
    do {                                                                                           \
        struct cpu_features other = boot;                                                          \
        other.field = value;                                                                       \
        const char *why = cpu_difference(&other, &boot);                                           \
        assert_non_null(why);                                                                      \
        assert_non_null(strstr(why, word));                                                        \
    } while (0)

static void what_is_different_is_named(void **state)
{
    (void)state;
    DIFFERS(vendor[0], 'X', "another kind");
    DIFFERS(family, 15, "another kind");
    DIFFERS(vmx, false, "no VT-x");
    DIFFERS(nx, false, "NX");
    DIFFERS(phys_bits, 39, "physical addresses");
    DIFFERS(xcr0_allowed, 0x2e7, "XSAVE");
    DIFFERS(smep, false, "SMEP");
    DIFFERS(smap, false, "SMAP");
    DIFFERS(umip, false, "UMIP");
    struct cpu_features none = boot;
    none.vmx = false;
    assert_non_null(strstr(cpu_difference(&boot, &none), "the boot CPU has none"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cpu_is_woken_as_the_sdm_says),
        cmocka_unit_test(a_second_sipi_is_sent_to_one_that_missed_the_first),
        cmocka_unit_test(a_dead_cpu_is_given_up_after_a_second),
        cmocka_unit_test(the_boot_cpu_and_empty_sockets_are_not_started),
        cmocka_unit_test(x2apic_mode_is_for_ids_above_254),
        cmocka_unit_test(memory_is_kept_for_every_cpu),
        cmocka_unit_test(nonsense_in_the_tables_does_not_take_all_memory),
        cmocka_unit_test(cores_of_a_hybrid_cpu_are_taken),
        cmocka_unit_test(what_is_different_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
