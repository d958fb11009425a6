; SPDX-License-Identifier: MIT
; Into the guest and back: saves, loads, no decision. To C it is a function that returns when the
; guest exits.

%include "asm-offsets.inc"

%define REG(n) [rdi + VCPU_REGS + (n) * 8]

section .text.hot progbits alloc exec nowrite align=16

; int vmx_enter(struct vcpu *vcpu)
; Returns 0 after a VM exit, 1 for VMfailInvalid, 2 for VMfailValid. The vCPU's VMCS is current.
; RFLAGS and RSP of the guest are in the VMCS; a VM exit leaves RFLAGS = 2, so interrupts are off
; and DF is clear on return as C expects.
global vmx_enter
vmx_enter:
        push    rbp
        push    rbx
        push    r12
        push    r13
        push    r14
        push    r15
        push    rdi
        ; The stack is at the same depth nearly always: the VMCS is written only when it is not.
        cmp     rsp, [rdi + VCPU_HOST_RSP]
        jne     .new_rsp
.enter: cmp     dword [rdi + VCPU_LAUNCHED], 0 ; the flag lives across the loads
        mov     rax, REG(0)
        mov     rcx, REG(1)
        mov     rdx, REG(2)
        mov     rbx, REG(3)
        mov     rbp, REG(5)
        mov     rsi, REG(6)
        mov     r8, REG(8)
        mov     r9, REG(9)
        mov     r10, REG(10)
        mov     r11, REG(11)
        mov     r12, REG(12)
        mov     r13, REG(13)
        mov     r14, REG(14)
        mov     r15, REG(15)
        mov     rdi, REG(7)
        je      .launch
        vmresume
        jmp     .failed
.launch:
        vmlaunch
.failed:
        ; Guest registers are still loaded; nothing of them may reach the C that follows but what
        ; it is called to keep.
        mov     eax, 1
        mov     ecx, 2
        cmovnc  eax, ecx
        jmp     leave
.new_rsp:
        mov     [rdi + VCPU_HOST_RSP], rsp
        mov     eax, FIELD_HOST_RSP
        vmwrite rax, rsp
        jmp     .enter

; Where the VMCS's host RIP points: every guest register but RSP is live, RSP is the host's.
global vmx_exit_landing
vmx_exit_landing:
        push    rdi
        mov     rdi, [rsp + 8]
        mov     REG(0), rax
        mov     REG(1), rcx
        mov     REG(2), rdx
        mov     REG(3), rbx
        mov     REG(5), rbp
        mov     REG(6), rsi
        mov     REG(8), r8
        mov     REG(9), r9
        mov     REG(10), r10
        mov     REG(11), r11
        mov     REG(12), r12
        mov     REG(13), r13
        mov     REG(14), r14
        mov     REG(15), r15
        pop     qword REG(7)
        ; A guest's values must not be what C speculates with: the registers that a call may
        ; clobber are cleared, the others come back from the stack.
        xor     eax, eax
        xor     ecx, ecx
        xor     edx, edx
        xor     esi, esi
        xor     r8d, r8d
        xor     r9d, r9d
        xor     r10d, r10d
        xor     r11d, r11d
leave:
        pop     rdi
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     rbx
        pop     rbp
        ret
