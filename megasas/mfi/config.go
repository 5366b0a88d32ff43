package mfi

// Config is the payload of CFG_READ and CFG_ADD: the arrays and the logical drives on them.
// There are no hot spares in it; their place in the header says so.
type Config struct {
	Arrays []Array
	LDs    []LDConfig
}

// Array is a group of physical drives of equal use.
type Array struct {
	Blocks uint64 // on each drive, of 512 bytes
	Ref    uint16 // its number
	Drives []ArrayDrive
}

// ArrayDrive is a row of an array.
type ArrayDrive struct {
	DeviceID uint16
	Sequence uint16
	State    PDState
	Slot     uint8
}

const (
	// ConfigHeaderLen is the least that a reader of the configuration must
	// offer: the first word of it is the size of the whole.
	ConfigHeaderLen = 32

	arrayLen     = 288
	arrayRowsOff = 32
	arrayRowLen  = 8
	maxRows      = 32
	spareLen     = 40
)

// Marshal returns the payload. Array, drive and spare sizes in the header are
// the strides of one element, as readers walk by them.
func (x *Config) Marshal() []byte {
	b := make(record, ConfigHeaderLen+arrayLen*len(x.Arrays)+ldConfigLen*len(x.LDs))
	b.u32(0, uint32(len(b)))
	b.u16(4, uint16(len(x.Arrays)))
	b.u16(6, arrayLen)
	b.u16(8, uint16(len(x.LDs)))
	b.u16(10, ldConfigLen)
	b.u16(12, 0)
	b.u16(14, spareLen)
	rest := b[ConfigHeaderLen:]
	for i := range x.Arrays {
		x.Arrays[i].marshal(rest)
		rest = rest[arrayLen:]
	}
	for i := range x.LDs {
		x.LDs[i].marshal(rest)
		rest = rest[ldConfigLen:]
	}
	return b
}

func (x *Array) marshal(b record) {
	drives := x.Drives[:min(len(x.Drives), maxRows)]
	b.u64(0, x.Blocks)
	b.u8(8, uint8(len(drives)))
	b.u16(10, x.Ref)
	for i := range maxRows {
		r := b[arrayRowsOff+arrayRowLen*i:]
		if i >= len(drives) {
			r.u16(0, NoDevice)
			continue
		}
		d := drives[i]
		r.u16(0, d.DeviceID)
		r.u16(2, d.Sequence)
		r.u16(4, uint16(d.State))
		r.u8(7, d.Slot)
	}
}

// MaxConfigLen is the most that a guest can add at once.
const MaxConfigLen = ConfigHeaderLen + MaxLDs*(arrayLen+ldConfigLen)

// ParseConfig reads the payload of CFG_ADD, of which p is all that the guest
// gave. Sizes and counts must agree.
func ParseConfig(p []byte) (Config, error) {
	if len(p) < ConfigHeaderLen {
		return Config{}, errorf(StatusInvalidParameter, "configuration of %d bytes", len(p))
	}
	b := record(p)
	size, arrays, lds, spares := b.get32(0), int(b.get16(4)), int(b.get16(8)), b.get16(12)
	switch {
	case arrays > MaxLDs || lds > MaxLDs:
		return Config{}, errorf(StatusLDMaxConfigured, "%d arrays and %d logical drives at once", arrays, lds)
	case spares != 0:
		return Config{}, errorf(StatusInvalidParameter, "configuration with %d spares", spares)
	case arrays > 0 && b.get16(6) != arrayLen || lds > 0 && b.get16(10) != ldConfigLen:
		return Config{}, errorf(StatusInvalidParameter, "configuration with elements of %d and %d bytes", b.get16(6), b.get16(10))
	case int64(size) != int64(ConfigHeaderLen+arrays*arrayLen+lds*ldConfigLen) || int64(size) > int64(len(p)):
		return Config{}, errorf(StatusInvalidParameter, "configuration of %d bytes, %d given", size, len(p))
	}
	var x Config
	rest := b[ConfigHeaderLen:]
	for range arrays {
		x.Arrays = append(x.Arrays, parseArray(rest))
		rest = rest[arrayLen:]
	}
	for range lds {
		x.LDs = append(x.LDs, parseLDConfig(rest))
		rest = rest[ldConfigLen:]
	}
	return x, nil
}

func parseArray(b record) Array {
	x := Array{Blocks: b.get64(0), Ref: b.get16(10)}
	for i := range min(int(b[8]), maxRows) {
		r := b[arrayRowsOff+arrayRowLen*i:]
		x.Drives = append(x.Drives, ArrayDrive{
			DeviceID: r.get16(0),
			Sequence: r.get16(2),
			State:    PDState(r.get16(4)),
			Slot:     r[7],
		})
	}
	return x
}
