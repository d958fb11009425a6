// SPDX-License-Identifier: MIT
// Why something given at boot was refused: one line for the user, printed by the caller.
#pragma once

#include "arch/x86_64/lib/types.h"

#define WHY_SIZE 480u // the words of without= are many

struct why {
    char text[WHY_SIZE];
};

// Sets the line (cut to fit) and returns err, so that a refusal is one statement.
int why_set(struct why *why, int err, const char *format, ...) PRINTF_LIKE(3, 4);
