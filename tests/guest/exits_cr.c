// SPDX-License-Identifier: MIT
// Control registers, seen from the guest.
#include "tests/guest/machine.h"

#include "arch/x86_64/regs/cpuid.h"

GUEST_TEST(cr, cr0_remembers_what_stays_with_the_host)
{
    u64 cr0 = read_cr0();
    G_EXPECT_EQ(cr0 & (CR0_CD | CR0_NW), 0);
    static const u64 bits[] = {CR0_CD, CR0_CD | CR0_NW, CR0_NE};
    for (unsigned i = 0; i < ARRAY_SIZE(bits); i++) {
        write_cr0(cr0 ^ bits[i]);
        G_EXPECT_EQ(read_cr0(), cr0 ^ bits[i]);
        write_cr0(cr0);
        G_EXPECT_EQ(read_cr0(), cr0);
    }
}

GUEST_TEST(cr, cr0_refuses_illegal_combinations)
{
    u64 cr0 = read_cr0();
    static const struct {
        u64 clear, set;
    } list[] = {
        {CR0_PE,          0               }, // PG without PE
        {CR0_PG,          0               }, // not in 64-bit mode
        {CR0_PG | CR0_PE, 0               },
        {0,               CR0_NW          }, // NW without CD
        {0,               BIT(32)         },
        {0,               BIT(63)         },
        {CR0_PG,          CR0_CD          }, // the same with a bit that exits
        {CR0_PE,          CR0_CD          },
        {0,               CR0_CD | BIT(40)},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(list); i++) {
        G_EXPECT_EQ(try_write_cr(0, (cr0 & ~list[i].clear) | list[i].set), VEC_GP);
        G_EXPECT_EQ(rt_caught.error, 0);
        G_EXPECT_EQ(read_cr0(), cr0);
    }
}

GUEST_TEST(cr, cr0_et_stays_one)
{
    u64 cr0 = read_cr0();
    G_EXPECT(cr0 & CR0_ET);
    write_cr0(cr0 & ~CR0_ET);
    G_EXPECT_EQ(read_cr0(), cr0);
    write_cr0((cr0 & ~CR0_ET) | CR0_CD);
    G_EXPECT_EQ(read_cr0(), cr0 | CR0_CD);
    write_cr0(cr0);
}

static void use_fpu(uintptr_t arg)
{
    (void)arg;
    __asm__ volatile("fnop");
}

GUEST_TEST(cr, clts_clears_ts_alone)
{
    u64 cr0 = read_cr0();
    write_cr0(cr0 | CR0_TS | CR0_MP);
    G_EXPECT_EQ(rt_try(use_fpu, 0), VEC_NM);
    __asm__ volatile("clts");
    G_EXPECT_EQ(read_cr0(), cr0 | CR0_MP);
    G_EXPECT_EQ(rt_try(use_fpu, 0), NO_FAULT);
    // Where CD exits, the rest of the register must come through.
    write_cr0(cr0 | CR0_TS | CR0_CD);
    __asm__ volatile("clts");
    G_EXPECT_EQ(read_cr0(), cr0 | CR0_CD);
    write_cr0(cr0);
}

static u64 lmsw(u16 value)
{
    __asm__ volatile("lmsw %0" : : "r"(value) : "memory");
    return read_cr0();
}

GUEST_TEST(cr, lmsw_sets_four_bits_and_keeps_pe)
{
    u64 cr0 = read_cr0() & ~(CR0_MP | CR0_EM | CR0_TS);
    write_cr0(cr0);
    G_EXPECT_EQ(lmsw(CR0_MP | CR0_TS), cr0 | CR0_MP | CR0_TS); // PE is 0 in it, and stays
    G_EXPECT_EQ(lmsw(0xffff), cr0 | CR0_MP | CR0_EM | CR0_TS);
    G_EXPECT_EQ(lmsw(CR0_PE), cr0);
    G_EXPECT_EQ(lmsw(0), cr0);
    __asm__ volatile("lmsw (%0)" : : "r"(&(u64){CR0_MP | CR0_PE}) : "memory");
    G_EXPECT_EQ(read_cr0(), cr0 | CR0_MP);
}

// A CR4 bit may be set if CPUID shows its feature, and only then.
GUEST_TEST(cr, cr4_has_the_bits_of_cpuid)
{
    u32 c1 = cpuid(1, 0).ecx, d1 = cpuid(1, 0).edx, b7 = cpuid(7, 0).ebx, c7 = cpuid(7, 0).ecx;
    if (cpuid(0, 0).eax < 7)
        b7 = c7 = 0;
    const struct {
        u64 cr4;
        bool offered;
    } list[] = {
        {CR4_VME,        d1 & CPUID_1_EDX_VME     },
        {CR4_PVI,        d1 & CPUID_1_EDX_VME     },
        {CR4_TSD,        d1 & CPUID_1_EDX_TSC     },
        {CR4_DE,         d1 & CPUID_1_EDX_DE      },
        {CR4_PSE,        d1 & CPUID_1_EDX_PSE     },
        {CR4_MCE,        d1 & CPUID_1_EDX_MCE     },
        {CR4_PGE,        d1 & CPUID_1_EDX_PGE     },
        {CR4_PCE,        true                     },
        {CR4_OSFXSR,     d1 & CPUID_1_EDX_FXSR    },
        {CR4_OSXMMEXCPT, d1 & CPUID_1_EDX_SSE     },
        {CR4_UMIP,       c7 & CPUID_7_ECX_UMIP    },
        {CR4_LA57,       false                    },
        {CR4_VMXE,       false                    },
        {CR4_SMXE,       false                    },
        {BIT(15),        false                    },
        {CR4_FSGSBASE,   b7 & CPUID_7_EBX_FSGSBASE},
        {CR4_PCIDE,      c1 & CPUID_1_ECX_PCID    },
        {CR4_OSXSAVE,    c1 & CPUID_1_ECX_XSAVE   },
        {CR4_KL,         false                    },
        {CR4_SMEP,       b7 & CPUID_7_EBX_SMEP    },
        {CR4_SMAP,       b7 & CPUID_7_EBX_SMAP    },
        {CR4_PKE,        false                    },
        {CR4_CET,        false                    },
        {CR4_PKS,        false                    },
        {BIT(31),        false                    },
        {BIT(32),        false                    },
        {BIT(63),        false                    },
    };
    u64 cr4 = read_cr4();
    G_EXPECT_EQ(cr4, CR4_PAE);
    for (unsigned i = 0; i < ARRAY_SIZE(list); i++) {
        int vector = try_write_cr(4, cr4 | list[i].cr4);
        if (vector != (list[i].offered ? NO_FAULT : VEC_GP))
            guest_fail(__FILE__, vector, "wrong vector or none for this bit", list[i].cr4, 0);
        G_EXPECT_EQ(read_cr4(), cr4 | (list[i].offered ? list[i].cr4 : 0));
        write_cr4(cr4);
    }
}

GUEST_TEST(cr, cr4_pae_stays_in_long_mode)
{
    u64 cr4 = read_cr4();
    G_EXPECT_EQ(try_write_cr(4, cr4 & ~CR4_PAE), VEC_GP);
    G_EXPECT_EQ(try_write_cr(4, (cr4 & ~CR4_PAE) | CR4_MCE), VEC_GP); // with a bit that exits
    G_EXPECT_EQ(read_cr4(), cr4);
}

GUEST_TEST(cr, cr4_pcide_needs_a_clean_cr3)
{
    if (!(cpuid(1, 0).ecx & CPUID_1_ECX_PCID))
        return; // cr4_has_the_bits_of_cpuid has seen it refused
    u64 cr3 = read_cr3(), cr4 = read_cr4();
    write_cr3(cr3 | CR3_PWT);
    G_EXPECT_EQ(try_write_cr(4, cr4 | CR4_PCIDE), VEC_GP);
    G_EXPECT_EQ(try_write_cr(4, cr4 | CR4_PCIDE | CR4_MCE), VEC_GP);
    write_cr3(cr3);
    G_EXPECT_EQ(try_write_cr(4, cr4 | CR4_PCIDE | CR4_MCE), NO_FAULT);
    write_cr3(cr3 | 5);
    G_EXPECT_EQ(read_cr3(), cr3 | 5);
    write_cr3(cr3);
    write_cr4(cr4);
}

GUEST_TEST(cr, cr3_refuses_bits_past_the_address_width)
{
    u64 cr3 = read_cr3();
    unsigned width = cpuid(0x80000008, 0).eax & 0xff;
    G_EXPECT_EQ(try_write_cr(3, cr3 | BIT(width)), VEC_GP);
    G_EXPECT_EQ(read_cr3(), cr3);
}

GUEST_TEST(cr, cr8_is_the_task_priority)
{
    G_EXPECT_EQ(read_cr8(), 0);
    for (u64 class = 0; class < 16; class ++) {
        write_cr8(class);
        G_EXPECT_EQ(read_cr8(), class);
        G_EXPECT_EQ(xapic_read(APIC_TPR), class << 4);
    }
    G_EXPECT_EQ(try_write_cr(8, 16), VEC_GP);
    G_EXPECT_EQ(try_write_cr(8, 1ull << 32), VEC_GP);
    G_EXPECT_EQ(read_cr8(), 15);
    xapic_write(APIC_TPR, 0x35);
    G_EXPECT_EQ(read_cr8(), 3);
}

// MOV to and from CR8 always exit, with the register's number in the qualification. RSP is in the
// VMCS and not among the others.
static u64 cr8_saved, cr8_seen;
#define CR8_THROUGH(reg, value)                                                                    \
    do {                                                                                           \
        __asm__ volatile("mov %%" reg ", %0; mov %2, %%" reg "; mov %%" reg ", %%cr8\n\t"          \
                         "xor %%" reg ", %%" reg "; mov %%cr8, %%" reg "\n\t"                      \
                         "mov %%" reg ", %1; mov %0, %%" reg                                       \
                         : "+m"(cr8_saved), "+m"(cr8_seen)                                         \
                         : "i"(value)                                                              \
                         : "memory", "cc");                                                        \
        G_EXPECT_EQ(cr8_seen, value);                                                              \
        G_EXPECT_EQ(xapic_read(APIC_TPR), (value) << 4);                                           \
    } while (0)

GUEST_TEST(cr, every_register_is_source_and_destination)
{
    CR8_THROUGH("rax", 1);
    CR8_THROUGH("rcx", 2);
    CR8_THROUGH("rdx", 3);
    CR8_THROUGH("rbx", 4);
    CR8_THROUGH("rsp", 5);
    CR8_THROUGH("rbp", 6);
    CR8_THROUGH("rsi", 7);
    CR8_THROUGH("rdi", 8);
    CR8_THROUGH("r8", 9);
    CR8_THROUGH("r9", 10);
    CR8_THROUGH("r10", 11);
    CR8_THROUGH("r11", 12);
    CR8_THROUGH("r12", 13);
    CR8_THROUGH("r13", 14);
    CR8_THROUGH("r14", 15);
    CR8_THROUGH("r15", 1);
}
