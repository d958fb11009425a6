// SPDX-License-Identifier: MIT
// The laboratory of the self-tests: a small VM made for one test, with the test program of
// tests/guest or a few bytes of code in it. Most tests run inside the guest; the others have a half
// on either side.
#pragma once

#include "arch/x86_64/lib/selftest.h"
#include "vmx/hypervisor.h"

// The guest-physical map of a lab.
#define LAB_RAM       0x200000u // RAM from 0 to here; [0, 64 KiB) is free for a test's own code
#define LAB_CODE      0x8000u   // where lab_code() puts it
#define LAB_IMAGE     0x100000u // the test program and its tables
#define LAB_SCRATCH   0x1c0000u // free pages for a guest test, struct guest_info's scratch
#define LAB_LAZY      0x400000u // RAM that is mapped when it is touched
#define LAB_LAZY_SIZE 0x40000u

struct lab {
    struct cell *cell;
    struct vcpu *vcpu;
    struct vm *vm;
    char out[160]; // the start of what the guest wrote to COM1
    u32 out_length;
};

// Makes a lab. false: the test has failed with the reason in t.
bool lab_open(struct selftest_ctx *t, struct lab *lab, const char *name);
void lab_close(struct lab *lab);

// Prepares the guest half of this name ("area.what"); lab_run() runs it.
bool lab_load(struct selftest_ctx *t, struct lab *lab, const char *name);

// Puts code at LAB_CODE and sets the vCPU to start there: in real mode with CS = DS = SS = 0, in
// protected or long mode with flat segments and the first 4 GiB identity-mapped. RSP is LAB_CODE.
bool lab_code(struct selftest_ctx *t, struct lab *lab, enum image_mode mode, const u8 *code,
              size_t length);

// Runs until the VM ends. Checks nothing.
void lab_run(struct lab *lab);

// Runs and fails the test unless the guest half passed.
bool lab_run_passes(struct selftest_ctx *t, struct lab *lab);

// The tests of the guest program that stand by themselves, as rows.
struct selftest_set lab_guest_tests(void);
