package imgtool

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/internal/blockopt"
	"github.com/govmm/govmm/internal/nbdclient"
	"github.com/govmm/govmm/qcow2"
	"github.com/govmm/govmm/qcow2/luks"
)

// source is an image as the command line names it.
type source struct {
	name string // for messages
	spec block.Spec
	// named says that the user named the format.
	named bool
	opts  *blockopt.Source
}

// fileName is the name that the image is known by once it is open: that of its file,
// unless options make it another disk.
func (s *source) fileName() string {
	if s.opts.Name != "" {
		return s.opts.Name
	}
	return "json:" + compact(s.opts.Full)
}

// injected is the name of the layer that injects faults into the file.
func (s *source) injected() string {
	if file, ok := s.opts.Full["file"].(map[string]any); ok {
		return "json:" + compact(file)
	}
	return s.fileName()
}

// openOptions say how a command opens an image.
type openOptions struct {
	format    string // of -f, "" to look
	write     bool
	noBacking bool   // leave backing files closed
	locked    bool   // leave encrypted disks locked
	cache     string // of -t or -T
	source    bool   // the cache mode is that of a source
	share     bool   // of -U
	unshared  bool   // which is about other images
	reopens   bool   // the command opens a backing file once more, to write it
	alone     bool   // nobody may change the disk meanwhile, be it a raw one
	resizes   bool   // the command changes the size
	inOrder   bool   // the command goes through the disk once, from its start
}

// errLocked means that a disk is encrypted, and no passphrase was given.
var errLocked = errors.New("no passphrase")

// How much mapping metadata, in bytes, is kept of a disk that is gone through in
// order: no table is asked for twice. What is written collects between commits.
const (
	readCache  = 1 << 20
	writeCache = 8 << 20
)

// openError is the failure to open an image.
func openError(name string, err error) error {
	var backing *qcow2.BackingError
	if errors.As(err, &backing) {
		below := trimOpen(openError("", backing.Err), "")
		return &restated{fmt.Sprintf("Could not open '%s': Could not open backing file: %s", name, below), err}
	}
	var missing *fs.PathError
	if errors.As(err, &missing) && missing.Op == "open" {
		return fmt.Errorf("Could not open '%s': Could not open '%s': %s", name, missing.Path, reason(missing.Err))
	}
	var option block.OptionError
	var image *qcow2.ImageError
	switch {
	case errors.As(err, &image):
		return hinted(&restated{fmt.Sprintf("Could not open '%s': %s", name, image.Problem), err}, image.Hint)
	case errors.As(err, &option):
		return fmt.Errorf("Could not open '%s': %w", name, option)
	case errors.Is(err, qcow2.ErrNoSnapshot):
		return err
	case errors.Is(err, qcow2.ErrFormat):
		return fmt.Errorf("Could not open '%s': Image is not in qcow2 format", name)
	case errors.Is(err, luks.ErrFormat):
		return fmt.Errorf("Could not open '%s': Volume is not in LUKS format", name)
	case errors.Is(err, luks.ErrPassphrase):
		return fmt.Errorf("Could not open '%s': Invalid password, cannot unlock any keyslot", name)
	case errors.Is(err, block.ErrSecret):
		return &restated{fmt.Sprintf("Could not open '%s': Parameter 'key-secret' is required for cipher", name), errLocked}
	case errors.Is(err, qcow2.ErrSecret):
		return &restated{fmt.Sprintf("Could not open '%s': Parameter 'encrypt.key-secret' is required for cipher", name), errLocked}
	}
	if remote := (*nbdclient.ConnectError)(nil); errors.As(err, &remote) {
		return &restated{fmt.Sprintf("Could not open '%s': %v", name, remote), err}
	}
	why := err
	if open := (*block.OpenError)(nil); errors.As(err, &open) {
		why = open.Err // name is there already
	}
	return &restated{fmt.Sprintf("Could not open '%s': %s", name, reason(why)), err}
}

// locate finds what a name of an image means, under --image-opts or not.
func (t *Tool) locate(name string, imageOpts bool, o openOptions) (source, error) {
	s := source{name: name, named: o.format != ""}
	failed := func(err error) (source, error) { return s, fmt.Errorf("Could not open '%s': %w", name, err) }
	var tree *blockopt.Tree
	if imageOpts {
		if o.format != "" {
			return s, errors.New("--image-opts and --format are mutually exclusive")
		}
		tree = blockopt.ParseOptions(name, t.objects.Warn)
		if o.share && tree.Denies("force-share") {
			return s, errors.New("--force-share/-U conflicts with image options")
		}
	} else {
		var err error
		if tree, err = blockopt.ParseName(name); err != nil {
			return failed(err)
		}
	}
	if o.format != "" {
		tree.Set("driver", o.format)
	}
	var err error
	objects := *t.objects
	objects.Locked, objects.LeaveBacking = o.locked, o.noBacking
	if s.opts, err = tree.Resolve(&objects); errors.As(err, new(*fs.PathError)) {
		return s, openError(name, err)
	} else if err != nil {
		return failed(err)
	}
	if s.opts.DetectZeroes == "unmap" && !s.opts.Discard {
		return failed(blockopt.ErrDetectUnmap)
	}
	if s.opts.Spec.ReadOnly && o.write {
		return failed(errors.New("Block node is read-only"))
	}
	s.spec = s.opts.Spec
	s.spec.Debug = s.opts.NewDebug(nil)
	s.spec.Report = t
	s.spec.ReadOnly = s.spec.ReadOnly || !o.write
	s.spec.LeaveBacking = o.noBacking
	if s.spec.ForceShare = s.spec.ForceShare || o.share; s.spec.ForceShare && !s.spec.ReadOnly {
		return failed(errors.New("force-share=on can only be used with read-only images"))
	}
	s.spec.ShareBacking, s.spec.ShareRaw = o.reopens, !o.alone
	if o.resizes {
		s.spec.Take |= qcow2.PermResize
	}
	if o.inOrder && s.spec.L2CacheSize == 0 {
		s.spec.L2CacheSize = readCache
		if o.write {
			s.spec.L2CacheSize = writeCache
		}
	}
	s.named = !s.spec.Guessed
	return s, nil
}

// Corrupt implements block.Reporter.
func (t *Tool) Corrupt(_, problem string, marked bool) {
	fmt.Fprintln(t.Stderr, block.CorruptionText(problem, marked))
}

// Repair implements block.Reporter.
func (t *Tool) Repair(_, line string) { fmt.Fprintln(t.Stderr, line) }

// StaleBitmaps implements block.StaleReporter.
func (t *Tool) StaleBitmaps(_ string, version int) {
	fmt.Fprint(t.Stderr, block.StaleBitmapsText(t.Name, version))
}

// open opens an image.
func (t *Tool) open(name string, a *arguments, o openOptions) (block.Device, source, error) {
	o.share = a.has("force-share") && !o.unshared
	s, err := t.locate(name, a.has("image-opts"), o)
	if err != nil {
		return nil, s, err
	}
	d, err := t.openSource(s, o)
	return d, s, err
}

// checkCache refuses what is not the name of a cache mode.
func checkCache(name string, source bool) error {
	if name == "" {
		return nil
	}
	if _, err := new(block.Spec).SetCacheMode(name); err == nil {
		return nil
	}
	if source {
		return fmt.Errorf("Invalid source cache option: %s", name)
	}
	return fmt.Errorf("Invalid cache option: %s", name)
}

func (t *Tool) openSource(s source, o openOptions) (block.Device, error) {
	through := false
	if o.cache != "" {
		if err := checkCache(o.cache, o.source); err != nil {
			return nil, err
		}
		through, _ = s.spec.SetCacheMode(o.cache)
	}
	d, err := block.Open(s.spec)
	if !errors.Is(err, block.ErrExportReadOnly) { // QEMU does not come to guess then
		t.warnGuess(s, o)
	}
	if err != nil {
		return nil, openError(s.name, err)
	}
	if im, ok := d.(*qcow2.Image); ok { // it could be read without them, but qemu-img does not
		if _, err := im.Bitmaps(); err != nil {
			return nil, errors.Join(openError(s.name, err), d.Close())
		}
	}
	if through {
		d = block.WriteThrough(d)
	}
	return d, nil
}

// warnGuess warns of a raw format that was guessed of a disk to write to.
func (t *Tool) warnGuess(s source, o openOptions) {
	if !s.named && o.write && s.spec.Format == block.FormatRaw {
		fmt.Fprintf(t.Stderr, block.GuessWarning, s.fileName())
	}
}

// openImage opens a qcow2 image. Other formats are refused with the error that
// the command has for them.
func (t *Tool) openImage(name string, a *arguments, o openOptions, refused error) (*qcow2.Image, error) {
	d, _, err := t.open(name, a, o)
	if err != nil {
		return nil, err
	}
	im, ok := d.(*qcow2.Image)
	if !ok {
		return nil, errors.Join(refused, d.Close())
	}
	return im, nil
}

// closing closes a device at the end of a command, whose error counts first.
func closing(d interface{ Close() error }, err *error) {
	if e := d.Close(); *err == nil {
		*err = e
	}
}
