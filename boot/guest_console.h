// SPDX-License-Identifier: MIT
// The guests' terminal: what they send by COM1 goes to the log's sinks as it is, or with several
// VMs in lines that say whose they are; what is typed goes to COM1 of the VM that has the keyboard.
//
// Two keys are the terminal's own: Ctrl-] ends all VMs, and with several VMs Ctrl-\ gives the
// keyboard to the next one.
//
// Everything here runs in root mode with interrupts off, on the CPU that runs the VMs.
#pragma once

#include "arch/x86_64/serial.h"
#include "guest/vm.h"

#define TERMINAL_VMS  16u
#define CONSOLE_INPUT 4096u // bytes, a power of two
#define CONSOLE_LINE  240u  // bytes of an unfinished line that are kept back
#define KEY_LEAVE     0x1d  // Ctrl-]
#define KEY_NEXT      0x1c  // Ctrl-backslash

struct terminal;

// One VM's side.
struct guest_console {
    struct terminal *terminal; // NULL: not attached
    struct vm *vm;
    u32 put, taken; // bytes ever queued for the guest and given to it
    u8 input[CONSOLE_INPUT];
    struct deadline watch; // while this VM has the keyboard and no interrupt tells of input
    // What follows is used with labels.
    char line[CONSOLE_LINE]; // not shown yet
    u32 length;
    bool returned;         // a carriage return is the last thing the guest sent
    struct deadline flush; // an unfinished line is shown if nothing more comes
};

struct terminal_config {
    struct serial *input; // receiving, its arrived() is work; NULL: nobody types
    u64 poll;    // ticks between looks at the input, 0: whoever interrupts calls terminal_poll()
    bool labels; // several VMs: each line says whose it is
    void (*work)(void); // asks for a terminal_poll() soon
};

struct terminal {
    struct terminal_config config;
    struct guest_console *consoles[TERMINAL_VMS];
    unsigned count;
    unsigned focus;                // index of the VM that has the keyboard
    struct guest_console *writing; // its unfinished line was shown last
    bool waiting;                  // input waits for room in a queue
    u32 overruns;                  // of the input, as far as reported
};

void terminal_init(struct terminal *terminal, const struct terminal_config *config);

// COM1's other side, for the VM's configuration. Until the console is attached its output is lost.
struct chardev guest_console_chardev(struct guest_console *console);

// Connects a VM; the first one gets the keyboard. vm->name, vm->com1 and vm->timers are used until
// guest_console_detach(), which shows what is left of its last line and gives the keyboard on.
void guest_console_attach(struct guest_console *console, struct terminal *terminal, struct vm *vm);
void guest_console_detach(struct guest_console *console);

// Brings the input as far as it goes: the scheduler's poll(). context: a struct terminal.
void terminal_poll(void *context);

// Says in a line where input goes and which keys there are.
void terminal_announce(const struct terminal *terminal);
