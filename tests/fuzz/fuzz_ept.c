// SPDX-License-Identifier: MIT
// Sequences of requests to one address space, with memory that may run out. The record is the list
// of the requests that succeeded: what a page should be is found by going through it, and since a
// mapping only changes where some request begins or ends, looking there is looking everywhere.
#include <stddef.h>
#include <stdint.h>

#include "tests/host/ept_arena.h"

#define REQUESTS 12u

struct request {
    enum { MAP, UNMAP, PROTECT, RETYPE, KINDS } kind;
    u64 gpa, end, hpa;
    u8 rights, type;
};

struct expected {
    u64 hpa;
    u8 rights; // 0: not mapped
    u8 type;
};

struct input {
    const u8 *data;
    size_t left;
};

static u8 take(struct input *input)
{
    if (input->left == 0)
        return 0;
    input->left--;
    return *input->data++;
}

// An address of few bits, spread so that every leaf size comes up: GiB, MiB x 2 and pages, the last
// two near the ends of what is above them.
static u64 take_address(struct input *input)
{
    static const u64 pages[] = {0, 0, 1, 2, 511, 510, 255, 0};
    u8 byte = take(input);
    u64 where = (byte & 7u) * SIZE_1G;
    where += pages[byte >> 3 & 3] * SIZE_2M * (byte & 0x80 ? 1 : 0);
    return where + pages[byte >> 4 & 7] * PAGE_SIZE * (byte & 0x40 ? 1 : 0);
}

static struct request take_request(struct input *input)
{
    static const u8 rights[] = {EPT_R, EPT_X, EPT_RW, EPT_RX, EPT_RWX};
    static const u8 types[] = {MEM_UC, MEM_WC, MEM_WT, MEM_WP, MEM_WB};
    u8 byte = take(input);
    struct request request = {
        .kind = (byte & 3u), .rights = rights[byte / 4 % 5], .type = types[byte / 20 % 5]};
    u64 a = take_address(input), b = take_address(input);
    request.gpa = a < b ? a : b;
    request.end = a < b ? b : a;
    request.hpa = byte & 0x80 ? take_address(input) : request.gpa;
    return request;
}

static struct expected expect_at(const struct request *done, unsigned n, u64 gpa)
{
    struct expected page = {0};
    for (unsigned i = 0; i < n; i++) {
        if (gpa < done[i].gpa || gpa >= done[i].end)
            continue;
        if (done[i].kind == MAP)
            page = (struct expected){done[i].hpa + gpa - done[i].gpa, done[i].rights, done[i].type};
        else if (done[i].kind == UNMAP)
            page = (struct expected){0};
        else if (done[i].kind == PROTECT)
            page.rights = done[i].rights;
        else
            page.type = done[i].type;
    }
    return page;
}

static void check_page(const struct ept *ept, const struct request *done, unsigned n, u64 gpa)
{
    struct expected want = expect_at(done, n, gpa);
    struct ept_walk walk;
    ept_walk(ept, GPA(gpa), &walk);
    CHECK(walk.verdict == (want.rights ? EPT_MAPPED : EPT_NOT_PRESENT));
    if (!want.rights) {
        CHECK(walk.depth == 0 || walk.entries[walk.depth - 1] == 0);
        return;
    }
    CHECK(walk.hpa.raw == want.hpa && walk.rights == want.rights && walk.type == want.type);
    CHECK(!ept->config.no_large_exec || !(want.rights & EPT_X) || walk.level == EPT_PT);
    CHECK(gpa >= SIZE_2M || walk.level == EPT_PT);
}

static void check_all(const struct ept *ept, const struct request *done, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        check_page(ept, done, n, done[i].gpa);
        check_page(ept, done, n, done[i].end);
        check_page(ept, done, n, done[i].end - 1);
        if (done[i].gpa)
            check_page(ept, done, n, done[i].gpa - 1);
    }
}

// What a request must answer when memory does not run out, and whether it owes an invalidation even
// if it splits nothing. Its range is looked at where it begins and wherever an older one begins or
// ends within.
static int foresee(const struct request *done, unsigned n, const struct request *request,
                   bool *owed)
{
    bool any = false, all = true;
    *owed = false;
    if (request->gpa == request->end)
        return E_INVAL;
    for (unsigned i = 0; i <= 2 * n; i++) {
        u64 at = i == 2 * n ? request->gpa : i % 2 ? done[i / 2].end : done[i / 2].gpa;
        if (at < request->gpa || at >= request->end)
            continue;
        struct expected page = expect_at(done, n, at);
        any |= page.rights != 0;
        all &= page.rights != 0;
        *owed |= request->kind == UNMAP && page.rights != 0;
        *owed |= request->kind == PROTECT && (page.rights & ~request->rights) != 0;
        *owed |= request->kind == RETYPE && page.type != request->type;
    }
    if (request->kind == MAP)
        return any ? E_EXIST : OK;
    return request->kind == UNMAP || all ? OK : E_NOENT;
}

static int apply(struct ept *ept, const struct request *request)
{
    gpa_t gpa = GPA(request->gpa);
    u64 size = request->end - request->gpa;
    struct ept_attr attr = {.rights = request->rights, .type = request->type};
    switch (request->kind) {
    case MAP:
        return ept_map(ept, gpa, HPA(request->hpa), size, attr);
    case UNMAP:
        return ept_unmap(ept, gpa, size);
    case PROTECT:
        return ept_protect(ept, gpa, size, request->rights);
    default:
        return ept_retype(ept, gpa, size, (enum mem_type)request->type);
    }
}

static void step(struct arena *arena, struct ept *ept, struct request *done, unsigned *n,
                 const struct request *request)
{
    bool owed;
    int want = foresee(done, *n, request, &owed);
    u64 splits = ept->stats.splits, tables = ept->stats.tables;
    unsigned before = arena->invalidations;
    arena_snapshot(arena);
    int rc = apply(ept, request);
    unsigned paid = arena->invalidations - before;
    CHECK(rc == want || rc == E_NOMEM);
    CHECK(ept->stats.tables == arena->in_use);
    // A map that failed may have had something to take back.
    if (request->kind != MAP || rc == OK)
        CHECK((paid > 0) == ((rc == OK && owed) || ept->stats.splits > splits));
    if (request->kind == MAP && rc != OK)
        CHECK(ept->stats.tables == tables);
    if (rc == OK)
        done[(*n)++] = *request;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static struct arena *arena; // one for all runs: making it takes longer than a run
    struct input input = {data, size};
    struct request done[REQUESTS];
    unsigned n = 0;
    if (!arena)
        arena = arena_new();
    struct ept_config config = arena_config(arena);
    u8 flags = take(&input);
    config.caps.large_1g = !(flags & 1);
    config.no_large_exec = (flags & 6) == 6;
    struct ept ept;
    arena->budget = ARENA_FRAMES;
    arena_start(arena, &ept, &config);
    // Enough for most sequences of large leaves; a GiB in 4 KiB pages always runs out half-way.
    arena->budget = flags & 8 ? take(&input) & 15 : 48;
    for (unsigned i = 0; i < REQUESTS && input.left; i++) {
        struct request request = take_request(&input);
        step(arena, &ept, done, &n, &request);
    }
    check_all(&ept, done, n);
    arena_stop(arena);
    return 0;
}
