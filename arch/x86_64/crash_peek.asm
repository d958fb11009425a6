; SPDX-License-Identifier: MIT
; A read that may fault and uses nothing of the CPU's state but the IDT: the crash screen cannot
; rely on more.
bits 64

global crash_peek

section .text

; bool crash_peek(u64 addr, u8 *value)
crash_peek:
        mov     al, [rdi]
        mov     [rsi], al
        mov     eax, 1
        ret
.fault:
        xor     eax, eax
        ret

section .fixups progbits alloc noexec nowrite align=8
        dq      crash_peek, crash_peek.fault
