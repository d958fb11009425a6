// SPDX-License-Identifier: MIT
// Guest-physical memory: what is there, what is not, and what is there once it is touched.
#include "tests/guest/machine.h"

#include "arch/x86_64/regs/cpuid.h"

// Between RAM and the lazy pages, and above them.
#define HOLE      0x300000ull
#define HIGH_HOLE 0xc0000000ull

static void expect_nobody(u64 gpa)
{
    G_EXPECT_EQ(*(volatile u8 *)gpa, 0xff);
    G_EXPECT_EQ(*(volatile u16 *)(gpa + 2), 0xffff);
    G_EXPECT_EQ(*(volatile u32 *)(gpa + 4), 0xffffffff);
    G_EXPECT_EQ(*(volatile u64 *)(gpa + 8), ~0ull);
    *(volatile u64 *)gpa = 0;
    *(volatile u8 *)(gpa + 3) = 0;
    G_EXPECT_EQ(*(volatile u64 *)gpa, ~0ull);
}

GUEST_TEST(ept, memory_nobody_claims_reads_as_ones)
{
    expect_nobody(HOLE);
    expect_nobody(HIGH_HOLE);
    expect_nobody(HOLE + 0x1ffff0 - 0x100000);
}

GUEST_TEST(ept, strings_from_a_hole_and_to_it)
{
    u64 from = HOLE + 3, to = rt_info->scratch, count = 300;
    __builtin_memset((void *)to, 0, 301);
    __asm__ volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
    G_EXPECT_EQ(count, 0);
    G_EXPECT_EQ(from, HOLE + 303);
    for (u64 i = 0; i < 300; i++)
        G_EXPECT_EQ(((u8 *)rt_info->scratch)[i], 0xff);
    G_EXPECT_EQ(((u8 *)rt_info->scratch)[300], 0);
    to = HOLE;
    count = 50;
    __asm__ volatile("rep stosq" : "+D"(to), "+c"(count) : "a"(0) : "memory");
    G_EXPECT_EQ(to, HOLE + 400);
    G_EXPECT_EQ(*(volatile u64 *)HOLE, ~0ull);
}

// Half of it is RAM.
GUEST_TEST(ept, access_from_ram_into_a_hole)
{
    map_page(WINDOW, rt_info->scratch, PTE_P | PTE_W);
    map_page(WINDOW + PAGE_SIZE, HOLE, PTE_P | PTE_W);
    volatile u32 *across = (volatile u32 *)(WINDOW + PAGE_SIZE - 2);
    *(volatile u16 *)(WINDOW + PAGE_SIZE - 2) = 0x1234;
    G_EXPECT_EQ(*across, 0xffff1234);
    *across = 0xaaaa5678;
    G_EXPECT_EQ(*(volatile u16 *)(rt_info->scratch + PAGE_SIZE - 2), 0x5678);
    G_EXPECT_EQ(*across, 0xffff5678);
}

static void touch(uintptr_t at)
{
    *(volatile u8 *)at = 1;
}

GUEST_TEST(ept, address_past_the_width_is_a_page_fault)
{
    unsigned width = cpuid(0x80000008, 0).eax & 0xff;
    G_EXPECT(width >= 32 && width <= 52);
    map_page(WINDOW, BIT(width), PTE_P | PTE_W);
    G_EXPECT_EQ(rt_try(touch, WINDOW), VEC_PF);
    G_EXPECT_EQ(rt_caught.error, PFEC_P | PFEC_W | PFEC_R);
    // The highest page there can be is one nobody answers at.
    map_page(WINDOW, BIT(width) - PAGE_SIZE, PTE_P | PTE_W);
    G_EXPECT_EQ(rt_try(touch, WINDOW), NO_FAULT);
    G_EXPECT_EQ(*(volatile u8 *)WINDOW, 0xff);
}

#define LAZY_PAGES 16u

GUEST_PART(ept, lazy_page_costs_one_exit)
{
    for (u64 i = 0; i < LAZY_PAGES; i++) {
        u8 *page = map_page(WINDOW + i * PAGE_SIZE, LAZY + i * PAGE_SIZE, PTE_P | PTE_W);
        if (i % 2)
            *(volatile u8 *)page = (u8)i;
        G_EXPECT_EQ(*(volatile u64 *)page, i % 2 ? i : 0);
        G_EXPECT_EQ(*(volatile u64 *)(page + PAGE_SIZE - 8), 0);
        *(volatile u64 *)(page + 16) = i;
        // Code there needs no further exit.
        page[32] = 0xc3;
        ((void (*)(void))(page + 32))();
    }
}

// The page tables themselves are touched by the CPU's walk, on the way to something else.
GUEST_PART(ept, page_tables_in_lazy_memory)
{
    u64 *pdpt = (u64 *)(*(u64 *)(read_cr3() & PTE_ADDR) & PTE_ADDR);
    u64 *pde = (u64 *)(*pdpt & PTE_ADDR) + 4; // 800000H
    u64 *pt = map_page(WINDOW, LAZY, PTE_P | PTE_W);
    *(u64 *)rt_info->scratch = 0x123456789;
    pt[5] = rt_info->scratch | PTE_P | PTE_W;
    G_EXPECT_EQ(vmcall(CALL_FORGET, LAZY), 0);
    *pde = LAZY | PTE_P | PTE_W;
    write_cr3(read_cr3());
    G_EXPECT_EQ(*(volatile u64 *)0x805000, 0x123456789);
    G_EXPECT_EQ(pt[5] & (PTE_A | PTE_D), PTE_A);
}

#define LARGE      0x800000ull // more RAM, by Corbel's half
#define LARGE_SIZE 0x400000ull

// Leaves are split underneath a guest that uses them.
GUEST_PART(ept, split_leaves_lead_to_the_same_memory)
{
    for (u64 at = LARGE; at < LARGE + LARGE_SIZE; at += PAGE_SIZE)
        *(volatile u64 *)at = at;
    G_EXPECT_EQ(vmcall(CALL_SPLIT, LARGE + 0x3000), 0);
    for (u64 at = LARGE; at < LARGE + LARGE_SIZE; at += PAGE_SIZE) {
        G_EXPECT_EQ(*(volatile u64 *)at, at);
        *(volatile u64 *)at = ~at;
        G_EXPECT_EQ(*(volatile u64 *)at, ~at);
    }
}

GUEST_PART(ept, local_apic_is_the_guests_own)
{
    xapic_write(APIC_TPR, 0x70);
    xapic_write(APIC_SVR, 0x1aa);
    xapic_write(APIC_LVT_ERROR, 0xab);
    xapic_write(APIC_TDCR, 0x3);
    xapic_write(APIC_LVT_TIMER, APIC_LVT_MASKED | 0xac);
    xapic_write(APIC_TMICT, 0x12345);
    G_EXPECT_EQ(xapic_read(APIC_TPR), 0x70);
    G_EXPECT_EQ(xapic_read(APIC_SVR), 0x1aa);
    G_EXPECT_EQ(xapic_read(APIC_LVT_ERROR), 0xab);
    G_EXPECT_EQ(xapic_read(APIC_TMICT), 0x12345);
    G_EXPECT_EQ(xapic_read(APIC_ID), 0);
}
