// SPDX-License-Identifier: MIT
#include "vmx/apicv.h"

#include "arch/x86_64/lib/check.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/regs/msr.h"
#include "vmx/msr.h"
#include "vmx/vcpu_internal.h"
#include "vmx/vmcs_access.h"

#define CR8_EXITS ((u32)(PROC_CR8_LOAD | PROC_CR8_STORE))
#define OF_A_MODE ((u32)(PROC2_X2APIC | PROC2_APIC_ACCESS))

// ---- choosing ---------------------------------------------------------------------------------

INIT void apicv_choose(const struct ctl_allowed *proc, u32 values[CTL_WORDS])
{
    if (proc->must & CR8_EXITS)
        values[CTL_PROC] &= ~(u32)PROC_TPR_SHADOW;
    if (values[CTL_PROC] & PROC_TPR_SHADOW)
        values[CTL_PROC] &= ~CR8_EXITS;
    else
        values[CTL_PROC2] &= ~(u32)APICV_CONTROLS;
    // Without delivery by the CPU nobody would keep PPR in the page.
    if (!(values[CTL_PROC2] & PROC2_VIRT_INTR))
        values[CTL_PROC2] &= ~(u32)PROC2_APIC_REGISTER;
}

// ---- the mode ---------------------------------------------------------------------------------

// The control for the mode that the guest has its local APIC in. One that is software-disabled
// takes no interrupts, but the CPU does not look at that: it has no part in it then.
static u32 control_of_mode(const struct vcpu *v)
{
    const struct lapic *lapic = &v->vm->lapic;
    u64 base = lapic_base_read(lapic);
    u32 control = base & APIC_BASE_X2APIC ? PROC2_X2APIC : PROC2_APIC_ACCESS;

    if (!(base & APIC_BASE_ENABLE) || !(lapic->svr & APIC_SVR_ENABLE))
        control = 0;
    return control & v->apicv.controls;
}

// Only while the CPU takes accesses to it for the local APIC's is the access page, one of Corbel's
// own and empty, mapped. False: it is not, and accesses are EPT violations.
static bool map_access_page(struct vcpu *v, bool on)
{
    const struct ept_attr attr = {.rights = EPT_R | EPT_W, .type = MEM_WB, .max_leaf = EPT_PT};
    struct ept *ept = &v->vm->ept;
    gpa_t gpa = GPA(APIC_DEFAULT_BASE);

    if (on == v->apicv.access_mapped)
        return on;
    if (!on) {
        CHECK(ept_unmap(ept, gpa, PAGE_SIZE) == OK);
    } else if (ept_map(ept, gpa, v->apicv.access_page, PAGE_SIZE, attr) != OK) {
        log_warn("vm %s: no APIC-access page: its local APIC is slower", v->vm->name);
        return false;
    }
    v->apicv.access_mapped = on;
    return on;
}

static void pass(struct vcpu *v, u32 offset, bool read, bool write)
{
    msr_pass(v, IA32_X2APIC_FIRST + (offset >> 4), read, write);
}

// Those that the page answers for. An access that passes where it does not is one to the host's
// local APIC: "Virtualizing MSR-Based APIC Accesses".
static void pass_x2apic(struct vcpu *v)
{
    static const struct {
        u16 first, last;
    } copies[] = {
        {APIC_ID,        APIC_VERSION},
        {APIC_PPR,       APIC_PPR    },
        {APIC_LDR,       APIC_LDR    },
        {APIC_SVR,       APIC_ESR    }, // ISR, TMR, IRR
        {APIC_LVT_TIMER, APIC_TMICT  },
        {APIC_TDCR,      APIC_TDCR   },
    };

    pass(v, APIC_TPR, true, true);
    if (v->apicv.controls & PROC2_VIRT_INTR) {
        pass(v, APIC_EOI, false, true);
        pass(v, APIC_SELF_IPI, false, true);
    }
    if (!(v->apicv.controls & PROC2_APIC_REGISTER))
        return;
    for (unsigned i = 0; i < ARRAY_SIZE(copies); i++)
        for (u32 offset = copies[i].first; offset <= copies[i].last; offset += 0x10)
            pass(v, offset, true, false);
}

static void set_mode(struct vcpu *vcpu, u32 control)
{
    vcpu->apicv.mode = control;
    if (!map_access_page(vcpu, control == PROC2_APIC_ACCESS))
        control &= ~(u32)PROC2_APIC_ACCESS;
    vmcs_write(VMCS_PROC_CTLS2, (vmcs_read(VMCS_PROC_CTLS2) & ~(u64)OF_A_MODE) | control);
    for (u32 msr = IA32_X2APIC_FIRST; msr <= IA32_X2APIC_LAST; msr++)
        msr_intercept(vcpu, msr);
    if (control & PROC2_X2APIC)
        pass_x2apic(vcpu);
}

static void follow_mode(struct vcpu *v)
{
    u32 control = control_of_mode(v);
    if (unlikely(control != v->apicv.mode))
        set_mode(v, control);
}

void apicv_set_mode(struct vcpu *vcpu)
{
    if (vcpu->vm->lapic.cpu.page)
        set_mode(vcpu, control_of_mode(vcpu));
}

// ---- before each entry ------------------------------------------------------------------------

static void inject_under_tpr_shadow(struct vcpu *v)
{
    struct lapic *lapic = &v->vm->lapic;

    lapic_recall(lapic);
    if (lapic_pending(lapic) >= 0)
        vcpu_inject(v);
    else
        vcpu_inject_others(v);
    follow_mode(v);
    lapic_lend(lapic);
    u32 threshold = lapic_tpr_threshold(lapic);
    if (threshold != v->apicv.threshold) {
        v->apicv.threshold = threshold;
        vmcs_write(VMCS_TPR_THRESHOLD, threshold);
    }
}

static void write_eoi_exits(struct vcpu *v)
{
    static const enum vmcs_field fields[] = {VMCS_EOI_EXIT_BITMAP0, VMCS_EOI_EXIT_BITMAP1,
                                             VMCS_EOI_EXIT_BITMAP2, VMCS_EOI_EXIT_BITMAP3};
    const u64 *tmr = v->vm->lapic.tmr;

    for (unsigned i = 0; i < ARRAY_SIZE(fields); i++) {
        if (tmr[i] != v->apicv.eoi_exit[i])
            vmcs_write(fields[i], tmr[i]);
        v->apicv.eoi_exit[i] = tmr[i];
    }
}

// Tells the CPU what has come since it last ran. The guest interrupt status.
static u16 write_status(struct vcpu *v)
{
    struct lapic *lapic = &v->vm->lapic;
    u16 status;

    if (lapic->cpu.lent) {
        u8 posted = lapic_take_posted(lapic);
        status = (u16)vmcs_read(VMCS_GUEST_INTR_STATUS);
        if (posted <= (u8)status)
            return status;
        status = (u16)((status & 0xff00) | posted);
    } else {
        follow_mode(v);
        status = lapic_lend(lapic);
        write_eoi_exits(v);
    }
    vmcs_write(VMCS_GUEST_INTR_STATUS, status);
    return status;
}

static void inject_beside_delivery(struct vcpu *v)
{
    vcpu_inject_others(v);
    u16 status = write_status(v);
    // What the CPU will deliver at once ends HLT, which it does not know of.
    if (v->halted && lapic_delivers(&v->vm->lapic, status) &&
        (vmcs_read(VMCS_GUEST_RFLAGS) & RFLAGS_IF))
        v->halted = false;
}

// ---- setting up -------------------------------------------------------------------------------

INIT void apicv_start(struct vcpu *vcpu, const u32 values[CTL_WORDS])
{
    struct apicv *a = &vcpu->apicv;
    bool delivery = values[CTL_PROC2] & PROC2_VIRT_INTR;

    vcpu->inject = vcpu_inject;
    if (!(values[CTL_PROC] & PROC_TPR_SHADOW))
        return;
    vcpu->inject = delivery ? inject_beside_delivery : inject_under_tpr_shadow;
    a->controls = values[CTL_PROC2] & (u32)APICV_CONTROLS;
    vmcs_write(VMCS_PROC_CTLS2, values[CTL_PROC2] & ~OF_A_MODE);
    vmcs_write(VMCS_VIRTUAL_APIC_ADDR, a->page.raw);
    vmcs_write(VMCS_TPR_THRESHOLD, 0);
    if (a->controls & PROC2_APIC_ACCESS)
        vmcs_write(VMCS_APIC_ACCESS_ADDR, a->access_page.raw);
    if (delivery) {
        vmcs_write(VMCS_GUEST_INTR_STATUS, 0);
        for (u32 i = 0; i < ARRAY_SIZE(a->eoi_exit); i++)
            vmcs_write((enum vmcs_field)(VMCS_EOI_EXIT_BITMAP0 + 2 * i), 0);
    }
    lapic_virtualize(&vcpu->vm->lapic, phys_ptr(a->page), delivery);
}

// ---- exits ------------------------------------------------------------------------------------

// The guest has lowered TPR, and an interrupt waits for that.
enum exit_action exit_tpr_below(struct vcpu *vcpu, const struct exit_info *exit)
{
    (void)exit;
    vcpu->vm->attention |= VM_ATTENTION_EVENT;
    return ACT_RESUME;
}

// The CPU has ended the interrupt in service, which was level-triggered. RIP is behind the
// instruction.
enum exit_action exit_virtual_eoi(struct vcpu *vcpu, const struct exit_info *exit)
{
    lapic_after_eoi(&vcpu->vm->lapic, (u8)exit->qualification);
    return ACT_RESUME;
}

// The CPU has put the value in the page; RIP is behind the instruction.
enum exit_action exit_apic_write(struct vcpu *vcpu, const struct exit_info *exit)
{
    if (!vcpu->vm->lapic.cpu.page)
        return exit_unhandled(vcpu, exit); // nobody asked for such exits
    lapic_page_written(&vcpu->vm->lapic, exit->qualification & 0xff0);
    return ACT_RESUME;
}
