// SPDX-License-Identifier: MIT
// RDMSR and WRMSR: the guest's MSRs as one sorted table. What is not in it does not exist for the
// guest and is #GP(0). Corbel never reads an MSR whose number a guest chose.
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/regs/cr.h"
#include "arch/x86_64/regs/msr.h"
#include "vmx/msr.h"
#include "vmx/segment.h"
#include "vmx/vcpu_internal.h"
#include "vmx/vmcs_access.h"

struct msr_row {
    u32 first, count;
    msr_read_fn read;   // NULL: #GP
    msr_write_fn write; // NULL: #GP
};

// ---- the TSC ----------------------------------------------------------------------------------

static int read_tsc(struct vcpu *v, u32 msr, u64 *value)
{
    (void)msr;
    *value = host_tsc() + v->tsc_offset;
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
    move_tsc(v, value - (host_tsc() + v->tsc_offset));
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

// The two most frequent have functions of their own.
#define X2APIC_EOI   (IA32_X2APIC_FIRST + (APIC_EOI >> 4))
#define X2APIC_COUNT (IA32_X2APIC_FIRST + (APIC_TMCCT >> 4))

static int write_x2apic_eoi(struct vcpu *v, u32 msr, u64 value)
{
    struct lapic *lapic = &v->vm->lapic;
    if (unlikely(!lapic->msrs_open || value))
        return lapic_msr_write(lapic, msr, value);
    lapic_eoi(lapic);
    return OK;
}

static int read_x2apic_count(struct vcpu *v, u32 msr, u64 *value)
{
    struct lapic *lapic = &v->vm->lapic;
    if (likely(lapic_in_x2apic(lapic)) && likely(lapic_count_quickly(lapic, host_tsc(), value)))
        return OK;
    return lapic_msr_read(lapic, msr, value);
}

static int read_deadline(struct vcpu *v, u32 msr, u64 *value)
{
    (void)msr;
    return lapic_deadline_read(&v->vm->lapic, value);
}

static int write_deadline(struct vcpu *v, u32 msr, u64 value)
{
    (void)msr;
    struct lapic *lapic = &v->vm->lapic;
    u64 now = host_tsc();
    if (likely(lapic_deadline_quickly(lapic, value, now)))
        return OK;
    return lapic_deadline_write(lapic, value, now);
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

#define MISC_ENABLE_READ_ONLY (MISC_ENABLE_PERFMON | MISC_ENABLE_NO_BTS | MISC_ENABLE_NO_PEBS)
#define MISC_ENABLE_STORED                                                                         \
    (MISC_ENABLE_FAST_STRINGS | MISC_ENABLE_TCC | MISC_ENABLE_EIST | MISC_ENABLE_MONITOR |         \
     MISC_ENABLE_XTPR_DISABLE)

// Kept, for whoever set it to find it again; what would hide a CPUID leaf or NX is refused.
static int write_misc_enable(struct vcpu *v, u32 msr, u64 value)
{
    (void)msr;
    if (value & ~(MISC_ENABLE_STORED | MISC_ENABLE_READ_ONLY))
        return E_FAULT;
    v->misc_enable = (value & MISC_ENABLE_STORED) | (v->misc_enable & MISC_ENABLE_READ_ONLY);
    return OK;
}

static int read_mtrr(struct vcpu *v, u32 msr, u64 *value)
{
    return guest_mtrr_read(&v->mtrr, msr, value);
}

static int write_mtrr(struct vcpu *v, u32 msr, u64 value)
{
    return guest_mtrr_write(&v->mtrr, v->caps->maxphyaddr, msr, value);
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

// The revision of what the host CPU runs, where the CPUID that must come before it would put it.
static int read_microcode(struct vcpu *v, u32 msr, u64 *value)
{
    (void)msr;
    *value = v->host_microcode;
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
    {IA32_TIME_STAMP_COUNTER, 1,                               read_tsc,                   write_tsc          },
    {IA32_PLATFORM_ID,        1,                               read_zero,                  NULL               },
    {IA32_APIC_BASE,          1,                               read_apic_base,             write_apic_base    },
    {IA32_FEATURE_CONTROL,    1,                               read_feature_control,       NULL               },
    {IA32_TSC_ADJUST,         1,                               read_tsc_adjust,            write_tsc_adjust   },
    {IA32_SPEC_CTRL,          1,                               msr_read_spec_ctrl,         msr_write_spec_ctrl},
    {IA32_BIOS_UPDT_TRIG,     1,                               NULL,                       write_ignored      },
    {IA32_BIOS_SIGN_ID,       1,                               read_microcode,             write_ignored      },
    {MSR_PLATFORM_INFO,       1,                               read_platform_info,         NULL               },
    {IA32_MTRRCAP,            1,                               read_mtrr,                  NULL               },
    {IA32_ARCH_CAPABILITIES,  1,                               msr_read_arch_capabilities, NULL               },
    {IA32_MCG_CAP,            1,                               read_zero,                  NULL               },
    {IA32_MCG_STATUS,         1,                               read_zero,                  write_zero_only    },
    {IA32_MISC_ENABLE,        1,                               read_misc_enable,           write_misc_enable  },
    {IA32_DEBUGCTL,           1,                               read_debugctl,              write_debugctl     },
    {IA32_MTRR_PHYSBASE0,     2 * GUEST_MTRR_VARIABLE,         read_mtrr,                  write_mtrr         },
    {IA32_MTRR_FIX64K_00000,  1,                               read_mtrr,                  write_mtrr         },
    {IA32_MTRR_FIX16K_80000,  2,                               read_mtrr,                  write_mtrr         },
    {IA32_MTRR_FIX4K_C0000,   8,                               read_mtrr,                  write_mtrr         },
    {IA32_PAT,                1,                               read_pat,                   write_pat          },
    {IA32_MTRR_DEF_TYPE,      1,                               read_mtrr,                  write_mtrr         },
    {IA32_TSC_DEADLINE,       1,                               read_deadline,              write_deadline     },
    {IA32_X2APIC_FIRST,       X2APIC_EOI - IA32_X2APIC_FIRST,  read_x2apic,                write_x2apic       },
    {X2APIC_EOI,              1,                               read_x2apic,                write_x2apic_eoi   },
    {X2APIC_EOI + 1,          X2APIC_COUNT - X2APIC_EOI - 1,   read_x2apic,                write_x2apic       },
    {X2APIC_COUNT,            1,                               read_x2apic_count,          write_x2apic       },
    {X2APIC_COUNT + 1,        IA32_X2APIC_LAST - X2APIC_COUNT, read_x2apic,                write_x2apic       },
    {IA32_XSS,                1,                               read_zero,                  write_zero_only    },
    {IA32_EFER,               1,                               read_efer,                  write_efer         },
};

static const struct msr_row *find_row(u32 msr)
{
    unsigned low = 0, high = ARRAY_SIZE(rows);
    while (low < high) {
        unsigned mid = (low + high) / 2;
        if (msr < rows[mid].first)
            high = mid;
        else if (msr - rows[mid].first >= rows[mid].count)
            low = mid + 1;
        else
            return &rows[mid];
    }
    return NULL;
}

void vcpu_reset_msrs(struct vcpu *vcpu)
{
    msr_bitmap_init(vcpu);
    msr_spec_reset(vcpu);
    guest_mtrr_reset(&vcpu->mtrr, vcpu->caps->maxphyaddr);
    // Fast strings where they are: a guest that is told so moves memory byte by byte.
    vcpu->misc_enable = (vcpu->host_misc_enable & MISC_ENABLE_FAST_STRINGS) | MISC_ENABLE_NO_BTS |
                        MISC_ENABLE_NO_PEBS;
    vcpu->tsc_adjust = 0;
    vcpu->tsc_offset = 0;
    for (u32 i = 0; i < MSR_SLOTS; i++)
        vcpu->msrs[i] = (struct msr_slot){.msr = i ^ 1}; // which is looked for elsewhere
    vmcs_write(VMCS_TSC_OFFSET, 0);
    vcpu->vm->lapic.tsc_offset = 0;
}

// A guest may ask for thousands: each VM's first few are worth a line.
static int no_such_msr(struct vcpu *v, const char *what, u32 msr)
{
    if (v->unknown_msrs++ < 16)
        log_debug("vm %s: %s of MSR %xH: #GP", v->vm->name, what, msr);
    return E_FAULT;
}

static int read_none(struct vcpu *v, u32 msr, u64 *value)
{
    (void)value;
    return no_such_msr(v, "RDMSR", msr);
}

static int write_none(struct vcpu *v, u32 msr, u64 value)
{
    (void)value;
    return no_such_msr(v, "WRMSR", msr);
}

static void fill_slot(struct msr_slot *slot, u32 msr)
{
    const struct msr_row *row = find_row(msr);
    *slot = (struct msr_slot){
        .msr = msr,
        .read = row && row->read ? row->read : read_none,
        .write = row && row->write ? row->write : write_none,
    };
}

// Looks where it did not lie at once, and puts it there.
static struct msr_slot *search_slot(struct vcpu *v, u32 msr)
{
    struct msr_slot *first = &v->msrs[msr % MSR_SLOTS], *slot;
    for (u32 i = 0; i < MSR_SLOTS; i++) {
        slot = &v->msrs[(msr + i) % MSR_SLOTS];
        if (!slot->count)
            fill_slot(slot, msr);
        if (slot->msr == msr) {
            struct msr_slot other = *first;
            *first = *slot;
            *slot = other;
            return first;
        }
    }
    fill_slot(&v->other_msr, msr);
    return &v->other_msr;
}

// The MSRs in use are few: nearly always the one is meant that was used last of those with its low
// bits. The others take a second call, so that the first needs no room on the stack.
static inline struct msr_slot *msr_slot(struct vcpu *v, u32 msr)
{
    return &v->msrs[msr % MSR_SLOTS];
}

static inline enum exit_action read_by(struct vcpu *v, struct msr_slot *slot, u32 msr)
{
    u64 value;
    slot->count++;
    if (unlikely(slot->read(v, msr, &value) != OK))
        return ACT_GP;
    v->regs[GPR_RAX] = (u32)value;
    v->regs[GPR_RDX] = value >> 32;
    return ACT_SKIP;
}

static inline enum exit_action write_by(struct vcpu *v, struct msr_slot *slot, u32 msr)
{
    u64 value = v->regs[GPR_RDX] << 32 | (u32)v->regs[GPR_RAX];
    slot->count++;
    return (enum exit_action)slot->write(v, msr, value);
}

NOINLINE static enum exit_action search_and_read(struct vcpu *v, u32 msr)
{
    return read_by(v, search_slot(v, msr), msr);
}

NOINLINE static enum exit_action search_and_write(struct vcpu *v, u32 msr)
{
    return write_by(v, search_slot(v, msr), msr);
}

enum exit_action exit_rdmsr(struct vcpu *vcpu, const struct exit_info *exit)
{
    (void)exit;
    u32 msr = (u32)vcpu->regs[GPR_RCX];
    struct msr_slot *slot = msr_slot(vcpu, msr);
    return likely(slot->msr == msr) ? read_by(vcpu, slot, msr) : search_and_read(vcpu, msr);
}

enum exit_action exit_wrmsr(struct vcpu *vcpu, const struct exit_info *exit)
{
    (void)exit;
    u32 msr = (u32)vcpu->regs[GPR_RCX];
    struct msr_slot *slot = msr_slot(vcpu, msr);
    return likely(slot->msr == msr) ? write_by(vcpu, slot, msr) : search_and_write(vcpu, msr);
}
