; SPDX-License-Identifier: MIT
; Into the guest and back, for as long as C says so: saves, loads, reads what every exit has, and
; clears away what one side could learn of the other.

%include "asm-offsets.inc"

%define REG(base, n) [base + VCPU_REGS + (n) * 8]

; RAX = the vCPU.
%macro LOAD_GUEST 0
        mov     rcx, REG(rax, 1)
        mov     rdx, REG(rax, 2)
        mov     rbx, REG(rax, 3)
        mov     rbp, REG(rax, 5)
        mov     rsi, REG(rax, 6)
        mov     rdi, REG(rax, 7)
        mov     r8, REG(rax, 8)
        mov     r9, REG(rax, 9)
        mov     r10, REG(rax, 10)
        mov     r11, REG(rax, 11)
        mov     r12, REG(rax, 12)
        mov     r13, REG(rax, 13)
        mov     r14, REG(rax, 14)
        mov     r15, REG(rax, 15)
        mov     rax, REG(rax, 0)
%endmacro

; RAX = the vCPU, and stays: the guest's IA32_SPEC_CTRL, unless it is what the host's is.
%macro LOAD_SPEC_CTRL 0
        mov     rdi, rax
        mov     eax, [rdi + VCPU_SPEC_CTRL]
        cmp     eax, [rdi + VCPU_SPEC_STAYS]
        je      %%same
        mov     ecx, [rdi + VCPU_SPEC_MSR]
        xor     edx, edx
        wrmsr
%%same: mov     rax, rdi
%endmacro

; RDI = the vCPU.
%macro SAVE_SPEC_CTRL 0
        mov     ecx, [rdi + VCPU_SPEC_MSR]
        rdmsr
        mov     [rdi + VCPU_SPEC_CTRL], eax
        cmp     eax, [rdi + VCPU_SPEC_STAYS]
        je      %%same
        mov     eax, [rdi + VCPU_SPEC_HOST]
        xor     edx, edx
        wrmsr
%%same:
%endmacro

; RDI = the vCPU. Each CALL puts a return behind the guest's; to where it leads nothing but a wrong
; guess of the CPU's goes. LFENCE: no RET before the last of them is really done.
%macro FILL_RSB 0
        mov     ecx, [rdi + VCPU_RSB_CALLS]
        mov     rax, rsp
%%next: call    %%one
        int3
%%one:  call    %%two
        int3
%%two:  sub     ecx, 2
        jnz     %%next
        mov     rsp, rax
        lfence
%endmacro

; RDI = the vCPU. LFENCE: a wrong guess about the JE, which a guest may have taught, ends here.
%macro CLEAR_HISTORY 0
        cmp     dword [rdi + VCPU_HISTORY], 0
        je      %%none
        call    clear_history
%%none: lfence
%endmacro

; Register (64 and 32 bits), VMCS field, place in struct vcpu: 8 bytes are written.
%macro READ 4
        mov     %2, %3
        vmread  [rdi + %4], %1
%endmacro

section .rodata
; VERW clears the CPU's buffers if its operand is in memory and a segment that may be written.
writable:
        dw      HOST_DATA_SELECTOR

section .text.hot progbits alloc exec nowrite align=64

; int vmx_run(struct vcpu *vcpu, const void *resume, unsigned way)
; Enters the guest. After each exit calls vcpu->finish(vcpu, vcpu->answer(vcpu)), which returns the vCPU
; to enter again or NULL to leave: then the result is 0. An entry that fails ends it with 1 for VMfailInvalid and 2
; for VMfailValid. The vCPU's VMCS is current, its host RIP the landing of the same way (enum way) as
; resume. RFLAGS and RSP of the guest are in the VMCS; a VM exit leaves RFLAGS = 2, so interrupts
; are off and DF is clear in C as it expects.
global vmx_run
vmx_run:
        push    rbp
        mov     rbp, rsp
        push    rbx
        push    r12
        push    r13
        push    r14
        push    r15
        push    rdi
        mov     eax, FIELD_HOST_RSP
        vmwrite rax, rsp
        mov     rax, rdi
        cmp     dword [rdi + VCPU_LAUNCHED], 0
        jne     .resume
        mov     dword [rdi + VCPU_LAUNCHED], 1
        ; Launching is rare: one sequence does for every way.
        test    edx, WAY_SPEC
        jz      .load
        LOAD_SPEC_CTRL
.load:  LOAD_GUEST
        verw    [rel writable]
        vmlaunch
        ; An entry that does not fail makes a VMCS a launched one; this one did. MOV keeps the flags.
        mov     rdi, [rsp]
        mov     dword [rdi + VCPU_LAUNCHED], 0
        jmp     .failed
.resume:
        jmp     rsi
.failed:
        ; Guest registers are still loaded; C gets none of them.
        mov     eax, 1
        mov     ecx, 2
        cmovnc  eax, ecx
        xor     edx, edx
        xor     esi, esi
        xor     r8d, r8d
        xor     r9d, r9d
        xor     r10d, r10d
        xor     r11d, r11d
.leave: pop     rdi
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     rbx
        pop     rbp
        ret

; Takes so many branches that none of the guest's is left in their history. This sequence, in this order
; and at these places: Intel, "Branch History Injection and Intra-mode Branch Target Injection",
; "Software BHB-clearing Sequence". Clobbers EAX and ECX.
clear_history:
        mov     ecx, 5
        call    .round
        ret
align 64, int3
.round: call    .hops
        ret
align 64, int3
.hops:  mov     eax, 5
.hop:   jmp     .over
        nop
.over:  sub     eax, 1
        jnz     .hop
        sub     ecx, 1
        jnz     .round
        ret

; The loop, for a set of WAY_*. What is not in the set is not in the code, so that what a CPU does not
; need, or mitigations=off takes away, costs no instruction.
%macro WAY 1

global vmx_resume_%1
vmx_resume_%1:                          ; RAX = the vCPU
%if %1 & WAY_SPEC
        LOAD_SPEC_CTRL
%endif
        LOAD_GUEST
%if %1 & WAY_VERW
        verw    [rel writable]
%endif
        vmresume
        jmp     vmx_run.failed

; Where the VMCS's host RIP points: every guest register but RSP is live, RSP is as vmx_run left it.
global vmx_landing_%1
vmx_landing_%1:
        push    rdi
        mov     rdi, [rsp + 8]
        mov     REG(rdi, 0), rax
        mov     REG(rdi, 1), rcx
        mov     REG(rdi, 2), rdx
        mov     REG(rdi, 3), rbx
        mov     REG(rdi, 5), rbp
        mov     REG(rdi, 6), rsi
        mov     REG(rdi, 8), r8
        mov     REG(rdi, 9), r9
        mov     REG(rdi, 10), r10
        mov     REG(rdi, 11), r11
        mov     REG(rdi, 12), r12
        mov     REG(rdi, 13), r13
        mov     REG(rdi, 14), r14
        mov     REG(rdi, 15), r15
        pop     qword REG(rdi, 7)
%if %1 & WAY_RSB
        FILL_RSB                        ; before the first RET
        CLEAR_HISTORY                   ; before the first indirect CALL
%endif
%if %1 & WAY_SPEC
        SAVE_SPEC_CTRL                  ; before the first indirect CALL
%endif
        ; What one READ writes too much the next one overwrites: struct exit_info.
        READ    rax, eax, FIELD_EXIT_REASON, EXIT_REASON
        READ    rcx, ecx, FIELD_EXIT_LENGTH, EXIT_LENGTH
        READ    rdx, edx, FIELD_INTERRUPTIBILITY, EXIT_INTERRUPTIBILITY
        READ    rsi, esi, FIELD_RIP, EXIT_RIP
        READ    r8, r8d, FIELD_RFLAGS, EXIT_RFLAGS
%if !(%1 & WAY_BARE)
        ; A guest's values must not be what C speculates with: with those just read all registers
        ; that a call may clobber are overwritten. The others C stores before it has a use for them.
        xor     r9d, r9d
        xor     r10d, r10d
        xor     r11d, r11d
%endif
        lea     rbp, [rsp + 6 * 8]      ; a backtrace goes on to the caller of vmx_run
        call    [rdi + VCPU_ANSWER]
        mov     rdi, [rsp]
        mov     esi, eax
        call    [rdi + VCPU_FINISH]
        test    rax, rax
        jnz     vmx_resume_%1
        jmp     vmx_run.leave           ; RAX = 0

[section .rodata]
        dq      vmx_resume_%1, vmx_landing_%1
__?SECT?__
%endmacro

[section .rodata]
align 8
global vmx_ways
vmx_ways:                               ; by the set
__?SECT?__

%assign set 0
%rep    WAY_COUNT
        WAY     set
%assign set set + 1
%endrep
