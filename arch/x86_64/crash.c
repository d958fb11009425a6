// SPDX-License-Identifier: MIT
#include "arch/x86_64/crash.h"

#include "arch/x86_64/console.h"
#include "arch/x86_64/crash_format.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/check.h"
#include "arch/x86_64/lib/fmt.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/serial.h"
#include "arch/x86_64/smp.h"
#include "arch/x86_64/stacks.h"

static void (*end_machine)(int status);
static void (*open_console)(void);
static char machine[128];
static u32 crashed_cpu; // its APIC ID + 1; 0: none
static u32 crashes;     // of that CPU
static char report[4096];
static char last_lines[4096];

INIT void crash_set_end(void (*end)(int status))
{
    end_machine = end;
}

INIT void crash_set_console(void (*open)(void))
{
    open_console = open;
}

INIT void crash_set_machine(const char *line)
{
    str_copy(machine, sizeof(machine), line);
}

static NORETURN void halt(void)
{
    for (;;) {
        cli();
        hlt();
    }
}

static NORETURN void end(void)
{
    if (end_machine)
        end_machine(CRASH_STATUS);
    halt();
}

// SDM volume 2, CPUID leaves 01H and 0BH: the initial APIC ID. Per-CPU data may be what is broken.
static u32 apic_id(void)
{
    if (cpuid(0, 0).eax >= 0xb) {
        struct cpuid_regs topology = cpuid(0xb, 0);
        if (topology.ebx & 0xffff)
            return topology.edx;
    }
    return (u32)bits_get(cpuid(1, 0).ebx, 31, 24);
}

static void read_state(struct crash_info *info)
{
    info->cr0 = read_cr0();
    info->cr2 = read_cr2();
    info->cr3 = read_cr3();
    info->cr4 = read_cr4();
    info->in_guard = stack_is_guard((const u8 *)(uintptr_t)align_down(info->cr2, PAGE_SIZE));
}

// How many rows of the screen text takes.
static u32 rows_of(const char *text, size_t length, u32 columns)
{
    u32 rows = 0, column = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\n' || column == columns) {
            rows++;
            column = 0;
        }
        if (text[i] != '\n')
            column++;
    }
    return rows + (column != 0);
}

// The last lines of the log that fit above the report: on a screen the report is all there is to
// see, where a serial line has them already.
static void write_last_lines(size_t report_length)
{
    u32 columns = console_screen_columns();
    u32 taken = rows_of(report, report_length, columns) + 1;
    u32 rows = console_screen_rows();
    size_t length = log_ring_tail(last_lines, sizeof(last_lines));
    size_t from = 0;
    while (from < length && taken + rows_of(last_lines + from, length - from, columns) > rows) {
        while (from < length && last_lines[from++] != '\n')
            ;
    }
    console_write_screen(last_lines + from, length - from);
}

static void write_report(const struct crash_info *info)
{
    size_t length = crash_format(report, sizeof(report), info);
    if (open_console && !console_is_open())
        open_console();
    console_write_streams(report, length);
    console_flush();
    if (!console_screen_rows())
        return;
    console_alarm();
    write_last_lines(length);
    console_write_screen(report, length);
}

static NORETURN void crash(const struct crash_info *info)
{
    cli();
    log_crashed();
    u32 none = 0;
    if (!__atomic_compare_exchange_n(&crashed_cpu, &none, info->apic_id + 1, false,
                                     __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE) &&
        none != info->apic_id + 1)
        halt();
    // Each crash in the handling of a crash tries less.
    switch (crashes++) {
    case 0:
        smp_stop_others();
        write_report(info);
        end();
    case 1:
        console_drop_screen();
        console_write(report, crash_format_again(report, sizeof(report), info));
        console_flush();
        end();
    case 2:
        end();
    default:
        halt();
    }
}

void crash_trap(const struct trap_frame *frame)
{
    struct crash_info info = {
        .frame = frame,
        .machine = machine[0] ? machine : NULL,
        .apic_id = apic_id(),
        .rip = frame->rip,
        .rsp = frame->rsp,
        .rbp = frame->rbp,
        .peek = crash_peek,
    };
    read_state(&info);
    crash(&info);
}

void panic(const char *format, ...)
{
    char message[256];
    va_list args;
    va_start(args, format);
    fmt_vsnprintf(message, sizeof(message), format, args);
    va_end(args);

    // panic()'s own frame: [0] is the caller's frame pointer, [1] the return address.
    const u64 *frame = __builtin_frame_address(0);
    struct crash_info info = {
        .message = message,
        .machine = machine[0] ? machine : NULL,
        .apic_id = apic_id(),
        .rip = frame[1],
        .rsp = (uintptr_t)(frame + 2),
        .rbp = frame[0],
        .peek = crash_peek,
    };
    read_state(&info);
    crash(&info);
}
