// SPDX-License-Identifier: MIT
// The crash screen: what is left to say when the host itself fails. panic() (check.h) ends here
// too.
#pragma once

#include "arch/x86_64/traps.h"

// The status a crash ends the machine with.
#define CRASH_STATUS 4

// Sets what ends the machine once the report is out; it is called with interrupts off and should
// not return. Without one, or if it returns, the CPU is halted.
void crash_set_end(void (*end)(int status));

// Sets what the report says of the machine: a line of at most 127 characters.
void crash_set_machine(const char *line);

// Sets what opens the console if there is none when a crash is to be told; NULL: nothing does.
void crash_set_console(void (*open)(void));

// Reads the byte at a linear address that may not be mapped; false if it is not, and value is then
// as it was. Needs nothing of the CPU but its IDT.
bool crash_peek(u64 addr, u8 *value);

// Reports an exception (or an interrupt nobody handles) of the host on every sink of the console
// and ends the machine. A crash inside the report is reported in one line; a crash of another CPU
// meanwhile only halts that CPU.
NORETURN void crash_trap(const struct trap_frame *frame);
