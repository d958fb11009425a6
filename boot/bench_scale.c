// SPDX-License-Identifier: MIT
#include "boot/bench_scale.h"

#include "arch/x86_64/insn.h"
#include "arch/x86_64/layout.h"
#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/fmt.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/lib/string.h"
#include "boot/lab.h"
#include "vmx/sched.h"

#define ROUNDS 1000u

static const u32 counts[3] = {10, 100, 1000}; // of deadlines, of ranges

static void figure(const char *name, u64 value)
{
    log_info("figure\t%s\t%llu", name, (unsigned long long)value);
}

static void figure_of(const char *name, u64 size, const char *unit, u64 value)
{
    char text[40];
    fmt_snprintf(text, sizeof(text), "%s_%llu%s", name, (unsigned long long)size, unit);
    figure(text, value);
}

static bool at_most(const char *name, u64 value, u64 limit)
{
    if (value <= limit)
        return true;
    log_error("bench: %s is %llu, at most %llu is wanted", name, (unsigned long long)value,
              (unsigned long long)limit);
    return false;
}

// Whether the costs of sizes that grow by one factor grow by no more at each step than at the one
// before, with an eighth for what is not smooth, and thus as a logarithm does or slower.
static bool logarithmic(const char *name, const u64 cost[3])
{
    u64 first = cost[1] > cost[0] ? cost[1] - cost[0] : 0;
    return at_most(name, cost[2], cost[1] + first + cost[1] / 8);
}

// The same numbers in every run: Knuth, The Art of Computer Programming, volume 2, 3.3.4.
static u64 random(u64 *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return *state >> 33;
}

// Zeroed memory for a measurement. NULL (logged) if there is none.
static void *take_memory(struct hypervisor *hv, u64 bytes, hpa_t *at)
{
    if (frame_alloc(&hv->guest, align_up(bytes, PAGE_SIZE) >> PAGE_SHIFT, PAGE_SIZE, 0, at) == OK)
        return memset(phys_ptr(*at), 0, bytes);
    log_error("bench: no %llu bytes", (unsigned long long)bytes);
    return NULL;
}

static void give_memory(struct hypervisor *hv, u64 bytes, hpa_t at)
{
    frame_free(&hv->guest, at, align_up(bytes, PAGE_SIZE) >> PAGE_SHIFT);
}

// ---- a timer queue ------------------------------------------------------------------------------

static void never_fires(struct deadline *entry, u64 now)
{
    (void)entry;
    (void)now;
}

// Ticks to move one of count deadlines to another time.
static u64 time_deadlines(struct deadline *entries, struct deadline **heap, u32 count)
{
    struct deadline_queue queue;
    u64 seed = 1;

    deadline_queue_init(&queue, heap, count);
    for (u32 i = 0; i < count; i++) {
        entries[i] = (struct deadline){.fire = never_fires};
        deadline_arm(&queue, &entries[i], random(&seed));
    }
    u64 total = 0;
    for (u32 i = 0; i < ROUNDS; i++) {
        struct deadline *entry = &entries[random(&seed) % count];
        u64 when = random(&seed), start = rdtsc();
        deadline_arm(&queue, entry, when);
        total += rdtsc() - start;
    }
    return total / ROUNDS;
}

static bool measure_deadlines(struct hypervisor *hv)
{
    const u64 bytes = 1000 * (sizeof(struct deadline) + sizeof(struct deadline *));
    u64 cost[3];
    hpa_t at;
    struct deadline *entries = take_memory(hv, bytes, &at);
    if (!entries)
        return false;
    for (unsigned i = 0; i < ARRAY_SIZE(counts); i++) {
        cost[i] = time_deadlines(entries, (struct deadline **)(void *)(entries + 1000), counts[i]);
        figure_of("deadline_arm", counts[i], "", cost[i]);
    }
    give_memory(hv, bytes, at);
    return logarithmic("moving one of 1000 deadlines", cost);
}

// ---- a device bus -------------------------------------------------------------------------------

static enum io_result answer(struct device *dev, struct io_access *io)
{
    (void)dev;
    io->value = 0;
    return IO_DONE;
}

static void reset(struct device *dev)
{
    (void)dev;
}

static const struct device_ops answering = {.reset = reset, .access = answer};

#define BUS_STEP 0x1000u

// Ticks of an access to one of count ranges.
static u64 time_bus(struct bus *bus, struct bus_range *ranges, u32 count)
{
    struct device dev = {.name = "bench", .ops = &answering};
    u64 seed = 1, total = 0;

    bus_init(bus);
    bus_give_room(bus, IO_MEM, ranges, count);
    for (u32 i = 0; i < count; i++)
        if (bus_attach(bus, &dev, IO_MEM, (u64)i * BUS_STEP, 8) != OK)
            return ~0ull;
    for (u32 i = 0; i < ROUNDS; i++) {
        struct io_access io = {
            .space = IO_MEM, .size = 4, .addr = random(&seed) % count * BUS_STEP};
        u64 start = rdtsc();
        bus_access(bus, &io);
        total += rdtsc() - start;
    }
    return total / ROUNDS;
}

static bool measure_bus(struct hypervisor *hv)
{
    const u64 bytes = sizeof(struct bus) + 1000 * sizeof(struct bus_range);
    u64 cost[3];
    hpa_t at;
    struct bus *bus = take_memory(hv, bytes, &at);
    if (!bus)
        return false;
    for (unsigned i = 0; i < ARRAY_SIZE(counts); i++) {
        cost[i] = time_bus(bus, (struct bus_range *)(bus + 1), counts[i]);
        figure_of("bus_access", counts[i], "", cost[i]);
    }
    give_memory(hv, bytes, at);
    return logarithmic("an access to one of 1000 ranges", cost);
}

// ---- EPT ----------------------------------------------------------------------------------------

static int alloc_table(void *ctx, hpa_t *out)
{
    struct hypervisor *hv = ctx;
    return frame_alloc(&hv->guest, 1, PAGE_SIZE, 0, out);
}

static void free_table(void *ctx, hpa_t table)
{
    struct hypervisor *hv = ctx;
    frame_free(&hv->guest, table, 1);
}

// No processor ever runs on these tables.
static void invalidate(void *ctx)
{
    (void)ctx;
}

static const struct ept_ops ept_ops = {alloc_table, free_table, invalidate};

struct ept_cost {
    u64 map, walk; // ticks: for all of it; for an address
    u64 writes;    // of entries
};

// Nothing is read or written where the map leads, so that it need not be there.
static bool time_ept(struct hypervisor *hv, u64 gib, struct ept_cost *cost)
{
    struct ept_config config = {
        .caps = hv->caps.ept, .phys_bits = hv->caps.maxphyaddr, .ops = &ept_ops, .ctx = hv};
    const struct ept_attr attr = {.rights = EPT_R | EPT_W | EPT_X, .type = MEM_WB};
    struct ept ept;
    u64 seed = 1, mapped = 0, start;
    hpa_t at;

    config.caps.large_1g = false; // the usual guest's memory is in smaller pieces
    if (ept_init(&ept, &config) != OK)
        return false;
    start = rdtsc();
    bool good = ept_map(&ept, GPA(0), HPA(0), gib * SIZE_1G, attr) == OK;
    cost->map = rdtsc() - start;
    cost->writes = ept.stats.writes;
    start = rdtsc();
    for (unsigned i = 0; i < ROUNDS; i++)
        mapped += ept_translate(&ept, GPA(random(&seed) % (gib * SIZE_1G)), EPT_R, &at, NULL) == OK;
    cost->walk = (rdtsc() - start) / ROUNDS;
    ept_destroy(&ept);
    return good && mapped == ROUNDS;
}

static bool measure_ept(struct hypervisor *hv)
{
    static const u64 sizes[3] = {1, 4, 16}; // GiB
    struct ept_cost cost[3];

    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        if (!time_ept(hv, sizes[i], &cost[i])) {
            log_error("bench: no EPT of %llu GiB", (unsigned long long)sizes[i]);
            return false;
        }
        figure_of("ept_map", sizes[i], "g", cost[i].map);
        figure_of("ept_writes", sizes[i], "g", cost[i].writes);
        figure_of("ept_walk", sizes[i], "g", cost[i].walk);
    }
    const u64 walks[3] = {cost[0].walk, cost[1].walk, cost[2].walk};
    return logarithmic("a walk of an EPT of 16 GiB", walks) &&
           // With the memory, and no more.
           at_most("mapping 4 GiB", cost[1].map, 4 * cost[0].map) &&
           at_most("mapping 16 GiB", cost[2].map, 4 * cost[1].map);
}

// ---- VMs on one CPU -----------------------------------------------------------------------------

#define VMS_MAX 8u
#define EXITS   5000u // of each VM
#define SLICE   100000u

// MOV ESI, EXITS; loop: XOR EAX, EAX; CPUID; DEC ESI; JNZ loop; OUT F4H, EAX
static const u8 cpuid_loop[] = {0xbe, EXITS & 0xff, EXITS >> 8, 0,    0,    0x31, 0xc0, 0x0f,
                                0xa2, 0xff,         0xce,       0x75, 0xf8, 0xe7, 0xf4};

struct vms_cost {
    u64 ticks; // from the first VM's start to the last one's end
    u64 switches;
};

static bool time_vms(unsigned count, struct vms_cost *cost)
{
    static struct lab labs[VMS_MAX];
    struct selftest_ctx t = {.name = "bench"};
    struct sched sched = {.slice = SLICE};
    unsigned open = 0;

    while (open < count && lab_open(&t, &labs[open], "many")) {
        sched.cells[sched.count++] = labs[open].cell;
        if (!lab_code(&t, &labs[open++], IMAGE_LONG, cpuid_loop, sizeof(cpuid_loop)))
            break;
    }
    if (!t.failed) {
        u64 start = rdtsc();
        sched_run(&sched);
        *cost = (struct vms_cost){rdtsc() - start, sched.switches};
    } else {
        log_error("bench: %s", t.why);
    }
    for (unsigned i = 0; i < open; i++)
        lab_close(&labs[i]);
    return !t.failed;
}

static bool measure_vms(void)
{
    struct vms_cost cost[4];

    for (unsigned i = 0; i < ARRAY_SIZE(cost); i++) {
        if (!time_vms(1u << i, &cost[i]))
            return false;
        figure_of("vms_exit", 1u << i, "", cost[i].ticks / ((u64)EXITS << i));
    }
    u64 per_switch[3];
    for (unsigned i = 1; i < ARRAY_SIZE(cost); i++) {
        per_switch[i - 1] = (cost[i].ticks - (cost[0].ticks << i)) / cost[i].switches;
        figure_of("vms_switch", 1u << i, "", per_switch[i - 1]);
    }
    return logarithmic("a switch between 8 VMs", per_switch);
}

// ---- sizes --------------------------------------------------------------------------------------

static bool measure_memory(const struct hypervisor *hv)
{
    // The start and the laboratory are here only for the sake of this run.
    u64 kept = hv->own[0].size - (u64)(image_end - init_start) + hv->own[1].size;
    u64 guests = hv->guest.total << PAGE_SHIFT;

    u64 text = (u64)(text_end - text_start), rodata = (u64)(ksyms_start - rodata_start);
    figure("image_loaded_bytes", text + rodata);
    figure("image_text_bytes", text);
    figure("image_rodata_bytes", rodata);
    figure("image_symbols_bytes", (u64)(rodata_end - ksyms_start));
    figure("image_data_bytes", (u64)(data_end - data_start));
    figure("start_bytes", (u64)(lab_start - init_start));
    figure("laboratory_bytes", (u64)(image_end - lab_start));
    figure("memory_kept_kib", kept >> 10);
    figure("memory_kept_limit_kib", (2 * SIZE_2M + guests / 100) >> 10);
    return at_most("Corbel's own memory", kept, 2 * SIZE_2M + guests / 100);
}

bool bench_scale(struct hypervisor *hv)
{
    bool good = measure_vms();
    good = measure_deadlines(hv) && good;
    good = measure_bus(hv) && good;
    good = measure_ept(hv) && good;
    return measure_memory(hv) && good;
}
