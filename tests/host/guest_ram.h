// SPDX-License-Identifier: MIT
// A VM that is only its memory, for what writes into guests: RAM as pc_memory_init() lays it out,
// in pieces that lie apart on the host, with pages between them that fault when touched.
#pragma once

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/check.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/phys.h"
#include "guest/memory_map.h"

struct guest_ram {
    struct vm vm;
    struct pc_memory memory;
    u8 *arena;
    u64 arena_size;
};

static char guest_ram_log[2048]; // what was logged since the last guest_ram_open()
static size_t guest_ram_logged;

static inline void guest_ram_sink(const char *text, size_t length)
{
    for (size_t i = 0; i < length && guest_ram_logged + 1 < sizeof(guest_ram_log); i++)
        guest_ram_log[guest_ram_logged++] = text[i];
    guest_ram_log[guest_ram_logged] = '\0';
}

static inline void guest_ram_forget_log(void)
{
    guest_ram_logged = 0;
    guest_ram_log[0] = '\0';
}

// Pages that fault lie before the first piece and behind each; the host's order is the reverse of
// the guest's.
static inline void guest_ram_add(struct guest_ram *g, gpa_t gpa, u64 size, u64 *top)
{
    *top -= size + PAGE_SIZE;
    struct vm_ram ram = {.gpa = gpa, .hpa = HPA(*top), .size = size, .type = MEM_WB};
    CHECK(mprotect(g->arena + *top, size, PROT_READ | PROT_WRITE) == 0);
    CHECK(vm_note_ram(&g->vm, ram) == OK);
}

// size bytes of guest memory in pieces of at most piece bytes (0: as few as can be) in the RAM from
// 1 MiB on.
static inline void guest_ram_open(struct guest_ram *g, u64 size, u64 piece)
{
    memset(g, 0, sizeof(*g));
    CHECK(pc_memory_init(&g->memory, size) == OK);
    strcpy(g->vm.name, "rig");
    g->arena_size = size + (VM_RAM_REGIONS + 1) * PAGE_SIZE;
    g->arena =
        mmap(NULL, g->arena_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(g->arena != MAP_FAILED);
    phys_window = (uintptr_t)g->arena;

    u64 top = g->arena_size;
    for (unsigned i = 0; i < g->memory.nram; i++) {
        struct pc_range r = g->memory.ram[i];
        for (u64 done = 0; done < r.size;) {
            u64 n = r.size - done;
            if (piece && r.gpa.raw + done >= (1u << 20) && n > piece)
                n = piece;
            else if (piece && r.gpa.raw < (1u << 20) && r.gpa.raw + r.size > (1u << 20) && !done)
                n = (1u << 20) - r.gpa.raw;
            guest_ram_add(g, GPA(r.gpa.raw + done), n, &top);
            done += n;
        }
    }
    guest_ram_forget_log();
    log_set_level(LOG_DEBUG);
    log_set_sink(guest_ram_sink, false);
}

static inline void guest_ram_close(struct guest_ram *g)
{
    log_set_sink(NULL, false);
    CHECK(munmap(g->arena, g->arena_size) == 0);
}

// Copies guest RAM out; whether all of it is RAM.
static inline bool guest_ram_read(const struct guest_ram *g, u64 gpa, void *buf, u64 size)
{
    u8 *to = buf;
    while (size) {
        u64 n = PAGE_SIZE - gpa % PAGE_SIZE;
        if (n > size)
            n = size;
        const void *from = vm_ptr(&g->vm, GPA(gpa), n);
        if (!from)
            return false;
        memcpy(to, from, n);
        to += n;
        gpa += n;
        size -= n;
    }
    return true;
}

// Whether the RAM from gpa on holds these bytes.
static inline bool guest_ram_holds(const struct guest_ram *g, u64 gpa, const void *data, u64 size)
{
    const u8 *from = data;
    for (u64 done = 0; done < size;) {
        u64 n = PAGE_SIZE - (gpa + done) % PAGE_SIZE;
        if (n > size - done)
            n = size - done;
        const void *at = vm_ptr(&g->vm, GPA(gpa + done), n);
        if (!at || memcmp(at, from + done, n) != 0)
            return false;
        done += n;
    }
    return true;
}

// Whether every page of RAM is zero from from to to.
static inline bool guest_ram_is_clear(const struct guest_ram *g, u64 from, u64 to)
{
    static const u8 zero[PAGE_SIZE];
    for (u64 at = from; at < to;) {
        u64 n = PAGE_SIZE - at % PAGE_SIZE;
        if (n > to - at)
            n = to - at;
        const void *page = vm_ptr(&g->vm, GPA(at), n);
        if (page && memcmp(page, zero, n) != 0)
            return false;
        at += n;
    }
    return true;
}
