// SPDX-License-Identifier: MIT
// What the guest's half of a test asks of Corbel's half: VMCALL with RAX = one of these, RBX = its
// argument. Answered by lab_answer_calls() only.
#pragma once

#define CALL_FORGET 0x74657374u // unmap the page at guest-physical RBX until it is touched again
#define CALL_IRQ    0x74657375u // raise the PIC's line RBX
#define CALL_NMI    0x74657376u // an NMI
