package block

import (
	"errors"

	"github.com/govmm/govmm/internal/blkdebug"
	"github.com/govmm/govmm/qcow2"
)

// storage is what the bytes of a format are in.
type storage struct {
	file  qcow2.File
	host  *qcow2.OSFile   // the file of the host under it; nil if there is none
	debug *blkdebug.Debug // injects faults; nil: nobody
}

// openStorage opens path, or what the spec names in its place, as the next file of the
// chain.
func (c *chain) openStorage(path string, readOnly bool) (*storage, error) {
	s := new(storage)
	if remote := c.spec.Remote; remote != nil && len(*c.seen) == c.under {
		if err := remote.Connect(); err != nil {
			return nil, err
		}
		if !readOnly && remote.ReadOnly() {
			return nil, errors.Join(optionErrorf("request on write denied without write permission"), remote.Close())
		}
		*c.seen = append(*c.seen, qcow2.FileID{}) // no file of the host is this one
		s.file = aligned(remote, remote.Alignment())
	} else {
		f, err := openFile(path, readOnly, c.spec)
		if err != nil {
			return nil, err
		}
		if err = c.enter(f); err == nil {
			share := c.spec.ForceShare || c.spec.ShareBacking && len(*c.seen) > 1
			err = lockFile(f, readOnly, share, c.spec.Locking)
		}
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		s.file, s.host = f, f
	}
	if c.atTop() {
		s.wrap(c.spec)
	}
	return s, nil
}

// wrap puts what the spec asks for over the topmost file.
func (s *storage) wrap(spec *Spec) {
	if s.debug = spec.Debug; s.debug != nil {
		s.file = s.debug.Wrap(s.file)
	}
	s.file = aligned(s.file, spec.Align)
}

// OpenFile opens and locks what the image that spec describes is in, without looking
// at the image: for who reads its headers alone. Who passes the file to package qcow2
// passes on the events, too, if there is a Debug.
func OpenFile(spec Spec) (qcow2.File, error) {
	s, err := (&chain{spec: &spec, seen: new([]qcow2.FileID)}).openStorage(spec.Path, spec.ReadOnly)
	if err != nil {
		return nil, &OpenError{spec.Path, err}
	}
	return s.file, nil
}

// openData opens what options name as an external data file.
func (c *chain) openData(spec *Spec, readOnly bool) (qcow2.File, error) {
	if spec.Format == FormatNull {
		return &nullFile{size: spec.Size}, nil
	}
	below := *spec
	below.Direct, below.NoFlush = below.Direct || c.spec.Direct, below.NoFlush || c.spec.NoFlush
	below.ForceShare = below.ForceShare || c.spec.ForceShare
	if below.Locking == LockingAuto {
		below.Locking = c.spec.Locking
	}
	s, err := (&chain{spec: &below, seen: c.seen, under: len(*c.seen)}).openStorage(spec.Path, readOnly)
	if err != nil {
		return nil, err
	}
	if s.debug != nil {
		return &dataEvents{s.file, s.debug}, nil
	}
	return s.file, nil
}

// dataEvents is a data file that passes the points of a raw disk.
type dataEvents struct {
	qcow2.File
	debug *blkdebug.Debug
}

func (f *dataEvents) ReadV(bufs [][]byte, off int64) error {
	f.debug.Event(qcow2.EventReadAio)
	return f.File.ReadV(bufs, off)
}

func (f *dataEvents) WriteV(bufs [][]byte, off int64) error {
	f.debug.Event(qcow2.EventWriteAio)
	return f.File.WriteV(bufs, off)
}

// nullFile is a data file of a fixed size that reads as zeroes and forgets what is
// written.
type nullFile struct{ size int64 }

func (f *nullFile) ReadV(bufs [][]byte, _ int64) error {
	for _, b := range bufs {
		clear(b)
	}
	return nil
}

func (f *nullFile) WriteV([][]byte, int64) error { return nil }
func (f *nullFile) Sync() error                  { return nil }
func (f *nullFile) Size() (int64, error)         { return f.size, nil }
func (f *nullFile) Truncate(int64) error         { return nil }
func (f *nullFile) PunchHole(_, _ int64) error   { return nil }
func (f *nullFile) ZeroRange(_, _ int64) error   { return nil }
func (f *nullFile) Close() error                 { return nil }
func (f *nullFile) Path() string                 { return "null-co://" }
