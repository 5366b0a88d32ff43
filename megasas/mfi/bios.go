package mfi

// BIOSDataLen is the size of BIOSData.
const BIOSDataLen = 64

// BIOSData is the payload of CTRL_BIOS_DATA_GET and CTRL_BIOS_DATA_SET: what the
// card's option ROM does at boot.
type BIOSData struct {
	BootTarget      uint16 // target id of the logical drive to boot from
	NoInt13         bool
	ContinueOnError uint8
	Verbose         uint8
	Geometry        uint8
	ExposeAll       bool // all drives, not the boot drive only
}

// Marshal returns the payload's 64 bytes. Their sum is 0.
func (x *BIOSData) Marshal() []byte {
	b := make(record, BIOSDataLen)
	b.u16(0, x.BootTarget)
	b.flag(2, x.NoInt13)
	b.u8(3, x.ContinueOnError)
	b.u8(4, x.Verbose)
	b.u8(5, x.Geometry)
	b.flag(6, x.ExposeAll)
	var sum uint8
	for _, v := range b {
		sum += v
	}
	b.u8(BIOSDataLen-1, -sum)
	return b
}

// ParseBIOSData reads the payload of CTRL_BIOS_DATA_SET.
func ParseBIOSData(p *[BIOSDataLen]byte) BIOSData {
	b := record(p[:])
	return BIOSData{
		BootTarget:      b.get16(0),
		NoInt13:         b[2] != 0,
		ContinueOnError: b[3],
		Verbose:         b[4],
		Geometry:        b[5],
		ExposeAll:       b[6] != 0,
	}
}
