package nbdtool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/internal/blockopt"
	"github.com/govmm/govmm/internal/nbd"
	"github.com/govmm/govmm/qcow2"
)

// export opens the disk that a name or a list of options stands for, and describes what
// it is to clients. Closing d closes the disk.
func (s *settings) export(name string, stderr io.Writer) (e nbd.Export, d block.Device, err error) {
	source, err := s.resolve(name)
	if err != nil {
		return e, nil, openError(name, err)
	}
	spec := source.Spec
	through, err := s.cacheMode(&spec)
	if err != nil {
		return e, nil, err
	}
	if s.native && !spec.Direct {
		return e, nil, openError(name, errors.New("aio=native was specified, but it requires cache.direct=on, which was not specified."))
	}
	spec.Debug, spec.Report = source.NewDebug(nil), reporter{stderr}
	if err := s.atSnapshot(&spec); err != nil {
		return e, nil, err
	}
	if spec.Guessed && spec.Format == block.FormatRaw && !spec.ReadOnly && !s.overlay {
		fmt.Fprintf(stderr, block.GuessWarning, name)
	}
	if d, err = s.open(spec); err != nil {
		var option block.OptionError
		switch {
		case errors.Is(err, qcow2.ErrNoSnapshot):
			return e, nil, errNoSnapshot
		case s.offset > 0 && errors.As(err, &option): // of the part, not of the disk
			return e, nil, option
		}
		return e, nil, openError(name, err)
	}
	whole := d
	if s.offset > 0 {
		whole, _ = block.Below(d)
	}
	e = nbd.Export{
		Name: s.name, Description: s.description, Device: d, ReadOnly: s.readOnly,
		FastZero: ZeroesFast(whole, spec.Format), TryFastZero: true, KeepDiscarded: !s.unmaps() && !source.Discard,
	}
	if spec.Guessed && spec.Format == block.FormatRaw {
		e.MinBlock = guessedBlock
	}
	if e.Contexts, err = s.contexts(d, int64(max(1, e.MinBlock))); err != nil {
		return e, nil, errors.Join(err, d.Close())
	}
	if s.detect == "on" || s.detect == "unmap" {
		e.Device = &zeroDetector{d, s.detect == "unmap"}
	}
	if through {
		e.Device = block.WriteThrough(e.Device.(block.Device))
	}
	return e, d, nil
}

var errNoSnapshot = errors.New("Failed to load snapshot: Can't find snapshot")

// openError is the failure to open a disk.
func openError(name string, err error) error {
	return fmt.Errorf("Failed to blk_new_open '%s': %s", name, blockopt.Reason(err))
}

// resolve finds what a name or a list of options means.
func (s *settings) resolve(name string) (*blockopt.Source, error) {
	var tree *blockopt.Tree
	if s.imageOpts {
		tree = blockopt.ParseOptions(name, s.objects.Warn)
	} else {
		var err error
		if tree, err = blockopt.ParseName(name); err != nil {
			return nil, err
		}
		if s.format != "" {
			tree.Set("driver", s.format)
		}
	}
	source, err := tree.Resolve(s.objects)
	if err != nil {
		return nil, err
	}
	switch {
	case s.readOnly:
		source.Spec.ReadOnly = true
	case source.Spec.ReadOnly:
		return nil, errors.New("Block node is read-only")
	case source.Spec.ForceShare:
		return nil, errors.New("force-share=on can only be used with read-only images")
	}
	return source, nil
}

// cacheMode has a disk use the host's cache as --cache says. through says that what is
// written has to be durable at once.
func (s *settings) cacheMode(spec *block.Spec) (through bool, err error) {
	if s.cache == "" {
		return false, nil
	}
	return spec.SetCacheMode(s.cache)
}

// atSnapshot makes the disk the one of the snapshot that was asked for.
func (s *settings) atSnapshot(spec *block.Spec) error {
	switch {
	case s.snapshot == nil:
		return nil
	case s.overlay: // the image on top has none
		return errNoSnapshot
	case spec.Format != block.FormatQCOW2:
		return fmt.Errorf("Failed to load snapshot: Block format '%s' used by device '' does not support temporarily loading internal snapshots", spec.Format)
	}
	spec.Snapshot = *s.snapshot
	return nil
}

// open opens the part of a disk that is exported, under a temporary image if one was
// asked for.
func (s *settings) open(spec block.Spec) (block.Device, error) {
	spec.Serve()
	if s.overlay {
		top, err := block.TemporaryOverlay(spec)
		if err != nil {
			return nil, err
		}
		defer func() { _ = os.RemoveAll(filepath.Dir(top.Path)) }() // it is open by then
		top.ReadOnly = spec.ReadOnly
		spec = top
	}
	if s.offset > 0 {
		whole := spec
		spec = block.Spec{
			Path: whole.Path, Format: block.FormatRaw, Storage: &whole, Window: &block.Window{Offset: int64(s.offset), Size: -1},
			ReadOnly: whole.ReadOnly, Direct: whole.Direct, NoFlush: whole.NoFlush, ForceShare: whole.ForceShare, Locking: whole.Locking,
			Report: whole.Report, Names: whole.Names,
		}
	}
	return block.Open(spec)
}

// guessedBlock is what requests to a disk of a guessed raw format are made of, in bytes: writes
// to the first one are looked at.
const guessedBlock = 512

// contexts are the metadata contexts that were asked for, with extents of whole units of
// so many bytes.
func (s *settings) contexts(d block.Device, unit int64) (list []nbd.Context, err error) {
	if m, ok := d.(block.Mapper); ok {
		for _, c := range MapContexts(m, unit) {
			if c.Name != DepthContext || s.depth {
				list = append(list, c)
			}
		}
	}
	for _, name := range s.bitmaps {
		im, err := findBitmap(d, name)
		if err != nil {
			return nil, err
		}
		list = append(list, BitmapContext(im, name))
	}
	return list, nil
}

// findBitmap finds the image of a backing chain that has a bitmap.
func findBitmap(d block.Device, name string) (*qcow2.Image, error) {
	for next := qcow2.Backing(d); next != nil; {
		im, ok := next.(*qcow2.Image)
		if !ok || im.Size() < d.Size() {
			break
		}
		list, err := im.Bitmaps()
		if err != nil {
			return nil, err
		}
		for _, b := range list {
			switch {
			case b.Name != name:
			case b.Inconsistent:
				return nil, fmt.Errorf("Bitmap '%s' is inconsistent and cannot be used", name)
			default:
				return im, nil
			}
		}
		next = im.Backing()
	}
	return nil, fmt.Errorf("Bitmap '%s' is not found", name)
}

// zeroDetector has zeroes that are written stored as such.
type zeroDetector struct {
	block.Device
	unmap bool // and their storage given back
}

func (d *zeroDetector) WriteV(bufs [][]byte, off int64) error {
	if n, all := block.Zeroes(bufs); all {
		return d.WriteZeroes(off, n, d.unmap)
	}
	return d.Device.WriteV(bufs, off)
}

// reporter prints what is found in an image that nobody asked about.
type reporter struct{ stderr io.Writer }

// Corrupt implements block.Reporter.
func (r reporter) Corrupt(_, problem string, marked bool) {
	fmt.Fprintln(r.stderr, block.CorruptionText(problem, marked))
}

// Repair implements block.Reporter.
func (r reporter) Repair(_, line string) { fmt.Fprintln(r.stderr, line) }

// StaleBitmaps implements block.StaleReporter.
func (r reporter) StaleBitmaps(_ string, version int) {
	fmt.Fprint(r.stderr, block.StaleBitmapsText("qemu-nbd", version))
}
