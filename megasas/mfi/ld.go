package mfi

// LDState is the state of a logical drive.
type LDState uint8

// Logical drive states.
const (
	LDOffline           LDState = 0
	LDPartiallyDegraded LDState = 1
	LDDegraded          LDState = 2
	LDOptimal           LDState = 3
)

// LDQuery selects the drives that LD_LIST_QUERY returns: byte 0 of the mailbox.
type LDQuery uint8

// Query types.
const (
	LDQueryAll           LDQuery = 0
	LDQueryExposedToHost LDQuery = 1
	LDQueryUsedTargetIDs LDQuery = 2
	LDQueryClusterAccess LDQuery = 3
	LDQueryClusterLocale LDQuery = 4
)

// MaxLDs is the number of logical drives, and of their target ids from 0.
const MaxLDs = 64

// LDListEntry is one element of the logical drive list.
type LDListEntry struct {
	Target   uint8
	Sequence uint16
	State    LDState
	Blocks   uint64 // of 512 bytes
}

const (
	ldEntryLen = 16

	// LDListLen is the size of the logical drive list, whatever it holds.
	LDListLen = listHeaderLen + MaxLDs*ldEntryLen
)

// MarshalLDList returns the payload of LD_GET_LIST, for at most MaxLDs drives.
func MarshalLDList(l []LDListEntry) []byte {
	b := make(record, LDListLen)
	b.u32(0, uint32(len(l)))
	for i, e := range l {
		r := b[listHeaderLen+ldEntryLen*i:]
		r.u8(0, e.Target)
		r.u16(2, e.Sequence)
		r.u8(4, uint8(e.State))
		r.u64(8, e.Blocks)
	}
	return b
}

// MarshalLDTargets returns the payload of LD_LIST_QUERY. Its size field counts
// one byte for each target after a header of 11.
func MarshalLDTargets(targets []uint8) []byte {
	const header = 11
	b := make(record, header+len(targets))
	b.u32(0, uint32(len(b)))
	b.u32(4, uint32(len(targets)))
	copy(b[header:], targets)
	return b
}

// Cache policy bits of LDProperties.
const (
	CacheWriteBack       = 0x01
	CacheWriteAdaptive   = 0x02
	CacheReadAhead       = 0x04
	CacheReadAdaptive    = 0x08
	CacheWriteBackBadBBU = 0x10
	CacheAllowWrite      = 0x20
	CacheAllowRead       = 0x40
)

// Access policies of LDProperties.
const (
	AccessReadWrite = 0
	AccessReadOnly  = 2
	AccessBlocked   = 3
)

// Disk cache policies of LDProperties.
const (
	DiskCacheUnchanged = 0
	DiskCacheEnable    = 1
	DiskCacheDisable   = 2
)

// LDPropertiesLen is the size of LDProperties.
const LDPropertiesLen = 32

// LDProperties is the payload of LD_GET_PROP, and a part of LDInfo and of the
// configuration.
type LDProperties struct {
	Target        uint8
	Sequence      uint16
	Name          string // at most 15 bytes
	DefaultCache  uint8  // the policy that was asked for
	Access        uint8
	DiskCache     uint8
	CurrentCache  uint8 // the policy in force
	NoBackgroundI bool  // no background initialisation
}

// Marshal returns the 32 bytes of the properties.
func (x *LDProperties) Marshal() []byte {
	b := make(record, LDPropertiesLen)
	b.u8(0, x.Target)
	b.u16(2, x.Sequence)
	b.str(4, 16, x.Name)
	b.u8(20, x.DefaultCache)
	b.u8(21, x.Access)
	b.u8(22, x.DiskCache)
	b.u8(23, x.CurrentCache)
	b.flag(24, x.NoBackgroundI)
	return b
}

// ParseLDProperties reads the payload of LD_SET_PROP.
func ParseLDProperties(p *[LDPropertiesLen]byte) LDProperties {
	b := record(p[:])
	return LDProperties{
		Target:        b[0],
		Sequence:      b.get16(2),
		Name:          b.text(4, 16),
		DefaultCache:  b[20],
		Access:        b[21],
		DiskCache:     b[22],
		CurrentCache:  b[23],
		NoBackgroundI: b[24] != 0,
	}
}

// LDParameters is the shape of a logical drive. The RAID levels are DDF's.
type LDParameters struct {
	PrimaryLevel, Qualifier, SecondaryLevel uint8
	StripeSize                              uint8 // log2 of 512-byte sectors
	DrivesPerSpan, SpanDepth                uint8
	State                                   LDState
	InitState                               uint8 // 0 none, 1 quick, 2 full
	Consistent                              bool
}

const ldParametersLen = 32

func (x *LDParameters) marshal() []byte {
	b := make(record, ldParametersLen)
	b.u8(0, x.PrimaryLevel)
	b.u8(1, x.Qualifier)
	b.u8(2, x.SecondaryLevel)
	b.u8(3, x.StripeSize)
	b.u8(4, x.DrivesPerSpan)
	b.u8(5, x.SpanDepth)
	b.u8(6, uint8(x.State))
	b.u8(7, x.InitState)
	b.flag(8, x.Consistent)
	return b
}

// Span is the part of an array that a logical drive lies on.
type Span struct {
	Start, Blocks uint64 // on each drive of the array, in 512-byte blocks
	Array         uint16 // reference of the array
}

const (
	spanLen  = 24
	maxSpans = 8

	ldConfigLen = LDPropertiesLen + ldParametersLen + maxSpans*spanLen
)

// LDConfig is a logical drive as the configuration holds it; LDInfo starts with
// the same 256 bytes.
type LDConfig struct {
	Properties LDProperties
	Parameters LDParameters
	Spans      []Span // at most 8
}

func parseLDConfig(b record) LDConfig {
	p := b[LDPropertiesLen:]
	x := LDConfig{
		Properties: ParseLDProperties((*[LDPropertiesLen]byte)(b)),
		Parameters: LDParameters{
			PrimaryLevel:   p[0],
			Qualifier:      p[1],
			SecondaryLevel: p[2],
			StripeSize:     p[3],
			DrivesPerSpan:  p[4],
			SpanDepth:      p[5],
			State:          LDState(p[6]),
			InitState:      p[7],
			Consistent:     p[8] != 0,
		},
	}
	for i := range min(int(x.Parameters.SpanDepth), maxSpans) {
		r := b[0x40+spanLen*i:]
		x.Spans = append(x.Spans, Span{Start: r.get64(0), Blocks: r.get64(8), Array: r.get16(16)})
	}
	return x
}

func (x *LDConfig) marshal(b record) {
	b.bytes(0x00, LDPropertiesLen, x.Properties.Marshal())
	b.bytes(0x20, ldParametersLen, x.Parameters.marshal())
	for i, s := range x.Spans[:min(len(x.Spans), maxSpans)] {
		r := b[0x40+spanLen*i:]
		r.u64(0, s.Start)
		r.u64(8, s.Blocks)
		r.u16(16, s.Array)
	}
}

// LDInfoLen is the size of LDInfo.
const LDInfoLen = 384

// Bits of LDInfo.ActiveOps.
const (
	LDOpCheck          = 1 << 0
	LDOpBackgroundInit = 1 << 1
	LDOpForegroundInit = 1 << 2
	LDOpReconstruction = 1 << 3
)

// LDInfo is the payload of LD_GET_INFO.
type LDInfo struct {
	Config         LDConfig
	Blocks         uint64 // of 512 bytes
	ActiveOps      uint32 // LDOp bits
	ForegroundInit Progress
	VPD83          []byte // device identification, at most 64 bytes
}

// Marshal returns the payload's 384 bytes.
func (x *LDInfo) Marshal() []byte {
	b := make(record, LDInfoLen)
	x.Config.marshal(b)
	b.u64(0x100, x.Blocks)
	b.u32(0x108, x.ActiveOps)
	x.ForegroundInit.put(b[0x114:])
	b.bytes(0x130, 64, x.VPD83)
	return b
}
