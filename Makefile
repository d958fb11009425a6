# SPDX-License-Identifier: MIT
# Corbel's build, its runs and its tests. `make help` lists what there is to make.

CC      := gcc
O       := build
PYTHON  := python3
NASM    := nasm
JOBS    := $(shell nproc)
MAKEFLAGS += --no-builtin-rules -j$(JOBS)
.DEFAULT_GOAL := iso
.DELETE_ON_ERROR:
.SECONDARY:

# A line a step; V=1 shows the commands.
Q := $(if $V,,@)
say = @printf '  %-8s%s\n' '$1' '$2'

.PHONY: help
help:
	@sed -n 's/^\([a-z-]*\):.*## /\1@/p' Makefile tools/linux.mk | awk -F@ '{ printf "  make %-13s %s\n", $$1, $$2 }'
	@echo
	@echo "  Where: MACHINE=auto|kvm|bochs|qemu FIRMWARE=bios|uefi MEDIA=cd|disk|usb CPU=model CPUS=n MEM=MiB"
	@echo "  What:  CMDLINE=\"words of Corbel's command line\" (docs/boot.md)"

# ---- the programs all this needs --------------------------------------------------------------
# Looked at once, and again when the list changes: `make deps` looks in any case.
$O/.packages-%: tools/packages.txt tools/packages.sh
	@mkdir -p $(@D)
	@tools/packages.sh $*
	@touch $@

.PHONY: deps
deps: ## install the Debian packages building, running and testing need
	@tools/packages.sh build run test

# ---- what the kernel is made of ---------------------------------------------------------------
KERNEL_DIRS := boot arch/x86_64 arch/x86_64/lib vmx ept devices guest tests/kernel
KERNEL_C    := $(sort $(wildcard $(KERNEL_DIRS:%=%/*.c)))
KERNEL_ASM  := $(sort $(wildcard $(KERNEL_DIRS:%=%/*.asm)))

# C files that touch the hardware (privileged instructions, ports, linker symbols). Every other C
# file is pure: it is compiled on the host for the tests too.
include tools/hardware-files.mk
PURE_C := $(filter-out $(HW_C) arch/x86_64/lib/memory.c tests/kernel/%,$(KERNEL_C))

WARN := -Wall -Wextra -Wconversion -Wshadow -Wmissing-prototypes -Wstrict-prototypes -Wvla \
        -Wundef -Wpointer-arith -Werror
# No vector is ever on the kernel's stack: 8 bytes are aligned enough.
KSTACK := $(if $(findstring clang,$(CC)),-mstack-alignment=8,-mpreferred-stack-boundary=3)
KFLAGS := -std=c17 -Oz -g -I. $(WARN) -ffreestanding -fno-pic -fno-pie -mcmodel=kernel \
          -mno-red-zone -mgeneral-regs-only -fno-stack-protector -fcf-protection=none \
          -fno-asynchronous-unwind-tables -fno-omit-frame-pointer -fno-strict-aliasing \
          -fno-common -ffunction-sections -fdata-sections $(KSTACK) $(KEXTRA)
KLDFLAGS := -nostdlib -static -no-pie -Wl,--build-id=none -Wl,-z,max-page-size=0x1000 \
            -Wl,-z,noexecstack -Wl,--gc-sections -Wl,--orphan-handling=error -T linker.ld

KOBJ := $(KERNEL_C:%.c=$O/k/%.o) $(KERNEL_ASM:%.asm=$O/k/%.asm.o) $O/k/version.o

# What a photograph of a screen says it was taken of.
VERSION := 0.1$(shell commit=$$(git describe --always --exclude='*' --abbrev=9 --dirty=+ 2>/dev/null) && echo "-$$commit")
include tools/image.mk
include tools/font.mk
include tools/guest.mk
include tools/acpi.mk
include tools/multiboot.mk

.PHONY: kernel iso clean
kernel: $O/corbel.elf ## build the kernel, build/corbel.elf
iso: $O/corbel.iso ## build the image that boots from CD, disk and USB stick (the default)

$O/k/%.o: %.c Makefile tools/hardware-files.mk tools/image.mk | $O/.packages-build
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$Q$(CC) $(KFLAGS) $(OPTIMIZE) -MMD -MP -c $< -o $@
	$(into_place)

.PHONY: always
$O/k/version.c: always
	@mkdir -p $(@D)
	@echo 'extern const char corbel_version[]; const char corbel_version[] = "$(VERSION)";' > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi
$O/k/version.o: $O/k/version.c
	$Q$(CC) $(KFLAGS) -c $< -o $@

$O/k/%.asm.o: %.asm $O/k/asm-offsets.inc tools/image.mk | $O/.packages-build
	@mkdir -p $(@D)
	$(call say,NASM,$<)
	$Q$(NASM) -f elf64 -g -F dwarf -w+all -Werror -I$O/k/ -I$O/g/ -I./ -MD $(@:.o=.d) $< -o $@
	$(into_place)

# Structure offsets for assembly: compiled, never typed.
$O/k/asm-offsets.inc: vmx/asm-offsets.c.in Makefile | $O/.packages-build
	@mkdir -p $(@D)
	$Q$(CC) $(KFLAGS) -MMD -MP -MT $@ -MF $@.d -x c -S $< -o $@.s
	$Qsed -n 's/^.*->\([A-Za-z0-9_]*\) \$$*\([-0-9]*\).*/%define \1 \2/p' $@.s > $@

# Three links: the first tells the functions' names, and so the size of their table; with that the
# second has everything in its place, and the third carries the table.
$O/corbel.elf: $(KOBJ) linker.ld tools/symbols.py
	@mkdir -p $O/k
	$(call say,LINK,$@)
	$Q$(PYTHON) tools/symbols.py --empty > $O/k/symbols0.c
	$Q$(CC) $(KFLAGS) -c $O/k/symbols0.c -o $O/k/symbols0.o
	$Q$(CC) $(KLDFLAGS) -o $O/corbel.pass1.elf $(KOBJ) $O/k/symbols0.o
	$Qnm -n $O/corbel.pass1.elf | $(PYTHON) tools/symbols.py > $O/k/symbols1.c
	$Q$(CC) $(KFLAGS) -c $O/k/symbols1.c -o $O/k/symbols1.o
	$Q$(CC) $(KLDFLAGS) -o $O/corbel.pass2.elf $(KOBJ) $O/k/symbols1.o
	$Qnm -n $O/corbel.pass2.elf | $(PYTHON) tools/symbols.py > $O/k/symbols.c
	$Q$(CC) $(KFLAGS) -c $O/k/symbols.c -o $O/k/symbols.o
	$Q$(CC) $(KLDFLAGS) -Wl,-Map=$O/corbel.map -o $@ $(KOBJ) $O/k/symbols.o
	$Qgrub-file --is-x86-multiboot2 $@

$O/corbel.iso: $O/corbel.elf tools/grub.cfg tools/mkiso.sh
	$(call say,IMAGE,$@)
	$Qtools/mkiso.sh $@ $O/corbel.elf tools/grub.cfg

.PHONY: usb
usb: $O/corbel.iso ## write the image to a USB stick, DEV=/dev/sdX, and give it a data partition
	@tools/packages.sh usb
	@[ -n "$(DEV)" ] || { echo "make usb DEV=/dev/sdX: say which disk; lsblk names them"; exit 2; }
	@tools/usb.sh $(if $(FORCE),--force) "$(DEV)" $O/corbel.iso

# A stick as usb makes it, with a kernel and an entry of somebody's own: for the tests.
$O/stick.img: $O/corbel.iso tools/usb.sh tools/menu-example.cfg tests/menu.cfg $O/g/tiny64.bin
	$(call say,STICK,$@)
	@rm -f $@ && truncate -s 32M $@
	$Qtools/usb.sh --yes --force $@ $< >/dev/null
	$Qat=$@@@$$((512 * $$(PATH=$$PATH:/usr/sbin sgdisk -p $@ | awk '/CORBEL-DATA/ { print $$2 }'))) && \
	    mcopy -o -i $$at tests/menu.cfg ::/corbel/menu.cfg && mcopy -i $$at $O/g/tiny64.bin ::/own.bin

# ---- running ----------------------------------------------------------------------------------
MACHINE  := auto
FIRMWARE := bios
MEDIA    := cd
CPUS     := 1
MEM      := 512
WHERE := --machine $(MACHINE) --firmware $(FIRMWARE) --media $(MEDIA) --cpus $(CPUS) --mem $(MEM) \
         $(if $(CPU),--cpu $(CPU)) $(RUN_FLAGS)
RUN := $(PYTHON) tools/run.py --build $O $(WHERE)
CMDLINE := run=guest

.PHONY: run selftest caps grade bench budgets plot
run: $O/corbel.elf $O/.packages-run ## boot Corbel and its built-in guest
	@$(RUN) --cmdline "$(CMDLINE)"
selftest: $O/corbel.elf $O/.packages-run ## boot the self-tests; TEST=glob picks some
	@$(RUN) --cmdline "run=selftest $(if $(TEST),test=$(TEST))"
grade: $O/corbel.elf $O/.packages-run ## set the CPU's VM entry beside its rules, into build/grade.tsv
	@$(PYTHON) tools/grade.py --build $O $(CPU)
caps: $O/corbel.elf $O/.packages-run ## boot and tell what this machine offers a hypervisor
	@$(RUN) --cmdline "run=caps"
bench budgets: $O/corbel.elf $O/.packages-run
	$Q$(MAKE) --no-print-directory kernel O=$O/count KEXTRA=-DCOUNT_VMCS $(if $V,V=$V)
	@$(PYTHON) tools/bench.py --build $O --counting $O/count/corbel.elf $(BENCH_WHERE)
bench: BENCH_WHERE = $(WHERE) ## measure VM exits in ticks, into build/bench.tsv
budgets: BENCH_WHERE = --update ## the same, into tests/budgets.tsv and docs/performance.md too
plot: ## draw docs/performance.png from what make bench-kvm has written
	@tools/packages.sh plot
	@$(PYTHON) tools/plot.py $O docs/performance.png
OP := cpuid
.PHONY: profile
profile: $O/corbel.elf $O/.packages-run ## where the ticks of an exit go; OP="cpuid pit_read", LIST=1 for each instruction
	@$(PYTHON) tools/profile.py --build $O $(if $(LIST),--list) $(OP)

# The pictures in docs. QEMU has no VT-x to run guests with, but a framebuffer.
SCREEN := $(PYTHON) tools/run.py --build $O --machine qemu --video 1024x768x32 --quiet
.PHONY: screens
screens: $O/corbel.elf $O/.packages-run ## take docs/screen.png and docs/crash.png anew
	@$(SCREEN) --cmdline "run=caps" --screenshot docs/screen.png; [ $$? = 3 ]
	@$(SCREEN) --cmdline "run=crash" --screenshot docs/crash.png; [ $$? = 4 ]

include tools/linux.mk

RUNS := 20
.PHONY: repeat
repeat: $O/corbel.elf $O/.packages-run ## run the self-tests RUNS=20 times: all must be the same to the tick
	@$(PYTHON) tools/repeat.py $O $(RUNS)

# ---- host tests -------------------------------------------------------------------------------
HOST_CC    := clang
SAN        := -fsanitize=address,undefined -fno-sanitize-recover=all
# tests/host/fake comes first: there the VMCS is an array, and the exit handlers do not know it.
HOST_FLAGS := -std=gnu17 -O1 -g -Itests/host/fake -I. $(WARN) -fno-omit-frame-pointer -DHOST_TEST
HOST_TESTS := $(sort $(wildcard tests/host/test_*.c))
HOST_RIG   := tests/host/vmx_rig.c
HOST_BINS  := $(HOST_TESTS:tests/host/%.c=$O/host/%)
FUZZERS    := $(sort $(wildcard tests/fuzz/fuzz_*.c))
FUZZ_BINS  := $(FUZZERS:tests/fuzz/%.c=$O/fuzz/%)
FUZZ_RUNS  := 100000
FUZZ_SECONDS := 60

$O/h/%.o: %.c Makefile tools/hardware-files.mk | $O/.packages-test
	@mkdir -p $(@D)
	$(call say,HOSTCC,$<)
	$Q$(HOST_CC) $(HOST_FLAGS) $(SAN) -MMD -MP -c $< -o $@

$O/libpure.a: $(PURE_C:%.c=$O/h/%.o) $(HOST_RIG:%.c=$O/h/%.o)
	@rm -f $@
	@ar rcs $@ $^

$O/host/%: $O/h/tests/host/%.o $O/h/tests/host/support.o $O/libpure.a
	@mkdir -p $(@D)
	$(call say,HOSTLD,$@)
	$Q$(HOST_CC) $(SAN) -o $@ $^ -lcmocka -lZydis

$O/f/%.o: %.c Makefile tools/hardware-files.mk | $O/.packages-test
	@mkdir -p $(@D)
	$(call say,FUZZCC,$<)
	$Qclang $(HOST_FLAGS) $(SAN) -fsanitize=fuzzer-no-link -MMD -MP -c $< -o $@

$O/libfuzzed.a: $(PURE_C:%.c=$O/f/%.o) $(HOST_RIG:%.c=$O/f/%.o)
	@rm -f $@
	@ar rcs $@ $^

$O/fuzz/%: $O/f/tests/fuzz/%.o $O/f/tests/fuzz/support.o $O/libfuzzed.a
	@mkdir -p $(@D)
	$(call say,FUZZLD,$@)
	$Qclang $(SAN) -fsanitize=fuzzer -o $@ $^

.PHONY: host-tests host-bins fuzz fuzz-bins rules
# One program: make build/host/test_NAME && build/host/test_NAME
host-bins: $(HOST_BINS)
host-tests: $(HOST_BINS) ## build and run the tests that need no machine
	@for t in $^; do echo "== $$t"; $$t || exit 1; done

rules: $O/host/test_entry_doc ## write the list of VM-entry rules into docs/vm-entry.md
	@$< --write

fuzz-bins: $(FUZZ_BINS)
fuzz: $(FUZZ_BINS) ## run every fuzzer for FUZZ_SECONDS=60, keeping what it learns in build/corpus
	@for t in $^; do echo "== $$t"; mkdir -p $O/corpus/$$(basename $$t); \
	    $$t -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 $O/corpus/$$(basename $$t) || exit 1; done

# ---- tests ------------------------------------------------------------------------------------
.PHONY: test check matrix
test: $O/.packages-build $O/.packages-run $O/.packages-test ## run every test there is; T=glob picks some
	@$(PYTHON) tools/test.py --build $O $(if $(T),--only '$(T)')
matrix: $O/.packages-build $O/.packages-run $O/.packages-test ## run the self-tests on every machine that can be emulated: a quarter of an hour
	@$(PYTHON) tools/test.py --build $O --matrix $(if $(T),--only '$(T)')
check: $O/.packages-build $O/.packages-run $O/.packages-test ## run the tests that take seconds
	@$(PYTHON) tools/test.py --build $O --fast $(if $(T),--only '$(T)')

# Every header must stand alone: it is compiled as a file of its own, by both compilers.
HEADERS := $(shell find arch boot devices ept guest vmx -name '*.h')
.PHONY: headers layers format format-check shellcheck
headers: $(HEADERS:%=$O/headers/gcc/%.ok) $(HEADERS:%=$O/headers/clang/%.ok)
$O/headers/gcc/%.ok: % Makefile | $O/.packages-build
	@mkdir -p $(@D)
	@gcc $(filter-out $(KSTACK),$(KFLAGS)) -MMD -MP -MF $@.d -MT $@ -fsyntax-only -include $< -x c /dev/null
	@touch $@
$O/headers/clang/%.ok: % Makefile | $O/.packages-test
	@mkdir -p $(@D)
	@clang $(filter-out $(KSTACK),$(KFLAGS)) -MMD -MP -MF $@.d -MT $@ -fsyntax-only -include $< -x c /dev/null
	@touch $@

layers:
	@$(PYTHON) tools/layers.py

FORMATTED := $(shell find arch boot devices ept guest vmx tests -name '*.[ch]')
format: ## put the C files in the settled format
	clang-format -i $(FORMATTED)
format-check:
	@clang-format --dry-run -Werror $(FORMATTED)
shellcheck:
	shellcheck tools/*.sh .ci/run

clean: ## remove build/
	rm -rf $O

-include $(shell find $O -name '*.d' 2>/dev/null)
