// SPDX-License-Identifier: MIT
// Events that Corbel delivers: where they interrupt, in which order, and what holds them back.
#include "tests/guest/machine.h"

struct PACKED table_register {
    u16 limit;
    u64 base;
};

static struct table_register sidt(void)
{
    struct table_register r;
    __asm__ volatile("sidt %0" : "=m"(r));
    return r;
}

static struct table_register sgdt(void)
{
    struct table_register r;
    __asm__ volatile("sgdt %0" : "=m"(r));
    return r;
}

// Makes the IDT's gate not present: its use is #NP.
static void break_gate(u8 vector)
{
    u8 *gate = (u8 *)sidt().base + 16 * vector;
    gate[5] &= 0x7f;
}

// ---- exceptions --------------------------------------------------------------------------------

GUEST_TEST(inject, gp_of_wrmsr_is_at_the_instruction)
{
    G_EXPECT_EQ(try_wrmsr(IA32_VMX_BASIC, 0), VEC_GP);
    G_EXPECT_EQ(rt_caught.error, 0);
    G_EXPECT_EQ(*(u16 *)rt_caught.ip, 0x300f); // 0F 30
    G_EXPECT(rt_caught.flags & RFLAGS_RF);     // as every fault's handler finds it
}

GUEST_TEST(inject, contributory_faults_are_a_double_fault)
{
    break_gate(VEC_GP);
    G_EXPECT_EQ(try_wrmsr(IA32_VMX_BASIC, 0), VEC_DF);
    G_EXPECT_EQ(rt_caught.error, 0);
    G_EXPECT_EQ(*(u16 *)rt_caught.ip, 0x300f);
}

static void outs_from_nowhere(uintptr_t arg)
{
    __asm__ volatile("outsb" : "+S"(arg) : "d"(0x80) : "memory");
}

// The page fault is Corbel's, found by its own walk.
GUEST_TEST(inject, page_fault_of_outs_tells_cr2)
{
    *pte_of(WINDOW + 0x3000) = 0;
    G_EXPECT_EQ(rt_try(outs_from_nowhere, WINDOW + 0x3123), VEC_PF);
    G_EXPECT_EQ(rt_caught.error, 0);
    G_EXPECT_EQ(read_cr2(), WINDOW + 0x3123);
}

GUEST_TEST(inject, page_fault_then_np_is_a_double_fault)
{
    *pte_of(WINDOW + 0x3000) = 0;
    break_gate(VEC_PF);
    G_EXPECT_EQ(rt_try(outs_from_nowhere, WINDOW + 0x3123), VEC_DF);
    G_EXPECT_EQ(read_cr2(), WINDOW + 0x3123);
}

// #UD is benign: the fault of its delivery comes alone, with the gate in its error code.
GUEST_TEST(inject, benign_fault_then_np_is_np)
{
    static const u8 vmxoff[] = {0x0f, 0x01, 0xc4};
    break_gate(VEC_UD);
    G_EXPECT_EQ(try_code(vmxoff, sizeof(vmxoff)), VEC_NP);
    G_EXPECT_EQ(rt_caught.error & ~1ull, VEC_UD << 3 | 2); // IDT; bit 0 says during delivery
}

GUEST_PART(inject, three_faults_are_the_end)
{
    break_gate(VEC_GP);
    break_gate(VEC_DF);
    try_wrmsr(IA32_VMX_BASIC, 0);
}

GUEST_PART(inject, fault_while_a_fault_is_delivered)
{
    G_EXPECT_EQ(try_wrmsr(IA32_VMX_BASIC, 0), VEC_DF);
    G_EXPECT_EQ(rt_caught.error, 0);
}

// ---- interrupts --------------------------------------------------------------------------------

static void spin(unsigned times)
{
    for (volatile unsigned i = 0; i < times; i++)
        ;
}

GUEST_PART(inject, interrupt_waits_for_sti)
{
    u64 after;
    rt_set_handler(0x52, note_event);
    self_ipi(0x52);
    spin(1000);
    (void)cpuid(0, 0); // an exit is no reason either
    G_EXPECT_EQ(event_count, 0);
    // STI holds it back for one instruction.
    __asm__ volatile("leaq 1f(%%rip), %0; sti; nop\n1: nop; cli" : "=&r"(after) : : "memory");
    G_EXPECT_EQ(event_count, 1);
    G_EXPECT_EQ(events[0].vector, 0x52);
    G_EXPECT_EQ(events[0].ip, after);
    G_EXPECT(events[0].rflags & RFLAGS_IF);
}

GUEST_TEST(inject, sti_and_cli_let_nothing_in)
{
    rt_set_handler(0x52, note_event);
    self_ipi(0x52);
    for (unsigned i = 0; i < 100; i++)
        __asm__ volatile("sti; cli" : : : "memory");
    G_EXPECT_EQ(event_count, 0);
    __asm__ volatile("sti; nop; cli" : : : "memory");
    G_EXPECT_EQ(event_count, 1);
}

// The write to the ICR exits and is emulated: the interrupt comes right behind it.
static u64 send_from_here(bool in_shadow)
{
    u64 after;
    u16 ss;
    __asm__ volatile("mov %%ss, %0" : "=r"(ss));
    if (in_shadow)
        __asm__ volatile("leaq 1f(%%rip), %0; sti; nop; mov %w1, %%ss; movl %2, (%3)\n1: cli"
                         : "=&r"(after)
                         : "r"(ss), "r"(1u << 18 | 0x53), "r"(0xfee00000ull + APIC_ICR_LOW)
                         : "memory");
    else
        __asm__ volatile("leaq 1f(%%rip), %0; sti; nop; movl %1, (%2)\n1: cli"
                         : "=&r"(after)
                         : "r"(1u << 18 | 0x53), "r"(0xfee00000ull + APIC_ICR_LOW)
                         : "memory");
    return after;
}

GUEST_TEST(inject, interrupt_comes_right_after_its_cause)
{
    rt_set_handler(0x53, note_event);
    u64 after = send_from_here(false);
    G_EXPECT_EQ(event_count, 1);
    G_EXPECT_EQ(events[0].ip, after);
    after = send_from_here(true); // MOV SS holds nothing back beyond that instruction
    G_EXPECT_EQ(event_count, 2);
    G_EXPECT_EQ(events[1].ip, after);
}

GUEST_TEST(inject, highest_vector_goes_first)
{
    static const u8 sent[] = {0x51, 0x93, 0x62, 0xef, 0x92},
                    order[] = {0xef, 0x93, 0x92, 0x62, 0x51};
    u64 after;
    for (unsigned i = 0; i < ARRAY_SIZE(sent); i++) {
        rt_set_handler(sent[i], note_event);
        self_ipi(sent[i]);
    }
    __asm__ volatile("leaq 1f(%%rip), %0; sti; nop\n1: nop; cli" : "=&r"(after) : : "memory");
    G_EXPECT_EQ(event_count, ARRAY_SIZE(order));
    for (unsigned i = 0; i < ARRAY_SIZE(order); i++) {
        G_EXPECT_EQ(events[i].vector, order[i]);
        G_EXPECT_EQ(events[i].ip, after); // no instruction between them
    }
}

GUEST_TEST(inject, cr8_holds_back_and_lets_go)
{
    u64 after;
    rt_set_handler(0x52, note_event);
    write_cr8(5);
    __asm__ volatile("sti; nop" : : : "memory");
    self_ipi(0x52);
    spin(100);
    G_EXPECT_EQ(event_count, 0);
    __asm__ volatile("leaq 1f(%%rip), %0; mov %1, %%cr8\n1: cli"
                     : "=&r"(after)
                     : "r"(4ull)
                     : "memory");
    G_EXPECT_EQ(event_count, 1);
    G_EXPECT_EQ(events[0].ip, after);
}

// Corbel's half raises the interrupt on the first exit of OUT, which must come again, and only then
// is the shadow over.
GUEST_PART(inject, shadow_of_sti_outlasts_an_exit)
{
    u64 after;
    rt_set_handler(0x54, note_event);
    __asm__ volatile("leaq 1f(%%rip), %0; sti; outb %%al, $0x80\n1: nop; cli"
                     : "=&r"(after)
                     :
                     : "memory");
    G_EXPECT_EQ(event_count, 1);
    G_EXPECT_EQ(events[0].ip, after);
}

GUEST_PART(inject, shadow_of_mov_ss_outlasts_an_exit)
{
    u64 after;
    u16 ss;
    rt_set_handler(0x54, note_event);
    __asm__ volatile("mov %%ss, %1; leaq 1f(%%rip), %0; sti; nop; nop\n\t"
                     "mov %1, %%ss; outb %%al, $0x80\n1: nop; cli"
                     : "=&r"(after), "=&r"(ss)
                     :
                     : "memory");
    G_EXPECT_EQ(event_count, 1);
    G_EXPECT_EQ(events[0].ip, after);
}

static void init_pic(void)
{
    static const struct {
        u16 port;
        u8 value;
    } words[] = {
        {0x20, 0x11},
        {0x21, 0x20},
        {0x21, 4   },
        {0x21, 1   },
        {0x21, 0xf7}, // IRQ 3 only
    };
    for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
        outb(words[i].port, words[i].value);
}

GUEST_PART(inject, pic_goes_before_the_local_apic)
{
    rt_set_handler(0x23, note_event);
    rt_set_handler(0xf1, note_event);
    init_pic();
    self_ipi(0xf1);
    vmcall(CALL_IRQ, 3);
    spin(100);
    G_EXPECT_EQ(event_count, 0);
    __asm__ volatile("sti; nop; nop; cli" : : : "memory");
    G_EXPECT_EQ(event_count, 2);
    G_EXPECT_EQ(events[0].vector, 0x23);
    G_EXPECT_EQ(events[1].vector, 0xf1);
}

// ---- NMIs --------------------------------------------------------------------------------------

static u64 nmi_from_here(void)
{
    u64 after;
    __asm__ volatile("leaq 1f(%%rip), %0; vmcall\n1: nop"
                     : "=&r"(after)
                     : "a"(CALL_NMI)
                     : "memory");
    return after;
}

GUEST_PART(inject, nmi_comes_with_interrupts_off)
{
    rt_set_handler(VEC_NMI, note_event);
    u64 after = nmi_from_here();
    G_EXPECT_EQ(event_count, 1);
    G_EXPECT_EQ(events[0].ip, after);
    G_EXPECT_EQ(events[0].rflags & RFLAGS_IF, 0);
    after = nmi_from_here();
    G_EXPECT_EQ(event_count, 2);
    G_EXPECT_EQ(events[1].ip, after);
}

static u32 count_inside;

static void nmi_within(struct rt_frame *frame)
{
    note_event(frame);
    if (event_count == 1) {
        nmi_from_here();
        nmi_from_here();
        spin(100);
        count_inside = event_count;
    }
}

// One waits, and only one, until IRET.
GUEST_PART(inject, nmi_waits_for_iret)
{
    rt_set_handler(VEC_NMI, nmi_within);
    u64 after = nmi_from_here();
    G_EXPECT_EQ(count_inside, 1);
    G_EXPECT_EQ(event_count, 2);
    G_EXPECT_EQ(events[0].ip, after);
    G_EXPECT_EQ(events[1].ip, after);
}

GUEST_PART(inject, nmi_ends_hlt)
{
    u64 after;
    rt_set_handler(VEC_NMI, note_event);
    __asm__ volatile("leaq 1f(%%rip), %0; hlt\n1: nop" : "=&r"(after) : : "memory");
    G_EXPECT_EQ(event_count, 1);
    G_EXPECT_EQ(events[0].ip, after);
}

GUEST_PART(inject, masked_interrupts_do_not_end_hlt)
{
    rt_set_handler(0x52, note_event);
    self_ipi(0x52);
    __asm__ volatile("hlt" : : : "memory");
    rt_exit(GUEST_TEST_FAILED);
}

// ---- delivery through memory that is not mapped yet --------------------------------------------

#define LAZY_IDT   WINDOW
#define LAZY_GDT   (WINDOW + 0x1000)
#define LAZY_STACK (WINDOW + 0x2000)

static void forget(u64 gpa)
{
    G_EXPECT_EQ(vmcall(CALL_FORGET, gpa), 0);
}

// IDT, GDT and a stack in pages of their own, which every event from now on touches first.
static void prepare(u8 vector, rt_handler handler)
{
    struct table_register idtr = sidt(), gdtr = sgdt();
    for (u64 i = 0; i < 3; i++)
        map_page(WINDOW + i * PAGE_SIZE, LAZY + i * PAGE_SIZE, PTE_P | PTE_W);
    __builtin_memcpy((void *)LAZY_IDT, (void *)idtr.base, idtr.limit + 1u);
    __builtin_memcpy((void *)LAZY_GDT, (void *)gdtr.base, gdtr.limit + 1u);
    *(volatile u64 *)LAZY_STACK = 0;
    idtr.base = LAZY_IDT;
    gdtr.base = LAZY_GDT;
    __asm__ volatile("lidt %0; lgdt %1" : : "m"(idtr), "m"(gdtr));
    rt_set_handler(vector, handler);
    for (u64 i = 0; i < 3; i++)
        forget(LAZY + i * PAGE_SIZE);
}

// The instructions on the new stack; where the first of them and the one behind the last are.
static u64 at, after, old_rsp;
#define ON_LAZY_STACK(insns, ...)                                                                  \
    __asm__ volatile("leaq 1f(%%rip), %%r8; movq %%r8, %0; leaq 2f(%%rip), %%r8\n\t"               \
                     "movq %%r8, %1; movq %%rsp, %2; movq %3, %%rsp\n"                             \
                     "1: " insns "\n"                                                              \
                     "2: movq %2, %%rsp"                                                           \
                     : "=m"(at), "=m"(after), "+m"(old_rsp)                                        \
                     : "r"(LAZY_STACK + PAGE_SIZE), ##__VA_ARGS__                                  \
                     : "r8", "memory", "cc")

static void expect_once(u64 vector, u64 ip)
{
    G_EXPECT_EQ(event_count, 1);
    G_EXPECT_EQ(events[0].vector, vector);
    G_EXPECT_EQ(events[0].ip, ip);
}

static void note_and_skip_two(struct rt_frame *frame)
{
    note_event(frame);
    frame->ip += 2;
}

GUEST_PART(inject, software_interrupt_through_lazy_memory)
{
    prepare(0x3c, note_event);
    ON_LAZY_STACK("int $0x3c");
    expect_once(0x3c, after);
}

GUEST_PART(inject, breakpoint_through_lazy_memory)
{
    prepare(VEC_BP, note_event);
    ON_LAZY_STACK("int3");
    expect_once(VEC_BP, after);
}

GUEST_PART(inject, icebp_through_lazy_memory)
{
    prepare(VEC_DB, note_event);
    ON_LAZY_STACK(".byte 0xf1");
    expect_once(VEC_DB, after);
}

GUEST_PART(inject, interrupt_through_lazy_memory)
{
    prepare(0x55, note_event);
    self_ipi(0x55);
    ON_LAZY_STACK("sti; nop; nop; cli");
    expect_once(0x55, at + 2);
    // It was accepted once: nothing is in service, and the next one comes.
    G_EXPECT_EQ(xapic_read(APIC_ISR + 0x20), 0);
    __asm__ volatile("sti; nop; cli" : : : "memory");
    G_EXPECT_EQ(event_count, 1);
}

GUEST_PART(inject, own_exception_through_lazy_memory)
{
    prepare(VEC_UD, note_and_skip_two); // the CPU raises it, without an exit
    ON_LAZY_STACK("ud2");
    expect_once(VEC_UD, at);
}

GUEST_PART(inject, page_fault_through_lazy_memory)
{
    *pte_of(WINDOW + 0x5000) = 0;
    prepare(VEC_PF, note_and_skip_two);
    ON_LAZY_STACK("movb %%al, (%%rdx)", "d"(WINDOW + 0x5678));
    expect_once(VEC_PF, at);
    G_EXPECT_EQ(events[0].error, PFEC_W);
    G_EXPECT_EQ(read_cr2(), WINDOW + 0x5678);
}

GUEST_PART(inject, injected_exception_through_lazy_memory)
{
    prepare(VEC_GP, note_and_skip_two);
    ON_LAZY_STACK("rdmsr", "c"(IA32_VMX_BASIC));
    expect_once(VEC_GP, at);
    G_EXPECT_EQ(events[0].error, 0);
}

GUEST_PART(inject, nmi_through_lazy_memory)
{
    prepare(VEC_NMI, note_event);
    ON_LAZY_STACK("vmcall", "a"(CALL_NMI));
    expect_once(VEC_NMI, after);
    nmi_from_here(); // and it is over
    G_EXPECT_EQ(event_count, 2);
}
