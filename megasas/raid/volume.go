package raid

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// BlockSize is the unit of all sizes in blocks.
const BlockSize = 512

// Level is a RAID level.
type Level uint8

// RAID levels.
const (
	RAID0 Level = 0
)

// CachePolicy says when a write to a volume is done.
type CachePolicy uint8

// Cache policies.
const (
	WriteThrough CachePolicy = iota // when it is durable
	WriteBack                       // when it is accepted
	// WriteBackWithBattery is WriteBack while a battery keeps what was accepted, and
	// WriteThrough otherwise.
	WriteBackWithBattery
)

// String returns the policy in words.
func (p CachePolicy) String() string {
	switch p {
	case WriteThrough:
		return "write-through"
	case WriteBack:
		return "write-back"
	case WriteBackWithBattery:
		return "write-back with battery"
	}
	return fmt.Sprintf("CachePolicy(%d)", uint8(p))
}

// VolumeState is how well a volume is.
type VolumeState uint8

// Volume states.
const (
	VolumeOffline VolumeState = iota // data cannot be reached
	VolumeDegraded
	VolumeOptimal
)

// String returns the state in words.
func (s VolumeState) String() string {
	switch s {
	case VolumeOffline:
		return "offline"
	case VolumeDegraded:
		return "degraded"
	case VolumeOptimal:
		return "optimal"
	}
	return fmt.Sprintf("VolumeState(%d)", uint8(s))
}

// InitState is how a volume was initialized.
type InitState uint8

// Ways of initialization.
const (
	InitNone InitState = iota
	InitFast           // its ends read as zeroes
	InitFull           // all of it did
)

// VolumeConfig describes a volume to create.
type VolumeConfig struct {
	Name   string // at most 15 characters
	Level  Level
	Drives []uint16 // device ids of the members, unconfigured good
	Cache  CachePolicy
	Blocks uint64 // size in blocks of 512 bytes; 0 is all that the drives have

	Stripe uint8 // log2 of blocks; 0 is 64 KiB

	// Numbers that the volume must get. nil is the lowest that are free.
	Place *Place
	// Sequences are the drives' sequence numbers that this builds on. nil is any.
	Sequences []uint16
}

// Place is where a volume is in the books.
type Place struct {
	Target uint8
	Array  uint16 // reference of the array under it
}

func (c *VolumeConfig) check() error {
	if err := checkVolumeName(c.Name); err != nil {
		return err
	}
	if c.Level != RAID0 || len(c.Drives) != 1 {
		return fmt.Errorf("volume %q: RAID level %d on %d drives: %w", c.Name, c.Level, len(c.Drives), ErrLevel)
	}
	if c.Sequences != nil && len(c.Sequences) != len(c.Drives) {
		return fmt.Errorf("volume %q: %d sequence numbers for %d drives", c.Name, len(c.Sequences), len(c.Drives))
	}
	return checkCache(c.Cache)
}

func checkCache(p CachePolicy) error {
	if p > WriteBackWithBattery {
		return fmt.Errorf("no such cache policy: %d", p)
	}
	return nil
}

func checkVolumeName(name string) error {
	if len(name) > 15 {
		return fmt.Errorf("volume name %q: at most 15 characters", name)
	}
	return nil
}

// array is a group of drives that volumes lie on.
type array struct {
	ref    uint16
	drives []*PhysicalDrive
}

// Volume is a virtual drive. It is the medium that hosts see.
type Volume struct {
	target uint8
	level  Level
	stripe uint8         // log2 of blocks
	blocks atomic.Uint64 // written with Set.mu held
	array  *array
	gate   gate // shut when the volume is deleted, and while there is work on it

	work atomic.Pointer[Work] // set with Set.mu held, and the gate shut after that
	init atomic.Uint32        // an InitState

	sequence atomic.Uint32 // written with Set.mu held
	name     string        // guarded by Set.mu
	cache    CachePolicy   // guarded by Set.mu
}

// DefaultStripe is the stripe of a volume that says nothing of it: 64 KiB.
const DefaultStripe = 7

// Target is the number by which hosts address the volume.
func (v *Volume) Target() uint8 { return v.target }

// Blocks is the volume's size in blocks of 512 bytes.
func (v *Volume) Blocks() uint64 { return v.blocks.Load() }

// State follows from the states of the volume's drives.
func (v *Volume) State() VolumeState {
	if v.member().State() != Online {
		return VolumeOffline
	}
	return VolumeOptimal
}

// Drive is the drive that the volume lies on. It may have been removed.
func (v *Volume) Drive() *PhysicalDrive { return v.member() }

func (v *Volume) member() *PhysicalDrive { return v.array.drives[0] }

// enter lets I/O to the volume begin. If it returns nil, v.gate.leave has to
// follow.
func (v *Volume) enter() error {
	for !v.gate.enter() {
		if v.work.Load() != nil {
			return ErrInitializing
		}
		if v.gate.shut() {
			return ErrDeleted
		}
	}
	if v.State() == VolumeOffline {
		v.gate.leave()
		return ErrOffline
	}
	return nil
}

// leave ends I/O, and says what the failure of a member is to the volume.
func (v *Volume) leave(err error) error {
	v.gate.leave()
	if errors.Is(err, ErrRemoved) {
		return ErrOffline
	}
	return err
}

// Size implements scsi.Medium.
func (v *Volume) Size() int64 { return int64(v.Blocks() * BlockSize) }

// ReadV implements scsi.Medium.
func (v *Volume) ReadV(bufs [][]byte, off int64) error {
	if err := v.enter(); err != nil {
		return err
	}
	return v.leave(v.member().ReadV(bufs, off))
}

// WriteV implements scsi.Medium.
func (v *Volume) WriteV(bufs [][]byte, off int64) error {
	if err := v.enter(); err != nil {
		return err
	}
	return v.leave(v.member().WriteV(bufs, off))
}

// WriteZeroes implements scsi.Medium.
func (v *Volume) WriteZeroes(off, n int64, unmap bool) error {
	if err := v.enter(); err != nil {
		return err
	}
	return v.leave(v.member().WriteZeroes(off, n, unmap))
}

// Discard implements scsi.Medium.
func (v *Volume) Discard(off, n int64) error {
	if err := v.enter(); err != nil {
		return err
	}
	return v.leave(v.member().Discard(off, n))
}

// Flush implements scsi.Medium.
func (v *Volume) Flush() error {
	if err := v.enter(); err != nil {
		return err
	}
	return v.leave(v.member().Flush())
}

// ReadOnly implements scsi.Medium.
func (v *Volume) ReadOnly() bool { return v.member().ReadOnly() }

// CanDiscard implements scsi.Medium.
func (v *Volume) CanDiscard() bool { return v.member().CanDiscard() }

// DiscardZeroes implements scsi.Medium.
func (v *Volume) DiscardZeroes() bool { return v.member().DiscardZeroes() }
