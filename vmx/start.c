// SPDX-License-Identifier: MIT
// The register state a guest starts in: SDM volume 3, "Guest-State Area" and "Checks on the
// Guest-State Area".
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/regs/cr.h"
#include "arch/x86_64/regs/msr.h"
#include "arch/x86_64/regs/seg.h"
#include "vmx/vcpu_internal.h"
#include "vmx/vmcs_access.h"

// Flat selectors as every guest program sets up for itself: null, code, data.
#define START_CS 0x08
#define START_DS 0x10

static void write_segment(u32 which, u16 selector, u64 base, u32 limit, u32 ar)
{
    vmcs_write((enum vmcs_field)VMCS_GUEST_SEL(which), selector);
    vmcs_write((enum vmcs_field)VMCS_GUEST_BASE(which), base);
    vmcs_write((enum vmcs_field)VMCS_GUEST_LIMIT(which), limit);
    vmcs_write((enum vmcs_field)VMCS_GUEST_AR(which), ar);
}

static void write_segments(const struct guest_start *start)
{
    static const u8 data[] = {SEG_ES, SEG_SS, SEG_DS, SEG_FS, SEG_GS};
    bool real = start->mode == IMAGE_REAL;
    u64 base = (u64)start->selector << 4;
    u16 cs = start->gdt_size ? start->cs : START_CS;
    u16 ds = start->gdt_size ? start->ds : START_DS;

    if (real)
        write_segment(SEG_CS, start->selector, base, 0xffff, AR_CODE16);
    else
        write_segment(SEG_CS, cs, 0, ~0u, start->mode == IMAGE_LONG ? AR_CODE64 : AR_CODE32);
    for (unsigned i = 0; i < ARRAY_SIZE(data); i++) {
        if (real)
            write_segment(data[i], start->selector, base, 0xffff, AR_DATA16);
        else
            write_segment(data[i], ds, 0, ~0u, AR_DATA32);
    }
    write_segment(SEG_LDTR, 0, 0, 0, AR_UNUSABLE);
    // VM entry wants a busy TSS even where the guest has none.
    write_segment(SEG_TR, real ? 0 : (u16)(ds + 8), 0, 0x67, AR_TSS_BUSY);
    vmcs_write(VMCS_GUEST_GDTR_BASE, start->gdt.raw);
    vmcs_write(VMCS_GUEST_GDTR_LIMIT, real ? 0xffff : start->gdt_size ? start->gdt_size - 1u : 0);
    vmcs_write(VMCS_GUEST_IDTR_BASE, 0);
    vmcs_write(VMCS_GUEST_IDTR_LIMIT, real ? 0x3ff : 0);
}

static u32 cpuid_feature(const struct vcpu *v, u32 leaf, char reg)
{
    struct cpuid_state state = {0};
    struct cpuid_regs r = cpuid_lookup(&v->cpuid, leaf, 0, &state);
    return reg == 'b' ? r.ebx : reg == 'c' ? r.ecx : r.edx;
}

// CR4 bits go with the CPUID bits the guest sees: SDM volume 3, "Control Registers".
static u64 cr4_allowed(const struct vcpu *v)
{
    const struct {
        u32 leaf;
        char reg;
        u32 bit;
        u64 cr4;
    } rows[] = {
        {1, 'd', CPUID_1_EDX_VME,      CR4_VME | CR4_PVI},
        {1, 'd', CPUID_1_EDX_TSC,      CR4_TSD          },
        {1, 'd', CPUID_1_EDX_DE,       CR4_DE           },
        {1, 'd', CPUID_1_EDX_PSE,      CR4_PSE          },
        {1, 'd', CPUID_1_EDX_PAE,      CR4_PAE          },
        {1, 'd', CPUID_1_EDX_MCE,      CR4_MCE          },
        {1, 'd', CPUID_1_EDX_PGE,      CR4_PGE          },
        {1, 'd', CPUID_1_EDX_FXSR,     CR4_OSFXSR       },
        {1, 'd', CPUID_1_EDX_SSE,      CR4_OSXMMEXCPT   },
        {1, 'c', CPUID_1_ECX_PCID,     CR4_PCIDE        },
        {1, 'c', CPUID_1_ECX_XSAVE,    CR4_OSXSAVE      },
        {7, 'b', CPUID_7_EBX_FSGSBASE, CR4_FSGSBASE     },
        {7, 'b', CPUID_7_EBX_SMEP,     CR4_SMEP         },
        {7, 'b', CPUID_7_EBX_SMAP,     CR4_SMAP         },
        {7, 'c', CPUID_7_ECX_UMIP,     CR4_UMIP         },
    };
    u64 allowed = CR4_PCE; // RDPMC finds no counter either way
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        if (cpuid_feature(v, rows[i].leaf, rows[i].reg) & rows[i].bit)
            allowed |= rows[i].cr4;
    return allowed;
}

u64 vmx_cr4_real(const struct vcpu *vcpu, u64 value)
{
    return (value | CR4_MCE | vcpu->caps->cr4_fixed0) & vcpu->caps->cr4_fixed1;
}

static void write_control_registers(struct vcpu *v, const struct guest_start *start)
{
    bool real = start->mode == IMAGE_REAL;
    bool paged = !real && !start->unpaged;
    u64 efer = start->mode == IMAGE_LONG ? EFER_LME | EFER_LMA : 0;
    u64 cr0 = CR0_ET | CR0_NE | (real ? 0 : CR0_PE) | (paged ? CR0_PG | CR0_WP : 0);
    u64 cr4 = start->mode == IMAGE_LONG ? CR4_PAE : paged ? CR4_PSE : 0;

    // NE is fixed by VMX; CD and NW would slow the host. Without unrestricted guest PE and PG are
    // fixed too.
    v->cr0_mask = CR0_NE | CR0_CD | CR0_NW | (v->unrestricted ? 0 : CR0_PE | CR0_PG);
    v->cr4_allowed = cr4_allowed(v);
    v->page1gb = cpuid_feature(v, 0x80000001, 'd') & CPUID_80000001_EDX_PAGE1GB;
    v->cr4_mask = CR4_MCE | ~v->cr4_allowed;
    vmcs_write(VMCS_CR0_MASK, v->cr0_mask);
    vmcs_write(VMCS_CR4_MASK, v->cr4_mask);
    vmcs_write(VMCS_CR0_SHADOW, cr0);
    vmcs_write(VMCS_CR4_SHADOW, cr4);
    vmcs_write(VMCS_GUEST_CR0, cr0);
    vmcs_write(VMCS_GUEST_CR3, start->cr3);
    vmcs_write(VMCS_GUEST_CR4, vmx_cr4_real(v, cr4));
    vmcs_write(VMCS_GUEST_EFER, efer);
    u64 entry = vmcs_read(VMCS_ENTRY_CTLS) & ~(u64)ENTRY_IA32E;
    vmcs_write(VMCS_ENTRY_CTLS, entry | (efer & EFER_LMA ? ENTRY_IA32E : 0));
    if (v->caps->ctl[CTL_PROC2].may & PROC2_UNRESTRICTED)
        vmcs_write(VMCS_PROC_CTLS2, (vmcs_read(VMCS_PROC_CTLS2) & ~(u64)PROC2_UNRESTRICTED) |
                                        (v->unrestricted ? PROC2_UNRESTRICTED : 0));
}

static void write_rest(void)
{
    static const struct {
        u16 field;
        u64 value;
    } rows[] = {
        {VMCS_GUEST_RFLAGS,           RFLAGS_FIXED         },
        {VMCS_GUEST_DR7,              DR7_INIT             },
        {VMCS_GUEST_DEBUGCTL,         0                    },
        {VMCS_GUEST_PAT,              0x0007040600070406ull}, // as after reset
        {VMCS_GUEST_SYSENTER_CS,      0                    },
        {VMCS_GUEST_SYSENTER_ESP,     0                    },
        {VMCS_GUEST_SYSENTER_EIP,     0                    },
        {VMCS_GUEST_INTERRUPTIBILITY, 0                    },
        {VMCS_GUEST_ACTIVITY,         ACTIVITY_ACTIVE      },
        {VMCS_GUEST_PENDING_DEBUG,    0                    },
        {VMCS_GUEST_SMBASE,           0                    },
        {VMCS_ENTRY_INTR_INFO,        0                    },
        {VMCS_GUEST_PDPTE0,           0                    },
        {VMCS_GUEST_PDPTE1,           0                    },
        {VMCS_GUEST_PDPTE2,           0                    },
        {VMCS_GUEST_PDPTE3,           0                    },
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        vmcs_write((enum vmcs_field)rows[i].field, rows[i].value);
}

int vcpu_start(struct vcpu *vcpu, const struct guest_start *start)
{
    if ((start->mode == IMAGE_REAL || start->unpaged) && !vcpu->unrestricted) {
        log_error("vm %s: a guest %s needs unrestricted guest; this CPU has none", vcpu->vm->name,
                  start->unpaged ? "without paging" : "in real mode");
        return E_UNSUPP;
    }
    vcpu_load(vcpu);
    memset(vcpu->regs, 0, sizeof(vcpu->regs));
    vcpu->regs[GPR_RAX] = start->rax;
    vcpu->regs[GPR_RBX] = start->rbx;
    vcpu->regs[GPR_RSI] = start->rsi;
    vcpu->regs[GPR_RDI] = start->rdi;
    vmcs_write(VMCS_GUEST_RSP, start->rsp);
    vmcs_write(VMCS_GUEST_RIP, start->rip);
    write_segments(start);
    write_control_registers(vcpu, start);
    write_rest();
    vcpu->vectored.valid = false;
    vcpu->exception.valid = false;
    vcpu->nmi = false;
    vcpu->nmi_blocked = false;
    vcpu->halted = false;
    vcpu->held = -1;
    vcpu_reset_msrs(vcpu);
    vcpu_put(vcpu);
    vcpu_reset_fpu(vcpu);
    vcpu->cr2 = 0;
    memset(vcpu->dr, 0, sizeof(vcpu->dr));
    vcpu->dr6 = DR6_INIT;
    // What the CPU keeps of the local APIC may be an earlier guest's: vcpu->inject tells it anew.
    if (vcpu->vm->lapic.cpu.page)
        vcpu->vm->attention |= VM_ATTENTION_EVENT;
    memset(vcpu->switched, 0, sizeof(vcpu->switched));
    return OK;
}
