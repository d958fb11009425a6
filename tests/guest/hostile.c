// SPDX-License-Identifier: MIT
// A guest that reads and writes ports, memory that is none and MSRs at random, and one beside it
// that looks after what it has.
#include "tests/guest/hostile.h"

#include "tests/guest/devices.h"

// ---- at random ---------------------------------------------------------------------------------

static struct hostile *mine(void)
{
    return (struct hostile *)rt_info->scratch;
}

// SplitMix64: any seed does, and what follows is the same on every machine.
static u64 any(void)
{
    u64 z = mine()->seed += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static u32 below(u32 limit)
{
    return (u32)((any() >> 32) * limit >> 32);
}

#define ONE_OF(list) (list)[below(ARRAY_SIZE(list))]

// Values at which things change are as likely as others.
static u64 any_value(void)
{
    switch (below(6)) {
    case 0:
        return 0;
    case 1:
        return ~0ull;
    case 2:
        return BIT(below(64));
    case 3:
        return below(0x100);
    case 4:
        return any() & BITS(31, 0);
    default:
        return any();
    }
}

struct op {
    u32 size;  // bytes of an access
    u32 count; // of a repeated one
    u64 where; // port, address or register
    u64 value;
};

// ---- ports -------------------------------------------------------------------------------------

// What ends or restarts the machine: left alone nearly always, for the rest to have its turn.
static bool ends_the_vm(u64 port, u32 size)
{
    static const u16 ends[] = {0x64, 0x92, 0x604, 0x605, 0xcf9};
    for (unsigned i = 0; i < ARRAY_SIZE(ends); i++)
        if (ends[i] - port < size)
            return true;
    return port < GUEST_EXIT_PORT + 4 && port + size > GUEST_EXIT_PORT;
}

static u64 any_port(void)
{
    static const struct {
        u16 first, count;
    } devices[] = {
        {0x20,  2 },
        {0x40,  4 },
        {0x60,  5 },
        {0x70,  2 },
        {0x80,  16},
        {0x92,  1 },
        {0xa0,  2 },
        {0xf0,  16},
        {0x3f8, 8 },
        {0x4d0, 2 },
        {0x600, 12},
        {0xcf8, 8 },
    };
    if (below(4) == 0)
        return below(0x10000);
    unsigned i = below(ARRAY_SIZE(devices));
    return devices[i].first + below(devices[i].count);
}

static void read_port(uintptr_t arg)
{
    const struct op *op = (const struct op *)arg;
    if (op->size == 1)
        inb((u16)op->where);
    else if (op->size == 2)
        inw((u16)op->where);
    else
        inl((u16)op->where);
}

static void write_port(uintptr_t arg)
{
    const struct op *op = (const struct op *)arg;
    if (op->size == 1)
        outb((u16)op->where, (u8)op->value);
    else if (op->size == 2)
        outw((u16)op->where, (u16)op->value);
    else
        outl((u16)op->where, (u32)op->value);
}

// OUTS and INS, from and to what op->value points at.
static void repeat_port(uintptr_t arg)
{
    const struct op *op = (const struct op *)arg;
    u64 at = op->value, count = op->count;
    if (op->size == 1)
        __asm__ volatile("rep outsb" : "+S"(at), "+c"(count) : "d"(op->where) : "memory");
    else
        __asm__ volatile("rep outsl" : "+S"(at), "+c"(count) : "d"(op->where) : "memory");
    at = op->value;
    count = op->count;
    if (op->size == 1)
        __asm__ volatile("rep insb" : "+D"(at), "+c"(count) : "d"(op->where) : "memory");
    else
        __asm__ volatile("rep insl" : "+D"(at), "+c"(count) : "d"(op->where) : "memory");
}

// ---- memory ------------------------------------------------------------------------------------

#define FREE_FROM 0x1000000u // the program, its tables and the rest of its RAM end below

static u64 any_address(void)
{
    static const u32 pages[] = {0xfec00000, 0xfed00000, 0xfee00000, 0xfee00000, 0xfee00000};
    static const u32 others[] = {0xa0000, 0xb8000, 0xc0000, 0xdf000, 0xfffff000};
    switch (below(4)) {
    case 0:
        return FREE_FROM + below(0u - FREE_FROM);
    case 1:
        return ONE_OF(others) + below(0x1000);
    case 2:
        return ONE_OF(pages) + below(0x1000);
    default:
        return ONE_OF(pages) + below(0x100) * 16; // as the registers of the local APIC lie
    }
}

static void read_memory(uintptr_t arg)
{
    const struct op *op = (const struct op *)arg;
    volatile void *at = (volatile void *)op->where;
    if (op->size == 1)
        (void)*(volatile u8 *)at;
    else if (op->size == 2)
        (void)*(volatile u16 *)at;
    else if (op->size == 4)
        (void)*(volatile u32 *)at;
    else
        (void)*(volatile u64 *)at;
}

static void write_memory(uintptr_t arg)
{
    const struct op *op = (const struct op *)arg;
    volatile void *at = (volatile void *)op->where;
    if (op->size == 1)
        *(volatile u8 *)at = (u8)op->value;
    else if (op->size == 2)
        *(volatile u16 *)at = (u16)op->value;
    else if (op->size == 4)
        *(volatile u32 *)at = (u32)op->value;
    else
        *(volatile u64 *)at = op->value;
}

static void repeat_memory(uintptr_t arg)
{
    const struct op *op = (const struct op *)arg;
    u64 at = op->where, count = op->count;
    __asm__ volatile("rep stosl" : "+D"(at), "+c"(count) : "a"(op->value) : "memory");
}

// ---- MSRs and the rest -------------------------------------------------------------------------

// Bases that the program stands on are not in it: FS and GS are free.
static u32 any_msr(void)
{
    static const u32 known[] = {
        IA32_TIME_STAMP_COUNTER,
        IA32_PLATFORM_ID,
        IA32_APIC_BASE,
        IA32_FEATURE_CONTROL,
        IA32_TSC_ADJUST,
        IA32_SPEC_CTRL,
        IA32_PRED_CMD,
        IA32_BIOS_UPDT_TRIG,
        IA32_BIOS_SIGN_ID,
        IA32_MTRRCAP,
        IA32_SYSENTER_CS,
        IA32_SYSENTER_ESP,
        IA32_SYSENTER_EIP,
        IA32_MCG_STATUS,
        IA32_MISC_ENABLE,
        IA32_DEBUGCTL,
        IA32_PAT,
        IA32_MTRR_DEF_TYPE,
        IA32_TSC_DEADLINE,
        IA32_XSS,
        IA32_EFER,
        IA32_STAR,
        IA32_LSTAR,
        IA32_CSTAR,
        IA32_FMASK,
        IA32_FS_BASE,
        IA32_GS_BASE,
        IA32_KERNEL_GS_BASE,
        IA32_TSC_AUX,
    };
    switch (below(8)) {
    case 0:
        return (u32)any();
    case 1:
        return below(0x2000);
    case 2:
        return 0xc0000000 + below(0x2000);
    case 3:
        return IA32_MTRR_PHYSBASE0 + below(0x100);
    case 4:
        return IA32_X2APIC_FIRST + below(0x100);
    default:
        return ONE_OF(known);
    }
}

static void read_register(uintptr_t arg)
{
    const struct op *op = (const struct op *)arg;
    rdmsr((u32)op->where);
}

// Half of the time what it holds with one bit changed.
static void write_register(uintptr_t arg)
{
    const struct op *op = (const struct op *)arg;
    u64 value = op->value;
    if (op->count & 1)
        value = rdmsr((u32)op->where) ^ BIT(op->count % 64);
    wrmsr((u32)op->where, value);
}

static void other(uintptr_t arg)
{
    const struct op *op = (const struct op *)arg;
    switch (op->count % 5) {
    case 0:
        cpuid((u32)op->value, (u32)op->where);
        break;
    case 1:
        vmcall(op->value, op->where);
        break;
    case 2:
        __asm__ volatile("xsetbv" : : "c"(0), "a"((u32)op->value), "d"(0));
        break;
    case 3:
        __asm__ volatile("wbinvd" : : : "memory");
        break;
    default:
        write_cr8(op->value & 0xf);
        break;
    }
}

// ---- the hostile one ---------------------------------------------------------------------------

// One interrupt of those that wait; the next has to wait for the next such operation. Whoever sent
// it, both controllers hear of its end. It may have any vector, since a controller can be told so;
// but for some of them the CPU pushes an error code with an exception and none with an interrupt,
// and from there is no way back.
static void any_interrupt(struct rt_frame *frame)
{
    const u64 with_error = BIT(8) | BITS(14, 10) | BIT(17) | BIT(21);
    if (frame->vector < 32 && (with_error >> frame->vector & 1))
        rt_exit(HOSTILE_LOST);
    mine()->interrupts++;
    frame->flags &= ~(uintptr_t)RFLAGS_IF;
    outb(PIC2, PIC_EOI);
    outb(PIC1, PIC_EOI);
    xapic_write(APIC_EOI, 0);
}

static void do_one(void)
{
    static void (*const kinds[])(uintptr_t) = {
        read_port,     read_port,      read_port,      read_port,      write_port,
        write_port,    write_port,     write_port,     write_port,     repeat_port,
        read_memory,   write_memory,   write_memory,   repeat_memory,  read_register,
        read_register, write_register, write_register, write_register, write_register,
        other,
    };
    static const u8 sizes[] = {1, 2, 4, 8};
    void (*kind)(uintptr_t) = ONE_OF(kinds);
    bool port = kind == read_port || kind == write_port || kind == repeat_port;
    struct op op = {.size = sizes[below(port ? 3 : 4)], .count = below(64), .value = any_value()};

    op.where = port ? any_port()
               : kind == read_memory || kind == write_memory || kind == repeat_memory
                   ? any_address()
                   : any_msr();
    if (port && ends_the_vm(op.where, op.size) && below(512))
        return;
    if (kind == repeat_port || kind == repeat_memory)
        op.count %= 4;
    if (kind == repeat_port)
        // Strings from and to a device end the VM, which is rare enough in real programs.
        op.value = below(1024) ? rt_info->scratch + PAGE_SIZE + below(PAGE_SIZE) : any_address();
    mine()->faults += rt_try(kind, (uintptr_t)&op) != NO_FAULT;
    mine()->done++;
}

GUEST_PART(hostile, does_what_it_likes)
{
    handle(0, 255, any_interrupt);
    if (cpuid(1, 0).ecx & CPUID_1_ECX_XSAVE)
        write_cr4(read_cr4() | CR4_OSXSAVE); // for XSETBV
    while (mine()->done < mine()->target) {
        do_one();
        if (below(16) == 0)
            take_pending();
    }
}

// ---- the bystander -----------------------------------------------------------------------------

#define PAGES 4u // of its memory, behind the one that Corbel reads

static const struct {
    u32 msr;
    u64 value;
} registers[] = {
    {IA32_STAR,               0x0123456789abcdef},
    {IA32_LSTAR,              0x00007fff12345678},
    {IA32_FMASK,              0x00000000deadbeef},
    {IA32_KERNEL_GS_BASE,     0xffff800012345678},
    {IA32_SYSENTER_EIP,       0xffff800087654321},
    {IA32_PAT,                0x0007010600070106},
    {IA32_MTRR_PHYSBASE0 + 4, 0x12345000 | 1    },
    {IA32_MISC_ENABLE,        0x1800            },
    {IA32_TSC_ADJUST,         0                 },
};

static const struct {
    u16 port;
    u8 value;
} ports[] = {
    {PIC1 + 1, 0x5a},
    {PIC2 + 1, 0xa5},
    {COM1 + 7, 0x3c}, // scratch register
    {COM1 + 3, 0x1b},
};

static u64 pattern(u64 index)
{
    return index * 0x9e3779b97f4a7c15 ^ 0x5555555555555555;
}

static void settle(void)
{
    u64 *memory = (u64 *)(rt_info->scratch + PAGE_SIZE);
    for (u64 i = 0; i < PAGES * PAGE_SIZE / 8; i++)
        memory[i] = pattern(i);
    for (unsigned i = 0; i < ARRAY_SIZE(registers); i++)
        wrmsr(registers[i].msr, registers[i].value);
    for (unsigned i = 0; i < ARRAY_SIZE(ports); i++)
        outb(ports[i].port, ports[i].value);
    __asm__ volatile("mov %0, %%dr0; mov %0, %%dr3" : : "r"(0x123456789abcull));
    lapic_write(APIC_LVT_LINT1, 0x10000 | 0x77);
    lapic_write(APIC_LVT_TIMER, BIT32(18) | 0x50);
}

static void look_around(void)
{
    const u64 *memory = (const u64 *)(rt_info->scratch + PAGE_SIZE);
    u64 dr0, dr3;
    for (u64 i = 0; i < PAGES * PAGE_SIZE / 8; i++)
        if (memory[i] != pattern(i))
            guest_fail(__FILE__, __LINE__, "memory", memory[i], pattern(i));
    for (unsigned i = 0; i < ARRAY_SIZE(registers); i++)
        G_EXPECT_EQ(rdmsr(registers[i].msr), registers[i].value);
    for (unsigned i = 0; i < ARRAY_SIZE(ports); i++)
        G_EXPECT_EQ(inb(ports[i].port), ports[i].value);
    __asm__ volatile("mov %%dr0, %0; mov %%dr3, %1" : "=r"(dr0), "=r"(dr3));
    G_EXPECT_EQ(dr0, 0x123456789abc);
    G_EXPECT_EQ(dr3, 0x123456789abc);
    G_EXPECT_EQ(lapic_read(APIC_LVT_LINT1), 0x10000 | 0x77);
    G_EXPECT_EQ(read_cr8(), 0);
    G_EXPECT_EQ(rdmsr(IA32_APIC_BASE), APIC_DEFAULT_BASE | 1 << 8 | 1 << 11);
}

// Sleeps and looks, until it is told that all is over or has waited a minute of its time.
GUEST_PART(hostile, looks_on)
{
    volatile struct bystander *me = (volatile struct bystander *)rt_info->scratch;
    u64 nap = rt_info->tsc_hz / 200;

    handle(0x50, 0x50, note_lapic);
    settle();
    while (!me->stop && me->rounds < 12000) {
        u64 due = rdtsc() + nap;
        wrmsr(IA32_TSC_DEADLINE, due);
        sti_hlt_cli();
        G_EXPECT_EQ(note_count, 1);
        note_count = 0;
        // Early never; late by what the other's longest operation takes.
        G_EXPECT_IN(notes[0].tsc, due, due + 4 * nap);
        look_around();
        me->rounds++;
    }
}
