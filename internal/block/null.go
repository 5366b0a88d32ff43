package block

import (
	"time"

	"github.com/govmm/govmm/qcow2"
)

// null reads as zeroes and forgets what is written: for measuring what stands
// above it.
type null struct {
	size     int64
	readOnly bool
	latency  time.Duration // of a request
}

func newNull(size int64, readOnly bool) *null { return &null{size: size, readOnly: readOnly} }

func (d *null) Size() int64         { return d.size }
func (d *null) ReadOnly() bool      { return d.readOnly }
func (d *null) CanDiscard() bool    { return !d.readOnly }
func (d *null) DiscardZeroes() bool { return true }
func (d *null) Close() error        { return nil }

// Flush takes its time, and has nothing to do.
func (d *null) Flush() error {
	time.Sleep(d.latency)
	return nil
}

func (d *null) ReadV(bufs [][]byte, off int64) error {
	if err := checkRange(off, vecLen(bufs), d.size); err != nil {
		return err
	}
	for _, b := range bufs {
		clear(b)
	}
	time.Sleep(d.latency)
	return nil
}

func (d *null) WriteV(bufs [][]byte, off int64) error { return d.change(off, vecLen(bufs)) }

func (d *null) WriteZeroes(off, n int64, _ bool) error { return d.change(off, n) }

func (d *null) Discard(off, n int64) error { return d.change(off, n) }

func (d *null) change(off, n int64) error {
	if err := checkRange(off, n, d.size); err != nil {
		return err
	}
	if d.readOnly {
		return ErrReadOnly
	}
	time.Sleep(d.latency)
	return nil
}

// Status implements qcow2.Mapper: all of it is zeroes.
func (d *null) Status(off, n int64) (qcow2.Extent, error) {
	err := checkRange(off, n, d.size)
	return qcow2.Extent{Offset: off, Length: n, Present: true, Zero: true, Host: -1}, err
}

// Allocated implements Mapper.
func (d *null) Allocated(off, n int64) (allocated bool, length int64, err error) {
	return false, n, checkRange(off, n, d.size)
}

// TryReadV implements qcow2.Trier.
func (d *null) TryReadV(bufs [][]byte, off int64) bool {
	return d.latency == 0 && d.ReadV(bufs, off) == nil
}

// TryWriteV implements qcow2.Trier.
func (d *null) TryWriteV(bufs [][]byte, off int64) bool {
	return d.latency == 0 && d.WriteV(bufs, off) == nil
}
