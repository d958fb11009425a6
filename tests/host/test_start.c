// SPDX-License-Identifier: MIT
// The state a guest starts in: what VM entry takes, what the guest is promised, and nothing left of
// a guest before.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/regs/msr.h"
#include "tests/host/vmx_machines.h"
#include "tests/host/vmx_rig.h"

static const enum image_mode modes[] = {IMAGE_REAL, IMAGE_PROTECTED, IMAGE_LONG};

static int start(struct vmx_rig *r, enum image_mode mode, u16 selector)
{
    const struct guest_start how = {.mode = mode,
                                    .rip = 0x1234,
                                    .rsp = 0x5678,
                                    .rdi = 0x9abc,
                                    .cr3 = mode == IMAGE_REAL ? 0 : 0x11000,
                                    .selector = selector};
    if (r->vcpu.loaded)
        vcpu_put(&r->vcpu);
    int err = vcpu_start(&r->vcpu, &how);
    if (err == OK)
        vcpu_load(&r->vcpu);
    return err;
}

static void the_cpu_enters_every_start_state(void **state)
{
    static const struct {
        const struct vmx_probe *machine;
        u32 without;
    } machines[] = {
        {&machine_skylake,   0                   },
        {&machine_haswell,   0                   },
        {&machine_lynnfield, 0                   },
        {&machine_skylake,   FEATURE_UNRESTRICTED},
        {&machine_skylake,   FEATURE_VNMI        },
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(machines); i++) {
        for (unsigned m = 0; m < ARRAY_SIZE(modes); m++) {
            struct vmx_rig *r = rig_open(&(struct rig_options){.machine = machines[i].machine,
                                                               .without = machines[i].without});
            if (modes[m] == IMAGE_REAL && !r->vcpu.unrestricted)
                assert_int_equal(start(r, modes[m], 0x1000), E_UNSUPP);
            else
                assert_int_equal(start(r, modes[m], 0x1000), OK);
            assert_int_equal(rig_entry_violations(r, true), 0);
            rig_close(r);
        }
    }
}

static void real_mode_without_unrestricted_guest_is_refused(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(&(struct rig_options){.machine = &machine_lynnfield});
    unsigned writes = fake_vmcs_writes();
    assert_int_equal(start(r, IMAGE_REAL, 0), E_UNSUPP);
    assert_int_equal(fake_vmcs_writes(), writes);
    assert_false(r->vcpu.loaded);
    assert_non_null(strstr(rig_log(), "vm rig: a guest in real mode needs unrestricted guest"));
    rig_close(r);
}

static void registers_are_as_the_loader_says(void **state)
{
    (void)state;
    for (unsigned m = 0; m < ARRAY_SIZE(modes); m++) {
        struct vmx_rig *r = rig_open(NULL);
        memset(r->vcpu.regs, 0xee, sizeof(r->vcpu.regs));
        assert_int_equal(start(r, modes[m], 0), OK);
        for (unsigned reg = 0; reg < GPR_COUNT; reg++)
            assert_int_equal(vcpu_read_gpr(&r->vcpu, reg), reg == GPR_RSP   ? 0x5678
                                                           : reg == GPR_RDI ? 0x9abc
                                                                            : 0);
        assert_int_equal(vmcs_read(VMCS_GUEST_RIP), 0x1234);
        assert_int_equal(vmcs_read(VMCS_GUEST_RFLAGS), RFLAGS_FIXED);
        assert_int_equal(vmcs_read(VMCS_GUEST_CR3), modes[m] == IMAGE_REAL ? 0 : 0x11000);
        assert_int_equal(r->vcpu.xcr0, XCR0_X87);
        rig_close(r);
    }
}

static void control_registers_fit_the_mode(void **state)
{
    static const struct {
        enum image_mode mode;
        u64 cr0, cr4, efer;
        bool ia32e;
    } rows[] = {
        {IMAGE_REAL,      CR0_ET | CR0_NE,                            0,       0,                   false},
        {IMAGE_PROTECTED, CR0_ET | CR0_NE | CR0_PE | CR0_PG | CR0_WP, CR4_PSE, 0,                   false},
        {IMAGE_LONG,      CR0_ET | CR0_NE | CR0_PE | CR0_PG | CR0_WP, CR4_PAE, EFER_LME | EFER_LMA,
         true                                                                                            },
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_rig *r = rig_open(NULL);
        assert_int_equal(start(r, rows[i].mode, 0), OK);
        assert_int_equal(vcpu_guest_cr0(&r->vcpu), rows[i].cr0);
        assert_int_equal(vcpu_guest_cr4(&r->vcpu), rows[i].cr4);
        assert_int_equal(vmcs_read(VMCS_GUEST_CR0), rows[i].cr0);
        assert_int_equal(vmcs_read(VMCS_GUEST_CR4), rows[i].cr4 | CR4_VMXE | CR4_MCE);
        assert_int_equal(vmcs_read(VMCS_GUEST_EFER), rows[i].efer);
        assert_int_equal(!!(vmcs_read(VMCS_ENTRY_CTLS) & ENTRY_IA32E), rows[i].ia32e);
        assert_int_equal(vmcs_read(VMCS_CR0_MASK), r->vcpu.cr0_mask);
        assert_int_equal(vmcs_read(VMCS_CR4_MASK), r->vcpu.cr4_mask);
        rig_close(r);
    }
}

static void host_owns_what_vmx_fixes(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    assert_int_equal(r->vcpu.cr0_mask, CR0_NE | CR0_CD | CR0_NW);
    assert_true(vmcs_read(VMCS_PROC_CTLS2) & PROC2_UNRESTRICTED);
    assert_int_equal(r->vcpu.cr4_mask & (CR4_VMXE | CR4_MCE | CR4_SMXE),
                     CR4_VMXE | CR4_MCE | CR4_SMXE);
    assert_int_equal(r->vcpu.cr4_mask | r->vcpu.cr4_allowed, ~0ull);
    // A VM that is not given the feature although the CPU has it.
    r->vcpu.unrestricted = false;
    assert_int_equal(start(r, IMAGE_PROTECTED, 0), OK);
    assert_int_equal(r->vcpu.cr0_mask, CR0_NE | CR0_CD | CR0_NW | CR0_PE | CR0_PG);
    assert_false(vmcs_read(VMCS_PROC_CTLS2) & PROC2_UNRESTRICTED);
    assert_int_equal(rig_entry_violations(r, true), 0);
    rig_close(r);
}

// SDM volume 3, "Control Registers": a CR4 bit goes with its feature. The guest's CPUID is that of
// a machine without one bit at a time.
static void cr4_bits_go_with_cpuid(void **state)
{
    static const struct {
        u32 leaf;
        u8 reg; // 0 EBX, 1 ECX, 2 EDX
        u32 bit;
        u64 cr4;
    } rows[] = {
        {1, 2, CPUID_1_EDX_VME,      CR4_VME | CR4_PVI},
        {1, 2, CPUID_1_EDX_DE,       CR4_DE           },
        {1, 2, CPUID_1_EDX_PSE,      CR4_PSE          },
        {1, 2, CPUID_1_EDX_TSC,      CR4_TSD          },
        {1, 2, CPUID_1_EDX_PAE,      CR4_PAE          },
        {1, 2, CPUID_1_EDX_MCE,      CR4_MCE          },
        {1, 2, CPUID_1_EDX_PGE,      CR4_PGE          },
        {1, 2, CPUID_1_EDX_FXSR,     CR4_OSFXSR       },
        {1, 2, CPUID_1_EDX_SSE,      CR4_OSXMMEXCPT   },
        {1, 1, CPUID_1_ECX_PCID,     CR4_PCIDE        },
        {1, 1, CPUID_1_ECX_XSAVE,    CR4_OSXSAVE      },
        {7, 0, CPUID_7_EBX_FSGSBASE, CR4_FSGSBASE     },
        {7, 0, CPUID_7_EBX_SMEP,     CR4_SMEP         },
        {7, 0, CPUID_7_EBX_SMAP,     CR4_SMAP         },
        {7, 1, CPUID_7_ECX_UMIP,     CR4_UMIP         },
    };
    (void)state;
    struct vmx_rig *r = rig_open(&(struct rig_options){.xcr0_allowed = 7});
    u64 all = CR4_PCE;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        all |= rows[i].cr4;
    assert_int_equal(r->vcpu.cr4_allowed, all);
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct cpuid_entry *e = r->vcpu.cpuid.entries;
        while (e->leaf != rows[i].leaf)
            e++;
        u32 *regs[] = {&e->regs.ebx, &e->regs.ecx, &e->regs.edx};
        *regs[rows[i].reg] ^= rows[i].bit;
        assert_int_equal(start(r, IMAGE_LONG, 0), OK);
        assert_int_equal(r->vcpu.cr4_allowed, all & ~rows[i].cr4);
        *regs[rows[i].reg] ^= rows[i].bit;
    }
    rig_close(r);
}

static void real_mode_segments_start_at_the_image(void **state)
{
    static const u16 selectors[] = {0, 0x1000, 0x7c0, 0xf000, 0xffff};
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(selectors); i++) {
        struct vmx_rig *r = rig_open(NULL);
        assert_int_equal(start(r, IMAGE_REAL, selectors[i]), OK);
        for (u32 seg = SEG_ES; seg <= SEG_GS; seg++) {
            struct guest_segment s;
            vcpu_segment(seg, &s);
            assert_int_equal(s.selector, selectors[i]);
            assert_int_equal(s.base, (u64)selectors[i] << 4);
            assert_int_equal(s.limit, 0xffff);
            assert_int_equal(s.ar, seg == SEG_CS ? AR_CODE16 : AR_DATA16);
        }
        assert_int_equal(vmcs_read(VMCS_GUEST_IDTR_LIMIT), 0x3ff);
        assert_int_equal(vmcs_read(VMCS_GUEST_IDTR_BASE), 0);
        assert_int_equal(rig_entry_violations(r, true), 0);
        rig_close(r);
    }
}

static void flat_segments_have_all_of_memory(void **state)
{
    (void)state;
    for (unsigned m = 1; m < ARRAY_SIZE(modes); m++) {
        struct vmx_rig *r = rig_open(NULL);
        assert_int_equal(start(r, modes[m], 0x1234), OK);
        for (u32 seg = SEG_ES; seg <= SEG_GS; seg++) {
            struct guest_segment s;
            vcpu_segment(seg, &s);
            assert_int_equal(s.base, 0);
            assert_int_equal(s.limit, 0xffffffff);
            assert_int_equal(s.ar, seg != SEG_CS            ? AR_DATA32
                                   : modes[m] == IMAGE_LONG ? AR_CODE64
                                                            : AR_CODE32);
        }
        assert_int_equal(vcpu_mode(&r->vcpu),
                         modes[m] == IMAGE_LONG ? GUEST_64BIT : GUEST_PROTECTED);
        rig_close(r);
    }
}

// ---- starting over ----------------------------------------------------------------------------

// Guest state that Corbel's controls neither save nor load.
static bool is_untouched(u32 field)
{
    static const u16 fields[] = {
        VMCS_GUEST_INTR_STATUS,    VMCS_PML_INDEX,     VMCS_GUEST_UINV,
        VMCS_VMCS_LINK_POINTER,    VMCS_GUEST_BNDCFGS, VMCS_GUEST_PERF_GLOBAL_CTRL,
        VMCS_GUEST_RTIT_CTL,       VMCS_GUEST_LBR_CTL, VMCS_GUEST_PKRS,
        VMCS_PREEMPTION_TIMER,     VMCS_GUEST_S_CET,   VMCS_GUEST_SSP,
        VMCS_GUEST_INTR_SSP_TABLE,
    };
    for (unsigned i = 0; i < ARRAY_SIZE(fields); i++)
        if (fields[i] == field)
            return true;
    return false;
}

static void nothing_is_left_of_the_guest_before(void **state)
{
    (void)state;
    static u64 first[512];
    assert_true(vmcs_fields_count <= ARRAY_SIZE(first));
    for (unsigned m = 0; m < ARRAY_SIZE(modes); m++) {
        struct vmx_rig *r = rig_open(NULL);
        assert_int_equal(start(r, modes[m], 0x1000), OK);
        for (unsigned i = 0; i < vmcs_fields_count; i++)
            first[i] = fake_vmcs_read(vmcs_fields[i].encoding);
        struct vcpu before = r->vcpu;

        for (unsigned i = 0; i < vmcs_fields_count; i++) {
            u32 field = vmcs_fields[i].encoding;
            if ((field >> 10 & 3) == 2 && !is_untouched(field)) // guest state
                fake_vmcs_set(field, 0x5555555555555555ull);
        }
        fake_vmcs_set(VMCS_ENTRY_INTR_INFO, INFO_GP);
        fake_vmcs_set(VMCS_ENTRY_CTLS, vmcs_read(VMCS_ENTRY_CTLS) ^ ENTRY_IA32E);
        fake_vmcs_set(VMCS_TSC_OFFSET, 77);
        fake_vmcs_set(VMCS_CR0_SHADOW, 77);
        fake_vmcs_set(VMCS_CR4_SHADOW, 77);
        struct vcpu *v = &r->vcpu;
        vcpu_raise(v, event_exception(VEC_GP, 0));
        v->vectored = event_exception(VEC_GP, 0);
        v->nmi = v->nmi_blocked = v->halted = true;
        v->held = 0x31;
        v->tsc_offset = v->tsc_adjust = r->vm.lapic.tsc_offset = 77;
        v->misc_enable = 77;
        memset(&v->mtrr, 0x77, sizeof(v->mtrr));
        v->spec = (struct vcpu_spec){.ctrl = 7, .ctrl_passed = true};
        v->cr2 = v->xcr0 = 77;
        memset(v->switched, 0x77, sizeof(v->switched));
        memset(v->dr, 0x77, sizeof(v->dr));
        v->dr6 = 77;

        assert_int_equal(start(r, modes[m], 0x1000), OK);
        for (unsigned i = 0; i < vmcs_fields_count; i++)
            if (fake_vmcs_read(vmcs_fields[i].encoding) != first[i])
                fail_msg("%s: %llx", vmcs_fields[i].name,
                         (unsigned long long)fake_vmcs_read(vmcs_fields[i].encoding));
        assert_false(v->exception.valid || v->vectored.valid);
        assert_false(v->nmi || v->nmi_blocked || v->halted);
        assert_int_equal(v->held, -1);
        assert_int_equal(v->tsc_offset | v->tsc_adjust | r->vm.lapic.tsc_offset, 0);
        assert_int_equal(v->misc_enable, before.misc_enable);
        assert_memory_equal(&v->mtrr, &before.mtrr, sizeof(v->mtrr));
        assert_int_equal(v->spec.ctrl, 0);
        assert_int_equal(v->spec.ctrl_legal, before.spec.ctrl_legal);
        assert_false(v->spec.ctrl_passed);
        assert_int_equal(v->xcr0, XCR0_X87);
        assert_int_equal(v->cr2, 0);
        assert_memory_equal(v->switched, before.switched, sizeof(v->switched));
        assert_memory_equal(v->dr, before.dr, sizeof(v->dr));
        assert_int_equal(v->dr6, DR6_INIT);
        rig_close(r);
    }
}

// ---- what loaders of kernels ask for
// -------------------------------------------------------------

static int start_as(struct vmx_rig *r, const struct guest_start *how)
{
    if (r->vcpu.loaded)
        vcpu_put(&r->vcpu);
    int err = vcpu_start(&r->vcpu, how);
    if (err == OK)
        vcpu_load(&r->vcpu);
    return err;
}

static void a_linux_start_state(void **state)
{
    static const struct guest_start how = {
        .mode = IMAGE_LONG,
        .rip = 0x1000200,
        .rsp = 0x10000,
        .rsi = 0x17000,
        .cr3 = 0x10000,
        .gdt = {0x16000},
        .gdt_size = 0x20,
        .cs = 0x10,
        .ds = 0x18,
    };
    static const u8 data[] = {SEG_ES, SEG_SS, SEG_DS, SEG_FS, SEG_GS};
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    assert_int_equal(start_as(r, &how), OK);
    assert_int_equal(rig_entry_violations(r, true), 0);
    assert_int_equal(vmcs_read(VMCS_GUEST_GDTR_BASE), 0x16000);
    assert_int_equal(vmcs_read(VMCS_GUEST_GDTR_LIMIT), 0x1f);
    assert_int_equal(vmcs_read((enum vmcs_field)VMCS_GUEST_SEL(SEG_CS)), 0x10);
    assert_int_equal(vmcs_read((enum vmcs_field)VMCS_GUEST_AR(SEG_CS)), AR_CODE64);
    for (unsigned i = 0; i < ARRAY_SIZE(data); i++)
        assert_int_equal(vmcs_read((enum vmcs_field)VMCS_GUEST_SEL(data[i])), 0x18);
    // Not one of the table's descriptors: the guest has no TSS.
    assert_true(vmcs_read((enum vmcs_field)VMCS_GUEST_SEL(SEG_TR)) >= how.gdt_size);
    assert_int_equal(vcpu_read_gpr(&r->vcpu, GPR_RSI), 0x17000);
    assert_int_equal(vcpu_read_gpr(&r->vcpu, GPR_RDI), 0);
    rig_close(r);
}

static void a_multiboot_start_state(void **state)
{
    static const struct guest_start how = {
        .mode = IMAGE_PROTECTED,
        .unpaged = true,
        .rip = 0x100010,
        .rax = 0x2badb002,
        .rbx = 0x10000,
    };
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    assert_int_equal(start_as(r, &how), OK);
    assert_int_equal(rig_entry_violations(r, true), 0);
    assert_int_equal(vcpu_guest_cr0(&r->vcpu) & (CR0_PE | CR0_PG | CR0_WP), CR0_PE);
    assert_int_equal(vmcs_read(VMCS_GUEST_CR0) & (CR0_PE | CR0_PG), CR0_PE);
    assert_int_equal(vcpu_guest_cr4(&r->vcpu), 0);
    assert_int_equal(vmcs_read(VMCS_GUEST_EFER), 0);
    assert_int_equal(vmcs_read((enum vmcs_field)VMCS_GUEST_AR(SEG_CS)), AR_CODE32);
    assert_int_equal(vmcs_read((enum vmcs_field)VMCS_GUEST_LIMIT(SEG_DS)), ~0u);
    assert_int_equal(vcpu_read_gpr(&r->vcpu, GPR_RAX), 0x2badb002);
    assert_int_equal(vcpu_read_gpr(&r->vcpu, GPR_RBX), 0x10000);
    rig_close(r);

    r = rig_open(&(struct rig_options){.machine = &machine_lynnfield});
    unsigned writes = fake_vmcs_writes();
    assert_int_equal(start_as(r, &how), E_UNSUPP);
    assert_int_equal(fake_vmcs_writes(), writes);
    assert_non_null(strstr(rig_log(), "vm rig: a guest without paging needs unrestricted guest"));
    rig_close(r);
}

// What the CPU has of the local APIC is the old guest's, even where nothing of it was lent at the
// end: a timer that ended with the VM has recalled it.
static void nothing_of_the_local_apic_is_left(void **state)
{
    static const struct guest_start how = {.mode = IMAGE_LONG, .rip = 0x8000, .cr3 = 0x10000};
    (void)state;
    struct vmx_rig *r = rig_open(&(struct rig_options){.apicv = true});
    const u32 *page = r->vm.lapic.cpu.page;
    lapic_virtual_wire(&r->vm.lapic);
    lapic_set_tpr(&r->vm.lapic, 0x60);
    lapic_set_irq(&r->vm.lapic, 0x55, false);
    assert_non_null(vcpu_prepare(&r->vcpu));
    assert_int_equal(page[APIC_TPR / 4], 0x60);
    assert_int_equal(vmcs_read(VMCS_GUEST_INTR_STATUS), 0x55);
    lapic_recall(&r->vm.lapic);
    vm_stop(&r->vm, VM_END_RESET, "port CF9H");

    vm_revive(&r->vm);
    vm_reset_devices(&r->vm);
    assert_int_equal(start_as(r, &how), OK);
    assert_non_null(vcpu_prepare(&r->vcpu));
    assert_int_equal(page[APIC_TPR / 4], 0);
    assert_int_equal(page[(APIC_IRR + 0x20) / 4], 0);
    assert_int_equal(vmcs_read(VMCS_GUEST_INTR_STATUS), 0);
    rig_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cpu_enters_every_start_state),
        cmocka_unit_test(real_mode_without_unrestricted_guest_is_refused),
        cmocka_unit_test(registers_are_as_the_loader_says),
        cmocka_unit_test(a_linux_start_state),
        cmocka_unit_test(a_multiboot_start_state),
        cmocka_unit_test(control_registers_fit_the_mode),
        cmocka_unit_test(host_owns_what_vmx_fixes),
        cmocka_unit_test(cr4_bits_go_with_cpuid),
        cmocka_unit_test(real_mode_segments_start_at_the_image),
        cmocka_unit_test(flat_segments_have_all_of_memory),
        cmocka_unit_test(nothing_is_left_of_the_guest_before),
        cmocka_unit_test(nothing_of_the_local_apic_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
