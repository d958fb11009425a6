// SPDX-License-Identifier: MIT
// Runs Corbel's measuring guest (guest/tiny/bench.c) under Linux's KVM, for `make bench-kvm`.
//
// usage: kvm-bench IMAGE
//
// The guest finds what it finds in Corbel: the same image put into memory by the same loader, RAM
// at the same addresses, and 8254, 8259s, I/O APIC and local APIC. Those are KVM's own, in the
// kernel, which is how they are quickest; only the UART is here, as in every program that drives
// KVM, and it is the least that will do: no slowness of this program is taken for KVM's.
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/regs/cpuid.h"
#include "arch/x86_64/regs/cr.h"
#include "arch/x86_64/regs/msr.h"
#include "guest/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

// As boot/bench.c has them.
#define BENCH_IMAGE 0x100000u
#define BENCH_RAM   0x200000u
#define BENCH_LAZY  0x800000u
#define BENCH_PAGES 1024u

#define UART          0x3f8u
#define UART_LSR      (UART + 5)
#define UART_LSR_IDLE 0x60u // transmitter empty: 16550D data sheet, "Line Status Register"

#define CPUID_ENTRIES 256u
#define KVM_LAPIC_HZ  1000000000u // KVM's local APIC counts nanoseconds

struct machine {
    int kvm, vm, vcpu;
    struct kvm_run *run;
};

static u8 *guest_ram;
// Written when all is measured: a serial line that is being written to interrupts the guest.
static char console[1 << 16];
static size_t console_length;

__attribute__((noreturn)) static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int must(int result, const char *what)
{
    if (result < 0)
        die(what);
    return result;
}

// ---- what guest/load.c asks of Corbel ---------------------------------------------------------

void *vm_ptr(const struct vm *vm, gpa_t gpa, u64 length)
{
    (void)vm;
    return gpa.raw <= BENCH_RAM && length <= BENCH_RAM - gpa.raw ? guest_ram + gpa.raw : NULL;
}

void log_line(enum log_level level, const char *format, ...)
{
    va_list args;
    (void)level;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

// ---- the machine ------------------------------------------------------------------------------

static void *anonymous(size_t size)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                    -1, 0);
    if (at == MAP_FAILED)
        die("mmap");
    return at;
}

static void add_ram(struct machine *m, u32 slot, u64 gpa, u64 size, void *at)
{
    struct kvm_userspace_memory_region region = {
        .slot = slot,
        .guest_phys_addr = gpa,
        .memory_size = size,
        .userspace_addr = (u64)at,
    };
    must(ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
}

static void make_memory(struct machine *m)
{
    guest_ram = anonymous(BENCH_RAM);
    add_ram(m, 0, 0, BENCH_RAM, guest_ram);
    // Never touched here. In small pages, since what is measured is the first touch of each.
    void *lazy = anonymous(BENCH_PAGES * PAGE_SIZE);
    must(madvise(lazy, BENCH_PAGES * PAGE_SIZE, MADV_NOHUGEPAGE), "MADV_NOHUGEPAGE");
    add_ram(m, 1, BENCH_LAZY, BENCH_PAGES * PAGE_SIZE, lazy);
}

// What KVM offers, with what it emulates by itself whatever the CPU has: its documentation of
// KVM_CAP_TSC_DEADLINE_TIMER.
static void set_cpuid(struct machine *m)
{
    struct kvm_cpuid2 *table =
        calloc(1, sizeof(*table) + CPUID_ENTRIES * sizeof(table->entries[0]));
    if (!table)
        die("calloc");
    table->nent = CPUID_ENTRIES;
    must(ioctl(m->kvm, KVM_GET_SUPPORTED_CPUID, table), "KVM_GET_SUPPORTED_CPUID");
    for (u32 i = 0; i < table->nent; i++)
        if (table->entries[i].function == 1)
            table->entries[i].ecx |= CPUID_1_ECX_X2APIC | CPUID_1_ECX_TSC_DEADLINE;
    must(ioctl(m->vcpu, KVM_SET_CPUID2, table), "KVM_SET_CPUID2");
    free(table);
}

static void make_machine(struct machine *m)
{
    struct kvm_pit_config pit = {0};

    m->kvm = must(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
    if (ioctl(m->kvm, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) <= 0) {
        fputs("kvm-bench: this KVM has no TSC-deadline timer\n", stderr);
        exit(1);
    }
    m->vm = must(ioctl(m->kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
    // Three pages that KVM takes for itself on CPUs without unrestricted guest.
    must(ioctl(m->vm, KVM_SET_TSS_ADDR, 0xfffbd000ul), "KVM_SET_TSS_ADDR");
    must(ioctl(m->vm, KVM_CREATE_IRQCHIP, 0), "KVM_CREATE_IRQCHIP");
    must(ioctl(m->vm, KVM_CREATE_PIT2, &pit), "KVM_CREATE_PIT2");
    make_memory(m);
    m->vcpu = must(ioctl(m->vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
    size_t size = (size_t)must(ioctl(m->kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
    m->run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, m->vcpu, 0);
    if (m->run == MAP_FAILED)
        die("mmap of the vCPU");
    set_cpuid(m);
}

// ---- the guest --------------------------------------------------------------------------------

static void *read_image(const char *path, u64 *size)
{
    struct stat status;
    int file = must(open(path, O_RDONLY | O_CLOEXEC), path);
    must(fstat(file, &status), path);
    void *image = malloc((size_t)status.st_size);
    if (!image || read(file, image, (size_t)status.st_size) != status.st_size)
        die(path);
    close(file);
    *size = (u64)status.st_size;
    return image;
}

// Registers as vmx/start.c has them.
static void set_registers(struct machine *m, const struct guest_start *start)
{
    struct kvm_segment code = {
        .selector = 8, .limit = ~0u, .present = 1, .type = 11, .s = 1, .l = 1, .g = 1};
    struct kvm_segment data = {
        .selector = 16, .limit = ~0u, .present = 1, .type = 3, .s = 1, .db = 1, .g = 1};
    struct kvm_segment task = {.selector = 24, .limit = 0x67, .present = 1, .type = 11};
    struct kvm_regs regs = {.rip = start->rip, .rsp = start->rsp, .rdi = start->rdi, .rflags = 2};
    struct kvm_sregs sregs;

    must(ioctl(m->vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
    sregs.cs = code;
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
    sregs.tr = task;
    sregs.ldt = (struct kvm_segment){.unusable = 1};
    sregs.cr0 = CR0_PE | CR0_PG | CR0_WP | CR0_ET | CR0_NE;
    sregs.cr3 = start->cr3;
    sregs.cr4 = CR4_PAE;
    sregs.efer = EFER_LME | EFER_LMA;
    must(ioctl(m->vcpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
    must(ioctl(m->vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
}

static void load_guest(struct machine *m, const char *path)
{
    static struct vm vm = {.name = "bench"};
    u64 size;
    void *image = read_image(path, &size);
    struct guest_start start;
    struct guest_info info = {
        .tsc_hz = (u64)must(ioctl(m->vcpu, KVM_GET_TSC_KHZ, 0), "KVM_GET_TSC_KHZ") * 1000,
        .lapic_hz = KVM_LAPIC_HZ,
        .features = GUEST_HAS_X2APIC | GUEST_HAS_TSC_DEADLINE,
        .scratch = BENCH_LAZY,
        .scratch_size = BENCH_PAGES * PAGE_SIZE,
        .base = BENCH_IMAGE,
    };
    if (guest_load(&vm, image, size, GPA(BENCH_IMAGE), &info, &start))
        exit(1);
    if (start.mode != IMAGE_LONG) {
        fprintf(stderr, "%s: not a 64-bit guest\n", path);
        exit(1);
    }
    free(image);
    set_registers(m, &start);
}

static void print(const u8 *data, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (data[i] && console_length < sizeof(console)) // zeros are what it measures with
            console[console_length++] = (char)data[i];
}

// Answers a port. Returns what the guest ended with, or -1 if it goes on.
static int port(struct kvm_run *run)
{
    u8 *data = (u8 *)run + run->io.data_offset;
    size_t count = run->io.count;

    if (run->io.direction == KVM_EXIT_IO_IN) {
        for (size_t i = 0; i < count * run->io.size; i++)
            data[i] = run->io.port == UART_LSR ? UART_LSR_IDLE : 0xff;
        return -1;
    }
    if (run->io.port == UART && run->io.size == 1)
        print(data, count);
    return run->io.port == GUEST_EXIT_PORT ? data[0] : -1;
}

static int run_guest(struct machine *m)
{
    int status = -1;
    while (status < 0) {
        if (ioctl(m->vcpu, KVM_RUN, 0) < 0) {
            if (errno == EINTR)
                continue;
            die("KVM_RUN");
        }
        if (m->run->exit_reason != KVM_EXIT_IO) {
            fprintf(stderr, "kvm-bench: KVM gave the guest up: exit reason %u\n",
                    m->run->exit_reason);
            return 1;
        }
        status = port(m->run);
    }
    return status;
}

int main(int argc, char **argv)
{
    static struct machine m;

    if (argc != 2) {
        fputs("usage: kvm-bench IMAGE\n", stderr);
        return 2;
    }
    make_machine(&m);
    load_guest(&m, argv[1]);
    int status = run_guest(&m);
    fwrite(console, 1, console_length, stdout);
    return status;
}
