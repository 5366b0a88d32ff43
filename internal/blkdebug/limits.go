package blkdebug

import (
	"fmt"
	"math"

	"github.com/govmm/govmm/qcow2"
)

// Limits are what the storage is said to be able to do, in bytes; 0 is no limit. Requests that
// go beyond them are split, so that rules apply to each part.
type Limits struct {
	Align        int64 // transfers begin and end at multiples of this
	MaxTransfer  int64 // of a read or write
	OptWriteZero int64 // zeroes are written as such in multiples of this
	MaxWriteZero int64
	OptDiscard   int64 // storage is best given back in multiples of this
	MaxDiscard   int64
}

// Set sets the limit of an option's name.
func (l *Limits) Set(name string, n int64) {
	*map[string]*int64{
		"align": &l.Align, "max-transfer": &l.MaxTransfer, "opt-write-zero": &l.OptWriteZero,
		"max-write-zero": &l.MaxWriteZero, "opt-discard": &l.OptDiscard, "max-discard": &l.MaxDiscard,
	}[name] = n
}

// LimitOptions are the names of the options for limits.
func LimitOptions() []string {
	return []string{"align", "max-transfer", "opt-write-zero", "max-write-zero", "opt-discard", "max-discard"}
}

// Valid returns an error, in QEMU's words, unless the limits fit each other.
func (l *Limits) Valid() error {
	align := max(l.Align, 1)
	for _, x := range []struct {
		name     string
		n, align int64
	}{
		{"align", l.Align, 1},
		{"max-transfer", l.MaxTransfer, align},
		{"opt-write-zero", l.OptWriteZero, align},
		{"max-write-zero", l.MaxWriteZero, max(l.OptWriteZero, align)},
		{"opt-discard", l.OptDiscard, align},
		{"max-discard", l.MaxDiscard, max(l.OptDiscard, align)},
	} {
		if x.n >= math.MaxInt32 || x.n%x.align != 0 || x.name == "align" && x.n&(x.n-1) != 0 {
			return &limitError{x.name, x.n}
		}
	}
	return nil
}

// limitError says in QEMU's words that a limit does not fit the others.
type limitError struct {
	name string
	n    int64
}

func (e *limitError) Error() string {
	return fmt.Sprintf("Cannot meet constraints with %s %d", e.name, e.n)
}

// Inside is the part of n bytes at off whose storage can be given back.
func (l Limits) Inside(off, n int64) (int64, int64) {
	unit := max(l.Align, 1)
	from, to := (off+unit-1)/unit*unit, (off+n)/unit*unit
	return from, max(0, to-from)
}

// SetLimits sets the limits of the storage. It comes before the first request.
func (d *Debug) SetLimits(l Limits) { d.limits = l }

// Limits returns the limits of the storage.
func (d *Debug) Limits() Limits { return d.limits }

// limited is a qcow2.File whose requests are split as the limits say.
type limited struct {
	qcow2.File
	below *file
	l     Limits
}

func (f *limited) ReadV(bufs [][]byte, off int64) error {
	return f.transfer(bufs, off, f.File.ReadV)
}

func (f *limited) WriteV(bufs [][]byte, off int64) error {
	return f.transfer(bufs, off, f.File.WriteV)
}

func (f *limited) transfer(bufs [][]byte, off int64, move func([][]byte, int64) error) error {
	if f.l.MaxTransfer == 0 || length(bufs) <= f.l.MaxTransfer {
		return move(bufs, off)
	}
	for _, b := range bufs {
		for len(b) > 0 {
			n := min(int64(len(b)), f.l.MaxTransfer-off%f.l.MaxTransfer)
			if err := move([][]byte{b[:n]}, off); err != nil {
				return err
			}
			b, off = b[n:], off+n
		}
	}
	return nil
}

func (f *limited) ZeroRange(off, n int64) error {
	return f.zero(off, n, max(f.l.Align, f.l.OptWriteZero, 1), f.l.MaxWriteZero, f.File.ZeroRange)
}

func (f *limited) PunchHole(off, n int64) error {
	return f.zero(off, n, max(f.l.Align, 1), f.l.MaxDiscard, f.File.PunchHole)
}

// zero calls do for whole units of n bytes at off, at most so many bytes at a time, and
// writes zeroes to the rest.
func (f *limited) zero(off, n, unit, most int64, do func(off, n int64) error) error {
	for end := off + n; off < end; {
		step := end - off
		if head := off % unit; head != 0 || step < unit {
			step = min(step, unit-head, zeroStep)
			if err := f.WriteV([][]byte{make([]byte, step)}, off); err != nil {
				return err
			}
			off += step
			continue
		}
		if step -= step % unit; most > 0 {
			step = min(step, most)
		}
		if err := do(off, step); err != nil {
			return err
		}
		off += step
	}
	return nil
}

// zeroStep bounds the memory for zeroes, in bytes.
const zeroStep = 1 << 20

// Path is the name of the file, if it has one.
func (f *limited) Path() string { return f.below.Path() }

// Hole is OSFile.Hole.
func (f *limited) Hole(off, n int64) (hole bool, length int64, err error) {
	return f.below.Hole(off, n)
}
