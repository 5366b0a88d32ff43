package block

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/govmm/govmm/internal/blkdebug"
	"github.com/govmm/govmm/qcow2"
)

const sectorSize = 512

// raw is a file or host block device whose bytes, or a part of them, are the disk.
type raw struct {
	f        *qcow2.OSFile
	io       qcow2.File      // f, or what injects faults into it
	debug    *blkdebug.Debug // does so; nil: nobody
	size     atomic.Int64    // rounded up to a sector: what the file lacks reads as zeroes
	base     int64           // where in the file the disk begins
	fixed    bool            // so is its size
	readOnly bool
	guessed  bool // see Spec.Guessed
}

func newRaw(f *qcow2.OSFile, w *Window, readOnly, guessed bool, debug *blkdebug.Debug) (*raw, error) {
	n, err := f.Size()
	if err != nil {
		return nil, err
	}
	r := &raw{f: f, io: f, debug: debug, readOnly: readOnly, guessed: guessed}
	if debug != nil {
		r.io = debug.Wrap(f)
	}
	n = (n + sectorSize - 1) &^ (sectorSize - 1)
	if w != nil {
		if n, err = w.within(n); err != nil {
			return nil, err
		}
		r.base, r.fixed = w.Offset, w.Size >= 0
	}
	r.size.Store(n)
	return r, nil
}

// within returns the size of the window into a file of n bytes.
func (w *Window) within(n int64) (int64, error) {
	switch {
	case w.Offset < 0 || w.Offset > n:
		return 0, optionErrorf("Offset (%d) cannot be greater than size of the containing file (%d)", w.Offset, n)
	case w.Size < 0:
		return (n - w.Offset) &^ (sectorSize - 1), nil
	case w.Size > n-w.Offset:
		return 0, optionErrorf("The sum of offset (%d) and size (%d) has to be smaller or equal to the  actual size of the containing file (%d)", w.Offset, w.Size, n)
	case w.Size%sectorSize != 0:
		return 0, optionErrorf("Specified size is not multiple of %d", sectorSize)
	}
	return w.Size, nil
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
	return r.io.ReadV(bufs, r.base+off)
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
	return r.io.WriteV(bufs, r.base+off)
}

// TryReadV implements qcow2.Trier.
func (r *raw) TryReadV(bufs [][]byte, off int64) bool {
	return r.debug == nil && r.check(off, vecLen(bufs), false) == nil && r.f.TryReadV(bufs, r.base+off)
}

// TryWriteV implements qcow2.Trier.
func (r *raw) TryWriteV(bufs [][]byte, off int64) bool {
	return r.debug == nil && r.check(off, vecLen(bufs), true) == nil && r.f.TryWriteV(bufs, r.base+off)
}

// Starts implements qcow2.Starter.
func (r *raw) Starts() bool { return r.debug == nil && r.f.Starts() }

// StartReadV implements qcow2.Starter.
func (r *raw) StartReadV(bufs [][]byte, off int64, end qcow2.Ended) bool {
	return r.debug == nil && r.check(off, vecLen(bufs), false) == nil && r.f.StartReadV(bufs, r.base+off, end)
}

// StartWriteV implements qcow2.Starter. What mayBegin would look at is left to
// WriteV.
func (r *raw) StartWriteV(bufs [][]byte, off int64, end qcow2.Ended) bool {
	seen := r.guessed && off < magicLen
	return !seen && r.debug == nil && r.check(off, vecLen(bufs), true) == nil && r.f.StartWriteV(bufs, r.base+off, end)
}

// Submit implements qcow2.Starter.
func (r *raw) Submit() { r.f.Submit() }

// Splice implements qcow2.Splicer.
func (r *raw) Splice(pipe int, off, n int64) (moved int64, held qcow2.Held) {
	if r.debug != nil || r.check(off, n, false) != nil {
		return 0, nil
	}
	return r.f.Splice(pipe, r.base+off, n)
}

// ReadsPipes implements qcow2.PipeReader.
func (r *raw) ReadsPipes() bool { return r.debug == nil && r.f.ReadsPipes() }

// ReadPipe implements qcow2.PipeReader.
func (r *raw) ReadPipe(pipe int, off, n int64) (moved int64) {
	if r.debug != nil || r.check(off, n, false) != nil {
		return 0
	}
	return r.f.ReadPipe(pipe, r.base+off, n)
}

// WritesPipes implements qcow2.PipeWriter.
func (r *raw) WritesPipes() bool { return r.debug == nil && r.f.WritesPipes() }

// WritePipe implements qcow2.PipeWriter. What mayBegin would look at is left to WriteV.
func (r *raw) WritePipe(pipe int, off, n int64) (taken int64, err error) {
	if r.guessed && off < magicLen || r.debug != nil || r.check(off, n, true) != nil {
		return 0, nil
	}
	return r.f.WritePipe(pipe, r.base+off, n)
}

func (r *raw) WriteZeroes(off, n int64, unmap bool) error {
	if err := r.check(off, n, true); err != nil || n == 0 {
		return err
	}
	if unmap {
		if err := r.io.PunchHole(r.base+off, n); !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	return r.io.ZeroRange(r.base+off, n)
}

// WriteZeroesFast is WriteZeroes, but that it fails, and changes nothing, where zeroes would have to be
// written out in full.
func (r *raw) WriteZeroesFast(off, n int64, unmap bool) error {
	if err := r.check(off, n, true); err != nil || n == 0 {
		return err
	}
	if r.debug != nil {
		return fmt.Errorf("fast zeroes: %w", errors.ErrUnsupported)
	}
	if unmap {
		if err := r.f.PunchHole(r.base+off, n); !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	return r.f.TryZeroRange(r.base+off, n)
}

// Discard punches a hole; where the host can't, it gives nothing back.
func (r *raw) Discard(off, n int64) error {
	if err := r.check(off, n, true); err != nil || n == 0 {
		return err
	}
	off += r.base
	if r.debug != nil {
		if off, n = r.debug.Limits().Inside(off, n); n == 0 {
			return nil
		}
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
	host := r.base + off
	hole, n, err := r.f.Hole(host, n)
	if !hole && err == nil && !r.f.Direct() && host+n == r.base+r.Size() { // the last sector may be cut
		var size int64
		if size, err = r.f.Size(); size > host {
			n = min(n, size-host)
		}
	}
	return qcow2.Extent{Offset: off, Length: n, Present: true, Data: !hole, Zero: hole, Host: host}, err
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
	case r.fixed:
		return optionErrorf("Cannot resize fixed-size raw disks")
	}
	end := r.base + size
	if err := r.f.Truncate(end); err != nil {
		return err
	}
	n, err := r.f.Size()
	if err != nil {
		return err
	}
	if n != end { // a device, which stays as it is
		return fmt.Errorf("resize to %d bytes: %q is a device of %d bytes", size, r.f.Path(), n)
	}
	r.size.Store(size)
	return r.f.Sync()
}

// ResizeWith implements Preallocator. After an error the size is as it was.
func (r *raw) ResizeWith(size int64, o qcow2.ResizeOptions) error {
	file, err := r.f.Size()
	was := file - r.base
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
		return errors.Join(err, r.f.Truncate(file))
	}
	return r.f.Sync()
}

// resizeBytes is ResizeWith to any size: the file may end inside the last sector.
func (r *raw) resizeBytes(size int64, o qcow2.ResizeOptions) error {
	whole := (size + sectorSize - 1) &^ (sectorSize - 1)
	if err := r.ResizeWith(whole, o); err != nil || size == whole {
		return err
	}
	if err := r.f.Truncate(r.base + size); err != nil {
		return err
	}
	return r.f.Sync()
}

// provide reserves the storage of [off, end) or, for PreallocateFull, writes
// zeroes there.
func (r *raw) provide(off, end int64, mode qcow2.Preallocation) error {
	if mode == qcow2.PreallocateFalloc {
		return r.f.Reserve(r.base+off, end-off)
	}
	buf := make([]byte, 1<<20)
	for off < end {
		n := min(end-off, int64(len(buf)))
		if err := r.f.WriteV([][]byte{buf[:n]}, r.base+off); err != nil {
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
