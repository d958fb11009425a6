// SPDX-License-Identifier: MIT
#include "boot/machine.h"

#include "arch/x86_64/console.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/host_lapic.h"
#include "arch/x86_64/layout.h"
#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/pic.h"
#include "arch/x86_64/regs/msr.h"
#include "arch/x86_64/timer.h"
#include "arch/x86_64/traps.h"
#include "arch/x86_64/tsc.h"
#include "boot/memmap.h"
#include "vmx/vmx_host.h"

// What Corbel keeps for itself: a base for its tables, VMs and devices, and a share that grows with
// memory for the page tables and bitmaps that describe it.
#define POOL_BASE  SIZE_2M
#define POOL_SHARE 16384u

static struct memmap memmap; // large, so not on the stack

// ---- memory -----------------------------------------------------------------------------------

static u64 read_ebda(void)
{
    // The BIOS data area holds the segment of the extended one; UEFI machines have neither.
    const u16 *segment = phys_ptr(HPA(0x40e));
    u64 ebda = (u64)*segment << 4;
    return ebda >= 0x80000 && ebda < 0xa0000 ? ebda : 0;
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

// All that phys_ptr must reach: RAM of any kind. ACPI's tables lie in what is called reclaimable or
// NVS.
static unsigned mapped_ranges(struct mem_range *out, unsigned max)
{
    unsigned n = 0;
    for (unsigned i = 0; i < memmap.count && n < max; i++) {
        const struct mem_entry *e = &memmap.entries[i];
        if (e->type == MEM_USABLE || e->type == MEM_ACPI_RECLAIM || e->type == MEM_NVS)
            out[n++] = (struct mem_range){e->base, e->size};
    }
    return n;
}

int machine_memory(const struct boot_info *info, u64 mbi, struct hypervisor *hv)
{
    static struct mem_range reserved[BOOT_RESERVED_MAX];
    static struct mem_range mapped[MEMMAP_MAX];
    struct mem_range image = {boot_load_base, (u64)(image_end - image_start)};
    struct mem_range pool;
    u64 lost;

    int err = memmap_build(&memmap, info->memory, info->nmemory);
    if (err)
        return err;
    unsigned nreserved = boot_reserved(info, image, mbi, read_ebda(), reserved);
    hv->nram = memmap_free(&memmap, reserved, nreserved, hv->ram, FRAME_RANGES, &lost);
    if (lost)
        log_warn("memory: %llu KiB in small pieces are left unused",
                 (unsigned long long)(lost >> 10));
    u64 size = POOL_BASE + memmap_total(&memmap, MEM_USABLE) / POOL_SHARE;
    err = memmap_carve(hv->ram, &hv->nram, FRAME_RANGES, size, image.base + image.size, &pool);
    if (err) {
        log_error("no memory: Corbel needs %llu KiB in one piece and finds none",
                  (unsigned long long)(size >> 10));
        return err;
    }
    hv->own[0] = image;
    hv->own[1] = pool;
    err = make_pools(hv, pool);
    if (err)
        return err;
    return paging_init(&hv->host, mapped, mapped_ranges(mapped, ARRAY_SIZE(mapped)));
}

// ---- console ----------------------------------------------------------------------------------

static struct screen_channel channel(struct boot_channel c)
{
    return (struct screen_channel){c.position, c.size};
}

static struct screen make_screen(const struct boot_framebuffer *fb)
{
    struct screen screen = {.kind = SCREEN_NONE};

    if (fb->kind != BOOT_FB_EGA_TEXT && fb->kind != BOOT_FB_RGB)
        return screen;
    bool text = fb->kind == BOOT_FB_EGA_TEXT;
    void *memory = mmio_map(HPA(fb->address), (u64)fb->pitch * fb->height, MEM_WC);
    if (!memory)
        return screen;
    return (struct screen){
        .kind = text ? SCREEN_TEXT : SCREEN_PIXELS,
        .memory = memory,
        .pitch = fb->pitch,
        .width = fb->width,
        .height = fb->height,
        .bpp = fb->bpp,
        .red = channel(fb->red),
        .green = channel(fb->green),
        .blue = channel(fb->blue),
    };
}

#define COM1_PORT 0x3f8

void machine_console(const struct boot_info *info, const struct options *options, bool screen)
{
    const struct console_choice *c = &options->console;
    struct console_config config = {
        .io = &host_ports,
        .serial_base = c->automatic || c->serial ? COM1_PORT : 0,
        .debug_port = c->automatic || c->e9,
    };
    if (c->serial_port)
        config.serial_base = c->serial_port;
    if (screen && (c->automatic || c->screen))
        config.screen = make_screen(&info->framebuffer);
    console_init(&config);
}

void machine_describe(const struct boot_info *info, const struct hypervisor *hv)
{
    (void)info;
    log_info("cpu: %s, family %u model %u stepping %u, %u-bit physical%s%s",
             cpu_features.brand[0] ? cpu_features.brand : cpu_features.vendor, cpu_features.family,
             cpu_features.model, cpu_features.stepping, cpu_features.phys_bits,
             cpu_features.hypervisor[0] ? ", under " : "", cpu_features.hypervisor);
    log_info("memory: %llu MiB usable, %llu KiB for Corbel, image at %llx",
             (unsigned long long)(memmap_total(&memmap, MEM_USABLE) >> 20),
             (unsigned long long)((hv->own[0].size + hv->own[1].size) >> 10),
             (unsigned long long)hv->own[0].base);
}

// ---- time -------------------------------------------------------------------------------------

int machine_time(const struct boot_info *info)
{
    struct tsc_references refs = {0};

    (void)info;
    pic_silence();
    int err = host_lapic_init();
    if (err == OK)
        err = tsc_init(&refs);
    if (err == OK)
        err = timer_init();
    return err;
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

// IA32_ARCH_CAPABILITIES.IF_PSCHANGE_MC_NO: a guest cannot wedge this CPU through an executable
// large page (iTLB multihit).
static bool multihit_safe(void)
{
    u64 caps = 0;
    return rdmsr_safe(IA32_ARCH_CAPABILITIES, &caps) && (caps & BIT(6));
}

void machine_vmx(const struct options *options, struct hypervisor *hv)
{
    vmx_probe_cpu(&hv->probe);
    if (hv->probe.vmx) {
        vmx_caps_decode(&hv->probe, &hv->caps);
        vmx_caps_without(&hv->caps, options->without);
        hv->no_large_exec = !multihit_safe() && !cpu_features.hypervisor[0];
    }
    vmx_judge(&hv->probe, &hv->caps, &hv->verdict);
    read_mtrrs(&hv->mtrr);
}
