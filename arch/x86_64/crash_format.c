// SPDX-License-Identifier: MIT
#include "arch/x86_64/crash_format.h"

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/fmt.h"
#include "arch/x86_64/regs/cr.h"
#include "arch/x86_64/symbols.h"

typedef unsigned long long ull;

struct text {
    char *buf;
    size_t size;
    size_t length; // without the terminator, always below size
};

static void add(struct text *text, const char *format, ...) PRINTF_LIKE(2, 3);
static void add(struct text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    size_t room = text->size - text->length;
    size_t wanted = (size_t)fmt_vsnprintf(text->buf + text->length, room, format, args);
    va_end(args);
    text->length += wanted < room ? wanted : room - 1;
}

// SDM volume 3, "Protected-Mode Exceptions and Interrupts".
static const struct {
    const char *mnemonic, *name;
} vectors[] = {
    [VEC_DE] = {"#DE", "divide error"                 },
    [VEC_DB] = {"#DB", "debug exception"              },
    [VEC_NMI] = {"NMI", "non-maskable interrupt"       },
    [VEC_BP] = {"#BP", "breakpoint"                   },
    [VEC_OF] = {"#OF", "overflow"                     },
    [VEC_BR] = {"#BR", "bound range exceeded"         },
    [VEC_UD] = {"#UD", "invalid opcode"               },
    [VEC_NM] = {"#NM", "device not available"         },
    [VEC_DF] = {"#DF", "double fault"                 },
    [VEC_CSO] = {"-",   "coprocessor segment overrun"  },
    [VEC_TS] = {"#TS", "invalid TSS"                  },
    [VEC_NP] = {"#NP", "segment not present"          },
    [VEC_SS] = {"#SS", "stack-segment fault"          },
    [VEC_GP] = {"#GP", "general protection"           },
    [VEC_PF] = {"#PF", "page fault"                   },
    [VEC_MF] = {"#MF", "x87 floating-point error"     },
    [VEC_AC] = {"#AC", "alignment check"              },
    [VEC_MC] = {"#MC", "machine check"                },
    [VEC_XM] = {"#XM", "SIMD floating-point exception"},
    [VEC_VE] = {"#VE", "virtualization exception"     },
    [VEC_CP] = {"#CP", "control protection exception" },
};

static void add_vector(struct text *text, u64 vector)
{
    if (vector < ARRAY_SIZE(vectors) && vectors[vector].name)
        add(text, "%s %s (vector %llu", vectors[vector].mnemonic, vectors[vector].name,
            (ull)vector);
    else
        add(text, "%s (vector %llu", vector < 32 ? "reserved" : "unexpected interrupt",
            (ull)vector);
}

// SDM volume 3, "Page-Fault Error Code".
static void explain_page_fault(struct text *text, u64 error, u64 cr2)
{
    const char *access = error & PFEC_I ? "instruction fetch" : error & PFEC_W ? "write" : "read";
    const char *why = error & PFEC_R    ? "a table has a reserved bit"
                      : error & PFEC_PK ? "its protection key forbids it"
                      : error & PFEC_P  ? "its rights forbid it"
                                        : "it is not mapped";
    add(text, "%s%s at %016llx: %s\n", error & PFEC_U ? "user-mode " : "", access, (ull)cr2, why);
}

// SDM volume 3, "Error Code": a selector, and how it was used.
static void explain_selector(struct text *text, u64 error)
{
    if (error & 2)
        add(text, "IDT entry %llu", (ull)bits_get(error, 15, 3));
    else
        add(text, "selector %04llx in the %s", (ull)(error & 0xfff8), error & 4 ? "LDT" : "GDT");
    add(text, error & 1 ? ", while delivering an external event\n" : "\n");
}

static bool has_selector_error(u64 vector)
{
    return vector >= VEC_TS && vector <= VEC_GP;
}

static bool has_error_code(u64 vector)
{
    return has_selector_error(vector) || vector == VEC_DF || vector == VEC_PF || vector == VEC_AC ||
           vector == VEC_CP;
}

static void add_exception(struct text *text, const struct crash_info *info)
{
    u64 vector = info->frame->vector, error = info->frame->error;
    add_vector(text, vector);
    if (has_error_code(vector))
        add(text, ", error code %04llx", (ull)error);
    add(text, ")\n");
    if (vector == VEC_PF)
        explain_page_fault(text, error, info->cr2);
    else if (has_selector_error(vector) && error)
        explain_selector(text, error);
    else if (vector == VEC_DF && info->in_guard) // the page fault had no room for its own frame
        add(text, "a stack ran over its end at %016llx\n", (ull)info->cr2);
}

static void add_registers(struct text *text, const struct trap_frame *f)
{
    const struct {
        const char *name;
        u64 value;
    } rows[] = {
        {"rax", f->rax},
        {"rbx", f->rbx},
        {"rcx", f->rcx},
        {"rdx", f->rdx},
        {"rsi", f->rsi},
        {"rdi", f->rdi},
        {"rbp", f->rbp},
        {"rsp", f->rsp},
        {"r8 ", f->r8 },
        {"r9 ", f->r9 },
        {"r10", f->r10},
        {"r11", f->r11},
        {"r12", f->r12},
        {"r13", f->r13},
        {"r14", f->r14},
        {"r15", f->r15},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        add(text, "%s %016llx%s", rows[i].name, (ull)rows[i].value, i % 3 == 2 ? "\n" : "  ");
    add(text, "cs %04llx  ss %04llx\n", (ull)f->cs, (ull)f->ss);
}

static void add_rflags(struct text *text, u64 rflags)
{
    static const struct {
        u64 bit;
        const char *name;
    } flags[] = {
        {RFLAGS_ID,  "ID" },
        {RFLAGS_VIP, "VIP"},
        {RFLAGS_VIF, "VIF"},
        {RFLAGS_AC,  "AC" },
        {RFLAGS_VM,  "VM" },
        {RFLAGS_RF,  "RF" },
        {RFLAGS_NT,  "NT" },
        {RFLAGS_OF,  "OF" },
        {RFLAGS_DF,  "DF" },
        {RFLAGS_IF,  "IF" },
        {RFLAGS_TF,  "TF" },
        {RFLAGS_SF,  "SF" },
        {RFLAGS_ZF,  "ZF" },
        {RFLAGS_AF,  "AF" },
        {RFLAGS_PF,  "PF" },
        {RFLAGS_CF,  "CF" },
    };
    add(text, "rflags %08llx", (ull)rflags);
    for (unsigned i = 0; i < ARRAY_SIZE(flags); i++)
        if (rflags & flags[i].bit)
            add(text, " %s", flags[i].name);
    if (rflags & RFLAGS_IOPL)
        add(text, " IOPL=%llu", (ull)bits_get(rflags, 13, 12));
    add(text, "\n");
}

#define CODE_BEFORE 6
#define CODE_AFTER  16 // from rip on; an instruction has at most 15 bytes

static void add_code(struct text *text, const struct crash_info *info)
{
    add(text, "code");
    for (int i = -CODE_BEFORE; i < CODE_AFTER; i++) {
        u8 byte;
        if (!info->peek(info->rip + (u64)(s64)i, &byte))
            add(text, i == 0 ? " [??]" : " ??");
        else
            add(text, i == 0 ? " [%02x]" : " %02x", byte);
    }
    add(text, "\n");
}

// A return address may be the first byte after the function when the call never returns: the call
// itself is looked up.
static void add_address(struct text *text, u64 addr, bool is_return)
{
    u64 offset;
    const char *name = symbol_find(addr - is_return, &offset);
    add(text, "%016llx", (ull)addr);
    if (name)
        add(text, " %.48s+0x%llx", name, (ull)offset + is_return);
    add(text, "\n");
}

static bool peek_u64(const struct crash_info *info, u64 addr, u64 *value)
{
    u8 bytes[8];
    for (unsigned i = 0; i < sizeof(bytes); i++)
        if (!info->peek(addr + i, &bytes[i]))
            return false;
    *value = 0;
    for (unsigned i = sizeof(bytes); i-- > 0;)
        *value = *value << 8 | bytes[i];
    return true;
}

static bool is_return_address(u64 addr)
{
    return symbol_find(addr - 1, NULL) != NULL;
}

// After a call of what is no code, the caller has not stored its frame pointer yet: its return
// address is on top of the stack.
static void add_caller_of_nothing(struct text *text, const struct crash_info *info)
{
    u64 ret;
    if (symbol_find(info->rip, NULL) || !peek_u64(info, info->rsp, &ret) || !is_return_address(ret))
        return;
    add(text, "  ");
    add_address(text, ret, true);
}

// More than any stack of the host has; a frame pointer beyond it is garbage.
#define STACK_REACH 0x10000u

// Follows the frame pointers upwards for as long as they make sense: each frame above the last, a
// return address in the kernel's text, and the two words readable.
static void add_backtrace(struct text *text, const struct crash_info *info)
{
    u64 below = info->rsp, rbp = info->rbp;
    add(text, "backtrace\n  ");
    add_address(text, info->rip, false);
    add_caller_of_nothing(text, info);
    for (unsigned i = 1; i < CRASH_BACKTRACE; i++) {
        u64 next, ret;
        // (A pointer below the last frame wraps to a huge distance.)
        if (rbp % 8 != 0 || rbp - below > STACK_REACH)
            return;
        if (!peek_u64(info, rbp, &next) || !peek_u64(info, rbp + 8, &ret))
            return;
        if (!is_return_address(ret))
            return;
        add(text, "  ");
        add_address(text, ret, true);
        below = rbp + 16;
        rbp = next;
    }
}

size_t crash_format(char *buf, size_t size, const struct crash_info *info)
{
    struct text text = {buf, size, 0};
    add(&text, "\n==== Corbel has crashed (CPU with APIC ID %u) ====\n", info->apic_id);
    if (info->machine)
        add(&text, "%.79s\n", info->machine);
    if (info->message)
        add(&text, "panic: %s\n", info->message);
    if (info->frame) {
        add_exception(&text, info);
        add_registers(&text, info->frame);
        add_rflags(&text, info->frame->rflags);
    }
    add(&text, "cr0 %08llx  cr2 %016llx  cr3 %012llx  cr4 %08llx\n", (ull)info->cr0, (ull)info->cr2,
        (ull)info->cr3, (ull)info->cr4);
    if (info->frame)
        add_code(&text, info);
    add_backtrace(&text, info);
    return text.length;
}

size_t crash_format_again(char *buf, size_t size, const struct crash_info *info)
{
    struct text text = {buf, size, 0};
    add(&text, "\n==== crashed again in the report: ");
    if (info->frame) {
        add_vector(&text, info->frame->vector);
        add(&text, ") at ");
    } else {
        add(&text, "panic: %s at ", info->message);
    }
    add_address(&text, info->rip, false);
    return text.length;
}
