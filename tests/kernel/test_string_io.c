// SPDX-License-Identifier: MIT
// INS and OUTS: the guest's halves are in tests/guest/string_io.c.
#include "tests/kernel/support.h"

static void run_with_fifo(struct selftest_ctx *t, struct lab *lab)
{
    add_fifo(lab);
    if (lab_load(t, lab, t->name))
        lab_run_passes(t, lab);
}

#define FIFO_TEST(title)                                                                           \
    LAB_TEST(io, title, NEEDS_VMX)                                                                 \
    {                                                                                              \
        run_with_fifo(t, lab);                                                                     \
    }

FIFO_TEST(outs_of_every_width)
FIFO_TEST(ins_of_every_width)
FIFO_TEST(rep_outs_in_order)
FIFO_TEST(rep_ins_in_order)
FIFO_TEST(rep_of_zero_does_nothing)
FIFO_TEST(direction_flag_goes_down)
FIFO_TEST(element_across_two_pages)
FIFO_TEST(page_fault_in_the_middle_of_ins)
FIFO_TEST(ins_keeps_to_read_only_pages)
FIFO_TEST(ins_sets_accessed_and_dirty)
FIFO_TEST(page_fault_of_the_second_page_of_outs)
FIFO_TEST(addresses_must_be_canonical)
FIFO_TEST(outs_takes_a_segment_override)
FIFO_TEST(address_size_of_32_bits)
FIFO_TEST(ins_from_nobody_gives_ones)
FIFO_TEST(rep_is_interrupted)
