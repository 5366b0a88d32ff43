package block

import (
	"fmt"
	"syscall"

	"github.com/govmm/govmm/qcow2"
)

// compressing is a qcow2 disk of which all clusters that are written are compressed.
type compressing struct {
	*qcow2.Image
	unit int64
}

// compressed returns a qcow2 image with compression of whatever is written. What is
// not whole clusters is filled up with what the disk has there.
func compressed(d Device) (Device, error) {
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

// WritesPipes implements qcow2.PipeWriter.
func (d *wholeClusters) WritesPipes() bool { return false }

// WritePipe implements qcow2.PipeWriter.
func (d *wholeClusters) WritePipe(int, int64, int64) (int64, error) { return 0, nil }

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
