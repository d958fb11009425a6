// SPDX-License-Identifier: MIT
// The guest's own machine, as the tests of exits use it: control registers, page tables, single
// instructions that may fault, user mode.
#pragma once

#include "arch/x86_64/regs/cr.h"
#include "arch/x86_64/regs/msr.h"
#include "arch/x86_64/regs/pte.h"
#include "tests/guest/calls.h"
#include "tests/guest/tests.h"

#define NO_FAULT (-1) // instead of a vector

#define DEFINE_CR(n)                                                                               \
    static inline u64 read_cr##n(void)                                                             \
    {                                                                                              \
        u64 value;                                                                                 \
        __asm__ volatile("mov %%cr" #n ", %0" : "=r"(value) : : "memory");                         \
        return value;                                                                              \
    }                                                                                              \
    static inline void write_cr##n(u64 value)                                                      \
    {                                                                                              \
        __asm__ volatile("mov %0, %%cr" #n : : "r"(value) : "memory");                             \
    }
DEFINE_CR(0)
DEFINE_CR(2)
DEFINE_CR(3)
DEFINE_CR(4)
DEFINE_CR(8)
#undef DEFINE_CR

static inline u64 read_dr6(void)
{
    u64 value;
    __asm__ volatile("mov %%dr6, %0" : "=r"(value));
    return value;
}

static inline void write_dr6(u64 value)
{
    __asm__ volatile("mov %0, %%dr6" : : "r"(value));
}

static inline u64 read_rflags(void)
{
    u64 value;
    __asm__ volatile("pushfq; popq %0" : "=r"(value) : : "memory");
    return value;
}

// Each gives the vector of the exception the instruction raises, or NO_FAULT; rt_caught has the
// rest.
int try_rdmsr(u32 msr, u64 *value);
int try_wrmsr(u32 msr, u64 value);
int try_write_cr(unsigned cr, u64 value); // 0, 3, 4, 8
int try_xsetbv(u32 index, u64 value);

// Runs up to 15 bytes of code with all registers 0 but for the stack, then returns.
int try_code(const void *code, size_t length);

// The same at CPL 3, with these RFLAGS; code that does not fault itself ends in #UD.
int try_user_code(const void *code, size_t length, u64 rflags);

// ---- paging ------------------------------------------------------------------------------------

// Linear addresses that the tests may map as they like; until they do, nothing they need is there.
#define WINDOW 0x5c0000ull

// The entry that maps this address; those of the 2 MiB around the program map 4 KiB.
u64 *pte_of(u64 linear);

// Makes linear, one of the window, lead to gpa; flags as in pte.h, PTE_P included.
void *map_page(u64 linear, u64 gpa, u64 flags);

// ---- interrupts --------------------------------------------------------------------------------

// Where each interrupt or exception interrupted, in order. note_event() is a handler that writes
// here and signals EOI for vectors that come from the local APIC.
#define EVENTS_MAX 8u
extern volatile struct event_note {
    u64 vector, error, ip, rflags;
} events[EVENTS_MAX];
extern volatile u32 event_count;
void note_event(struct rt_frame *frame);

// A fixed interrupt to this CPU, by the xAPIC page.
void self_ipi(u8 vector);
