// SPDX-License-Identifier: MIT
// What the self-tests that run a lab share.
#pragma once

#include "boot/lab.h"
#include "vmx/vmcs.h"

// A test with a lab: made before it and gone after it, however it ends.
#define LAB_TEST(area, title, need)                                                                \
    static void lab_##area##_##title(struct selftest_ctx *t, struct lab *lab);                     \
    SELFTEST(area, title, need)                                                                    \
    {                                                                                              \
        with_lab(t, lab_##area##_##title);                                                         \
    }                                                                                              \
    static void lab_##area##_##title(struct selftest_ctx *t, struct lab *lab)

typedef void (*lab_body)(struct selftest_ctx *t, struct lab *lab);
void with_lab(struct selftest_ctx *t, lab_body body);

// A piece of code in tests/kernel/lab_code.asm, made for LAB_CODE.
struct lab_snippet {
    const u8 *start, *end;
};
#define SNIPPET(name)                                                                              \
    extern const u8 code_##name[], code_##name##_end[];                                            \
    static const struct lab_snippet name = {code_##name, code_##name##_end}
bool lab_snippet(struct selftest_ctx *t, struct lab *lab, enum image_mode mode,
                 const struct lab_snippet *code);

// Runs the lab with the log kept from the console: for a VM that is meant to be stopped with a
// report. said() then looks for a text in the log of the last such run.
void run_quietly(struct lab *lab);
bool said(const char *text);

// The same for other work that logs errors on purpose.
void log_quietly(void);
void log_normally(void);

// Fails the test unless the VM ended so, with this in its text.
bool ended(struct selftest_ctx *t, const struct lab *lab, enum vm_end_kind kind, const char *text);

// Fields of the lab's VMCS while the lab does not run.
u64 lab_peek(struct lab *lab, enum vmcs_field field);
void lab_poke(struct lab *lab, enum vmcs_field field, u64 value);

// Makes the lab answer the calls of tests/guest/calls.h, by a hook.
void answer_calls(struct lab *lab);

// Gives the lab the FIFO of tests/guest/calls.h, empty.
void add_fifo(struct lab *lab);
extern struct fifo {
    struct device dev;
    u8 bytes[1024];
    u32 head, held, accesses;
} fifo;

// How many exits of all reasons there were.
u64 exits_of_all_kinds(const struct vcpu *vcpu);

// Whether part occurs in text.
bool contains(const char *text, const char *part);
