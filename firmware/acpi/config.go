package acpi

// Config is the machine that the tables describe. I440FX gives one with the
// addresses of an i440FX and PIIX4 machine; CPUs and PCI remain to be filled.
type Config struct {
	// Base is the guest-physical address at which the tables will lie, a
	// multiple of 64 and below 4 GiB.
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

	Serial   []Serial
	RTC      bool // PNP0B00 at port 0x70, interrupt 8
	Keyboard bool // PNP0303 at ports 0x60 and 0x64, interrupt 1
}

// IOAPIC is an I/O interrupt controller.
type IOAPIC struct {
	ID      uint8
	Address uint32
	GSIBase uint32
}

// Power is the fixed hardware of ACPI (specification 6.5, section 4.8), as
// ports. The PM1b blocks, GPE1 and PM2 do not exist.
type Power struct {
	SCI        uint8  // ISA interrupt and GSI of the SCI, level, active high
	PM1Event   uint16 // status and enable, 2 bytes each
	PM1Control uint16 // 2 bytes
	Timer      uint16 // PM timer, 32 bits
	GPE0       uint16 // status and enable, 2 bytes each; 0: none
	// SMICommand switches between legacy and ACPI mode when Enable or Disable
	// is written to it; 0: the machine is always in ACPI mode.
	SMICommand      uint16
	Enable, Disable uint8
	// S5 is the SLP_TYP value of soft-off, 0 to 7.
	S5 uint8
}

// Register is an 8-bit port, and the value to write to it.
type Register struct {
	Port  uint16
	Value uint8
}

// Window is a range of addresses that PCI decodes.
type Window struct {
	Base, Size uint64
}

// PCI is the host bridge: bus 0 with its windows and its interrupt wiring.
type PCI struct {
	MMIO32 Window // below 4 GiB
	MMIO64 Window // empty: none
	// Route is the global system interrupt of pin 0 (INTA#) to 3 of a slot on
	// bus 0. Slots 1 to 31 are listed.
	Route func(slot, pin int) int
}

// Serial is a 16550 at 8 consecutive ports.
type Serial struct {
	Port uint16
	IRQ  uint8
}

// I440FX is the fixed part of an i440FX machine with PIIX3 and PIIX4 PM: a PM
// block at 0x600, SCI 9, reset at 0xCF9, COM1, real-time clock and keyboard.
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
		Serial:   []Serial{{Port: 0x3F8, IRQ: 4}},
		RTC:      true,
		Keyboard: true,
	}
}
