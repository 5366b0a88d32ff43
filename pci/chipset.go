package pci

// The functions of the 440FX chipset with the PIIX3 and PIIX4 south bridges
// (Intel 82441FX, 82371SB and 82371AB): header values as firmware of PC virtual
// machines expects them, and those registers that firmware and Linux read or
// program.

const (
	intel = 0x8086

	// Firmware takes a host bridge with this subsystem for a virtual machine.
	subVendorVM, subDeviceVM = 0x1AF4, 0x1100
)

// PAM are the programmable attribute map registers of the 440FX (0x59 to 0x5F): they
// say of the memory from PAMBase to PAMEnd, in units of PAMUnit bytes, whether
// processors reach RAM there.
type PAM [7]uint8

// Where the registers have an effect.
const (
	PAMBase = 0xC0000
	PAMEnd  = 0x100000
	PAMUnit = 16 << 10

	regPAM = 0x59
)

// RAM reports whether reads and writes at an address from PAMBase to PAMEnd go to
// RAM, and not to the bus.
func (p PAM) RAM(addr uint64) (reads, writes bool) {
	const (
		readEnable, writeEnable = 1 << 0, 1 << 1
		biosBase                = 0xF0000 // one area, to PAMEnd
		nibble                  = 4
	)
	bits := p[0] >> nibble
	if addr < biosBase {
		n := (addr - PAMBase) / PAMUnit
		bits = p[1+n/2] >> (n % 2 * nibble)
	}
	return bits&readEnable != 0, bits&writeEnable != 0
}

// NewHostBridge returns the host bridge function of the 440FX: place 00.0. changed,
// if not nil, gets the PAM registers whenever the guest writes or a reset changes
// them, under the rules of OnConfigWrite.
func NewHostBridge(changed func(PAM)) *Function {
	regs := []Register{
		{Offset: 0x50, Size: 2, Write: 0xFFFF}, // PMCCFG, DETURBO
		{Offset: 0x57, Size: 1, Write: 0xFF},   // DRAM control
		{Offset: 0x58, Size: 1, Write: 0xFF},   // DRAM timing
		{Offset: regPAM, Size: 1, Write: 0x33 &^ 0x03},
		{Offset: 0x70, Size: 1, Write: 0xFF}, // multi-transaction timer
		{Offset: 0x72, Size: 1, Reset: 0x02, Write: 0x78},
	}
	for off := 0x5A; off <= 0x5F; off++ {
		regs = append(regs, Register{Offset: off, Size: 1, Write: 0x33})
	}
	for off := 0x60; off <= 0x67; off++ { // DRAM row boundaries
		regs = append(regs, Register{Offset: off, Size: 1, Write: 0xFF})
	}
	f := NewFunction(Config{
		Name: "440FX host bridge", Vendor: intel, Device: 0x1237,
		SubVendor: subVendorVM, SubDevice: subDeviceVM,
		Class: 0x060000, Revision: 2, Registers: regs,
	})
	if changed == nil {
		return f
	}
	var pam PAM
	f.OnConfigWrite(func(off int, value uint32) {
		old := pam
		for i := range pam {
			if at := regPAM + i; at&^3 == off {
				pam[i] = uint8(value >> (8 * (at & 3)))
			}
		}
		if pam != old {
			changed(pam)
		}
	})
	return f
}

// PIRQRoute is a PIIX3 PIRQ route register (0x60 to 0x63).
type PIRQRoute uint8

const (
	regPIRQ           = 0x60
	pirqReset         = 0x80
	pirqDisable       = 0x80
	pirqWritable      = 0x8F
	pirqLineMask      = 0x0F
	regPMBase         = 0x40
	pmBaseMask        = 0xFFC0
	regPMEnable       = 0x80
	pmEnable          = 1 << 0
	regSMBusBase      = 0x90
	smbusBaseMask     = 0xFFF0
	baseIsPort        = 1 << 0 // read-only bit of a base register
	regDeviceActB     = 0x58
	apmcEnabled       = 1 << 25 // SMIs on the APM port: firmware has set up SMM
	regLatencyControl = 0x82
)

// IRQ is the ISA interrupt that the link drives; ok is false if routing is
// disabled (bit 7).
func (r PIRQRoute) IRQ() (irq int, ok bool) { return int(r & pirqLineMask), r&pirqDisable == 0 }

// NewPIIX3 returns the ISA bridge function of the PIIX3: function 0 of its slot,
// multifunction. Its command register begins with zero, as in other virtual machines,
// and not with the chip's 7, which can't be cleared: a guest that finds decoding
// enabled disables it while it sizes each BAR, though there is none. changed, if not
// nil, gets the PIRQA to PIRQD route registers whenever the guest writes or a reset
// changes them, under the rules of OnConfigWrite.
func NewPIIX3(changed func(routes [4]PIRQRoute)) *Function {
	regs := []Register{
		{Offset: regStatus, Size: 2, Reset: 0x0200, Clear: statusErrors},
		{Offset: 0x4C, Size: 1, Reset: 0x4D, Write: 0xFF}, // I/O recovery timer
		{Offset: 0x4E, Size: 2, Reset: 0x0003, Write: 0xFFFF},
		{Offset: 0x69, Size: 1, Reset: 0x02, Write: 0xFE}, // top of memory
		{Offset: 0x6A, Size: 2, Write: 0x00F7},
		{Offset: 0x70, Size: 1, Reset: 0x80, Write: 0xEF}, // motherboard IRQ route
		{Offset: 0x76, Size: 1, Reset: 0x0C, Write: 0x8F}, // motherboard DMA
		{Offset: 0x77, Size: 1, Reset: 0x0C, Write: 0x8F},
		{Offset: 0x78, Size: 2, Reset: 0x0002, Write: 0xFFFF}, // chip select
		{Offset: 0x80, Size: 1, Write: 0x7F},                  // APIC base
		{Offset: regLatencyControl, Size: 1, Write: 0x0F},
		{Offset: 0xA0, Size: 4, Reset: 0x08, Write: 0xFFFF00FF},
		{Offset: 0xA4, Size: 4, Write: 0xFFFFFFFF},
		{Offset: 0xA8, Size: 1, Reset: 0x0F, Write: 0xFF}, // fast off timer
		{Offset: 0xAA, Size: 2, Write: 0xFFFF},
		{Offset: 0xAC, Size: 1, Write: 0xFF},
		{Offset: 0xAE, Size: 1, Write: 0xFF},
	}
	for i := range 4 {
		regs = append(regs, Register{Offset: regPIRQ + i, Size: 1, Reset: pirqReset, Write: pirqWritable})
	}
	f := NewFunction(Config{
		Name: "PIIX3 ISA bridge", Vendor: intel, Device: 0x7000,
		SubVendor: subVendorVM, SubDevice: subDeviceVM,
		Class: 0x060100, Multifunction: true, Registers: regs,
	})
	if changed == nil {
		return f
	}
	f.OnConfigWrite(func(off int, value uint32) {
		if off != regPIRQ {
			return
		}
		var routes [4]PIRQRoute
		for i := range routes {
			routes[i] = PIRQRoute(value >> (8 * i))
		}
		changed(routes)
	})
	return f
}

// NewPIIX4PM returns the power management function of the PIIX4: function 3 of
// the ISA bridge's slot. changed, if not nil, gets the port base of the
// 64-byte power management block and whether it is decoded, whenever either
// changes, under the rules of OnConfigWrite.
//
// It claims at reset that system management mode has been set up already, so
// that firmware does not wait for SMIs.
func NewPIIX4PM(changed func(base uint16, enabled bool)) *Function {
	f := NewFunction(Config{
		Name: "PIIX4 power management", Vendor: intel, Device: 0x7113,
		SubVendor: subVendorVM, SubDevice: subDeviceVM,
		Class: 0x068000, Revision: 3, InterruptPin: 1,
		Registers: []Register{
			{Offset: regStatus, Size: 2, Reset: 0x0280, Clear: statusErrors},
			{Offset: regPMBase, Size: 4, Reset: baseIsPort, Write: pmBaseMask},
			{Offset: 0x44, Size: 4, Write: 0xFFFFFFFF}, // count A
			{Offset: 0x48, Size: 4, Write: 0xFFFFFFFF}, // count B
			{Offset: 0x4C, Size: 4, Write: 0xFFFFFFFF}, // general purpose inputs
			{Offset: 0x50, Size: 4, Write: 0x00FFFFFF}, // device resource D
			{Offset: 0x54, Size: 4, Write: 0xFFFFFFFF}, // device activity A
			{Offset: regDeviceActB, Size: 4, Reset: apmcEnabled, Write: 0xFFFFFFFF},
			{Offset: 0x5C, Size: 4, Reset: 0x10000000, Write: 0xFFFFFFFF}, // device resources A to J
			{Offset: 0x60, Size: 4, Reset: 0x60000000, Write: 0xFFFFFFFF},
			{Offset: 0x64, Size: 4, Reset: 0x08000000, Write: 0xFFFFFFFF},
			{Offset: 0x68, Size: 4, Write: 0xFFFFFFFF},
			{Offset: 0x6C, Size: 4, Write: 0xFFFFFFFF},
			{Offset: 0x70, Size: 4, Write: 0xFFFFFFFF},
			{Offset: 0x74, Size: 4, Write: 0xFFFFFFFF},
			{Offset: 0x78, Size: 4, Write: 0xFFFFFFFF},
			{Offset: 0x7C, Size: 4, Write: 0xFFFFFFFF},
			{Offset: regPMEnable, Size: 1, Write: pmEnable},
			{Offset: regSMBusBase, Size: 4, Reset: baseIsPort, Write: smbusBaseMask},
			{Offset: 0xD2, Size: 1, Write: 0x0F}, // SMBus host configuration
			{Offset: 0xD3, Size: 1, Write: 0xFF}, // SMBus slave command
			{Offset: 0xD4, Size: 2, Write: 0xFFFF},
		},
	})
	if changed == nil {
		return f
	}
	var base uint16
	var enabled bool
	f.OnConfigWrite(func(off int, value uint32) {
		oldBase, oldEnabled := base, enabled
		switch off {
		case regPMBase:
			base = uint16(value) & pmBaseMask
		case regPMEnable:
			enabled = value&pmEnable != 0
		}
		if base != oldBase || enabled != oldEnabled {
			changed(base, enabled)
		}
	})
	return f
}
