// SPDX-License-Identifier: MIT
// RDMSR and WRMSR: the guest's MSRs as one sorted table. What is not in it does not exist for the
// guest and is #GP(0). Corbel never reads an MSR whose number a guest chose.
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/regs/cr.h"
#include "arch/x86_64/regs/msr.h"
#include "vmx/segment.h"
#include "vmx/vcpu_internal.h"
#include "vmx/vmcs_access.h"

// OK, or E_FAULT for #GP(0).
typedef int (*msr_read_fn)(struct vcpu *v, u32 msr, u64 *value);
typedef int (*msr_write_fn)(struct vcpu *v, u32 msr, u64 value);

struct msr_row {
    u32 first, last;
    msr_read_fn read;   // NULL: #GP
    msr_write_fn write; // NULL: #GP
};

// ---- the TSC ----------------------------------------------------------------------------------

static int read_tsc(struct vcpu *v, u32 msr, u64 *value)
{
    (void)msr;
    *value = vcpu_host_tsc() + v->tsc_offset;
    return OK;
}

// TSC and TSC_ADJUST move together, and the host's own TSC never: SDM volume 3, "IA32_TSC_ADJUST".
static void move_tsc(struct vcpu *v, u64 delta)
{
    v->tsc_offset += delta;
    v->tsc_adjust += delta;
    vmcs_write(VMCS_TSC_OFFSET, v->tsc_offset);
    v->vm->lapic.tsc_offset = v->tsc_offset;
    lapic_tsc_changed(&v->vm->lapic);
}

static int write_tsc(struct vcpu *v, u32 msr, u64 value)
{
    (void)msr;
    move_tsc(v, value - (vcpu_host_tsc() + v->tsc_offset));
    return OK;
}

static int read_tsc_adjust(struct vcpu *v, u32 msr, u64 *value)
{
    (void)msr;
    *value = v->tsc_adjust;
    return OK;
}

static int write_tsc_adjust(struct vcpu *v, u32 msr, u64 value)
{
    (void)msr;
    move_tsc(v, value - v->tsc_adjust);
    return OK;
}

// ---- the local APIC ---------------------------------------------------------------------------

static int read_apic_base(struct vcpu *v, u32 msr, u64 *value)
{
    (void)msr;
    *value = lapic_base_read(&v->vm->lapic);
    return OK;
}

static int write_apic_base(struct vcpu *v, u32 msr, u64 value)
{
    (void)msr;
    return lapic_base_write(&v->vm->lapic, value);
}

static int read_x2apic(struct vcpu *v, u32 msr, u64 *value)
{
    return lapic_msr_read(&v->vm->lapic, msr, value);
}

static int write_x2apic(struct vcpu *v, u32 msr, u64 value)
{
    return lapic_msr_write(&v->vm->lapic, msr, value);
}

static int read_deadline(struct vcpu *v, u32 msr, u64 *value)
{
    (void)msr;
    return lapic_deadline_read(&v->vm->lapic, value);
}

static int write_deadline(struct vcpu *v, u32 msr, u64 value)
{
    (void)msr;
    return lapic_deadline_write(&v->vm->lapic, value);
}

// ---- what the VMCS holds ----------------------------------------------------------------------

static int read_efer(struct vcpu *v, u32 msr, u64 *value)
{
    (void)v;
    (void)msr;
    *value = vmcs_read(VMCS_GUEST_EFER);
    return OK;
}

// LME cannot change while paging is on, LMA is read-only, SCE and NXE are free: SDM volume 4,
// "IA32_EFER".
static int write_efer(struct vcpu *v, u32 msr, u64 value)
{
    (void)msr;
    u64 old = vmcs_read(VMCS_GUEST_EFER);
    if (value & ~(u64)(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE))
        return E_FAULT;
    if (((old ^ value) & EFER_LME) && (vcpu_guest_cr0(v) & CR0_PG))
        return E_FAULT;
    vmcs_write(VMCS_GUEST_EFER, (value & ~(u64)EFER_LMA) | (old & EFER_LMA));
    return OK;
}

static int read_pat(struct vcpu *v, u32 msr, u64 *value)
{
    (void)v;
    (void)msr;
    *value = vmcs_read(VMCS_GUEST_PAT);
    return OK;
}

static bool pat_legal(u64 value)
{
    for (unsigned i = 0; i < 8; i++, value >>= 8) {
        u8 type = (u8)value;
        if (type > 7 || type == 2 || type == 3)
            return false;
    }
    return true;
}

static int write_pat(struct vcpu *v, u32 msr, u64 value)
{
    (void)v;
    (void)msr;
    if (!pat_legal(value))
        return E_FAULT;
    vmcs_write(VMCS_GUEST_PAT, value);
    return OK;
}

static int read_debugctl(struct vcpu *v, u32 msr, u64 *value)
{
    (void)v;
    (void)msr;
    *value = vmcs_read(VMCS_GUEST_DEBUGCTL);
    return OK;
}

// BTF only: last-branch recording and branch trace are not offered.
static int write_debugctl(struct vcpu *v, u32 msr, u64 value)
{
    (void)v;
    (void)msr;
    if (value & ~(u64)DEBUGCTL_BTF)
        return E_FAULT;
    vmcs_write(VMCS_GUEST_DEBUGCTL, value);
    return OK;
}

// ---- values Corbel keeps ----------------------------------------------------------------------

static int read_misc_enable(struct vcpu *v, u32 msr, u64 *value)
{
    (void)msr;
    *value = v->misc_enable;
    return OK;
}

// Fast strings and the rest are stored; what would hide a CPUID leaf or NX is refused.
static int write_misc_enable(struct vcpu *v, u32 msr, u64 value)
{
    (void)msr;
    if (value & (BIT(22) | MISC_ENABLE_XD_DISABLE))
        return E_FAULT;
    v->misc_enable = value;
    return OK;
}

static int read_mtrr_cap(struct vcpu *v, u32 msr, u64 *value)
{
    (void)v;
    (void)msr;
    *value = MTRRCAP_WC; // no fixed and no variable ranges: the default type is all there is
    return OK;
}

static int read_mtrr_def(struct vcpu *v, u32 msr, u64 *value)
{
    (void)msr;
    *value = v->mtrr_def_type;
    return OK;
}

// Stored only: guest RAM keeps the type EPT gives it.
static int write_mtrr_def(struct vcpu *v, u32 msr, u64 value)
{
    (void)msr;
    u64 type = value & MTRR_DEF_TYPE;
    if ((value & ~(MTRR_DEF_TYPE | MTRR_DEF_E)) || type > 6 || type == 2 || type == 3)
        return E_FAULT;
    v->mtrr_def_type = value;
    return OK;
}

// Locked with VMX off, as firmware does on a machine without it.
static int read_feature_control(struct vcpu *v, u32 msr, u64 *value)
{
    (void)v;
    (void)msr;
    *value = FEATURE_CONTROL_LOCK;
    return OK;
}

static int read_zero(struct vcpu *v, u32 msr, u64 *value)
{
    (void)v;
    (void)msr;
    *value = 0;
    return OK;
}

static int write_ignored(struct vcpu *v, u32 msr, u64 value)
{
    (void)v;
    (void)msr;
    (void)value;
    return OK;
}

// The base frequency in units of 100 MHz: SDM volume 4, "MSR_PLATFORM_INFO".
static int read_platform_info(struct vcpu *v, u32 msr, u64 *value)
{
    (void)msr;
    *value = (v->vm->clock->hz / 100000000u & 0xff) << 8;
    return OK;
}

// XSS offers no state: 0 is the only value.
static int write_zero_only(struct vcpu *v, u32 msr, u64 value)
{
    (void)v;
    (void)msr;
    return value ? E_FAULT : OK;
}

// Sorted by number.
static const struct msr_row rows[] = {
    {IA32_TIME_STAMP_COUNTER, IA32_TIME_STAMP_COUNTER, read_tsc,             write_tsc        },
    {IA32_PLATFORM_ID,        IA32_PLATFORM_ID,        read_zero,            NULL             },
    {IA32_APIC_BASE,          IA32_APIC_BASE,          read_apic_base,       write_apic_base  },
    {IA32_FEATURE_CONTROL,    IA32_FEATURE_CONTROL,    read_feature_control, NULL             },
    {IA32_TSC_ADJUST,         IA32_TSC_ADJUST,         read_tsc_adjust,      write_tsc_adjust },
    {IA32_BIOS_UPDT_TRIG,     IA32_BIOS_UPDT_TRIG,     NULL,                 write_ignored    },
    {IA32_BIOS_SIGN_ID,       IA32_BIOS_SIGN_ID,       read_zero,            write_ignored    },
    {MSR_PLATFORM_INFO,       MSR_PLATFORM_INFO,       read_platform_info,   NULL             },
    {IA32_MTRRCAP,            IA32_MTRRCAP,            read_mtrr_cap,        NULL             },
    {IA32_MCG_CAP,            IA32_MCG_STATUS,         read_zero,            write_zero_only  },
    {IA32_MISC_ENABLE,        IA32_MISC_ENABLE,        read_misc_enable,     write_misc_enable},
    {IA32_DEBUGCTL,           IA32_DEBUGCTL,           read_debugctl,        write_debugctl   },
    {IA32_PAT,                IA32_PAT,                read_pat,             write_pat        },
    {IA32_MTRR_DEF_TYPE,      IA32_MTRR_DEF_TYPE,      read_mtrr_def,        write_mtrr_def   },
    {IA32_TSC_DEADLINE,       IA32_TSC_DEADLINE,       read_deadline,        write_deadline   },
    {IA32_X2APIC_FIRST,       IA32_X2APIC_LAST,        read_x2apic,          write_x2apic     },
    {IA32_XSS,                IA32_XSS,                read_zero,            write_zero_only  },
    {IA32_EFER,               IA32_EFER,               read_efer,            write_efer       },
};

static const struct msr_row *find_row(u32 msr)
{
    unsigned low = 0, high = ARRAY_SIZE(rows);
    while (low < high) {
        unsigned mid = (low + high) / 2;
        if (msr > rows[mid].last)
            low = mid + 1;
        else if (msr < rows[mid].first)
            high = mid;
        else
            return &rows[mid];
    }
    return NULL;
}

// A guest may ask for thousands: each VM's first few are worth a line.
static void note_unknown(struct vcpu *v, const char *what, u32 msr)
{
    if (v->unknown_msrs++ < 16)
        log_debug("vm %s: %s of MSR %xH: #GP", v->vm->name, what, msr);
}

enum exit_action exit_rdmsr(struct vcpu *vcpu, const struct exit_info *exit)
{
    (void)exit;
    u32 msr = (u32)vcpu->regs[GPR_RCX];
    const struct msr_row *row = find_row(msr);
    u64 value;

    if (!row || !row->read || row->read(vcpu, msr, &value) != OK) {
        note_unknown(vcpu, "RDMSR", msr);
        return raise_gp(vcpu);
    }
    vcpu->regs[GPR_RAX] = (u32)value;
    vcpu->regs[GPR_RDX] = value >> 32;
    return ACT_SKIP;
}

enum exit_action exit_wrmsr(struct vcpu *vcpu, const struct exit_info *exit)
{
    (void)exit;
    u32 msr = (u32)vcpu->regs[GPR_RCX];
    u64 value = vcpu->regs[GPR_RDX] << 32 | (u32)vcpu->regs[GPR_RAX];
    const struct msr_row *row = find_row(msr);

    if (!row || !row->write || row->write(vcpu, msr, value) != OK) {
        note_unknown(vcpu, "WRMSR", msr);
        return raise_gp(vcpu);
    }
    return ACT_SKIP;
}

// ---- the bitmap -------------------------------------------------------------------------------

// SDM volume 3, "MSR-Bitmap Address": read-low at 0, read-high 400H, write-low 800H, write-high
// C00H.
static void pass(u8 *bitmap, u32 msr)
{
    u32 index = msr & 0x1fff;
    u32 half = msr >= 0xc0000000u ? 0x400 : 0;
    bitmap[half + index / 8] &= (u8) ~(1u << index % 8);
    bitmap[half + 0x800 + index / 8] &= (u8) ~(1u << index % 8);
}

void msr_bitmap_init(struct vcpu *vcpu)
{
    // Those that the VMCS switches by itself or vcpu_load() does.
    static const u32 passed[] = {
        IA32_SYSENTER_CS, IA32_SYSENTER_ESP, IA32_SYSENTER_EIP, IA32_STAR,    IA32_LSTAR,
        IA32_CSTAR,       IA32_FMASK,        IA32_FS_BASE,      IA32_GS_BASE, IA32_KERNEL_GS_BASE,
    };
    u8 *bitmap = phys_ptr(vcpu->msr_bitmap);

    memset(bitmap, 0xff, PAGE_SIZE);
    for (unsigned i = 0; i < ARRAY_SIZE(passed); i++)
        pass(bitmap, passed[i]);
    if (vcpu->caps->ctl[CTL_PROC2].may & PROC2_RDTSCP)
        pass(bitmap, IA32_TSC_AUX);
}
