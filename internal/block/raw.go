package block

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/govmm/govmm/internal/blkdebug"
	"github.com/govmm/govmm/qcow2"
)

const sectorSize = 512

// raw is a file or host block device whose bytes are the disk.
type raw struct {
	f        *qcow2.OSFile
	io       qcow2.File      // f, or what injects faults into it
	debug    *blkdebug.Debug // does so; nil: nobody
	size     atomic.Int64    // rounded up to a sector: what the file lacks reads as zeroes
	readOnly bool
	guessed  bool // see Spec.Guessed
}

func newRaw(f *qcow2.OSFile, readOnly, guessed bool, debug *blkdebug.Debug) (*raw, error) {
	n, err := f.Size()
	if err != nil {
		return nil, err
	}
	r := &raw{f: f, io: f, debug: debug, readOnly: readOnly, guessed: guessed}
	if debug != nil {
		r.io = debug.Wrap(f)
	}
	r.size.Store((n + sectorSize - 1) &^ (sectorSize - 1))
	return r, nil
}

func (r *raw) Size() int64         { return r.size.Load() }
func (r *raw) ReadOnly() bool      { return r.readOnly }
func (r *raw) CanDiscard() bool    { return !r.readOnly }
func (r *raw) DiscardZeroes() bool { return true }

// check refuses a request that is not inside the device, or that must not
// change it.
func (r *raw) check(off, n int64, write bool) error {
	if err := checkRange(off, n, r.Size()); err != nil {
		return err
	}
	if write && r.readOnly {
		return ErrReadOnly
	}
	return nil
}

func (r *raw) ReadV(bufs [][]byte, off int64) error {
	if err := r.check(off, vecLen(bufs), false); err != nil {
		return err
	}
	if r.debug != nil {
		r.debug.Event(qcow2.EventReadAio)
	}
	return r.io.ReadV(bufs, off)
}

func (r *raw) WriteV(bufs [][]byte, off int64) error {
	if err := r.check(off, vecLen(bufs), true); err != nil {
		return err
	}
	if err := r.mayBegin(bufs, off); err != nil {
		return err
	}
	if r.debug != nil {
		r.debug.Event(qcow2.EventWriteAio)
	}
	return r.io.WriteV(bufs, off)
}

// TryReadV implements qcow2.Trier.
func (r *raw) TryReadV(bufs [][]byte, off int64) bool {
	return r.debug == nil && r.check(off, vecLen(bufs), false) == nil && r.f.TryReadV(bufs, off)
}

// TryWriteV implements qcow2.Trier.
func (r *raw) TryWriteV(bufs [][]byte, off int64) bool {
	return r.debug == nil && r.check(off, vecLen(bufs), true) == nil && r.f.TryWriteV(bufs, off)
}

// StartReadV implements qcow2.Starter.
func (r *raw) StartReadV(bufs [][]byte, off int64, end qcow2.Ended) bool {
	return r.debug == nil && r.check(off, vecLen(bufs), false) == nil && r.f.StartReadV(bufs, off, end)
}

// StartWriteV implements qcow2.Starter. What mayBegin would look at is left to
// WriteV.
func (r *raw) StartWriteV(bufs [][]byte, off int64, end qcow2.Ended) bool {
	seen := r.guessed && off < magicLen
	return !seen && r.debug == nil && r.check(off, vecLen(bufs), true) == nil && r.f.StartWriteV(bufs, off, end)
}

// Submit implements qcow2.Starter.
func (r *raw) Submit() { r.f.Submit() }

func (r *raw) WriteZeroes(off, n int64, unmap bool) error {
	if err := r.check(off, n, true); err != nil || n == 0 {
		return err
	}
	if unmap {
		if err := r.io.PunchHole(off, n); !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	return r.io.ZeroRange(off, n)
}

// Discard punches a hole; where the host can't, it gives nothing back.
func (r *raw) Discard(off, n int64) error {
	if err := r.check(off, n, true); err != nil || n == 0 {
		return err
	}
	err := r.io.PunchHole(off, n)
	if errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	return err
}

// Status implements qcow2.Mapper with the holes of the file.
func (r *raw) Status(off, n int64) (qcow2.Extent, error) {
	if err := r.check(off, n, false); err != nil {
		return qcow2.Extent{}, err
	}
	hole, n, err := r.f.Hole(off, n)
	return qcow2.Extent{Offset: off, Length: n, Present: true, Data: !hole, Zero: hole, Host: off}, err
}

// Allocated implements Mapper.
func (r *raw) Allocated(off, n int64) (allocated bool, length int64, err error) {
	e, err := r.Status(off, n)
	return e.Data, e.Length, err
}

// Resize implements Resizer. Requests to what is cut must have ended.
func (r *raw) Resize(size int64) error {
	switch {
	case r.readOnly:
		return ErrReadOnly
	case size < 0 || size%sectorSize != 0:
		return fmt.Errorf("resize to %d bytes: the new size must be a multiple of %d", size, sectorSize)
	}
	if err := r.f.Truncate(size); err != nil {
		return err
	}
	n, err := r.f.Size()
	if err != nil {
		return err
	}
	if n != size { // a device, which stays as it is
		return fmt.Errorf("resize to %d bytes: %q is a device of %d bytes", size, r.f.Path(), n)
	}
	r.size.Store(size)
	return r.f.Sync()
}

// ResizeWith implements Preallocator. After an error the size is as it was.
func (r *raw) ResizeWith(size int64, o qcow2.ResizeOptions) error {
	was, err := r.f.Size()
	switch {
	case err != nil:
		return err
	case o.Preallocation == qcow2.PreallocateOff:
		return r.Resize(size)
	case o.Preallocation == qcow2.PreallocateMetadata:
		return fmt.Errorf("unsupported preallocation mode: %v", o.Preallocation)
	case size < was:
		return errors.New("preallocation can't be used for shrinking an image")
	}
	if err := r.Resize(size); err != nil {
		return err
	}
	if err := r.provide(was, size, o.Preallocation); err != nil {
		r.size.Store((was + sectorSize - 1) &^ (sectorSize - 1))
		return errors.Join(err, r.f.Truncate(was))
	}
	return r.f.Sync()
}

// provide reserves the storage of [off, end) or, for PreallocateFull, writes
// zeroes there.
func (r *raw) provide(off, end int64, mode qcow2.Preallocation) error {
	if mode == qcow2.PreallocateFalloc {
		return r.f.Reserve(off, end-off)
	}
	buf := make([]byte, 1<<20)
	for off < end {
		n := min(end-off, int64(len(buf)))
		if err := r.f.WriteV([][]byte{buf[:n]}, off); err != nil {
			return err
		}
		off += n
	}
	return nil
}

func (r *raw) Flush() error {
	if r.readOnly {
		return nil
	}
	if r.debug != nil {
		r.debug.Event(qcow2.EventFlushToDisk)
	}
	return r.io.Sync()
}

func (r *raw) Close() error { return errors.Join(r.Flush(), r.f.Close()) }

// checkRange refuses what does not lie inside [0, size).
func checkRange(off, n, size int64) error {
	if off < 0 || n < 0 || off > size-n {
		return fmt.Errorf("%w: %d bytes at %d, size %d", ErrRange, n, off, size)
	}
	return nil
}

func vecLen(bufs [][]byte) int64 {
	var n int64
	for _, b := range bufs {
		n += int64(len(b))
	}
	return n
}
