package block

import (
	"errors"
	"fmt"

	"github.com/govmm/govmm/internal/blkdebug"
	"github.com/govmm/govmm/qcow2"
)

// diskFile is a device as the storage of an image: a file whose end is the device's. Where
// the device can change its size it grows as a file does.
type diskFile struct{ d Device }

func (f *diskFile) Path() string {
	if list := Files(f.d); len(list) > 0 {
		return list[0]
	}
	return ""
}

func (f *diskFile) ReadV(bufs [][]byte, off int64) error {
	n, size := vecLen(bufs), f.d.Size()
	if off <= size-n {
		return f.d.ReadV(bufs, off)
	}
	// What lies beyond the end reads as zeroes.
	var inside [][]byte
	for _, b := range bufs {
		have := max(0, min(int64(len(b)), size-off))
		if have > 0 {
			inside = append(inside, b[:have])
		}
		clear(b[have:])
		off += int64(len(b))
	}
	if inside == nil {
		return nil
	}
	return f.d.ReadV(inside, off-n)
}

// reach makes the device long enough for n bytes at off.
func (f *diskFile) reach(off, n int64) error {
	end := off + n
	if end <= f.d.Size() {
		return nil
	}
	return f.Truncate(end)
}

func (f *diskFile) WriteV(bufs [][]byte, off int64) error {
	if err := f.reach(off, vecLen(bufs)); err != nil {
		return err
	}
	return f.d.WriteV(bufs, off)
}

func (f *diskFile) Sync() error          { return f.d.Flush() }
func (f *diskFile) Size() (int64, error) { return f.d.Size(), nil }
func (f *diskFile) Close() error         { return f.d.Close() }

// Truncate sets the size, rounded up to whole sectors. A device that has one size for ever
// ignores one that fits.
func (f *diskFile) Truncate(size int64) error {
	size = (size + sectorSize - 1) &^ (sectorSize - 1)
	r, ok := f.d.(Resizer)
	switch {
	case size == f.d.Size() || !ok && size < f.d.Size():
		return nil
	case !ok:
		return fmt.Errorf("%w: %d bytes are needed, the disk has %d", ErrRange, size, f.d.Size())
	}
	return r.Resize(size)
}

func (f *diskFile) PunchHole(off, n int64) error { return f.zero(off, n, true) }
func (f *diskFile) ZeroRange(off, n int64) error { return f.zero(off, n, false) }

func (f *diskFile) zero(off, n int64, unmap bool) error {
	if !unmap {
		if err := f.reach(off, n); err != nil {
			return err
		}
	}
	if n = min(n, f.d.Size()-off); n <= 0 {
		return nil // it is zero anyway
	}
	return f.d.WriteZeroes(off, n, unmap)
}

// Hole is qcow2.OSFile.Hole.
func (f *diskFile) Hole(off, n int64) (hole bool, length int64, err error) {
	m, ok := f.d.(Mapper)
	if !ok || off >= f.d.Size() {
		return !ok, n, nil
	}
	e, err := m.Status(off, min(n, f.d.Size()-off))
	return e.Zero, e.Length, err
}

// OpenStorage opens what the image that the spec describes is in, for who looks at the image
// by himself. It is locked as Open does.
func (s *Spec) OpenStorage() (qcow2.File, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	f, err := (&chain{spec: s, seen: new([]qcow2.FileID)}).storage(s.Path, s.Format, s.ReadOnly)
	if err != nil {
		return nil, &OpenError{s.Path, err}
	}
	return f, nil
}

// part is a raw disk in another disk: all of that, or a window into it.
type part struct {
	d        Device
	io       qcow2.File      // the disk below, or what injects faults into it
	debug    *blkdebug.Debug // does so; nil: nobody
	base     int64           // where the part begins
	size     int64           // of a part that is not all there is from base on; else below 0
	readOnly bool
	filter   bool // it is the disk below, as far as where its bytes are goes
}

func newPart(d Device, w *Window, readOnly bool, debug *blkdebug.Debug) (*part, error) {
	p := &part{d: d, io: &diskFile{d}, debug: debug, size: -1, readOnly: readOnly}
	if debug != nil {
		p.io = debug.Wrap(p.io)
	}
	if w == nil {
		return p, nil
	}
	n, err := w.within(d.Size())
	if err != nil {
		return nil, err
	}
	if p.base = w.Offset; w.Size >= 0 {
		p.size = n
	}
	return p, nil
}

// Below returns the disk that a raw one is in, and where it begins there, or the one that a
// filter is for; itself for any other.
func Below(d Device) (below Device, base int64) {
	switch d := d.(type) {
	case *part:
		below, base = Below(d.d)
		return below, base + d.base
	case *copying:
		return Below(d.Device)
	case *wholeClusters:
		return d.Image, 0
	}
	return d, 0
}

// Size is what the disk below has, as that may grow.
func (p *part) Size() int64 {
	if p.size >= 0 {
		return p.size
	}
	return max(0, p.d.Size()-p.base)
}

func (p *part) ReadOnly() bool      { return p.readOnly }
func (p *part) CanDiscard() bool    { return !p.readOnly && p.d.CanDiscard() }
func (p *part) DiscardZeroes() bool { return p.d.DiscardZeroes() }

func (p *part) check(off, n int64, write bool) error {
	if err := checkRange(off, n, p.Size()); err != nil {
		return err
	}
	if write && p.readOnly {
		return ErrReadOnly
	}
	return nil
}

func (p *part) event(e qcow2.Event) {
	if p.debug != nil {
		p.debug.Event(e)
	}
}

func (p *part) ReadV(bufs [][]byte, off int64) error {
	if err := p.check(off, vecLen(bufs), false); err != nil {
		return err
	}
	p.event(qcow2.EventReadAio)
	return p.io.ReadV(bufs, p.base+off)
}

func (p *part) WriteV(bufs [][]byte, off int64) error {
	if err := p.check(off, vecLen(bufs), true); err != nil {
		return err
	}
	p.event(qcow2.EventWriteAio)
	return p.io.WriteV(bufs, p.base+off)
}

func (p *part) WriteZeroes(off, n int64, unmap bool) error {
	if err := p.check(off, n, true); err != nil || n == 0 {
		return err
	}
	if unmap {
		return p.io.PunchHole(p.base+off, n)
	}
	return p.io.ZeroRange(p.base+off, n)
}

func (p *part) Discard(off, n int64) error {
	if err := p.check(off, n, true); err != nil || n == 0 {
		return err
	}
	off += p.base
	if p.debug != nil {
		if err := p.debug.Check(blkdebug.Discard, off, n); err != nil {
			return err
		}
		if off, n = p.debug.Limits().Inside(off, n); n == 0 {
			return nil
		}
	}
	return p.d.Discard(off, n)
}

// Status implements qcow2.Mapper: as the disk below has it.
func (p *part) Status(off, n int64) (qcow2.Extent, error) {
	if err := p.check(off, n, false); err != nil {
		return qcow2.Extent{}, err
	}
	if p.debug != nil {
		if err := p.debug.Check(blkdebug.BlockStatus, p.base+off, n); err != nil {
			return qcow2.Extent{}, err
		}
	}
	m, ok := p.d.(Mapper)
	if !ok {
		return qcow2.Extent{Offset: off, Length: n, Present: true, Data: true, Host: p.base + off}, nil
	}
	e, err := m.Status(p.base+off, n)
	if e.Offset = off; !p.filter {
		e.Depth = 0
	}
	return e, err
}

// Allocated implements Mapper.
func (p *part) Allocated(off, n int64) (allocated bool, length int64, err error) {
	e, err := p.Status(off, n)
	return e.Data, e.Length, err
}

// Resize implements Resizer, where the disk below can change.
func (p *part) Resize(size int64) error { return p.ResizeWith(size, qcow2.ResizeOptions{}) }

// ResizeWith implements Preallocator.
func (p *part) ResizeWith(size int64, o qcow2.ResizeOptions) error {
	r, ok := p.d.(Preallocator)
	if _, fixed := p.d.(*remote); fixed && !p.readOnly {
		return optionErrorf("Cannot resize NBD nodes")
	}
	switch {
	case p.readOnly:
		return ErrReadOnly
	case p.size >= 0:
		return optionErrorf("Cannot resize fixed-size raw disks")
	case !ok:
		return fmt.Errorf("resize to %d bytes: %w", size, errors.ErrUnsupported)
	}
	return r.ResizeWith(p.base+size, o)
}

func (p *part) Flush() error {
	if p.readOnly {
		return nil
	}
	p.event(qcow2.EventFlushToDisk)
	return p.io.Sync()
}

// Close flushes by itself: below, only the disk does so.
func (p *part) Close() error { return errors.Join(p.Flush(), p.d.Close()) }

var (
	_ Mapper       = (*part)(nil)
	_ Preallocator = (*part)(nil)
)
