package block

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/govmm/govmm/internal/blkdebug"
	"github.com/govmm/govmm/qcow2"
)

// maxDepth bounds the length of a backing chain.
const maxDepth = 64

// chain opens an image and what lies below it.
type chain struct {
	spec *Spec
	seen []qcow2.FileID // the files of the chain so far, from the top
}

// open opens path as the next file of the chain.
func (c *chain) open(path, format string, readOnly bool) (d Device, err error) {
	f, err := openFile(path, readOnly, c.spec)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if err := c.enter(f); err != nil {
		return nil, err
	}
	share := c.spec.ForceShare || c.spec.ShareBacking && len(c.seen) > 1
	if err := lockFile(f, readOnly, share, c.spec.Locking); err != nil {
		return nil, err
	}
	if format == "" {
		if format, err = probe(f); err != nil {
			return nil, err
		}
	}
	var debug *blkdebug.Debug
	if len(c.seen) == 1 {
		debug = c.spec.Debug
	}
	if format == FormatRaw {
		return newRaw(f, readOnly, c.spec.Guessed && len(c.seen) == 1, debug)
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
	if len(c.seen) == 1 {
		o.Snapshot = c.spec.Snapshot
	}
	if !c.spec.NoBacking {
		o.Backing = func(name, format string) (qcow2.Backing, error) { return c.openBacking(path, name, format) }
	}
	if !c.spec.NoDataFile {
		o.DataFile = func(name string) (qcow2.File, error) { return c.openDataFile(name, readOnly) }
	}
	storage := qcow2.File(f)
	if debug != nil {
		storage, o.Event = debug.Wrap(f), debug.Event
	}
	im, err := qcow2.Open(storage, o)
	if err != nil {
		return nil, err // not im: a nil *Image in a Device is not a nil Device
	}
	return im, nil
}

// enter makes sure that f is not in the chain yet, and that the chain ends.
func (c *chain) enter(f *qcow2.OSFile) error {
	id, err := f.Identity()
	if err != nil {
		return err
	}
	for _, s := range c.seen {
		if s == id {
			return fmt.Errorf("%w: the chain of files comes back to %q", ErrBacking, f.Path())
		}
	}
	if len(c.seen) > maxDepth {
		return fmt.Errorf("%w: more than %d files in the backing chain", ErrBacking, maxDepth)
	}
	c.seen = append(c.seen, id)
	return nil
}

// openBacking opens the backing file called name by the image at path.
func (c *chain) openBacking(path, name, format string) (qcow2.Backing, error) {
	name, err := backingPath(path, name)
	if err != nil {
		return nil, err
	}
	switch format {
	case "", FormatRaw, FormatQCOW2, FormatLUKS:
	default:
		return nil, fmt.Errorf("%w %q (%s, %s and %s are allowed under an image)", ErrFormat, format, FormatQCOW2, FormatRaw, FormatLUKS)
	}
	return c.open(name, format, true)
}

// openDataFile opens the external data file of an image: the one that the caller
// named for the first image of the chain, else the one called name by the image.
// As with QEMU, a relative name starts at the working directory.
func (c *chain) openDataFile(name string, readOnly bool) (_ qcow2.File, err error) {
	if c.spec.DataFile != "" && len(c.seen) == 1 {
		name = c.spec.DataFile
	} else if name, err = plainName(name); err != nil {
		return nil, err
	}
	f, err := openFile(name, readOnly, c.spec)
	if err != nil {
		return nil, err
	}
	if err = c.enter(f); err == nil {
		err = lockFile(f, readOnly, c.spec.ForceShare, c.spec.Locking)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
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
