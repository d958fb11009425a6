// SPDX-License-Identifier: MIT
#include "guest/tiny/rt.h"

#define COM1 0x3f8

extern char rt_stubs[];
void rt_load_tables(const void *gdtr, const void *idtr);
uintptr_t rt_interrupt(struct rt_frame *frame);

const struct guest_info *rt_info;
volatile struct rt_caught rt_caught;
volatile uintptr_t rt_catching;
static rt_handler handlers[256];
static u32 idt[256 * 4];

void rt_putc(char c)
{
    while (!(inb(COM1 + 5) & 0x20))
        ;
    outb(COM1, (u8)c);
}

void rt_print(const char *text)
{
    for (; *text; text++)
        rt_putc(*text);
}

// Shift and subtract: no library is there for 64 by 32 bits in 32-bit mode.
u64 rt_div(u64 a, u32 b)
{
    u64 quotient = 0, remainder = 0;
    for (int i = 63; i >= 0; i--) {
        remainder = remainder << 1 | (a >> i & 1);
        if (remainder >= b) {
            remainder -= b;
            quotient |= 1ull << i;
        }
    }
    return quotient;
}

void rt_print_u64(u64 value)
{
    char text[21];
    char *p = text + sizeof(text) - 1;
    *p = 0;
    do {
        u64 next = rt_div(value, 10);
        *--p = (char)('0' + (u32)(value - next * 10));
        value = next;
    } while (value);
    rt_print(p);
}

void rt_print_hex(u64 value, unsigned digits)
{
    while (digits--)
        rt_putc("0123456789abcdef"[value >> digits * 4 & 15]);
}

void rt_exit(u8 value)
{
    outb(GUEST_EXIT_PORT, value);
    for (;;)
        __asm__ volatile("cli; hlt");
}

// Returns the stack rt_try is to continue on, or 0 to go back to what was interrupted.
uintptr_t rt_interrupt(struct rt_frame *frame)
{
    if (frame->vector < 32 && rt_catching) {
        rt_caught.vector = frame->vector;
        rt_caught.error = frame->error;
        rt_caught.ip = frame->ip;
        rt_caught.flags = frame->flags;
        return rt_catching;
    }
    rt_handler handler = handlers[frame->vector & 0xff];
    if (handler) {
        handler(frame);
        return 0;
    }
    rt_print("guest: unexpected vector ");
    rt_print_u64(frame->vector);
    rt_print(" error ");
    rt_print_hex(frame->error, 8);
    rt_print(" at ");
    rt_print_hex(frame->ip, 16);
    rt_print("\n");
    rt_exit(0x7f);
}

void rt_set_handler(u8 vector, rt_handler handler)
{
    handlers[vector] = handler;
}

#define LONG (sizeof(void *) == 8)

static void set_gate(unsigned vector, uintptr_t at)
{
    u32 *gate = &idt[vector * (LONG ? 4 : 2)];
    gate[0] = 0x08u << 16 | ((u32)at & 0xffff);
    gate[1] = ((u32)at & 0xffff0000u) | 0x8e00u;
    if (LONG)
        gate[2] = (u32)((u64)at >> 32);
}

void rt_set_entry(u8 vector, rt_entry entry)
{
    set_gate(vector, (uintptr_t)entry);
}

struct PACKED table_register {
    u16 limit;
    uintptr_t base;
};

void rt_init(const struct guest_info *info)
{
    static u64 gdt[3];
    struct table_register gdtr = {sizeof(gdt) - 1, (uintptr_t)gdt};
    struct table_register idtr = {(u16)((LONG ? 16 : 8) * 256 - 1), (uintptr_t)idt};

    rt_info = info;
    gdt[1] = LONG ? 0x00af9b000000ffffull : 0x00cf9b000000ffffull;
    gdt[2] = 0x00cf93000000ffffull;
    for (unsigned i = 0; i < 256; i++)
        set_gate(i, (uintptr_t)rt_stubs + 16 * i);
    rt_load_tables(&gdtr, &idtr);
}
