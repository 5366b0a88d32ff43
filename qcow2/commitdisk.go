package qcow2

import (
	"errors"
	"fmt"
)

// CommitTarget is a disk of the backing chain that CommitTo writes to. *Image
// is one.
type CommitTarget interface {
	Size() int64
	WriteV(bufs [][]byte, off int64) error
	WriteZeroes(off, n int64, unmap bool) error
	Resize(size int64) error
	Flush() error
}

// CommitOptions says what CommitTo does.
type CommitOptions struct {
	// Depth of the target in the backing chain; 0 is 1, the backing file.
	Depth int
	// Keep leaves the image as it is. Without it the image is empty afterwards,
	// which only makes sense if the target is the backing file itself.
	Keep bool
	// Progress is told of what was written, in bytes, and of how much there is to write.
	Progress Progress
	// Rate is how much is written a second, in bytes; 0 is no limit.
	Rate int64
}

// CommitTo writes to base, which is an image of the backing chain opened once
// more for writing, what the images above it hold, and makes base as large as
// the disk if it is smaller. When all of that is durable the image is emptied.
// So a crash loses nothing: it can be done again.
//
// The disk must not be written meanwhile. What the image knows of its backing
// files is out of date afterwards: it must be closed and opened again.
func (im *Image) CommitTo(base CommitTarget, o CommitOptions) error {
	if err := im.commitTo(base, &o); err != nil {
		return im.note(fmt.Errorf("commit: %w", err))
	}
	return nil
}

func (im *Image) commitTo(base CommitTarget, o *CommitOptions) error {
	depth := max(o.Depth, 1)
	switch {
	case im.backing == nil:
		return fmt.Errorf("%w: the image has none", ErrBacking)
	case !o.Keep && im.readOnly:
		return ErrReadOnly
	case !o.Keep && depth > 1:
		return errors.New("an image that is not right above the target can't be emptied")
	}
	size, had := im.Size(), base.Size()
	if size > had {
		if err := base.Resize(size); err != nil {
			return fmt.Errorf("base: %w", err)
		}
	}
	c := commitReader{im: im, depth: depth, had: had}
	if err := c.copyTo(base, o); err != nil {
		return err
	}
	if err := base.Flush(); err != nil {
		return fmt.Errorf("base: %w", err)
	}
	if o.Keep {
		return nil
	}
	if err := im.empty(); err != nil {
		return fmt.Errorf("%w: %w", ErrNotEmptied, err)
	}
	return nil
}

// empty gives back all that the image itself holds of the disk, so that all of
// it comes from the backing file. Snapshots stay.
func (im *Image) empty() error {
	if err := im.epochs.pause(false); err != nil {
		return err
	}
	defer im.epochs.resume()
	im.at(EventEmptyImagePrepare)
	err := im.changeRootPaused(func(r *rootChange) error {
		if err := r.lose(im.l1); err != nil {
			return err
		}
		if err := r.dropL1(); err != nil {
			return err
		}
		return r.setL1(make([]uint64, len(im.l1)))
	})
	if err != nil {
		return err
	}
	if im.g.dataFile {
		// Holes that can't be punched cost space on the host, nothing else.
		_ = im.data.PunchHole(0, im.Size())
	}
	return im.compact()
}
