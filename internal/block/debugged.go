package block

import (
	"fmt"
	"syscall"

	"github.com/govmm/govmm/internal/blkdebug"
	"github.com/govmm/govmm/qcow2"
)

// debugged is a disk whose I/O fails when rules say so: their places are the disk's.
type debugged struct {
	Device
	debug *blkdebug.Debug
	unit  int64 // of writes of zeroes; 0: any
}

// Debugged returns d with I/O that the rules of debug apply to. No points are passed
// but the first, "none". Of zeroes that are written, what is less than a multiple of
// unit bytes, unless that is 0, is written as data.
func Debugged(d Device, debug *blkdebug.Debug, unit int64) Device { return &debugged{d, debug, unit} }

func (d *debugged) ReadV(bufs [][]byte, off int64) error {
	if err := d.debug.Check(blkdebug.Read, off, vecLen(bufs)); err != nil {
		return err
	}
	return d.Device.ReadV(bufs, off)
}

func (d *debugged) WriteV(bufs [][]byte, off int64) error {
	if err := d.debug.Check(blkdebug.Write, off, vecLen(bufs)); err != nil {
		return err
	}
	return d.Device.WriteV(bufs, off)
}

func (d *debugged) WriteZeroes(off, n int64, unmap bool) error {
	if d.unit == 0 {
		return d.writeZeroes(off, n, unmap)
	}
	for end := off + n; off < end; {
		step := min(end, (off/d.unit+1)*d.unit) - off
		var err error
		if step < d.unit {
			err = d.WriteV([][]byte{make([]byte, step)}, off)
		} else {
			step = (end - off) / d.unit * d.unit
			err = d.writeZeroes(off, step, unmap)
		}
		if err != nil {
			return err
		}
		off += step
	}
	return nil
}

func (d *debugged) writeZeroes(off, n int64, unmap bool) error {
	if err := d.debug.Check(blkdebug.WriteZeroes, off, n); err != nil {
		return err
	}
	return d.Device.WriteZeroes(off, n, unmap)
}

func (d *debugged) Discard(off, n int64) error {
	if err := d.debug.Check(blkdebug.Discard, off, n); err != nil {
		return err
	}
	return d.Device.Discard(off, n)
}

func (d *debugged) Flush() error {
	if err := d.debug.Check(blkdebug.Flush, 0, 0); err != nil {
		return err
	}
	return d.Device.Flush()
}

// Status implements Mapper.
func (d *debugged) Status(off, n int64) (qcow2.Extent, error) {
	if err := d.debug.Check(blkdebug.BlockStatus, off, n); err != nil {
		return qcow2.Extent{}, err
	}
	return statusOf(d.Device, off, n)
}

// Allocated implements Mapper.
func (d *debugged) Allocated(off, n int64) (bool, int64, error) {
	if err := d.debug.Check(blkdebug.BlockStatus, off, n); err != nil {
		return false, 0, err
	}
	return allocatedOf(d.Device, off, n)
}

// compressing is a qcow2 disk of which all clusters that are written are compressed.
type compressing struct {
	*qcow2.Image
	unit int64
}

// Compressed returns a qcow2 image with compression of whatever is written. What is
// not whole clusters is filled up with what the disk has there.
func Compressed(d Device) (Device, error) {
	im, ok := d.(*qcow2.Image)
	if !ok {
		return nil, optionErrorf("Compression is not supported by the format under the driver 'compress'")
	}
	unit := im.Info().ClusterSize
	c := &compressing{im, unit}
	return &wholeClusters{c, aligned(deviceFile{c}, unit)}, nil
}

func (c *compressing) WriteV(bufs [][]byte, off int64) error {
	n := min(vecLen(bufs), c.Size()-off)
	flat := make([]byte, n)
	for at := flat; len(at) > 0; bufs = bufs[1:] {
		at = at[copy(at, bufs[0]):]
	}
	return c.WriteCompressed(flat, off)
}

// wholeClusters is a device whose writes go through a file that widens them.
type wholeClusters struct {
	*compressing
	file qcow2.File
}

func (d *wholeClusters) WriteV(bufs [][]byte, off int64) error {
	if err := checkRange(off, vecLen(bufs), d.Size()); err != nil {
		return fmt.Errorf("%w: %w", syscall.EIO, err)
	}
	if d.ReadOnly() {
		return ErrReadOnly
	}
	return d.file.WriteV(bufs, off)
}

// TryWriteV implements qcow2.Trier: compression takes its time.
func (d *wholeClusters) TryWriteV([][]byte, int64) bool { return false }

// StartWriteV implements qcow2.Starter.
func (d *wholeClusters) StartWriteV([][]byte, int64, qcow2.Ended) bool { return false }

// deviceFile is a disk as a file; what lies behind its end reads as zeroes.
type deviceFile struct{ *compressing }

func (f deviceFile) ReadV(bufs [][]byte, off int64) error {
	n := vecLen(bufs)
	have := max(0, min(n, f.compressing.Size()-off))
	if have == n {
		return f.compressing.ReadV(bufs, off)
	}
	flat := make([]byte, n)
	if err := f.compressing.ReadV([][]byte{flat[:have]}, off); err != nil {
		return err
	}
	for _, b := range bufs {
		flat = flat[copy(b, flat):]
	}
	return nil
}

func (f deviceFile) Sync() error                  { return f.Flush() }
func (f deviceFile) Size() (int64, error)         { return f.compressing.Size(), nil }
func (f deviceFile) Truncate(int64) error         { return syscall.ENOTSUP }
func (f deviceFile) PunchHole(off, n int64) error { return f.WriteZeroes(off, n, true) }
func (f deviceFile) ZeroRange(off, n int64) error { return f.WriteZeroes(off, n, false) }

// Unfiltered is the disk under what stands over it.
func Unfiltered(d Device) Device {
	for {
		switch x := d.(type) {
		case *debugged:
			d = x.Device
		case *wholeClusters:
			return x.Image
		default:
			return d
		}
	}
}

func statusOf(d Device, off, n int64) (qcow2.Extent, error) {
	if m, ok := d.(Mapper); ok {
		return m.Status(off, n)
	}
	return qcow2.Extent{Offset: off, Length: n, Present: true, Data: true, Host: -1}, nil
}

func allocatedOf(d Device, off, n int64) (bool, int64, error) {
	if m, ok := d.(Mapper); ok {
		return m.Allocated(off, n)
	}
	return true, n, nil
}
