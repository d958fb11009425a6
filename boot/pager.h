// SPDX-License-Identifier: MIT
// A log that is longer than the screen, cut into pages for somebody with a camera: first a page of
// what matters most, then all of it.
#pragma once

#include "arch/x86_64/port_io.h"
#include "arch/x86_64/textgrid.h"

struct pager {
    struct textgrid
        *grid;        // of the screen's size; used to see how much fits, so its content is lost
    const char *text; // the log
    size_t length;
    unsigned pages; // the first one included; 1: all of it fits on the screen as it is
    char summary[8192];
    size_t summary_length;
};

// Lays the text out. It must stay as it is, and so must the grid's size.
void pager_init(struct pager *pager, struct textgrid *grid, const char *text, size_t length);

// Writes page n (from 0, below pages) into the grid, and into its last row which page that is and
// hint.
void pager_page(struct pager *pager, unsigned n, const char *hint);

// Whether a key of the PC's keyboard, PS/2 or made to look so by the firmware, was pressed since
// the last call. Never waits. *last is the byte before, 0 at first: 8042 data sheet; IBM PS/2
// technical reference, "Scan Code Set 1" and "2".
bool pager_key(const struct port_io *io, u8 *last);
