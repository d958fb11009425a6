# SPDX-License-Identifier: MIT
# The C files that only run on the bare machine; see Makefile.
HW_C := \
	arch/x86_64/cpu.c \
	arch/x86_64/crash.c \
	arch/x86_64/gdt.c \
	arch/x86_64/host_lapic.c \
	arch/x86_64/idt.c \
	arch/x86_64/paging.c \
	arch/x86_64/pic.c \
	arch/x86_64/port_io.c \
	arch/x86_64/power.c \
	arch/x86_64/smp.c \
	arch/x86_64/stacks.c \
	arch/x86_64/timer.c \
	arch/x86_64/traps.c \
	arch/x86_64/tsc.c \
	boot/bench.c \
	boot/bench_scale.c \
	boot/break.c \
	boot/builtin.c \
	boot/grade.c \
	boot/guests.c \
	boot/host_input.c \
	boot/lab.c \
	boot/machine.c \
	boot/main.c \
	boot/pages.c \
	boot/run.c \
	vmx/cell.c \
	vmx/cell_identity.c \
	vmx/entry_report.c \
	vmx/entry_rig.c \
	vmx/sched.c \
	vmx/vcpu.c \
	vmx/vmx_cpus.c \
	vmx/vmx_host.c
