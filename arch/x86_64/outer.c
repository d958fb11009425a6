// SPDX-License-Identifier: MIT
#include "arch/x86_64/outer.h"

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/string.h"

#define BASE        0x40000000u
#define SECOND_BASE 0x40000100u // where one that poses as another keeps its own leaves
#define TIMING_LEAF 0x40000010u // VMware, and KVM where it is told to: EAX is the TSC's kHz

static bool printable(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (text[i] < 0x20 || text[i] > 0x7e)
            return false;
    return length > 0;
}

static void read_signature(char signature[OUTER_TEXT_MAX], struct cpuid_regs r)
{
    const u32 words[] = {r.ebx, r.ecx, r.edx};
    memcpy(signature, words, sizeof(words));
    signature[sizeof(words)] = '\0';
    // Where there is no such leaf, the highest basic one's data may come instead. KVM once said 0.
    bool there = r.eax == 0 || (r.eax >= BASE && r.eax <= BASE + 0xffff);
    if (!there || !printable(signature, strlen(signature)))
        str_copy(signature, OUTER_TEXT_MAX, OUTER_UNKNOWN);
}

void outer_read(struct outer *outer, struct cpuid_regs (*read)(u32 leaf, u32 subleaf))
{
    struct cpuid_regs first = read(BASE, 0);
    u32 max = first.eax;

    *outer = (struct outer){.tsc_hz = 0};
    read_signature(outer->signature, first);
    if (!strcmp(outer->signature, OUTER_HYPER_V)) {
        struct outer behind;
        struct cpuid_regs second = read(SECOND_BASE, 0);
        read_signature(behind.signature, second);
        if (!strcmp(behind.signature, OUTER_KVM) || !strcmp(behind.signature, OUTER_XEN))
            memcpy(outer->signature, behind.signature, OUTER_TEXT_MAX);
        return; // Hyper-V's own leaves have other meanings
    }
    bool timing = !strcmp(outer->signature, OUTER_VMWARE) || !strcmp(outer->signature, OUTER_KVM);
    if (timing && max >= TIMING_LEAF && max < SECOND_BASE)
        outer->tsc_hz = read(TIMING_LEAF, 0).eax * 1000ull;
}

static const char kvm[] = "on the host \"modprobe -r kvm_intel; modprobe kvm_intel nested=1\", and "
                          "QEMU with -cpu host (libvirt: host-passthrough)";
static const char tcg[] =
    "QEMU emulates this CPU, without VT-x: use its -accel kvm -cpu host on an "
    "Intel host, or Bochs";
static const char hyper_v[] = "on the host, the VM off: Set-VMProcessor -VMName NAME "
                              "-ExposeVirtualizationExtensions $true";
static const char vmware[] = "the VM off: \"Virtualize Intel VT-x/EPT\" in its processor settings, "
                             "or vhv.enable = \"TRUE\" in its .vmx file";
static const char xen[] = "in the HVM guest's configuration on the host: hap=1 and nestedhvm=1";
static const char vbox[] = "on the host, the VM off: VBoxManage modifyvm NAME --nested-hw-virt on";
static const char parallels[] = "in the VM's hardware settings, CPU & Memory, Advanced: "
                                "\"Enable nested virtualization\"";
static const char none[] = "it has no VT-x for its guests: boot the machine itself, or use KVM or "
                           "Bochs";

static const struct {
    const char *signature;
    const char *nesting;
} known[] = {
    {OUTER_KVM,      kvm      },
    {"Linux KVM Hv", kvm      },
    {OUTER_TCG,      tcg      },
    {OUTER_HYPER_V,  hyper_v  },
    {OUTER_VMWARE,   vmware   },
    {OUTER_XEN,      xen      },
    {"VBoxVBoxVBox", vbox     },
    {"prl hyperv  ", parallels},
    {" lrpepyh  vr", parallels},
    {"bhyve bhyve ", none     },
    {"ACRNACRNACRN", none     },
    {"HAXMHAXMHAXM", none     },
    {"OpenBSDVMM58", none     },
    {"CorbelCorbel", none     },
};

const char *outer_nesting(const char *signature)
{
    for (unsigned i = 0; i < ARRAY_SIZE(known); i++)
        if (!strcmp(known[i].signature, signature))
            return known[i].nesting;
    return "turn on nested virtualization in the outer hypervisor, if it has that";
}
