package qcow2

import "fmt"

// Backing is the disk under an overlay: what unallocated clusters read from.
// *Image is one. Calls may be concurrent.
type Backing interface {
	// Size is the capacity in bytes; it may differ from the overlay's.
	Size() int64
	// ReadV fills bufs, in order, from offset off; the range lies inside Size.
	ReadV(bufs [][]byte, off int64) error
	Close() error
}

// BackingOpener opens the backing file that an image names. name is exactly
// what the image holds: it comes from whoever made the image, so an opener must
// decide what may be opened at all. format is the recorded driver name, "" if
// none is recorded.
type BackingOpener func(name, format string) (Backing, error)

// openBacking opens the backing file of an image as its options say.
func openBacking(h *header, o *Options) (Backing, error) {
	switch {
	case h.backingFile == "" && !o.AskBacking:
		return nil, nil
	case o.NoBacking:
		return absentBacking{name: h.backingFile}, nil
	case o.Backing == nil:
		return nil, fmt.Errorf("%w: the image has the backing file %q, and none may be opened", ErrBacking, h.backingFile)
	}
	b, err := o.Backing(h.backingFile, h.backingFormat())
	if err != nil {
		return nil, &BackingError{h.backingFile, err}
	}
	return b, nil
}

// BackingError is the failure to open the backing file of an image.
type BackingError struct {
	Name string // as the image has it
	Err  error
}

func (e *BackingError) Error() string { return fmt.Sprintf("backing file %q: %v", e.Name, e.Err) }

func (e *BackingError) Unwrap() error { return e.Err }

// Backing is the disk under the image, nil if it has none. It belongs to the
// image.
func (im *Image) Backing() Backing { return im.backing }

// File is the storage of the image, which it owns.
func (im *Image) File() File { return im.f }

// Data is the file that holds the guest's data: the external data file, or File.
func (im *Image) Data() File { return im.data }

// absentBacking stands for a backing file that was left closed on purpose.
type absentBacking struct{ name string }

func (absentBacking) Size() int64 { return 1<<63 - 1 }
func (b absentBacking) ReadV([][]byte, int64) error {
	return fmt.Errorf("%w: %q", ErrBacking, b.name)
}
func (absentBacking) Close() error { return nil }

// backingError is what went wrong in the backing file, which is no fault of the
// image above it.
type backingError struct{ err error }

func (e *backingError) Error() string { return "backing file: " + e.err.Error() }
func (e *backingError) Unwrap() error { return e.err }

// readBacking fills the next n bytes of rq from the backing file at guest
// offset off; zeroes where there is no backing file or it is too short.
func (im *Image) readBacking(rq *request, off, n int64) error {
	have := im.backed(off, n)
	if have > 0 {
		im.at(EventReadBackingAio)
		if err := im.backing.ReadV(rq.vec.next(have), off); err != nil {
			return &backingError{err}
		}
	}
	if have < n {
		clearVec(rq.vec.next(n-have), 0)
	}
	return nil
}

// backed is how many of the n bytes at off come from the backing file.
func (im *Image) backed(off, n int64) int64 {
	if im.backing == nil {
		return 0
	}
	return max(0, min(n, im.backing.Size()-off))
}
