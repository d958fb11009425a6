// SPDX-License-Identifier: MIT
// Instructions on device memory, which Corbel decodes and does by hand. The register to try them on
// is the local APIC's initial count: all of its 32 bits are kept, and its timer stays masked. What
// an instruction does to it is what the CPU itself does to the same instruction on RAM.
#include "tests/guest/devices.h"

#define PAGE         0xfee00000ull
#define REGISTER     ((volatile u32 *)(PAGE + APIC_TMICT))
#define NOBODY       0xfed10000ull // neither RAM nor a device
#define SPACE_MEMORY 1

#define RAM_END 0x200000ull // of the first region, as boot/lab.h has it

static volatile u32 ram;

// ---- read, modify, write ------------------------------------------------------------------------

#define FLAGS_LOGIC (RFLAGS_CF | RFLAGS_PF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)
#define FLAGS_ALL   (FLAGS_LOGIC | RFLAGS_AF)

struct outcome {
    u64 reg, accumulator, flags;
    u32 memory;
};

// With carry set on entry, so that instructions that keep or use it show. %0 is the memory, %k1 the
// register.
#define FORM(name, insn)                                                                           \
    static void name(volatile u32 *at, struct outcome *o)                                          \
    {                                                                                              \
        u64 reg = o->reg, rax = o->accumulator, flags;                                             \
        __asm__ volatile("stc; " insn "; pushfq; popq %2"                                          \
                         : "+m"(*at), "+r"(reg), "=&r"(flags), "+a"(rax)                           \
                         :                                                                         \
                         : "memory", "cc");                                                        \
        *o = (struct outcome){.reg = reg, .accumulator = rax, .flags = flags, .memory = *at};      \
    }

FORM(or_reg, "orl %k1, %0")
FORM(and_reg, "lock andl %k1, %0")
FORM(xor_reg, "xorl %k1, %0")
FORM(add_reg, "lock addl %k1, %0")
FORM(sub_reg, "subl %k1, %0")
FORM(adc_reg, "adcl %k1, %0")
FORM(sbb_reg, "sbbl %k1, %0")
FORM(cmp_reg, "cmpl %k1, %0")
FORM(test_reg, "testl %k1, %0")
FORM(or_imm8, "orl $0x40, %0")
FORM(and_imm8, "andl $-0x10, %0")
FORM(add_imm32, "addl $0x7fffffff, %0")
FORM(cmp_imm32, "cmpl $0x80000000, %0")
FORM(test_imm32, "testl $0x80000001, %0")
FORM(inc, "incl %0")
FORM(dec, "lock decl %0")
FORM(not, "notl %0")
FORM(neg, "negl %0")
FORM(or_mem, "orl %0, %k1")
FORM(and_mem, "andl %0, %k1")
FORM(add_mem, "addl %0, %k1")
FORM(sub_mem, "subl %0, %k1")
FORM(cmp_mem, "cmpl %0, %k1")
FORM(and_byte, "andb %0, %b1")
FORM(add_word, "addw %0, %w1")
FORM(cmp_byte, "cmpb %b1, %0")
FORM(test_word, "testw %w1, %0")
FORM(xchg, "xchgl %k1, %0")
FORM(xadd, "lock xaddl %k1, %0")
FORM(cmpxchg, "lock cmpxchgl %k1, %0")
FORM(bt_imm, "btl $31, %0")
FORM(bts_imm, "lock btsl $4, %0")
FORM(btr_imm, "btrl $31, %0")
FORM(btc_imm, "btcl $0, %0")
FORM(mov_from, "movl %0, %k1")
FORM(mov_to, "movl %k1, %0")
FORM(mov_imm, "movl $0x89abcdef, %0")
FORM(movnti, "movntil %k1, %0")

static const struct form {
    const char *name;
    void (*run)(volatile u32 *at, struct outcome *o);
    u64 flags; // that are defined
} forms[] = {
#define ROW(name, flags)                                                                           \
    {                                                                                              \
#name, name, flags                                                                         \
    }
    ROW(or_reg, FLAGS_LOGIC),  ROW(and_reg, FLAGS_LOGIC),    ROW(xor_reg, FLAGS_LOGIC),
    ROW(add_reg, FLAGS_ALL),   ROW(sub_reg, FLAGS_ALL),      ROW(adc_reg, FLAGS_ALL),
    ROW(sbb_reg, FLAGS_ALL),   ROW(cmp_reg, FLAGS_ALL),      ROW(test_reg, FLAGS_LOGIC),
    ROW(or_imm8, FLAGS_LOGIC), ROW(and_imm8, FLAGS_LOGIC),   ROW(add_imm32, FLAGS_ALL),
    ROW(cmp_imm32, FLAGS_ALL), ROW(test_imm32, FLAGS_LOGIC), ROW(inc, FLAGS_ALL),
    ROW(dec, FLAGS_ALL),       ROW(not, FLAGS_ALL),          ROW(neg, FLAGS_ALL),
    ROW(or_mem, FLAGS_LOGIC),  ROW(and_mem, FLAGS_LOGIC),    ROW(add_mem, FLAGS_ALL),
    ROW(sub_mem, FLAGS_ALL),   ROW(cmp_mem, FLAGS_ALL),      ROW(and_byte, FLAGS_LOGIC),
    ROW(add_word, FLAGS_ALL),  ROW(cmp_byte, FLAGS_ALL),     ROW(test_word, FLAGS_LOGIC),
    ROW(xchg, FLAGS_ALL),      ROW(xadd, FLAGS_ALL),         ROW(cmpxchg, FLAGS_ALL),
    ROW(bt_imm, RFLAGS_CF),    ROW(bts_imm, RFLAGS_CF),      ROW(btr_imm, RFLAGS_CF),
    ROW(btc_imm, RFLAGS_CF),   ROW(mov_from, FLAGS_ALL),     ROW(mov_to, FLAGS_ALL),
    ROW(mov_imm, FLAGS_ALL),   ROW(movnti, FLAGS_ALL),
#undef ROW
};

static void compare(const struct form *form, u32 memory, u64 reg, u64 accumulator)
{
    struct outcome on_ram = {.reg = reg, .accumulator = accumulator}, on_device = on_ram;
    ram = memory;
    form->run(&ram, &on_ram);
    *REGISTER = memory;
    form->run(REGISTER, &on_device);
    u64 differs = (on_ram.memory ^ on_device.memory) | (on_ram.reg ^ on_device.reg) |
                  (on_ram.accumulator ^ on_device.accumulator) |
                  ((on_ram.flags ^ on_device.flags) & form->flags);
    if (differs)
        guest_fail(__FILE__, (int)(form - forms), form->name, differs, 0);
}

GUEST_TEST(mmio, forms_do_what_they_do_on_ram)
{
    static const u32 values[] = {0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0x12345678, 0x8000ff80};
    for (const struct form *form = forms; form < forms + ARRAY_SIZE(forms); form++)
        for (u32 i = 0; i < ARRAY_SIZE(values); i++) {
            u64 reg = 0xaaaaaaaa00000000ull | values[(i * 3 + 1) % ARRAY_SIZE(values)];
            compare(form, values[i], reg, values[i & 2 ? i : 0]);
        }
}

// ---- loads and stores ---------------------------------------------------------------------------

#define LOAD(insn, target, offset)                                                                 \
    ({                                                                                             \
        u64 value_ = 0x1122334455667788ull;                                                        \
        __asm__ volatile(insn " %1, " target                                                       \
                         : "+a"(value_)                                                            \
                         : "m"(*(u8 *)(PAGE + APIC_TMICT + (offset))));                            \
        value_;                                                                                    \
    })

GUEST_TEST(mmio, loads_of_every_width)
{
    *REGISTER = 0x81c2f384;
    G_EXPECT_EQ(LOAD("movb", "%b0", 0), 0x1122334455667784);
    G_EXPECT_EQ(LOAD("movb", "%b0", 1), 0x11223344556677f3);
    G_EXPECT_EQ(LOAD("movb", "%b0", 2), 0x11223344556677c2);
    G_EXPECT_EQ(LOAD("movb", "%b0", 3), 0x1122334455667781);
    G_EXPECT_EQ(LOAD("movb", "%h0", 3), 0x1122334455668188);
    G_EXPECT_EQ(LOAD("movw", "%w0", 0), 0x112233445566f384);
    G_EXPECT_EQ(LOAD("movw", "%w0", 2), 0x11223344556681c2);
    G_EXPECT_EQ(LOAD("movl", "%k0", 0), 0x81c2f384);
    // Beyond the four bytes of a register nothing is defined: Corbel gives 0.
    G_EXPECT_EQ(LOAD("movq", "%q0", 0), 0);
    G_EXPECT_EQ(LOAD("movl", "%k0", 2), 0);
    G_EXPECT_EQ(LOAD("movl", "%k0", 4), 0);
}

GUEST_TEST(mmio, loads_that_extend)
{
    *REGISTER = 0x81c2f384;
    G_EXPECT_EQ(LOAD("movzbw", "%w0", 0), 0x1122334455660084);
    G_EXPECT_EQ(LOAD("movzbl", "%k0", 1), 0xf3);
    G_EXPECT_EQ(LOAD("movzbq", "%q0", 2), 0xc2);
    G_EXPECT_EQ(LOAD("movzwl", "%k0", 0), 0xf384);
    G_EXPECT_EQ(LOAD("movzwq", "%q0", 2), 0x81c2);
    G_EXPECT_EQ(LOAD("movsbw", "%w0", 0), 0x112233445566ff84);
    G_EXPECT_EQ(LOAD("movsbl", "%k0", 1), 0xfffffff3);
    G_EXPECT_EQ(LOAD("movsbq", "%q0", 2), 0xffffffffffffffc2);
    G_EXPECT_EQ(LOAD("movswl", "%k0", 0), 0xfffff384);
    G_EXPECT_EQ(LOAD("movswq", "%q0", 2), 0xffffffffffff81c2);
    G_EXPECT_EQ(LOAD("movslq", "%q0", 0), 0xffffffff81c2f384);
    if (cpuid(1, 0).ecx & CPUID_1_ECX_MOVBE) {
        G_EXPECT_EQ(LOAD("movbel", "%k0", 0), 0x84f3c281);
        G_EXPECT_EQ(LOAD("movbew", "%w0", 0), 0x11223344556684f3);
    }
}

// The accumulator forms carry a 64-bit address in the instruction.
GUEST_TEST(mmio, moves_by_absolute_address)
{
    u64 value = 0x5a5a1234;
    __asm__ volatile("movabsl %%eax, 0xfee00380" : : "a"(value) : "memory");
    G_EXPECT_EQ(*REGISTER, 0x5a5a1234);
    *REGISTER = 0x81c2f384;
    __asm__ volatile("movabsl 0xfee00380, %%eax" : "+a"(value));
    G_EXPECT_EQ(value, 0x81c2f384);
    __asm__ volatile("movabsb 0xfee00381, %%al" : "+a"(value));
    G_EXPECT_EQ(value, 0x81c2f3f3);
}

// A local APIC takes aligned 32-bit stores; what others do is undefined, and in Corbel nothing. A
// CPU that virtualizes the registers stores those that lie within the register's four bytes.
GUEST_TEST(mmio, stores_of_other_widths_are_ignored)
{
    *REGISTER = 0x12345678;
    *(volatile u8 *)REGISTER = 0xff;
    G_EXPECT(*REGISTER == 0x12345678 || *REGISTER == 0x123456ff);
    *REGISTER = 0x12345678;
    *((volatile u8 *)REGISTER + 3) = 0xff;
    G_EXPECT(*REGISTER == 0x12345678 || *REGISTER == 0xff345678);
    *REGISTER = 0x12345678;
    *(volatile u16 *)REGISTER = 0xffff;
    G_EXPECT(*REGISTER == 0x12345678 || *REGISTER == 0x1234ffff);
    *REGISTER = 0x12345678;
    *(volatile u64 *)REGISTER = ~0ull;
    *(volatile u32 *)(PAGE + APIC_TMICT + 2) = ~0u;
    *(volatile u32 *)(PAGE + APIC_TMICT + 4) = ~0u;
    G_EXPECT_EQ(*REGISTER, 0x12345678);
    u64 value = 0xffeeddccbbaa9988;
    __asm__ volatile("movl %k0, %1" : : "r"(value), "m"(*REGISTER) : "memory");
    G_EXPECT_EQ(*REGISTER, 0xbbaa9988);
}

// ---- addresses ----------------------------------------------------------------------------------

#define FROM(operand, ...)                                                                         \
    ({                                                                                             \
        u64 value_;                                                                                \
        __asm__ volatile("movl " operand ", %k0" : "=&a"(value_) : __VA_ARGS__ : "memory");        \
        value_;                                                                                    \
    })

GUEST_TEST(mmio, every_form_of_address)
{
    register u64 r12 __asm__("r12") = PAGE, r13 __asm__("r13") = PAGE + APIC_TMICT;
    const u32 want = 0x6b8b4567;
    *REGISTER = want;
    G_EXPECT_EQ(FROM("0x380(%1)", "r"(PAGE)), want);
    G_EXPECT_EQ(FROM("-0x7c(%1)", "r"(PAGE + 0x3fc)), want);
    G_EXPECT_EQ(FROM("0x380(%1)", "r"(r12)), want); // needs a SIB byte
    G_EXPECT_EQ(FROM("(%1)", "r"(r13)), want);      // needs a displacement
    G_EXPECT_EQ(FROM("(%1, %2)", "r"(PAGE), "r"(0x380ull)), want);
    G_EXPECT_EQ(FROM("0x80(%1, %2, 8)", "r"(PAGE), "r"(0x60ull)), want);
    G_EXPECT_EQ(FROM("0x100(%1, %2, 4)", "r"(r12), "r"(0xa0ull)), want);
    G_EXPECT_EQ(FROM("0x380(, %1, 2)", "r"(PAGE / 2)), want);
    // 32-bit addresses wrap and drop what is above.
    G_EXPECT_EQ(FROM("0x380(%k1)", "r"(0xabcd00000000ull | PAGE)), want);
}

// mov dword [eip + d], 76543210H; ret. In 64 bits a displacement does not reach from here.
GUEST_TEST(mmio, address_relative_to_eip)
{
    static u8 code[] = {0x67, 0xc7, 0x05, 0, 0, 0, 0, 0x10, 0x32, 0x54, 0x76, 0xc3};
    u32 displacement = (u32)(PAGE + APIC_TMICT) - (u32)(u64)(code + 11);
    __builtin_memcpy(code + 3, &displacement, sizeof(displacement));
    ((void (*)(void))code)();
    G_EXPECT_EQ(*REGISTER, 0x76543210);
}

GUEST_TEST(mmio, segment_bases_count)
{
    *REGISTER = 0x2468ace0;
    wrmsr(IA32_FS_BASE, PAGE);
    wrmsr(IA32_GS_BASE, PAGE + 0x400);
    u64 fs, gs;
    __asm__ volatile("movl %%fs:0x380, %k0; movl %%gs:-0x80, %k1" : "=r"(fs), "=r"(gs));
    G_EXPECT_EQ(fs, 0x2468ace0);
    G_EXPECT_EQ(gs, 0x2468ace0);
}

// ---- the stack and strings ----------------------------------------------------------------------

GUEST_TEST(mmio, push_and_pop)
{
    u64 got;
    *REGISTER = 0x13572468;
    __asm__ volatile("pushw %1; movzwl (%%rsp), %k0; leaq 2(%%rsp), %%rsp"
                     : "=&r"(got)
                     : "m"(*REGISTER)
                     : "memory");
    G_EXPECT_EQ(got, 0x2468);
    __asm__ volatile("pushq %1; popq %0" : "=&r"(got) : "m"(*(u64 *)NOBODY) : "memory");
    G_EXPECT_EQ(got, ~0ull);
    u64 before, after; // POP to device memory moves RSP like any other
    __asm__ volatile("movq %%rsp, %0; pushq $0; popq %2; movq %%rsp, %1"
                     : "=&r"(before), "=&r"(after)
                     : "m"(*REGISTER)
                     : "memory");
    G_EXPECT_EQ(after, before);
}

struct string {
    u64 si, di, cx, ax, flags;
};

#define STRING(insn, s)                                                                            \
    __asm__ volatile(insn "; pushfq; popq %4; cld"                                                 \
                     : "+S"((s)->si), "+D"((s)->di), "+c"((s)->cx), "+a"((s)->ax),                 \
                       "=r"((s)->flags)                                                            \
                     :                                                                             \
                     : "memory", "cc")

GUEST_TEST(mmio, movs_both_ways)
{
    u32 words[2] = {0x11112222, 0};
    struct string s = {.si = (u64)words, .di = PAGE + APIC_TMICT};
    STRING("movsl", &s);
    G_EXPECT_EQ(*REGISTER, 0x11112222);
    G_EXPECT_EQ(s.si, (u64)(words + 1));
    G_EXPECT_EQ(s.di, PAGE + APIC_TMICT + 4);
    s = (struct string){.si = PAGE + APIC_TMICT, .di = (u64)(words + 1)};
    STRING("std; movsl", &s);
    G_EXPECT_EQ(words[1], 0x11112222);
    G_EXPECT_EQ(s.si, PAGE + APIC_TMICT - 4);
    G_EXPECT_EQ(s.di, (u64)words);
}

// More elements than one exit does.
GUEST_TEST(mmio, rep_movs_from_nobody)
{
    u8 *buffer = (u8 *)rt_info->scratch;
    buffer[1000] = 0x77;
    struct string s = {.si = NOBODY, .di = (u64)buffer, .cx = 1000};
    STRING("rep movsb", &s);
    G_EXPECT_EQ(s.cx, 0);
    G_EXPECT_EQ(s.si, NOBODY + 1000);
    G_EXPECT_EQ(s.di, (u64)buffer + 1000);
    for (u32 i = 0; i < 1000; i++)
        G_EXPECT_EQ(buffer[i], 0xff);
    G_EXPECT_EQ(buffer[1000], 0x77);
    s = (struct string){.si = NOBODY, .di = NOBODY};
    STRING("rep movsb", &s);
    G_EXPECT_EQ(s.si, NOBODY);
}

GUEST_TEST(mmio, stos_and_lods)
{
    struct string s = {.di = PAGE + APIC_TMICT, .ax = 0xabcdef01};
    STRING("stosl", &s);
    G_EXPECT_EQ(*REGISTER, 0xabcdef01);
    G_EXPECT_EQ(s.di, PAGE + APIC_TMICT + 4);
    s = (struct string){.si = PAGE + APIC_TMICT, .ax = ~0ull};
    STRING("lodsl", &s);
    G_EXPECT_EQ(s.ax, 0xabcdef01);
    G_EXPECT_EQ(s.si, PAGE + APIC_TMICT + 4);
    s = (struct string){.di = PAGE + APIC_TMICT, .cx = 3, .ax = 0x33};
    STRING("rep stosl", &s); // the register, then two that ignore it
    G_EXPECT_EQ(*REGISTER, 0x33);
    G_EXPECT_EQ(s.di, PAGE + APIC_TMICT + 12);
    G_EXPECT_EQ(s.cx, 0);
}

GUEST_TEST(mmio, scas_and_cmps_stop_where_they_should)
{
    struct string s = {.di = NOBODY, .cx = 10, .ax = 0xff};
    STRING("repne scasb", &s); // found at once
    G_EXPECT_EQ(s.cx, 9);
    G_EXPECT_EQ(s.flags & RFLAGS_ZF, RFLAGS_ZF);
    s = (struct string){.di = NOBODY, .cx = 10, .ax = 0xff};
    STRING("repe scasb", &s); // never unequal
    G_EXPECT_EQ(s.cx, 0);
    G_EXPECT_EQ(s.di, NOBODY + 10);
    u32 words[3] = {~0u, ~0u, 5};
    s = (struct string){.si = (u64)words, .di = NOBODY, .cx = 3};
    STRING("repe cmpsl", &s);
    G_EXPECT_EQ(s.cx, 0);
    G_EXPECT_EQ(s.flags & (RFLAGS_ZF | RFLAGS_CF), RFLAGS_CF);
}

// ---- nobody's memory, and where it begins -------------------------------------------------------

GUEST_PART(mmio, unclaimed_accesses_are_counted)
{
    u64 before = vmcall(WORLD_UNCLAIMED, SPACE_MEMORY);
    G_EXPECT_EQ(*(volatile u8 *)NOBODY, 0xff);
    G_EXPECT_EQ(*(volatile u16 *)(NOBODY + 1), 0xffff);
    G_EXPECT_EQ(*(volatile u32 *)(NOBODY + 2), 0xffffffff);
    G_EXPECT_EQ(*(volatile u64 *)(NOBODY + 3), ~0ull);
    *(volatile u32 *)NOBODY = 0;
    G_EXPECT_EQ(*(volatile u32 *)NOBODY, 0xffffffff);
    xapic_read(APIC_ID); // somebody's
    G_EXPECT_EQ(vmcall(WORLD_UNCLAIMED, SPACE_MEMORY) - before, 6);
}

// One access, half in RAM and half beyond its end.
GUEST_TEST(mmio, access_across_the_end_of_ram)
{
    volatile u16 *last = (u16 *)(RAM_END - 2);
    volatile u32 *across = (u32 *)(RAM_END - 2);
    *last = 0x1234;
    G_EXPECT_EQ(*across, 0xffff1234);
    *across = 0xaaaa5678;
    G_EXPECT_EQ(*last, 0x5678);
    __asm__ volatile("addl $0x11, %0" : "+m"(*across));
    G_EXPECT_EQ(*last, 0x5689);
}

GUEST_TEST(mmio, access_across_two_devices_pages)
{
    // The last two bytes of the local APIC's page are no register and read 0.
    G_EXPECT_EQ(*(volatile u32 *)(PAGE + 0xffe), 0xffff0000);
}

// ---- faults of the instruction's other operand --------------------------------------------------

static struct string moved;

static void do_movs(uintptr_t unused)
{
    (void)unused;
    __asm__ volatile("movsq" : "+S"(moved.si), "+D"(moved.di) : : "memory");
}

GUEST_TEST(mmio, page_fault_of_the_other_operand)
{
    moved = (struct string){.si = NOBODY, .di = BIT(32) + 0x123}; // unmapped
    G_EXPECT_EQ(rt_try(do_movs, 0), 14);
    G_EXPECT_EQ(rt_caught.error, 2); // a write
    G_EXPECT_EQ(read_cr2(), BIT(32) + 0x123);
    moved = (struct string){.si = BIT(32) + 0x456, .di = NOBODY};
    G_EXPECT_EQ(rt_try(do_movs, 0), 14);
    G_EXPECT_EQ(rt_caught.error, 0);
    G_EXPECT_EQ(read_cr2(), BIT(32) + 0x456);
}

GUEST_TEST(mmio, non_canonical_other_operand_is_gp)
{
    moved = (struct string){.si = NOBODY, .di = BIT(63)};
    G_EXPECT_EQ(rt_try(do_movs, 0), 13);
    G_EXPECT_EQ(rt_caught.error, 0);
}
