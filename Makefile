# SPDX-License-Identifier: MIT
# Corbel's build. `make help` lists what there is to make.

CC      := gcc
O       := build
PYTHON  := python3
NASM    := nasm
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := iso
.DELETE_ON_ERROR:
.SECONDARY:

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
KFLAGS := -std=c17 -O2 -g -I. $(WARN) -ffreestanding -fno-pic -fno-pie -mcmodel=kernel \
          -mno-red-zone -mgeneral-regs-only -fno-stack-protector -fcf-protection=none \
          -fno-asynchronous-unwind-tables -fno-omit-frame-pointer -fno-strict-aliasing \
          -fno-common -ffunction-sections -fdata-sections $(KEXTRA)
KLDFLAGS := -nostdlib -static -no-pie -Wl,--build-id=none -Wl,-z,max-page-size=0x1000 \
            -Wl,-z,noexecstack -Wl,--gc-sections -Wl,--orphan-handling=error -T linker.ld

KOBJ := $(KERNEL_C:%.c=$O/k/%.o) $(KERNEL_ASM:%.asm=$O/k/%.asm.o)
include tools/font.mk

.PHONY: kernel iso clean
kernel: $O/corbel.elf
iso: $O/corbel.iso

$O/k/%.o: %.c Makefile tools/hardware-files.mk
	@mkdir -p $(@D)
	$(CC) $(KFLAGS) -MMD -MP -c $< -o $@

$O/k/%.asm.o: %.asm $O/k/asm-offsets.inc
	@mkdir -p $(@D)
	$(NASM) -f elf64 -g -F dwarf -w+all -Werror -I$O/k/ -I./ -MD $(@:.o=.d) $< -o $@

# Structure offsets for assembly: compiled, never typed.
$O/k/asm-offsets.inc: vmx/asm-offsets.c.in Makefile
	@mkdir -p $(@D)
	$(CC) $(KFLAGS) -MMD -MP -MT $@ -MF $@.d -x c -S $< -o $@.s
	sed -n 's/^.*->\([A-Za-z0-9_]*\) \$$*\([-0-9]*\).*/%define \1 \2/p' $@.s > $@

# Two links: the first gives the addresses of the functions, the second carries their names. The
# table comes after all text and read-only data, so it moves neither.
$O/corbel.elf: $(KOBJ) linker.ld tools/symbols.py
	@mkdir -p $O/k
	$(PYTHON) tools/symbols.py --empty > $O/k/symbols0.c
	$(CC) $(KFLAGS) -c $O/k/symbols0.c -o $O/k/symbols0.o
	$(CC) $(KLDFLAGS) -o $O/corbel.pass1.elf $(KOBJ) $O/k/symbols0.o
	nm -n $O/corbel.pass1.elf | $(PYTHON) tools/symbols.py > $O/k/symbols.c
	$(CC) $(KFLAGS) -c $O/k/symbols.c -o $O/k/symbols.o
	$(CC) $(KLDFLAGS) -Wl,-Map=$O/corbel.map -o $@ $(KOBJ) $O/k/symbols.o
	grub-file --is-x86-multiboot2 $@

$O/corbel.iso: $O/corbel.elf tools/grub.cfg
	tools/mkiso.sh $@ $O/corbel.elf tools/grub.cfg

# ---- host tests -------------------------------------------------------------------------------
HOST_CC    := clang
SAN        := -fsanitize=address,undefined -fno-sanitize-recover=all
HOST_FLAGS := -std=gnu17 -O1 -g -I. $(WARN) -fno-omit-frame-pointer -DHOST_TEST
HOST_TESTS := $(sort $(wildcard tests/host/test_*.c))
HOST_BINS  := $(HOST_TESTS:tests/host/%.c=$O/host/%)
FUZZERS    := $(sort $(wildcard tests/fuzz/fuzz_*.c))
FUZZ_BINS  := $(FUZZERS:tests/fuzz/%.c=$O/fuzz/%)
FUZZ_RUNS  := 100000

$O/h/%.o: %.c Makefile tools/hardware-files.mk
	@mkdir -p $(@D)
	$(HOST_CC) $(HOST_FLAGS) $(SAN) -MMD -MP -c $< -o $@

$O/libpure.a: $(PURE_C:%.c=$O/h/%.o)
	rm -f $@
	ar rcs $@ $^

$O/host/%: $O/h/tests/host/%.o $O/h/tests/host/support.o $O/libpure.a
	@mkdir -p $(@D)
	$(HOST_CC) $(SAN) -o $@ $^ -lcmocka -lZydis

$O/f/%.o: %.c Makefile tools/hardware-files.mk
	@mkdir -p $(@D)
	clang $(HOST_FLAGS) $(SAN) -fsanitize=fuzzer-no-link -MMD -MP -c $< -o $@

$O/libfuzzed.a: $(PURE_C:%.c=$O/f/%.o)
	rm -f $@
	ar rcs $@ $^

$O/fuzz/%: $O/f/tests/fuzz/%.o $O/f/tests/fuzz/support.o $O/libfuzzed.a
	@mkdir -p $(@D)
	clang $(SAN) -fsanitize=fuzzer -o $@ $^

.PHONY: host-tests fuzz-short
# One program: make build/host/test_NAME && build/host/test_NAME
host-tests: $(HOST_BINS)
	@for t in $^; do echo "== $$t"; $$t || exit 1; done

fuzz-short: $(FUZZ_BINS)
	@for t in $^; do echo "== $$t"; $$t -runs=$(FUZZ_RUNS) -seed=1 -print_final_stats=0 || exit 1; done

.PHONY: layers format format-check
layers:
	$(PYTHON) tools/layers.py

FORMATTED := $(shell git ls-files -co --exclude-standard '*.c' '*.h')
format:
	clang-format -i $(FORMATTED)
format-check:
	clang-format --dry-run -Werror $(FORMATTED)

clean:
	rm -rf $O

-include $(shell find $O -name '*.d' 2>/dev/null)
