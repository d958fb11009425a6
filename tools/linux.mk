# SPDX-License-Identifier: MIT
# Linux guests: Debian's kernels and installer out of its packages, and a small initramfs.

LINUX_KINDS := cloud generic installer kvm busybox
.PHONY: linux-files
linux-files: $(LINUX_KINDS:%=$O/linux/%/package.txt) $O/linux/initramfs.cpio

$O/linux/%/package.txt: tools/debian.py
	@mkdir -p $O/linux
	@$(PYTHON) tools/debian.py $O/linux $*

# A C library's start would be a part of what `make bench-linux` measures.
$O/linux/ticks: tools/linux/ticks.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$Q$(CC) -std=c17 -Os $(WARN) -static -nostdlib -ffreestanding -fno-pic -no-pie -s \
	    -fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables \
	    -Wl,--build-id=none -o $@ $<

$O/linux/initramfs.cpio: tools/initramfs.py $O/linux/busybox/package.txt $O/linux/ticks \
                         tools/linux/init tools/linux/shrc
	$(call say,PACK,$@)
	$Q$(PYTHON) tools/initramfs.py $@ init=tools/linux/init etc/shrc=tools/linux/shrc \
	    bin/busybox=$O/linux/busybox/busybox bin/ticks=$O/linux/ticks

RUN_LINUX = $(PYTHON) tools/linux.py --build $O --machine $(MACHINE) $(if $(CPU),--cpu $(CPU)) \
            --kernel "$(KERNEL)" --initrd "$(INITRD)" --append "$(APPEND)" \
            $(if $(filter command line environment,$(origin MEM)),--mem $(MEM)) $(if $(BARE),--bare)
LINUX_PARTS := $O/corbel.elf $O/.packages-run $O/linux/initramfs.cpio

.PHONY: linux linux-generic installer
linux: $(LINUX_PARTS) $O/linux/cloud/package.txt ## boot Debian's cloud kernel in a VM to a shell; KERNEL= INITRD= APPEND= MEM= for your own
	@$(RUN_LINUX) --kind cloud
linux-generic: $(LINUX_PARTS) $O/linux/generic/package.txt ## the same with Debian's generic kernel
	@$(RUN_LINUX) --kind generic
installer: $O/corbel.elf $O/.packages-run $O/linux/installer/package.txt ## boot the Debian installer in a VM
	@$(RUN_LINUX) --kind installer

.PHONY: bench-linux
bench-linux: $(LINUX_PARTS) $O/linux/cloud/package.txt ## ticks from kernel entry to init, under Corbel and bare, into build/bench-linux.tsv
	@$(PYTHON) tools/bench_linux.py $O $O/bench-linux.tsv

# Part of it is Corbel's own loader: the guest starts as it does in Corbel. A C library, since it
# is not measured: what is, is between the guest and KVM.
$O/linux/kvm-bench: tools/linux/kvm-bench.c guest/load.c tools/linux.mk | $O/.packages-build
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$Q$(CC) -std=gnu17 -O2 -I. $(WARN) -static -ffunction-sections -fdata-sections \
	    -Wl,--gc-sections -s -MMD -MP -MF $@.d -MT $@ -o $@ $(filter %.c,$^)

KVM_MODULES := irqbypass kvm kvm-intel
$O/linux/kvm.cpio: tools/initramfs.py tools/linux/init-kvm $O/linux/kvm-bench $O/g/bench64.bin \
                   $O/linux/busybox/package.txt $O/linux/kvm/package.txt
	$(call say,PACK,$@)
	$Q$(PYTHON) tools/initramfs.py $@ init=tools/linux/init-kvm \
	    bin/busybox=$O/linux/busybox/busybox bin/kvm-bench=$O/linux/kvm-bench \
	    bench64.bin=$O/g/bench64.bin $(foreach m,$(KVM_MODULES),kvm/$m.ko=$O/linux/kvm/$m.ko)

.PHONY: bench-kvm
bench-kvm: $O/corbel.elf $O/.packages-run $O/linux/kvm.cpio ## VM exits in ticks beside those of Debian's KVM, into build/bench-kvm.tsv
	@$(PYTHON) tools/bench_kvm.py --build $O $(if $(CPU),--cpu $(CPU)) $(if $(UPDATE),--update)
