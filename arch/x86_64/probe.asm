; SPDX-License-Identifier: MIT
; Accesses that may fault, in two ways: an instruction with a row in .fixups, which trap_dispatch
; resumes at the row's landing; and a whole function under a probe, whose fault ends the function.
bits 64

global rdmsr_safe, wrmsr_safe
global probe_enter, probe_landing, probe_load, probe_store, probe_on_stack

%macro FIXUP 2                          ; faulting instruction, landing
        section .fixups progbits alloc noexec nowrite align=8
        dq      %1, %2
        section .text
%endmacro

section .text

; bool rdmsr_safe(u32 msr, u64 *value)
rdmsr_safe:
        mov     ecx, edi
.access:
        rdmsr
        shl     rdx, 32
        mov     eax, eax
        or      rax, rdx
        mov     [rsi], rax
        mov     eax, 1
        ret
        FIXUP   rdmsr_safe.access, msr_fault

; bool wrmsr_safe(u32 msr, u64 value)
wrmsr_safe:
        mov     ecx, edi
        mov     rax, rsi
        mov     rdx, rsi
        shr     rdx, 32
.access:
        wrmsr
        mov     eax, 1
        ret
        FIXUP   wrmsr_safe.access, msr_fault

msr_fault:
        xor     eax, eax
        ret

; struct probe_result probe_enter(void (*fn)(u64), u64 arg, u64 *resume)
; *resume is the stack pointer with which trap_dispatch continues at probe_landing; RAX is then
; the result it made.
probe_enter:
        push    rbx
        push    rbp
        push    r12
        push    r13
        push    r14
        push    r15
        push    rdx
        mov     [rdx], rsp
        mov     rax, rdi
        mov     rdi, rsi
        call    rax
        mov     eax, -1                 ; no vector, error code 0
probe_landing:
        cld
        pop     rdx
        mov     qword [rdx], 0
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     rbp
        pop     rbx
        ret

; What is put under a probe. The store is a locked OR of nothing: it needs the right to write and
; changes no byte.
probe_load:
        mov     al, [rdi]
        ret

probe_store:
        lock or byte [rdi], 0
        ret

; Uses the stack that ends at rdi: a push there.
probe_on_stack:
        mov     rax, rsp
        mov     rsp, rdi
        push    rax
        pop     rsp
        ret
