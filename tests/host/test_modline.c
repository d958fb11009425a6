// SPDX-License-Identifier: MIT
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/lib/err.h"
#include "boot/modline.h"

static struct module_role role;
static struct why why;

static void accepted(const char *line, enum module_kind kind, const char *vm)
{
    memset(&role, 0xee, sizeof(role));
    if (modline_parse(line, 1, &role, &why) != OK)
        fail_msg("\"%s\": %s", line, why.text);
    assert_int_equal(role.number, 1);
    assert_int_equal(role.kind, kind);
    assert_string_equal(role.vm, vm);
}

static void refused_as(int want, const char *line, const char *text)
{
    memset(&why, 0, sizeof(why));
    int err = modline_parse(line, 3, &role, &why);
    if (err != want || strcmp(why.text, text) != 0)
        fail_msg("\"%s\": %s, \"%s\"", line, err_name(err), why.text);
}

static void refused(const char *line, const char *text)
{
    refused_as(E_INVAL, line, text);
}

static void kernels(void **state)
{
    (void)state;
    accepted("kernel vm=a", MODULE_KERNEL, "a");
    assert_int_equal(role.mem, 256 << 20);
    assert_int_equal(role.cpus, 1);
    assert_string_equal(role.args, "");
    accepted(" kernel  mem=0x40M\tcpus=1 vm=Linux-6.1_x  --  console=ttyS0 a=\"b c\"  -- init ",
             MODULE_KERNEL, "Linux-6.1_x");
    assert_int_equal(role.mem, 64 << 20);
    assert_string_equal(role.args, "console=ttyS0 a=\"b c\"  -- init ");
    accepted("kernel vm=123456789012345 --", MODULE_KERNEL, "123456789012345");
    assert_string_equal(role.args, "");
    accepted("kernel vm=a -- ", MODULE_KERNEL, "a");
    assert_string_equal(role.args, "");
    accepted("kernel vm=a -- vm=b mem=x", MODULE_KERNEL, "a");
    assert_string_equal(role.args, "vm=b mem=x");
}

static void others(void **state)
{
    (void)state;
    accepted("initrd vm=a", MODULE_INITRD, "a");
    accepted("disk vm=b", MODULE_DISK, "b");
    accepted("firmware cpus=1 vm=c mem=1G", MODULE_FIRMWARE, "c");
    assert_int_equal(role.mem, 1 << 30);
}

static void sizes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        u64 size; // 0: refused
    } rows[] = {
        {"1M",                    1ull << 20},
        {"1048576",               1ull << 20},
        {"1028K",                 1028 << 10},
        {"1024G",                 1ull << 40},
        {"1023K",                 0         },
        {"1025K",                 0         },
        {"1048577",               0         },
        {"1025G",                 0         },
        {"0",                     0         },
        {"",                      0         },
        {"M",                     0         },
        {"-1M",                   0         },
        {"512m",                  0         },
        {"512MB",                 0         },
        {"99999999999999999999G", 0         },
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        char line[64], text[160];
        snprintf(line, sizeof(line), "kernel vm=a mem=%s", rows[i].text);
        if (rows[i].size) {
            accepted(line, MODULE_KERNEL, "a");
            assert_int_equal(role.mem, rows[i].size);
            continue;
        }
        snprintf(text, sizeof(text),
                 "module 3: \"mem=%s\": expected a multiple of 4K from 1M to 1024G, as in mem=512M",
                 rows[i].text);
        refused(line, text);
    }
}

static void wrong_roles(void **state)
{
    (void)state;
#define ROLES "expected kernel, initrd, firmware or disk"
    refused("", "module 3 has no role; " ROLES);
    refused("  ", "module 3 has no role; " ROLES);
    refused("vmlinuz vm=a", "module 3: unknown role \"vmlinuz\"; " ROLES);
    refused("vm=a kernel", "module 3: unknown role \"vm=a\"; " ROLES);
    refused("kernel=1", "module 3: unknown role \"kernel=1\"; " ROLES);
    refused("kern vm=a", "module 3: unknown role \"kern\"; " ROLES);
}

static void wrong_words(void **state)
{
    (void)state;
#define KERNEL_TAKES "expected kernel vm=NAME mem=SIZE cpus=N -- COMMAND LINE"
    refused("kernel vm=a console=ttyS0", "module 3: unknown word \"console=ttyS0\"; " KERNEL_TAKES);
    refused("kernel vm", "module 3: unknown word \"vm\"; " KERNEL_TAKES);
    refused("kernel vm=a ---", "module 3: unknown word \"---\"; " KERNEL_TAKES);
    refused("initrd vm=a mem=1M", "module 3: unknown word \"mem=1M\"; expected initrd vm=NAME");
    refused("initrd vm=a --", "module 3: unknown word \"--\"; expected initrd vm=NAME");
    refused("disk cpus=1 vm=a", "module 3: unknown word \"cpus=1\"; expected disk vm=NAME");
    refused("firmware vm=a -- x", "module 3: unknown word \"--\"; expected firmware vm=NAME "
                                  "mem=SIZE cpus=N");
    refused("kernel vm=a vm=a", "module 3: vm= is given twice");
    refused("kernel vm=a mem=1M mem=1M", "module 3: mem= is given twice");
    refused("kernel mem=1M", "module 3: vm= is missing; " KERNEL_TAKES);
    refused("kernel -- vm=a", "module 3: vm= is missing; " KERNEL_TAKES);
    refused("disk", "module 3: vm= is missing; expected disk vm=NAME");
}

static void wrong_names(void **state)
{
    (void)state;
    static const char *const names[] = {"", "a/b", "a:b", "1234567890123456", "a=b", "\303\244"};
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        char line[64], text[160];
        snprintf(line, sizeof(line), "disk vm=%s", names[i]);
        snprintf(text, sizeof(text),
                 "module 3: \"vm=%s\": expected a name of 1 to 15 letters, digits, '.', '_' or '-'",
                 names[i]);
        refused(line, text);
    }
}

static void one_cpu(void **state)
{
    (void)state;
    static const char *const counts[] = {"0", "2", "", "x", "18446744073709551617", "1K"};
    for (unsigned i = 0; i < ARRAY_SIZE(counts); i++) {
        char line[64], text[160];
        snprintf(line, sizeof(line), "kernel vm=a cpus=%s", counts[i]);
        snprintf(text, sizeof(text),
                 "module 3: \"cpus=%s\": expected cpus=1: more is not supported by this version",
                 counts[i]);
        refused_as(E_UNSUPP, line, text);
    }
}

// ---- sets -------------------------------------------------------------------------------------
struct set_case {
    const char *lines[5];
    int err;
    const char *text;
};

static const struct set_case sets[] = {
    {{NULL},                                                       OK,      ""                                                                       },
    {{"kernel vm=a"},                                              OK,      ""                                                                       },
    {{"initrd vm=a", "disk vm=a", "disk vm=a", "kernel vm=a"},     OK,      ""                                                                       },
    {{"kernel vm=a", "kernel vm=b", "initrd vm=b", "initrd vm=a"}, OK,      ""                                                                       },
    {{"firmware vm=a", "disk vm=a", "kernel vm=b"},                OK,      ""                                                                       },
    {{"kernel vm=a", "disk vm=a", "kernel vm=a"},
     E_EXIST,                                                               "module 3: kernel for VM \"a\", which already has its kernel, module 1"  },
    {{"firmware vm=a", "kernel vm=a"},
     E_EXIST,                                                               "module 2: kernel for VM \"a\", which already has its firmware, module 1"},
    {{"kernel vm=a", "initrd vm=a", "initrd vm=a"},
     E_EXIST,                                                               "module 3: initrd for VM \"a\", which already has its initrd, module 2"  },
    {{"kernel vm=a", "initrd vm=b"},
     E_INVAL,                                                               "module 2: initrd for VM \"b\", which has no kernel module"              },
    {{"disk vm=a"},                                                E_INVAL, "module 1: disk for VM \"a\", which has no kernel module"                },
    {{"firmware vm=a", "initrd vm=a"},
     E_INVAL,                                                               "module 2: initrd for VM \"a\", which starts in firmware"                },
    {{"initrd vm=a", "firmware vm=a"},
     E_INVAL,                                                               "module 1: initrd for VM \"a\", which starts in firmware"                },
};

static void whole_sets(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(sets); i++) {
        struct module_role roles[5];
        unsigned n = 0;
        for (; n < 5 && sets[i].lines[n]; n++)
            assert_int_equal(modline_parse(sets[i].lines[n], n + 1, &roles[n], &why), OK);
        memset(&why, 0, sizeof(why));
        int err = modlines_check(roles, n, &why);
        if (err != sets[i].err || strcmp(why.text, sets[i].text) != 0)
            fail_msg("set %u: %s, \"%s\"", i, err_name(err), why.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels),     cmocka_unit_test(others),      cmocka_unit_test(sizes),
        cmocka_unit_test(wrong_roles), cmocka_unit_test(wrong_words), cmocka_unit_test(wrong_names),
        cmocka_unit_test(one_cpu),     cmocka_unit_test(whole_sets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
