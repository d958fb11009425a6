; SPDX-License-Identifier: MIT
; Entry, interrupt stubs and caught exceptions of a 64-bit guest program.
bits 64
default rel
extern guest_main, rt_interrupt, rt_catching
global guest_entry, rt_stubs, rt_try, rt_caught_return, rt_load_tables

section .text
; RDI = struct guest_info, RSP set by the loader.
guest_entry:
        xchg    bx, bx                  ; does nothing; an emulator can take the time there
        xor     ebp, ebp
        call    guest_main
        ud2

; void rt_load_tables(const void *gdtr, const void *idtr): flat code 08H, data 10H.
rt_load_tables:
        lgdt    [rdi]
        lidt    [rsi]
        mov     eax, 0x10
        mov     ds, eax
        mov     es, eax
        mov     ss, eax
        mov     fs, eax
        mov     gs, eax
        pop     rax
        push    qword 0x08
        push    rax
        retfq

; int rt_try(void (*fn)(uintptr_t), uintptr_t arg)
rt_try: push    rbp
        push    rbx
        push    r12
        push    r13
        push    r14
        push    r15
        pushfq
        mov     [rt_catching], rsp
        mov     rax, rdi
        mov     rdi, rsi
        call    rax
        mov     eax, -1
        jmp     leave_try
; The handler comes here with RSP as rt_try left it and EAX = vector.
rt_caught_return:
leave_try:
        mov     qword [rt_catching], 0
        popfq
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     rbx
        pop     rbp
        ret

; Sixteen bytes a stub, so that the table needs no list of addresses.
align 16
rt_stubs:
%assign v 0
%rep 256
        align 16
%if !(v == 8 || (v >= 10 && v <= 14) || v == 17 || v == 21)
        push    qword 0
%endif
        push    qword v
        jmp     near save_all
%assign v v + 1
%endrep

save_all: push    rax
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
        mov     rbp, rsp
        and     rsp, -16
        call    rt_interrupt
        test    rax, rax                ; a stack to continue on in rt_try, or 0
        jnz     .caught
        mov     rsp, rbp
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
        add     rsp, 16
        iretq
.caught:
        mov     ecx, [rbp + 15 * 8]     ; the vector
        mov     rsp, rax
        mov     eax, ecx
        jmp     rt_caught_return
