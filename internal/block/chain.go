package block

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/govmm/govmm/internal/blkdebug"
	"github.com/govmm/govmm/qcow2"
)

// maxDepth bounds the length of a backing chain.
const maxDepth = 64

// chain opens an image and what lies below it.
type chain struct {
	spec  *Spec
	seen  *[]qcow2.FileID // the files of the chain so far, from the top
	under int             // how many of them lie above the one that spec names
}

// atTop reports whether the last file seen is the one that the spec names.
func (c *chain) atTop() bool { return len(*c.seen) == c.under+1 }

// open opens path as the next file of the chain, with what filters it.
func (c *chain) open(path, format string, readOnly bool) (Device, error) {
	filter := c.spec.CopyOnRead && len(*c.seen) == c.under
	d, err := c.openDisk(path, format, readOnly)
	if err != nil || !filter {
		return d, err
	}
	return copyOnRead(d), nil
}

// openDisk is open without a filter.
func (c *chain) openDisk(path, format string, readOnly bool) (d Device, err error) {
	if format == FormatNull {
		d := newNull(c.spec.Size, readOnly)
		d.latency = c.spec.Latency
		return d, nil
	}
	if format == FormatNBD {
		*c.seen = append(*c.seen, qcow2.FileID{}) // none of the host's files
		return openRemote(c.spec.Remote, readOnly)
	}
	f, err := c.storage(path, format, readOnly)
	if err != nil {
		return nil, err
	}
	owned := false // by the image
	defer func() {
		if err != nil && !owned {
			err = errors.Join(err, f.Close())
		}
	}()
	if format == "" {
		if format, err = probe(f); err != nil {
			return nil, err
		}
	}
	var debug *blkdebug.Debug
	var window *Window
	if c.atTop() {
		debug, window = c.spec.Debug, c.spec.Window
	}
	file, plain := f.(*qcow2.OSFile)
	if format == FormatRaw && !plain {
		p, err := newPart(f.(*diskFile).d, window, readOnly, debug)
		if err != nil {
			return nil, err
		}
		p.filter = c.spec.Filter && c.atTop()
		return p, nil
	}
	if format == FormatRaw {
		return newRaw(file, window, readOnly, c.spec.Guessed && c.atTop(), debug)
	}
	if format == FormatLUKS {
		if debug != nil {
			return nil, errors.New("blkdebug does not work under a LUKS disk")
		}
		secret, err := c.spec.secret()
		if err != nil {
			return nil, err
		}
		return openEncrypted(f, readOnly, secret)
	}
	o := qcow2.Options{ReadOnly: readOnly, L2CacheSize: c.spec.L2CacheSize, PassDiscard: c.spec.PassDiscard, Secret: c.spec.secret}
	named := c.atTop()
	if named {
		o.LazyRefcounts = c.spec.LazyRefcounts
		o.Snapshot, o.AskBacking = c.spec.Snapshot, c.spec.Alone || c.spec.Backing != nil
	}
	if o.NoBacking = c.spec.LeaveBacking; !c.spec.NoBacking {
		o.Backing = func(name, format string) (qcow2.Backing, error) { return c.openBacking(path, name, format, named) }
	}
	if o.NoDataFile = c.spec.LeaveData; !c.spec.NoDataFile {
		o.DataFile = func(name string) (qcow2.File, error) { return c.openDataFile(name, readOnly, named) }
	}
	if to := c.spec.Report; to != nil {
		o.Corruption = func(problem string, marked bool) { to.Corrupt(path, problem, marked) }
		o.Repairing = func(line string) { to.Repair(path, line) }
	}
	if to, ok := c.spec.Report.(StaleReporter); ok {
		o.StaleBitmaps = func(version int) { to.StaleBitmaps(path, version) }
	}
	if debug != nil {
		f, o.Event = debug.Wrap(f), debug.Event
	}
	im, err := qcow2.Open(f, o)
	if err != nil {
		return nil, err // not im: a nil *Image in a Device is not a nil Device
	}
	owned = true
	if (c.spec.DataFile != "" || c.spec.Data != nil) && named && !im.Info().HasDataFile {
		return nil, errors.Join(c.needlessData(readOnly), im.Close())
	}
	if named {
		if err := c.spec.CheckImage(im); err != nil {
			return nil, errors.Join(err, im.Close())
		}
	}
	if c.spec.Compress && named {
		return compressed(im)
	}
	return im, nil
}

// storage opens what an image of a format is in: the file at path or, for the topmost image, the disk
// that the spec names.
func (c *chain) storage(path, format string, readOnly bool) (qcow2.File, error) {
	if c.spec.Storage != nil && len(*c.seen) == c.under {
		spec := c.inherit(*c.spec.Storage)
		d, err := (&chain{spec: spec, seen: c.seen, under: len(*c.seen)}).open(spec.Path, spec.Format, readOnly || spec.ReadOnly)
		if err != nil {
			return nil, err
		}
		c.under = len(*c.seen) - 1 // what is below that is not this chain's
		return &diskFile{d}, nil
	}
	driver := ""
	if len(*c.seen) == c.under {
		driver = c.spec.FileDriver
	}
	if err := checkKind(path, driver, readOnly); err != nil {
		return nil, err
	}
	f, err := openFile(path, readOnly, c.spec)
	if err != nil {
		return nil, err
	}
	if err = c.enter(f); err == nil {
		err = c.lockStorage(f, format, readOnly)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// lockStorage locks the file that an image is in.
func (c *chain) lockStorage(f *qcow2.OSFile, format string, readOnly bool) error {
	does, shares := use(readOnly, c.spec.ForceShare)
	if c.spec.ShareRaw && format == FormatRaw {
		does, shares = does&^qcow2.PermResize, qcow2.PermAll
	}
	if c.atTop() {
		does, shares = does|c.spec.Take, shares&^c.spec.Unshare
	}
	return c.lock(f, does, shares, c.spec.ShareBacking && len(*c.seen) > 1)
}

// lock locks a file of the chain. With open to who opens it once more, others are let in as soon as it is
// known that nobody is there.
func (c *chain) lock(f *qcow2.OSFile, does, shares qcow2.Permission, open bool) error {
	err := lockFile(f, does, shares, c.spec.Locking)
	if err == nil && open {
		err = lockFile(f, does, qcow2.PermAll, c.spec.Locking)
	}
	return err
}

// enter makes sure that f is not in the chain yet, and that the chain ends.
func (c *chain) enter(f *qcow2.OSFile) error {
	id, err := f.Identity()
	if err != nil {
		return err
	}
	for _, s := range *c.seen {
		if s == id {
			return fmt.Errorf("%w: the chain of files comes back to %q", ErrBacking, f.Path())
		}
	}
	if len(*c.seen) > maxDepth {
		return fmt.Errorf("%w: more than %d files in the backing chain", ErrBacking, maxDepth)
	}
	*c.seen = append(*c.seen, id)
	return nil
}

// openBacking opens the backing file called name by the image at path, which top says is
// the topmost.
func (c *chain) openBacking(path, name, format string, top bool) (qcow2.Backing, error) {
	spec := c.spec
	if top {
		if spec.Alone {
			return nil, nil
		}
		if spec.Backing != nil {
			spec = c.below(format)
			format = spec.Format
		}
	}
	if spec != c.spec && (spec.Path != "" || format == FormatNull) {
		name = spec.Path
	} else if spec != c.spec && name == "" && spec.Storage == nil {
		if format == "" {
			return nil, optionErrorf("Must specify either driver or file")
		}
		return nil, optionErrorf("A block device must be specified for \"file\"")
	} else if spec == c.spec && c.spec.Names != nil && hasProtocol(name) {
		named, err := c.spec.Names.Named(name, format)
		if err != nil {
			return nil, err
		}
		spec = c.inherit(*named)
		name, format = spec.Path, spec.Format
	} else {
		var err error
		if name, err = backingPath(path, name); err != nil {
			return nil, err
		}
	}
	switch {
	case format == "file", format == "host_device": // the bytes of a file
		format = FormatRaw
	case format == "", format == FormatRaw, format == FormatQCOW2, format == FormatLUKS, (format == FormatNull || format == FormatNBD) && spec != c.spec:
	default:
		return nil, DriverError(format)
	}
	if spec != c.spec {
		return (&chain{spec: spec, seen: c.seen, under: len(*c.seen)}).open(name, format, true)
	}
	return c.open(name, format, true)
}

// below is the spec of the backing file that the caller named; format is what the
// image says that its own has.
func (c *chain) below(format string) *Spec {
	s := *c.spec.Backing
	if s.Format == "" {
		s.Format = format
	}
	return c.inherit(s)
}

// inherit is a spec of a disk below, opened as the spec of the chain says.
func (c *chain) inherit(s Spec) *Spec {
	if s.Report = c.spec.Report; s.Names == nil {
		s.Names = c.spec.Names
	}
	if s.Secret == "" && s.KeyFile == "" {
		s.Secret, s.KeyFile = c.spec.Secret, c.spec.KeyFile
	}
	s.LeaveData = s.LeaveData || c.spec.LeaveData
	s.Direct = s.Direct || c.spec.Direct
	s.NoFlush = s.NoFlush || c.spec.NoFlush
	s.ForceShare = s.ForceShare || c.spec.ForceShare
	s.ShareBacking = s.ShareBacking || c.spec.ShareBacking
	s.ShareRaw = s.ShareRaw || c.spec.ShareRaw
	if s.Locking == LockingAuto {
		s.Locking = c.spec.Locking
	}
	return &s
}

// openDataFile opens the external data file of an image: the one that the caller
// named for the first image of the chain, else the one called name by the image.
// As with QEMU, a relative name starts at the working directory.
func (c *chain) openDataFile(name string, readOnly, top bool) (_ qcow2.File, err error) {
	if c.spec.Data != nil && top {
		spec := c.inherit(*c.spec.Data)
		d, err := (&chain{spec: spec, seen: c.seen, under: len(*c.seen)}).open(spec.Path, spec.Format, readOnly)
		if err != nil {
			return nil, err
		}
		return &diskFile{d}, nil
	}
	if c.spec.DataFile != "" && top {
		name = c.spec.DataFile
	} else if name == "" {
		return nil, optionErrorf("'data-file' is required for this image")
	} else if name, err = plainName(name); err != nil {
		return nil, err
	}
	f, err := openFile(name, readOnly, c.spec)
	if err != nil {
		return nil, err
	}
	if err = c.enter(f); err == nil {
		does, shares := use(readOnly, c.spec.ForceShare)
		err = c.lock(f, does, shares, c.spec.ShareBacking && (c.under > 0 || !top))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// needlessData is why the data file that the caller named is refused for an image that has
// none: as with QEMU, that it can't be opened counts more.
func (c *chain) needlessData(readOnly bool) error {
	refused := optionErrorf("'data-file' can only be set for images with an external data file")
	f, err := c.openDataFile("", readOnly, true)
	if missing := (*fs.PathError)(nil); errors.As(err, &missing) {
		return err
	} else if err != nil {
		return refused
	}
	return errors.Join(refused, f.Close())
}

// hasProtocol reports whether a name is one of anything but a file.
func hasProtocol(name string) bool {
	_, err := plainName(name)
	return name != "" && err != nil
}

// plainName returns the name of a file that an image holds. Names of anything
// else are refused.
func plainName(name string) (string, error) {
	if rest, ok := strings.CutPrefix(name, "file:"); ok {
		name = rest
	} else if i := strings.IndexAny(name, ":/"); i >= 0 && name[i] == ':' {
		return "", fmt.Errorf("%w: %q names a protocol, only files are opened", ErrBacking, name)
	}
	if name == "" {
		return "", fmt.Errorf("%w: empty name", ErrBacking)
	}
	return name, nil
}

// backingPath turns the backing file name in the image at path into a path: a
// relative name starts at the directory of the image. Names of anything but a
// file are refused.
func backingPath(path, name string) (string, error) {
	name, err := plainName(name)
	if err != nil || filepath.IsAbs(name) {
		return name, err
	}
	return filepath.Join(filepath.Dir(path), name), nil
}
