package scsi

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
)

// UnitConfig describes a logical unit.
type UnitConfig struct {
	// Medium holds the data. What does not fill a whole block at its end is not
	// reachable.
	Medium Medium
	// Mapper knows which of the Medium's bytes have storage. nil is the Medium,
	// if it is one.
	Mapper Mapper
	// Trier makes transfers to the Medium that need not wait. nil is the Medium,
	// if it is one.
	Trier Trier
	// BlockSize is the logical block length in bytes: a power of two from 512 to
	// 4096. 0 is 512.
	BlockSize uint32
	// PhysicalBlockSize is the length in bytes of the blocks that the medium
	// writes best, a power of two and at least BlockSize. 0 is BlockSize.
	PhysicalBlockSize uint32
	Identity          Identity
	// RotationRate is the medium rotation rate as VPD page B1h has it: 0 does
	// not report one, 1 is a solid-state medium, 0x401 to 0xFFFE are
	// revolutions per minute.
	RotationRate uint16
	// WriteBack enables the write cache (see Durability in the package comment).
	WriteBack bool
	// FixedWriteCache keeps the initiator from turning the write cache on or
	// off by MODE SELECT. Whoever owns the unit still can.
	FixedWriteCache bool
	// SaveMode keeps mode parameters that an initiator wants saved, until it is
	// called again; when it has returned nil, they outlive the host. nil is no place
	// for them: none can be saved. It is called for one command at a time.
	SaveMode func(ModeParameters) error
	// SavedMode are the parameters that SaveMode was called with last, in this life
	// of the unit's or an earlier one. nil is never.
	SavedMode *ModeParameters
	// SaveReservation keeps registrations and the persistent reservation, until it is
	// called again; when it has returned nil, they outlive the host, and with nil as
	// argument there are none to keep. nil is no place for them: APTPL cannot be asked
	// for. It is called for one command at a time.
	SaveReservation func(*ReservationState) error
	// SavedReservation is what SaveReservation was called with last, in this life of
	// the unit's or an earlier one. What no unit can have had is not looked at.
	SavedReservation *ReservationState
	// ReadOnly protects the unit from writes, as a read-only Medium does.
	ReadOnly bool
	// PowerOnAttention makes the unit report POWER ON, RESET, OR BUS DEVICE RESET
	// OCCURRED after NewUnit and Reset. A drive does; a volume behind a
	// controller's firmware does not, since the firmware has consumed it.
	PowerOnAttention bool
	// Initiator is the SAS address of the initiator, by which PERSISTENT RESERVE
	// IN names who has registered. 0 is not known: READ FULL STATUS, which
	// cannot do without, is not there then.
	Initiator uint64
	// CDROM makes the unit a CD-ROM drive with the Medium as its disc: blocks of
	// 2048 bytes that cannot be written. The drive can eject the disc and take it
	// in again.
	CDROM bool
	// ATA makes the unit a SATA drive; nil is a SAS drive, or a volume.
	ATA *ATA
	// Health is what log pages tell beyond what the unit counts.
	Health Health
	// Counters are where the unit counts; nil is for itself alone.
	Counters *Counters
	Limits   Limits
}

// Identity is what a unit is known by. Strings are printable ASCII.
type Identity struct {
	Vendor   string // at most 8 characters
	Product  string // at most 16
	Revision string // at most 4
	Serial   string // at most 64; VPD page 80h
	// NAA is the name in VPD page 83h: 8 bytes whose first four bits are 2, 3 or
	// 5, or 16 bytes that start with 6. Empty is none.
	NAA []byte
}

// Limits are the figures of VPD page B0h, all in logical blocks but for
// MaxUnmapDescriptors. Zero values are replaced by the defaults given.
type Limits struct {
	// MaxTransfer is the most that one READ, WRITE or VERIFY moves or checks;
	// longer ones are refused. Default 32 MiB.
	MaxTransfer uint32
	// OptimalTransfer and OptimalGranularity are hints, for instance a full
	// stripe and a strip; by default there are none.
	OptimalTransfer    uint32
	OptimalGranularity uint16
	// MaxUnmap and MaxUnmapDescriptors limit one UNMAP. Default 4 GiB and 256.
	MaxUnmap            uint32
	MaxUnmapDescriptors uint32
	// UnmapGranularity is a hint, the unit in which storage is given back, such
	// as a cluster of the image; by default there is none.
	UnmapGranularity uint32
	// MaxWriteSame limits one WRITE SAME. Default 256 MiB.
	MaxWriteSame uint32
	// MaxCompareAndWrite limits one COMPARE AND WRITE, which moves twice as
	// much. Default 255, or half of MaxTransfer if that is less.
	MaxCompareAndWrite uint8
}

// Unit is a logical unit. See the package comment.
type Unit struct {
	config   UnitConfig // with defaults filled in; does not change
	medium   Medium
	counters *Counters
	mapper   Mapper // nil if nobody knows
	trier    Trier  // nil: every transfer may wait
	shift    uint   // log2 of the logical block length
	commands *commandSet

	modeMu          sync.Mutex                     // held while MODE SELECT changes what follows
	writeBack       atomic.Bool                    // WCE
	descriptorSense atomic.Bool                    // D_SENSE
	softProtected   atomic.Bool                    // SWP
	savedMode       atomic.Pointer[ModeParameters] // nil if none were saved; written with modeMu held

	// keptReservation is what outlives the loss of power; written with reservations.mu
	// held, nil for nothing.
	keptReservation atomic.Pointer[ReservationState]

	sanitizing   sanitizeState
	tray         tray         // of a CD-ROM drive
	changes      sync.RWMutex // see access.go
	stopped      atomic.Bool
	standby      atomic.Bool   // spun down, see StandBy
	standbyWork  atomic.Uint64 // what the counters had counted then
	background   background
	attention    attentions
	reservations reservations
	selfTests    selfTestLog
	scratch      sync.Pool // of *[scratchSize]byte
}

// scratchSize is the length in bytes of the buffers in which commands that have
// no place for it in the initiator's memory hold data. It is a multiple of any
// logical block length.
const scratchSize = 64 << 10

// NewUnit returns a unit that is ready for commands.
func NewUnit(c UnitConfig) (*Unit, error) {
	if c.Medium == nil {
		return nil, errors.New("scsi: a unit needs a medium")
	}
	if err := c.complete(); err != nil {
		return nil, fmt.Errorf("scsi: %w", err)
	}
	u := &Unit{
		config:   c,
		medium:   c.Medium,
		shift:    uint(bits.TrailingZeros32(c.BlockSize)),
		commands: blockCommands(),
		counters: c.Counters,
	}
	if c.CDROM {
		u.commands = cdCommands()
	}
	if u.counters == nil {
		u.counters = new(Counters)
	}
	if u.mapper = c.Mapper; u.mapper == nil {
		u.mapper, _ = c.Medium.(Mapper)
	}
	if u.trier = c.Trier; u.trier == nil {
		u.trier, _ = c.Medium.(Trier)
	}
	u.background.rest.L = &u.background.mu
	u.scratch.New = func() any { return new([scratchSize]byte) }
	if c.SavedMode != nil {
		saved := *c.SavedMode
		u.savedMode.Store(&saved)
	}
	if r := c.SavedReservation; r != nil && c.SaveReservation != nil && r.Persist && r.check() == nil {
		kept := *r
		u.keptReservation.Store(&kept)
	}
	u.writeBack.Store(u.savedModeSettings().WriteCache)
	u.Reset()
	return u, nil
}

// complete fills in defaults and checks the rest.
func (c *UnitConfig) complete() error {
	c.Identity.NAA = slices.Clone(c.Identity.NAA)
	c.Health.Ports = slices.Clone(c.Health.Ports)
	if c.CDROM {
		c.BlockSize, c.ReadOnly = cdBlockSize, true
	}
	orDefault(&c.BlockSize, 512)
	orDefault(&c.PhysicalBlockSize, c.BlockSize)
	if b := c.BlockSize; b < 512 || b > 4096 || b&(b-1) != 0 {
		return fmt.Errorf("block size %d: must be a power of two from 512 to 4096", b)
	}
	if p := c.PhysicalBlockSize; p < c.BlockSize || p&(p-1) != 0 || p>>15 > c.BlockSize {
		return fmt.Errorf("physical block size %d: must be a power of two from %d to %d",
			p, c.BlockSize, uint64(c.BlockSize)<<15)
	}
	if n := c.Medium.Size(); n < int64(c.BlockSize) {
		return fmt.Errorf("medium of %d bytes: must hold at least one block of %d bytes", n, c.BlockSize)
	}
	if r := c.RotationRate; r > 1 && r < 0x401 || r == 0xFFFF {
		return fmt.Errorf("rotation rate %d: must be 0, 1 or from 1025 to 65534", r)
	}
	if err := c.Identity.check(); err != nil {
		return err
	}
	if c.ATA != nil {
		a := *c.ATA
		if c.ATA = &a; c.BlockSize != 512 && c.BlockSize != 4096 {
			return fmt.Errorf("block size %d: a SATA drive has 512 or 4096", c.BlockSize)
		}
		if err := a.check(); err != nil {
			return err
		}
	}
	return c.Limits.complete(c.BlockSize, c.PhysicalBlockSize)
}

func (id Identity) check() error {
	for _, f := range []struct {
		name, value string
		max         int
	}{
		{"vendor", id.Vendor, 8}, {"product", id.Product, 16},
		{"revision", id.Revision, 4}, {"serial", id.Serial, 64},
	} {
		if len(f.value) > f.max {
			return fmt.Errorf("%s %q: must be at most %d characters", f.name, f.value, f.max)
		}
		for i := range len(f.value) {
			if f.value[i] < 0x20 || f.value[i] > 0x7E {
				return fmt.Errorf("%s %q: must be printable ASCII", f.name, f.value)
			}
		}
	}
	switch len(id.NAA) {
	case 0:
		return nil
	case 8:
		if t := id.NAA[0] >> 4; t == 2 || t == 3 || t == 5 {
			return nil
		}
	case 16:
		if id.NAA[0]>>4 == 6 {
			return nil
		}
	}
	return fmt.Errorf("NAA name %x: must be 8 bytes that start with 2, 3 or 5, or 16 that start with 6", id.NAA)
}

func (l *Limits) complete(block, physical uint32) error {
	orDefault(&l.MaxTransfer, 32<<20/block)
	orDefault(&l.MaxUnmap, uint32(4<<30/uint64(block)))
	orDefault(&l.MaxUnmapDescriptors, 256)
	orDefault(&l.MaxWriteSame, 256<<20/block)
	if l.MaxCompareAndWrite == 0 {
		l.MaxCompareAndWrite = uint8(max(1, min(255, l.MaxTransfer/2)))
	}
	if l.OptimalTransfer > l.MaxTransfer {
		return fmt.Errorf("optimal transfer of %d blocks: must be at most the maximum of %d",
			l.OptimalTransfer, l.MaxTransfer)
	}
	if per := physical / block; l.OptimalTransfer%per != 0 {
		return fmt.Errorf("optimal transfer of %d blocks: must be a multiple of the %d in a physical block",
			l.OptimalTransfer, per)
	}
	// The length field of UNMAP has 16 bits.
	if n := l.MaxUnmapDescriptors; n > (1<<16-1-unmapHeader)/unmapDescriptor {
		return fmt.Errorf("%d unmap descriptors: must be at most %d", n, (1<<16-1-unmapHeader)/unmapDescriptor)
	}
	return nil
}

func orDefault(v *uint32, otherwise uint32) {
	if *v == 0 {
		*v = otherwise
	}
}

// BlockSize returns the logical block length in bytes.
func (u *Unit) BlockSize() uint32 { return u.config.BlockSize }

// Blocks returns the present capacity in logical blocks.
func (u *Unit) Blocks() uint64 { return uint64(max(u.medium.Size(), 0)) >> u.shift }

// ReadOnly reports whether writes are refused.
func (u *Unit) ReadOnly() bool { return u.softProtected.Load() || u.protected() }

// protected reports whether writes are refused whatever the initiator wants.
func (u *Unit) protected() bool { return u.config.ReadOnly || u.medium.ReadOnly() }

// WriteCache reports whether the write cache is on.
func (u *Unit) WriteCache() bool { return u.writeBack.Load() }

// SetWriteCache turns the write cache on or off. When it has returned nil after
// turning it off, every write that was reported GOOD is durable.
func (u *Unit) SetWriteCache(on bool) error {
	if was := u.writeBack.Swap(on); on || !was {
		return nil
	}
	return u.medium.Flush()
}

// StandBy spins a drive down until it is used again. Use is any command that needs
// the medium, and work that other units with the same Counters do with it. It does
// not flush.
func (u *Unit) StandBy() {
	u.standbyWork.Store(u.counters.work())
	u.standby.Store(true)
}

// SpunDown reports whether the drive does not turn: it stands by, or was stopped by
// START STOP UNIT.
func (u *Unit) SpunDown() bool { return u.stopped.Load() || u.standsBy() }

func (u *Unit) standsBy() bool { return u.standby.Load() && u.standbyWork.Load() == u.counters.work() }

// Reset brings the unit into its state after power-on, but for the write cache:
// started, with mode parameters as saved or by default, without reservations
// that are not kept, and without attentions or with the one of PowerOnAttention.
// Commands that are running are not affected.
func (u *Unit) Reset() {
	u.stopped.Store(false)
	saved := u.savedModeSettings()
	u.descriptorSense.Store(saved.DescriptorSense)
	u.softProtected.Store(saved.WriteProtect)
	u.reservations.reset(u.keptReservation.Load())
	u.tray.close()
	u.attention.clear()
	if u.config.PowerOnAttention {
		u.attention.raise(ASCPowerOnOrReset)
	}
}

// RaiseAttention makes the unit report UNIT ATTENTION with the given code to
// the next command that is not exempt from it, once: for instance
// ASCCapacityDataHasChanged after the Medium was resized.
func (u *Unit) RaiseAttention(code ASC) { u.attention.raise(code) }

// Execute carries out the command in c.CDB and returns when it is done.
func (u *Unit) Execute(c *Command) {
	c.begin()
	u.end(c, u.dispatch(c))
}

// Read reads blocks starting at lba into c.Data: a READ command that comes
// without a CDB, for unit 0. c.CDB and c.LUN are not looked at.
func (u *Unit) Read(c *Command, lba uint64, blocks uint32, fua bool) {
	c.begin()
	s := u.admit(started)
	if s.OK() {
		s = u.tray.check()
	}
	if s.OK() && u.reservations.against(accessRead) {
		u.end(c, c.conflict())
		return
	}
	if s.OK() {
		s = u.read(c, extent{lba: lba, blocks: blocks}, fua)
	}
	u.end(c, s)
}

// Write writes blocks starting at lba from c.Data: a WRITE command that comes
// without a CDB, for unit 0. c.CDB and c.LUN are not looked at.
func (u *Unit) Write(c *Command, lba uint64, blocks uint32, fua bool) {
	c.begin()
	s := u.admit(started | writable)
	if s.OK() && u.reservations.against(accessWrite) {
		u.end(c, c.conflict())
		return
	}
	if s.OK() {
		s = u.write(c, extent{lba: lba, blocks: blocks}, fua)
	}
	u.end(c, s)
}

// end sets the outcome of c from s.
func (u *Unit) end(c *Command, s Sense) { c.end(s, u.descriptorSense.Load()) }

// dispatch finds the command and runs it if nothing stands against it. What it
// finds first is reported: no such unit, no such command, a CDB that is not
// valid, an attention, the state of the unit. But while SANITIZE runs nothing is
// looked at that it stands against.
func (u *Unit) dispatch(c *Command) Sense {
	row, s := u.commands.find(u, c.CDB)
	if c.LUN != 0 && (row == nil || row.needs&anyLUN == 0) {
		return illegalRequest(ASCLogicalUnitNotSupported)
	}
	if row == nil {
		return s
	}
	if row.needs&(noAttention|duringSanitize) == 0 && u.sanitizing.value.Load() == sanitizeRunning {
		if s := u.admit(started); !s.OK() {
			return s
		}
	}
	if s := row.check(c.CDB); !s.OK() {
		return s
	}
	if s := u.admit(row.needs); !s.OK() {
		return s
	}
	if u.reservations.elsewhere.Load() && u.reservations.against(accessOf(c.CDB)) {
		return c.conflict()
	}
	return row.run(u, c)
}

// admit checks the state of the unit against what a command needs.
func (u *Unit) admit(n needs) Sense {
	if n&noAttention == 0 {
		if code, ok := u.attention.take(); ok {
			return Sense{Key: KeyUnitAttention, Code: code}
		}
	}
	if n&started != 0 && u.stopped.Load() {
		return Sense{Key: KeyNotReady, Code: ASCNotReadyInitializingRequired}
	}
	if n&started != 0 {
		if s := u.sanitizing.check(); !s.OK() {
			return s
		}
		if u.standby.Load() {
			u.standby.Store(false) // it is used again
		}
	}
	if n&writable != 0 {
		switch {
		case u.protected():
			return Sense{Key: KeyDataProtect, Code: ASCWriteProtected}
		case u.softProtected.Load():
			return Sense{Key: KeyDataProtect, Code: ASCSoftwareWriteProtected}
		}
	}
	return Sense{}
}
