// SPDX-License-Identifier: MIT
// The host's own address space: W^X, guard pages, all RAM at one window, device memory at another.
// See layout.h for the map.
#pragma once

#include "arch/x86_64/lib/frame.h"
#include "arch/x86_64/pagetable.h"

// Builds the final page tables from pool and switches this CPU to them. The image is mapped up to
// end, image_end or lab_start; what comes after it is RAM like any other. ranges is all RAM that
// will be read or written through phys_ptr (n rows, sorted by base; partial pages are mapped
// whole). What lies in no range is not mapped afterwards, the boot loader's identity map included:
// what is still needed there must have been copied or be in a range. Must run on the boot tables,
// which reach only the low 4 GiB: the new tables are allocated there. Needs cpu_read_features; NX
// must be on in EFER where it is there. E_NOMEM (logged).
int paging_init(struct frame_pool *pool, const u8 *end, const struct mem_range *ranges, unsigned n);

// Switches to these tables, which are the host's from now on: for paging_init().
void paging_use(hpa_t table);

// Switches another CPU to the same tables.
void paging_load(void);

// The CR3 of these tables, for a VMCS's host state.
u64 paging_cr3(void);

// Maps size bytes of device memory at a host-physical address (any alignment), read and write,
// never executable, and returns where; it stays mapped. type is MEM_UC, or MEM_WC for a
// framebuffer. NULL (logged) if that is past MAXPHYADDR or there is no memory for tables.
void *mmio_map(hpa_t base, u64 size, enum mem_type type);

// Maps size bytes of RAM, whole pages, read and write and never executable, a second time, with a
// page before and after that is not mapped; it stays mapped. NULL (logged) as for mmio_map().
void *paging_map_apart(hpa_t base, u64 size);

// What the host's tables say about an address; false if it is not mapped.
bool paging_lookup(const volatile void *addr, struct page_mapping *out);

// Takes pages out of the image, on every CPU: nothing is mapped there any more, and they are RAM
// like any other. From first up to last, whole pages. E_NOENT if they are not mapped, E_TIMEOUT if
// a CPU does not answer and may still see them: nobody is to get them then.
MUST_CHECK int paging_withdraw(const u8 *first, const u8 *last);
