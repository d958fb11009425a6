// SPDX-License-Identifier: MIT
// The guest page walk over page tables of a guest's making: the input gives the registers, then 64
// KiB of memory that all table addresses fold into.
#include <stdlib.h>
#include <string.h>

#include "arch/x86_64/lib/err.h"
#include "vmx/walk.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static u8 memory[65536];
static unsigned loads;

static void expect(bool cond)
{
    if (!cond)
        abort();
}

static size_t fold(gpa_t gpa, unsigned size)
{
    expect(is_aligned(gpa.raw, size));
    return gpa.raw & (sizeof(memory) - 1);
}

static int load(void *ctx, gpa_t gpa, unsigned size, u64 *value)
{
    (void)ctx;
    loads++;
    *value = 0;
    memcpy(value, memory + fold(gpa, size), size);
    return OK;
}

static int exchange(void *ctx, gpa_t gpa, unsigned size, u64 old, u64 new)
{
    (void)ctx;
    u64 now = 0;
    memcpy(&now, memory + fold(gpa, size), size);
    if (now != old)
        return E_EXIST;
    memcpy(memory + fold(gpa, size), &new, size);
    return OK;
}

static int copy(void *ctx, gpa_t gpa, void *buf, size_t size, bool write)
{
    (void)ctx, (void)write;
    expect((gpa.raw & 0xfff) + size <= 0x1000);
    memset(buf, 0x90, size);
    return OK;
}

struct header {
    struct guest_paging paging;
    u64 gva;
    u32 access;
    u64 pdptes[4];
    u8 use_pdptes;
};

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static const struct guest_memory interface = {.load = load, .exchange = exchange, .copy = copy};
    u8 raw[sizeof(struct header)] = {0};
    memcpy(raw, data, size < sizeof(raw) ? size : sizeof(raw));
    raw[offsetof(struct header, paging.page1gb)] &= 1; // a bool
    struct header h;
    memcpy(&h, raw, sizeof(h));
    h.paging.maxphyaddr = 32 + h.paging.maxphyaddr % 21;
    h.paging.pdptes = h.use_pdptes & 1 ? h.pdptes : NULL;
    h.access &= ACCESS_WRITE | ACCESS_FETCH | ACCESS_IMPLICIT;
    memset(memory, 0, sizeof(memory));
    for (size_t at = sizeof(raw); at < size && at - sizeof(raw) < sizeof(memory); at++)
        memory[(at - sizeof(raw)) * 97 & 0xffff] = data[at];

    loads = 0;
    struct walk_result r;
    int err = guest_walk(&h.paging, &interface, GVA(h.gva), h.access, &r);
    expect(err == OK || err == E_FAULT || err == E_UNSUPP || err == E_TIMEOUT);
    expect(r.fault.valid == (err == E_FAULT));
    expect(loads <= 4 * 8);
    if (err == OK && (h.paging.cr0 & CR0_PG))
        expect(r.gpa.raw >> 52 == 0 && is_power_of_two(r.page_size));

    u8 buf[40];
    size_t done;
    struct event fault;
    err = walk_copy(&h.paging, &interface, GVA(h.gva), buf, sizeof(buf), h.access, &done, &fault);
    expect(done <= sizeof(buf) && (err != OK || done == sizeof(buf)));
    return 0;
}
