// SPDX-License-Identifier: MIT
#include "boot/cmdline.h"
#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/string.h"
#include "boot/words.h"
#include "vmx/caps.h"

// A value and what it stands for; a list of them ends with a NULL name.
struct choice {
    const char *name;
    u32 value;
};

static const struct choice run_modes[] = {
    {"guest",       RUN_GUEST      },
    {"selftest",    RUN_SELFTEST   },
    {"bench",       RUN_BENCH      },
    {"caps",        RUN_CAPS       },
    {"grade",       RUN_GRADE      },
    {"crash",       RUN_CRASH      },
    {"crash-early", RUN_CRASH_EARLY},
    {"log",         RUN_LOG        },
    {NULL,          0              },
};

static const struct choice log_levels[] = {
    {"error", LOG_ERROR},
    {"warn",  LOG_WARN },
    {"info",  LOG_INFO },
    {"debug", LOG_DEBUG},
    {NULL,    0        },
};

static const struct choice endings[] = {
    {"halt",   END_HALT    },
    {"reboot", END_RESET   },
    {"bochs",  END_EMULATOR},
    {"qemu",   END_EMULATOR},
    {NULL,     0           },
};

static bool choose(const struct choice *list, struct word word, u32 *value)
{
    for (; list->name; list++) {
        if (word_is(word, list->name)) {
            *value = list->value;
            return true;
        }
    }
    return false;
}

// Each of these reads one option's value and returns whether it is a good one.

static bool parse_run(struct options *options, struct word value)
{
    u32 mode;
    if (!choose(run_modes, value, &mode))
        return false;
    options->run = (enum run_mode)mode;
    return true;
}

static bool parse_test(struct options *options, struct word value)
{
    return value.length && word_copy(options->test, sizeof(options->test), value);
}

static bool parse_log(struct options *options, struct word value)
{
    u32 level;
    if (!choose(log_levels, value, &level))
        return false;
    options->log = (enum log_level)level;
    return true;
}

static bool parse_u64(struct word word, u64 *value)
{
    return word.text && str_to_u64(word.text, word.length, false, value) == OK;
}

// "PORT", "mmio:ADDRESS" or "mmio32:ADDRESS". What a clock a UART in memory has is not known: it
// keeps the rate that firmware gave it.
static bool parse_place(struct word item, struct uart_place *at)
{
    struct word kind;
    word_split(&item, ':', &kind);
    if (!item.text) {
        *at = UART_AT_PORT(0);
        return parse_u64(kind, &at->base) && uart_place_valid(at);
    }
    u8 width = word_is(kind, "mmio") ? 1 : word_is(kind, "mmio32") ? 4 : 0;
    *at = (struct uart_place){UART_MEMORY, 0, width, width, true};
    return width && parse_u64(item, &at->base) && uart_place_valid(at);
}

// "serial" or "serial:PLACE"; at is UART_NOWHERE for the first.
static bool parse_serial(struct word item, struct uart_place *at)
{
    struct word name;
    *at = (struct uart_place){.space = UART_NOWHERE};
    if (!word_split(&item, ':', &name) || !word_is(name, "serial"))
        return false;
    return !item.text || parse_place(item, at);
}

static bool parse_console(struct options *options, struct word value)
{
    struct console_choice console = {.automatic = false};
    struct word item;
    if (word_is(value, "auto")) {
        console.automatic = true;
    } else if (!word_is(value, "none")) {
        while (word_split(&value, ',', &item)) {
            if (word_is(item, "e9"))
                console.e9 = true;
            else if (word_is(item, "screen"))
                console.screen = true;
            else if (parse_serial(item, &console.serial_at))
                console.serial = true;
            else
                return false;
        }
    }
    options->console = console;
    return true;
}

static bool parse_input(struct options *options, struct word value)
{
    struct input_choice input = {.from = INPUT_SERIAL};
    if (word_is(value, "auto"))
        input.from = INPUT_AUTO;
    else if (word_is(value, "none"))
        input.from = INPUT_NONE;
    else if (!parse_serial(value, &input.serial_at))
        return false;
    options->input = input;
    return true;
}

static bool parse_end(struct options *options, struct word value)
{
    u32 how = END_HALT;
    bool automatic = word_is(value, "auto");
    if (!automatic && !choose(endings, value, &how))
        return false;
    options->end_auto = automatic;
    options->end = (enum end_how)how;
    return true;
}

static bool choose_feature(struct word word, u32 *feature)
{
    *feature = 0;
    for (unsigned i = 0; i < FEATURE_COUNT; i++)
        if (word_is(word, feature_word(i)))
            *feature = BIT32(i);
    return *feature || word_is(word, "none");
}

static bool parse_without(struct options *options, struct word value)
{
    struct word item;
    u32 set = 0, one;
    while (word_split(&value, ',', &item)) {
        if (!choose_feature(item, &one))
            return false;
        set |= one;
    }
    options->without = set;
    return true;
}

static bool parse_break(struct options *options, struct word value)
{
    struct word item;
    bool any = false;
    while (word_split(&value, ',', &item)) {
        const struct entry_rule *rule = entry_rule_find(item.text, item.length);
        if (!rule)
            return false;
        entry_rule_set_add(&options->broken, rule);
        any = true;
    }
    return any;
}

static bool parse_check(struct options *options, struct word value)
{
    options->check_entry = word_is(value, "entry");
    return options->check_entry;
}

static bool parse_apic(struct options *options, struct word value)
{
    options->x2apic = word_is(value, "x2apic");
    return options->x2apic || word_is(value, "firmware");
}

static bool parse_mitigations(struct options *options, struct word value)
{
    options->mitigations_off = word_is(value, "off");
    return options->mitigations_off || word_is(value, "auto");
}

struct option {
    struct option_text text;
    bool (*parse)(struct options *options, struct word value);
};

#define CONTROL(name, text, word, control) "," text
#define CAPABILITY(name, text, msr, bits)  "," text
#define HOST(name, text)                   "," text
static const char without_values[] = "LIST of none"
#include "vmx/features.def"
    ;
#undef CONTROL
#undef CAPABILITY
#undef HOST

static const struct option table[] = {
    {{"run", "guest|selftest|bench|caps|grade|log",
      "run the VMs, the self-tests, the measurements, say what the machine offers, grade it, or "
      "show "
      "the log of the run before"},
     parse_run                                                                                            },
    {{"test", "GLOB", "run only the self-tests whose names match"},                      parse_test       },
    {{"log", "error|warn|info|debug", "show lines up to this level"},                    parse_log        },
    {{"console", "auto|none|LIST of serial[:PLACE],e9,screen", "where the log goes"},
     parse_console                                                                                        },
    {{"input", "auto|none|serial[:PLACE]", "what the guests' input comes from"},         parse_input      },
    {{"end", "auto|halt|reboot|bochs|qemu", "what to do when the run is over"},          parse_end        },
    {{"without", without_values, "treat CPU features as absent"},                        parse_without    },
    {{"break", "LIST of RULE (C8,S2)",
      "run the tiny guest once for each rule of VM entry, its VMCS broken so"},
     parse_break                                                                                          },
    {{"check", "entry", "judge the VMCS by the rules of VM entry before each entry"},    parse_check      },
    {{"apic", "firmware|x2apic", "the host's local APICs: as found, or in x2APIC mode"},
     parse_apic                                                                                           },
    {{"mitigations", "auto|off", "guard against speculation as this CPU needs"},         parse_mitigations},
};

unsigned cmdline_option_count(void)
{
    return ARRAY_SIZE(table);
}

struct option_text cmdline_option(unsigned index)
{
    return table[index].text;
}

void cmdline_defaults(struct options *options)
{
    *options = (struct options){
        .run = RUN_GUEST,
        .test = "*",
        .log = LOG_INFO,
        .console.automatic = true,
        .end_auto = true,
        .end = END_HALT,
    };
}

static const struct option *find_option(struct word name)
{
    for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
        if (word_is(name, table[i].text.name))
            return &table[i];
    }
    return NULL;
}

static int parse_word(struct word word, struct options *options, u32 *seen, struct why *why)
{
    struct word value = word, name;
    word_split(&value, '=', &name);
    const struct option *option = find_option(name);
    if (!option)
        return why_set(why, E_INVAL,
                       "command line: unknown word \"%.*s\"; there are run=, test=, log=, "
                       "console=, input=, end=, without=, break=, check=, apic= and mitigations=",
                       WORD_ARGS(word));
    u32 bit = BIT32(option - table);
    if (*seen & bit)
        return why_set(why, E_INVAL, "command line: %s= is given twice", option->text.name);
    *seen |= bit;
    if (!value.text || !option->parse(options, value))
        return why_set(why, E_INVAL, "command line: \"%.*s\": expected %s=%s", WORD_ARGS(word),
                       option->text.name, option->text.values);
    return OK;
}

int cmdline_parse(const char *line, struct options *options, struct why *why)
{
    u32 seen = 0;
    struct word word;
    cmdline_defaults(options);
    while (word_next(&line, &word)) {
        int err = parse_word(word, options, &seen, why);
        if (err)
            return err;
    }
    return OK;
}
