// SPDX-License-Identifier: MIT
// The console's text kept in memory at a place that the next run looks at too: a warm restart may
// leave it there. Two slots take turns, so that the log of the run before stays while this one's is
// written. What is found in memory is never trusted: a slot counts if its header and all of its
// text agree with their checksums, and its text is shown as printable characters only.
#pragma once

#include "arch/x86_64/lib/bits.h"

#define RAMLOG_TEXT  0x10000u                      // bytes kept of a run, the last
#define RAMLOG_BYTES (PAGE_SIZE + 2 * RAMLOG_TEXT) // the area, page-aligned

struct ramlog {
    struct ramlog_header *header; // NULL: nothing is kept
    char *text;
    // Writes the bytes back from the caches to memory, which is all that a reset leaves; or NULL.
    void (*flush)(const volatile void *at, size_t size);
};

// A log found in memory.
struct ramlog_old {
    const char *text;
    u64 at, end; // of what has not been read yet: bytes since that run began
    u32 run;     // counts the runs since the memory was last lost
};

// Looks for the latest log in an area. The memory may hold anything.
bool ramlog_find(const void *area, struct ramlog_old *old);

// Takes the next line, of which size - 1 bytes are kept, terminated and without what cannot be
// printed. False at the end. A first line that is only there in part is left out.
bool ramlog_next_line(struct ramlog_old *old, char *line, size_t size);

// Begins the log of this run in the area, in the slot that does not hold the latest log there.
void ramlog_start(struct ramlog *log, void *area, u32 run,
                  void (*flush)(const volatile void *at, size_t size));

// Adds text. Whenever this is not in the middle of its work the area holds a good log.
void ramlog_write(struct ramlog *log, const char *text, size_t length);
