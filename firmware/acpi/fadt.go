package acpi

import "encoding/binary"

// Fields of the FADT, by offset from the start of the table (ACPI 6.5, table
// 5.9). Addresses of register blocks appear twice: as 32-bit ports, and as
// generic addresses that prevail.
const (
	fadtFACS        = 36  // u32
	fadtDSDT        = 40  // u32
	fadtSCI         = 46  // u16
	fadtSMICommand  = 48  // u32 port
	fadtEnable      = 52  // u8
	fadtDisable     = 53  // u8
	fadtPM1aEvent   = 56  // u32 port
	fadtPM1aControl = 64  // u32 port
	fadtTimer       = 76  // u32 port
	fadtGPE0        = 80  // u32 port
	fadtPM1EventLen = 88  // u8
	fadtPM1CtrlLen  = 89  // u8
	fadtTimerLen    = 91  // u8
	fadtGPE0Len     = 92  // u8
	fadtC2Latency   = 96  // u16, above 100: no C2
	fadtC3Latency   = 98  // u16, above 1000: no C3
	fadtCentury     = 108 // u8: CMOS register
	fadtBootArch    = 109 // u16
	fadtFlags       = 112 // u32
	fadtResetReg    = 116 // generic address
	fadtResetValue  = 128 // u8
	fadtXDSDT       = 140 // u64
	fadtXPM1aEvent  = 148 // generic addresses
	fadtXPM1aCtrl   = 172
	fadtXTimer      = 208
	fadtXGPE0       = 220
	fadtSize        = 276

	fadtRevision = 6
)

// Lengths of the register blocks, in bytes.
const (
	pm1EventLen = 4
	pm1CtrlLen  = 2
	timerLen    = 4
	gpe0Len     = 4
)

// Flags (table 5.10).
const (
	flagWBINVD     = 1 << 0
	flagProcC1     = 1 << 2
	flagNoSleepBtn = 1 << 5 // no fixed sleep button
	flagTimer32    = 1 << 8
	flagResetReg   = 1 << 10
)

// Boot architecture flags (table 5.11).
const (
	bootLegacyDevices = 1 << 0
	boot8042          = 1 << 1
	bootNoVGA         = 1 << 2
	bootNoCMOSClock   = 1 << 5
)

// Generic address structure (section 5.2.3.2).
const (
	gasIO       = 1 // address space
	accessByte  = 1
	accessWord  = 2
	accessDWord = 3
)

const (
	cmosCentury     = 0x32
	latencyUnusable = 0xFFF
)

// makeFADT makes the fixed ACPI description table.
func makeFADT(c *Config, facs, dsdt uint64) []byte {
	le := binary.LittleEndian
	t := make([]byte, fadtSize)
	p := c.Power

	// The 64-bit address of the FACS must be zero where the 32-bit one is not.
	le.PutUint32(t[fadtFACS:], uint32(facs))
	le.PutUint32(t[fadtDSDT:], uint32(dsdt))
	le.PutUint64(t[fadtXDSDT:], dsdt)

	le.PutUint16(t[fadtSCI:], uint16(p.SCI))
	if p.SMICommand != 0 {
		le.PutUint32(t[fadtSMICommand:], uint32(p.SMICommand))
		t[fadtEnable], t[fadtDisable] = p.Enable, p.Disable
	}
	for _, b := range []struct {
		port              uint16
		portAt, lenAt, at int
		length, access    uint8
	}{
		{p.PM1Event, fadtPM1aEvent, fadtPM1EventLen, fadtXPM1aEvent, pm1EventLen, accessWord},
		{p.PM1Control, fadtPM1aControl, fadtPM1CtrlLen, fadtXPM1aCtrl, pm1CtrlLen, accessWord},
		{p.Timer, fadtTimer, fadtTimerLen, fadtXTimer, timerLen, accessDWord},
		{p.GPE0, fadtGPE0, fadtGPE0Len, fadtXGPE0, gpe0Len, accessByte},
	} {
		if b.port == 0 {
			continue
		}
		le.PutUint32(t[b.portAt:], uint32(b.port))
		t[b.lenAt] = b.length
		putGAS(t[b.at:], b.port, b.length*8, b.access)
	}
	le.PutUint16(t[fadtC2Latency:], latencyUnusable)
	le.PutUint16(t[fadtC3Latency:], latencyUnusable)

	boot := uint16(bootLegacyDevices)
	if c.Keyboard {
		boot |= boot8042
	}
	if !c.VGA {
		boot |= bootNoVGA
	}
	if c.RTC {
		t[fadtCentury] = cmosCentury
	} else {
		boot |= bootNoCMOSClock
	}
	le.PutUint16(t[fadtBootArch:], boot)

	flags := uint32(flagWBINVD | flagProcC1 | flagNoSleepBtn | flagTimer32)
	if c.Reset.Port != 0 {
		flags |= flagResetReg
		putGAS(t[fadtResetReg:], c.Reset.Port, 8, accessByte)
		t[fadtResetValue] = c.Reset.Value
	}
	le.PutUint32(t[fadtFlags:], flags)
	return makeTable("FACP", fadtRevision, t[headerSize:])
}

// putGAS writes the generic address of a register of bits bits at a port.
func putGAS(t []byte, port uint16, bits, access uint8) {
	t[0], t[1], t[2], t[3] = gasIO, bits, 0, access
	binary.LittleEndian.PutUint64(t[4:], uint64(port))
}
