// SPDX-License-Identifier: MIT
#include "vmx/mmio.h"

#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/regs/pte.h"
#include "vmx/ept_violation.h"
#include "vmx/vcpu_internal.h"
#include "vmx/vmcs_access.h"

NOINLINE static bool change_region(struct vcpu *v, u64 gpa)
{
    const struct vm_ram *r = vm_find_ram(v->vm, GPA(gpa));
    if (r)
        v->recent_ram = r;
    return r;
}

// The host's pointer to guest RAM, or NULL. What is asked for lies mostly in the region that it lay
// in before.
static inline const void *ram_at(struct vcpu *v, u64 gpa)
{
    if (unlikely(gpa - v->recent_ram->gpa.raw >= v->recent_ram->size) && !change_region(v, gpa))
        return NULL;
    return phys_ptr(HPA(gpa - v->recent_ram->gpa.raw + v->recent_ram->hpa.raw));
}

// Where the byte at a linear address lies that the CPU has just fetched: rights, reserved bits and
// accessed flags need no second look. NULL if the tables have changed meanwhile.
static const u8 *find_code(struct vcpu *v, u64 linear)
{
    u64 table = vmcs_read(VMCS_GUEST_CR3);
    for (unsigned shift = 39;; shift -= 9) {
        const u64 *entries = ram_at(v, table & BITS(51, 12));
        if (unlikely(!entries))
            return NULL;
        u64 entry = __atomic_load_n(&entries[linear >> shift & 511], __ATOMIC_RELAXED);
        if (unlikely(!(entry & PTE_P)))
            return NULL;
        if (shift == PAGE_SHIFT || (entry & PTE_PS)) {
            u64 offset = BIT(shift) - 1;
            return ram_at(v, (entry & BITS(51, 12) & ~offset) | (linear & offset));
        }
        table = entry;
    }
}

static struct mmio_move *place_of(struct vcpu *v, u64 rip)
{
    return &v->moves[rip % MMIO_MOVES];
}

// The one at RIP, if it is remembered.
static const struct mmio_move *move_at_rip(struct vcpu *v)
{
    u64 rip = v->exit.rip, bytes[2];
    const struct mmio_move *move = place_of(v, rip);

    if (!move->length || (rip & (PAGE_SIZE - 1)) > PAGE_SIZE - sizeof(bytes))
        return NULL;
    if (!(vmcs_read(VMCS_GUEST_EFER) & EFER_LMA) || !(vmcs_read(VMCS_GUEST_CS_AR) & AR_L))
        return NULL;
    const u8 *code = find_code(v, rip);
    if (unlikely(!code))
        return NULL;
    __builtin_memcpy(bytes, code, sizeof(bytes));
    u64 other = ((bytes[0] ^ move->bytes[0]) & move->mask[0]) |
                ((bytes[1] ^ move->bytes[1]) & move->mask[1]);
    return likely(!other) ? move : NULL;
}

// The violation is of the operand, which lies in one page. At the start of a page it may be the
// rest of one that begins in the page before.
static bool is_operand(const struct mmio_move *move, gpa_t gpa, u64 q)
{
    bool data = (q & (EPTV_GLA_VALID | EPTV_FINAL | EPTV_FETCH)) == (EPTV_GLA_VALID | EPTV_FINAL);
    return data && move->write == ((q & EPTV_WRITE) != 0) &&
           ((gpa.raw - 1) & (PAGE_SIZE - 1)) + move->size < PAGE_SIZE;
}

bool mmio_move(struct vcpu *vcpu, gpa_t gpa, u64 qualification)
{
    const struct mmio_move *move = move_at_rip(vcpu);

    if (!move || !is_operand(move, gpa, qualification))
        return false;
    struct io_access io = {
        .space = IO_MEM, .size = move->size, .write = move->write, .addr = gpa.raw};
    if (move->write)
        io.value =
            low_bytes(move->reg == INSN_NO_REG ? move->imm : vcpu->regs[move->reg], move->size);
    bus_access(&vcpu->vm->bus, &io);
    if (!move->write)
        vcpu->regs[move->reg] = low_bytes(io.value, move->size);
    vcpu->exit.length = move->length;
    return true;
}

static bool is_load(const struct insn *insn)
{
    return (insn->op == INSN_MOV || insn->op == INSN_MOVZX) && insn->dst == OPERAND_REG &&
           insn->operand_size >= 4;
}

static bool is_store(const struct insn *insn)
{
    return insn->op == INSN_MOV && insn->dst == OPERAND_MEM;
}

void mmio_remember(struct vcpu *vcpu, const u8 *bytes, const struct insn *insn)
{
    struct mmio_move *move = place_of(vcpu, vcpu->exit.rip);
    u8 mask[sizeof(move->mask)] = {0};

    // RSP is not among the registers that are saved.
    if (!(is_load(insn) || is_store(insn)) || insn->reg_high || insn->reg == GPR_RSP)
        return;
    *move = (struct mmio_move){
        .imm = insn->imm,
        .length = insn->length,
        .size = insn->mem_size,
        .reg = insn->src == OPERAND_IMM ? INSN_NO_REG : insn->reg,
        .write = is_store(insn),
    };
    memset(mask, 0xff, insn->length);
    memcpy(move->mask, mask, sizeof(mask));
    memcpy(move->bytes, bytes, insn->length);
}
