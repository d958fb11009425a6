// SPDX-License-Identifier: MIT
// What a guest test asks of the world outside its machine: VMCALL with RAX = one of these, answered
// in RAX by tests/kernel/test_devices.c while it runs the other half of the test.
#pragma once

#define WORLD_LINE         0x776f0001u // drives PIC line RBX & FFH to level RBX >> 8
#define WORLD_RECEIVE      0x776f0002u // a byte RBX for COM1: RAX = how many it took
#define WORLD_UNCLAIMED    0x776f0003u // RBX = enum io_space: RAX = accesses nobody answered
#define WORLD_POST         0x776f0004u // RAX = what port 80H holds
#define WORLD_WRITTEN      0x776f0005u // RAX = byte RBX of COM1's output so far, or ~0
#define WORLD_POWER_BUTTON 0x776f0006u // presses it
