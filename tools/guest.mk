# SPDX-License-Identifier: MIT
# The guest programs: small freestanding images, embedded by guest/blobs.asm. Included by Makefile.

GUEST_FLAGS := -std=c17 -Os -I. $(WARN) -ffreestanding -fno-pic -fno-pie -mno-red-zone \
               -mgeneral-regs-only -fno-stack-protector -fcf-protection=none \
               -fno-asynchronous-unwind-tables -fno-common -ffunction-sections -fdata-sections
GUEST_LD    := -nostdlib -static -Wl,--build-id=none -Wl,-z,noexecstack -Wl,--gc-sections \
               -Wl,-z,max-page-size=0x1000 -Wl,--no-warn-rwx-segments -T guest/tiny/program.ld
GUEST_TESTS := $(sort $(wildcard tests/guest/*.c))
GUEST_BINS  := $O/g/tiny64.bin $O/g/tiny32.bin $O/g/tiny16.bin $O/g/tests64.bin $O/g/bench64.bin

$O/g/64/%.o: %.c Makefile tools/guest.mk | $O/.packages-build
	@mkdir -p $(@D)
	$(call say,GUESTCC,$<)
	$Q$(CC) -m64 $(GUEST_FLAGS) -MMD -MP -c $< -o $@

$O/g/32/%.o: %.c Makefile tools/guest.mk | $O/.packages-build
	@mkdir -p $(@D)
	$(call say,GUESTCC,$< (32-bit))
	$Q$(CC) -m32 $(GUEST_FLAGS) -MMD -MP -c $< -o $@

$O/g/64/%.asm.o: %.asm tools/guest.mk | $O/.packages-build
	@mkdir -p $(@D)
	$Q$(NASM) -f elf64 -w+all -Werror -DMODE=64 $< -o $@

$O/g/32/%.asm.o: %.asm tools/guest.mk | $O/.packages-build
	@mkdir -p $(@D)
	$Q$(NASM) -f elf32 -w+all -Werror -DMODE=32 $< -o $@

RT64 := $O/g/64/guest/tiny/rt64.asm.o $O/g/64/guest/tiny/rt.o $O/g/64/guest/tiny/record.asm.o \
        $O/g/64/arch/x86_64/lib/memory.o
RT32 := $O/g/32/guest/tiny/rt32.asm.o $O/g/32/guest/tiny/rt.o $O/g/32/guest/tiny/record.asm.o \
        $O/g/32/arch/x86_64/lib/memory.o

$O/g/tiny64.elf: $(RT64) $O/g/64/guest/tiny/tiny.o guest/tiny/program.ld
	$Q$(CC) -m64 $(GUEST_LD) -o $@ $(filter %.o,$^)

$O/g/tests64.elf: $(RT64) $(GUEST_TESTS:%.c=$O/g/64/%.o) guest/tiny/program.ld
	$Q$(CC) -m64 $(GUEST_LD) -o $@ $(filter %.o,$^)

$O/g/echo64.elf: $(RT64) $O/g/64/guest/tiny/echo.o guest/tiny/program.ld
	$Q$(CC) -m64 $(GUEST_LD) -o $@ $(filter %.o,$^)

$O/g/bench64.elf: $(RT64) $O/g/64/guest/tiny/bench.o guest/tiny/program.ld
	$Q$(CC) -m64 $(GUEST_LD) -o $@ $(filter %.o,$^)

$O/g/tiny32.elf: $(RT32) $O/g/32/guest/tiny/tiny.o guest/tiny/program.ld
	$Q$(CC) -m32 -Wl,-m,elf_i386 $(GUEST_LD) -o $@ $(filter %.o,$^)

$O/g/tiny64.bin $O/g/tiny32.bin $O/g/tests64.bin $O/g/bench64.bin $O/g/echo64.bin: %.bin: %.elf
	$Qobjcopy -O binary $< $@

$O/g/tiny16.bin: guest/tiny/tiny16.asm | $O/.packages-build
	@mkdir -p $(@D)
	$Q$(NASM) -f bin -w+all -Werror $< -o $@

$O/k/guest/blobs.asm.o: $(GUEST_BINS)

# Not embedded: modules that tests boot.
GUEST_MODULES := $O/g/echo64.bin
kernel iso: $(GUEST_MODULES)
