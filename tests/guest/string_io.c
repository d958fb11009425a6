// SPDX-License-Identifier: MIT
// INS and OUTS in 64-bit code, against the FIFO of tests/kernel/support.c.
#include "tests/guest/machine.h"

struct string_regs {
    u64 index, count; // RSI or RDI, and RCX
};

#define STRING_IO(insn, index_constraint, r)                                                       \
    __asm__ volatile(insn                                                                          \
                     : index_constraint((r)->index), "+c"((r)->count)                              \
                     : "d"(FIFO_DATA)                                                              \
                     : "memory", "cc")

static u8 *scratch(void)
{
    return (u8 *)rt_info->scratch;
}

static void fill_scratch(unsigned length)
{
    for (unsigned i = 0; i < length; i++)
        scratch()[i] = (u8)(i * 7 + 1);
}

// The FIFO gives what fill_scratch() put at [from, from + length).
static void expect_in_fifo(unsigned from, unsigned length)
{
    G_EXPECT_EQ(inl(FIFO_HELD), length);
    for (unsigned i = 0; i < length; i++)
        G_EXPECT_EQ(inb(FIFO_DATA), (u8)((from + i) * 7 + 1));
}

static void fill_fifo(unsigned length)
{
    for (unsigned i = 0; i < length; i++)
        outb(FIFO_DATA, (u8)(i * 5 + 3));
}

static void expect_in_memory(const u8 *at, unsigned first, unsigned length)
{
    for (unsigned i = 0; i < length; i++)
        G_EXPECT_EQ(at[i], (u8)((first + i) * 5 + 3));
}

GUEST_PART(io, outs_of_every_width)
{
    struct string_regs r = {(u64)scratch(), 77};
    fill_scratch(16);
    STRING_IO("outsb", "+S", &r);
    G_EXPECT_EQ(r.index, (u64)scratch() + 1);
    STRING_IO("outsw", "+S", &r);
    G_EXPECT_EQ(r.index, (u64)scratch() + 3);
    STRING_IO("outsl", "+S", &r);
    G_EXPECT_EQ(r.index, (u64)scratch() + 7);
    G_EXPECT_EQ(r.count, 77);
    G_EXPECT_EQ(inl(FIFO_ACCESSES), 3);
    expect_in_fifo(0, 7);
}

GUEST_PART(io, ins_of_every_width)
{
    struct string_regs r = {(u64)scratch(), 77};
    fill_fifo(7);
    __builtin_memset(scratch(), 0xee, 16);
    STRING_IO("insb", "+D", &r);
    G_EXPECT_EQ(r.index, (u64)scratch() + 1);
    STRING_IO("insw", "+D", &r);
    G_EXPECT_EQ(r.index, (u64)scratch() + 3);
    STRING_IO("insl", "+D", &r);
    G_EXPECT_EQ(r.index, (u64)scratch() + 7);
    G_EXPECT_EQ(r.count, 77);
    expect_in_memory(scratch(), 0, 7);
    G_EXPECT_EQ(scratch()[7], 0xee);
    G_EXPECT_EQ(inl(FIFO_HELD), 0);
}

GUEST_PART(io, rep_outs_in_order)
{
    struct string_regs r = {(u64)scratch(), 700};
    fill_scratch(900);
    STRING_IO("rep outsb", "+S", &r);
    G_EXPECT_EQ(r.count, 0);
    G_EXPECT_EQ(r.index, (u64)scratch() + 700);
    expect_in_fifo(0, 700);
    r.count = 50;
    STRING_IO("rep outsl", "+S", &r);
    G_EXPECT_EQ(r.index, (u64)scratch() + 900);
    expect_in_fifo(700, 200);
}

GUEST_PART(io, rep_ins_in_order)
{
    struct string_regs r = {(u64)scratch(), 300};
    fill_fifo(1000);
    STRING_IO("rep insb", "+D", &r);
    G_EXPECT_EQ(r.count, 0);
    r.count = 350;
    STRING_IO("rep insw", "+D", &r);
    G_EXPECT_EQ(r.count, 0);
    G_EXPECT_EQ(r.index, (u64)scratch() + 1000);
    expect_in_memory(scratch(), 0, 1000);
}

GUEST_PART(io, rep_of_zero_does_nothing)
{
    struct string_regs r = {1, 0}; // an address that would fault
    *pte_of(WINDOW) = 0;
    r.index = WINDOW;
    STRING_IO("rep outsb", "+S", &r);
    STRING_IO("rep insl", "+D", &r);
    G_EXPECT_EQ(r.index, WINDOW);
    G_EXPECT_EQ(r.count, 0);
    G_EXPECT_EQ(inl(FIFO_ACCESSES), 0);
}

GUEST_PART(io, direction_flag_goes_down)
{
    struct string_regs r = {(u64)scratch() + 3, 4};
    fill_scratch(4);
    STRING_IO("std; rep outsb; cld", "+S", &r);
    G_EXPECT_EQ(r.index, (u64)scratch() - 1);
    G_EXPECT_EQ(inb(FIFO_DATA), 3 * 7 + 1);
    G_EXPECT_EQ(inb(FIFO_DATA), 2 * 7 + 1);
    outl(FIFO_DATA, 0x44332211);
    inw(FIFO_DATA); // the two that are left of the OUTS
    r = (struct string_regs){(u64)scratch() + 102, 2};
    STRING_IO("std; rep insw; cld", "+D", &r);
    G_EXPECT_EQ(r.index, (u64)scratch() + 98);
    G_EXPECT_EQ(*(u16 *)(scratch() + 102), 0x2211);
    G_EXPECT_EQ(*(u16 *)(scratch() + 100), 0x4433);
}

// Two pages side by side whose frames are not: the second byte comes from another frame.
static u8 *two_pages(u64 flags)
{
    map_page(WINDOW, rt_info->scratch + 0x4000, PTE_P | PTE_W);
    map_page(WINDOW + PAGE_SIZE, rt_info->scratch + 0x2000, flags);
    return (u8 *)WINDOW;
}

GUEST_PART(io, element_across_two_pages)
{
    u8 *pages = two_pages(PTE_P | PTE_W);
    struct string_regs r = {(u64)pages + 0xffd, 1};
    for (unsigned i = 0; i < 4; i++)
        pages[0xffd + i] = (u8)(0x11 * (i + 1));
    STRING_IO("outsl", "+S", &r);
    G_EXPECT_EQ(inl(FIFO_DATA), 0x44332211);
    outl(FIFO_DATA, 0x88776655);
    r.index = (u64)pages + 0xfff;
    STRING_IO("insl", "+D", &r);
    G_EXPECT_EQ(pages[0xfff], 0x55);
    G_EXPECT_EQ(scratch()[0x2000], 0x66);
    G_EXPECT_EQ(scratch()[0x2002], 0x88);
    G_EXPECT_EQ(scratch()[0x5000], 0); // what follows the first frame
}

static void rep_insb(uintptr_t arg)
{
    struct string_regs *r = (struct string_regs *)arg;
    STRING_IO("rep insb", "+D", r);
}

static struct string_regs at_fault;
static u64 fault_cr2, fault_error;

// Maps the page and goes on.
static void on_page_fault(struct rt_frame *frame)
{
    at_fault = (struct string_regs){frame->regs[9], frame->regs[12]}; // RDI, RCX
    fault_cr2 = read_cr2();
    fault_error = frame->error;
    map_page(WINDOW + PAGE_SIZE, rt_info->scratch + 0x2000, PTE_P | PTE_W);
}

GUEST_PART(io, page_fault_in_the_middle_of_ins)
{
    u8 *pages = two_pages(0);
    struct string_regs r = {(u64)pages + 0x1000 - 100, 150};
    rt_set_handler(VEC_PF, on_page_fault);
    fill_fifo(200);
    rep_insb((uintptr_t)&r);
    G_EXPECT_EQ(at_fault.count, 50);
    G_EXPECT_EQ(at_fault.index, (u64)pages + 0x1000);
    G_EXPECT_EQ(fault_cr2, (u64)pages + 0x1000);
    G_EXPECT_EQ(fault_error, PFEC_W);
    // No byte was taken from the port without a place to put it.
    G_EXPECT_EQ(r.count, 0);
    G_EXPECT_EQ(inl(FIFO_HELD), 50);
    expect_in_memory(pages + 0x1000 - 100, 0, 150);
}

GUEST_PART(io, ins_keeps_to_read_only_pages)
{
    u8 *pages = two_pages(PTE_P);
    struct string_regs r = {(u64)pages + 0x1000, 1};
    fill_fifo(2);
    G_EXPECT_EQ(rt_try(rep_insb, (uintptr_t)&r), VEC_PF);
    G_EXPECT_EQ(rt_caught.error, PFEC_P | PFEC_W);
    G_EXPECT_EQ(read_cr2(), (u64)pages + 0x1000);
    G_EXPECT_EQ(inl(FIFO_HELD), 2);
    // Without CR0.WP the supervisor writes anywhere.
    write_cr0(read_cr0() & ~CR0_WP);
    rep_insb((uintptr_t)&r);
    G_EXPECT_EQ(pages[0x1000], 3);
}

GUEST_PART(io, ins_sets_accessed_and_dirty)
{
    u8 *pages = two_pages(PTE_P | PTE_W);
    struct string_regs r = {(u64)pages + 0x1000, 1};
    STRING_IO("outsb", "+S", &r);
    G_EXPECT_EQ(*pte_of((u64)pages + 0x1000) & (PTE_A | PTE_D), PTE_A);
    STRING_IO("insb", "+D", &r);
    G_EXPECT_EQ(*pte_of((u64)pages + 0x1000) & (PTE_A | PTE_D), PTE_A | PTE_D);
    G_EXPECT_EQ(*pte_of((u64)pages) & (PTE_A | PTE_D), 0);
}

static void outsl_across(uintptr_t arg)
{
    struct string_regs r = {arg, 1};
    STRING_IO("outsl", "+S", &r);
}

GUEST_PART(io, page_fault_of_the_second_page_of_outs)
{
    u8 *pages = two_pages(0);
    G_EXPECT_EQ(rt_try(outsl_across, (uintptr_t)pages + 0xffe), VEC_PF);
    G_EXPECT_EQ(rt_caught.error, 0);
    G_EXPECT_EQ(read_cr2(), (u64)pages + 0x1000);
    G_EXPECT_EQ(inl(FIFO_ACCESSES), 0);
}

GUEST_PART(io, addresses_must_be_canonical)
{
    G_EXPECT_EQ(rt_try(outsl_across, 0x0000800000000000ull), VEC_GP);
    G_EXPECT_EQ(rt_caught.error, 0);
    G_EXPECT_EQ(rt_try(outsl_across, 0x00007ffffffffffeull), VEC_GP);
    struct string_regs r = {0xffff7ffffffffff0ull, 1};
    G_EXPECT_EQ(rt_try(rep_insb, (uintptr_t)&r), VEC_GP);
    G_EXPECT_EQ(inl(FIFO_ACCESSES), 0);
}

GUEST_PART(io, outs_takes_a_segment_override)
{
    struct string_regs r = {16, 3};
    fill_scratch(128);
    wrmsr(IA32_FS_BASE, (u64)scratch());
    wrmsr(IA32_GS_BASE, (u64)scratch() + 64);
    STRING_IO("rep outsb %%fs:(%%rsi), (%%dx)", "+S", &r);
    G_EXPECT_EQ(r.index, 19);
    expect_in_fifo(16, 3);
    r = (struct string_regs){16, 3};
    STRING_IO("rep outsb %%gs:(%%rsi), (%%dx)", "+S", &r);
    expect_in_fifo(80, 3);
    // ES and INS know none.
    r = (struct string_regs){(u64)scratch(), 3};
    STRING_IO(".byte 0x26; rep outsb", "+S", &r);
    expect_in_fifo(0, 3);
    fill_fifo(3);
    r = (struct string_regs){(u64)scratch(), 3};
    STRING_IO("fs rep insb", "+D", &r);
    expect_in_memory(scratch(), 0, 3);
    wrmsr(IA32_FS_BASE, 0);
    wrmsr(IA32_GS_BASE, 0);
}

GUEST_PART(io, address_size_of_32_bits)
{
    struct string_regs r = {(u64)scratch() | 0xabcd00000000, 5};
    fill_scratch(16);
    STRING_IO("addr32 rep outsb", "+S", &r);
    G_EXPECT_EQ(r.index, (u64)scratch() + 5); // ESI was written, so RSI's upper half is gone
    G_EXPECT_EQ(r.count, 0);
    expect_in_fifo(0, 5);
    // The count is ECX.
    fill_fifo(8);
    r = (struct string_regs){(u64)scratch() | 0xffff000000000000, 0x100000003};
    STRING_IO("addr32 rep insw", "+D", &r);
    G_EXPECT_EQ(r.index, (u64)scratch() + 6);
    G_EXPECT_EQ(r.count, 0);
    expect_in_memory(scratch(), 0, 6);
    G_EXPECT_EQ(inl(FIFO_HELD), 2);
}

GUEST_PART(io, ins_from_nobody_gives_ones)
{
    u32 memory[3] = {1, 2, 3};
    struct string_regs r = {(u64)memory, 2};
    __asm__ volatile("rep insl" : "+D"(r.index), "+c"(r.count) : "d"(0x1234) : "memory");
    G_EXPECT_EQ(memory[0], 0xffffffff);
    G_EXPECT_EQ(memory[1], 0xffffffff);
    G_EXPECT_EQ(memory[2], 3);
}

static u64 count_at_interrupt;

static void on_timer(struct rt_frame *frame)
{
    count_at_interrupt = frame->regs[12]; // RCX
    note_event(frame);
}

// A repetition of a million elements leaves room for interrupts.
GUEST_PART(io, rep_is_interrupted)
{
    struct string_regs r = {(u64)scratch(), 20000};
    u64 at;
    rt_set_handler(0x51, on_timer);
    xapic_write(APIC_TDCR, 0xb); // divide by 1
    xapic_write(APIC_LVT_TIMER, 0x51);
    // Due after roughly half of it.
    xapic_write(APIC_TMICT,
                (u32)rt_div(rt_info->lapic_hz * 10, (u32)rt_div(rt_info->tsc_hz, 1000)));
    __asm__ volatile("leaq 1f(%%rip), %2; sti; nop\n"
                     "1: addr32 rep outsb\n\t"
                     "cli"
                     : "+S"(r.index), "+c"(r.count), "=&r"(at)
                     : "d"(FIFO_DATA)
                     : "memory", "cc");
    G_EXPECT_EQ(r.count, 0);
    G_EXPECT_EQ(inl(FIFO_ACCESSES), 20000);
    G_EXPECT_EQ(event_count, 1);
    G_EXPECT_EQ(events[0].ip, at);
    G_EXPECT_IN(count_at_interrupt, 1, 19999);
}
