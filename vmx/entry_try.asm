; SPDX-License-Identifier: MIT
; One VM entry, made with the current VMCS as it is and no word said about what comes of it: the
; guest's registers are whatever they are, for no instruction of it is meant to run.

%include "asm-offsets.inc"

section .text

; int entry_try(unsigned how): 0 VMLAUNCH, 1 VMRESUME, 2 VMLAUNCH right after MOV to SS
; Returns 0 after a VM exit, 1 for VMfailInvalid, 2 for VMfailValid. The VMCS's host RIP is
; entry_try_landing.
global entry_try
entry_try:
        push    rbp
        push    rbx
        push    r12
        push    r13
        push    r14
        push    r15
        mov     eax, FIELD_HOST_RSP
        vmwrite rax, rsp
        cmp     edi, 1
        je      .resume
        ja      .mov_ss
        vmlaunch
        jmp     .failed
.resume:
        vmresume
        jmp     .failed
.mov_ss:
        mov     eax, ss
        mov     ss, eax
        vmlaunch
.failed:
        mov     eax, 1
        mov     ecx, 2
        cmovnc  eax, ecx
        jmp     return

global entry_try_landing
entry_try_landing:
        xor     eax, eax
return:
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     rbx
        pop     rbp
        ret

; void entry_try_bare(u64): for a CPU that is not in VMX operation, under a probe.
global entry_try_bare
entry_try_bare:
        vmlaunch
        ret
