// SPDX-License-Identifier: MIT
// The list of the VM-entry rules in docs/vm-entry.md is the one that the table makes. With --write
// this program writes it there.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmx/entry_outcome.h"
#include "vmx/vmcs.h"

#define DOC   "docs/vm-entry.md"
#define BEGIN "<!-- rules: begin -->\n"
#define END   "<!-- rules: end -->\n"

static char doc[200000], list[150000];

static void put(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void put(const char *format, ...)
{
    size_t length = strlen(list);
    va_list args;
    va_start(args, format);
    vsnprintf(list + length, sizeof(list) - length, format, args);
    va_end(args);
    if (strlen(list) + 1 >= sizeof(list))
        abort();
}

// The words of a rule, its number as "n".
static void put_words(const char *words)
{
    for (const char *number; (number = strstr(words, "%llx")); words = number + 4)
        put("%.*sn", (int)(number - words), words);
    put("%s", words);
}

static void put_fields(const struct entry_rule *rule)
{
    for (unsigned i = 0; rule->fields[i] != ENTRY_NO_FIELD; i++) {
        const char *name = vmcs_field_name(rule->fields[i]);
        // The fields of a rule on segments are noted as those of ES.
        if (rule->segments)
            name = strstr(name, "ES ") + 3;
        put("%s%s", i ? ", " : "", name);
    }
    if (!rule->segments)
        return;
    put(" of");
    for (unsigned seg = 0, n = 0; seg < SEG_COUNT; seg++)
        if (rule->segments & BIT(seg))
            put("%s %s", n++ ? "," : "", segment_names[seg]);
}

static void put_section(enum entry_section section)
{
    put("\n### %s\n\n", entry_section_title(section));
    put("| rule | violated | fields | legal | the CPU's answer |\n|---|---|---|---|---|\n");
    for (unsigned i = 0; i < entry_rules_count; i++) {
        const struct entry_rule *rule = &entry_rules[i];
        struct entry_outcome outcome = entry_outcome_of(rule);
        char answer[40];
        if (rule->section != section)
            continue;
        entry_outcome_text(answer, sizeof(answer), &outcome);
        put("| %s | ", rule->id);
        put_words(rule->what);
        put(" | ");
        put_fields(rule);
        put(" | ");
        put_words(rule->legal);
        put(" | %s |\n", answer);
    }
}

static void make_list(void)
{
    list[0] = '\0';
    put("\n%u rules.\n", entry_rules_count);
    for (unsigned section = 0; section < SECTION_COUNT; section++)
        put_section((enum entry_section)section);
    put("\n");
}

static bool read_doc(void)
{
    FILE *file = fopen(DOC, "r");
    if (!file)
        return false;
    size_t n = fread(doc, 1, sizeof(doc) - 1, file);
    doc[n] = '\0';
    fclose(file);
    return strstr(doc, BEGIN) && strstr(doc, END);
}

static int write_doc(void)
{
    FILE *file;
    if (!read_doc() || !(file = fopen(DOC, "w")))
        return 1;
    char *begin = strstr(doc, BEGIN) + strlen(BEGIN), *end = strstr(doc, END);
    fprintf(file, "%.*s%s%s", (int)(begin - doc), doc, list, end);
    return fclose(file);
}

static void the_document_has_the_rules(void **state)
{
    (void)state;
    assert_true(read_doc());
    char *begin = strstr(doc, BEGIN) + strlen(BEGIN), *end = strstr(doc, END);
    if ((size_t)(end - begin) != strlen(list) || strncmp(begin, list, strlen(list)))
        fail_msg("%s is not as the table of rules has it: make rules", DOC);
}

// What else the document says of the rules names none that there is not.
static void no_other_rule_is_named(void **state)
{
    (void)state;
    char name[8];
    for (const char *at = doc; (at = strpbrk(at, "CXNHAGSDRMPVTL")); at++) {
        size_t digits = strspn(at + 1, "0123456789");
        bool word = at > doc && (at[-1] == ' ' || at[-1] == '(' || at[-1] == ',' || at[-1] == '=');
        if (!word || digits == 0 || digits > 2 || strchr("%H.0123456789_", at[1 + digits]))
            continue;
        snprintf(name, sizeof(name), "%.*s", (int)(1 + digits), at);
        if (!entry_rule_find(name, strlen(name)) && strncmp(name, "DR", 2) &&
            strncmp(name, "CR", 2))
            fail_msg("%s speaks of %s", DOC, name);
    }
}

static void words_do_not_break_the_table(void **state)
{
    (void)state;
    for (unsigned i = 0; i < entry_rules_count; i++) {
        assert_null(strchr(entry_rules[i].what, '|'));
        assert_null(strchr(entry_rules[i].legal, '|'));
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_document_has_the_rules),
        cmocka_unit_test(no_other_rule_is_named),
        cmocka_unit_test(words_do_not_break_the_table),
    };
    make_list();
    if (argc > 1 && !strcmp(argv[1], "--write"))
        return write_doc();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
