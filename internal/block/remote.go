package block

import (
	"errors"

	"github.com/govmm/govmm/internal/nbdclient"
	"github.com/govmm/govmm/qcow2"
)

// remote is the export of an NBD server.
type remote struct {
	c        *nbdclient.Client
	io       qcow2.File // c, with requests of the size that the server asks for
	size     int64      // rounded up to a sector: what is missing reads as zeroes
	readOnly bool
}

// ErrExportReadOnly is why an export that can't be written to is not opened for that.
const ErrExportReadOnly = OptionError("Could not open image: Permission denied")

func openRemote(c *nbdclient.Client, readOnly bool) (*remote, error) {
	if err := c.Connect(); err != nil {
		return nil, err
	}
	if !readOnly && c.ReadOnly() {
		return nil, errors.Join(ErrExportReadOnly, c.Close())
	}
	n, _ := c.Size() // of what the server said
	return &remote{c, aligned(c, c.Alignment()), (n + sectorSize - 1) &^ (sectorSize - 1), readOnly}, nil
}

func (d *remote) Size() int64         { return d.size }
func (d *remote) ReadOnly() bool      { return d.readOnly }
func (d *remote) CanDiscard() bool    { return !d.readOnly }
func (d *remote) DiscardZeroes() bool { return false }
func (d *remote) Path() string        { return d.c.Path() }

func (d *remote) check(off, n int64, write bool) error {
	if err := checkRange(off, n, d.size); err != nil {
		return err
	}
	if write && d.readOnly {
		return ErrReadOnly
	}
	return nil
}

func (d *remote) ReadV(bufs [][]byte, off int64) error {
	if err := d.check(off, vecLen(bufs), false); err != nil {
		return err
	}
	return d.io.ReadV(bufs, off)
}

func (d *remote) WriteV(bufs [][]byte, off int64) error {
	if err := d.check(off, vecLen(bufs), true); err != nil {
		return err
	}
	return d.io.WriteV(bufs, off)
}

func (d *remote) WriteZeroes(off, n int64, unmap bool) error {
	if err := d.check(off, n, true); err != nil || n == 0 {
		return err
	}
	if unmap {
		if err := d.io.PunchHole(off, n); !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	return d.io.ZeroRange(off, n)
}

func (d *remote) Discard(off, n int64) error {
	if err := d.check(off, n, true); err != nil || n == 0 {
		return err
	}
	return d.io.(trimmer).Trim(off, n)
}

func (d *remote) Flush() error {
	if d.readOnly {
		return nil
	}
	return d.io.Sync()
}

func (d *remote) Close() error { return errors.Join(d.Flush(), d.c.Close()) }

// Status implements qcow2.Mapper, as the server has it.
func (d *remote) Status(off, n int64) (qcow2.Extent, error) {
	if err := d.check(off, n, false); err != nil {
		return qcow2.Extent{}, err
	}
	data, zero, n, err := d.io.(reporter).Status(off, n)
	e := qcow2.Extent{Offset: off, Length: n, Present: data || zero, Data: data, Zero: zero, Host: -1}
	if e.Present {
		e.Host = off
	}
	return e, err
}

// Allocated implements Mapper.
func (d *remote) Allocated(off, n int64) (allocated bool, length int64, err error) {
	e, err := d.Status(off, n)
	return e.Data, e.Length, err
}

// Resize implements Resizer for who has less in it than there is room: the size is fixed.
func (d *remote) Resize(size int64) error { return d.c.Truncate(size) }

// trimmer is storage that has more than holes for what is not needed any more.
type trimmer interface{ Trim(off, n int64) error }

// reporter is storage that says what is data, and what reads as zeroes.
type reporter interface {
	Status(off, n int64) (data, zero bool, length int64, err error)
}

var (
	_ Mapper  = (*remote)(nil)
	_ Resizer = (*remote)(nil)
)
