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
)

// String returns the policy in words.
func (p CachePolicy) String() string {
	switch p {
	case WriteThrough:
		return "write-through"
	case WriteBack:
		return "write-back"
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

// ErrOffline is the error of I/O to a volume that is offline.
var ErrOffline = errors.New("raid: the volume is offline")

// VolumeConfig describes a volume to create.
type VolumeConfig struct {
	Name   string // at most 15 characters
	Level  Level
	Drives []uint16 // device ids of the members, unconfigured good
	Cache  CachePolicy
}

func (c *VolumeConfig) check() error {
	if len(c.Name) > 15 {
		return fmt.Errorf("volume name %q: at most 15 characters", c.Name)
	}
	if c.Level != RAID0 || len(c.Drives) != 1 {
		return fmt.Errorf("volume %q: RAID level %d on %d drives: only level 0 on one drive can be made",
			c.Name, c.Level, len(c.Drives))
	}
	if c.Cache > WriteBack {
		return fmt.Errorf("volume %q: no such cache policy: %d", c.Name, c.Cache)
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
	name   string
	level  Level
	cache  CachePolicy
	stripe uint8 // log2 of blocks
	array  *array

	sequence atomic.Uint32 // written with Set.mu held
}

// defaultStripe is 64 KiB.
const defaultStripe = 7

// Target is the number by which hosts address the volume.
func (v *Volume) Target() uint8 { return v.target }

// Cache is the volume's cache policy.
func (v *Volume) Cache() CachePolicy { return v.cache }

// Blocks is the volume's size in blocks of 512 bytes.
func (v *Volume) Blocks() uint64 { return v.member().Blocks() }

// State follows from the states of the volume's drives.
func (v *Volume) State() VolumeState {
	if v.member().State() != Online {
		return VolumeOffline
	}
	return VolumeOptimal
}

func (v *Volume) member() *PhysicalDrive { return v.array.drives[0] }

func (v *Volume) online() error {
	if v.State() == VolumeOffline {
		return ErrOffline
	}
	return nil
}

// Size implements scsi.Medium.
func (v *Volume) Size() int64 { return int64(v.Blocks() * BlockSize) }

// ReadV implements scsi.Medium.
func (v *Volume) ReadV(bufs [][]byte, off int64) error {
	if err := v.online(); err != nil {
		return err
	}
	return v.member().ReadV(bufs, off)
}

// WriteV implements scsi.Medium.
func (v *Volume) WriteV(bufs [][]byte, off int64) error {
	if err := v.online(); err != nil {
		return err
	}
	return v.member().WriteV(bufs, off)
}

// WriteZeroes implements scsi.Medium.
func (v *Volume) WriteZeroes(off, n int64, unmap bool) error {
	if err := v.online(); err != nil {
		return err
	}
	return v.member().WriteZeroes(off, n, unmap)
}

// Discard implements scsi.Medium.
func (v *Volume) Discard(off, n int64) error {
	if err := v.online(); err != nil {
		return err
	}
	return v.member().Discard(off, n)
}

// Flush implements scsi.Medium.
func (v *Volume) Flush() error {
	if err := v.online(); err != nil {
		return err
	}
	return v.member().Flush()
}

// ReadOnly implements scsi.Medium.
func (v *Volume) ReadOnly() bool { return v.member().ReadOnly() }

// CanDiscard implements scsi.Medium.
func (v *Volume) CanDiscard() bool { return v.member().CanDiscard() }

// DiscardZeroes implements scsi.Medium.
func (v *Volume) DiscardZeroes() bool { return v.member().DiscardZeroes() }
