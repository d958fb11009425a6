// SPDX-License-Identifier: MIT
// Why the guest comes straight back: it has no memory, so that its first fetch is an EPT violation;
// every exception is intercepted; and where there is a preemption timer, it is due before the first
// instruction. What the attempt may leave behind in the CPU is put back from a copy.
#include "vmx/entry_rig.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/idt.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/check.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/regs/cr.h"
#include "arch/x86_64/regs/msr.h"
#include "arch/x86_64/timer.h"
#include "arch/x86_64/traps.h"
#include "arch/x86_64/tsc.h"
#include "vmx/vcpu_internal.h"
#include "vmx/vmx_host.h"

int entry_try(unsigned how);
extern const u8 entry_try_landing[];
void entry_try_bare(u64 arg);

#define SCRATCH_FRAMES      (ENTRY_SCRATCH_SIZE / PAGE_SIZE)
#define REASON_ENTRY_FAILED BIT32(31)
#define WATCHDOG_MS         20u // where there is no preemption timer

// ---- fields -----------------------------------------------------------------------------------

enum field_type { TYPE_CONTROL, TYPE_READ_ONLY, TYPE_GUEST, TYPE_HOST };

static enum field_type type_of(u32 field)
{
    return (enum field_type)bits_get(field, 11, 10);
}

static bool read_field(void *ctx, u32 field, u64 *value)
{
    const struct entry_rig *rig = ctx;
    *value = rig->now.value[ENTRY_SLOT(field)];
    return rig->now.present[ENTRY_SLOT(field)];
}

// The CPU keeps as many bits as the field has: SDM volume 3, "Field Encoding in VMCS".
static u64 cut(u32 field, u64 value)
{
    static const u8 bytes[] = {2, 8, 4, 8};
    return low_bytes(value, bytes[bits_get(field, 14, 13)]);
}

static void mark(struct entry_rig *rig, u32 field)
{
    u32 slot = ENTRY_SLOT(field);
    if (!rig->is_dirty[slot])
        rig->dirty[rig->ndirty++] = (u16)field;
    rig->is_dirty[slot] = true;
}

static bool write_field(void *ctx, u32 field, u64 value)
{
    struct entry_rig *rig = ctx;
    u32 slot = ENTRY_SLOT(field);
    if (!rig->now.present[slot])
        return false;
    vmwrite_fast(field, value);
    rig->now.value[slot] = cut(field, value);
    mark(rig, field);
    if (type_of(field) == TYPE_HOST)
        rig->host_dirty = true;
    return true;
}

static void read_fields(struct entry_rig *rig)
{
    for (unsigned i = 0; i < vmcs_fields_count; i++) {
        u32 field = vmcs_fields[i].encoding, slot = ENTRY_SLOT(field);
        if (type_of(field) == TYPE_READ_ONLY ||
            vmread_checked(field, &rig->now.value[slot]) != VMX_SUCCEED)
            continue;
        CHECK(rig->nfields < ENTRY_RIG_FIELDS);
        rig->now.present[slot] = true;
        rig->fields[rig->nfields++] = (u16)field;
        // SDM volume 3, "Saving Guest State" and "Event Injection".
        if (type_of(field) == TYPE_GUEST || field == VMCS_ENTRY_INTR_INFO ||
            field == VMCS_ENTRY_CTLS)
            rig->spent[rig->nspent++] = (u16)field;
    }
    memcpy(rig->first, rig->now.value, sizeof(rig->first));
    entry_rig_keep(rig);
}

static void clean(struct entry_rig *rig)
{
    rig->ndirty = 0;
    rig->host_dirty = false;
    rig->memory_dirty = false;
}

void entry_rig_keep(struct entry_rig *rig)
{
    memcpy(rig->base, rig->now.value, sizeof(rig->base));
    memset(rig->is_dirty, 0, sizeof(rig->is_dirty));
    clean(rig);
}

// What the checker is to know of how the entry is made.
static void set_manner(struct entry_rig *rig)
{
    u32 manner = rig->manner;
    rig->state.vmx_operation = !(manner & MANNER_OUTSIDE_VMX);
    rig->state.current_vmcs = manner & MANNER_NO_VMCS ? ENTRY_NO_VMCS : rig->target.vmcs.raw;
    rig->state.shadow = manner & MANNER_SHADOW;
    rig->state.mov_ss_blocking = manner & MANNER_MOV_SS;
    rig->state.launched = manner & MANNER_LAUNCHED;
    rig->state.resume = manner & MANNER_RESUME;
}

void entry_rig_reset(struct entry_rig *rig)
{
    for (unsigned i = 0; i < rig->ndirty; i++) {
        u32 slot = ENTRY_SLOT(rig->dirty[i]);
        vmwrite_fast(rig->dirty[i], rig->base[slot]);
        rig->now.value[slot] = rig->base[slot];
        rig->is_dirty[slot] = false;
    }
    if (rig->memory_dirty)
        memset(phys_ptr(rig->scratch), 0, ENTRY_SCRATCH_SIZE);
    clean(rig);
    rig->manner = 0;
    set_manner(rig);
}

void entry_rig_restart(struct entry_rig *rig)
{
    entry_rig_reset(rig);
    for (unsigned i = 0; i < rig->nfields; i++) {
        u32 slot = ENTRY_SLOT(rig->fields[i]);
        if (rig->base[slot] == rig->first[slot])
            continue;
        vmwrite_fast(rig->fields[i], rig->first[slot]);
        rig->now.value[slot] = rig->base[slot] = rig->first[slot];
    }
}

// An entry got as far as the guest.
static void spent(struct entry_rig *rig)
{
    for (unsigned i = 0; i < rig->nspent; i++)
        if (vmread_fast(rig->spent[i]) != rig->now.value[ENTRY_SLOT(rig->spent[i])])
            mark(rig, rig->spent[i]);
}

// ---- the rest of what edits reach -------------------------------------------------------------

static u32 memory_read(void *ctx, u32 offset)
{
    const struct entry_rig *rig = ctx;
    const u32 *words = phys_ptr(rig->scratch);
    return words[offset / 4];
}

static void memory_write(void *ctx, u32 offset, u32 value)
{
    struct entry_rig *rig = ctx;
    u32 *words = phys_ptr(rig->scratch);
    words[offset / 4] = value;
    rig->memory_dirty = true;
}

static void add_manner(void *ctx, u32 manner)
{
    struct entry_rig *rig = ctx;
    rig->manner |= manner;
    set_manner(rig);
}

// ---- making one -------------------------------------------------------------------------------

// Where structures lie that an edit may turn on; CR3 too, which is the host's address where there
// is no EPT. What the CPU writes there does no harm, and what it reads is 0.
static void point_at_scratch(struct entry_rig *rig)
{
    static const struct {
        u16 field, offset;
    } rows[] = {
        {VMCS_GUEST_CR3,           0x2000},
        {VMCS_VIRTUAL_APIC_ADDR,   0     },
        {VMCS_APIC_ACCESS_ADDR,    0x1000},
        {VMCS_POSTED_INTR_DESC,    0x1000},
        {VMCS_PML_ADDR,            0x1000},
        {VMCS_SPPT_POINTER,        0     },
        {VMCS_EPTP_LIST_ADDR,      0     },
        {VMCS_VMREAD_BITMAP,       0     },
        {VMCS_VMWRITE_BITMAP,      0     },
        {VMCS_VE_INFO_ADDR,        0x1000},
        {VMCS_EXIT_MSR_STORE_ADDR, 0x3000},
        {VMCS_EXIT_MSR_LOAD_ADDR,  0x3000},
        {VMCS_ENTRY_MSR_LOAD_ADDR, 0x3000},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        (void)vmwrite_checked(rows[i].field, rig->scratch.raw + rows[i].offset);
}

static void make_guest(struct entry_rig *rig)
{
    struct vcpu *v = &rig->cell->vcpu;
    struct guest_start start = {.mode = IMAGE_LONG, .rip = 0x8000, .rsp = 0x8000, .cr3 = 0x1000};

    CHECK(vcpu_start(v, &start) == OK);
    CHECK(vmptrld(v->vmcs.raw) == VMX_SUCCEED);
    vmwrite_fast(VMCS_EXCEPTION_BITMAP, UINT32_MAX);
    vmwrite_fast(VMCS_HOST_RIP, (u64)entry_try_landing);
    point_at_scratch(rig);
    rig->preemption_timer = v->has_preemption_timer;
    if (rig->preemption_timer)
        vmwrite_fast(VMCS_PREEMPTION_TIMER, 0);
    read_fields(rig);
}

static void make_target(struct entry_rig *rig)
{
    vmx_caps_decode(&rig->hv->probe, &rig->caps);
    rig->target = (struct entry_break_target){
        .caps = &rig->caps,
        .scratch = rig->scratch,
        .vmcs = rig->cell->vcpu.vmcs,
        .ctx = rig,
        .read = read_field,
        .write = write_field,
        .memory_read = memory_read,
        .memory_write = memory_write,
        .manner = add_manner,
    };
    entry_state_init(&rig->state, &rig->caps);
    rig->state.read = NULL;
    rig->state.values = &rig->now;
    set_manner(rig);
}

int entry_rig_open(struct hypervisor *hv, struct entry_rig *rig)
{
    const struct cell_config config = {.name = "entry"};

    memset(rig, 0, sizeof(*rig));
    rig->hv = hv;
    // PAE paging without EPT takes its tables from below 4 GiB.
    int err = frame_alloc(&hv->host, SCRATCH_FRAMES, PAGE_SIZE, SIZE_4G, &rig->scratch);
    if (err)
        return err;
    err = cell_create(hv, &config, &rig->cell);
    if (err) {
        frame_free(&hv->host, rig->scratch, SCRATCH_FRAMES);
        return err;
    }
    memset(phys_ptr(rig->scratch), 0, ENTRY_SCRATCH_SIZE);
    make_guest(rig);
    make_target(rig);
    return OK;
}

void entry_rig_close(struct entry_rig *rig)
{
    CHECK(vmclear(rig->target.vmcs.raw) == VMX_SUCCEED);
    cell_destroy(rig->cell);
    frame_free(&rig->hv->host, rig->scratch, SCRATCH_FRAMES);
}

// ---- what an entry may leave behind -----------------------------------------------------------

// MSRs that an entry may load and that no exit of this VMCS puts back.
static const struct {
    u32 msr;
    u32 entry_control;
} loaded[] = {
    {IA32_PERF_GLOBAL_CTRL,    ENTRY_LOAD_PERF_GLOBAL},
    {IA32_BNDCFGS,             ENTRY_LOAD_BNDCFGS    },
    {IA32_RTIT_CTL,            ENTRY_LOAD_RTIT       },
    {IA32_S_CET,               ENTRY_LOAD_CET        },
    {IA32_INTERRUPT_SSP_TABLE, ENTRY_LOAD_CET        },
    {IA32_LBR_CTL,             ENTRY_LOAD_LBR        },
    {IA32_PKRS,                ENTRY_LOAD_PKRS       },
};

// false: this CPU does not have it, or it is not loaded.
struct kept_msrs {
    u64 value[ARRAY_SIZE(loaded)];
    bool kept[ARRAY_SIZE(loaded)];
};

static void keep_msrs(struct entry_rig *rig, struct kept_msrs *k)
{
    u64 entry = 0;
    read_field(rig, VMCS_ENTRY_CTLS, &entry);
    for (unsigned i = 0; i < ARRAY_SIZE(loaded); i++)
        k->kept[i] = (entry & loaded[i].entry_control) && rdmsr_safe(loaded[i].msr, &k->value[i]);
}

static void put_back_msrs(const struct kept_msrs *k)
{
    for (unsigned i = 0; i < ARRAY_SIZE(loaded); i++)
        if (k->kept[i])
            wrmsr_safe(loaded[i].msr, k->value[i]);
}

static u64 base_of(const struct entry_rig *rig, u32 field)
{
    return rig->first[ENTRY_SLOT(field)];
}

// The CPU took a state of the host's that it should have refused. What C code stands on comes
// first; the SYSENTER MSRs come back with the next exit.
static void repair_host(struct entry_rig *rig)
{
    struct cpu *cpu = (struct cpu *)base_of(rig, VMCS_HOST_GS_BASE);
    write_cr0(base_of(rig, VMCS_HOST_CR0));
    write_cr4(base_of(rig, VMCS_HOST_CR4));
    write_cr3(base_of(rig, VMCS_HOST_CR3));
    gdt_load(cpu);
    idt_load();
    wrmsr_safe(IA32_EFER, base_of(rig, VMCS_HOST_EFER));
    wrmsr(IA32_PAT, base_of(rig, VMCS_HOST_PAT));
}

// ---- attempts ---------------------------------------------------------------------------------

// Makes the VMCS one that was not launched, and after between, which may change its memory.
static void clear_launch(struct entry_rig *rig, void (*between)(u32 *head))
{
    u64 vmcs = rig->target.vmcs.raw;
    CHECK(vmclear(vmcs) == VMX_SUCCEED);
    if (between)
        between(phys_ptr(rig->target.vmcs));
    CHECK(vmptrld(vmcs) == VMX_SUCCEED);
}

static void flip_shadow(u32 *head)
{
    *head ^= BIT32(31);
}

// What made the guest come out is the host's business too, if it is an interrupt or an NMI.
static void pass_to_host(struct entry_rig *rig, u32 reason)
{
    struct exit_info exit = {.reason = reason, .intr_info = (u32)vmread_fast(VMCS_EXIT_INTR_INFO)};
    if (reason == REASON_EXTERNAL_INTERRUPT)
        vcpu_host_interrupt(&rig->cell->vcpu, &exit);
    else if (reason == REASON_EXCEPTION_NMI &&
             (exit.intr_info & (INTR_INFO_VALID | INTR_INFO_TYPE)) ==
                 (INTR_INFO_VALID | EVENT_NMI << INTR_INFO_TYPE_SHIFT))
        vcpu_host_nmi();
}

static struct entry_outcome outcome_of_exit(struct entry_rig *rig)
{
    u32 reason = (u32)vmread_fast(VMCS_EXIT_REASON);
    if (reason & REASON_ENTRY_FAILED)
        return (struct entry_outcome){OUTCOME_FAILED_EXIT, reason & 0xffff,
                                      vmread_fast(VMCS_EXIT_QUALIFICATION)};
    spent(rig);
    rig->entries++;
    pass_to_host(rig, reason & 0xffff);
    return (struct entry_outcome){OUTCOME_ENTERED, reason & 0xffff, 0};
}

static struct entry_outcome enter(struct entry_rig *rig, unsigned how)
{
    struct kept_msrs msrs;

    keep_msrs(rig, &msrs);
    if (!rig->preemption_timer)
        timer_arm(rdtsc() + host_clock.hz / 1000 * WATCHDOG_MS);
    int result = entry_try(how);
    if (result == 0 && rig->host_dirty)
        repair_host(rig);
    put_back_msrs(&msrs);
    if (!rig->preemption_timer)
        timer_disarm();
    if (result == VMX_FAIL_INVALID)
        return (struct entry_outcome){OUTCOME_FAIL_INVALID, 0, 0};
    if (result == VMX_FAIL_VALID)
        return (struct entry_outcome){OUTCOME_FAIL_VALID, (u32)vmread_fast(VMCS_INSN_ERROR), 0};
    return outcome_of_exit(rig);
}

// Outside VMX operation the instruction itself is refused.
static struct entry_outcome enter_outside(struct entry_rig *rig)
{
    CHECK(vmclear(rig->target.vmcs.raw) == VMX_SUCCEED);
    vmx_disable(&rig->hv->host);
    struct probe_result result = probe_call(entry_try_bare, 0);
    CHECK(vmx_enable(&rig->hv->caps, &rig->hv->host) == OK);
    CHECK(vmptrld(rig->target.vmcs.raw) == VMX_SUCCEED);
    if (result.vector == PROBE_NO_FAULT)
        return (struct entry_outcome){OUTCOME_FAIL_INVALID, 0, 0};
    return (struct entry_outcome){OUTCOME_FAULT, (u32)result.vector, 0};
}

static struct entry_outcome enter_without_vmcs(struct entry_rig *rig)
{
    CHECK(vmclear(rig->target.vmcs.raw) == VMX_SUCCEED);
    int result = entry_try(0);
    CHECK(vmptrld(rig->target.vmcs.raw) == VMX_SUCCEED);
    // There is no VMCS that could tell more.
    return (struct entry_outcome){
        result == VMX_FAIL_INVALID ? OUTCOME_FAIL_INVALID : OUTCOME_FAIL_VALID, 0, 0};
}

static struct entry_outcome enter_shadow(struct entry_rig *rig)
{
    clear_launch(rig, flip_shadow);
    struct entry_outcome outcome = enter(rig, 0);
    clear_launch(rig, flip_shadow);
    return outcome;
}

struct entry_outcome entry_rig_attempt(struct entry_rig *rig)
{
    u32 manner = rig->manner;

    if (manner & MANNER_OUTSIDE_VMX)
        return enter_outside(rig);
    if (manner & MANNER_NO_VMCS)
        return enter_without_vmcs(rig);
    if (manner & MANNER_SHADOW)
        return enter_shadow(rig);
    clear_launch(rig, NULL);
    if (manner & MANNER_LAUNCHED) {
        enter(rig, 0);
        entry_rig_reset(rig);
    }
    return enter(rig, manner & MANNER_RESUME ? 1 : manner & MANNER_MOV_SS ? 2 : 0);
}
