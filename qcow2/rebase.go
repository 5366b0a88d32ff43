package qcow2

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// Progress is called from time to time with how much of the work is done, out
// of total; the last time with both equal.
type Progress func(done, total int64)

func (p Progress) report(done, total int64) {
	if p != nil {
		p(done, total)
	}
}

// RebaseOptions says what an image is to stand on.
type RebaseOptions struct {
	// Backing is the new backing file, opened; the image owns it after success.
	// nil: none.
	Backing Backing
	// Name and Format are recorded for it, as for Create. Both are empty if
	// there is none.
	Name, Format string
	// SharedDepth, if not 0, says that the new backing file is the image at
	// that depth of the present chain, so that what comes from there or below
	// need not be compared.
	SharedDepth int
	// Progress counts what is compared: steps of up to 2 MiB, out of as many as the disk has.
	Progress Progress
}

// Rebase puts the image on another backing file without changing what the disk
// holds: whatever would read differently is first copied into the image. Then
// one change of the header switches to the new backing file. The disk must not
// be written meanwhile.
func (im *Image) Rebase(o RebaseOptions) error {
	if err := im.rebase(&o); err != nil {
		return im.note(fmt.Errorf("rebase to %q: %w", o.Name, err))
	}
	return nil
}

func (im *Image) rebase(o *RebaseOptions) error {
	switch {
	case im.readOnly:
		return ErrReadOnly
	case (o.Backing == nil) != (o.Name == ""):
		return errors.New("a backing file and its name go together")
	}
	if err := checkBackingName(o.Name, o.Format); err != nil {
		return err
	}
	size := im.Size()
	var k keeper
	k.RebaseOptions, k.im = o, im
	if size > 0 {
		k.total = size / min(size, reportStep)
	}
	for e, err := range Extents(ownExtents{im}, 0, size) {
		if err != nil {
			return err
		}
		if !e.Present {
			if err := k.keepContents(e.Offset, e.Length); err != nil {
				return err
			}
		}
	}
	if err := im.Flush(); err != nil {
		return err
	}
	old := im.backing
	if err := im.setBacking(o.Name, o.Format, func() { im.backing = o.Backing }); err != nil {
		return err
	}
	o.Progress.report(k.total, k.total)
	if old != nil {
		return old.Close()
	}
	return nil
}

// ownExtents is an image without its backing file, as a Mapper.
type ownExtents struct{ im *Image }

func (o ownExtents) Status(off, n int64) (Extent, error) {
	rq, err := o.im.begin("map", nil, off, n, false)
	if err != nil {
		return Extent{}, err
	}
	e, err := o.im.ownStatus(off, n)
	o.im.end(rq)
	return e, err
}

// rebaseStep is how many bytes are compared at a time, whole clusters unless
// those are larger.
const rebaseStep = 1 << 20

// reportStep is how many bytes are compared before that is reported.
const reportStep = 2 << 20

// keeper copies into an image what a rebase would change.
type keeper struct {
	im *Image
	*RebaseOptions
	old, next   []byte // what the disk reads as now, and what it would
	done, total int64  // steps of the progress
}

// report reports that of the unallocated bytes from off to end those from at to to are compared.
func (k *keeper) report(off, end, at, to int64) {
	steps := (to-off)/reportStep - (at-off)/reportStep
	if to == end && (end-off)%reportStep != 0 {
		steps++
	}
	for ; steps > 0; steps-- {
		k.done = min(k.done+1, k.total)
		k.Progress.report(k.done, k.total)
	}
}

// keepContents copies into the image what of n unallocated bytes at off would
// read differently from the new backing file.
func (k *keeper) keepContents(off, n int64) error {
	step, end := max(rebaseStep, k.im.g.clusterSize), off+n
	for e, err := range Extents(k.im, off, n) {
		if err != nil {
			return err
		}
		if k.SharedDepth > 0 && e.Depth >= k.SharedDepth {
			k.report(off, end, e.Offset, e.Offset+e.Length)
			continue
		}
		for e.Length > 0 {
			n, same := min(e.Length, step-e.Offset%step), false
			if e.Zero {
				if same, n, err = readsZero(k.Backing, e.Offset, n); err != nil {
					return err
				}
			}
			if !same {
				if err := k.keepStep(e.Offset, n); err != nil {
					return err
				}
			}
			k.report(off, end, e.Offset, e.Offset+n)
			e.Offset, e.Length = e.Offset+n, e.Length-n
		}
	}
	return nil
}

// readsZero reports whether the bytes at off are known to be zeroes in b, and
// for how many of n that is so.
func readsZero(b Backing, off, n int64) (zero bool, length int64, err error) {
	if b == nil || off >= b.Size() {
		return true, n, nil
	}
	n = min(n, b.Size()-off)
	m, ok := b.(Mapper)
	if !ok {
		return false, n, nil
	}
	e, err := m.Status(off, n)
	return e.Zero, e.Length, err
}

// keepStep is keepContents for a few bytes: it compares them.
func (k *keeper) keepStep(off, n int64) error {
	im, b := k.im, k.Backing
	if int64(len(k.old)) < n {
		k.old, k.next = make([]byte, n), make([]byte, n)
	}
	old, next := k.old[:n], k.next[:n]
	if err := im.ReadV([][]byte{old}, off); err != nil {
		return err
	}
	have := int64(0)
	if b != nil {
		have = max(0, min(n, b.Size()-off))
	}
	if have > 0 {
		if err := b.ReadV([][]byte{next[:have]}, off); err != nil {
			return fmt.Errorf("new backing file: %w", err)
		}
	}
	clear(next[have:])
	for len(old) > 0 {
		step := min(int64(len(old)), im.g.clusterSize-off&(im.g.clusterSize-1))
		if !bytes.Equal(old[:step], next[:step]) {
			if err := im.keepCluster(old[:step], off); err != nil {
				return err
			}
		}
		old, next, off = old[step:], next[step:], off+step
	}
	return nil
}

// keepCluster writes p, which is what the disk reads as, so that it is in the
// image itself.
func (im *Image) keepCluster(p []byte, off int64) error {
	if im.g.version >= 3 && int64(len(p)) == im.g.clusterSize && allZero(p) {
		return im.WriteZeroes(off, int64(len(p)), true)
	}
	return im.WriteV([][]byte{p}, off)
}

// SetBackingFile records the name and format of another backing file, none if
// the name is empty. What the disk holds is not looked at: that the new one has
// the same contents as the old one is for the caller to know. The image goes on
// with the old one until it is closed.
func (im *Image) SetBackingFile(name, format string) error {
	err := checkBackingName(name, format)
	if im.readOnly {
		err = ErrReadOnly
	}
	if err == nil {
		err = im.setBacking(name, format, func() {})
	}
	if err != nil {
		return im.note(fmt.Errorf("set backing file %q: %w", name, err))
	}
	return nil
}

func checkBackingName(name, format string) error {
	switch {
	case len(name) > maxBackingName:
		return fmt.Errorf("backing file name of %d bytes (at most %d)", len(name), maxBackingName)
	case len(format) > 15:
		return fmt.Errorf("backing format %q (at most 15 bytes)", format)
	}
	return nil
}

// setBacking changes the header, and calls done before requests go on.
func (im *Image) setBacking(name, format string, done func()) error {
	if err := im.epochs.pause(false); err != nil {
		return err
	}
	defer im.epochs.resume()
	if err := im.mayWrite(); err != nil {
		return err
	}
	if err := im.drain(); err != nil {
		return err
	}
	if name != "" && im.rawData() {
		return fmt.Errorf("%w: a backing file under a raw external data file", ErrUnsupported)
	}
	if err := im.replaceHeader(im.hdr.withBacking(name, format)); err != nil {
		return err
	}
	done()
	return nil
}

// withBacking returns a header with another backing file.
func (h *header) withBacking(name, format string) *header {
	n := *h
	n.backingFile = name
	n.extensions = slices.DeleteFunc(slices.Clone(h.extensions), func(e extension) bool { return e.kind == extBackingFormat })
	if name != "" && format != "" {
		n.extensions = slices.Insert(n.extensions, 0, extension{extBackingFormat, []byte(format)})
	}
	return &n
}
