// SPDX-License-Identifier: MIT
#include "vmx/segment.h"

#include "arch/x86_64/lib/err.h"

#define TYPE_CODE        8u
#define TYPE_EXPAND_DOWN 4u // data
#define TYPE_WRITE       2u // data
#define TYPE_READ        2u // code

static int segment_fault(enum vmcs_segment which, struct event *fault)
{
    *fault = event_exception(which == SEG_SS ? VEC_SS : VEC_GP, 0);
    return E_FAULT;
}

static bool type_allows(u32 ar, unsigned access)
{
    if (ar & AR_UNUSABLE)
        return false;
    if (access & ACCESS_FETCH)
        return true;
    if (ar & TYPE_CODE)
        return !(access & ACCESS_WRITE) && (ar & TYPE_READ);
    return !(access & ACCESS_WRITE) || (ar & TYPE_WRITE);
}

static bool is_expand_down(u32 ar)
{
    return (ar & (TYPE_CODE | TYPE_EXPAND_DOWN)) == TYPE_EXPAND_DOWN;
}

static bool within_limit(const struct guest_segment *seg, u64 offset, u64 size)
{
    if (!is_expand_down(seg->ar))
        return offset <= seg->limit && size - 1 <= seg->limit - offset;
    u64 top = seg->ar & AR_DB ? 0xffffffff : 0xffff;
    return offset > seg->limit && offset <= top && size - 1 <= top - offset;
}

static int linear_64bit(enum vmcs_segment which, const struct guest_segment *seg, u64 offset,
                        u64 size, u64 *linear, struct event *fault)
{
    // The bases of the four others count as 0, and nothing has a limit.
    u64 base = which == SEG_FS || which == SEG_GS ? seg->base : 0;
    *linear = base + offset;
    if (!is_canonical(*linear) || !is_canonical(*linear + size - 1))
        return segment_fault(which, fault);
    return OK;
}

int segment_linear(enum guest_mode mode, enum vmcs_segment which, const struct guest_segment *seg,
                   u64 offset, u64 size, unsigned access, u64 *linear, struct event *fault)
{
    if (mode == GUEST_64BIT)
        return linear_64bit(which, seg, offset, size, linear, fault);
    // Real-address mode checks the limit alone, whatever rights protected mode left behind.
    if (mode == GUEST_PROTECTED && !type_allows(seg->ar, access))
        return segment_fault(which, fault);
    if (!within_limit(seg, offset, size))
        return segment_fault(which, fault);
    *linear = (u32)(seg->base + offset);
    return OK;
}
