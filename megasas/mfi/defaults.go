package mfi

// ManufacturingDefaultsLen is the size of ManufacturingDefaults.
const ManufacturingDefaultsLen = 64

// ManufacturingDefaults is the payload of CTRL_MFC_DEFAULTS_GET: what the maker
// has set. The fields that are not here are zero.
type ManufacturingDefaults struct {
	SASAddress        uint64
	BackgroundRate    uint8 // percent
	StripeSize        uint8 // log2 of 512-byte sectors
	FlushSeconds      uint8
	WriteBack         bool // of new volumes
	ReadAhead         bool
	CacheWhenBBUBad   bool
	CachedIO          bool
	AlarmDisabled     bool
	Coercion          uint8
	BIOSContinue      uint8
	MixInEnclosure    bool // SAS and SATA drives
	MixInLD           bool
	ExposeEnclosures  bool
	MaintainFailState bool
}

// Marshal returns the payload's 64 bytes.
func (x *ManufacturingDefaults) Marshal() []byte {
	b := make(record, ManufacturingDefaultsLen)
	b.u64(0, x.SASAddress)
	b.u8(9, x.BackgroundRate)
	b.u8(10, x.StripeSize)
	b.u8(11, x.FlushSeconds)
	b.flag(12, x.WriteBack)
	b.flag(13, x.ReadAhead)
	b.flag(14, x.CacheWhenBBUBad)
	b.flag(15, x.CachedIO)
	b.flag(17, x.AlarmDisabled)
	b.u8(18, x.Coercion)
	b.u8(21, x.BIOSContinue)
	b.flag(24, x.MixInEnclosure)
	b.flag(25, x.MixInLD)
	b.flag(34, x.ExposeEnclosures)
	b.flag(35, x.MaintainFailState)
	return b
}
