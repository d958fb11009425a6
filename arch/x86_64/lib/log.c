// SPDX-License-Identifier: MIT
#include "arch/x86_64/lib/log.h"

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/fmt.h"
#include "arch/x86_64/lib/spinlock.h"
#include "arch/x86_64/lib/string.h"

#define LINE_MAX_BYTES 512u // with its tag and newline; the rest of a longer one is cut

// In the ring a line begins with the byte MARK + its level, so that a replay can leave out what the
// level at that time hides. Text never holds these bytes: ring_put() changes them.
#define MARK 1

static struct {
    struct spinlock lock;
    log_sink_fn sink;
    enum log_level level;
    u64 written;   // bytes ever put into the ring
    bool mid_line; // what was shown last has no newline yet
    bool crashed;
} the_log = {.level = LOG_INFO};
static char ring[LOG_RING_SIZE]; // apart, so that it takes no room in the image
_Static_assert((LOG_RING_SIZE & (LOG_RING_SIZE - 1)) == 0, "the ring is indexed by masking");

static void lock(void)
{
    if (!the_log.crashed)
        spin_lock(&the_log.lock);
}

static void unlock(void)
{
    if (!the_log.crashed)
        spin_unlock(&the_log.lock);
}

void log_crashed(void)
{
    the_log.crashed = true;
}

static bool is_mark(char c)
{
    return c >= MARK && c <= MARK + LOG_DEBUG;
}

static char ring_at(u64 position)
{
    return ring[position & (LOG_RING_SIZE - 1)];
}

static void ring_byte(char c)
{
    ring[the_log.written & (LOG_RING_SIZE - 1)] = c;
    // The crash screen reads the ring without the lock: a byte is counted only when it is there.
    __atomic_store_n(&the_log.written, the_log.written + 1, __ATOMIC_RELEASE);
}

static void ring_put(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        ring_byte(is_mark(text[i]) ? '?' : text[i]);
}

static u64 ring_oldest(u64 end)
{
    return end > LOG_RING_SIZE ? end - LOG_RING_SIZE : 0;
}

// The first start of a line at or after from, or from itself if there is none before end.
static u64 line_start(u64 from, u64 end)
{
    if (from == 0 || (from > ring_oldest(end) && ring_at(from - 1) == '\n'))
        return from;
    for (u64 at = from; at < end; at++)
        if (ring_at(at) == '\n')
            return at + 1;
    return from;
}

// Where the piece of a line that begins at from ends: after its newline, or before the next mark,
// the ring's edge or end.
static u64 piece_end(u64 from, u64 end)
{
    u64 at = from;
    while (at < end && !is_mark(ring_at(at))) {
        at++;
        if (ring_at(at - 1) == '\n' || (at & (LOG_RING_SIZE - 1)) == 0)
            break;
    }
    return at;
}

static void replay(log_sink_fn sink)
{
    u64 end = the_log.written;
    bool shown = true;
    for (u64 at = line_start(ring_oldest(end), end); at < end;) {
        if (is_mark(ring_at(at))) {
            shown = ring_at(at) - MARK <= (int)the_log.level;
            at++;
            continue;
        }
        u64 stop = piece_end(at, end);
        if (shown)
            sink(&ring[at & (LOG_RING_SIZE - 1)], (size_t)(stop - at));
        if (ring_at(stop - 1) == '\n')
            shown = true;
        at = stop;
    }
}

INIT void log_set_sink(log_sink_fn sink, bool replay_ring)
{
    lock();
    the_log.sink = sink;
    if (sink && replay_ring)
        replay(sink);
    unlock();
}

void log_replay(log_sink_fn sink)
{
    lock();
    replay(sink);
    unlock();
}

INIT void log_set_level(enum log_level level)
{
    the_log.level = level;
}

INIT enum log_level log_get_level(void)
{
    return the_log.level;
}

static const char *tag_of(enum log_level level)
{
    return level == LOG_ERROR ? "error: " : level == LOG_WARN ? "warning: " : "";
}

// Formats one line with its tag and newline; one that is too long ends in "...". Returns its
// length.
static size_t format_line(char line[LINE_MAX_BYTES], enum log_level level, const char *format,
                          va_list args)
{
    size_t tag = (size_t)fmt_snprintf(line, LINE_MAX_BYTES, "%s", tag_of(level));
    size_t room = LINE_MAX_BYTES - tag - 1;
    size_t length = (size_t)fmt_vsnprintf(line + tag, room, format, args);
    if (length >= room) {
        length = room - 1;
        memcpy(line + tag + length - 3, "...", 3);
    }
    line[tag + length] = '\n';
    return tag + length + 1;
}

static void show(const char *text, size_t length)
{
    if (!length)
        return;
    the_log.mid_line = text[length - 1] != '\n';
    if (the_log.sink)
        the_log.sink(text, length);
}

static void end_raw_line(void)
{
    if (!the_log.mid_line)
        return;
    ring_byte('\n');
    show("\n", 1);
}

void log_vline(enum log_level level, const char *format, va_list args)
{
    char line[LINE_MAX_BYTES];
    size_t length = format_line(line, level, format, args);
    lock();
    if (level <= the_log.level)
        end_raw_line();
    ring_byte((char)(MARK + (int)level));
    ring_put(line, length);
    if (level <= the_log.level)
        show(line, length);
    unlock();
}

void log_line(enum log_level level, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    log_vline(level, format, args);
    va_end(args);
}

void log_raw(const char *text, size_t length)
{
    lock();
    ring_put(text, length);
    show(text, length);
    unlock();
}

bool log_mid_line(void)
{
    return the_log.mid_line;
}

bool log_limited(struct log_limit *limit, enum log_level level, const char *format, ...)
{
    u64 count = __atomic_add_fetch(&limit->count, 1, __ATOMIC_RELAXED);
    if (count > LOG_LIMIT_BURST && !is_power_of_two(count))
        return false;
    va_list args;
    va_start(args, format);
    log_vline(level, format, args);
    va_end(args);
    if (count >= LOG_LIMIT_BURST)
        log_line(level, "(%llu like this so far; most of the next are not shown)",
                 (unsigned long long)count);
    return true;
}

size_t log_ring_tail(char *buf, size_t size)
{
    u64 end = __atomic_load_n(&the_log.written, __ATOMIC_ACQUIRE);
    u64 start = ring_oldest(end);
    if (end - start > size)
        start = end - size;
    start = line_start(start, end);
    size_t n = 0;
    for (u64 at = start; at < end; at++)
        if (!is_mark(ring_at(at)))
            buf[n++] = ring_at(at);
    return n;
}
