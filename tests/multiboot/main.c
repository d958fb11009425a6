// SPDX-License-Identifier: MIT
// A kernel that prints what its boot loader gave it, for the tests of Corbel's loaders: what is
// wrong is said with "BAD", and ends it with another status.
#include "guest/tiny/rt.h"

// As start.asm pushes it.
struct mb_state {
    u32 magic, info, cs, ss, eflags, cr0, esp;
};

NORETURN void mb_main(const struct mb_state *state);

static bool bad;

// ---- words on COM1 ----------------------------------------------------------------------------

static void put(const char *text)
{
    for (; *text; text++) {
        while (!(inb(0x3f8 + 5) & 0x20)) {
        }
        outb(0x3f8, (u8)*text);
    }
}

static void put_hex(u64 value)
{
    char text[17];
    unsigned i = 16;
    text[i] = '\0';
    do {
        text[--i] = "0123456789abcdef"[value & 15];
        value >>= 4;
    } while (value);
    put(text + i);
}

static void say(const char *what, u64 value)
{
    put(what);
    put_hex(value);
}

static void say_line(const char *what, u64 value)
{
    say(what, value);
    put("\n");
}

static void check(bool good, const char *what)
{
    if (!good) {
        put("mb: BAD: ");
        put(what);
        put("\n");
        bad = true;
    }
}

// ---- what is the same in both formats ---------------------------------------------------------

static const void *at(u32 address)
{
    return (const void *)(uintptr_t)address;
}

static void show_map_entry(const u64 *base_and_length, u32 type)
{
    say("mb: map ", base_and_length[0]);
    say(" ", base_and_length[1]);
    say_line(" ", type);
}

static void show_module(u32 from, u32 to, const char *name)
{
    u32 sum = 0;
    const u8 *data = at(from);
    for (u32 i = 0; i < to - from; i++)
        sum += data[i];
    put("mb: module ");
    put(name);
    say(" ", to - from);
    say_line(" sum ", sum);
    check(from % 4096 == 0, "the module is not on a page");
}

static void show_rsdp(const u8 *rsdp, u32 size)
{
    u8 sum = 0;
    for (u32 i = 0; i < size; i++)
        sum = (u8)(sum + rsdp[i]);
    check(sum == 0, "the RSDP's checksum");
    const u32 *rsdt = at(*(const u32 *)(const void *)(rsdp + 16));
    check(rsdt[0] == 0x54445352, "no RSDT where the RSDP says");
    say_line("mb: RSDP of ", size);
}

// ---- Multiboot --------------------------------------------------------------------------------

static void show_info1(const u32 *info)
{
    check((info[0] & 0x24d) == 0x24d, "flags of the boot information");
    say("mb: memory ", info[1]);
    say_line(" ", info[2]);
    put("mb: command line ");
    put(at(info[4]));
    put("\nmb: loader ");
    put(at(info[16]));
    put("\n");
    const u32 *modules = at(info[6]);
    for (u32 i = 0; i < info[5]; i++)
        show_module(modules[i * 4], modules[i * 4 + 1], at(modules[i * 4 + 2]));
    const u8 *entry = at(info[12]), *end = entry + info[11];
    for (; entry < end; entry += *(const u32 *)(const void *)entry + 4)
        show_map_entry((const u64 *)(const void *)(entry + 4),
                       *(const u32 *)(const void *)(entry + 20));
    show_rsdp(at(0xe0000), 20); // where a BIOS has it, since nothing tells
}

// ---- Multiboot2 -------------------------------------------------------------------------------

static void show_map2(const u32 *tag)
{
    for (u32 done = 16; done < tag[1]; done += tag[2]) {
        const u32 *entry = tag + done / 4;
        show_map_entry((const u64 *)(const void *)entry, entry[4]);
    }
}

static void show_tag(const u32 *tag)
{
    switch (tag[0]) {
    case 1:
        put("mb: command line ");
        put((const char *)(tag + 2));
        put("\n");
        break;
    case 2:
        put("mb: loader ");
        put((const char *)(tag + 2));
        put("\n");
        break;
    case 3:
        show_module(tag[2], tag[3], (const char *)(tag + 4));
        break;
    case 4:
        say("mb: memory ", tag[2]);
        say_line(" ", tag[3]);
        break;
    case 6:
        show_map2(tag);
        break;
    case 14:
    case 15:
        show_rsdp((const u8 *)(tag + 2), tag[1] - 8);
        break;
    default:
        say_line("mb: tag ", tag[0]);
    }
}

static void show_info2(const u32 *info)
{
    const u32 *tag = info + 2;
    while (tag[0] != 0) {
        show_tag(tag);
        tag += (tag[1] + 7) / 8 * 2;
    }
    check((u32)((const u8 *)tag - (const u8 *)info) + 8 == info[0], "the total size");
}

// ---- the kernel -------------------------------------------------------------------------------

static u32 zeroes[512]; // .bss

static void check_state(const struct mb_state *s)
{
    check((s->cr0 & 0x80000001) == 1, "CR0: not protected mode without paging");
    check(!(s->eflags & 0x20200), "EFLAGS: VM or IF is set");
    check(s->cs != 0 && s->ss != 0, "segments");
    for (unsigned i = 0; i < ARRAY_SIZE(zeroes); i++)
        if (((volatile u32 *)zeroes)[i])
            check(false, ".bss is not clear");
    // A20: two places that differ in that line alone.
    volatile u32 *low = (volatile u32 *)0x200000, *high = (volatile u32 *)0x300000;
    *low = 0x11111111;
    *high = 0x22222222;
    check(*low == 0x11111111, "A20");
}

void mb_main(const struct mb_state *state)
{
    say("mb: magic ", state->magic);
    say_line(", stack ", state->esp);
    check_state(state);
    if (state->magic == 0x2badb002)
        show_info1(at(state->info));
    else if (state->magic == 0x36d76289)
        show_info2(at(state->info));
    else
        check(false, "magic");
    put(bad ? "mb: failed\n" : "mb: done\n");
    while (!(inb(0x3f8 + 5) & 0x40)) {
    }
    for (;;)
        outb(GUEST_EXIT_PORT, bad);
}
