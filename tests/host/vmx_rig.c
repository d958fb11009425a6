// SPDX-License-Identifier: MIT
#include "tests/host/vmx_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86_64/lib/check.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/regs/msr.h"
#include "tests/host/vmx_machines.h"
#include "vmx/apicv.h"
#include "vmx/entry_rules.h"

#define MEMORY_BASE 0x200000ull // host-physical
#define MEMORY_SIZE 0x100000ull

static struct vmx_rig *the_rig;

// Host-physical memory, the same for every rig: to map it anew each time is most of a short test's
// time.
static u8 memory[MEMORY_SIZE] ALIGNED(PAGE_SIZE);

// ---- the VMCS ---------------------------------------------------------------------------------

#define ENCODINGS 0x8000u

static u64 values[ENCODINGS];
static bool known[ENCODINGS];
static unsigned writes, reads[ENCODINGS];

static void check_known(u32 encoding)
{
    if (!known[VMCS_GUEST_RIP])
        for (unsigned i = 0; i < vmcs_fields_count; i++)
            known[vmcs_fields[i].encoding] = true;
    CHECK(encoding < ENCODINGS && known[encoding]);
}

// Bits 14:13 of the encoding: 16-bit, 64-bit, 32-bit, natural width.
static u64 field_mask(u32 encoding)
{
    static const u64 masks[] = {0xffff, ~0ull, 0xffffffff, ~0ull};
    return masks[encoding >> 13 & 3];
}

void fake_vmcs_set(u32 encoding, u64 value)
{
    check_known(encoding);
    values[encoding] = value & field_mask(encoding);
}

u64 fake_vmcs_read(u32 encoding)
{
    check_known(encoding);
    reads[encoding]++;
    return values[encoding];
}

unsigned fake_vmcs_reads(u32 encoding)
{
    return reads[encoding];
}

void fake_vmcs_write(u32 encoding, u64 value)
{
    CHECK((encoding >> 10 & 3) != 1); // read-only data
    CHECK(!the_rig || the_rig->vcpu.loaded);
    fake_vmcs_set(encoding, value);
    writes++;
}

void fake_vmcs_clear(void)
{
    memset(values, 0, sizeof(values));
    memset(reads, 0, sizeof(reads));
    writes = 0;
}

unsigned fake_vmcs_writes(void)
{
    return writes;
}

// ---- the log ----------------------------------------------------------------------------------

static char log_text[8192];
static size_t log_used;

static void log_sink(const char *text, size_t length)
{
    if (length > sizeof(log_text) - 1 - log_used)
        length = sizeof(log_text) - 1 - log_used;
    memcpy(log_text + log_used, text, length);
    log_used += length;
    log_text[log_used] = '\0';
}

const char *rig_log(void)
{
    return log_text;
}

// ---- what vmx/vcpu.c does on the bare machine -------------------------------------------------

void vcpu_load(struct vcpu *vcpu)
{
    CHECK(!vcpu->loaded);
    vcpu->loaded = true;
    the_rig->loads++;
}

void vcpu_put(struct vcpu *vcpu)
{
    CHECK(vcpu->loaded);
    vcpu->loaded = false;
    vcpu->launched = 0;
    the_rig->puts++;
}

void vcpu_reset_fpu(struct vcpu *vcpu)
{
    vcpu->xcr0 = XCR0_X87;
    the_rig->fpu_resets++;
}

void vcpu_set_xcr0(struct vcpu *vcpu, u64 value)
{
    vcpu->xcr0 = value;
    the_rig->xcr0 = value;
    the_rig->xcr0_writes++;
}

void vcpu_set_cr2(struct vcpu *vcpu, u64 value)
{
    vcpu->cr2 = value;
    the_rig->cr2 = value;
    the_rig->cr2_writes++;
}

void vcpu_flush_tlb(const struct vcpu *vcpu)
{
    (void)vcpu;
    the_rig->flushes++;
}

void vcpu_merge_dr6(struct vcpu *vcpu, u64 bits)
{
    (void)vcpu;
    the_rig->dr6 = (the_rig->dr6 & ~BITS(3, 0)) | bits;
}

u64 vcpu_tsc_aux(const struct vcpu *vcpu)
{
    (void)vcpu;
    return the_rig->tsc_aux;
}

u64 host_tsc(void)
{
    return the_rig->now;
}

void vcpu_arm_host_timer(const struct vcpu *vcpu)
{
    (void)vcpu;
    the_rig->host_timer_arms++;
}

void vcpu_host_interrupt(struct vcpu *vcpu, const struct exit_info *exit)
{
    (void)vcpu, (void)exit;
    the_rig->interrupts++;
}

void vcpu_host_nmi(void)
{
    the_rig->nmis++;
}

void vcpu_host_machine_check(void)
{
    the_rig->machine_checks++;
}

void entry_report(const struct vcpu *vcpu)
{
    (void)vcpu;
    the_rig->entry_reports++;
}

bool entry_sound(struct vcpu *vcpu)
{
    (void)vcpu;
    the_rig->entry_checks++;
    return !the_rig->entry_unsound;
}

// ---- devices ----------------------------------------------------------------------------------

static void device_reset(struct device *dev)
{
    (void)dev;
}

static enum io_result device_access(struct device *dev, struct io_access *io)
{
    struct rig_device *d = container_of(dev, struct rig_device, dev);
    u64 offset = io->addr - d->base;

    CHECK(io->size == 1 || io->size == 2 || io->size == 4 ||
          (io->size == 8 && io->space == IO_MEM));
    CHECK(offset + io->size <= sizeof(d->data));
    CHECK(!io->write || io->value == low_bytes(io->value, io->size));
    if (io->write)
        memcpy(d->data + offset, &io->value, io->size);
    else
        memcpy(&io->value, d->data + offset, io->size);
    if (d->count < RIG_ACCESSES)
        d->log[d->count] = *io;
    d->count++;
    return IO_DONE;
}

static void attach(struct vmx_rig *rig, struct rig_device *d, const char *name, enum io_space space,
                   u64 base, u64 size)
{
    static const struct device_ops ops = {.reset = device_reset, .access = device_access};
    d->dev = (struct device){name, &ops};
    d->base = base;
    CHECK(bus_attach(&rig->vm.bus, &d->dev, space, base, size) == OK);
}

// ---- the VM -----------------------------------------------------------------------------------

static u64 rig_now(const struct clock *clock)
{
    return container_of(clock, struct vmx_rig, clock)->now;
}

static int alloc_table(void *ctx, hpa_t *out)
{
    struct vmx_rig *rig = ctx;
    return frame_alloc(&rig->frames, 1, PAGE_SIZE, 0, out);
}

static void free_table(void *ctx, hpa_t table)
{
    struct vmx_rig *rig = ctx;
    frame_free(&rig->frames, table, 1);
}

static void invalidate(void *ctx)
{
    struct vmx_rig *rig = ctx;
    rig->invalidations++;
}

static void make_memory(struct vmx_rig *rig)
{
    const struct mem_range range = {MEMORY_BASE, MEMORY_SIZE};
    rig->bitmap = malloc(frame_bitmap_bytes(&range, 1));
    CHECK(rig->bitmap);
    phys_window = (uintptr_t)memory - (uintptr_t)MEMORY_BASE;
    CHECK(frame_pool_init(&rig->frames, &range, 1, rig->bitmap) == OK);
    rig->frames_free = rig->frames.free;
}

static void make_vm(struct vmx_rig *rig, const struct rig_options *o)
{
    static const struct ept_ops ops = {alloc_table, free_table, invalidate};
    const struct ept_config ept = {
        .caps = rig->caps.ept, .phys_bits = rig->caps.maxphyaddr, .ops = &ops, .ctx = rig};
    const struct vm_config config = {.name = "rig",
                                     .clock = &rig->clock,
                                     .frames = &rig->frames,
                                     .ept = &ept,
                                     .lapic_hz = RIG_LAPIC_HZ,
                                     .x2apic = !o->no_x2apic,
                                     .tsc_deadline = true};
    CHECK(vm_init(&rig->vm, &config) == OK);
    vm_reset_devices(&rig->vm);
    CHECK(vm_alloc_ram(&rig->vm, GPA(0), RIG_RAM_SIZE, false) == OK);
    CHECK(vm_alloc_ram(&rig->vm, GPA(RIG_LAZY), RIG_LAZY_SIZE, true) == OK);
    attach(rig, &rig->mmio, "mmio", IO_MEM, RIG_MMIO, RIG_MMIO_SIZE);
    attach(rig, &rig->ports, "ports", IO_PORT, RIG_PORT, RIG_PORTS);
}

// ---- the vCPU, as vcpu_init() makes it --------------------------------------------------------

static u32 missing_7_edx; // see struct rig_options

static void write_controls(struct vcpu *v)
{
    static const u16 fields[CTL_WORDS] = {
        [CTL_PIN] = VMCS_PIN_CTLS,     [CTL_PROC] = VMCS_PROC_CTLS, [CTL_PROC2] = VMCS_PROC_CTLS2,
        [CTL_PROC3] = VMCS_PROC_CTLS3, [CTL_EXIT] = VMCS_EXIT_CTLS, [CTL_ENTRY] = VMCS_ENTRY_CTLS};
    u32 word[CTL_WORDS];

    for (unsigned i = 0; i < CTL_WORDS; i++) {
        struct ctl_outcome out;
        CHECK(ctl_negotiate(&v->caps->ctl[i], &ctl_policies[i], &out) == OK);
        word[i] = out.value;
    }
    apicv_choose(&v->caps->ctl[CTL_PROC], word);
    for (unsigned i = 0; i < CTL_WORDS; i++)
        fake_vmcs_set(fields[i], word[i]);
    v->proc_ctls = word[CTL_PROC];
    v->has_preemption_timer = word[CTL_PIN] & PIN_PREEMPTION_TIMER;
    v->has_virtual_nmis = word[CTL_PIN] & PIN_VNMI;
    v->has_ack_on_exit = word[CTL_EXIT] & EXIT_ACK_INTR;
    v->unrestricted = word[CTL_PROC2] & PROC2_UNRESTRICTED;
    if (word[CTL_PROC2] & PROC2_VPID)
        fake_vmcs_set(VMCS_VPID, v->vpid);
    fake_vmcs_set(VMCS_EPT_POINTER, ept_eptp(&v->vm->ept));
    fake_vmcs_set(VMCS_VMCS_LINK_POINTER, ~0ull);
    v->loaded = true;
    apicv_start(v, word);
    v->loaded = false;
}

static void make_vcpu(struct vmx_rig *rig, const struct rig_options *o)
{
    struct vcpu *v = &rig->vcpu;
    u32 proc2 = rig->caps.ctl[CTL_PROC2].may;
    struct cpuid_config cpuid = {.host = rig_cpuid,
                                 .rdtscp = proc2 & PROC2_RDTSCP,
                                 .invpcid = proc2 & PROC2_INVPCID,
                                 .xsaves = proc2 & PROC2_XSAVES,
                                 .x2apic = !o->no_x2apic,
                                 .tsc_deadline = true,
                                 .xcr0_allowed = o->xcr0_allowed,
                                 .tsc_hz = RIG_TSC_HZ,
                                 .lapic_hz = RIG_LAPIC_HZ,
                                 .maxphyaddr = rig->caps.maxphyaddr};

    *v = (struct vcpu){.vm = &rig->vm, .caps = &rig->caps, .vpid = 1, .held = -1};
    v->recent_ram = &rig->vm.ram[0];
    v->preemption_rate = rig->caps.preemption_rate;
    deadline_set_rate(&rig->vm.timers, rig->caps.preemption_rate);
    v->answer = exit_answer;
    v->finish = exit_finish;
    v->xcr0_allowed = o->xcr0_allowed;
    v->host_arch_capabilities = RIG_ARCH_CAP;
    v->host_microcode = RIG_MICROCODE;
    v->host_misc_enable = MISC_ENABLE_FAST_STRINGS | MISC_ENABLE_LIMIT_CPUID;
    CHECK(frame_alloc(&rig->frames, 2, PAGE_SIZE, 0, &v->apicv.page) == OK);
    memset(phys_ptr(v->apicv.page), 0, 2 * PAGE_SIZE);
    v->apicv.access_page = HPA(v->apicv.page.raw + PAGE_SIZE);
    write_controls(v);
    missing_7_edx = o->missing_7_edx;
    cpuid_build(&v->cpuid, &cpuid);
    CHECK(frame_alloc(&rig->frames, 1, PAGE_SIZE, 0, &v->msr_bitmap) == OK);
}

static void start(struct vmx_rig *rig, enum image_mode mode)
{
    u8 image[PAGE_SIZE] = {0};
    const struct guest_image record = {.magic = GUEST_MAGIC,
                                       .mode = mode,
                                       .link_base = mode == IMAGE_REAL ? 0 : RIG_WINDOW,
                                       .entry = RIG_CODE,
                                       .stack_top = RIG_STACK,
                                       .image_size = PAGE_SIZE,
                                       .memory_size = PAGE_SIZE};
    const struct guest_info info = {.tsc_hz = RIG_TSC_HZ, .lapic_hz = RIG_LAPIC_HZ};
    struct guest_start how;

    memcpy(image, &record, sizeof(record));
    CHECK(guest_load(&rig->vm, image, sizeof(image), GPA(RIG_IMAGE), &info, &how) == OK);
    how.selector = 0; // so that real mode has offsets that are addresses
    CHECK(vcpu_start(&rig->vcpu, &how) == OK);
    vcpu_load(&rig->vcpu);
}

static void release(struct vmx_rig *rig)
{
    free(rig->bitmap);
    free(rig);
    the_rig = NULL;
}

struct vmx_rig *rig_open(const struct rig_options *options)
{
    static const struct rig_options plain;
    const struct rig_options *o = options ? options : &plain;
    struct vmx_rig *rig = calloc(1, sizeof(*rig));

    CHECK(rig);
    // What a failed test left open is of no more use.
    if (the_rig)
        release(the_rig);
    the_rig = rig;
    log_used = 0;
    log_text[0] = '\0';
    log_set_level(LOG_DEBUG);
    log_set_sink(log_sink, false);
    rig->clock = (struct clock){.now = rig_now, .hz = RIG_TSC_HZ};
    rig->dr6 = DR6_INIT;
    rig->now = RIG_START;
    fake_vmcs_clear();
    struct vmx_probe probe = o->machine ? *o->machine : machine_skylake;
    vmx_probe_without(&probe, o->without | (o->apicv ? 0 : FEATURE_TPR_SHADOW));
    vmx_caps_decode(&probe, &rig->caps);
    make_memory(rig);
    make_vm(rig, o);
    make_vcpu(rig, o);
    start(rig, o->mode ? o->mode : IMAGE_LONG);
    return rig;
}

void rig_close(struct vmx_rig *rig)
{
    frame_free(&rig->frames, rig->vcpu.msr_bitmap, 1);
    frame_free(&rig->frames, rig->vcpu.apicv.page, 2);
    lapic_virtualize(&rig->vm.lapic, NULL, false);
    vm_destroy(&rig->vm);
    CHECK(rig->frames.free == rig->frames_free);
    release(rig);
}

// ---- exits ------------------------------------------------------------------------------------

// As enter.asm does.
static void read_every_exits_fields(struct exit_info *exit)
{
    exit->reason = (u32)fake_vmcs_read(VMCS_EXIT_REASON);
    exit->length = (u32)fake_vmcs_read(VMCS_EXIT_INSN_LENGTH);
    exit->interruptibility = (u32)fake_vmcs_read(VMCS_GUEST_INTERRUPTIBILITY);
    exit->rip = fake_vmcs_read(VMCS_GUEST_RIP);
    exit->rflags = fake_vmcs_read(VMCS_GUEST_RFLAGS);
}

static void come_out(struct vmx_rig *rig, const struct rig_exit *exit)
{
    // A handler that looks at what its row in the table does not ask for finds rubbish.
    memset(&rig->vcpu.exit, 0xa5, sizeof(rig->vcpu.exit));
    fake_vmcs_set(VMCS_EXIT_REASON, exit->reason);
    fake_vmcs_set(VMCS_EXIT_QUALIFICATION, exit->qualification);
    fake_vmcs_set(VMCS_EXIT_INSN_LENGTH, exit->length);
    fake_vmcs_set(VMCS_EXIT_INTR_INFO, exit->intr_info);
    fake_vmcs_set(VMCS_EXIT_ERROR_CODE, exit->intr_error);
    fake_vmcs_set(VMCS_IDT_INFO, exit->idt_info);
    fake_vmcs_set(VMCS_IDT_ERROR_CODE, exit->idt_error);
    fake_vmcs_set(VMCS_GUEST_PHYSICAL_ADDR, exit->gpa);
    fake_vmcs_set(VMCS_GUEST_LINEAR_ADDR, exit->gla);
    fake_vmcs_set(VMCS_EXIT_INSN_INFO, exit->insn_info);
    // An exit clears the valid bit of what was injected: SDM volume 3, "VM-Exit Information".
    fake_vmcs_set(VMCS_ENTRY_INTR_INFO, fake_vmcs_read(VMCS_ENTRY_INTR_INFO) & 0x7fffffff);
    read_every_exits_fields(&rig->vcpu.exit);
}

void rig_exit(struct vmx_rig *rig, const struct rig_exit *exit)
{
    come_out(rig, exit);
    struct vcpu *v = &rig->vcpu;
    exit_act(v, v->hook ? exit_answer_with_care(v) : exit_answer(v));
}

bool rig_turn(struct vmx_rig *rig, const struct rig_exit *exit)
{
    come_out(rig, exit);
    struct vcpu *v = &rig->vcpu;
    return v->finish(v, v->answer(v)) != NULL;
}

static bool read_field(void *ctx, u32 field, u64 *value)
{
    (void)ctx;
    *value = fake_vmcs_read(field);
    return true;
}

struct violations {
    unsigned count;
    bool print;
};

static void count_violation(void *ctx, const struct entry_rule *rule, const char *what,
                            const char *legal)
{
    struct violations *v = ctx;
    enum entry_group group = entry_section_group((enum entry_section)rule->section);
    if (group != ENTRY_CONTROLS && group != ENTRY_GUEST)
        return; // the host's state is not there
    if (v->print)
        fprintf(stderr, "VM entry: %s: %s; legal: %s\n", rule->id, what, legal);
    v->count++;
}

unsigned rig_entry_violations(const struct vmx_rig *rig, bool print)
{
    static struct entry_values values;
    const struct entry_state state = {
        .caps = &rig->caps,
        .read = read_field,
        .values = &values,
        .launched = true,
        .resume = true,
        .vmx_operation = true,
        .lma = true,
        .linear_bits = 48,
        .efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE,
        .debugctl = ~0ull,
        .perf_global_ctrl = ~0ull,
        .rtit_ctl = ~0ull,
        .lbr_ctl = ~0ull,
    };
    struct violations v = {.print = print};
    entry_check(&state, count_violation, &v);
    return v.count;
}

void rig_inject(struct vmx_rig *rig)
{
    fake_vmcs_set(VMCS_ENTRY_INTR_INFO, 0);
    fake_vmcs_set(VMCS_ENTRY_ERROR_CODE, RIG_NO_ERROR);
    fake_vmcs_set(VMCS_ENTRY_INSN_LENGTH, RIG_NO_LENGTH);
    rig->vcpu.inject(&rig->vcpu);
    if (rig->vm.end == VM_RUNNING)
        CHECK(rig_entry_violations(rig, true) == 0);
}

void *rig_ram(struct vmx_rig *rig, u64 gpa, u64 size)
{
    void *p = vm_ptr(&rig->vm, GPA(gpa), size);
    CHECK(p);
    return p;
}

void rig_code(struct vmx_rig *rig, const u8 *bytes, size_t size)
{
    memcpy(rig_ram(rig, fake_vmcs_read(VMCS_GUEST_RIP), size), bytes, size);
}

// Image, PML4, PDPT, four page directories in a row.
u64 *rig_pde(struct vmx_rig *rig, u64 linear)
{
    return rig_ram(rig, RIG_IMAGE + 3 * PAGE_SIZE + (linear >> 21) * sizeof(u64), sizeof(u64));
}

u64 *rig_pte(struct vmx_rig *rig, u64 linear)
{
    CHECK(linear - RIG_WINDOW < SIZE_2M);
    u64 index = (linear - RIG_WINDOW) >> PAGE_SHIFT;
    return rig_ram(rig, RIG_IMAGE + 7 * PAGE_SIZE + index * sizeof(u64), sizeof(u64));
}

// Everything there is in the leaves that the CPUID policy lets through, so that it alone decides.
struct cpuid_regs rig_cpuid(u32 leaf, u32 subleaf)
{
    static const u32 sizes[] = {0, 0, 256, 64, 64, 64, 512, 1024, 0, 8};
    static const u32 offsets[] = {0, 0, 576, 960, 1024, 1088, 1152, 1664, 0, 2688};
    struct cpuid_regs all = {~0u, ~0u, ~0u, ~0u};

    switch (leaf) {
    case 0:
        return (struct cpuid_regs){0x1f, 0x756e6547, 0x6c65746e, 0x49656e69};
    case 7:
        all.edx = ~missing_7_edx;
        return all;
    case 0xd:
        if (subleaf < 2)
            return all;
        if (subleaf < ARRAY_SIZE(sizes))
            return (struct cpuid_regs){sizes[subleaf], offsets[subleaf], 0, 0};
        return (struct cpuid_regs){0};
    case 0x80000000:
        return (struct cpuid_regs){0x80000008, 0, 0, 0};
    default:
        return all;
    }
}
