// SPDX-License-Identifier: MIT
// What the guest's half of a test asks of Corbel's half: VMCALL with RAX = one of these, RBX = its
// argument. Answered in labs with answer_calls().
#pragma once

#define CALL_FORGET 0x74657374u // unmap the page at guest-physical RBX until it is touched again
#define CALL_IRQ    0x74657375u // raise the PIC's line RBX
#define CALL_NMI    0x74657376u // an NMI
#define CALL_SPLIT  0x74657377u // have 4 KiB leaves, not large ones, around guest-physical RBX

// RAM that is mapped when it is touched: LAB_LAZY of boot/lab.h.
#define LAZY      0x400000u
#define LAZY_SIZE 0x40000u

// A device of the tests, in labs with add_fifo(): bytes written to FIFO_DATA, 1, 2 or 4 at a time,
// are read from it in the same order.
#define FIFO_DATA     0x5000u
#define FIFO_HELD     0x5010u // 32 bits: how many bytes are in it
#define FIFO_ACCESSES 0x5014u // 32 bits: how often FIFO_DATA was read or written
#define FIFO_SIZE     1024u
