// SPDX-License-Identifier: MIT
// The guest's segments, paging and memory as the walk and the emulator want them, from the VMCS.
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/string.h"
#include "vmx/vcpu_internal.h"
#include "vmx/vmcs_access.h"
#include "vmx/walk.h"

void vcpu_segment(u32 which, struct guest_segment *out)
{
    u32 ar = (u32)vmcs_read((enum vmcs_field)VMCS_GUEST_AR(which));
    *out = (struct guest_segment){
        .selector = (u16)vmcs_read((enum vmcs_field)VMCS_GUEST_SEL(which)),
        .limit = (u32)vmcs_read((enum vmcs_field)VMCS_GUEST_LIMIT(which)),
        .ar = ar,
        .base = vmcs_read((enum vmcs_field)VMCS_GUEST_BASE(which)),
    };
}

void vcpu_paging(struct vcpu *vcpu, struct guest_paging *out)
{
    *out = (struct guest_paging){
        .cr0 = vmcs_read(VMCS_GUEST_CR0),
        .cr3 = vmcs_read(VMCS_GUEST_CR3),
        .cr4 = vmcs_read(VMCS_GUEST_CR4),
        .efer = vmcs_read(VMCS_GUEST_EFER),
        .rflags = vmcs_read(VMCS_GUEST_RFLAGS),
        .cpl = (u8)bits_get(vmcs_read(VMCS_GUEST_SS_AR), 6, 5), // SS.DPL is the CPL
        .maxphyaddr = vcpu->caps->maxphyaddr,
        .page1gb = vcpu->page1gb,
    };
    if ((out->cr0 & CR0_PG) && (out->cr4 & CR4_PAE) && !(out->efer & EFER_LMA)) {
        for (u32 i = 0; i < 4; i++)
            vcpu->pdptes[i] = vmcs_read((enum vmcs_field)(VMCS_GUEST_PDPTE0 + 2 * i));
        out->pdptes = vcpu->pdptes;
    }
}

static int load(void *ctx, gpa_t gpa, unsigned size, u64 *value)
{
    struct vcpu *v = ctx;
    const void *p = vm_ptr(v->vm, gpa, size);

    *value = ~0ull; // nobody answers there
    if (p && size == 8)
        *value = __atomic_load_n((const u64 *)p, __ATOMIC_RELAXED);
    else if (p)
        *value = __atomic_load_n((const u32 *)p, __ATOMIC_RELAXED);
    return OK;
}

static int exchange(void *ctx, gpa_t gpa, unsigned size, u64 old, u64 new)
{
    struct vcpu *v = ctx;
    void *p = vm_ptr(v->vm, gpa, size);
    u32 old32 = (u32)old;

    if (!p)
        return OK; // a write that goes nowhere
    bool done = size == 8 ? __atomic_compare_exchange_n((u64 *)p, &old, new, false,
                                                        __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)
                          : __atomic_compare_exchange_n((u32 *)p, &old32, (u32) new, false,
                                                        __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
    return done ? OK : E_EXIST;
}

static int copy(void *ctx, gpa_t gpa, void *buf, size_t size, bool write)
{
    struct vcpu *v = ctx;
    void *p = vm_ptr(v->vm, gpa, size);

    if (!p)
        return E_NOENT;
    if (write)
        memcpy(p, buf, size);
    else
        memcpy(buf, p, size);
    return OK;
}

void vcpu_memory(struct vcpu *vcpu, struct guest_memory *out)
{
    *out = (struct guest_memory){.ctx = vcpu, .load = load, .exchange = exchange, .copy = copy};
}

enum guest_mode vcpu_mode(const struct vcpu *vcpu)
{
    (void)vcpu;
    return guest_mode_of(vmcs_read(VMCS_GUEST_CR0), vmcs_read(VMCS_GUEST_EFER),
                         vmcs_read(VMCS_GUEST_RFLAGS), (u32)vmcs_read(VMCS_GUEST_CS_AR));
}

int vcpu_fetch(struct vcpu *vcpu, u8 *buf, size_t *done, struct event *fault)
{
    struct guest_paging paging;
    struct guest_memory memory;
    struct guest_segment cs;

    vcpu_paging(vcpu, &paging);
    vcpu_memory(vcpu, &memory);
    vcpu_segment(SEG_CS, &cs);
    *done = 0;
    return walk_fetch(&paging, &memory, vcpu_mode(vcpu), &cs, vmcs_read(VMCS_GUEST_RIP), buf, done,
                      fault);
}
