// SPDX-License-Identifier: MIT
// A vCPU's life: its VMCS, what is loaded while it is current, and the one run loop.
#include "vmx/vcpu.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/idt.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/check.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/regs/cr.h"
#include "arch/x86_64/regs/msr.h"
#include "arch/x86_64/timer.h"
#include "arch/x86_64/traps.h"
#include "vmx/apicv.h"
#include "vmx/vcpu_internal.h"
#include "vmx/vmcs_access.h"
#include "vmx/vmx_host.h"

#ifdef COUNT_VMCS
u32 vmcs_reads, vmcs_writes;
#endif

int vmx_run(struct vcpu *vcpu, const void *resume, unsigned way);
extern const struct {
    const void *resume, *landing;
} vmx_ways[WAY_COUNT];

static const u32 switched_msrs[SWITCHED_COUNT] = {
    [SWITCHED_STAR] = IA32_STAR,
    [SWITCHED_LSTAR] = IA32_LSTAR,
    [SWITCHED_CSTAR] = IA32_CSTAR,
    [SWITCHED_FMASK] = IA32_FMASK,
    [SWITCHED_KERNEL_GS_BASE] = IA32_KERNEL_GS_BASE,
    [SWITCHED_TSC_AUX] = IA32_TSC_AUX,
};

// ---- making one -------------------------------------------------------------------------------

// The controls as negotiated; logs each that is missing. E_UNSUPP.
static int negotiate(struct vcpu *v, u32 values[CTL_WORDS])
{
    int err = OK;
    for (unsigned word = 0; word < CTL_WORDS; word++) {
        struct ctl_outcome out;
        if (ctl_negotiate(&v->caps->ctl[word], &ctl_policies[word], &out) != OK) {
            u32 bad = out.missing ? out.missing : out.forced;
            log_error("%s: \"%s\" %s", ctl_word_name((enum ctl_word)word),
                      ctl_name((enum ctl_word)word, bit_lowest(bad)),
                      out.missing ? "is not offered" : "cannot be turned off");
            err = E_UNSUPP;
        }
        values[word] = out.value;
    }
    apicv_choose(&v->caps->ctl[CTL_PROC], values);
    return err;
}

static void write_controls(struct vcpu *v, const u32 values[CTL_WORDS])
{
    vmcs_write(VMCS_PIN_CTLS, values[CTL_PIN]);
    vmcs_write(VMCS_PROC_CTLS, values[CTL_PROC]);
    vmcs_write(VMCS_PROC_CTLS2, values[CTL_PROC2]);
    vmcs_write(VMCS_EXIT_CTLS, values[CTL_EXIT]);
    vmcs_write(VMCS_ENTRY_CTLS, values[CTL_ENTRY]);
    v->proc_ctls = values[CTL_PROC];
    v->has_preemption_timer = values[CTL_PIN] & PIN_PREEMPTION_TIMER;
    v->has_virtual_nmis = values[CTL_PIN] & PIN_VNMI;
    v->has_ack_on_exit = values[CTL_EXIT] & EXIT_ACK_INTR;
    v->unrestricted = values[CTL_PROC2] & PROC2_UNRESTRICTED;

    // #DB and #AC can be raised without end while they are delivered, and hold the CPU in the
    // guest: intercepted, they give the host its turn. #MC is the host's own.
    vmcs_write(VMCS_EXCEPTION_BITMAP, BIT(VEC_DB) | BIT(VEC_AC) | BIT(VEC_MC));
    vmcs_write(VMCS_PF_ERROR_MASK, 0);
    vmcs_write(VMCS_PF_ERROR_MATCH, 0);
    vmcs_write(VMCS_CR3_TARGET_COUNT, 0);
    vmcs_write(VMCS_EXIT_MSR_STORE_COUNT, 0);
    vmcs_write(VMCS_EXIT_MSR_LOAD_COUNT, 0);
    vmcs_write(VMCS_ENTRY_MSR_LOAD_COUNT, 0);
    vmcs_write(VMCS_ENTRY_INTR_INFO, 0);
    vmcs_write(VMCS_IO_BITMAP_A, v->io_bitmap_a.raw);
    vmcs_write(VMCS_IO_BITMAP_B, v->io_bitmap_b.raw);
    vmcs_write(VMCS_MSR_BITMAP, v->msr_bitmap.raw);
    vmcs_write(VMCS_EPT_POINTER, ept_eptp(&v->vm->ept));
    vmcs_write(VMCS_TSC_OFFSET, v->tsc_offset);
    vmcs_write(VMCS_VMCS_LINK_POINTER, ~0ull);
    if (values[CTL_PROC2] & PROC2_VPID)
        vmcs_write(VMCS_VPID, v->vpid);
    if (values[CTL_PROC2] & PROC2_XSAVES)
        vmcs_write(VMCS_XSS_EXIT_BITMAP, ~0ull);
    apicv_start(v, values);
}

static void write_host_state(void)
{
    vmcs_write(VMCS_HOST_CR0, read_cr0());
    vmcs_write(VMCS_HOST_CR3, paging_cr3());
    vmcs_write(VMCS_HOST_CR4, read_cr4());
    vmcs_write(VMCS_HOST_CS_SEL, SEL_HOST_CS);
    vmcs_write(VMCS_HOST_SS_SEL, SEL_HOST_DS);
    vmcs_write(VMCS_HOST_DS_SEL, read_ds());
    vmcs_write(VMCS_HOST_ES_SEL, read_es());
    vmcs_write(VMCS_HOST_FS_SEL, read_fs());
    vmcs_write(VMCS_HOST_GS_SEL, read_gs());
    vmcs_write(VMCS_HOST_TR_SEL, SEL_HOST_TSS);
    vmcs_write(VMCS_HOST_FS_BASE, 0);
    vmcs_write(VMCS_HOST_GS_BASE, (u64)this_cpu());
    vmcs_write(VMCS_HOST_TR_BASE, (u64)&this_cpu()->tss);
    vmcs_write(VMCS_HOST_GDTR_BASE, sgdt().base);
    vmcs_write(VMCS_HOST_IDTR_BASE, sidt().base);
    vmcs_write(VMCS_HOST_EFER, rdmsr(IA32_EFER));
    vmcs_write(VMCS_HOST_PAT, rdmsr(IA32_PAT));
    vmcs_write(VMCS_HOST_SYSENTER_CS, 0);
    vmcs_write(VMCS_HOST_SYSENTER_ESP, 0);
    vmcs_write(VMCS_HOST_SYSENTER_EIP, 0);
    vmcs_write(VMCS_HOST_RSP, 0); // vmx_run() writes the real one
}

// Which loop of enter.asm the vCPU runs in, which can change when its guest begins to use
// IA32_SPEC_CTRL. Its VMCS is current.
static void choose_way(struct vcpu *v)
{
    unsigned way = mitigations_way(v->mitigations, v->spec.ctrl_passed);
    if (way == v->way)
        return;
    v->way = way;
    vmcs_write(VMCS_HOST_RIP, (u64)vmx_ways[way].landing);
}

static int alloc_page(struct frame_pool *frames, u8 fill, hpa_t *out)
{
    int err = frame_alloc(frames, 1, PAGE_SIZE, 0, out);
    if (err == OK)
        memset(phys_ptr(*out), fill, PAGE_SIZE);
    return err;
}

static int alloc_pages(struct vcpu *v, struct frame_pool *frames, const u32 values[CTL_WORDS])
{
    int err = vmx_region_alloc(v->caps, frames, &v->vmcs);
    if (err == OK)
        err = alloc_page(frames, 0xff, &v->io_bitmap_a);
    if (err == OK)
        err = alloc_page(frames, 0xff, &v->io_bitmap_b);
    if (err == OK)
        err = alloc_page(frames, 0xff, &v->msr_bitmap);
    if (err == OK)
        err = alloc_page(frames, 0, &v->fpu);
    if (err == OK && (values[CTL_PROC] & PROC_TPR_SHADOW))
        err = alloc_page(frames, 0, &v->apicv.page);
    if (err == OK && (values[CTL_PROC2] & PROC2_APIC_ACCESS))
        err = alloc_page(frames, 0, &v->apicv.access_page);
    return err;
}

// The states that Corbel switches and the guest may use; what is wider than a page is not offered.
static u64 xcr0_offered(void)
{
    u64 offered = XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM;
    return cpu_features.xsave ? cpu_features.xcr0_allowed & offered : 0;
}

static void build_cpuid(struct vcpu *v)
{
    u32 proc2 = v->caps->ctl[CTL_PROC2].may;
    struct cpuid_config config = {
        .host = cpuid,
        .rdtscp = proc2 & PROC2_RDTSCP,
        .invpcid = proc2 & PROC2_INVPCID,
        .xsaves = proc2 & PROC2_XSAVES,
        .x2apic = v->vm->lapic.config.x2apic,
        .tsc_deadline = v->vm->lapic.config.tsc_deadline,
        .xcr0_allowed = v->xcr0_allowed,
        .tsc_hz = v->vm->clock->hz,
        .lapic_hz = v->vm->lapic.config.timer_hz,
        .apic_id = 0,
        .maxphyaddr = v->caps->maxphyaddr,
    };
    cpuid_build(&v->cpuid, &config);
}

// Registers of the host that tell a guest of its CPU, or are switched; missing ones read as 0.
static void read_host_msrs(struct vcpu *v, const struct mitigations *mitigations)
{
    struct cpuid_regs seven = cpu_features.max_leaf >= 7 ? cpuid(7, 0) : (struct cpuid_regs){0};
    u64 spec_ctrl = 0;

    if (seven.edx & (CPUID_7_EDX_IBRS | CPUID_7_EDX_STIBP | CPUID_7_EDX_SSBD))
        spec_ctrl = rdmsr(IA32_SPEC_CTRL);
    vcpu_guard(v, mitigations, spec_ctrl);
    if (seven.edx & CPUID_7_EDX_ARCH_CAP)
        v->host_arch_capabilities = rdmsr(IA32_ARCH_CAPABILITIES);
    v->host_microcode = (u64)cpu_microcode() << 32;
    (void)rdmsr_safe(IA32_MISC_ENABLE, &v->host_misc_enable);
}

INIT void vcpu_guard(struct vcpu *vcpu, const struct mitigations *mitigations, u64 host_spec_ctrl)
{
    CHECK(!vcpu->loaded);
    vcpu->mitigations = mitigations;
    vcpu->rsb_calls = mitigations->rsb_calls;
    vcpu->history = mitigations->history;
    vcpu->spec_msr = mitigations->spec_msr;
    vcpu->host_spec_ctrl = host_spec_ctrl;
    vcpu->spec_stays = mitigations->spec_each ? ~0u : (u32)host_spec_ctrl;
    vcpu->way = WAY_COUNT; // none yet
}

INIT int vcpu_init(struct vcpu *vcpu, struct vm *vm, const struct vmx_caps *caps,
                   const struct mitigations *mitigations, struct frame_pool *frames)
{
    u32 values[CTL_WORDS];

    memset(vcpu, 0, sizeof(*vcpu));
    vcpu->vm = vm;
    vcpu->caps = caps;
    vcpu->vpid = 1;
    vcpu->held = -1;
    vcpu->recent_ram = &vm->ram[0];
    vcpu->preemption_rate = caps->preemption_rate;
    deadline_set_rate(&vm->timers, caps->preemption_rate);
    vcpu->xcr0_allowed = xcr0_offered();
    int err = negotiate(vcpu, values);
    if (err == OK)
        err = alloc_pages(vcpu, frames, values);
    if (err) {
        log_error("vm %s: no vCPU: %s", vm->name, err_name(err));
        vcpu_destroy(vcpu, frames);
        return err;
    }
    build_cpuid(vcpu);
    read_host_msrs(vcpu, mitigations);
    vcpu_reset_fpu(vcpu);
    // VMCLEAR makes a region a VMCS with launch state clear: SDM volume 3, "Initializing a VMCS".
    CHECK(vmclear(vcpu->vmcs.raw) == VMX_SUCCEED);
    CHECK(vmptrld(vcpu->vmcs.raw) == VMX_SUCCEED);
    write_controls(vcpu, values);
    write_host_state();
    choose_way(vcpu);
    CHECK(vmclear(vcpu->vmcs.raw) == VMX_SUCCEED);
    return OK;
}

void vcpu_destroy(struct vcpu *vcpu, struct frame_pool *frames)
{
    hpa_t *const pages[] = {
        &vcpu->vmcs, &vcpu->io_bitmap_a, &vcpu->io_bitmap_b,       &vcpu->msr_bitmap,
        &vcpu->fpu,  &vcpu->apicv.page,  &vcpu->apicv.access_page,
    };
    CHECK(!vcpu->loaded);
    lapic_virtualize(&vcpu->vm->lapic, NULL, false);
    for (unsigned i = 0; i < ARRAY_SIZE(pages); i++) {
        if (pages[i]->raw)
            frame_free(frames, *pages[i], 1);
        *pages[i] = HPA(0);
    }
}

// ---- becoming current -------------------------------------------------------------------------

static bool switches(const struct vcpu *v, unsigned index)
{
    return index != SWITCHED_TSC_AUX || (v->caps->ctl[CTL_PROC2].may & PROC2_RDTSCP);
}

// The addresses do nothing while the host runs: a VM exit disables every breakpoint in DR7.
static void load_debug_registers(const struct vcpu *v)
{
    write_dr0(v->dr[0]);
    write_dr1(v->dr[1]);
    write_dr2(v->dr[2]);
    write_dr3(v->dr[3]);
    write_dr6(v->dr6);
}

static void save_debug_registers(struct vcpu *v)
{
    v->dr[0] = read_dr0();
    v->dr[1] = read_dr1();
    v->dr[2] = read_dr2();
    v->dr[3] = read_dr3();
    v->dr6 = read_dr6();
}

void vcpu_load(struct vcpu *vcpu)
{
    CHECK(!vcpu->loaded);
    CHECK(vmptrld(vcpu->vmcs.raw) == VMX_SUCCEED);
    for (unsigned i = 0; i < vcpu->mitigations->command_count; i++)
        wrmsr(vcpu->mitigations->commands[i].msr, vcpu->mitigations->commands[i].value);
    for (unsigned i = 0; i < SWITCHED_COUNT; i++)
        if (switches(vcpu, i))
            wrmsr(switched_msrs[i], vcpu->switched[i]);
    if (vcpu->xcr0_allowed) {
        xsetbv(0, vcpu->xcr0_allowed);
        xrstor(phys_ptr(vcpu->fpu), vcpu->xcr0_allowed);
        xsetbv(0, vcpu->xcr0);
    } else {
        fxrstor(phys_ptr(vcpu->fpu));
    }
    write_cr2(vcpu->cr2);
    load_debug_registers(vcpu);
    vcpu->loaded = true;
}

// VMCLEAR and not only VMPTRLD of the next one: it writes the VMCS back to memory, so it may move
// or be freed (SDM volume 3, "VMCS Maintenance"), at the price of a VMLAUNCH next time.
void vcpu_put(struct vcpu *vcpu)
{
    CHECK(vcpu->loaded);
    vcpu->cr2 = read_cr2();
    save_debug_registers(vcpu);
    if (vcpu->xcr0_allowed) {
        xsetbv(0, vcpu->xcr0_allowed);
        xsave(phys_ptr(vcpu->fpu), vcpu->xcr0_allowed);
    } else {
        fxsave(phys_ptr(vcpu->fpu));
    }
    for (unsigned i = 0; i < SWITCHED_COUNT; i++)
        if (switches(vcpu, i))
            vcpu->switched[i] = rdmsr(switched_msrs[i]);
    CHECK(vmclear(vcpu->vmcs.raw) == VMX_SUCCEED);
    vcpu->launched = 0;
    vcpu->loaded = false;
}

// x87 and SSE as after FNINIT and reset: control word 37FH, MXCSR 1F80H, tag empty (legacy region
// format: SDM volume 1, "XSAVE Area").
void vcpu_reset_fpu(struct vcpu *vcpu)
{
    u8 *area = phys_ptr(vcpu->fpu);
    memset(area, 0, PAGE_SIZE);
    area[0] = 0x7f;
    area[1] = 0x03;
    area[24] = 0x80;
    area[25] = 0x1f;
    if (vcpu->xcr0_allowed)
        area[512] = XCR0_X87 | XCR0_SSE; // XSTATE_BV: the rest takes its initial state
    vcpu->xcr0 = XCR0_X87;
}

void vcpu_set_xcr0(struct vcpu *vcpu, u64 value)
{
    vcpu->xcr0 = value;
    xsetbv(0, value);
}

void vcpu_set_cr2(struct vcpu *vcpu, u64 value)
{
    vcpu->cr2 = value;
    write_cr2(value);
}

void vcpu_flush_tlb(const struct vcpu *vcpu)
{
    // Without VPIDs each VM entry flushes by itself.
    if (vcpu->caps->ctl[CTL_PROC2].may & PROC2_VPID)
        vmx_invvpid(vcpu->caps, vcpu->vpid);
}

// The low four bits tell of this exception only; the others stay until the guest clears them.
void vcpu_merge_dr6(struct vcpu *vcpu, u64 bits)
{
    (void)vcpu;
    write_dr6((read_dr6() & ~BITS(3, 0)) | bits);
}

u64 vcpu_tsc_aux(const struct vcpu *vcpu)
{
    (void)vcpu;
    return rdmsr(IA32_TSC_AUX);
}

// With the exit acknowledged the vector is known; otherwise the interrupt is still pending at the
// local APIC and comes as soon as the CPU lets it.
void vcpu_host_interrupt(struct vcpu *vcpu, const struct exit_info *exit)
{
    if (vcpu->has_ack_on_exit)
        trap_interrupt((u8)(exit->intr_info & INTR_INFO_VECTOR));
    else
        sti_nop_cli();
}

// The exit has unblocked nothing and delivered nothing: the host's own handler does what an NMI
// asks. SDM volume 3, "VM Exits Caused by ... NMIs".
void vcpu_host_nmi(void)
{
    raise_nmi();
}

void vcpu_host_machine_check(void)
{
    raise_machine_check();
}

INIT void vcpu_nmi(struct vcpu *vcpu)
{
    vcpu->nmi = true;
    vcpu->vm->attention |= VM_ATTENTION_EVENT;
}

// ---- running ----------------------------------------------------------------------------------

static void entry_failed(struct vcpu *v, int result)
{
    if (v->way & WAY_SPEC)
        wrmsr(v->spec_msr, v->host_spec_ctrl);
    v->pause = VCPU_ENDED;
    if (result == VMX_FAIL_INVALID) {
        vm_stop(v->vm, VM_END_ENTRY_FAILED, "VMfailInvalid: no current VMCS");
        return;
    }
    u32 error = (u32)vmcs_read(VMCS_INSN_ERROR);
    vm_stop(v->vm, VM_END_ENTRY_FAILED, "VM-instruction error %u: %s", error,
            vmx_insn_error_name(error));
    vcpu_report(v, NULL);
}

void vcpu_arm_host_timer(const struct vcpu *vcpu)
{
    u64 next = deadline_next(&vcpu->vm->timers);
    if (next != DEADLINE_NEVER)
        timer_arm(next);
}

enum vcpu_pause vcpu_run(struct vcpu *vcpu)
{
    CHECK(vcpu->loaded);
    bool plain = vcpu->has_preemption_timer && !vcpu->hook;
    vcpu->answer = plain ? exit_answer : exit_answer_with_care;
    vcpu->finish = plain ? exit_finish : exit_finish_with_care;
    choose_way(vcpu);
    if (vcpu_prepare(vcpu)) {
        int result = vmx_run(vcpu, vmx_ways[vcpu->way].resume, vcpu->way);
        if (result)
            entry_failed(vcpu, result);
    }
    if (!vcpu->has_preemption_timer)
        timer_disarm();
    return vcpu->pause;
}
