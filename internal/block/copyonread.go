package block

import (
	"sync"
	"syscall"

	"github.com/govmm/govmm/qcow2"
)

// copying is a disk that keeps what is read from its backing files, so that these are read
// only once. It keeps whole clusters.
type copying struct {
	Device
	Mapper
	unit  int64 // of what is kept
	event func(qcow2.Event)

	// Held exclusively while something is kept: nobody may write between a read of the
	// backing file and the write of that.
	mu sync.RWMutex
}

// copyStep bounds how much is copied at once, in bytes.
const copyStep = 2 << 20

// copyOnRead returns a disk with what its backing files have copied when it is read. A disk
// that can have none stays as it is.
func copyOnRead(d Device) Device {
	below, _ := Below(d)
	im, ok := below.(*qcow2.Image)
	m, maps := d.(Mapper)
	if !ok || !maps {
		return d
	}
	c := &copying{Device: d, Mapper: m, unit: im.Info().ClusterSize, event: func(qcow2.Event) {}}
	if p, ok := d.(*part); ok {
		c.event = p.event
	}
	return c
}

// Unfiltered is the disk that a filter is for; any other is that itself.
func Unfiltered(d Device) Device {
	if c, ok := d.(*copying); ok {
		return c.Device
	}
	return d
}

// own reports whether the disk itself has the byte at off, and for how many of n that, and
// what they are, holds.
func (c *copying) own(off, n int64) (own, zero bool, length int64, err error) {
	e, err := c.Mapper.Status(off, n)
	return e.Present && e.Depth == 0, e.Zero, e.Length, err
}

// ReadV implements Device.
func (c *copying) ReadV(bufs [][]byte, off int64) error {
	n := vecLen(bufs)
	if err := checkRange(off, n, c.Size()); err != nil || n == 0 {
		return err
	}
	if done, err := c.readOwn(bufs, off, n); done || err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.Device.ReadV(bufs, off); err != nil {
		return err
	}
	return c.keep(off&^(c.unit-1), min((off+n+c.unit-1)&^(c.unit-1), c.Size()))
}

// readOwn reads n bytes at off if the disk itself has them all.
func (c *copying) readOwn(bufs [][]byte, off, n int64) (done bool, err error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for at := off; at < off+n; {
		own, _, length, err := c.own(at, off+n-at)
		if err != nil || !own {
			return false, err
		}
		at += length
	}
	return true, c.Device.ReadV(bufs, off)
}

// keep copies what of [off, end) the disk does not have itself. Preconditions: mu is held
// exclusively.
func (c *copying) keep(off, end int64) error {
	var buf []byte
	for off < end {
		own, zero, n, err := c.own(off, end-off)
		switch {
		case err != nil:
			return err
		case own:
			off += n
			continue
		case zero:
			c.event(qcow2.EventCorWrite)
			err = c.Device.WriteZeroes(off, n, false)
		default:
			if buf == nil {
				buf = make([]byte, min(copyStep, end-off))
			}
			n = min(n, int64(len(buf)))
			err = c.copy(buf[:n], off)
		}
		if err != nil {
			return err
		}
		off += n
	}
	return nil
}

func (c *copying) copy(p []byte, off int64) error {
	if err := c.Device.ReadV([][]byte{p}, off); err != nil {
		return err
	}
	c.event(qcow2.EventCorWrite)
	for _, b := range p {
		if b != 0 {
			return c.Device.WriteV([][]byte{p}, off)
		}
	}
	return c.Device.WriteZeroes(off, int64(len(p)), false)
}

// WriteV implements Device.
func (c *copying) WriteV(bufs [][]byte, off int64) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.Device.WriteV(bufs, off)
}

// WriteZeroes implements Device.
func (c *copying) WriteZeroes(off, n int64, unmap bool) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.Device.WriteZeroes(off, n, unmap)
}

// Discard implements Device.
func (c *copying) Discard(off, n int64) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.Device.Discard(off, n)
}

// WriteCompressed is qcow2.Image.WriteCompressed, for a disk that is an image.
func WriteCompressed(d Device, p []byte, off int64) error {
	switch d := d.(type) {
	case *qcow2.Image:
		return d.WriteCompressed(p, off)
	case *copying:
		d.mu.RLock()
		defer d.mu.RUnlock()
		return WriteCompressed(d.Device, p, off)
	}
	return syscall.ENOTSUP
}

// ResizeWith implements Preallocator.
func (c *copying) ResizeWith(size int64, o qcow2.ResizeOptions) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.Device.(Preallocator)
	if !ok {
		return optionErrorf("Image format driver does not support resize")
	}
	return r.ResizeWith(size, o)
}

// Resize implements Resizer.
func (c *copying) Resize(size int64) error { return c.ResizeWith(size, qcow2.ResizeOptions{}) }

var _ Preallocator = (*copying)(nil)
