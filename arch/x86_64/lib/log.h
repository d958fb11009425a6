// SPDX-License-Identifier: MIT
// The log: levelled lines, kept in a ring and handed to one sink (the console).
#pragma once

#include "arch/x86_64/lib/types.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

// Receives each piece of text that passes the level; lines may arrive in several pieces. Called
// with the log's lock held: a sink must not log.
typedef void (*log_sink_fn)(const char *text, size_t length);

// Sets where lines go from now on (NULL: the ring only). What the ring already holds is replayed to
// the new sink when replay is set.
void log_set_sink(log_sink_fn sink, bool replay);

// Lines above this level are kept in the ring but not handed to the sink.
void log_set_level(enum log_level level);
enum log_level log_get_level(void);

// One line, without its newline. The level's tag ("error: ", "warning: ") is put in front for the
// two worst levels.
void log_line(enum log_level level, const char *format, ...) PRINTF_LIKE(2, 3);
void log_vline(enum log_level level, const char *format, va_list args) PRINTF_LIKE(2, 0);

// Text exactly as it stands, for what is not a log line (a guest's console, a report). Kept in the
// ring too. A log line that comes in the middle of a raw one begins a line of its own.
void log_raw(const char *text, size_t length);

// Whether the last text shown left its line unfinished.
bool log_mid_line(void);

// From now on the log takes no lock: the crash may have come while one was held.
void log_crashed(void);

#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

// For lines that a guest can cause as often as it likes: the first LOG_LIMIT_BURST of a limit are
// shown and after that only those whose number is a power of two, each with the count so far, so
// that all of them together are at most 64 + LOG_LIMIT_BURST. Returns whether this one was shown.
// Zeroed storage is ready for use.
#define LOG_LIMIT_BURST 8u
struct log_limit {
    u64 count; // lines asked for, shown or not
};
bool log_limited(struct log_limit *limit, enum log_level level, const char *format, ...)
    PRINTF_LIKE(3, 4);

// Hands the lines that the ring holds and the level lets through to a sink of their own.
void log_replay(log_sink_fn sink);

#define LOG_RING_SIZE 65536u // the self-tests' report and the grade's, each whole

// The ring's last at most size bytes of text, oldest first, cut at a line's start where it can be.
// Returns how many were copied; not terminated. Takes no lock, for the crash screen.
size_t log_ring_tail(char *buf, size_t size);
