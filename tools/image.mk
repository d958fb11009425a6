# SPDX-License-Identifier: MIT
# How the kernel's files are compiled and where in the image they go. Included by Makefile.

# The way of an exit from the guest and back: compiled for speed, everything else for size (KFLAGS). `make
# bench` shows what a file gains by being here.
HOT_C := $(wildcard vmx/exit_*.c) \
	$(filter-out devices/lapic_virtual.c,$(wildcard devices/lapic*.c)) \
	arch/x86_64/lib/deadline.c \
	devices/bus.c \
	devices/ioapic.c \
	devices/pic.c \
	devices/pit.c \
	devices/pit_counter.c \
	devices/uart.c \
	ept/ept.c \
	ept/walk.c \
	guest/vm.c \
	vmx/alu.c \
	vmx/cpuid_policy.c \
	vmx/decode.c \
	vmx/deliver.c \
	vmx/dispatch.c \
	vmx/emulate.c \
	vmx/guest_access.c \
	vmx/inject.c \
	vmx/mmio.c \
	vmx/sched.c \
	vmx/segment.c \
	vmx/vcpu.c \
	vmx/walk.c
# Room between functions and around loops makes nothing faster by a tick and costs 5 KiB.
DENSE := $(if $(findstring clang,$(CC)),,-fno-align-functions -fno-align-jumps -fno-align-loops -fno-align-labels)
# Elsewhere a few comparisons take less room than a table of 8-byte addresses.
OPTIMIZE = $(if $(filter $<,$(HOT_C)),-O2 $(DENSE),-fno-jump-tables)

# What the image may take of text and read-only data, in KiB: docs/performance.md says what counts.
# The budget is that of the kernel as it is shipped; other builds are only kept within reason.
IMAGE_KIB := $(if $(findstring clang,$(CC))$(KEXTRA),400,171)
KLDFLAGS += -Wl,--defsym=image_kib=$(IMAGE_KIB)

# The laboratory: what only self-tests, measurements, grading, run=caps and the guests that come with
# the kernel need. It lies at the image's end, and a run without it gives its memory to the guests
# (run_needs_lab). Only boot/run.c refers to it, in such runs; tools/references.py looks.
LAB := $(wildcard tests/kernel/*.c tests/kernel/*.asm boot/bench*.c) \
	arch/x86_64/lib/selftest.c \
	arch/x86_64/smbios.c \
	boot/break.c \
	boot/builtin.c \
	boot/grade.c \
	boot/identity.c \
	boot/lab.c \
	ept/identity.c \
	guest/blobs.asm \
	vmx/caps_report.c \
	vmx/cell_identity.c \
	vmx/entry_break.c \
	vmx/entry_known.c \
	vmx/entry_outcome.c \
	vmx/entry_rig.c \
	vmx/entry_try.asm

# What only the start needs, from the boot loader's hand-over until guests stand ready. Such a file's
# code, constants and variables lie before the laboratory, with the functions and constants that
# other files mark INIT, and where the laboratory is left to guests they are too, once the start is
# over (boot/start_over.c). What stays may not refer to them but for bring_up(), nor they store an
# address of theirs in what stays: tools/references.py looks for the one, boot/leftover.c for the
# other.
INIT_FILES := arch/x86_64/acpi.c \
	arch/x86_64/acpi_madt.c \
	arch/x86_64/ap_start.asm \
	arch/x86_64/console_open.c \
	arch/x86_64/cpu_features.c \
	arch/x86_64/cpu_setup.c \
	arch/x86_64/cpu_start.c \
	arch/x86_64/efi_tables.c \
	arch/x86_64/gdt.c \
	arch/x86_64/host_lapic_init.c \
	arch/x86_64/idt.c \
	arch/x86_64/irq_route.c \
	arch/x86_64/outer.c \
	arch/x86_64/pagetable.c \
	arch/x86_64/paging_build.c \
	arch/x86_64/pic.c \
	arch/x86_64/smp_start.c \
	arch/x86_64/stacks_make.c \
	arch/x86_64/tsc_decide.c \
	arch/x86_64/tsc_find.c \
	arch/x86_64/tsc_measure.c \
	arch/x86_64/uart_find.c \
	boot/bring_up.c \
	boot/cmdline.c \
	boot/guests_make.c \
	boot/host_input.c \
	boot/lastlog.c \
	boot/leftover.c \
	boot/machine.c \
	boot/mbi.c \
	boot/memmap.c \
	boot/modline.c \
	boot/run.c \
	boot/security.c \
	boot/wallclock.c \
	boot/why.c \
	boot/words.c \
	ept/mtrr.c \
	vmx/caps.c \
	vmx/mitigations.c

into_place = $(if $(filter $<,$(LAB)),$Qobjcopy --prefix-alloc-sections=.lab $@)\
$(if $(filter $<,$(INIT_FILES)),$Qobjcopy --prefix-alloc-sections=.init $@)
