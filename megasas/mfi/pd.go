package mfi

// NoDevice is the device id of no drive. As the enclosure of a drive it says
// that the drive sits in none.
const NoDevice = 0xffff

// PDQuery selects the drives that PD_LIST_QUERY returns: byte 0 of the mailbox.
type PDQuery uint8

// Query types.
const (
	PDQueryAll           PDQuery = 0
	PDQueryState         PDQuery = 1
	PDQueryPowerState    PDQuery = 2
	PDQueryMediaType     PDQuery = 3
	PDQuerySpeed         PDQuery = 4
	PDQueryExposedToHost PDQuery = 5 // system drives only
)

// PDAddress is one element of the physical drive list.
type PDAddress struct {
	DeviceID       uint16 // below 256: the Linux driver indexes a table with it
	EnclosureID    uint16 // device id of the enclosure, or NoDevice
	EnclosureIndex uint8
	Slot           uint8
	SCSIType       uint8 // peripheral device type
	PortBitmap     uint8
	SASAddress     [2]uint64
}

const (
	listHeaderLen = 8
	pdAddressLen  = 24
)

// MarshalPDList returns the payload of PD_GET_LIST and PD_LIST_QUERY.
func MarshalPDList(l []PDAddress) []byte {
	b := make(record, listHeaderLen+pdAddressLen*len(l))
	b.u32(0, uint32(len(b)))
	b.u32(4, uint32(len(l)))
	for i, a := range l {
		r := b[listHeaderLen+pdAddressLen*i:]
		r.u16(0, a.DeviceID)
		r.u16(2, a.EnclosureID)
		r.u8(4, a.EnclosureIndex)
		r.u8(5, a.Slot)
		r.u8(6, a.SCSIType)
		r.u8(7, a.PortBitmap)
		r.u64(8, a.SASAddress[0])
		r.u64(16, a.SASAddress[1])
	}
	return b
}

// PDState is the firmware's state of a physical drive.
type PDState uint16

// Physical drive states.
const (
	PDUnconfiguredGood PDState = 0x00
	PDUnconfiguredBad  PDState = 0x01
	PDHotSpare         PDState = 0x02
	PDOffline          PDState = 0x10
	PDFailed           PDState = 0x11
	PDRebuild          PDState = 0x14
	PDOnline           PDState = 0x18
	PDCopyback         PDState = 0x20
	PDSystem           PDState = 0x40 // exposed to the host as it is (JBOD)
)

// Bits of PDInfo.DDFType, and the interface in its top four bits.
const (
	DDFForcedGUID = 1 << 0
	DDFInVD       = 1 << 1
	DDFForeign    = 1 << 4

	DDFInterfaceSAS  = 2 << 12
	DDFInterfaceSATA = 3 << 12
)

// Bits of PDInfo.Properties.
const (
	PDPropertyNCQ        = 1 << 5  // native command queueing, of SATA
	PDPropertyWriteCache = 1 << 6  // is on
	PDPropertyUnmap      = 1 << 13 // takes UNMAP
)

// Values of PDInfo.InterfaceType.
const (
	InterfaceSAS  = 2
	InterfaceSATA = 3
)

// Values of PDInfo.PowerState. Linux's megaraid_sas.h has the field; that a drive
// which does not turn is 1 is this project's reading.
const (
	PowerActive = 0
	PowerSave   = 1
)

// Bits of PDInfo.ActiveOps.
const (
	PDOpRebuild  = 1 << 0
	PDOpPatrol   = 1 << 1
	PDOpClear    = 1 << 2
	PDOpCopyback = 1 << 3
	PDOpErase    = 1 << 4
	PDOpLocate   = 1 << 5 // the lamp blinks
)

// PDInfoLen is the size of PDInfo.
const PDInfoLen = 512

// PDInfo is the payload of PD_GET_INFO.
type PDInfo struct {
	DeviceID   uint16
	Sequence   uint16 // advances with every change of state
	Inquiry    []byte // standard INQUIRY data, at most 96 bytes
	VPD83      []byte // device identification, at most 64+64 bytes
	SCSIType   uint8
	PortBitmap uint8
	SpeedCode  uint8 // 1 is 1.5 Gb/s, 2 is 3, 3 is 6

	MediaErrors, OtherErrors, PredFailures, PredFailSequence uint32

	State      PDState
	DDFType    uint16
	PathCount  uint8
	SASAddress [2]uint64

	RawSize, NonCoercedSize, CoercedSize uint64 // 512-byte blocks

	EnclosureID    uint16
	EnclosureIndex uint8
	Slot           uint8
	Progress       PDProgress
	PowerState     uint8 // PowerActive or PowerSave
	AllowedOps     uint32
	MediaType      uint8 // 0 rotating, 1 solid state
	InterfaceType  uint8
	Temperature    uint8 // degrees Celsius
	BlockSize      uint16
	Properties     uint32
}

// Marshal returns the payload's 512 bytes.
func (x *PDInfo) Marshal() []byte {
	b := make(record, PDInfoLen)
	b.u16(0x000, x.DeviceID)
	b.u16(0x002, x.Sequence)
	b.bytes(0x004, 96, x.Inquiry)
	b.bytes(0x064, 64, x.VPD83)
	b.u8(0x0a5, x.SCSIType)
	b.u8(0x0a6, x.PortBitmap)
	b.u8(0x0a7, x.SpeedCode)
	b.u32(0x0a8, x.MediaErrors)
	b.u32(0x0ac, x.OtherErrors)
	b.u32(0x0b0, x.PredFailures)
	b.u32(0x0b4, x.PredFailSequence)
	b.u16(0x0b8, uint16(x.State))
	b.u8(0x0bb, x.SpeedCode) // the link runs at the drive's speed
	b.u16(0x0bc, x.DDFType)
	b.u8(0x0c0, x.PathCount)
	b.u64(0x0c8, x.SASAddress[0])
	b.u64(0x0d0, x.SASAddress[1])
	b.u64(0x0e8, x.RawSize)
	b.u64(0x0f0, x.NonCoercedSize)
	b.u64(0x0f8, x.CoercedSize)
	b.u16(0x100, x.EnclosureID)
	b.u8(0x102, x.EnclosureIndex)
	b.u8(0x103, x.Slot)
	b.bytes(0x104, PDProgressLen, x.Progress.Marshal())
	if len(x.VPD83) > 64 {
		b.bytes(0x126, 64, x.VPD83[64:])
	}
	b.u8(0x166, x.PowerState)
	b.u32(0x168, x.AllowedOps)
	b.u16(0x16c, NoDevice) // no copyback partner,
	b.u16(0x16e, NoDevice) // and no enclosure of it
	b.u8(0x172, x.MediaType)
	b.u8(0x191, x.InterfaceType)
	b.u8(0x192, x.Temperature)
	b.u16(0x194, x.BlockSize)
	b.u32(0x198, x.Properties)
	return b
}

// PDProgressLen is the size of PDProgress.
const PDProgressLen = 32

// PDProgress is the payload of PD_GET_PROGRESS, and a part of PDInfo.
type PDProgress struct {
	ActiveOps uint32 // PDOp bits
	Clear     Progress
}

// Marshal returns the payload's 32 bytes.
func (x *PDProgress) Marshal() []byte {
	b := make(record, PDProgressLen)
	b.u32(0, x.ActiveOps)
	x.Clear.put(b[12:])
	return b
}

// Progress is how far something is that takes time.
type Progress struct {
	Done    uint16 // in parts of 65535
	Seconds uint16 // since it began
}

func (x Progress) put(b record) {
	b.u16(0, x.Done)
	b.u16(2, x.Seconds)
}
