package megasas

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/govmm/govmm/megasas/raid"
	"github.com/govmm/govmm/scsi"
)

// disk is a medium in memory that counts flushes and can hold up or fail I/O.
type disk struct {
	mu      sync.RWMutex
	data    []byte
	flushes atomic.Int64
	writes  atomic.Int64
	failing atomic.Bool

	// gate, if not nil, is called at the start of each read and write.
	gate func()
	// prompt says whether a transfer need not wait. nil says so every other time
	// without a gate, and never with one.
	prompt func() bool
	tries  atomic.Int64
}

var errBroken = errors.New("the disk is broken")

func newDisk(size int) *disk { return &disk{data: make([]byte, size)} }

func (d *disk) enter() error {
	if d.gate != nil {
		d.gate()
	}
	if d.failing.Load() {
		return errBroken
	}
	return nil
}

func (d *disk) Size() int64 { return int64(len(d.data)) }

func (d *disk) ReadV(bufs [][]byte, off int64) error {
	if err := d.enter(); err != nil {
		return err
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, b := range bufs {
		off += int64(copy(b, d.data[off:]))
	}
	return nil
}

func (d *disk) isPrompt() bool {
	n := d.tries.Add(1)
	if d.prompt != nil {
		return d.prompt()
	}
	return d.gate == nil && n%2 == 0
}

func (d *disk) TryReadV(bufs [][]byte, off int64) bool {
	return d.isPrompt() && d.ReadV(bufs, off) == nil
}

func (d *disk) TryWriteV(bufs [][]byte, off int64) bool {
	return d.isPrompt() && d.WriteV(bufs, off) == nil
}

func (d *disk) WriteV(bufs [][]byte, off int64) error {
	if err := d.enter(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, b := range bufs {
		off += int64(copy(d.data[off:], b))
	}
	d.writes.Add(1)
	return nil
}

func (d *disk) WriteZeroes(off, n int64, _ bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.data[off : off+n])
	return nil
}

func (d *disk) Discard(off, n int64) error { return d.WriteZeroes(off, n, true) }

func (d *disk) Flush() error {
	d.flushes.Add(1)
	if d.failing.Load() {
		return errBroken
	}
	return nil
}

func (d *disk) ReadOnly() bool      { return false }
func (d *disk) CanDiscard() bool    { return true }
func (d *disk) DiscardZeroes() bool { return true }

// null is a medium that moves nothing.
type null struct{ size int64 }

func (n null) Size() int64                        { return n.size }
func (null) ReadV([][]byte, int64) error          { return nil }
func (null) WriteV([][]byte, int64) error         { return nil }
func (null) WriteZeroes(int64, int64, bool) error { return nil }
func (null) Discard(int64, int64) error           { return nil }
func (null) Flush() error                         { return nil }
func (null) ReadOnly() bool                       { return false }
func (null) CanDiscard() bool                     { return false }
func (null) DiscardZeroes() bool                  { return false }
func (null) TryReadV([][]byte, int64) bool        { return true }
func (null) TryWriteV([][]byte, int64) bool       { return true }

// drive puts a medium into a slot.
func drive(m scsi.Medium, slot uint8) raid.Drive {
	return raid.NewDrive(m, raid.DriveIdentity{
		Vendor:    "GOVMM",
		Product:   "TEST DISK",
		Revision:  "0001",
		Serial:    "SN" + string('0'+rune(slot)),
		WWN:       0x5000c50000000000 | uint64(slot)<<8,
		Enclosure: raid.NoEnclosure,
		Slot:      slot,
	})
}
