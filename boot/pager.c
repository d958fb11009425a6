// SPDX-License-Identifier: MIT
#include "boot/pager.h"

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/fmt.h"
#include "arch/x86_64/lib/string.h"

// ---- lines ------------------------------------------------------------------------------------

struct line {
    const char *text;
    size_t length; // its newline included
};

static struct line line_at(const struct pager *pager, size_t at)
{
    size_t end = at;
    while (end < pager->length && pager->text[end++] != '\n')
        ;
    return (struct line){pager->text + at, end - at};
}

static bool begins_with(struct line line, const char *word)
{
    size_t length = strlen(word);
    return line.length >= length && memcmp(line.text, word, length) == 0;
}

static bool contains(struct line line, const char *word)
{
    for (; line.length; line.text++, line.length--)
        if (begins_with(line, word))
            return true;
    return false;
}

// What went wrong, in the words of the log, the self-tests and the grade.
static bool matters(struct line line)
{
    return begins_with(line, "error: ") || begins_with(line, "warning: ") ||
           begins_with(line, "FAIL ") || contains(line, "\tCPU accepts") ||
           contains(line, "\tCPU rejects");
}

static bool is_skip(struct line line)
{
    return begins_with(line, "SKIP ");
}

// ---- the first page ---------------------------------------------------------------------------

#define LAST_LINES 8u // of the log: its results

static void add(struct pager *pager, struct line line)
{
    size_t room = sizeof(pager->summary) - pager->summary_length;
    size_t length = line.length < room ? line.length : room;
    memcpy(pager->summary + pager->summary_length, line.text, length);
    pager->summary_length += length;
}

static void add_text(struct pager *pager, const char *format, unsigned number)
{
    char text[100];
    int length = fmt_snprintf(text, sizeof(text), format, number);
    add(pager, (struct line){text, (size_t)length});
}

static size_t start_of_last_lines(const struct pager *pager)
{
    unsigned lines = 0;
    size_t at = pager->length;
    while (at && (pager->text[at - 1] != '\n' || lines++ < LAST_LINES))
        at--;
    return at;
}

// How many lines of the kind there are before end, and at most max of them on the page.
static unsigned add_lines(struct pager *pager, bool (*is_kind)(struct line), size_t end,
                          unsigned max)
{
    unsigned count = 0;
    struct line line;
    for (size_t at = 0; at < end; at += line.length) {
        line = line_at(pager, at);
        if (is_kind(line) && count++ < max)
            add(pager, line);
    }
    return count;
}

// Writes the page with at most max of the lines that matter; whether it fits. Skipped tests are
// shown when all of them can be.
static bool try_summary(struct pager *pager, unsigned max, bool skips)
{
    size_t end = start_of_last_lines(pager);
    pager->summary_length = 0;
    unsigned count = add_lines(pager, matters, end, max);
    if (count > max)
        add_text(pager, "(%u more like these on the next pages)\n", count - max);
    if (skips)
        add_lines(pager, is_skip, end, ~0u);
    if (pager->summary_length)
        add_text(pager, "...\n", 0);
    add(pager, (struct line){pager->text + end, pager->length - end});
    return pager->summary_length < sizeof(pager->summary) &&
           textgrid_fit(pager->grid, pager->summary, pager->summary_length) ==
               pager->summary_length;
}

static void make_summary(struct pager *pager)
{
    if (try_summary(pager, ~0u, true))
        return;
    for (unsigned max = pager->grid->rows; max > 0; max--)
        if (try_summary(pager, max, false))
            return;
    try_summary(pager, 0, false); // the last lines alone are more than a page; its end is cut
}

// ---- the others -------------------------------------------------------------------------------

static size_t page_length(const struct pager *pager, size_t at)
{
    return textgrid_fit(pager->grid, pager->text + at, pager->length - at);
}

void pager_init(struct pager *pager, struct textgrid *grid, const char *text, size_t length)
{
    pager->grid = grid;
    pager->text = text;
    pager->length = length;
    pager->pages = 1;
    pager->summary_length = 0;
    if (grid->rows < 2 || textgrid_fit(grid, text, length) == length)
        return;
    grid->rows--; // the last one says which page it is
    make_summary(pager);
    for (size_t at = 0; at < length; pager->pages++)
        at += page_length(pager, at);
    grid->rows++;
}

static size_t page_start(const struct pager *pager, unsigned n)
{
    size_t at = 0;
    while (--n)
        at += page_length(pager, at);
    return at;
}

void pager_page(struct pager *pager, unsigned n, const char *hint)
{
    struct textgrid *grid = pager->grid;
    char last[120];
    struct line page = {pager->summary, pager->summary_length};

    grid->rows--;
    if (n > 0) {
        page.text = pager->text + page_start(pager, n);
        page.length = page_length(pager, (size_t)(page.text - pager->text));
    } else {
        page.length = textgrid_fit(grid, page.text, page.length);
    }
    grid->rows++;
    textgrid_clear(grid);
    textgrid_write(grid, page.text, page.length);
    int length = fmt_snprintf(last, sizeof(last), "-- page %u of %u%s", n + 1, pager->pages, hint);
    textgrid_last_row(grid, last, (size_t)length);
}

// ---- the keyboard -----------------------------------------------------------------------------

#define KBC_DATA     0x60
#define KBC_STATUS   0x64
#define KBC_ABSENT   0xff
#define STATUS_FULL  0x01 // a byte waits
#define STATUS_MOUSE 0x20 // ... from the mouse
#define RELEASED     0x80 // set 1: a key's release. Set 2: no key's, but prefixes.
#define SET2_RELEASE 0xf0 // the next byte is a release
#define BYTES        16u  // an 8042 holds one or two; what has more is something else

bool pager_key(const struct port_io *io, u8 *last)
{
    bool pressed = false;
    for (unsigned i = 0; i < BYTES; i++) {
        u8 status = io->in8(KBC_STATUS);
        if (status == KBC_ABSENT || !(status & STATUS_FULL))
            return pressed;
        u8 code = io->in8(KBC_DATA);
        if (status & STATUS_MOUSE)
            continue;
        if (!(code & RELEASED) && *last != SET2_RELEASE)
            pressed = true;
        *last = code;
    }
    return false;
}
