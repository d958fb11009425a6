// SPDX-License-Identifier: MIT
// Corbel's own command line. docs/boot.md shows the words as a table.
#pragma once

#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/power.h"
#include "arch/x86_64/uart_find.h"
#include "boot/why.h"
#include "vmx/entry_break.h"

enum run_mode {
    RUN_GUEST,       // the modules' VMs, or the built-in guest
    RUN_SELFTEST,    // the in-kernel tests
    RUN_BENCH,       // measure VM exits
    RUN_CAPS,        // say what the machine offers
    RUN_GRADE,       // set this CPU's VM entry beside the rules
    RUN_CRASH,       // show the crash screen
    RUN_CRASH_EARLY, // the same before memory and console are up
    RUN_LOG,         // show the log of the run before
};

struct console_choice {
    bool automatic; // use what is found; the rest of this is then not looked at
    bool serial;
    struct uart_place serial_at; // UART_NOWHERE: the first that is found
    bool e9;
    bool screen;
};

// Where the guests' input comes from.
struct input_choice {
    enum { INPUT_AUTO, INPUT_NONE, INPUT_SERIAL } from; // INPUT_AUTO: a serial port if there is one
    struct uart_place serial_at;                        // UART_NOWHERE: the first that is found
};

struct options {
    enum run_mode run;
    char test[64]; // glob that a self-test's name must match
    enum log_level log;
    struct console_choice console;
    struct input_choice input;
    bool end_auto;                // whoever ends the run finds out how
    enum end_how end;             // unless end_auto
    u32 without;                  // set of enum feature to be treated as absent
    struct entry_rule_set broken; // not empty: guests that violate these rules of VM entry
    bool check_entry;             // judge each VMCS before it is entered
    bool x2apic;                  // the host's local APICs in x2APIC mode, whatever firmware chose
    bool mitigations_off;         // of what guests could learn from, or do to, the CPU
};

// A word of the command line, for its table in the documentation.
struct option_text {
    const char *name;   // without the '='
    const char *values; // as a message shows them
    const char *help;
};

unsigned cmdline_option_count(void);
struct option_text cmdline_option(unsigned index);

// Sets options to the defaults: run the guest, all tests, LOG_INFO, the rest automatic.
void cmdline_defaults(struct options *options);

// Reads the terminated line into options, which starts from the defaults. E_INVAL at the first word
// that is not known, has a wrong value or is given twice; why then names it and what was expected,
// and options holds what came before it, so that a console= in front is still honoured.
MUST_CHECK int cmdline_parse(const char *line, struct options *options, struct why *why);
