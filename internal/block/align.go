package block

import (
	"sync"

	"github.com/govmm/govmm/qcow2"
)

// alignedFile is a file whose transfers begin and end at multiples of a number of
// bytes. What does not is widened: a write reads the rest of its first and its last
// unit before, and no other write passes meanwhile.
type alignedFile struct {
	qcow2.File
	unit int64
	mu   sync.RWMutex // held by writes, exclusively by those that are widened
}

// aligned returns f with transfers of whole units of the given size; 0 and 1 are none.
func aligned(f qcow2.File, unit int64) qcow2.File {
	if unit <= 1 {
		return f
	}
	return &alignedFile{File: f, unit: unit}
}

// span is the whole units that n bytes at off lie in.
func (f *alignedFile) span(off, n int64) (lo, hi int64) {
	return off &^ (f.unit - 1), (off + n + f.unit - 1) &^ (f.unit - 1)
}

func (f *alignedFile) ReadV(bufs [][]byte, off int64) error {
	n := vecLen(bufs)
	lo, hi := f.span(off, n)
	if lo == off && hi == off+n {
		return f.File.ReadV(bufs, off)
	}
	return f.File.ReadV(f.padded(bufs, off-lo, hi-off-n), lo)
}

// padded is bufs with room for so many bytes before and after.
func (f *alignedFile) padded(bufs [][]byte, before, after int64) [][]byte {
	all := make([][]byte, 0, len(bufs)+2)
	all = append(append(all, make([]byte, before)), bufs...)
	return append(all, make([]byte, after))
}

func (f *alignedFile) WriteV(bufs [][]byte, off int64) error {
	n := vecLen(bufs)
	lo, hi := f.span(off, n)
	if lo == off && hi == off+n {
		f.mu.RLock()
		defer f.mu.RUnlock()
		return f.File.WriteV(bufs, off)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	all := f.padded(bufs, off-lo, hi-off-n)
	if err := f.edge(all[0], lo, true); err != nil {
		return err
	}
	if err := f.edge(all[len(all)-1], hi, false); err != nil {
		return err
	}
	return f.File.WriteV(all, lo)
}

// edge reads what a widened write leaves as it is: b lies at the beginning of the unit
// at off, or at the end of the one before.
func (f *alignedFile) edge(b []byte, off int64, begins bool) error {
	if len(b) == 0 {
		return nil
	}
	unit := make([]byte, f.unit)
	if !begins {
		off -= f.unit
	}
	if err := f.File.ReadV([][]byte{unit}, off); err != nil {
		return err
	}
	if begins {
		copy(b, unit)
	} else {
		copy(b, unit[len(unit)-len(b):])
	}
	return nil
}

// ZeroRange writes the parts of units at both ends as data.
func (f *alignedFile) ZeroRange(off, n int64) error {
	return f.zeroes(off, n, f.File.ZeroRange)
}

// PunchHole does so, too.
func (f *alignedFile) PunchHole(off, n int64) error {
	return f.zeroes(off, n, f.File.PunchHole)
}

func (f *alignedFile) zeroes(off, n int64, whole func(off, n int64) error) error {
	lo, hi := (off+f.unit-1)&^(f.unit-1), (off+n)&^(f.unit-1)
	if lo >= hi {
		return f.WriteV([][]byte{make([]byte, n)}, off)
	}
	f.mu.RLock()
	err := whole(lo, hi-lo)
	f.mu.RUnlock()
	if err != nil {
		return err
	}
	for _, part := range [][2]int64{{off, lo}, {hi, off + n}} {
		if part[0] == part[1] {
			continue
		}
		if err := f.WriteV([][]byte{make([]byte, part[1]-part[0])}, part[0]); err != nil {
			return err
		}
	}
	return nil
}

// Trim passes on whole units.
func (f *alignedFile) Trim(off, n int64) error {
	lo, hi := (off+f.unit-1)&^(f.unit-1), (off+n)&^(f.unit-1)
	if lo >= hi {
		return nil
	}
	if t, ok := f.File.(trimmer); ok {
		return t.Trim(lo, hi-lo)
	}
	return f.File.PunchHole(lo, hi-lo)
}

// Status asks for whole units.
func (f *alignedFile) Status(off, n int64) (data, zero bool, length int64, err error) {
	lo, hi := f.span(off, n)
	switch below := f.File.(type) {
	case reporter:
		data, zero, length, err = below.Status(lo, hi-lo)
	case interface {
		Hole(off, n int64) (bool, int64, error)
	}:
		zero, length, err = below.Hole(lo, hi-lo)
		data = !zero
	default:
		return true, false, n, nil
	}
	return data, zero, min(n, length-(off-lo)), err
}

// Path is the name of the file, if it has one.
func (f *alignedFile) Path() string {
	if p, ok := f.File.(interface{ Path() string }); ok {
		return p.Path()
	}
	return ""
}
