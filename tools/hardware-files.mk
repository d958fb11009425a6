# SPDX-License-Identifier: MIT
# The C files that only run on the bare machine; see Makefile.
HW_C := \
	boot/main.c
