// SPDX-License-Identifier: MIT
// A VMCS, a CPU and a little memory for the tests of the VM-entry rules: seven guests that any CPU
// enters, and edits to them. For the tests of the entry rules and of their breaks.
#pragma once

#include <string.h>

#include "arch/x86_64/regs/cr.h"
#include "arch/x86_64/regs/msr.h"
#include "arch/x86_64/regs/seg.h"
#include "vmx/entry_rules.h"
#include "vmx/events.h"
#include "vmx/vmcs.h"

#define MSR_OF_THE_MODEL 0x1234
#define MSR_THAT_FAULTS  0x4321

#define ARENA      0x100000u // host-physical: virtual-APIC page, VMCS, PDPTEs, MSR list
#define ARENA_SIZE 0x4000u

// What else than a VMCS field an edit may change.
enum {
    X_FIRST = 0x10000,
    X_VMX_OPERATION = X_FIRST,
    X_CPL,
    X_CURRENT,
    X_SHADOW,
    X_MOV_SS,
    X_LAUNCHED,
    X_RESUME,
    X_LMA,
    X_SMM,
    X_TRACING,
    X_RTM,
    X_SGX,
    X_BUS_LOCK,
    X_ANY_ERROR_CODE,
    X_LENGTH_0,
    X_ACTIVITIES,
    X_EPT_CAPS,
    X_PROC_MAY,
    X_EXIT_MAY
};
#define MEM(offset) (0x20000u + (offset)) // 32 bits of the arena

struct machine {
    struct vmx_caps caps;
    struct entry_state state;
    u64 values[256];             // in the order of vmcs_fields
    struct entry_values checked; // the checker's
    bool absent[256];
    u8 arena[ARENA_SIZE];
};

enum op { OP_END, OP_SET, OP_OR, OP_CLEAR };
struct edit {
    u32 what;
    enum op op;
    u64 value;
};

enum baseline { REAL, V86, FLAT, PROT32, PAE, COMPAT, LONG, BASELINES };
static const char *const baseline_names[BASELINES] = {
    "real mode",     "virtual-8086 mode", "protected mode without paging",
    "32-bit paging", "PAE paging",        "compatibility mode",
    "64-bit mode"};

// ---- a machine --------------------------------------------------------------------------------

static unsigned index_of(u32 field)
{
    for (unsigned i = 0; i < vmcs_fields_count; i++)
        if (vmcs_fields[i].encoding == field)
            return i;
    fail_msg("no field %x", field);
    return 0;
}

static bool read_field(void *ctx, u32 field, u64 *value)
{
    struct machine *m = ctx;
    unsigned i = index_of(field);
    *value = m->values[i];
    return !m->absent[i];
}

static bool read_arena(void *ctx, hpa_t address, void *buf, u32 size)
{
    struct machine *m = ctx;
    if (address.raw < ARENA || address.raw - ARENA > ARENA_SIZE - size)
        return false;
    memcpy(buf, m->arena + (address.raw - ARENA), size);
    return true;
}

static enum entry_msr_verdict load_msr(void *ctx, u32 index, u64 value)
{
    (void)ctx;
    assert_int_equal(value, 0x1122334455667788);
    return index == MSR_OF_THE_MODEL  ? ENTRY_MSR_MODEL
           : index == MSR_THAT_FAULTS ? ENTRY_MSR_FAULTS
                                      : ENTRY_MSR_LOADS;
}

static u64 *field_of(struct machine *m, u32 field)
{
    return &m->values[index_of(field)];
}

static void set(struct machine *m, u32 field, u64 value)
{
    *field_of(m, field) = value;
}

static void set_caps(struct vmx_caps *c)
{
    static const u32 must[CTL_WORDS] = {0x16, 0x04006172, 0, 0, 0x36dfb, 0x11fb};

    memset(c, 0, sizeof(*c));
    for (unsigned i = 0; i < CTL_WORDS; i++)
        c->ctl[i] = (struct ctl_allowed){.must = must[i], .may = must[i]};
    for (unsigned i = 0; i < ctl_infos_count; i++)
        c->ctl[ctl_infos[i].word].may |= 1u << ctl_infos[i].bit;
    c->revision = 4;
    c->proc3_may = c->ctl[CTL_PROC3].may;
    c->exit2_may = 15;
    c->vmfunc = 1;
    c->activity = 7;
    c->cr3_targets = 4;
    c->cr0_fixed0 = CR0_PG | CR0_NE | CR0_PE;
    c->cr0_fixed1 = 0xffffffff;
    c->cr4_fixed0 = CR4_VMXE;
    c->cr4_fixed1 = 0x03ff7fff;
    c->ept_vpid = BIT(0) | BIT(6) | BIT(7) | BIT(8) | BIT(14) | BITS(17, 16) | BITS(21, 20) |
                  BIT(23) | BITS(26, 25);
    c->ept = ept_caps_decode(c->ept_vpid);
    c->maxphyaddr = 39;
}

static void set_controls(struct machine *m)
{
    const struct ctl_allowed *ctl = m->caps.ctl;
    set(m, VMCS_PIN_CTLS,
        ctl[CTL_PIN].must | PIN_EXT_INTR | PIN_NMI | PIN_VNMI | PIN_PREEMPTION_TIMER);
    set(m, VMCS_PROC_CTLS,
        ctl[CTL_PROC].must | PROC_HLT | PROC_IO_BITMAPS | PROC_MSR_BITMAPS | PROC_SECONDARY);
    set(m, VMCS_PROC_CTLS2, PROC2_EPT | PROC2_VPID | PROC2_UNRESTRICTED);
    set(m, VMCS_EXIT_CTLS,
        ctl[CTL_EXIT].must | EXIT_HOST64 | EXIT_SAVE_DEBUG | EXIT_LOAD_EFER | EXIT_LOAD_PAT);
    set(m, VMCS_ENTRY_CTLS,
        ctl[CTL_ENTRY].must | ENTRY_LOAD_DEBUG | ENTRY_LOAD_EFER | ENTRY_LOAD_PAT);
    set(m, VMCS_IO_BITMAP_A, 0x2000);
    set(m, VMCS_IO_BITMAP_B, 0x3000);
    set(m, VMCS_MSR_BITMAP, 0x4000);
    set(m, VMCS_EPT_POINTER, 0x501e);
    set(m, VMCS_VPID, 1);
    set(m, VMCS_VMCS_LINK_POINTER, ~0ull);
}

static void set_host(struct machine *m)
{
    static const u32 bases[] = {
        VMCS_HOST_FS_BASE,   VMCS_HOST_GS_BASE,      VMCS_HOST_TR_BASE,
        VMCS_HOST_GDTR_BASE, VMCS_HOST_IDTR_BASE,    VMCS_HOST_RSP,
        VMCS_HOST_RIP,       VMCS_HOST_SYSENTER_EIP, VMCS_HOST_SYSENTER_ESP};
    for (unsigned i = 0; i < ARRAY_SIZE(bases); i++)
        set(m, bases[i], 0xffff800000000000);
    for (u32 field = VMCS_HOST_ES_SEL; field <= VMCS_HOST_TR_SEL; field += 2)
        set(m, field, field == VMCS_HOST_CS_SEL ? 8 : 0x10);
    set(m, VMCS_HOST_CR0, 0x80050033);
    set(m, VMCS_HOST_CR3, 0x6000);
    set(m, VMCS_HOST_CR4, CR4_VMXE | CR4_PAE);
    set(m, VMCS_HOST_EFER, EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);
    set(m, VMCS_HOST_PAT, PAT_CORBEL);
}

static void set_segment(struct machine *m, u32 seg, u16 sel, u64 base, u32 limit, u32 ar)
{
    set(m, VMCS_GUEST_SEL(seg), sel);
    set(m, VMCS_GUEST_BASE(seg), base);
    set(m, VMCS_GUEST_LIMIT(seg), limit);
    set(m, VMCS_GUEST_AR(seg), ar);
}

static void set_guest_mode(struct machine *m, enum baseline mode)
{
    bool small = mode == REAL || mode == V86;
    bool ia32e = mode == COMPAT || mode == LONG;
    u64 cr0 = CR0_NE | CR0_ET;
    u32 code = mode == LONG ? AR_CODE64 : AR_CODE32, data = AR_DATA32;

    if (mode != REAL)
        cr0 |= CR0_PE;
    if (mode >= PROT32 || mode == V86)
        cr0 |= CR0_PG;
    if (small)
        code = mode == V86 ? 0xf3 : AR_CODE16, data = mode == V86 ? 0xf3 : AR_DATA16;
    for (u32 seg = SEG_ES; seg <= SEG_GS; seg++)
        set_segment(m, seg,
                    small           ? 0x1230
                    : seg == SEG_CS ? 8
                                    : 0x10,
                    small ? 0x12300 : 0, small ? 0xffff : 0xffffffff, seg == SEG_CS ? code : data);
    set_segment(m, SEG_LDTR, 0, 0, 0, AR_UNUSABLE);
    set_segment(m, SEG_TR, 0x18, 0, 0x67, AR_TSS_BUSY);
    set(m, VMCS_GUEST_CR0, cr0);
    set(m, VMCS_GUEST_CR4, CR4_VMXE | (mode >= PAE ? CR4_PAE : 0));
    set(m, VMCS_GUEST_EFER, ia32e ? EFER_LME | EFER_LMA : 0);
    set(m, VMCS_GUEST_RFLAGS, RFLAGS_FIXED | (mode == V86 ? RFLAGS_VM : 0));
    if (ia32e)
        *field_of(m, VMCS_ENTRY_CTLS) |= ENTRY_IA32E;
}

static void make(struct machine *m, enum baseline mode)
{
    static const u64 value = 0x1122334455667788;

    memset(m, 0, sizeof(*m));
    set_caps(&m->caps);
    m->state = (struct entry_state){
        .caps = &m->caps,
        .ctx = m,
        .read = read_field,
        .values = &m->checked,
        .memory = read_arena,
        .load_msr = load_msr,
        .current_vmcs = 0x10000,
        .vmx_operation = true,
        .lma = true,
        .linear_bits = 48,
        .rtm = true,
        .sgx = true,
        .efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE,
        .debugctl = 0xffc7,
        .perf_global_ctrl = 0x70000000full,
        .rtit_ctl = 0xffff,
        .lbr_ctl = 0x7f000f,
    };
    set_controls(m);
    set_host(m);
    set_guest_mode(m, mode);
    set(m, VMCS_GUEST_CR3, 0x102000);
    set(m, VMCS_GUEST_PDPTE0, 0x7001);
    set(m, VMCS_GUEST_PAT, 0x0007040600070406ull);
    set(m, VMCS_GUEST_DR7, DR7_INIT);
    set(m, VMCS_GUEST_RIP, 0x1000);
    m->arena[0x1000] = 4;
    m->arena[0x3000] = 0x10;
    memcpy(m->arena + 0x3008, &value, sizeof(value));
}

// ---- changing it ------------------------------------------------------------------------------

static bool *flag_of(struct machine *m, u32 what)
{
    switch (what) {
    case X_VMX_OPERATION:
        return &m->state.vmx_operation;
    case X_SHADOW:
        return &m->state.shadow;
    case X_MOV_SS:
        return &m->state.mov_ss_blocking;
    case X_LAUNCHED:
        return &m->state.launched;
    case X_RESUME:
        return &m->state.resume;
    case X_LMA:
        return &m->state.lma;
    case X_SMM:
        return &m->state.smm;
    case X_TRACING:
        return &m->state.tracing;
    case X_RTM:
        return &m->state.rtm;
    case X_SGX:
        return &m->state.sgx;
    case X_BUS_LOCK:
        return &m->state.bus_lock;
    case X_ANY_ERROR_CODE:
        return &m->caps.any_error_code;
    case X_LENGTH_0:
        return &m->caps.insn_length_0;
    }
    return NULL;
}

static u64 changed(const struct edit *e, u64 value)
{
    return e->op == OP_SET ? e->value : e->op == OP_OR ? value | e->value : value & ~e->value;
}

static void apply_one(struct machine *m, const struct edit *e, u32 what)
{
    bool *flag = flag_of(m, what);
    if (flag) {
        *flag = e->value;
    } else if (what == X_CPL) {
        m->state.cpl = (u8)e->value;
    } else if (what == X_CURRENT) {
        m->state.current_vmcs = e->value;
    } else if (what == X_ACTIVITIES) {
        m->caps.activity = (u8)e->value;
    } else if (what == X_EPT_CAPS) {
        m->caps.ept_vpid = changed(e, m->caps.ept_vpid);
        m->caps.ept = ept_caps_decode(m->caps.ept_vpid);
    } else if (what == X_PROC_MAY || what == X_EXIT_MAY) {
        u32 *may = &m->caps.ctl[what == X_PROC_MAY ? CTL_PROC : CTL_EXIT].may;
        *may = (u32)changed(e, *may);
    } else if (what >= MEM(0)) {
        u32 value = (u32)e->value;
        memcpy(m->arena + (what - MEM(0)), &value, sizeof(value));
    } else {
        set(m, what, changed(e, *field_of(m, what)));
    }
}

static bool is_field_of_es(u32 what)
{
    return what == VMCS_GUEST_ES_SEL || what == VMCS_GUEST_ES_LIMIT || what == VMCS_GUEST_ES_AR ||
           what == VMCS_GUEST_ES_BASE;
}

// The edits, those of ES's fields going to seg.
static inline void apply(struct machine *m, const struct edit *edits, u32 seg)
{
    for (; edits->op; edits++)
        apply_one(m, edits, edits->what + (is_field_of_es(edits->what) ? 2 * seg : 0));
}
