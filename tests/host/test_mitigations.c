// SPDX-License-Identifier: MIT
// The mitigations chosen for CPUs of several generations, by what their microcode says of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/regs/cpuid.h"
#include "arch/x86_64/regs/msr.h"
#include "vmx/mitigations.h"

#define FIRST_MICROCODE (CPUID_7_EDX_IBRS | CPUID_7_EDX_STIBP | CPUID_7_EDX_SSBD)
#define ALL_OFFERED     (FIRST_MICROCODE | CPUID_7_EDX_MD_CLEAR | CPUID_7_EDX_L1D_FLUSH)
#define CASCADE_LAKE    (ARCH_CAP_RDCL_NO | ARCH_CAP_IBRS_ALL | ARCH_CAP_MDS_NO)
#define ICE_LAKE        (CASCADE_LAKE | ARCH_CAP_TAA_NO)

static const struct machine {
    const char *name;
    u32 leaf7_ebx, leaf7_edx, leaf7_2_edx;
    u64 arch_capabilities;
    const char *states; // registers, RSB, IBRS, BHI, IBPB, VERW, L1D; for the signs see sign()
    u64 spec_ctrl;
    bool spec_each;
    u32 rsb_calls;
    bool history;
    unsigned commands;
    unsigned way;
} machines[] = {
    {
     .name = "before 2018, old microcode",
     .states = "++!-!!!",
     .rsb_calls = 32,
     .way = WAY_RSB,
     },
    {
     .name = "Broadwell, new microcode",
     .leaf7_ebx = CPUID_7_EBX_RTM,
     .leaf7_edx = ALL_OFFERED,
     .states = "+++-+++",
     .spec_ctrl = SPEC_CTRL_IBRS,
     .spec_each = true,
     .rsb_calls = 32,
     .commands = 2,
     .way = WAY_RSB | WAY_SPEC | WAY_VERW,
     },
    {
     .name = "Haswell, microcode of early 2018",
     .leaf7_ebx = CPUID_7_EBX_RTM,
     .leaf7_edx = FIRST_MICROCODE,
     .states = "+++-+!!",
     .spec_ctrl = SPEC_CTRL_IBRS,
     .spec_each = true,
     .rsb_calls = 32,
     .commands = 1,
     .way = WAY_RSB | WAY_SPEC,
     },
    {
     .name = "Skylake, an outer hypervisor flushes L1D",
     .leaf7_ebx = CPUID_7_EBX_RTM,
     .leaf7_edx = ALL_OFFERED | CPUID_7_EDX_ARCH_CAP,
     .arch_capabilities = ARCH_CAP_SKIP_L1DFL_VMENTRY | ARCH_CAP_RSBA | ARCH_CAP_FB_CLEAR,
     .states = "+++-++-",
     .spec_ctrl = SPEC_CTRL_IBRS,
     .spec_each = true,
     .rsb_calls = 32,
     .commands = 1,
     .way = WAY_RSB | WAY_SPEC | WAY_VERW,
     },
    {
     .name = "Cascade Lake, TSX on",
     .leaf7_ebx = CPUID_7_EBX_RTM,
     .leaf7_edx = ALL_OFFERED | CPUID_7_EDX_ARCH_CAP,
     .arch_capabilities = CASCADE_LAKE,
     .states = "++++++-",
     .spec_ctrl = SPEC_CTRL_IBRS,
     .rsb_calls = 2,
     .history = true,
     .commands = 1,
     .way = WAY_RSB | WAY_VERW,
     },
    {
     .name = "Cascade Lake, TSX off",
     .leaf7_edx = ALL_OFFERED | CPUID_7_EDX_ARCH_CAP,
     .arch_capabilities = CASCADE_LAKE,
     .states = "+++++--",
     .spec_ctrl = SPEC_CTRL_IBRS,
     .rsb_calls = 2,
     .history = true,
     .commands = 1,
     .way = WAY_RSB,
     },
    {
     .name = "the history alone, which the CPU cannot leave out",
     .leaf7_edx = FIRST_MICROCODE | CPUID_7_EDX_ARCH_CAP,
     .arch_capabilities = ICE_LAKE | ARCH_CAP_PBRSB_NO,
     .states = "+-+++--",
     .spec_ctrl = SPEC_CTRL_IBRS,
     .rsb_calls = 2,
     .history = true,
     .commands = 1,
     .way = WAY_RSB,
     },
    {
     .name = "stale MMIO data, cleared by VERW",
     .leaf7_edx = ALL_OFFERED | CPUID_7_EDX_ARCH_CAP,
     .leaf7_2_edx = CPUID_7_2_EDX_BHI_CTRL,
     .arch_capabilities = ICE_LAKE | ARCH_CAP_FB_CLEAR,
     .states = "++++++-",
     .spec_ctrl = SPEC_CTRL_IBRS | SPEC_CTRL_BHI_DIS_S,
     .rsb_calls = 2,
     .commands = 1,
     .way = WAY_RSB | WAY_VERW,
     },
    {
     .name = "register file data, cleared by VERW",
     .leaf7_edx = FIRST_MICROCODE | CPUID_7_EDX_ARCH_CAP,
     .leaf7_2_edx = CPUID_7_2_EDX_BHI_CTRL,
     .arch_capabilities = ICE_LAKE | ARCH_CAP_PBRSB_NO | ARCH_CAP_RFDS_CLEAR,
     .states = "+-++++-",
     .spec_ctrl = SPEC_CTRL_IBRS | SPEC_CTRL_BHI_DIS_S,
     .commands = 1,
     .way = WAY_VERW,
     },
    {
     .name = "nothing left to cure",
     .leaf7_ebx = CPUID_7_EBX_RTM,
     .leaf7_edx = ALL_OFFERED | CPUID_7_EDX_ARCH_CAP,
     .leaf7_2_edx = CPUID_7_2_EDX_BHI_CTRL,
     .arch_capabilities = ICE_LAKE | ARCH_CAP_PBRSB_NO | ARCH_CAP_BHI_NO,
     .states = "+-+-+--",
     .spec_ctrl = SPEC_CTRL_IBRS,
     .commands = 1,
     .way = 0,
     },
};

static void decide(const struct machine *m, bool off, struct mitigations *out)
{
    const struct mitigation_cpu cpu = {m->leaf7_ebx, m->leaf7_edx, m->leaf7_2_edx,
                                       m->arch_capabilities};
    memset(out, 0xff, sizeof(*out));
    mitigations_decide(&cpu, off, out);
}

static char sign(enum mitigation_state state)
{
    static const char signs[] = {[MITIGATION_NOT_NEEDED] = '-',
                                 [MITIGATION_ON] = '+',
                                 [MITIGATION_MISSING] = '!',
                                 [MITIGATION_OFF] = '0'};
    return signs[state];
}

static void each_generation_gets_what_it_needs(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(machines); i++) {
        const struct machine *m = &machines[i];
        struct mitigations got;
        char states[MITIGATION_COUNT + 1] = "";
        print_message("%s\n", m->name);
        decide(m, false, &got);
        for (unsigned j = 0; j < MITIGATION_COUNT; j++)
            states[j] = sign(got.state[j]);
        assert_string_equal(states, m->states);
        assert_int_equal(got.spec_msr, IA32_SPEC_CTRL);
        assert_int_equal(got.spec_ctrl, m->spec_ctrl);
        assert_int_equal(got.spec_each, m->spec_each);
        assert_int_equal(got.rsb_calls, m->rsb_calls);
        assert_int_equal(got.history, m->history);
        assert_int_equal(got.command_count, m->commands);
        assert_int_equal(mitigations_way(&got, false), m->way);
        assert_int_equal(mitigations_way(&got, true), m->way | WAY_SPEC);
    }
}

static void off_leaves_none_on(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(machines); i++) {
        struct mitigations on, off;
        decide(&machines[i], false, &on);
        decide(&machines[i], true, &off);
        for (unsigned j = 0; j < MITIGATION_COUNT; j++) {
            assert_int_equal(off.state[j],
                             on.state[j] == MITIGATION_ON ? MITIGATION_OFF : on.state[j]);
            assert_false(mitigated(&off, (enum mitigation)j));
        }
        assert_int_equal(off.spec_ctrl, 0);
        assert_false(off.spec_each);
        assert_int_equal(off.rsb_calls, 0);
        assert_false(off.history);
        assert_int_equal(off.command_count, 0);
        assert_int_equal(mitigations_way(&off, false), WAY_BARE);
        // What the guest itself asked for it still gets.
        assert_int_equal(mitigations_way(&off, true), WAY_SPEC);
    }
}

// The predictors first: what the flush's own branches teach them is Corbel's.
static void commands_of_a_switch(void **state)
{
    (void)state;
    struct mitigations m;
    decide(&machines[1], false, &m);
    assert_int_equal(m.commands[0].msr, IA32_PRED_CMD);
    assert_int_equal(m.commands[0].value, 1);
    assert_int_equal(m.commands[1].msr, IA32_FLUSH_CMD);
    assert_int_equal(m.commands[1].value, 1);
}

// A CPU that says of no data leak that it has it not gets VERW for each alone.
static void verw_for_any_of_its_four_reasons(void **state)
{
    (void)state;
    static const struct {
        u32 ebx;
        u64 capabilities;
        bool on;
    } rows[] = {
        {0,               ARCH_CAP_MDS_NO,                       false},
        {0,               0,                                     true },
        {CPUID_7_EBX_RTM, ARCH_CAP_MDS_NO,                       true },
        {CPUID_7_EBX_RTM, ARCH_CAP_MDS_NO | ARCH_CAP_TAA_NO,     false},
        {0,               ARCH_CAP_MDS_NO | ARCH_CAP_FB_CLEAR,   true },
        {0,               ARCH_CAP_MDS_NO | ARCH_CAP_RFDS_CLEAR, true },
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct mitigation_cpu cpu = {rows[i].ebx, CPUID_7_EDX_MD_CLEAR, 0,
                                           rows[i].capabilities};
        struct mitigations got;
        mitigations_decide(&cpu, false, &got);
        assert_int_equal(mitigated(&got, MITIGATE_VERW), rows[i].on);
    }
}

static void l1d_is_flushed_where_l1tf_is_and_nobody_else_does(void **state)
{
    (void)state;
    static const struct {
        u32 edx;
        u64 capabilities;
        enum mitigation_state state;
    } rows[] = {
        {CPUID_7_EDX_L1D_FLUSH, 0,                           MITIGATION_ON        },
        {0,                     0,                           MITIGATION_MISSING   },
        {CPUID_7_EDX_L1D_FLUSH, ARCH_CAP_RDCL_NO,            MITIGATION_NOT_NEEDED},
        {CPUID_7_EDX_L1D_FLUSH, ARCH_CAP_SKIP_L1DFL_VMENTRY, MITIGATION_NOT_NEEDED},
        {0,                     ARCH_CAP_RDCL_NO,            MITIGATION_NOT_NEEDED},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct mitigation_cpu cpu = {0, rows[i].edx, 0, rows[i].capabilities};
        struct mitigations got;
        mitigations_decide(&cpu, false, &got);
        assert_int_equal(got.state[MITIGATE_L1D], rows[i].state);
    }
}

static char said[512];
static size_t said_length;

static void hear(const char *text, size_t length)
{
    assert_true(said_length + length < sizeof(said));
    memcpy(said + said_length, text, length);
    said_length += length;
    said[said_length] = 0;
}

static void assert_said(const struct mitigations *m, const char *text)
{
    said_length = 0;
    log_set_sink(hear, false);
    mitigations_log(m);
    log_set_sink(NULL, false);
    assert_string_equal(said, text);
}

static void log_tells_what_is_on_and_what_is_missing(void **state)
{
    (void)state;
    struct mitigations m;
    decide(&machines[0], false, &m);
    assert_said(&m, "mitigations: on: registers, RSB\n"
                    "mitigations: not needed on this CPU: BHI\n"
                    "mitigations: needed, but the CPU has none: IBRS, IBPB, VERW, L1D\n");
    decide(&machines[1], true, &m);
    assert_said(&m, "mitigations: off, as the command line has it: registers, RSB, IBRS, "
                    "IBPB, VERW, L1D\n"
                    "mitigations: not needed on this CPU: BHI\n");
}

// All in one line is the longest that there can be.
static void log_has_room_for_all(void **state)
{
    (void)state;
    struct mitigations m = {0};
    for (unsigned i = 0; i < MITIGATION_COUNT; i++)
        m.state[i] = MITIGATION_OFF;
    assert_said(&m, "mitigations: off, as the command line has it: registers, RSB, IBRS, "
                    "BHI, IBPB, VERW, L1D\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_generation_gets_what_it_needs),
        cmocka_unit_test(off_leaves_none_on),
        cmocka_unit_test(commands_of_a_switch),
        cmocka_unit_test(verw_for_any_of_its_four_reasons),
        cmocka_unit_test(l1d_is_flushed_where_l1tf_is_and_nobody_else_does),
        cmocka_unit_test(log_tells_what_is_on_and_what_is_missing),
        cmocka_unit_test(log_has_room_for_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
