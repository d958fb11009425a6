// SPDX-License-Identifier: MIT
#include "tests/guest/machine.h"

// ---- single instructions -----------------------------------------------------------------------

struct pair {
    u32 index;
    u64 value;
};

static void do_rdmsr(uintptr_t arg)
{
    struct pair *p = (struct pair *)arg;
    p->value = rdmsr(p->index);
}

int try_rdmsr(u32 msr, u64 *value)
{
    struct pair p = {.index = msr};
    int vector = rt_try(do_rdmsr, (uintptr_t)&p);
    if (vector == NO_FAULT && value)
        *value = p.value;
    return vector;
}

static void do_wrmsr(uintptr_t arg)
{
    const struct pair *p = (const struct pair *)arg;
    wrmsr(p->index, p->value);
}

int try_wrmsr(u32 msr, u64 value)
{
    struct pair p = {.index = msr, .value = value};
    return rt_try(do_wrmsr, (uintptr_t)&p);
}

static void do_write_cr(uintptr_t arg)
{
    const struct pair *p = (const struct pair *)arg;
    switch (p->index) {
    case 0:
        write_cr0(p->value);
        break;
    case 3:
        write_cr3(p->value);
        break;
    case 4:
        write_cr4(p->value);
        break;
    default:
        write_cr8(p->value);
        break;
    }
}

int try_write_cr(unsigned cr, u64 value)
{
    struct pair p = {.index = cr, .value = value};
    return rt_try(do_write_cr, (uintptr_t)&p);
}

static void do_xsetbv(uintptr_t arg)
{
    const struct pair *p = (const struct pair *)arg;
    __asm__ volatile("xsetbv"
                     :
                     : "c"(p->index), "a"((u32)p->value), "d"((u32)(p->value >> 32))
                     : "memory");
}

int try_xsetbv(u32 index, u64 value)
{
    struct pair p = {.index = index, .value = value};
    return rt_try(do_xsetbv, (uintptr_t)&p);
}

#define CODE_MAX 15u
static u8 code_buffer[CODE_MAX + 2];

static void put_code(const void *code, size_t length, u8 end0, u8 end1)
{
    G_EXPECT(length <= CODE_MAX);
    __builtin_memcpy(code_buffer, code, length);
    code_buffer[length] = end0;
    code_buffer[length + 1] = end1;
}

static void call_code(uintptr_t arg)
{
    __asm__ volatile("xor %%ebx, %%ebx; xor %%ecx, %%ecx; xor %%edx, %%edx; xor %%esi, %%esi\n\t"
                     "xor %%edi, %%edi; call *%%rax"
                     : "+a"(arg)
                     :
                     : "rbx", "rcx", "rdx", "rsi", "rdi", "memory", "cc");
}

int try_code(const void *code, size_t length)
{
    put_code(code, length, 0xc3, 0xc3); // RET
    return rt_try(call_code, (uintptr_t)code_buffer);
}

// ---- user mode ---------------------------------------------------------------------------------

#define USER_CS 0x1bu
#define USER_DS 0x23u
#define TSS_SEL 0x28u

static struct PACKED {
    u32 reserved0;
    u64 rsp[3];
    u64 reserved1, ist[7], reserved2;
    u16 reserved3, io_map;
} tss;
static u8 kernel_stack[1024] ALIGNED(16), user_stack[256] ALIGNED(16);

// The two segments of rt_init, the same for user mode, and a TSS.
static void load_user_tables(void)
{
    static u64 gdt[7];
    struct PACKED {
        u16 limit;
        u64 base;
    } gdtr = {sizeof(gdt) - 1, (u64)gdt};
    u64 at = (u64)&tss;

    gdt[1] = 0x00af9b000000ffffull;
    gdt[2] = 0x00cf93000000ffffull;
    gdt[3] = 0x00affb000000ffffull;
    gdt[4] = 0x00cff3000000ffffull;
    gdt[5] = (sizeof(tss) - 1) | (at & 0xffffff) << 16 | 0x89ull << 40 | (at >> 24 & 0xff) << 56;
    gdt[6] = at >> 32;
    tss.rsp[0] = (u64)(kernel_stack + sizeof(kernel_stack));
    tss.io_map = sizeof(tss);
    __asm__ volatile("lgdt %0; ltr %w1" : : "m"(gdtr), "r"(TSS_SEL) : "memory");
}

static u64 *table_of(u64 entry)
{
    return (u64 *)(entry & PTE_ADDR);
}

static u64 *pde_of(u64 linear)
{
    u64 *pml4e = table_of(read_cr3()), *pdpte = table_of(*pml4e) + (linear >> 30);
    return table_of(*pdpte) + (linear >> 21 & 511);
}

// All of the program's pages, with the tables that lead to them.
static void open_to_user(void)
{
    u64 *pml4e = table_of(read_cr3());
    u64 *pde = pde_of((u64)code_buffer), *pt = table_of(*pde);
    *pml4e |= PTE_U;
    *table_of(*pml4e) |= PTE_U;
    *pde |= PTE_U;
    for (unsigned i = 0; i < 512; i++)
        pt[i] |= PTE_U;
    write_cr3(read_cr3());
}

static void enter_user(uintptr_t rflags)
{
    __asm__ volatile("pushq %0; pushq %1; pushq %2; pushq %3; pushq %4\n\t"
                     "xor %%eax, %%eax; xor %%ebx, %%ebx; xor %%ecx, %%ecx; xor %%edx, %%edx\n\t"
                     "iretq"
                     :
                     : "i"(USER_DS), "r"(user_stack + sizeof(user_stack)), "r"(rflags),
                       "i"(USER_CS), "r"(code_buffer)
                     : "rax", "rbx", "rcx", "rdx", "memory");
}

int try_user_code(const void *code, size_t length, u64 rflags)
{
    put_code(code, length, 0x0f, 0x0b); // UD2
    load_user_tables();
    open_to_user();
    return rt_try(enter_user, rflags | RFLAGS_FIXED);
}

// ---- paging ------------------------------------------------------------------------------------

u64 *pte_of(u64 linear)
{
    return table_of(*pde_of(linear)) + (linear >> 12 & 511);
}

void *map_page(u64 linear, u64 gpa, u64 flags)
{
    *pte_of(linear) = gpa | flags;
    __asm__ volatile("invlpg (%0)" : : "r"(linear) : "memory");
    return (void *)linear;
}

// ---- interrupts --------------------------------------------------------------------------------

volatile struct event_note events[EVENTS_MAX];
volatile u32 event_count;

void note_event(struct rt_frame *frame)
{
    if (event_count < EVENTS_MAX) {
        events[event_count].vector = frame->vector;
        events[event_count].error = frame->error;
        events[event_count].ip = frame->ip;
        events[event_count].rflags = frame->flags;
    }
    event_count++;
    if (frame->vector >= 0x40)
        xapic_write(APIC_EOI, 0);
}

void self_ipi(u8 vector)
{
    xapic_write(APIC_ICR_LOW, 1u << 18 | vector); // fixed, to self
}
