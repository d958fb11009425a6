// SPDX-License-Identifier: MIT
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/lib/err.h"
#include "boot/cmdline.h"
#include "boot/words.h"
#include "vmx/caps.h"

static struct options options;
static struct why why;

static void accepted(const char *line)
{
    memset(&options, 0xee, sizeof(options));
    if (cmdline_parse(line, &options, &why) != OK)
        fail_msg("\"%s\": %s", line, why.text);
}

static void refused(const char *line, const char *text)
{
    memset(&why, 0, sizeof(why));
    int err = cmdline_parse(line, &options, &why);
    if (err != E_INVAL || strcmp(why.text, text) != 0)
        fail_msg("\"%s\": %s, \"%s\"", line, err_name(err), why.text);
}

static void defaults(void **state)
{
    (void)state;
    static const char *const lines[] = {"", " ", "\t \r\n"};
    for (unsigned i = 0; i < ARRAY_SIZE(lines); i++) {
        accepted(lines[i]);
        assert_int_equal(options.run, RUN_GUEST);
        assert_string_equal(options.test, "*");
        assert_int_equal(options.log, LOG_INFO);
        assert_true(options.console.automatic);
        assert_true(options.end_auto);
        assert_int_equal(options.without, 0);
    }
}

static void each_choice(void **state)
{
    (void)state;
    static const char *const runs[] = {"run=guest", "run=selftest", "run=bench", "run=caps",
                                       "run=grade"};
    static const char *const logs[] = {"log=error", "log=warn", "log=info", "log=debug"};
    for (unsigned i = 0; i < ARRAY_SIZE(runs); i++) {
        accepted(runs[i]);
        assert_int_equal(options.run, i);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(logs); i++) {
        accepted(logs[i]);
        assert_int_equal(options.log, i);
    }
    accepted("end=halt");
    assert_false(options.end_auto);
    assert_int_equal(options.end, END_HALT);
    accepted("end=reboot");
    assert_int_equal(options.end, END_RESET);
    accepted("end=bochs");
    assert_int_equal(options.end, END_EMULATOR);
    accepted("end=qemu");
    assert_int_equal(options.end, END_EMULATOR);
    assert_false(options.end_auto);
    accepted("end=auto");
    assert_true(options.end_auto);
}

static void several_words(void **state)
{
    (void)state;
    accepted("  run=selftest\ttest=ept.*  log=debug end=qemu ");
    assert_int_equal(options.run, RUN_SELFTEST);
    assert_string_equal(options.test, "ept.*");
    assert_int_equal(options.log, LOG_DEBUG);
    assert_int_equal(options.end, END_EMULATOR);
    accepted("test=a=b");
    assert_string_equal(options.test, "a=b");
}

static bool same_place(const struct uart_place *a, const struct uart_place *b)
{
    return uart_same(a, b) && a->stride == b->stride && a->width == b->width &&
           a->keep_rate == b->keep_rate;
}

static void consoles(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        bool automatic, serial, e9, screen;
        struct uart_place at;
    } rows[] = {
        {"console=auto",                          true,  false, false, false, {0}                 },
        {"console=none",                          false, false, false, false, {0}                 },
        {"console=serial",                        false, true,  false, false, {0}                 },
        {"console=serial:0x2f8",                  false, true,  false, false, UART_AT_PORT(0x2f8) },
        {"console=serial:1016",                   false, true,  false, false, UART_AT_PORT(0x3f8) },
        {"console=serial:0xfff8",                 false, true,  false, false, UART_AT_PORT(0xfff8)},
        {"console=serial:mmio:0xfe034001",
         false,                                          true,
         false,                                                        false,
         {UART_MEMORY, 0xfe034001, 1, 1, true}                                                    },
        {"console=e9,serial:mmio32:0x123456789c",
         false,                                          true,
         true,                                                         false,
         {UART_MEMORY, 0x123456789c, 4, 4, true}                                                  },
        {"console=serial:mmio32:0xfffffffffffe0",
         false,                                          true,
         false,                                                        false,
         {UART_MEMORY, 0xfffffffffffe0, 4, 4, true}                                               },
        {"console=e9",                            false, false, true,  false, {0}                 },
        {"console=screen",                        false, false, false, true,  {0}                 },
        {"console=screen,e9,serial:1",            false, true,  true,  true,  UART_AT_PORT(1)     },
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        accepted(rows[i].line);
        const struct console_choice *got = &options.console;
        if (got->automatic != rows[i].automatic || got->serial != rows[i].serial ||
            !same_place(&got->serial_at, &rows[i].at) || got->e9 != rows[i].e9 ||
            got->screen != rows[i].screen)
            fail_msg("%s", rows[i].line);
    }
}

static void inputs(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        struct input_choice want;
    } rows[] = {
        {"input=auto",             {INPUT_AUTO, {0}}                              },
        {"input=none",             {INPUT_NONE, {0}}                              },
        {"input=serial",           {INPUT_SERIAL, {0}}                            },
        {"input=serial:0x2f8",     {INPUT_SERIAL, UART_AT_PORT(0x2f8)}            },
        {"input=serial:65528",     {INPUT_SERIAL, UART_AT_PORT(0xfff8)}           },
        {"input=serial:mmio:4096", {INPUT_SERIAL, {UART_MEMORY, 4096, 1, 1, true}}},
        {"console=serial:0x3e8",   {INPUT_AUTO, {0}}                              },
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        accepted(rows[i].line);
        if (options.input.from != rows[i].want.from ||
            !same_place(&options.input.serial_at, &rows[i].want.serial_at))
            fail_msg("%s", rows[i].line);
    }
}

static void features(void **state)
{
    (void)state;
    for (unsigned i = 0; i < FEATURE_COUNT; i++) {
        char line[60];
        snprintf(line, sizeof(line), "without=%s", feature_word(i));
        accepted(line);
        assert_int_equal(options.without, BIT32(i));
    }
    accepted("without=none");
    assert_int_equal(options.without, 0);
    accepted("without=vpid,ept-1g,vpid,vnmi");
    assert_int_equal(options.without, FEATURE_VPID | FEATURE_EPT_1G | FEATURE_VNMI);
}

static unsigned rules_broken(void)
{
    unsigned n = 0;
    rule_set_for_each (i, &options.broken)
        n++;
    return n;
}

static void rules_to_break(void **state)
{
    (void)state;
    accepted("");
    assert_true(entry_rule_set_empty(&options.broken));
    assert_false(options.check_entry);
    accepted("break=C8");
    assert_int_equal(rules_broken(), 1);
    assert_true(entry_rule_set_has(&options.broken, RULE_C8));
    accepted("break=C8,S21,C8,T1 check=entry");
    assert_int_equal(rules_broken(), 3);
    assert_true(entry_rule_set_has(&options.broken, RULE_S21));
    assert_true(entry_rule_set_has(&options.broken, RULE_T1));
    assert_true(options.check_entry);
#define EXPECTED ": expected break=LIST of RULE (C8,S2)"
    refused("break=", "command line: \"break=\"" EXPECTED);
    refused("break", "command line: \"break\"" EXPECTED);
    refused("break=C", "command line: \"break=C\"" EXPECTED);
    refused("break=C8,", "command line: \"break=C8,\"" EXPECTED);
    refused("break=c8", "command line: \"break=c8\"" EXPECTED);
    refused("break=C8,C999", "command line: \"break=C8,C999\"" EXPECTED);
    refused("check=all", "command line: \"check=all\": expected check=entry");
    refused("check=", "command line: \"check=\": expected check=entry");
}

static void mitigations(void **state)
{
    (void)state;
    accepted("");
    assert_false(options.mitigations_off);
    accepted("mitigations=off");
    assert_true(options.mitigations_off);
    accepted("mitigations=auto");
    assert_false(options.mitigations_off);
    refused("mitigations", "command line: \"mitigations\": expected mitigations=auto|off");
    refused("mitigations=", "command line: \"mitigations=\": expected mitigations=auto|off");
    refused("mitigations=on", "command line: \"mitigations=on\": expected mitigations=auto|off");
}

static void unknown_words(void **state)
{
    (void)state;
#define REST                                                                                       \
    "; there are run=, test=, log=, console=, input=, end=, without=, break=, check=, apic= and "  \
    "mitigations="
    refused("frobnicate", "command line: unknown word \"frobnicate\"" REST);
    refused("run=caps x=1", "command line: unknown word \"x=1\"" REST);
    refused("Run=caps", "command line: unknown word \"Run=caps\"" REST);
    refused("=", "command line: unknown word \"=\"" REST);
    refused("brake=C8", "command line: unknown word \"brake=C8\"" REST);
    refused("/boot/corbel.elf", "command line: unknown word \"/boot/corbel.elf\"" REST);
    refused("0123456789012345678901234567890123456789xyz",
            "command line: unknown word \"0123456789012345678901234567890123456789\"" REST);
}

static void wrong_values(void **state)
{
    (void)state;
    refused("run=foo",
            "command line: \"run=foo\": expected run=guest|selftest|bench|caps|grade|log");
    refused("run=", "command line: \"run=\": expected run=guest|selftest|bench|caps|grade|log");
    refused("run", "command line: \"run\": expected run=guest|selftest|bench|caps|grade|log");
    refused("run=guestx",
            "command line: \"run=guestx\": expected run=guest|selftest|bench|caps|grade|log");
    refused("run=gues",
            "command line: \"run=gues\": expected run=guest|selftest|bench|caps|grade|log");
    refused("log=loud", "command line: \"log=loud\": expected log=error|warn|info|debug");
    refused("end=never", "command line: \"end=never\": expected end=auto|halt|reboot|bochs|qemu");
    refused("test=", "command line: \"test=\": expected test=GLOB");
    refused("test", "command line: \"test\": expected test=GLOB");
    static const char *const consoles_bad[] = {
        "console=",
        "console=vga",
        "console=auto,e9",
        "console=none,e9",
        "console=serial:",
        "console=serial:x",
        "console=serial:0",
        "console=serial:0xfff9",
        "console=e9,",
        "console=,e9",
        "console=serial:1:2",
        "console=serialx",
        "console=serial:70000",
        "console=serial:99999999999999999999",
        "console=e9:1",
        "console=serial:mmio",
        "console=serial:mmio:",
        "console=serial:mmio:0",
        "console=serial:mmio8:1",
        "console=serial:mmio:0xffffffffffff9",
        "console=serial:mmio32:0xfffffffffffe4",
        "console=serial:mmio32:0xfe034002",
        "console=serial:mmio:1:2",
        "console=serial:mmio:0x10000000000000000",
    };
    for (unsigned i = 0; i < ARRAY_SIZE(consoles_bad); i++) {
        char text[200];
        snprintf(text, sizeof(text),
                 "command line: \"%s\": expected console=auto|none|LIST of "
                 "serial[:PLACE],e9,screen",
                 consoles_bad[i]);
        refused(consoles_bad[i], text);
    }
    char text[WHY_SIZE] = "command line: \"without=vpid,avx\": expected without=LIST of none";
    for (unsigned i = 0; i < FEATURE_COUNT; i++) {
        strcat(text, ",");
        strcat(text, feature_word(i));
    }
    refused("without=vpid,avx", text);
    assert_int_equal(cmdline_parse("without=", &options, &why), E_INVAL);
    assert_int_equal(cmdline_parse("without=vpid,", &options, &why), E_INVAL);
}

static void long_glob(void **state)
{
    (void)state;
    char line[5 + 64 + 1] = "test=";
    memset(line + 5, 'g', 64);
    assert_int_equal(cmdline_parse(line, &options, &why), E_INVAL);
    assert_string_equal(options.test, "*");
    line[5 + 63] = '\0';
    accepted(line);
    assert_string_equal(options.test, line + 5);
}

static void twice_and_what_came_before(void **state)
{
    (void)state;
    refused("log=debug run=caps log=debug", "command line: log= is given twice");
    refused("console=e9 end=halt run=caps end", "command line: end= is given twice");
    // What stood in front of the wrong word holds; what stood behind does not.
    assert_int_equal(cmdline_parse("console=e9 log=warn end=sometime run=caps", &options, &why),
                     E_INVAL);
    assert_true(options.console.e9);
    assert_false(options.console.automatic);
    assert_int_equal(options.log, LOG_WARN);
    assert_true(options.end_auto);
    assert_int_equal(options.run, RUN_GUEST);
}

// ---- the documentation ------------------------------------------------------------------------
static void read_doc(char *text, size_t size)
{
    FILE *file = fopen("docs/boot.md", "r");
    if (!file)
        fail_msg("docs/boot.md: run the test from the top of the tree");
    size_t n = fread(text, 1, size - 1, file);
    fclose(file);
    text[n] = '\0';
}

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

// Each option has its row, and each value that a message offers stands there between backquotes.
static void documented(void **state)
{
    (void)state;
    static char doc[20000];
    read_doc(doc, sizeof(doc));
    for (unsigned i = 0; i < cmdline_option_count(); i++) {
        struct option_text option = cmdline_option(i);
        char key[40];
        snprintf(key, sizeof(key), "\n| `%s=` |", option.name);
        char *row = strstr(doc, key);
        if (!row)
            fail_msg("docs/boot.md has no row for %s=", option.name);
        char *end = strchr(row + 1, '\n');
        assert_non_null(end);
        for (const char *at = option.values; *at;) {
            size_t length = 0;
            while (is_name(at[length]))
                length++;
            if (length > 1 && strncmp(at, "of ", 3) != 0) {
                snprintf(key, sizeof(key), "`%.*s`", (int)length, at);
                char *found = strstr(row, key);
                if (!found || found > end)
                    fail_msg("docs/boot.md: the row of %s= lacks %s", option.name, key);
            }
            at += length ? length : 1;
        }
        assert_true(strlen(option.help) > 10);
    }
}

// ---- words ------------------------------------------------------------------------------------
static void words(void **state)
{
    (void)state;
    const char *line = "  one\ttwo= ";
    struct word word, item;
    assert_true(word_next(&line, &word));
    assert_true(word_is(word, "one"));
    assert_false(word_is(word, "on"));
    assert_false(word_is(word, "ones"));
    assert_true(word_next(&line, &word));
    assert_true(word_is(word, "two="));
    assert_true(word_split(&word, '=', &item));
    assert_true(word_is(item, "two"));
    assert_true(word_split(&word, '=', &item));
    assert_int_equal(item.length, 0);
    assert_false(word_split(&word, '=', &item));
    assert_false(word_next(&line, &word));
    assert_false(word_next(&line, &word));
    char buf[4];
    assert_true(word_copy(buf, sizeof(buf), (struct word){"abcd", 3}));
    assert_string_equal(buf, "abc");
    assert_false(word_copy(buf, sizeof(buf), (struct word){"efgh", 4}));
    assert_string_equal(buf, "abc");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),       cmocka_unit_test(each_choice),
        cmocka_unit_test(several_words),  cmocka_unit_test(consoles),
        cmocka_unit_test(inputs),         cmocka_unit_test(features),
        cmocka_unit_test(rules_to_break), cmocka_unit_test(mitigations),
        cmocka_unit_test(unknown_words),  cmocka_unit_test(wrong_values),
        cmocka_unit_test(long_glob),      cmocka_unit_test(twice_and_what_came_before),
        cmocka_unit_test(documented),     cmocka_unit_test(words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
