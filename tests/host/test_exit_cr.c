// SPDX-License-Identifier: MIT
// MOV to and from control registers, CLTS and LMSW: what the guest sees, what the VMCS gets, and
// what is #GP.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/regs/msr.h"
#include "tests/host/vmx_rig.h"

#define LOADED  (CR0_ET | CR0_NE | CR0_PE | CR0_PG | CR0_WP) // as a guest with paging starts
#define PDPT_AT 0x20000ull

// Exit qualification.
static u64 to_cr(unsigned cr, unsigned reg)
{
    return cr | (u64)reg << 8;
}

static u64 from_cr(unsigned cr, unsigned reg)
{
    return to_cr(cr, reg) | BIT(4);
}

static void cr_exit(struct vmx_rig *r, u64 qualification)
{
    rig_exit(r, &(struct rig_exit){
                    .reason = REASON_CR_ACCESS, .qualification = qualification, .length = 3});
}

static void mov_to_cr(struct vmx_rig *r, unsigned cr, u64 value)
{
    r->vcpu.regs[GPR_RDX] = value;
    cr_exit(r, to_cr(cr, GPR_RDX));
}

// What an exit came to: #GP(0) or done.
static void check_done(struct vmx_rig *r, bool gp)
{
    assert_int_equal(r->vm.end, VM_RUNNING);
    assert_int_equal(vmcs_read(VMCS_GUEST_RIP), gp ? RIG_CODE : RIG_CODE + 3);
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), gp ? INFO_GP : 0);
}

// ---- which register ---------------------------------------------------------------------------

static void every_general_register_is_a_source(void **state)
{
    (void)state;
    for (unsigned reg = 0; reg < GPR_COUNT; reg++) {
        struct vmx_rig *r = rig_open(NULL);
        vcpu_write_gpr(&r->vcpu, reg, 0xa);
        cr_exit(r, to_cr(8, reg));
        assert_int_equal(lapic_get_tpr(&r->vm.lapic), 0xa0);
        vcpu_write_gpr(&r->vcpu, reg, ~0ull);
        cr_exit(r, from_cr(8, reg));
        assert_int_equal(vcpu_read_gpr(&r->vcpu, reg), 0xa);
        rig_close(r);
    }
}

static void upper_half_counts_in_64bit_mode_only(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    mov_to_cr(r, 0, LOADED | CR0_TS | BIT(32));
    check_done(r, true);
    rig_close(r);
    r = rig_open(&(struct rig_options){.mode = IMAGE_PROTECTED});
    mov_to_cr(r, 0, LOADED | CR0_TS | 0xabcd00000000ull);
    check_done(r, false);
    assert_int_equal(vcpu_guest_cr0(&r->vcpu), LOADED | CR0_TS);
    rig_close(r);
}

static void registers_that_never_exit_stop_the_vm(void **state)
{
    static const struct {
        u16 qualification;
        const char *text;
    } rows[] = {
        {0x003, "MOV to CR3 exits unasked"  },
        {0x013, "MOV from CR3 exits unasked"},
        {0x002, "MOV to CR2 exits unasked"  },
        {0x010, "MOV from CR0 exits unasked"},
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_rig *r = rig_open(NULL);
        cr_exit(r, rows[i].qualification);
        assert_int_equal(r->vm.end, VM_END_UNHANDLED);
        assert_string_equal(r->vm.end_text, rows[i].text);
        rig_close(r);
    }
}

// ---- CR0 --------------------------------------------------------------------------------------

static void cr0_is_shown_as_written_and_real_as_vmx_wants_it(void **state)
{
    static const struct {
        u64 value, shown, real;
    } rows[] = {
        {LOADED,                   LOADED,                   LOADED                  },
        {LOADED & ~CR0_NE,         LOADED & ~CR0_NE,         LOADED                  },
        {LOADED & ~CR0_ET,         LOADED,                   LOADED                  },
        {LOADED | CR0_CD,          LOADED | CR0_CD,          LOADED                  },
        {LOADED | CR0_CD | CR0_NW, LOADED | CR0_CD | CR0_NW, LOADED                  },
        {LOADED | CR0_TS | CR0_MP, LOADED | CR0_TS | CR0_MP, LOADED | CR0_TS | CR0_MP},
        {LOADED | CR0_EM | CR0_AM, LOADED | CR0_EM | CR0_AM, LOADED | CR0_EM | CR0_AM},
        {LOADED & ~CR0_WP,         LOADED & ~CR0_WP,         LOADED & ~CR0_WP        },
        {LOADED | 0x1ffaffc0,      LOADED,                   LOADED                  }, // reserved
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_rig *r = rig_open(NULL);
        mov_to_cr(r, 0, rows[i].value);
        check_done(r, false);
        assert_int_equal(vcpu_guest_cr0(&r->vcpu), rows[i].shown);
        assert_int_equal(vmcs_read(VMCS_GUEST_CR0), rows[i].real);
        assert_int_equal(r->flushes, 0);
        rig_close(r);
    }
}

static void cr0_refuses_illegal_combinations(void **state)
{
    static const struct {
        u64 value, cr4;
    } rows[] = {
        {LOADED & ~CR0_PE,            CR4_PAE            }, // PG without PE
        {LOADED | CR0_NW,             CR4_PAE            }, // NW without CD
        {LOADED & ~CR0_PG,            CR4_PAE | CR4_PCIDE},
        {LOADED & ~CR0_PG,            CR4_PAE            }, // in 64-bit mode
        {LOADED & ~(CR0_PG | CR0_PE), CR4_PAE            },
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        for (unsigned ug = 0; ug < 2; ug++) {
            struct vmx_rig *r =
                rig_open(&(struct rig_options){.without = ug ? 0 : FEATURE_UNRESTRICTED});
            vmcs_write(VMCS_GUEST_CR4, rows[i].cr4 | CR4_VMXE | CR4_MCE);
            mov_to_cr(r, 0, rows[i].value);
            check_done(r, true);
            assert_int_equal(vcpu_guest_cr0(&r->vcpu), LOADED);
            assert_int_equal(vmcs_read(VMCS_GUEST_CR0), LOADED);
            rig_close(r);
        }
    }
}

// Compatibility mode may leave IA-32e mode.
static void paging_ends_in_compatibility_mode(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    vmcs_write(VMCS_GUEST_CS_AR, AR_CODE32);
    mov_to_cr(r, 0, LOADED & ~CR0_PG);
    check_done(r, false);
    assert_int_equal(vmcs_read(VMCS_GUEST_EFER), EFER_LME);
    assert_false(vmcs_read(VMCS_ENTRY_CTLS) & ENTRY_IA32E);
    assert_int_equal(vmcs_read(VMCS_GUEST_CR0), LOADED & ~CR0_PG);
    assert_int_equal(r->flushes, 1);
    rig_close(r);
}

static void paging_begins_in_the_mode_efer_asks_for(void **state)
{
    static const struct {
        u64 efer, cr4;
        u32 cs_ar, tr_ar;
        bool gp, ia32e;
    } rows[] = {
        {0,                   0,       AR_CODE32, AR_TSS_BUSY, false, false}, // 32-bit
        {EFER_NXE,            CR4_PAE, AR_CODE32, AR_TSS_BUSY, false, false}, // PAE
        {EFER_LME,            CR4_PAE, AR_CODE32, AR_TSS_BUSY, false, true },
        {EFER_LME | EFER_NXE, CR4_PAE, AR_CODE16, AR_TSS_BUSY, false, true },
        {EFER_LME,            0,       AR_CODE32, AR_TSS_BUSY, true,  false},
        {EFER_LME,            CR4_PAE, AR_CODE64, AR_TSS_BUSY, true,  false},
        {EFER_LME,            CR4_PAE, AR_CODE32, 0x83,        true,  false}, // a 16-bit TSS
        {0,                   CR4_PAE, AR_CODE32, 0x83,        false, false},
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_rig *r = rig_open(&(struct rig_options){.mode = IMAGE_PROTECTED});
        u64 off = LOADED & ~CR0_PG;
        memset(rig_ram(r, PDPT_AT, 32), 0, 32);
        vmcs_write(VMCS_GUEST_CR0, off);
        vmcs_write(VMCS_CR0_SHADOW, off);
        vmcs_write(VMCS_GUEST_CR3, PDPT_AT);
        vmcs_write(VMCS_GUEST_CR4, rows[i].cr4 | CR4_VMXE | CR4_MCE);
        vmcs_write(VMCS_GUEST_EFER, rows[i].efer);
        vmcs_write(VMCS_GUEST_CS_AR, rows[i].cs_ar);
        if (rows[i].cs_ar == AR_CODE16)
            vmcs_write(VMCS_GUEST_CS_LIMIT, 0xffff);
        vmcs_write(VMCS_GUEST_TR_AR, rows[i].tr_ar);
        u64 other = vmcs_read(VMCS_ENTRY_CTLS);
        mov_to_cr(r, 0, LOADED);
        check_done(r, rows[i].gp);
        assert_int_equal(vmcs_read(VMCS_GUEST_EFER), rows[i].efer | (rows[i].ia32e ? EFER_LMA : 0));
        assert_int_equal(vmcs_read(VMCS_ENTRY_CTLS), other | (rows[i].ia32e ? ENTRY_IA32E : 0));
        assert_int_equal(r->flushes, rows[i].gp ? 0 : 1);
        rig_close(r);
    }
}

static void without_unrestricted_guest_paging_stays(void **state)
{
    static const u64 values[] = {LOADED & ~CR0_PG, LOADED & ~(CR0_PG | CR0_PE)};
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(values); i++) {
        struct vmx_rig *r = rig_open(
            &(struct rig_options){.mode = IMAGE_PROTECTED, .without = FEATURE_UNRESTRICTED});
        mov_to_cr(r, 0, values[i]);
        assert_int_equal(r->vm.end, VM_END_UNHANDLED);
        assert_non_null(strstr(r->vm.end_text, "turns paging off, which needs unrestricted guest"));
        assert_int_equal(vmcs_read(VMCS_GUEST_CR0), LOADED);
        rig_close(r);
    }
}

// ---- CLTS and LMSW ----------------------------------------------------------------------------

static void clts_clears_ts_alone(void **state)
{
    (void)state;
    for (unsigned ts = 0; ts < 2; ts++) {
        struct vmx_rig *r = rig_open(NULL);
        u64 before = LOADED | CR0_MP | CR0_AM | (ts ? CR0_TS : 0);
        vmcs_write(VMCS_GUEST_CR0, before);
        cr_exit(r, 2ull << 4);
        check_done(r, false);
        assert_int_equal(vcpu_guest_cr0(&r->vcpu), LOADED | CR0_MP | CR0_AM);
        assert_int_equal(vmcs_read(VMCS_GUEST_CR0), LOADED | CR0_MP | CR0_AM);
        rig_close(r);
    }
}

static void lmsw_loads_four_bits_and_never_clears_pe(void **state)
{
    (void)state;
    for (u64 source = 0; source < 0x10; source++) {
        struct vmx_rig *r = rig_open(NULL);
        vmcs_write(VMCS_GUEST_CR0, LOADED | CR0_EM);
        // The rest of the source word does not count, nor does the register field.
        cr_exit(r, 3ull << 4 | (source | 0xfff0) << 16 | 5 << 8);
        check_done(r, false);
        assert_int_equal(vcpu_guest_cr0(&r->vcpu), LOADED | (source & 0xe));
        rig_close(r);
    }
    struct vmx_rig *r = rig_open(&(struct rig_options){.mode = IMAGE_REAL});
    cr_exit(r, 3ull << 4 | 1 << 16);
    check_done(r, false);
    assert_int_equal(vcpu_guest_cr0(&r->vcpu), CR0_ET | CR0_NE | CR0_PE);
    rig_close(r);
}

// ---- CR4 --------------------------------------------------------------------------------------

static void cr4_takes_what_cpuid_shows(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        struct vmx_rig *r = rig_open(&(struct rig_options){.xcr0_allowed = 7});
        u64 allowed = r->vcpu.cr4_allowed;
        u64 value = CR4_PAE | BIT(bit);
        r->caps.cr4_fixed1 = 0x772fff; // UMIP too
        mov_to_cr(r, 4, value);
        bool gp = !(allowed & BIT(bit));
        check_done(r, gp);
        if (!gp) {
            assert_int_equal(vcpu_guest_cr4(&r->vcpu), value);
            assert_int_equal(vmcs_read(VMCS_GUEST_CR4), value | CR4_VMXE | CR4_MCE);
        }
        rig_close(r);
    }
}

static void cr4_hides_what_vmx_needs(void **state)
{
    static const u64 hidden[] = {CR4_VMXE, CR4_SMXE, CR4_LA57, CR4_PKE,
                                 CR4_CET,  CR4_PKS,  CR4_KL,   CR4_UINTR};
    (void)state;
    struct vmx_rig *r = rig_open(&(struct rig_options){.xcr0_allowed = 7});
    for (unsigned i = 0; i < ARRAY_SIZE(hidden); i++)
        assert_false(r->vcpu.cr4_allowed & hidden[i]);
    assert_int_equal(vcpu_guest_cr4(&r->vcpu), CR4_PAE); // neither VMXE nor MCE
    mov_to_cr(r, 4, CR4_PAE | CR4_MCE);
    assert_int_equal(vcpu_guest_cr4(&r->vcpu), CR4_PAE | CR4_MCE);
    mov_to_cr(r, 4, CR4_PAE);
    assert_int_equal(vcpu_guest_cr4(&r->vcpu), CR4_PAE);
    assert_int_equal(vmcs_read(VMCS_GUEST_CR4), CR4_PAE | CR4_VMXE | CR4_MCE);
    rig_close(r);
}

static void cr4_refuses_what_the_mode_forbids(void **state)
{
    static const struct {
        enum image_mode mode;
        u64 cr3, value;
        bool gp;
    } rows[] = {
        {IMAGE_LONG,      0x11000, 0,                   true }, // PAE is what IA-32e mode runs on
        {IMAGE_LONG,      0x11000, CR4_PSE,             true },
        {IMAGE_LONG,      0x11000, CR4_PAE | CR4_PCIDE, false},
        {IMAGE_LONG,      0x11001, CR4_PAE | CR4_PCIDE, true }, // CR3[11:0] are not 0
        {IMAGE_LONG,      0x11800, CR4_PAE | CR4_PCIDE, true },
        {IMAGE_PROTECTED, 0x20000, CR4_PCIDE,           true }, // not in IA-32e mode
        {IMAGE_PROTECTED, 0x20000, CR4_PSE,             false},
        {IMAGE_REAL,      0,       0,                   false},
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_rig *r = rig_open(&(struct rig_options){.mode = rows[i].mode});
        u64 before = vcpu_guest_cr4(&r->vcpu);
        vmcs_write(VMCS_GUEST_CR3, rows[i].cr3);
        mov_to_cr(r, 4, rows[i].value);
        check_done(r, rows[i].gp);
        assert_int_equal(vcpu_guest_cr4(&r->vcpu), rows[i].gp ? before : rows[i].value);
        rig_close(r);
    }
}

// PCIDE that is on already may stay whatever CR3 holds.
static void cr4_pcide_is_checked_when_it_is_set(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    vmcs_write(VMCS_GUEST_CR4, CR4_PAE | CR4_PCIDE | CR4_VMXE | CR4_MCE);
    vmcs_write(VMCS_GUEST_CR3, 0x11005);
    mov_to_cr(r, 4, CR4_PAE | CR4_PCIDE | CR4_MCE);
    check_done(r, false);
    rig_close(r);
}

static void cr4_flushes_where_the_cpu_would(void **state)
{
    static const struct {
        u64 before, after;
        bool flush;
    } rows[] = {
        {0,         0,                 false},
        {0,         CR4_MCE,           false},
        {0,         CR4_PGE,           true },
        {CR4_PGE,   0,                 true },
        {CR4_PGE,   CR4_PGE | CR4_MCE, false},
        {CR4_PCIDE, 0,                 true },
        {0,         CR4_PCIDE,         false},
        {0,         CR4_SMEP,          true },
        {CR4_SMEP,  0,                 false},
        {0,         CR4_SMAP,          false},
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_rig *r = rig_open(NULL);
        vmcs_write(VMCS_GUEST_CR4, rows[i].before | CR4_PAE | CR4_VMXE | CR4_MCE);
        mov_to_cr(r, 4, rows[i].after | CR4_PAE);
        check_done(r, false);
        assert_int_equal(r->flushes, rows[i].flush);
        rig_close(r);
    }
    struct vmx_rig *r = rig_open(&(struct rig_options){.mode = IMAGE_REAL});
    mov_to_cr(r, 4, CR4_PAE);
    assert_int_equal(r->flushes, 1);
    rig_close(r);
}

// ---- PDPTEs -----------------------------------------------------------------------------------

static void write_pdptes(struct vmx_rig *r, const u64 entries[4])
{
    memcpy(rig_ram(r, PDPT_AT, 32), entries, 32);
}

static void check_pdptes(const u64 want[4])
{
    for (u32 i = 0; i < 4; i++)
        assert_int_equal(vmcs_read((enum vmcs_field)(VMCS_GUEST_PDPTE0 + 2 * i)), want[i]);
}

static const u64 good_pdptes[4] = {0x21001, 0xfffffff000ull | 0x19, 0, 0x24001};
static const u64 no_pdptes[4];

// Protected mode with PAE paging on PDPT_AT.
static struct vmx_rig *open_pae(void)
{
    struct vmx_rig *r = rig_open(&(struct rig_options){.mode = IMAGE_PROTECTED});
    vmcs_write(VMCS_GUEST_CR3, PDPT_AT | CR3_PWT | CR3_PCD);
    vmcs_write(VMCS_GUEST_CR4, CR4_PAE | CR4_VMXE | CR4_MCE);
    vmcs_write(VMCS_CR4_SHADOW, CR4_PAE);
    write_pdptes(r, good_pdptes);
    return r;
}

static void pdptes_are_loaded_when_the_cpu_would(void **state)
{
    static const struct {
        u8 cr;
        u64 value;
        bool load;
    } rows[] = {
        {0, LOADED | CR0_CD,          true },
        {0, LOADED | CR0_CD | CR0_NW, true },
        {0, LOADED | CR0_TS,          false},
        {0, LOADED,                   false},
        {4, CR4_PAE | CR4_PGE,        true },
        {4, CR4_PAE | CR4_PSE,        true },
        {4, CR4_PAE | CR4_SMEP,       true },
        {4, CR4_PAE | CR4_MCE,        false},
        {4, CR4_PAE | CR4_SMAP,       false},
        {4, 0,                        false}, // 32-bit paging from now on
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_rig *r = open_pae();
        mov_to_cr(r, rows[i].cr, rows[i].value);
        check_done(r, false);
        check_pdptes(rows[i].load ? good_pdptes : no_pdptes);
        rig_close(r);
    }
}

static void pdptes_are_loaded_when_paging_or_pae_begins(void **state)
{
    (void)state;
    struct vmx_rig *r = open_pae();
    vmcs_write(VMCS_GUEST_CR0, LOADED & ~CR0_PG);
    mov_to_cr(r, 0, LOADED);
    check_done(r, false);
    check_pdptes(good_pdptes);
    rig_close(r);

    r = open_pae();
    vmcs_write(VMCS_GUEST_CR4, CR4_VMXE | CR4_MCE);
    mov_to_cr(r, 4, CR4_PAE);
    check_done(r, false);
    check_pdptes(good_pdptes);
    rig_close(r);

    // Neither into IA-32e mode nor within it.
    r = open_pae();
    vmcs_write(VMCS_GUEST_CR0, LOADED & ~CR0_PG);
    vmcs_write(VMCS_GUEST_EFER, EFER_LME);
    mov_to_cr(r, 0, LOADED);
    check_done(r, false);
    check_pdptes(no_pdptes);
    rig_close(r);
}

static void pdpte_with_a_reserved_bit_is_gp(void **state)
{
    (void)state;
    for (unsigned bit = 1; bit < 64; bit++) {
        for (unsigned which = 0; which < 4; which++) {
            bool reserved = bit == 1 || bit == 2 || (bit >= 5 && bit <= 8) || bit >= 40;
            struct vmx_rig *r = open_pae();
            u64 entries[4] = {0x21001, 0x22001, 0x23001, 0x24001};
            entries[which] = BIT(bit) | 1;
            write_pdptes(r, entries);
            mov_to_cr(r, 0, LOADED | CR0_CD);
            check_done(r, reserved);
            check_pdptes(reserved ? no_pdptes : entries);
            assert_int_equal(vcpu_guest_cr0(&r->vcpu), reserved ? LOADED : LOADED | CR0_CD);
            // A bit of an entry that is not present is nobody's concern.
            entries[which] = BIT(bit);
            write_pdptes(r, entries);
            vmcs_write(VMCS_GUEST_RIP, RIG_CODE);
            mov_to_cr(r, 4, CR4_PAE | CR4_PGE);
            check_done(r, false);
            check_pdptes(entries);
            rig_close(r);
        }
    }
}

static void pdptes_in_memory_that_is_none_are_gp(void **state)
{
    static const u64 tables[] = {RIG_MMIO, 0xc0000000, RIG_RAM_SIZE, 0xffffffe0};
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(tables); i++) {
        struct vmx_rig *r = open_pae();
        vmcs_write(VMCS_GUEST_CR3, tables[i]);
        mov_to_cr(r, 0, LOADED | CR0_CD);
        check_done(r, true);
        rig_close(r);
    }
    // The table is 32 bytes: the last of RAM will do, and CR3's upper half does not count.
    struct vmx_rig *r = open_pae();
    memcpy(rig_ram(r, RIG_RAM_SIZE - 32, 32), good_pdptes, 32);
    vmcs_write(VMCS_GUEST_CR3, 0x500000000ull | (RIG_RAM_SIZE - 32));
    mov_to_cr(r, 0, LOADED | CR0_CD);
    check_done(r, false);
    check_pdptes(good_pdptes);
    rig_close(r);
}

// ---- CR8 --------------------------------------------------------------------------------------

static void cr8_is_the_task_priority(void **state)
{
    (void)state;
    for (u64 value = 0; value < 0x20; value++) {
        struct vmx_rig *r = rig_open(NULL);
        lapic_set_tpr(&r->vm.lapic, 0x57);
        mov_to_cr(r, 8, value);
        check_done(r, value > 15);
        assert_int_equal(lapic_get_tpr(&r->vm.lapic), value > 15 ? 0x57 : value << 4);
        rig_close(r);
    }
    struct vmx_rig *r = rig_open(NULL);
    mov_to_cr(r, 8, BIT(63));
    check_done(r, true);
    lapic_set_tpr(&r->vm.lapic, 0x57);
    cr_exit(r, from_cr(8, GPR_R15));
    assert_int_equal(r->vcpu.regs[GPR_R15], 5);
    rig_close(r);
}

// Lowering the priority lets an interrupt through.
static void cr8_lets_a_held_interrupt_through(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    vmcs_write(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF);
    lapic_set_tpr(&r->vm.lapic, 0x50);
    lapic_set_irq(&r->vm.lapic, 0x41, false);
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), 0);
    mov_to_cr(r, 8, 3);
    assert_true(r->vm.attention & VM_ATTENTION_EVENT);
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), INFO(EVENT_EXTERNAL_INTERRUPT, 0x41));
    rig_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_general_register_is_a_source),
        cmocka_unit_test(upper_half_counts_in_64bit_mode_only),
        cmocka_unit_test(registers_that_never_exit_stop_the_vm),
        cmocka_unit_test(cr0_is_shown_as_written_and_real_as_vmx_wants_it),
        cmocka_unit_test(cr0_refuses_illegal_combinations),
        cmocka_unit_test(paging_ends_in_compatibility_mode),
        cmocka_unit_test(paging_begins_in_the_mode_efer_asks_for),
        cmocka_unit_test(without_unrestricted_guest_paging_stays),
        cmocka_unit_test(clts_clears_ts_alone),
        cmocka_unit_test(lmsw_loads_four_bits_and_never_clears_pe),
        cmocka_unit_test(cr4_takes_what_cpuid_shows),
        cmocka_unit_test(cr4_hides_what_vmx_needs),
        cmocka_unit_test(cr4_refuses_what_the_mode_forbids),
        cmocka_unit_test(cr4_pcide_is_checked_when_it_is_set),
        cmocka_unit_test(cr4_flushes_where_the_cpu_would),
        cmocka_unit_test(pdptes_are_loaded_when_the_cpu_would),
        cmocka_unit_test(pdptes_are_loaded_when_paging_or_pae_begins),
        cmocka_unit_test(pdpte_with_a_reserved_bit_is_gp),
        cmocka_unit_test(pdptes_in_memory_that_is_none_are_gp),
        cmocka_unit_test(cr8_is_the_task_priority),
        cmocka_unit_test(cr8_lets_a_held_interrupt_through),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
