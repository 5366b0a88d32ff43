package mfi

// ControllerInfoLen is the size of ControllerInfo. Drivers offer more.
const ControllerInfoLen = 2048

// Host and device interface bits of ControllerInfo.
const (
	HostInterfacePCIe  = 0x02
	DeviceInterfaceSAS = 0x02
)

// Hardware present bits.
const (
	HWBattery = 1 << iota
	HWAlarm
	HWNVRAM
	HWUART
	HWMemory
	HWFlash
)

// RAID level bits of ControllerInfo.
const (
	RAIDLevel0 = 1 << iota
	RAIDLevel1
	RAIDLevel5
	RAIDLevel1E
	RAIDLevel6
)

// AdapterOpsBattery is the bit of AdapterOps that announces battery commands.
const AdapterOpsBattery = 1 << 7

// AdapterOps2JBOD is the bit of AdapterOps2 that announces system drives.
const AdapterOps2JBOD = 1 << 11

// Component is a part of the firmware image, as tools list it.
type Component struct {
	Name, Version, BuildDate, BuildTime string
}

const (
	componentLen  = 72
	maxComponents = 8
)

// LevelLimits is the number of drives that a RAID level takes.
type LevelLimits struct {
	Min, Max uint16
}

// Columns of ControllerInfo.Levels.
const (
	LimitsRAID0 = iota
	LimitsRAID1
	LimitsRAID5
	LimitsRAID1E
	LimitsRAID6
	LimitsRAID10
	LimitsRAID50
	LimitsRAID60
	LimitsRAID1ERLQ0
	LimitsRAID1E0RLQ0
	numLimits
)

// ControllerInfo is the payload of CTRL_GET_INFO. Fields of features that this
// family's driver must not see (clusters, virtual functions, crash and snap
// dumps, RAID maps, NVMe) are not here, and are zero on the wire.
type ControllerInfo struct {
	Vendor, Device, SubVendor, SubDevice uint16

	HostInterface   uint8
	DeviceInterface uint8
	DevicePorts     []uint64 // SAS address attached to each phy, at most 8
	Components      []Component

	MaxArms, MaxSpans, MaxArrays, MaxLDs uint8
	ProductName                          string
	Serial                               string
	HWPresent                            uint32
	Time                                 uint32 // see Seconds
	MaxCommands, MaxSGE                  uint16
	MaxRequestSectors                    uint32

	LDsPresent, LDsDegraded, LDsOffline                   uint16
	PDsPresent, PDDisksPresent, PDDisksPFail, PDDisksFail uint16

	NVRAMKiB, MemoryMiB, FlashMiB uint16

	MaxStripsPerIO uint16
	RAIDLevels     uint32
	AdapterOps     uint32
	LDOps          uint32
	StripeMin      uint8 // log2 of 512-byte sectors
	StripeMax      uint8
	PDOps          uint32
	PDMix          uint32
	Properties     ControllerProperties
	PackageVersion string
	Levels         [numLimits]LevelLimits
	MaxPDs         uint16
	MaxLDsPerArray uint8
	MaxTarget      uint8
	CacheMiB       uint16
	AdapterOps2    uint32
	MaxConfigPDs   uint16
}

// Marshal returns the payload's 2048 bytes.
func (x *ControllerInfo) Marshal() []byte {
	b := make(record, ControllerInfoLen)
	b.u16(0x000, x.Vendor)
	b.u16(0x002, x.Device)
	b.u16(0x004, x.SubVendor)
	b.u16(0x006, x.SubDevice)
	b.u8(0x020, x.HostInterface)
	b.u8(0x068, x.DeviceInterface)
	ports := x.DevicePorts[:min(len(x.DevicePorts), 8)]
	b.u8(0x06f, uint8(len(ports)))
	for i, a := range ports {
		b.u64(0x070+8*i, a)
	}
	components := x.Components[:min(len(x.Components), maxComponents)]
	b.u32(0x0b4, uint32(len(components)))
	for i, c := range components {
		r := b[0x0b8+componentLen*i:]
		r.str(0, 8, c.Name)
		r.str(8, 32, c.Version)
		r.str(40, 16, c.BuildDate)
		r.str(56, 16, c.BuildTime)
	}
	b.u8(0x53c, x.MaxArms)
	b.u8(0x53d, x.MaxSpans)
	b.u8(0x53e, x.MaxArrays)
	b.u8(0x53f, x.MaxLDs)
	b.str(0x540, 80, x.ProductName)
	b.str(0x590, 32, x.Serial)
	b.u32(0x5b0, x.HWPresent)
	b.u32(0x5b4, x.Time)
	b.u16(0x5b8, x.MaxCommands)
	b.u16(0x5ba, x.MaxSGE)
	b.u32(0x5bc, x.MaxRequestSectors)
	b.u16(0x5c0, x.LDsPresent)
	b.u16(0x5c2, x.LDsDegraded)
	b.u16(0x5c4, x.LDsOffline)
	b.u16(0x5c6, x.PDsPresent)
	b.u16(0x5c8, x.PDDisksPresent)
	b.u16(0x5ca, x.PDDisksPFail)
	b.u16(0x5cc, x.PDDisksFail)
	b.u16(0x5ce, x.NVRAMKiB)
	b.u16(0x5d0, x.MemoryMiB)
	b.u16(0x5d2, x.FlashMiB)
	b.u16(0x5da, x.MaxStripsPerIO)
	b.u32(0x5dc, x.RAIDLevels)
	b.u32(0x5e0, x.AdapterOps)
	b.u32(0x5e4, x.LDOps)
	b.u8(0x5e8, x.StripeMin)
	b.u8(0x5e9, x.StripeMax)
	b.u32(0x5ec, x.PDOps)
	b.u32(0x5f0, x.PDMix)
	b.bytes(0x600, ControllerPropertiesLen, x.Properties.Marshal())
	b.str(0x640, 96, x.PackageVersion)
	for i, l := range x.Levels { // minimum in 4 bits, maximum in 12
		b.u16(0x760+2*i, l.Min&0xf|l.Max<<4)
	}
	b.u16(0x780, x.MaxPDs)
	b.u8(0x788, x.MaxLDsPerArray)
	b.u8(0x78d, x.MaxTarget)
	b.u16(0x7a2, x.CacheMiB)
	b.u32(0x7a4, x.AdapterOps2)
	b.u16(0x7cc, x.MaxConfigPDs)
	return b
}
