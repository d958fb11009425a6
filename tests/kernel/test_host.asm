; SPDX-License-Identifier: MIT
bits 64

global registers_across_nmi

section .text

; void registers_across_nmi(const u64 in[14], u64 out[14])
; All but RSP and the one that points to the array: RSI stays the pointer to out until the end, so
; its own value is not among the fourteen.
registers_across_nmi:
        push    rbx
        push    rbp
        push    r12
        push    r13
        push    r14
        push    r15
        mov     rax, [rdi]
        mov     rbx, [rdi + 8]
        mov     rcx, [rdi + 16]
        mov     rdx, [rdi + 24]
        mov     rbp, [rdi + 32]
        mov     r8, [rdi + 40]
        mov     r9, [rdi + 48]
        mov     r10, [rdi + 56]
        mov     r11, [rdi + 64]
        mov     r12, [rdi + 72]
        mov     r13, [rdi + 80]
        mov     r14, [rdi + 88]
        mov     r15, [rdi + 96]
        mov     rdi, [rdi + 104]
        int     2
        mov     [rsi], rax
        mov     [rsi + 8], rbx
        mov     [rsi + 16], rcx
        mov     [rsi + 24], rdx
        mov     [rsi + 32], rbp
        mov     [rsi + 40], r8
        mov     [rsi + 48], r9
        mov     [rsi + 56], r10
        mov     [rsi + 64], r11
        mov     [rsi + 72], r12
        mov     [rsi + 80], r13
        mov     [rsi + 88], r14
        mov     [rsi + 96], r15
        mov     [rsi + 104], rdi
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     rbp
        pop     rbx
        ret
