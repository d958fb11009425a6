// SPDX-License-Identifier: MIT
#include "boot/modline.h"
#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/string.h"
#include "boot/words.h"

// The words of a module's line; a set of them says which were there.
enum { WORD_VM = 1u << 0, WORD_MEM = 1u << 1, WORD_CPUS = 1u << 2, WORD_ARGS_FOLLOW = 1u << 3 };

struct kind_row {
    const char *name;
    u32 takes;          // set of WORD_*
    const char *syntax; // as a message shows it
};

static const struct kind_row kinds[] = {
    [MODULE_KERNEL] = {"kernel",   WORD_VM | WORD_MEM | WORD_CPUS | WORD_ARGS_FOLLOW,
                       "vm=NAME mem=SIZE cpus=N -- COMMAND LINE"                                               },
    [MODULE_INITRD] = {"initrd",   WORD_VM,                                           "vm=NAME"                },
    [MODULE_FIRMWARE] = {"firmware", WORD_VM | WORD_MEM | WORD_CPUS,                    "vm=NAME mem=SIZE cpus=N"},
    [MODULE_DISK] = {"disk",     WORD_VM,                                           "vm=NAME"                },
};

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

static bool parse_vm(struct module_role *role, struct word value)
{
    for (size_t i = 0; i < value.length; i++) {
        if (!name_char(value.text[i]))
            return false;
    }
    return value.length && word_copy(role->vm, sizeof(role->vm), value);
}

static bool parse_mem(struct module_role *role, struct word value)
{
    u64 size;
    if (str_to_u64(value.text, value.length, true, &size) || !is_aligned(size, PAGE_SIZE) ||
        size < VM_MEM_MIN || size > VM_MEM_MAX)
        return false;
    role->mem = size;
    return true;
}

static bool parse_cpus(struct module_role *role, struct word value)
{
    u64 count;
    if (str_to_u64(value.text, value.length, false, &count) || count != 1)
        return false;
    role->cpus = 1;
    return true;
}

struct word_row {
    const char *name;
    u32 bit;
    bool (*parse)(struct module_role *role, struct word value);
    int err; // what a bad value is
    const char *expected;
};

static const struct word_row words[] = {
    {"vm",   WORD_VM,   parse_vm,   E_INVAL,  "a name of 1 to 15 letters, digits, '.', '_' or '-'"},
    {"mem",  WORD_MEM,  parse_mem,  E_INVAL,  "a multiple of 4K from 1M to 1024G, as in mem=512M" },
    {"cpus", WORD_CPUS, parse_cpus, E_UNSUPP, "cpus=1: more is not supported by this version"     },
};

static const struct word_row *find_word(struct word name)
{
    for (unsigned i = 0; i < ARRAY_SIZE(words); i++) {
        if (word_is(name, words[i].name))
            return &words[i];
    }
    return NULL;
}

static int refuse_word(const struct module_role *role, struct word word, struct why *why)
{
    const struct kind_row *kind = &kinds[role->kind];
    return why_set(why, E_INVAL, "module %u: unknown word \"%.*s\"; expected %s %s", role->number,
                   WORD_ARGS(word), kind->name, kind->syntax);
}

static int parse_word(struct module_role *role, struct word word, u32 *seen, struct why *why)
{
    struct word value = word, name;
    word_split(&value, '=', &name);
    const struct word_row *row = find_word(name);
    if (!row || !value.text || !(kinds[role->kind].takes & row->bit))
        return refuse_word(role, word, why);
    if (*seen & row->bit)
        return why_set(why, E_INVAL, "module %u: %s= is given twice", role->number, row->name);
    *seen |= row->bit;
    if (!row->parse(role, value))
        return why_set(why, row->err, "module %u: \"%.*s\": expected %s", role->number,
                       WORD_ARGS(word), row->expected);
    return OK;
}

static int parse_kind(struct module_role *role, const char **line, struct why *why)
{
    struct word word;
    if (!word_next(line, &word))
        return why_set(why, E_INVAL,
                       "module %u has no role; expected kernel, initrd, firmware or disk",
                       role->number);
    for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (word_is(word, kinds[i].name)) {
            role->kind = (enum module_kind)i;
            return OK;
        }
    }
    return why_set(why, E_INVAL,
                   "module %u: unknown role \"%.*s\"; expected kernel, initrd, firmware or disk",
                   role->number, WORD_ARGS(word));
}

int modline_parse(const char *line, unsigned number, struct module_role *role, struct why *why)
{
    *role = (struct module_role){.number = number, .mem = VM_MEM_DEFAULT, .cpus = 1, .args = ""};
    int err = parse_kind(role, &line, why);
    struct word word;
    u32 seen = 0;
    while (!err && word_next(&line, &word)) {
        if (!word_is(word, "--")) {
            err = parse_word(role, word, &seen, why);
            continue;
        }
        if (!(kinds[role->kind].takes & WORD_ARGS_FOLLOW))
            return refuse_word(role, word, why);
        // The rest is the guest's as it stands, but for the blanks in front.
        role->args = word_next(&line, &word) ? word.text : "";
        break;
    }
    if (!err && !(seen & WORD_VM))
        err = why_set(why, E_INVAL, "module %u: vm= is missing; expected %s %s", number,
                      kinds[role->kind].name, kinds[role->kind].syntax);
    return err;
}

static bool starts_vm(const struct module_role *role)
{
    return role->kind == MODULE_KERNEL || role->kind == MODULE_FIRMWARE;
}

// The first of n roles that belongs to that VM and starts it, or is its initrd.
static const struct module_role *find(const struct module_role *roles, unsigned n, const char *vm,
                                      bool starter)
{
    for (unsigned i = 0; i < n; i++) {
        bool fits = starter ? starts_vm(&roles[i]) : roles[i].kind == MODULE_INITRD;
        if (fits && strcmp(roles[i].vm, vm) == 0)
            return &roles[i];
    }
    return NULL;
}

static int check_one(const struct module_role *roles, unsigned n, unsigned index, struct why *why)
{
    const struct module_role *role = &roles[index];
    const char *name = kinds[role->kind].name;
    if (role->kind != MODULE_DISK) {
        const struct module_role *other = find(roles, index, role->vm, starts_vm(role));
        if (other)
            return why_set(why, E_EXIST,
                           "module %u: %s for VM \"%s\", which already has its %s, module %u",
                           role->number, name, role->vm, kinds[other->kind].name, other->number);
    }
    const struct module_role *starter = find(roles, n, role->vm, true);
    if (!starter)
        return why_set(why, E_INVAL, "module %u: %s for VM \"%s\", which has no kernel module",
                       role->number, name, role->vm);
    if (role->kind == MODULE_INITRD && starter->kind != MODULE_KERNEL)
        return why_set(why, E_INVAL, "module %u: initrd for VM \"%s\", which starts in firmware",
                       role->number, role->vm);
    return OK;
}

int modlines_check(const struct module_role *roles, unsigned n, struct why *why)
{
    for (unsigned i = 0; i < n; i++) {
        int err = check_one(roles, n, i, why);
        if (err)
            return err;
    }
    return OK;
}
