# SPDX-License-Identifier: MIT
"""Tests of tools/references.py: what may refer to what, from the words of objdump."""
import pathlib
import sys
import unittest

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / "tools"))
import references  # noqa: E402

DUMP = """
a/boot/main.o:     file format elf64-x86-64

SYMBOL TABLE:
0000000000000000 g     F .text.kmain\t0000000000000030 kmain
0000000000000000         *UND*\t0000000000000000 bring_up

RELOCATION RECORDS FOR [.text.kmain]:
OFFSET           TYPE              VALUE
0000000000000010 R_X86_64_PLT32    bring_up-0x0000000000000004

a/boot/bring_up.o:     file format elf64-x86-64

SYMBOL TABLE:
0000000000000000 l    d  .init.rodata\t0000000000000000 .init.rodata
0000000000000000 g     F .init.text.bring_up\t0000000000000030 bring_up

RELOCATION RECORDS FOR [.init.text.bring_up]:
OFFSET           TYPE              VALUE
0000000000000003 R_X86_64_32S      .init.rodata+0x0000000000000010
0000000000000010 R_X86_64_PLT32    run_mode-0x0000000000000004

a/boot/run.o:     file format elf64-x86-64

SYMBOL TABLE:
0000000000000000 g     F .init.text.run_mode\t0000000000000030 run_mode

RELOCATION RECORDS FOR [.init.text.run_mode]:
OFFSET           TYPE              VALUE
0000000000000010 R_X86_64_PLT32    bench_run-0x0000000000000004

a/boot/bench.o:     file format elf64-x86-64

SYMBOL TABLE:
0000000000000000 g     F .lab.text.bench_run\t0000000000000030 bench_run

RELOCATION RECORDS FOR [.lab.text.bench_run]:
OFFSET           TYPE              VALUE
0000000000000010 R_X86_64_PLT32    bring_up-0x0000000000000004
0000000000000018 R_X86_64_PLT32    serial_write-0x0000000000000004

RELOCATION RECORDS FOR [.debug_info]:
OFFSET           TYPE              VALUE
0000000000000010 R_X86_64_32       bring_up

a/arch/serial.o:     file format elf64-x86-64

SYMBOL TABLE:
0000000000000000 l     F .text.0init\t0000000000000030 probe
0000000000000000 g     F .text.serial_write\t0000000000000030 serial_write
"""


def judge(more=""):
    return references.judge(*references.parse(DUMP + more))


def relocation(section, symbol):
    return (f"\nRELOCATION RECORDS FOR [{section}]:\nOFFSET           TYPE              VALUE\n"
            f"0000000000000010 R_X86_64_PLT32    {symbol}-0x0000000000000004\n")


class References(unittest.TestCase):
    def test_gates_may_be_used(self):
        self.assertEqual(judge(), ([], references.GATES))

    def test_what_stays_may_not_refer_to_the_start(self):
        for symbol in ("probe", "run_mode", ".text.0init", ".rodata.0init", ".init.rodata"):
            bad, _ = judge(relocation(".text.serial_write", symbol))
            self.assertEqual(len(bad), 1, symbol)
            self.assertIn("serial.o: .text.serial_write", bad[0])

    def test_data_that_stays_may_not_hold_an_address_of_it(self):
        for section in (".data.rel", ".rodata.table", ".rodata"):
            self.assertEqual(len(judge(relocation(section, "run_mode"))[0]), 1, section)

    def test_neither_may_refer_to_the_laboratory(self):
        for section in (".text.serial_write", ".text.0init", ".init.text.x", ".rodata.0init"):
            self.assertEqual(len(judge(relocation(section, "bench_run"))[0]), 1, section)

    def test_only_one_function_is_a_gate(self):
        bad, _ = judge("\na/boot/main.o:     file format elf64-x86-64\n" + relocation(".text.a", "run_mode"))
        self.assertEqual(len(bad), 1)

    def test_strings_of_start_functions_stay(self):
        self.assertEqual(judge(relocation(".text.serial_write", ".rodata.0init.str1.1"))[0], [])

    def test_what_goes_may_refer_to_what_stays_and_to_itself(self):
        for section in (".text.0init", ".rodata.0init", ".init.data"):
            for symbol in ("serial_write", "probe", "run_mode"):
                self.assertEqual(judge(relocation(section, symbol))[0], [], (section, symbol))

    def test_debug_information_and_fixups_lead_nowhere(self):
        for section in (".debug_line", ".fixups", ".init.fixups"):
            self.assertEqual(judge(relocation(section, "bring_up"))[0], [], section)

    def test_an_unused_gate_is_told(self):
        home, relocations = references.parse(DUMP)
        relocations = [r for r in relocations if r[2] != "bring_up"]
        self.assertNotEqual(references.judge(home, relocations)[1], references.GATES)


if __name__ == "__main__":
    unittest.main()
