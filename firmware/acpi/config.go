package acpi

import (
	"errors"
	"fmt"
	"slices"
)

// Config is the machine that the tables describe. I440FX gives one with the
// fixed addresses of an i440FX and PIIX machine; Base, CPUs, the windows and
// the interrupt wiring of PCI remain to be filled in.
type Config struct {
	// Base is the guest-physical address at which the tables will lie, a
	// multiple of 64. All of them end below 4 GiB.
	Base uint64

	// CPUs has the local APIC identifier of each processor; the first is the
	// boot processor. Identifiers above 254 are described as x2APIC.
	CPUs []uint32

	LocalAPIC uint32 // address of the local APICs' registers
	IOAPIC    IOAPIC

	// TimerOverride says that the timer's ISA interrupt 0 arrives at global
	// system interrupt 2.
	TimerOverride bool
	// LevelIRQs are ISA interrupts, besides the SCI, that are level triggered
	// and active high, as those of PIIX interrupt links are.
	LevelIRQs []uint8

	Power Power
	Reset Register
	PCI   PCI

	Serial   []Serial // COM1, COM2, ...
	RTC      bool     // CMOS clock at port 0x70, interrupt 8
	Keyboard bool     // i8042 at ports 0x60 and 0x64, interrupt 1
	// Mouse is an auxiliary port of that i8042, interrupt 12. Linux warns of a
	// disabled port where there is a keyboard and no mouse, unless it is
	// started with i8042.noaux.
	Mouse bool
	VGA   bool // a VGA may be probed
	// PanicPort takes the reports of pvpanic, one byte; 0: none.
	PanicPort uint16
}

// IOAPIC is the I/O interrupt controller, of 24 pins.
type IOAPIC struct {
	ID      uint8
	Address uint32
	GSIBase uint32
}

const ioapicPins = 24

// Power is the fixed hardware of ACPI (specification 6.5, section 4.8), as
// ports. There are no PM1b, PM2 and GPE1 blocks. The power button is a fixed
// one; there is no sleep button.
type Power struct {
	SCI        uint8  // ISA interrupt and GSI of the SCI: level, active high
	PM1Event   uint16 // status and enable, 2 bytes each
	PM1Control uint16 // 2 bytes
	Timer      uint16 // PM timer, 32 bits wide
	GPE0       uint16 // status and enable, 2 bytes each; 0: none
	// SMICommand switches to ACPI mode when Enable is written to it and to
	// legacy mode when Disable is; 0: the machine is always in ACPI mode.
	SMICommand      uint16
	Enable, Disable uint8
	// S5 is the SLP_TYP value of soft-off, 0 to 7.
	S5 uint8
}

// Register is an 8-bit port and the value to write to it.
type Register struct {
	Port  uint16
	Value uint8
}

// Window is a range of addresses that PCI decodes.
type Window struct {
	Base, Size uint64
}

// PCI is the host bridge with bus 0, its windows and its interrupt wiring.
type PCI struct {
	MMIO32  Window // below 4 GiB
	MMIO64  Window // anywhere; empty: none
	ISASlot int    // slot of the ISA bridge, function 0
	// Route is the global system interrupt, level triggered, of pin 0 (INTA#)
	// to 3 (INTD#) of a slot on bus 0. It is asked for slots 1 to 31.
	Route func(slot, pin int) int
}

// Serial is a 16550 at 8 consecutive ports.
type Serial struct {
	Port uint16
	IRQ  uint8
}

// I440FX is the fixed part of an i440FX machine with a PIIX3 in slot 1 and its
// PIIX4 power management: PM block at 0x600, GPE0 at 0xAFE0, SCI 9, SMI command
// port 0xB2, reset at 0xCF9, COM1, clock and keyboard.
func I440FX() Config {
	return Config{
		LocalAPIC: 0xFEE00000,
		IOAPIC:    IOAPIC{Address: 0xFEC00000},
		Power: Power{
			SCI:        9,
			PM1Event:   0x600,
			PM1Control: 0x604,
			Timer:      0x608,
			GPE0:       0xAFE0,
			SMICommand: 0xB2,
			Enable:     0xF1,
			Disable:    0xF0,
		},
		Reset:    Register{Port: 0xCF9, Value: 0x06},
		PCI:      PCI{ISASlot: 1},
		Serial:   []Serial{{Port: 0x3F8, IRQ: 4}},
		RTC:      true,
		Keyboard: true,
	}
}

// check refuses what the tables cannot say.
func (c *Config) check() error {
	switch {
	case c.Base == 0 || c.Base%facsAlign != 0:
		return fmt.Errorf("acpi: base %#x is not a multiple of %d", c.Base, facsAlign)
	case len(c.CPUs) == 0:
		return errors.New("acpi: no processor")
	case len(c.CPUs) > maxCPUs:
		return fmt.Errorf("acpi: %d processors, at most %d can be named", len(c.CPUs), maxCPUs)
	case c.Power.SCI > 15:
		return fmt.Errorf("acpi: SCI %d is not an ISA interrupt", c.Power.SCI)
	case c.Power.S5 > 7:
		return fmt.Errorf("acpi: S5 sleep type %d is above 7", c.Power.S5)
	case c.PCI.Route == nil:
		return errors.New("acpi: no routing of PCI interrupts")
	case c.PCI.ISASlot < 1 || c.PCI.ISASlot > 31:
		return fmt.Errorf("acpi: ISA bridge in slot %d", c.PCI.ISASlot)
	case c.Mouse && !c.Keyboard:
		return errors.New("acpi: a mouse without a keyboard controller")
	}
	if err := c.checkWindows(); err != nil {
		return err
	}
	ids := slices.Sorted(slices.Values(c.CPUs))
	if len(slices.Compact(ids)) != len(c.CPUs) {
		return fmt.Errorf("acpi: processors share an APIC identifier: %v", c.CPUs)
	}
	for _, irq := range c.LevelIRQs {
		if irq > 15 {
			return fmt.Errorf("acpi: %d is not an ISA interrupt", irq)
		}
	}
	for _, s := range c.Serial {
		if s.IRQ > 15 {
			return fmt.Errorf("acpi: serial port %#x on interrupt %d, not an ISA interrupt", s.Port, s.IRQ)
		}
	}
	return nil
}

func (c *Config) checkWindows() error {
	w := c.PCI.MMIO32
	if w.Size == 0 || w.Base < 1<<20 || w.Size > 1<<32 || w.Base > 1<<32-w.Size {
		return fmt.Errorf("acpi: PCI window of %#x bytes at %#x is not between 1 MiB and 4 GiB", w.Size, w.Base)
	}
	w = c.PCI.MMIO64
	if w.Size != 0 && w.Base+(w.Size-1) < w.Base {
		return fmt.Errorf("acpi: PCI window of %#x bytes at %#x wraps around", w.Size, w.Base)
	}
	return nil
}
