// SPDX-License-Identifier: MIT
// Exceptions that go through Corbel, seen from the guest: #DB in all its forms, #AC.
#include "tests/guest/machine.h"

static u64 steps_dr6[EVENTS_MAX];
static u32 steps_wanted;

// Steps on until as many as wanted have been noted.
static void on_step(struct rt_frame *frame)
{
    if (event_count < EVENTS_MAX)
        steps_dr6[event_count] = read_dr6();
    note_event(frame);
    write_dr6(DR6_INIT);
    if (event_count >= steps_wanted)
        frame->flags &= ~RFLAGS_TF;
}

// TF counts an emulated instruction as it counts any other: once, after it.
GUEST_TEST(exits, single_step_counts_emulated_insns)
{
    u64 at[4];
    rt_set_handler(VEC_DB, on_step);
    steps_wanted = 4;
    write_dr6(DR6_INIT);
    __asm__ volatile("leaq 1f(%%rip), %%rax; movq %%rax, 0(%%rsi)\n\t"
                     "leaq 2f(%%rip), %%rax; movq %%rax, 8(%%rsi)\n\t"
                     "leaq 3f(%%rip), %%rax; movq %%rax, 16(%%rsi)\n\t"
                     "leaq 4f(%%rip), %%rax; movq %%rax, 24(%%rsi)\n\t"
                     "pushfq; orl $0x100, (%%rsp); popfq\n\t"
                     "cpuid\n"
                     "1: nop\n"
                     "2: outb %%al, $0x80\n"
                     "3: vmcall\n"
                     "4: nop"
                     :
                     : "S"(at)
                     : "rax", "rbx", "rcx", "rdx", "memory", "cc");
    G_EXPECT_EQ(event_count, 4);
    for (unsigned i = 0; i < 4; i++) {
        G_EXPECT_EQ(events[i].ip, at[i]);
        G_EXPECT_EQ(steps_dr6[i] & (DR6_BS | 0xf), DR6_BS);
    }
}

// REP is stepped by the element.
GUEST_TEST(exits, single_step_stops_at_each_string_element)
{
    u64 from = rt_info->scratch, count = 3, at, after;
    rt_set_handler(VEC_DB, on_step);
    steps_wanted = 4;
    __asm__ volatile("leaq 1f(%%rip), %2; leaq 2f(%%rip), %3\n\t"
                     "pushfq; orl $0x100, (%%rsp); popfq\n"
                     "1: rep outsb\n"
                     "2: nop; nop"
                     : "+S"(from), "+c"(count), "=&r"(at), "=&r"(after)
                     : "d"(0x80)
                     : "memory", "cc");
    G_EXPECT_EQ(count, 0);
    G_EXPECT_EQ(event_count, 4);
    G_EXPECT_EQ(events[0].ip, at);
    G_EXPECT_EQ(events[1].ip, at);
    G_EXPECT_EQ(events[2].ip, after);
    G_EXPECT_EQ(events[3].ip, after + 1);
}

// The step is due behind HLT, which does not wait then.
GUEST_TEST(exits, single_step_ends_hlt)
{
    u64 after;
    rt_set_handler(VEC_DB, on_step);
    steps_wanted = 1;
    __asm__ volatile("leaq 1f(%%rip), %0; pushfq; orl $0x100, (%%rsp); popfq; hlt\n1: nop"
                     : "=&r"(after)
                     :
                     : "memory", "cc");
    G_EXPECT_EQ(event_count, 1);
    G_EXPECT_EQ(events[0].ip, after);
}

// An emulated instruction that is stepped and raises an interrupt: both come behind it.
GUEST_TEST(exits, single_step_goes_before_an_interrupt)
{
    u64 after;
    rt_set_handler(VEC_DB, on_step);
    rt_set_handler(0x53, note_event);
    steps_wanted = 1;
    __asm__ volatile("leaq 1f(%%rip), %0; pushfq; orl $0x300, (%%rsp); popfq\n\t"
                     "movl %1, (%2)\n1: nop; cli"
                     : "=&r"(after)
                     : "r"(1u << 18 | 0x53), "r"(0xfee00000ull + APIC_ICR_LOW)
                     : "memory", "cc");
    G_EXPECT_EQ(event_count, 2);
    G_EXPECT_EQ(events[0].vector, VEC_DB);
    G_EXPECT_EQ(events[0].ip, after);
    G_EXPECT_EQ(events[1].vector, 0x53);
    G_EXPECT_EQ(events[1].ip, after);
}

static void set_dr0(u64 address, u64 dr7)
{
    __asm__ volatile("mov %0, %%dr0; mov %1, %%dr7" : : "r"(address), "r"(dr7));
}

static u64 read_dr7(void)
{
    u64 value;
    __asm__ volatile("mov %%dr7, %0" : "=r"(value));
    return value;
}

#define DR7_L0      BIT(0)
#define DR7_WRITE_8 (BIT(16) | 2ull << 18) // breakpoint 0: 8 bytes, written

GUEST_TEST(exits, data_breakpoint_is_a_trap)
{
    static volatile u64 watched ALIGNED(8);
    u64 after;
    rt_set_handler(VEC_DB, on_step);
    steps_wanted = 1;
    set_dr0((u64)&watched, DR7_INIT | DR7_L0 | DR7_WRITE_8);
    write_dr6(DR6_INIT);
    __asm__ volatile("leaq 1f(%%rip), %0; movq $77, (%1)\n1: nop"
                     : "=&r"(after)
                     : "r"(&watched)
                     : "memory");
    G_EXPECT_EQ(event_count, 1);
    G_EXPECT_EQ(events[0].ip, after);
    G_EXPECT_EQ(steps_dr6[0] & (DR6_BS | 0xf), 1);
    G_EXPECT_EQ(watched, 77);
    G_EXPECT_EQ(read_dr7() & 0xffff, DR7_INIT | DR7_L0); // still armed
    set_dr0(0, DR7_INIT);
}

static void on_breakpoint(struct rt_frame *frame)
{
    on_step(frame);
    frame->flags |= RFLAGS_RF; // past it
}

GUEST_TEST(exits, instruction_breakpoint_is_a_fault)
{
    u64 at;
    rt_set_handler(VEC_DB, on_breakpoint);
    steps_wanted = 1;
    write_dr6(DR6_INIT);
    __asm__ volatile("leaq 1f(%%rip), %0; mov %0, %%dr0; mov %1, %%dr7\n\t"
                     "nop\n1: nop; nop"
                     : "=&r"(at)
                     : "r"(DR7_INIT | DR7_L0)
                     : "memory");
    set_dr0(0, DR7_INIT);
    G_EXPECT_EQ(event_count, 1);
    G_EXPECT_EQ(events[0].ip, at);
    G_EXPECT_EQ(steps_dr6[0] & (DR6_BS | 0xf), 1);
}

GUEST_TEST(exits, icebp_is_delivered_after_itself)
{
    u64 after;
    rt_set_handler(VEC_DB, note_event);
    write_dr6(DR6_INIT);
    __asm__ volatile("leaq 1f(%%rip), %0; .byte 0xf1\n1: nop" : "=&r"(after) : : "memory");
    G_EXPECT_EQ(event_count, 1);
    G_EXPECT_EQ(events[0].ip, after);
    G_EXPECT_EQ(read_dr6() & (DR6_BS | 0xf), 0);
}

GUEST_TEST(exits, alignment_check_is_delivered)
{
    static const u8 code[] = {0x8b, 0x44, 0x24, 0xf1}; // MOV EAX, [RSP - 15]
    write_cr0(read_cr0() | CR0_AM);
    G_EXPECT_EQ(try_user_code(code, sizeof(code), RFLAGS_AC), VEC_AC);
    G_EXPECT_EQ(rt_caught.error, 0);
    G_EXPECT_EQ(try_user_code(code, sizeof(code), 0), VEC_UD);
}
