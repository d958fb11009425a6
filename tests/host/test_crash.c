// SPDX-License-Identifier: MIT
// The text of the crash screen.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "arch/x86_64/crash_format.h"
#include "arch/x86_64/symbols.h"

#define TEXT_BASE  0xffffffff80200000ull
#define STACK_BASE 0xffffffff80300000ull

static const u32 offsets[] = {0, 0x100, 0x140};
const struct symbol_table symbol_table = {
    TEXT_BASE, 0x200, ARRAY_SIZE(offsets), offsets, "outer\0middle\0never_returns\0",
};

// The memory the report may read: a page of text and a page of stack.
static u8 text_page[0x200];
static u64 stack_page[0x12000 / 8]; // more than the backtrace reaches over
static char out[4096];

static bool peek(u64 addr, u8 *value)
{
    if (addr - TEXT_BASE < sizeof(text_page))
        *value = text_page[addr - TEXT_BASE];
    else if (addr - STACK_BASE < sizeof(stack_page))
        *value = ((u8 *)stack_page)[addr - STACK_BASE];
    else
        return false;
    return true;
}

static struct trap_frame frame;
static struct crash_info info;

// A page fault in middle(), called from outer().
static int fresh(void **state)
{
    (void)state;
    memset(stack_page, 0, sizeof(stack_page));
    for (unsigned i = 0; i < sizeof(text_page); i++)
        text_page[i] = (u8)i;
    stack_page[10] = STACK_BASE + 20 * 8;
    stack_page[11] = TEXT_BASE + 0x25;
    frame = (struct trap_frame){
        .r15 = 15,
        .r14 = 14,
        .r13 = 13,
        .r12 = 12,
        .r11 = 11,
        .r10 = 10,
        .r9 = 9,
        .r8 = 8,
        .rbp = STACK_BASE + 80,
        .rdi = 0xd1,
        .rsi = 0x51,
        .rdx = 0xd,
        .rcx = 0xc,
        .rbx = 0xb,
        .rax = 0xfedcba9876543210,
        .vector = 14,
        .error = 2,
        .rip = TEXT_BASE + 0x110,
        .cs = 8,
        .rflags = 0x10246,
        .rsp = STACK_BASE + 40,
        .ss = 0x10,
    };
    info = (struct crash_info){
        .frame = &frame,
        .apic_id = 3,
        .cr0 = 0x80010033,
        .cr2 = 0x1234,
        .cr3 = 0x205000,
        .cr4 = 0x2620,
        .rip = frame.rip,
        .rsp = frame.rsp,
        .rbp = frame.rbp,
        .peek = peek,
    };
    return 0;
}

static const char *formatted(void)
{
    memset(out, 'Z', sizeof(out));
    size_t length = crash_format(out, sizeof(out), &info);
    assert_int_equal(strlen(out), length);
    return out;
}

static void has(const char *text)
{
    if (!strstr(formatted(), text))
        fail_msg("no \"%s\" in:\n%s", text, out);
}

static void has_not(const char *text)
{
    if (strstr(formatted(), text))
        fail_msg("\"%s\" in:\n%s", text, out);
}

static void a_page_fault_is_told_in_full(void **state)
{
    (void)state;
    assert_string_equal(formatted(),
                        "\n==== Corbel has crashed (CPU with APIC ID 3) ====\n"
                        "#PF page fault (vector 14, error code 0002)\n"
                        "write at 0000000000001234: it is not mapped\n"
                        "rax fedcba9876543210  rbx 000000000000000b  rcx 000000000000000c\n"
                        "rdx 000000000000000d  rsi 0000000000000051  rdi 00000000000000d1\n"
                        "rbp ffffffff80300050  rsp ffffffff80300028  r8  0000000000000008\n"
                        "r9  0000000000000009  r10 000000000000000a  r11 000000000000000b\n"
                        "r12 000000000000000c  r13 000000000000000d  r14 000000000000000e\n"
                        "r15 000000000000000f  cs 0008  ss 0010\n"
                        "rflags 00010246 RF IF ZF PF\n"
                        "cr0 80010033  cr2 0000000000001234  cr3 000000205000  cr4 00002620\n"
                        "code 0a 0b 0c 0d 0e 0f [10] 11 12 13 14 15 16 17 18 19 1a 1b 1c 1d 1e 1f\n"
                        "backtrace\n"
                        "  ffffffff80200110 middle+0x10\n"
                        "  ffffffff80200025 outer+0x25\n");
}

static void page_fault_error_codes_are_decoded(void **state)
{
    (void)state;
    static const struct {
        u64 error;
        const char *text;
    } cases[] = {
        {0x00, "read at 0000000000001234: it is not mapped"                 },
        {0x01, "read at 0000000000001234: its rights forbid it"             },
        {0x03, "write at 0000000000001234: its rights forbid it"            },
        {0x04, "user-mode read at"                                          },
        {0x11, "instruction fetch at 0000000000001234: its rights forbid it"},
        {0x0b, "write at 0000000000001234: a table has a reserved bit"      },
        {0x21, "read at 0000000000001234: its protection key forbids it"    },
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        frame.error = cases[i].error;
        has(cases[i].text);
    }
}

static void selector_error_codes_are_decoded(void **state)
{
    (void)state;
    frame.vector = 13;
    frame.error = 0;
    has("#GP general protection (vector 13, error code 0000)\nrax");
    frame.error = 0x2b;
    has(", error code 002b)\nIDT entry 5, while delivering an external event\n");
    frame.error = 0x38;
    has("(vector 13, error code 0038)\nselector 0038 in the GDT\n");
    frame.vector = 11;
    frame.error = 0x1c;
    has("#NP segment not present (vector 11, error code 001c)\nselector 0018 in the LDT\n");
    frame.vector = 8;
    frame.error = 0;
    has("#DF double fault (vector 8, error code 0000)\nrax");
    info.in_guard = true;
    has("error code 0000)\na stack ran over its end at 0000000000001234\nrax");
    frame.vector = 6;
    has_not("ran over");
}

static void every_vector_is_named(void **state)
{
    (void)state;
    frame.error = 0;
    for (u64 vector = 0; vector < 256; vector++) {
        frame.vector = vector;
        bool reserved = vector < 32 && (vector == 15 || vector > 21);
        formatted();
        assert_int_equal(strstr(out, "reserved (vector") != NULL, reserved);
        assert_int_equal(strstr(out, "unexpected interrupt (vector") != NULL, vector >= 32);
    }
    frame.vector = 0;
    has("#DE divide error (vector 0)");
    frame.vector = 21;
    has("#CP control protection exception (vector 21, error code 0000)");
    frame.vector = 0xfe;
    has("unexpected interrupt (vector 254)\n");
}

static void rflags_are_named(void **state)
{
    (void)state;
    frame.rflags = 2;
    has("rflags 00000002\n");
    frame.rflags = 0x3f7fd7;
    has("rflags 003f7fd7 ID VIP VIF AC VM RF NT OF DF IF TF SF ZF AF PF CF IOPL=3\n");
}

static void unreadable_code_is_marked(void **state)
{
    (void)state;
    info.rip = frame.rip = TEXT_BASE + 2;
    has("code ?? ?? ?? ?? 00 01 [02] 03");
    info.rip = frame.rip = 0;
    has("code ?? ?? ?? ?? ?? ?? [??] ?? ??");
    has("backtrace\n  0000000000000000\n  ffffffff80200025 outer+0x25\n");
}

static void a_panic_has_its_message_and_no_registers(void **state)
{
    (void)state;
    info.frame = NULL;
    info.message = "boot/main.c:12: CHECK(ready) failed";
    has("APIC ID 3) ====\npanic: boot/main.c:12: CHECK(ready) failed\ncr0 80010033");
    has("backtrace\n  ffffffff80200110 middle+0x10\n  ffffffff80200025 outer+0x25\n");
    has_not("rax");
    has_not("code");
}

// A call that never returns may be its function's last byte.
static void a_return_address_belongs_to_the_call(void **state)
{
    (void)state;
    stack_page[11] = TEXT_BASE + 0x140;
    has("  ffffffff80200140 middle+0x40\n");
    has_not("never_returns");
}

static void a_call_of_no_code_shows_its_caller(void **state)
{
    (void)state;
    info.rip = frame.rip = 0x4711;
    stack_page[5] = TEXT_BASE + 0x123; // on top of the stack
    has("backtrace\n  0000000000004711\n  ffffffff80200123 middle+0x23\n"
        "  ffffffff80200025 outer+0x25\n");
    stack_page[5] = 0x4712;
    has("backtrace\n  0000000000004711\n  ffffffff80200025 outer+0x25\n");
    // In a function of ours the top of the stack means nothing.
    info.rip = frame.rip = TEXT_BASE + 0x110;
    stack_page[5] = TEXT_BASE + 0x1f0;
    has_not("never_returns");
}

static void senseless_frame_pointers_end_the_backtrace(void **state)
{
    (void)state;
    // Wherever one points there would be a return address, at any alignment.
    const u64 ret = TEXT_BASE + 0x25;
    for (unsigned i = 0; i < ARRAY_SIZE(stack_page); i++)
        stack_page[i] = ret;
    memcpy((u8 *)stack_page + 89, &ret, sizeof(ret));
    static const u64 pointers[] = {
        0,
        STACK_BASE + 81,                     // not aligned
        STACK_BASE + 32,                     // below the stack pointer
        STACK_BASE + sizeof(stack_page) - 8, // its second word is not readable
        STACK_BASE + 40 + 0x10008,           // too far
        0x8000000000000000,
        ~7ull,
    };
    for (size_t i = 0; i < ARRAY_SIZE(pointers); i++) {
        info.rbp = pointers[i];
        has("backtrace\n  ffffffff80200110 middle+0x10\n");
        has_not("outer");
    }
}

static void a_chain_that_goes_back_ends(void **state)
{
    (void)state;
    stack_page[10] = STACK_BASE + 80; // itself
    has("outer+0x25\n");
    assert_null(strstr(strstr(out, "outer+0x25\n") + 1, "outer"));
    stack_page[10] = STACK_BASE + 88; // overlaps it
    stack_page[12] = TEXT_BASE + 0x25;
    formatted();
    assert_null(strstr(strstr(out, "outer+0x25\n") + 1, "outer"));
}

static void return_addresses_outside_the_text_end_the_backtrace(void **state)
{
    (void)state;
    static const u64 returns[] = {0, TEXT_BASE, TEXT_BASE + 0x201, STACK_BASE};
    for (size_t i = 0; i < ARRAY_SIZE(returns); i++) {
        stack_page[11] = returns[i];
        has("middle+0x10\n");
        assert_string_equal(strstr(out, "middle+0x10\n"), "middle+0x10\n");
    }
}

static unsigned lines_of(const char *text)
{
    unsigned lines = 0;
    for (; *text; text++)
        lines += *text == '\n';
    return lines;
}

static void the_largest_report_fits_a_text_screen(void **state)
{
    (void)state;
    // Frames without end, each 16 bytes above the last.
    for (unsigned i = 10; i + 3 < ARRAY_SIZE(stack_page); i += 2) {
        stack_page[i] = STACK_BASE + (i + 2) * 8;
        stack_page[i + 1] = TEXT_BASE + 0x1ff;
    }
    frame.rflags = ~0ull;
    frame.error = 0x3f;
    info.machine = "Corbel 0.1, CPU 6.158.10";
    formatted();
    assert_true(lines_of(out) <= 24); // the run's last line comes below
    assert_int_equal(lines_of(strstr(out, "backtrace\n")), 1 + CRASH_BACKTRACE);
    size_t column = 0;
    for (const char *at = out; *at; at++) {
        column = *at == '\n' ? 0 : column + 1;
        assert_true(column <= 80);
    }
}

static void a_small_buffer_cuts_the_report(void **state)
{
    (void)state;
    char *whole = strdup(formatted());
    for (size_t size = 1; size < 1200; size++) {
        char *cut = malloc(size);
        size_t length = crash_format(cut, size, &info);
        assert_true(length < size);
        assert_int_equal(strlen(cut), length);
        assert_int_equal(length, size - 1 < strlen(whole) ? size - 1 : strlen(whole));
        assert_memory_equal(cut, whole, length);
        free(cut);
    }
    free(whole);
}

static void a_second_crash_is_one_line(void **state)
{
    (void)state;
    crash_format_again(out, sizeof(out), &info);
    assert_string_equal(out, "\n==== crashed again in the report: #PF page fault (vector 14) at "
                             "ffffffff80200110 middle+0x10\n");
    info.frame = NULL;
    info.message = "why";
    crash_format_again(out, sizeof(out), &info);
    assert_string_equal(out, "\n==== crashed again in the report: panic: why at "
                             "ffffffff80200110 middle+0x10\n");
}

static void the_machine_is_named_and_cut_to_a_row(void **state)
{
    (void)state;
    char line[200];
    memset(line, 'm', sizeof(line));
    line[199] = '\0';
    info.machine = "Corbel 0.1, CPU 6.158.10, Intel(R) Core(TM) i7-8750H CPU @ 2.20GHz";
    has("CPU with APIC ID 3) ====\nCorbel 0.1, CPU 6.158.10, Intel(R) Core(TM) i7-8750H CPU @ "
        "2.20GHz\n#PF page fault");
    info.machine = line;
    line[79] = '\0';
    has(line);
    line[79] = 'm';
    line[80] = '\0';
    has_not(line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_machine_is_named_and_cut_to_a_row, fresh),
        cmocka_unit_test_setup(a_page_fault_is_told_in_full, fresh),
        cmocka_unit_test_setup(page_fault_error_codes_are_decoded, fresh),
        cmocka_unit_test_setup(selector_error_codes_are_decoded, fresh),
        cmocka_unit_test_setup(every_vector_is_named, fresh),
        cmocka_unit_test_setup(rflags_are_named, fresh),
        cmocka_unit_test_setup(unreadable_code_is_marked, fresh),
        cmocka_unit_test_setup(a_panic_has_its_message_and_no_registers, fresh),
        cmocka_unit_test_setup(a_return_address_belongs_to_the_call, fresh),
        cmocka_unit_test_setup(a_call_of_no_code_shows_its_caller, fresh),
        cmocka_unit_test_setup(senseless_frame_pointers_end_the_backtrace, fresh),
        cmocka_unit_test_setup(a_chain_that_goes_back_ends, fresh),
        cmocka_unit_test_setup(return_addresses_outside_the_text_end_the_backtrace, fresh),
        cmocka_unit_test_setup(the_largest_report_fits_a_text_screen, fresh),
        cmocka_unit_test_setup(a_small_buffer_cuts_the_report, fresh),
        cmocka_unit_test_setup(a_second_crash_is_one_line, fresh),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
