// SPDX-License-Identifier: MIT
// What the static tables cannot say of a PC guest: its legacy devices, its PCI root, how it is
// turned off. The numbers are those of guest/pc.h. ACPI specification, "ACPI Source Language
// Reference".
DefinitionBlock ("dsdt.aml", "DSDT", 2, "CORBEL", "CORBELPC", 1)
{
    // SLP_TYPa of PM1a_CNT for S5. There are no other sleeping states.
    Name (\_S5, Package () { 5, 0, 0, 0 })

    Scope (\_SB)
    {
        Device (CPU0)
        {
            Name (_HID, "ACPI0007")
            Name (_UID, 0) // as in the MADT
        }

        // The root of an empty bus: its configuration ports, and the windows that devices would
        // take their ranges from.
        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A03"))
            Name (_UID, 0)
            Name (_BBN, 0)
            Name (_CRS, ResourceTemplate ()
            {
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
                    0, 0, 0xff, 0, 0x100)
                IO (Decode16, 0xcf8, 0xcf8, 1, 8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0, 0, 0xcf7, 0, 0xcf8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0, 0xd00, 0xffff, 0, 0xf300)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable,
                    ReadWrite, 0, 0xc0000000, 0xfebfffff, 0, 0x3ec00000)
            })

            // All that answers behind the bridge to ISA.
            Device (PIC)
            {
                Name (_HID, EisaId ("PNP0000"))
                Name (_CRS, ResourceTemplate ()
                {
                    IO (Decode16, 0x20, 0x20, 1, 2)
                    IO (Decode16, 0xa0, 0xa0, 1, 2)
                    IO (Decode16, 0x4d0, 0x4d0, 1, 2)
                    IRQNoFlags () { 2 }
                })
            }

            Device (PIT)
            {
                Name (_HID, EisaId ("PNP0100"))
                Name (_CRS, ResourceTemplate ()
                {
                    IO (Decode16, 0x40, 0x40, 1, 4)
                    IRQNoFlags () { 0 }
                })
            }

            Device (SPKR)
            {
                Name (_HID, EisaId ("PNP0800"))
                Name (_CRS, ResourceTemplate ()
                {
                    IO (Decode16, 0x61, 0x61, 1, 1)
                })
            }

            Device (RTC)
            {
                Name (_HID, EisaId ("PNP0B00"))
                Name (_CRS, ResourceTemplate ()
                {
                    IO (Decode16, 0x70, 0x70, 1, 2)
                    IRQNoFlags () { 8 }
                })
            }

            Device (COM1)
            {
                Name (_HID, EisaId ("PNP0501"))
                Name (_UID, 1)
                Name (_CRS, ResourceTemplate ()
                {
                    IO (Decode16, 0x3f8, 0x3f8, 1, 8)
                    IRQNoFlags () { 4 }
                })
            }

            // What belongs to the board and to no driver: the POST port, port 92H, the power
            // management block.
            Device (BRD)
            {
                Name (_HID, EisaId ("PNP0C02"))
                Name (_CRS, ResourceTemplate ()
                {
                    IO (Decode16, 0x80, 0x80, 1, 1)
                    IO (Decode16, 0x92, 0x92, 1, 1)
                    IO (Decode16, 0x600, 0x600, 1, 0x0c)
                })
            }
        }
    }
}
