package mfi

// EventArgs are the machine-readable arguments of an event. Each kind has its
// own type here.
type EventArgs interface {
	kind() uint8
	put(b record) // b is the event's 96 bytes of arguments, zeroed
}

// LDRef names a logical drive in an event.
type LDRef struct {
	Target uint8
	Index  uint8
}

func (x LDRef) putAt(b record, off int) {
	b.u16(off, uint16(x.Target))
	b.u8(off+2, x.Index)
}

// PDRef names a physical drive in an event.
type PDRef struct {
	DeviceID       uint16
	EnclosureIndex uint8
	Slot           uint8
}

func (x PDRef) putAt(b record, off int) {
	b.u16(off, x.DeviceID)
	b.u8(off+2, x.EnclosureIndex)
	b.u8(off+3, x.Slot)
}

// ArgsLD is the arguments of an event about a logical drive.
type ArgsLD struct{ LD LDRef }

func (ArgsLD) kind() uint8    { return 2 }
func (x ArgsLD) put(b record) { x.LD.putAt(b, 0) }

// ArgsLDProgress is how far something is that is done to a logical drive.
type ArgsLDProgress struct {
	LD       LDRef
	Progress Progress
}

func (ArgsLDProgress) kind() uint8 { return 7 }
func (x ArgsLDProgress) put(b record) {
	x.LD.putAt(b, 0)
	x.Progress.put(b[4:])
}

// ArgsLDState is the arguments of a logical drive's change of state.
type ArgsLDState struct {
	LD        LDRef
	Prev, New LDState
}

func (ArgsLDState) kind() uint8 { return 8 }
func (x ArgsLDState) put(b record) {
	x.LD.putAt(b, 0)
	b.u32(4, uint32(x.Prev))
	b.u32(8, uint32(x.New))
}

// ArgsPD is the arguments of an event about a physical drive.
type ArgsPD struct{ PD PDRef }

func (ArgsPD) kind() uint8    { return 10 }
func (x ArgsPD) put(b record) { x.PD.putAt(b, 0) }

// ArgsPDError is the arguments of a physical drive's error.
type ArgsPDError struct {
	PD    PDRef
	Error uint32
}

func (ArgsPDError) kind() uint8 { return 11 }
func (x ArgsPDError) put(b record) {
	x.PD.putAt(b, 0)
	b.u32(4, x.Error)
}

// ArgsPDProgress is how far something is that is done to a physical drive.
type ArgsPDProgress struct {
	PD       PDRef
	Progress Progress
}

func (ArgsPDProgress) kind() uint8 { return 14 }
func (x ArgsPDProgress) put(b record) {
	x.PD.putAt(b, 0)
	x.Progress.put(b[4:])
}

// ArgsPDState is the arguments of a physical drive's change of state.
type ArgsPDState struct {
	PD        PDRef
	Prev, New PDState
}

func (ArgsPDState) kind() uint8 { return 15 }
func (x ArgsPDState) put(b record) {
	x.PD.putAt(b, 0)
	b.u32(4, uint32(x.Prev))
	b.u32(8, uint32(x.New))
}

// ArgsPCI is the controller's own identity.
type ArgsPCI struct {
	Vendor, Device, SubVendor, SubDevice uint16
}

func (ArgsPCI) kind() uint8 { return 16 }
func (x ArgsPCI) put(b record) {
	b.u16(0, x.Vendor)
	b.u16(2, x.Device)
	b.u16(4, x.SubVendor)
	b.u16(6, x.SubDevice)
}

// ArgsString is free text, at most 95 bytes.
type ArgsString string

func (ArgsString) kind() uint8    { return 18 }
func (x ArgsString) put(b record) { b.str(0, 96, string(x)) }

// ArgsTime is the card's clock when it was set.
type ArgsTime struct {
	Time    uint32 // see Seconds
	Elapsed uint32 // seconds since the firmware started
}

func (ArgsTime) kind() uint8 { return 19 }
func (x ArgsTime) put(b record) {
	b.u32(0, x.Time)
	b.u32(4, x.Elapsed)
}

// ArgsRaw is arguments of any kind, as they are on the wire.
type ArgsRaw struct {
	Kind uint8
	Data [96]byte
}

func (x ArgsRaw) kind() uint8  { return x.Kind }
func (x ArgsRaw) put(b record) { copy(b, x.Data[:]) }
