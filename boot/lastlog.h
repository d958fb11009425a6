// SPDX-License-Identifier: MIT
// The log of the run before, found in memory after a warm restart, and the place where this run's
// is kept for the next one.
#pragma once

#include "arch/x86_64/lib/frame.h"
#include "arch/x86_64/ramlog.h"

// Chooses where the log is kept: one of a few fixed places, so that the next run finds it, the
// first that lies in the n free ranges. False if none does.
bool lastlog_place(const struct mem_range *free, unsigned n, struct mem_range *area);

// Looks in every such place that is free for the latest log, and begins this run's in area, which
// lastlog_place() gave. All are reached by phys_ptr(). The log to write to.
struct ramlog *lastlog_open(const struct mem_range *free, unsigned n, struct mem_range area,
                            void (*flush)(const volatile void *at, size_t size));

// Says in a line that there is a log of the run before, and its last line. Nothing without one.
void lastlog_tell(void);

// Logs the whole of it, each line behind "| ". False (logged) if there is none.
bool lastlog_show(void);
