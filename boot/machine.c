// SPDX-License-Identifier: MIT
#include "boot/machine.h"

#include "arch/x86_64/acpi.h"
#include "arch/x86_64/console.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/cpu_start.h"
#include "arch/x86_64/crash.h"
#include "arch/x86_64/efi_tables.h"
#include "arch/x86_64/host_lapic.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/layout.h"
#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/fmt.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/pic.h"
#include "arch/x86_64/regs/msr.h"
#include "arch/x86_64/timer.h"
#include "arch/x86_64/traps.h"
#include "arch/x86_64/tsc.h"
#include "boot/lastlog.h"
#include "boot/memmap.h"
#include "boot/security.h"
#include "boot/wallclock.h"
#include "vmx/vmx_host.h"

// What Corbel keeps for itself: a base for its tables, VMs and devices, a share that grows with
// memory for the page tables and bitmaps that describe it, and what the other CPUs need.
#define POOL_BASE  SIZE_2M
#define POOL_SHARE 16384u

static struct memmap memmap; // large, so not on the stack
static u64 ebda;             // host-physical, 0 where there is none
static bool paged;           // with the final tables, which reach all there is
static struct acpi_info acpi;
static bool has_acpi;
static struct ramlog *ramlog;

// ---- ACPI -------------------------------------------------------------------------------------

// RAM of any kind: ACPI's tables lie in what is called reclaimable or NVS.
static bool is_ram(const struct mem_entry *e)
{
    return e->type == MEM_USABLE || e->type == MEM_ACPI_RECLAIM || e->type == MEM_NVS;
}

// The boot tables reach the low 4 GiB, where firmware puts its tables: the RSDT's pointers have 32
// bits.
static const void *map_low(void *ctx, u64 pa, u64 size)
{
    (void)ctx;
    return pa < SIZE_4G && size <= SIZE_4G - pa ? phys_ptr(HPA(pa)) : NULL;
}

// With the final tables. They lie in RAM of one kind or another, or in what the map calls reserved:
// the BIOS's own area, or memory that firmware forgot to describe.
static const void *map_any(void *ctx, u64 pa, u64 size)
{
    (void)ctx;
    if (pa + size < pa || pa + size > BIT(cpu_features.phys_bits))
        return NULL;
    for (unsigned i = 0; i < memmap.count; i++) {
        const struct mem_entry *e = &memmap.entries[i];
        if (is_ram(e) && pa >= e->base && pa - e->base < e->size &&
            size <= e->size - (pa - e->base))
            return phys_ptr(HPA(pa));
    }
    return mmio_map(HPA(pa), size, MEM_UC);
}

// GRUB hands a copy of it on; for a boot loader that does not.
static const void *rsdp_of_efi(const struct acpi_memory *memory, u64 system_table, u32 *size)
{
    u64 at = efi_find_table(memory, system_table, EFI_ACPI_20);
    u32 wanted = at ? 36 : 20;
    if (!at)
        at = efi_find_table(memory, system_table, EFI_ACPI_10);
    const void *rsdp = at ? memory->map(memory->ctx, at, wanted) : NULL;
    *size = rsdp ? wanted : 0;
    return rsdp;
}

static void read_tables(const struct boot_info *info,
                        const void *(*map)(void *ctx, u64 pa, u64 size))
{
    const struct acpi_memory memory = {.map = map};
    bool bios = info->efi_bits == 0;
    const void *rsdp = info->rsdp;
    u32 size = info->rsdp_size;

    if (!size && info->efi_bits == 64)
        rsdp = rsdp_of_efi(&memory, info->efi_system_table, &size);
    has_acpi = acpi_read(&memory, rsdp, size, bios, ebda, &acpi) == OK;
}

const struct acpi_memory *machine_reader(void)
{
    static const struct acpi_memory memory = {.map = map_any};
    return &memory;
}

void machine_tell_map(enum log_level level)
{
    static const char *const kinds[] = {
        [MEM_USABLE] = "usable",     [MEM_ACPI_RECLAIM] = "ACPI", [MEM_NVS] = "NVS",
        [MEM_RESERVED] = "reserved", [MEM_BAD] = "bad",
    };
    for (unsigned i = 0; i < memmap.count; i++) {
        const struct mem_entry *e = &memmap.entries[i];
        log_line(level, "map: %012llx-%012llx %s", (unsigned long long)e->base,
                 (unsigned long long)(e->base + e->size - 1), kinds[e->type]);
    }
}

// ---- memory -----------------------------------------------------------------------------------

static u64 read_ebda(void)
{
    // The BIOS data area holds the segment of the extended one; UEFI machines have neither.
    const u16 *segment = phys_ptr(HPA(0x40e));
    u64 at = (u64)*segment << 4;
    return at >= 0x80000 && at < 0xa0000 ? at : 0;
}

// A pool whose bitmap lies at the start of one of its own ranges.
static int make_pool(struct frame_pool *pool, const struct mem_range *ranges, unsigned n,
                     void *storage)
{
    int err = frame_pool_init(pool, ranges, n, storage);
    if (err)
        log_error("memory: %u ranges are more than Corbel keeps", n);
    return err;
}

static int make_pools(struct hypervisor *hv, struct mem_range pool)
{
    u64 own_bitmap = align_up(frame_bitmap_bytes(&pool, 1), 8);
    int err = make_pool(&hv->host, &pool, 1, phys_ptr(HPA(pool.base)));
    if (err)
        return err;
    frame_reserve(&hv->host, pool.base, own_bitmap);

    u64 bytes = align_up(frame_bitmap_bytes(hv->ram, hv->nram), PAGE_SIZE);
    hpa_t storage;
    err = frame_alloc(&hv->host, bytes >> PAGE_SHIFT, PAGE_SIZE, 0, &storage);
    if (err) {
        log_error("memory: no room for the guests' %llu KiB bitmap",
                  (unsigned long long)(bytes >> 10));
        return err;
    }
    return make_pool(&hv->guest, hv->ram, hv->nram, phys_ptr(storage));
}

// All that phys_ptr must reach.
static unsigned mapped_ranges(struct mem_range *out, unsigned max)
{
    unsigned n = 0;
    for (unsigned i = 0; i < memmap.count && n < max; i++) {
        const struct mem_entry *e = &memmap.entries[i];
        if (is_ram(e))
            out[n++] = (struct mem_range){e->base, e->size};
    }
    return n;
}

// What is taken from the start, and two that are added to it.
struct taken {
    struct mem_range rows[BOOT_RESERVED_MAX + 2];
    unsigned n;
};

static u64 find_free(struct hypervisor *hv, const struct taken *taken)
{
    u64 lost;
    hv->nram = memmap_free(&memmap, taken->rows, taken->n, hv->ram, FRAME_RANGES, &lost);
    return lost;
}

// The place where the log is kept; empty if there is none. The log of the run before is looked for
// while nothing has been written to free memory yet.
static struct mem_range place_log(struct hypervisor *hv)
{
    struct mem_range area = {0, 0};
    if (lastlog_place(hv->ram, hv->nram, &area))
        ramlog = lastlog_open(hv->ram, hv->nram, area, cpu_write_back);
    return area;
}

static u64 pool_size(u64 usable)
{
    return POOL_BASE + usable / POOL_SHARE + cpu_start_memory(&acpi, cpu_features.apic_id, usable);
}

// Takes the log and Corbel's pool out of what is free. above: the end of all of the image.
static int carve(struct hypervisor *hv, struct taken *taken, struct mem_range start, u64 above)
{
    unsigned last = taken->n++;
    taken->rows[last] = start;
    find_free(hv, taken);
    hv->own[2] = taken->rows[last] = place_log(hv);
    // The start is no place for the pool, but will be one for guests.
    taken->rows[taken->n++] = start;
    find_free(hv, taken);
    u64 size = pool_size(memmap_total(&memmap, MEM_USABLE));
    int err = memmap_carve(hv->ram, &hv->nram, FRAME_RANGES, size, above, &hv->own[1]);
    if (err) {
        log_error("no memory: Corbel needs %llu KiB in one piece and finds none",
                  (unsigned long long)(size >> 10));
        machine_tell_map(LOG_INFO);
        return err;
    }
    taken->rows[taken->n - 1] = hv->own[1];
    u64 lost = find_free(hv, taken);
    if (lost)
        log_warn("memory: %llu KiB in small pieces are left unused",
                 (unsigned long long)(lost >> 10));
    return OK;
}

// The guests' pool has the start's memory from the beginning, but in use: see start_over().
static struct mem_range keep_start(struct frame_pool *guest, struct mem_range start)
{
    u64 before = guest->free;
    frame_reserve(guest, start.base, start.size);
    return before - guest->free == start.size >> PAGE_SHIFT ? start : (struct mem_range){0, 0};
}

static void find_reset(void)
{
    if (!acpi.has_reset)
        return;
    bool in_memory = acpi.reset.space == RESET_MEMORY;
    power_set_reset(&acpi.reset, in_memory ? mmio_map(HPA(acpi.reset.address), 1, MEM_UC) : NULL);
}

int machine_memory(const struct boot_info *info, u64 mbi, bool lab, struct hypervisor *hv)
{
    static struct taken taken;
    static struct mem_range mapped[MEMMAP_MAX];
    const u8 *stays = lab ? image_end : init_start, *end = lab ? image_end : lab_start;
    struct mem_range image = {boot_load_base, (u64)(stays - image_start)};
    struct mem_range start = {image.base + image.size, (u64)(end - stays)};

    int err = memmap_build(&memmap, info->memory, info->nmemory);
    if (err)
        return err;
    ebda = info->efi_bits ? 0 : read_ebda();
    read_tables(info, map_low);
    hv->own[0] = image;
    taken.n = boot_reserved(info, image, mbi, ebda, taken.rows);
    err = carve(hv, &taken, start, start.base + start.size);
    if (err == OK)
        err = make_pools(hv, hv->own[1]);
    if (err)
        return err;
    hv->start = keep_start(&hv->guest, start);
    err = paging_init(&hv->host, end, mapped, mapped_ranges(mapped, ARRAY_SIZE(mapped)));
    if (err)
        return err;
    paged = true;
    if (!acpi.has_madt)
        read_tables(info, map_any);
    find_reset();
    return OK;
}

// ---- ACPI: what the tables said ---------------------------------------------------------------

static void describe_tables(void)
{
    if (has_acpi)
        log_info("acpi: %u CPU%s, %u I/O APIC%s, PM timer %s, HPET %s", acpi.ncpus,
                 acpi.ncpus == 1 ? "" : "s", acpi.nioapics, acpi.nioapics == 1 ? "" : "s",
                 acpi.pm_timer.space == ACPI_PORT ? "at a port" : "none",
                 acpi.hpet_address ? "there" : "none");
    else
        log_warn("acpi: no tables found; the machine's defaults are used");
}

const struct acpi_info *machine_acpi(void)
{
    return &acpi;
}

// ---- console ----------------------------------------------------------------------------------

static struct screen_channel channel(struct boot_channel c)
{
    return (struct screen_channel){c.position, c.size};
}

// Without memory for tables the boot tables are still in use, which reach the low 4 GiB: even then
// there is something to say.
static void *map_screen(u64 address, u64 size)
{
    if (paged)
        return mmio_map(HPA(address), size, MEM_WC);
    return address <= SIZE_4G && size <= SIZE_4G - address ? phys_ptr(HPA(address)) : NULL;
}

static struct screen make_screen(const struct boot_framebuffer *fb)
{
    struct screen screen = {.kind = SCREEN_NONE};

    if (fb->kind != BOOT_FB_EGA_TEXT && fb->kind != BOOT_FB_RGB)
        return screen;
    bool text = fb->kind == BOOT_FB_EGA_TEXT;
    void *mapped = map_screen(fb->address, (u64)fb->pitch * fb->height);
    if (!mapped)
        return screen;
    return (struct screen){
        .kind = text ? SCREEN_TEXT : SCREEN_PIXELS,
        .memory = mapped,
        .pitch = fb->pitch,
        .width = fb->width,
        .height = fb->height,
        .bpp = fb->bpp,
        .red = channel(fb->red),
        .green = channel(fb->green),
        .blue = channel(fb->blue),
    };
}

static void *map_uart(u64 base, u64 size)
{
    return mmio_map(HPA(base), size, MEM_UC);
}

static void list_uarts(const struct uart_place *named, struct uart_list *list)
{
    struct uart_candidate first = {.place = *named, .from = UART_FROM_COMMAND};
    if (named->space != UART_NOWHERE)
        uart_add(list, &first);
    uart_add_spcr(list, &acpi);
    uart_add_pc(list);
}

void machine_console(const struct boot_info *info, const struct options *options)
{
    const struct console_choice *c = &options->console;
    struct console_config config = {
        .io = &host_ports,
        .map = paged ? map_uart : NULL,
        .search_pci = true,
        .serial = c->automatic || c->serial,
        .named = c->serial_at.space != UART_NOWHERE,
        .debug_port = c->automatic || c->e9,
        .ramlog = paged ? ramlog : NULL,
    };
    list_uarts(&c->serial_at, &config.uarts);
    if (c->automatic || c->screen)
        config.screen = make_screen(&info->framebuffer);
    console_init(&config);
}

// A photograph of the crash screen says what it was taken of. The brand comes last: it may be cut.
void machine_name_for_crash(void)
{
    char line[128];
    fmt_snprintf(line, sizeof(line), "Corbel %s, CPU %u.%u.%u microcode %x%s%s, %s", corbel_version,
                 cpu_features.family, cpu_features.model, cpu_features.stepping, cpu_microcode(),
                 cpu_features.outer.signature[0] ? " under " : "", cpu_features.outer.signature,
                 cpu_features.brand[0] ? cpu_features.brand : cpu_features.vendor);
    crash_set_machine(line);
}

void machine_describe(const struct boot_info *info, const struct hypervisor *hv)
{
    (void)info;
    log_info("cpu: %s, family %u model %u stepping %u, microcode %x, %u-bit physical%s%s",
             cpu_features.brand[0] ? cpu_features.brand : cpu_features.vendor, cpu_features.family,
             cpu_features.model, cpu_features.stepping, cpu_microcode(), cpu_features.phys_bits,
             cpu_features.outer.signature[0] ? ", under " : "", cpu_features.outer.signature);
    u64 code = (u64)(text_end - text_start), constants = (u64)(ksyms_start - rodata_start);
    u64 start = (u64)(lab_start - init_start), lab = (u64)(image_end - lab_start);
    bool kept = hv->own[0].size == (u64)(image_end - image_start);
    log_info("memory: %llu MiB usable, %llu KiB for Corbel, image at %llx",
             (unsigned long long)(memmap_total(&memmap, MEM_USABLE) >> 20),
             (unsigned long long)((hv->own[0].size + hv->own[1].size + hv->own[2].size) >> 10),
             (unsigned long long)hv->own[0].base);
    log_info("image: %llu KiB of code, %llu KiB of constants, %llu KiB of start, %llu KiB of "
             "laboratory %s",
             (unsigned long long)(code + 1023) >> 10, (unsigned long long)(constants + 1023) >> 10,
             (unsigned long long)start >> 10, (unsigned long long)lab >> 10,
             kept ? "kept" : "left to guests");
    if (log_get_level() == LOG_DEBUG) // else it would fill the ring for nobody
        machine_tell_map(LOG_DEBUG);
    security_tell_host();
    describe_tables();
    lastlog_tell();
}

// ---- time -------------------------------------------------------------------------------------

int machine_time(const struct options *options)
{
    struct tsc_references refs = {.hpet = HPA(acpi.hpet_address)};

    if (acpi.pm_timer.space == ACPI_PORT)
        refs.pm_timer_port = (u16)acpi.pm_timer.address;
    if (options->without & FEATURE_TSC_DEADLINE)
        cpu_features.tsc_deadline = false;
    pic_silence();
    for (unsigned i = 0; i < acpi.nioapics; i++)
        (void)!ioapic_silence(HPA(acpi.ioapics[i].address)); // logged where nothing answers
    int err = host_lapic_init(options->x2apic || cpu_start_needs_x2apic(&acpi));
    if (err == OK)
        err = tsc_init(&refs);
    if (err == OK)
        err = timer_init();
    return err;
}

void machine_wallclock(struct hypervisor *hv)
{
    struct wallclock wall = wallclock_read(&host_ports, &host_clock);
    hv->epoch = wall.seconds;
    hv->epoch_ticks = wall.ticks;
}

// ---- VMX --------------------------------------------------------------------------------------

static void read_mtrrs(struct mtrr_state *state)
{
    static struct mtrr_msrs msrs;

    if (!(cpuid(1, 0).edx & CPUID_1_EDX_MTRR)) {
        memset(state, 0, sizeof(*state));
        state->limit = BIT(cpu_features.phys_bits);
        return;
    }
    msrs.cap = rdmsr(IA32_MTRRCAP);
    msrs.def_type = rdmsr(IA32_MTRR_DEF_TYPE);
    for (u32 i = 0; i < mtrr_count(msrs.cap); i++) {
        msrs.base[i] = rdmsr(IA32_MTRR_PHYSBASE0 + 2 * i);
        msrs.mask[i] = rdmsr(IA32_MTRR_PHYSMASK0 + 2 * i);
    }
    for (unsigned i = 0; (msrs.cap & MTRRCAP_FIX) && i < MTRR_FIXED_MSRS; i++)
        msrs.fixed[i] = rdmsr(mtrr_fixed_msr(i));
    mtrr_decode(&msrs, cpu_features.phys_bits, state);
    if (state->odd)
        log_warn("MTRRs: odd settings %x in firmware's memory types", state->odd);
}

// The probe itself stays as read: the other CPUs are compared with it.
static void decode_without(u32 features, struct hypervisor *hv)
{
    static struct vmx_probe rest; // large

    for (unsigned i = 0; i < FEATURE_COUNT; i++)
        if (features & BIT32(i))
            log_info("without: %s is treated as absent", feature_word(i));
    rest = hv->probe;
    vmx_probe_without(&rest, features);
    vmx_caps_decode(&rest, &hv->caps);
}

void machine_vmx(const struct options *options, struct hypervisor *hv)
{
    vmx_probe_cpu(&hv->probe);
    if (hv->probe.vmx)
        decode_without(options->without, hv);
    vmx_judge(&hv->probe, &hv->caps, &hv->verdict);
    if (vmx_verdict_ok(&hv->verdict))
        security_start(options, hv);
    hv->check_entry = options->check_entry;
    read_mtrrs(&hv->mtrr);
}
