// SPDX-License-Identifier: MIT
// Lines of words: what the command line and the modules' lines are made of.
#pragma once

#include "arch/x86_64/lib/types.h"

// A piece of a line, not terminated.
struct word {
    const char *text;
    size_t length;
};

// For fmt_snprintf's "%.*s": a word in a message, cut if it is long.
#define WORD_SHOWN   40u
#define WORD_ARGS(w) (int)((w).length < WORD_SHOWN ? (w).length : WORD_SHOWN), (w).text

// Takes the next word of the terminated line at *at (words are separated by blanks and control
// characters) and moves *at behind it. False at the line's end.
bool word_next(const char **at, struct word *out);

// Takes the next item, up to separator, of *rest and leaves what follows there. False when nothing
// is left; an empty item between two separators or after the last one is an item.
bool word_split(struct word *rest, char separator, struct word *out);

bool word_is(struct word word, const char *text);

// Copies word into dst of size bytes, terminated. False if it does not fit; dst is then as it was.
bool word_copy(char *dst, size_t size, struct word word);
