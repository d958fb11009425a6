; SPDX-License-Identifier: MIT
; The boot stack, for the assembly that has to name its top. The guard page below it is why it
; cannot be a plain array in C: the two must touch.
bits 64

global boot_stack_guard, boot_stack, boot_stack_top

section .bss.stacks nobits alloc noexec write align=4096

boot_stack_guard:
        resb    4096
boot_stack:
        resb    16384
boot_stack_top:
