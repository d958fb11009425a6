// SPDX-License-Identifier: MIT
// A Linux bzImage by the 64-bit boot protocol: Linux kernel documentation, "The Linux/x86 Boot
// Protocol", sections "The Real-Mode Kernel Header" and "64-bit Boot Protocol"; boot_params:
// "Zero Page".
#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/regs/pte.h"
#include "guest/guest_memory.h"
#include "guest/kernel.h"
#include "guest/le.h"
#include "guest/pc.h"

// What the kernel is handed lies below 1 MiB. Its decompressor wants the RAM just below PC_EBDA for
// itself, and a BIOS the first pages.
#define AREA        0x10000u
#define TABLES      0x10000u // PML4, PDPT and four page directories
#define GDT         0x16000u
#define BOOT_PARAMS 0x17000u
#define CMDLINE     0x18000u // up to CMDLINE_END, with its terminator
#define CMDLINE_END 0x20000u
#define AREA_SIZE   (CMDLINE_END - AREA)
#define STACK_TOP   AREA // not asked for by the protocol, and harmless

// Offsets in the file, and alike in boot_params.
#define SETUP_SECTS      0x1f1u // byte
#define SYSSIZE          0x1f4u // u32, in units of 16 bytes
#define HEADER_JUMP      0x201u // displacement of a short jump from the next byte over the header
#define HEADER_MAGIC     0x202u
#define VERSION          0x206u // u16
#define TYPE_OF_LOADER   0x210u // byte
#define LOADFLAGS        0x211u // byte
#define CODE32_START     0x214u // u32
#define RAMDISK_IMAGE    0x218u // u32
#define RAMDISK_SIZE     0x21cu // u32
#define CMD_LINE_PTR     0x228u // u32
#define INITRD_ADDR_MAX  0x22cu // u32, the last address that it may take
#define KERNEL_ALIGNMENT 0x230u // u32
#define RELOCATABLE      0x234u // byte
#define XLOADFLAGS       0x236u // u16
#define CMDLINE_SIZE     0x238u // u32, without the terminator
#define PREF_ADDRESS     0x258u // u64
#define INIT_SIZE        0x260u // u32
#define HEADER_NEEDED    0x264u // end of the last field that is used here
#define HEADER_ROOM      0x290u // end of the header's place in boot_params
// In boot_params alone.
#define ACPI_RSDP        0x070u // u64
#define E820_COUNT       0x1e8u // byte
#define E820_TABLE       0x2d0u

#define VERSION_MIN      0x20cu // 2.12, which has xloadflags
#define LOADED_HIGH      0x01u  // loadflags: the protected-mode code belongs at 1 MiB or above
#define KERNEL_64        0x01u  // xloadflags: there is an entry in 64-bit mode
#define ENTRY_64         0x200u // where, from the start of the protected-mode code
#define LOADER_UNDEFINED 0xffu
#define SECTOR           512u

#define BOOT_CS 0x10u
#define BOOT_DS 0x18u

struct bzimage {
    const u8 *setup;
    const u8 *code; // protected-mode code
    u64 code_size;  // bytes
    u64 at;         // where it goes
    u64 run_size;   // bytes from there on that the kernel needs until it knows its memory map
    u64 initrd_at;
};

static int check_header(const struct vm *vm, const struct boot_file *file)
{
    const u8 *f = file->data;

    if (file->size < HEADER_NEEDED)
        return kernel_refuse(vm, E_TRUNC, "truncated: %llu bytes end inside the setup header",
                             (ull)file->size);
    if (memcmp(f + HEADER_MAGIC, "HdrS", 4) != 0)
        return kernel_refuse(vm, E_FORMAT, "wrong magic: no \"HdrS\" at 202H");
    if (le16(f + VERSION) < VERSION_MIN)
        return kernel_refuse(vm, E_UNSUPP,
                             "boot protocol %u.%02u is too old: 2.12 is the first that tells of a "
                             "64-bit entry",
                             le16(f + VERSION) >> 8, le16(f + VERSION) & 0xffu);
    if (!(f[LOADFLAGS] & LOADED_HIGH))
        return kernel_refuse(vm, E_UNSUPP, "a zImage, loaded below 1 MiB, is not supported");
    if (!(le16(f + XLOADFLAGS) & KERNEL_64))
        return kernel_refuse(vm, E_UNSUPP, "no 64-bit entry: a 32-bit Linux is not supported");
    return OK;
}

// Where the setup code ends and how long the rest is.
static int split(const struct vm *vm, const struct boot_file *file, struct bzimage *b)
{
    u64 sectors = file->data[SETUP_SECTS];
    // 0 means 4, from before there was the field; the boot sector comes on top.
    u64 setup_size = ((sectors ? sectors : 4) + 1) * SECTOR;
    u64 code_size = (u64)le32(file->data + SYSSIZE) * 16;

    if (file->size < setup_size || file->size - setup_size < code_size)
        return kernel_refuse(vm, E_TRUNC, "truncated: %llu bytes, its header says %llu",
                             (ull)file->size, (ull)(setup_size + code_size));
    if (code_size <= ENTRY_64)
        return kernel_refuse(vm, E_FORMAT, "no code behind the setup sectors");
    b->setup = file->data;
    b->code = file->data + setup_size;
    b->code_size = code_size;
    return OK;
}

// A relocatable kernel that is loaded below its preferred address moves itself there, and one that
// is not relocatable moves itself in any case: so nowhere below is of use, and above it only to be
// aligned.
static int place_code(const struct vm *vm, const struct pc_memory *memory, struct bzimage *b)
{
    u64 at = le64(b->setup + PREF_ADDRESS);
    u64 align = le32(b->setup + KERNEL_ALIGNMENT);
    u64 need = le32(b->setup + INIT_SIZE);

    if (need < b->code_size)
        need = b->code_size;
    if (at < PC_HIGH_RAM)
        at = PC_HIGH_RAM;
    if (b->setup[RELOCATABLE]) {
        if (!is_power_of_two(align))
            return kernel_refuse(vm, E_FORMAT, "its alignment of %llxH is no power of two",
                                 (ull)align);
        if (at <= memory->low_end)
            at = align_up(at, align);
    }
    if (at > memory->low_end || need > memory->low_end - at)
        return kernel_refuse(
            vm, E_RANGE, "too little memory: it needs %llu KiB from %llxH on, RAM ends at %llxH",
            (ull)need >> 10, (ull)at, (ull)memory->low_end);
    b->at = at;
    b->run_size = need;
    return OK;
}

// As high as it may lie, so that it is out of the way of a kernel that moves or grows.
static int place_initrd(const struct vm *vm, const struct kernel_boot *boot, struct bzimage *b)
{
    u64 size = boot->initrd.size;
    u64 bottom = b->at + b->run_size;
    u64 top = (u64)le32(b->setup + INITRD_ADDR_MAX) + 1;

    if (!size)
        return OK;
    if (top > boot->memory->low_end)
        top = boot->memory->low_end;
    if (top < size || align_down(top - size, PAGE_SIZE) < bottom)
        return kernel_refuse(
            vm, E_RANGE,
            "the initrd of %llu KiB does not fit between the kernel's end at %llxH "
            "and %llxH",
            (ull)size >> 10, (ull)bottom, (ull)top);
    b->initrd_at = align_down(top - size, PAGE_SIZE);
    return OK;
}

static int check_cmdline(const struct vm *vm, const char *cmdline, const u8 *setup)
{
    u64 length = strlen(cmdline);
    u64 most = le32(setup + CMDLINE_SIZE);

    if (most > CMDLINE_END - CMDLINE - 1)
        most = CMDLINE_END - CMDLINE - 1;
    if (length > most)
        return kernel_refuse(vm, E_RANGE, "the command line has %llu characters, it takes %llu",
                             (ull)length, (ull)most);
    return OK;
}

// ---- what the kernel is handed ----------------------------------------------------------------

static void write_boot_params(u8 *p, const struct kernel_boot *boot, const struct bzimage *b)
{
    u32 header_end = HEADER_MAGIC + b->setup[HEADER_JUMP];
    if (header_end > HEADER_ROOM)
        header_end = HEADER_ROOM;
    memcpy(p + SETUP_SECTS, b->setup + SETUP_SECTS, header_end - SETUP_SECTS);

    p[TYPE_OF_LOADER] = LOADER_UNDEFINED;
    p[LOADFLAGS] = LOADED_HIGH;
    put_le32(p + CODE32_START, (u32)b->at);
    put_le32(p + RAMDISK_IMAGE, (u32)b->initrd_at);
    put_le32(p + RAMDISK_SIZE, (u32)boot->initrd.size);
    put_le32(p + CMD_LINE_PTR, CMDLINE);
    put_le64(p + ACPI_RSDP, boot->rsdp.raw);
    p[E820_COUNT] = (u8)boot->memory->nmap;
    memcpy(p + E820_TABLE, boot->memory->map, boot->memory->nmap * sizeof(struct e820_entry));
}

// The low 4 GiB at their own addresses.
static void write_page_tables(u8 *area)
{
    u64 *tables = (u64 *)(void *)area;
    u64 *pml4 = tables, *pdpt = tables + 512, *pd = tables + 1024;

    pml4[0] = (TABLES + PAGE_SIZE) | PTE_P | PTE_W;
    for (u64 i = 0; i < 4; i++)
        pdpt[i] = (TABLES + (2 + i) * PAGE_SIZE) | PTE_P | PTE_W;
    for (u64 i = 0; i < 4 * 512; i++)
        pd[i] = i << 21 | PTE_P | PTE_W | PTE_PS;
}

// Flat 64-bit code and data where the protocol wants them.
static void write_gdt(u8 *at)
{
    put_le64(at + BOOT_CS, 0x00af9b000000ffffull);
    put_le64(at + BOOT_DS, 0x00cf93000000ffffull);
}

static int write_all(struct vm *vm, const struct kernel_boot *boot, const struct bzimage *b)
{
    u8 *area = vm_ptr(vm, GPA(AREA), AREA_SIZE);

    if (!area || guest_write(vm, GPA(b->at), b->code, b->code_size) != OK ||
        guest_write(vm, GPA(b->initrd_at), boot->initrd.data, boot->initrd.size) != OK)
        return kernel_refuse(vm, E_RANGE, "the VM lacks RAM that its memory map has");
    memset(area, 0, AREA_SIZE);
    write_page_tables(area + (TABLES - AREA));
    write_gdt(area + (GDT - AREA));
    write_boot_params(area + (BOOT_PARAMS - AREA), boot, b);
    memcpy(area + (CMDLINE - AREA), boot->cmdline, strlen(boot->cmdline) + 1);
    return OK;
}

int linux_load(struct vm *vm, const struct kernel_boot *boot, struct guest_start *start)
{
    struct bzimage b = {0};

    int err = check_header(vm, &boot->kernel);
    if (err == OK)
        err = split(vm, &boot->kernel, &b);
    if (err == OK)
        err = place_code(vm, boot->memory, &b);
    if (err == OK)
        err = place_initrd(vm, boot, &b);
    if (err == OK)
        err = check_cmdline(vm, boot->cmdline, b.setup);
    if (err == OK)
        err = write_all(vm, boot, &b);
    if (err)
        return err;
    log_debug("vm %s: bzImage at %llxH, needs RAM up to %llxH, initrd at %llxH", vm->name,
              (ull)b.at, (ull)(b.at + b.run_size), (ull)b.initrd_at);
    *start = (struct guest_start){
        .mode = IMAGE_LONG,
        .rip = b.at + ENTRY_64,
        .rsp = STACK_TOP,
        .rsi = BOOT_PARAMS,
        .cr3 = TABLES,
        .gdt = GPA(GDT),
        .gdt_size = BOOT_DS + 8,
        .cs = BOOT_CS,
        .ds = BOOT_DS,
    };
    return OK;
}
