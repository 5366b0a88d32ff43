package imgtool

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/qcow2"
)

var rebaseCommand = command{
	name: "rebase", synopsis: "[-f FMT] [-t CACHE] [-T SRC_CACHE] [-p] [-u] -b BACKING_FILE [-F BACKING_FMT] [-U] [-q] FILE",
	about: "put an image on another backing file",
	flags: []flag{
		flagFormat, {'F', "", "BACKING_FMT", "format of the new backing file"}, {'b', "", "BACKING_FILE", "the new one; empty: none"},
		{'u', "", "", "unsafe: only change the name"}, flagCache, {'T', "", "SRC_CACHE", "cache mode of backing files"},
		flagProgress, flagQuiet, flagShare, flagObject, flagImageOpts,
	},
	run: runRebase,
}

func runRebase(t *Tool, a *arguments) (err error) {
	if len(a.operands) != 1 {
		return usage("Expecting one image file name")
	}
	unsafe := a.has("u")
	if !unsafe && !a.has("b") {
		return usage("Must specify backing file (-b) or use unsafe mode (-u)")
	}
	p := t.newProgress(a.has("p") && !a.has("q"), 2)
	defer p.end()
	p.set(0, 1)
	for _, f := range []string{"t", "T"} {
		if err := checkCache(a.get(f, ""), f == "T"); err != nil {
			return err
		}
	}
	name := a.operands[0]
	to, format := a.get("b", ""), a.get("F", "")
	d, _, err := t.open(name, a, openOptions{format: a.get("f", ""), write: true, unshared: true, noBacking: unsafe, cache: a.get("t", ""), inOrder: true})
	if err != nil {
		return err
	}
	defer closing(d, &err)
	if a.has("F") && !isDriver(format) {
		return fmt.Errorf("Invalid format name: '%s'", format)
	}
	im, _ := d.(*qcow2.Image)
	prefix := fmt.Sprintf("Could not change the backing file to '%s'", a.get("b", "(null)"))
	change := func() error {
		var err error
		switch {
		case to != "" && format == "":
			return fmt.Errorf("%s: backing format must be specified", prefix)
		case im == nil:
			err = syscall.ENOTSUP
		case to != "" && im.Info().RawData: // the file has all of the disk
			err = syscall.EINVAL
		case unsafe:
			err = im.SetBackingFile(to, format)
		}
		if err != nil {
			return fmt.Errorf("%s: %s", prefix, reason(err))
		}
		return nil
	}
	if unsafe {
		p.set(1, 1)
		return change()
	}
	o := qcow2.RebaseOptions{Name: to, Format: format}
	if to != "" {
		full := backingPath(name, to)
		s, err := t.locate(full, false, openOptions{format: format, inOrder: true})
		if err == nil {
			var d block.Device
			if d, err = t.openSource(s, openOptions{cache: a.get("T", ""), source: true}); err == nil {
				o.Backing = d
			}
		}
		if err != nil {
			return fmt.Errorf("Could not open new backing file '%s': %s", to, trimOpen(err, full))
		}
	}
	if err := change(); err != nil {
		p.set(1, 1)
		if o.Backing != nil {
			err = errors.Join(err, o.Backing.Close())
		}
		return err
	}
	o.Progress = p.set
	if err := im.Rebase(o); err != nil {
		if o.Backing != nil {
			err = errors.Join(err, o.Backing.Close())
		}
		if errors.Is(err, qcow2.ErrCorrupt) { // it was found by who looked for what is where
			return errors.New("error while reading image metadata: " + reason(err))
		}
		return errors.New(reason(err))
	}
	return nil
}

// trimOpen is the reason in an error of opening a file.
func trimOpen(err error, name string) string {
	prefix := fmt.Sprintf("Could not open '%s': ", name)
	text := err.Error()
	if len(text) > len(prefix) && text[:len(prefix)] == prefix {
		return text[len(prefix):]
	}
	return text
}
