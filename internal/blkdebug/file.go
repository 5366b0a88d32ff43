package blkdebug

import "github.com/govmm/govmm/qcow2"

// file is a qcow2.File whose I/O fails when the rules say so.
type file struct {
	qcow2.File
	d *Debug
}

// Wrap returns f with I/O that the rules of d apply to. Writes pass the events
// pwritev or pwritev_zero, and pwritev_done.
func (d *Debug) Wrap(f qcow2.File) qcow2.File {
	below := &file{f, d}
	switch {
	case d.limits.Align > 1:
		return &limited{newAligned(below, d.limits.Align), below, d.limits}
	case d.limits != (Limits{}):
		return &limited{below, below, d.limits}
	}
	return below
}

func (f *file) ReadV(bufs [][]byte, off int64) error {
	if err := f.d.Check(Read, off, length(bufs)); err != nil {
		return err
	}
	return f.File.ReadV(bufs, off)
}

func (f *file) WriteV(bufs [][]byte, off int64) error {
	f.d.Event(qcow2.EventPwritev)
	if err := f.d.Check(Write, off, length(bufs)); err != nil {
		return err
	}
	err := f.File.WriteV(bufs, off)
	f.d.Event(qcow2.EventPwritevDone)
	return err
}

func (f *file) ZeroRange(off, n int64) error {
	f.d.Event(qcow2.EventPwritevZero)
	if err := f.d.Check(WriteZeroes, off, n); err != nil {
		return err
	}
	err := f.File.ZeroRange(off, n)
	f.d.Event(qcow2.EventPwritevDone)
	return err
}

func (f *file) PunchHole(off, n int64) error {
	if err := f.d.Check(Discard, off, n); err != nil {
		return err
	}
	return f.File.PunchHole(off, n)
}

// Sync has no place in the file: rules for a sector do not apply.
func (f *file) Sync() error {
	if err := f.d.Check(Flush, 0, 0); err != nil {
		return err
	}
	return f.File.Sync()
}

func length(bufs [][]byte) int64 {
	n := int64(0)
	for _, b := range bufs {
		n += int64(len(b))
	}
	return n
}

// Path is the name of the file, if it has one.
func (f *file) Path() string {
	if p, ok := f.File.(interface{ Path() string }); ok {
		return p.Path()
	}
	return ""
}

// Hole is OSFile.Hole; storage without it has no holes.
func (f *file) Hole(off, n int64) (hole bool, length int64, err error) {
	if h, ok := f.File.(interface {
		Hole(off, n int64) (bool, int64, error)
	}); ok {
		return h.Hole(off, n)
	}
	return false, n, nil
}
