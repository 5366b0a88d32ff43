package raid

import (
	"errors"
	"sync/atomic"
)

// ErrRemoved is the error of I/O to a drive that was removed.
var ErrRemoved = errors.New("raid: the drive was removed")

// PhysicalDrive is a drive that a Set knows. It is the medium of all I/O to the
// drive, so that none can pass it by once the drive is removed.
type PhysicalDrive struct {
	Drive
	id     uint16
	gate   gate
	array  *array // guarded by Set.mu; nil while it is no member
	locate atomic.Bool
	work   atomic.Pointer[Work] // set with Set.mu held
	// state and sequence are written with Set.mu held.
	state    atomic.Uint32
	sequence atomic.Uint32
}

// DeviceID is the drive's number, below 256.
func (d *PhysicalDrive) DeviceID() uint16 { return d.id }

// State is the drive's state now.
func (d *PhysicalDrive) State() DriveState { return DriveState(d.state.Load()) }

// Blocks is the drive's size in blocks of 512 bytes.
func (d *PhysicalDrive) Blocks() uint64 { return uint64(d.Size()) / BlockSize }

// Locate makes the drive's lamp blink, or stops it.
func (d *PhysicalDrive) Locate(on bool) { d.locate.Store(on) }

// ReadV implements scsi.Medium.
func (d *PhysicalDrive) ReadV(bufs [][]byte, off int64) error {
	if !d.gate.enter() {
		return ErrRemoved
	}
	defer d.gate.leave()
	return d.Drive.ReadV(bufs, off)
}

// WriteV implements scsi.Medium.
func (d *PhysicalDrive) WriteV(bufs [][]byte, off int64) error {
	if !d.gate.enter() {
		return ErrRemoved
	}
	defer d.gate.leave()
	return d.Drive.WriteV(bufs, off)
}

// WriteZeroes implements scsi.Medium.
func (d *PhysicalDrive) WriteZeroes(off, n int64, unmap bool) error {
	if !d.gate.enter() {
		return ErrRemoved
	}
	defer d.gate.leave()
	return d.Drive.WriteZeroes(off, n, unmap)
}

// Discard implements scsi.Medium.
func (d *PhysicalDrive) Discard(off, n int64) error {
	if !d.gate.enter() {
		return ErrRemoved
	}
	defer d.gate.leave()
	return d.Drive.Discard(off, n)
}

// Flush implements scsi.Medium.
func (d *PhysicalDrive) Flush() error {
	if !d.gate.enter() {
		return ErrRemoved
	}
	defer d.gate.leave()
	return d.Drive.Flush()
}
