; SPDX-License-Identifier: MIT
; The 256 entries of the IDT. Each makes the same struct trap_frame (traps.h) and calls
; trap_dispatch, which decides everything. There is no user mode, so no SWAPGS.
bits 64

global isr_stubs
extern trap_dispatch

section .text

; SDM volume 3, "Error Code": these push one of their own.
%define HAS_ERROR(v) ((v) == 8 || ((v) >= 10 && (v) <= 14) || (v) == 17 || (v) == 21)

; idt.c computes where the entry of a vector is: the exceptions' are 16 bytes long, the others' 8,
; which all of them say in one byte by what they differ from 128.
        align   16
isr_stubs:
%assign v 0
%rep 32
        align   16, nop
%if !HAS_ERROR(v)
        push    0
%endif
        push    v
        jmp     near isr_common
%assign v v+1
%endrep
%rep 256 - 32
        align   8, nop
        push    v - 128
        jmp     near interrupt_common
%assign v v+1
%endrep
        align   8, nop
%if $ - isr_stubs != 32 * 16 + (256 - 32) * 8
%error "an interrupt entry does not fit its bytes"
%endif

interrupt_common:
        push    qword [rsp]
        mov     qword [rsp + 8], 0      ; there is no error code
        add     qword [rsp], 128
; The CPU aligned RSP to 16 before it pushed its five words; with the two of the stub and the
; fifteen registers it is aligned again at the call.
isr_common:
        push    rax
        push    rbx
        push    rcx
        push    rdx
        push    rsi
        push    rdi
        push    rbp
        push    r8
        push    r9
        push    r10
        push    r11
        push    r12
        push    r13
        push    r14
        push    r15
        cld
        mov     rdi, rsp
        call    trap_dispatch
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     r11
        pop     r10
        pop     r9
        pop     r8
        pop     rbp
        pop     rdi
        pop     rsi
        pop     rdx
        pop     rcx
        pop     rbx
        pop     rax
        add     rsp, 16                 ; vector and error code
        iretq
