// SPDX-License-Identifier: MIT
#include "arch/x86_64/lib/fmt.h"
#include "ept/ept.h"
#include "ept/table.h"

#define LINE_SIZE 160

const char *ept_type_name(unsigned type)
{
    static const char *const names[] = {
        [MEM_UC] = "UC", [MEM_WC] = "WC", [MEM_WT] = "WT", [MEM_WP] = "WP", [MEM_WB] = "WB"};
    return ept_type_valid(type) ? names[type] : "??";
}

const char *ept_rule_name(enum ept_rule rule)
{
    static const char *const names[] = {
        [EPT_RULE_NONE] = "no rule",
        [EPT_RULE_WRITE_ONLY] = "writable but not readable",
        [EPT_RULE_EXECUTE_ONLY] = "execute-only, which this CPU does not have",
        [EPT_RULE_RESERVED] = "a reserved bit is set",
        [EPT_RULE_WIDTH] = "an address bit beyond the physical-address width",
        [EPT_RULE_LARGE] = "a page size this CPU does not have",
        [EPT_RULE_ALIGN] = "a large page's address is misaligned",
        [EPT_RULE_TYPE] = "a reserved memory type",
    };
    return (unsigned)rule < ARRAY_SIZE(names) ? names[rule] : "?";
}

static const char *rights_text(u64 entry)
{
    static const char *const texts[] = {"---", "r--", "-w-", "rw-", "--x", "r-x", "-wx", "rwx"};
    return texts[entry & EPT_RWX];
}

// ---- the whole map -----------------------------------------------------------------------------

// Leaves that follow each other in both address spaces and are mapped alike.
struct run {
    struct ept_leaf first;
    u64 size;
    u64 leaves[EPT_PDPT + 1];
};

static bool continues(const struct run *run, const struct ept_leaf *leaf)
{
    return run->size && leaf->gpa.raw == run->first.gpa.raw + run->size &&
           leaf->hpa.raw == run->first.hpa.raw + run->size &&
           leaf->attr.rights == run->first.attr.rights && leaf->attr.type == run->first.attr.type;
}

INIT static void print_run(const struct run *run, ept_line_fn line, void *ctx)
{
    char text[LINE_SIZE];
    if (run->size == 0)
        return;
    u64 gpa = run->first.gpa.raw;
    fmt_snprintf(text, sizeof(text),
                 "%012llx-%012llx -> %012llx %s %s %llu KiB (4K:%llu 2M:%llu 1G:%llu)",
                 (unsigned long long)gpa, (unsigned long long)(gpa + run->size - 1),
                 (unsigned long long)run->first.hpa.raw, rights_text(run->first.attr.rights),
                 ept_type_name(run->first.attr.type), (unsigned long long)(run->size >> 10),
                 (unsigned long long)run->leaves[EPT_PT], (unsigned long long)run->leaves[EPT_PD],
                 (unsigned long long)run->leaves[EPT_PDPT]);
    line(ctx, text);
}

INIT void ept_dump(const struct ept *ept, ept_line_fn line, void *ctx)
{
    struct run run = {0};
    struct ept_leaf leaf;
    for (u64 at = 0; ept_next_leaf(ept, GPA(at), &leaf); at = leaf.gpa.raw + leaf.size) {
        if (!continues(&run, &leaf)) {
            print_run(&run, line, ctx);
            run = (struct run){.first = leaf};
        }
        run.size += leaf.size;
        run.leaves[leaf.level]++;
    }
    print_run(&run, line, ctx);
    char text[LINE_SIZE];
    const struct ept_stats *stats = &ept->stats;
    fmt_snprintf(text, sizeof(text),
                 "EPTP %llx: %llu tables, leaves 4K:%llu 2M:%llu 1G:%llu, %llu splits, %llu INVEPT",
                 (unsigned long long)ept_eptp(ept), (unsigned long long)stats->tables,
                 (unsigned long long)stats->leaves[EPT_PT],
                 (unsigned long long)stats->leaves[EPT_PD],
                 (unsigned long long)stats->leaves[EPT_PDPT], (unsigned long long)stats->splits,
                 (unsigned long long)stats->invalidations);
    line(ctx, text);
}

// ---- one walk ----------------------------------------------------------------------------------

static void print_verdict(const struct ept_walk *walk, ept_line_fn line, void *ctx)
{
    char text[LINE_SIZE];
    unsigned long long gpa = walk->gpa.raw;
    if (walk->verdict == EPT_MAPPED)
        fmt_snprintf(text, sizeof(text), "gpa %llx -> hpa %llx, %s %s%s", gpa,
                     (unsigned long long)walk->hpa.raw, rights_text(walk->rights),
                     ept_type_name(walk->type), walk->ipat ? ", PAT ignored" : "");
    else if (walk->verdict == EPT_MISCONFIGURED)
        fmt_snprintf(text, sizeof(text), "gpa %llx misconfigured: %s", gpa,
                     ept_rule_name(walk->rule));
    else
        fmt_snprintf(text, sizeof(text), "gpa %llx not present%s", gpa,
                     walk->depth ? "" : ": beyond the limit");
    line(ctx, text);
}

void ept_dump_walk(const struct ept_walk *walk, ept_line_fn line, void *ctx)
{
    static const char *const names[] = {"PML4E", "PDPTE", "PDE", "PTE"};
    for (unsigned i = 0; i < walk->depth; i++) {
        char text[LINE_SIZE];
        u64 entry = walk->entries[i];
        unsigned level = EPT_PML4 - i;
        bool leaf = ept_present(entry) && ept_is_leaf(entry, level);
        fmt_snprintf(text, sizeof(text), "%s[%u] %016llx %s%s%s", names[i],
                     ept_index(walk->gpa.raw, level), (unsigned long long)entry, rights_text(entry),
                     leaf ? " leaf " : "",
                     leaf ? ept_type_name((unsigned)bits_get(entry, 5, 3)) : "");
        line(ctx, text);
    }
    print_verdict(walk, line, ctx);
}

// ---- violations --------------------------------------------------------------------------------

#define QUAL_READ         BIT(0)
#define QUAL_WRITE        BIT(1)
#define QUAL_FETCH        BIT(2)
#define QUAL_LINEAR_VALID BIT(7)
#define QUAL_FINAL        BIT(8) // meaningful with LINEAR_VALID only
#define QUAL_NMI_UNBLOCK  BIT(12)
#define QUAL_SHADOW_STACK BIT(13)

// Bits 11:9 are left out: whether they mean anything is up to ept_caps.violation_info.
int ept_violation_describe(char *buf, size_t size, u64 qualification)
{
    static const char *const accesses[] = {
        "no access", "read",           "write",           "read and write",
        "fetch",     "read and fetch", "write and fetch", "read, write and fetch"};
    u64 rights = bits_get(qualification, 5, 3);
    const char *how = !(qualification & QUAL_LINEAR_VALID) ? "no linear address"
                      : qualification & QUAL_FINAL         ? "translated linear address"
                                                           : "page walk";
    return fmt_snprintf(buf, size, "%s%s of a %s%s page, %s%s",
                        qualification & QUAL_SHADOW_STACK ? "shadow-stack " : "",
                        accesses[qualification & (QUAL_READ | QUAL_WRITE | QUAL_FETCH)],
                        rights ? "" : "not-present ", rights_text(rights), how,
                        qualification & QUAL_NMI_UNBLOCK ? ", IRET unblocked NMIs" : "");
}
