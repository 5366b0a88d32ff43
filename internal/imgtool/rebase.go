package imgtool

import (
	"errors"
	"fmt"

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
	name := a.operands[0]
	to, format := a.get("b", ""), a.get("F", "")
	if format != "" && createOptionsOf(format) == nil {
		return fmt.Errorf("Invalid format name: '%s'", format)
	}
	refused := fmt.Errorf("Could not change the backing file to '%s': Operation not supported", to)
	im, err := t.openImage(name, a, openOptions{format: a.get("f", ""), write: true, noBacking: unsafe, cache: a.get("t", "")}, refused)
	if err != nil {
		return err
	}
	defer closing(im, &err)
	if unsafe {
		if err := im.SetBackingFile(to, format); err != nil {
			return fmt.Errorf("Could not change the backing file to '%s': %s", to, reason(err))
		}
		return nil
	}
	o := qcow2.RebaseOptions{Name: to, Format: format}
	if to != "" {
		full := backingPath(name, to)
		s, err := t.locate(full, false, openOptions{format: format})
		if err == nil {
			var d block.Device
			if d, err = t.openSource(s, openOptions{cache: a.get("T", ""), source: true}); err == nil {
				o.Backing = d
			}
		}
		if err != nil {
			return fmt.Errorf("Could not open new backing file '%s': %s", to, trimOpen(err, full))
		}
		if o.Format == "" {
			o.Format = s.spec.Format
		}
	}
	p := t.newProgress(a.has("p") && !a.has("q"), 1)
	defer p.end()
	o.Progress = p.engine
	if err := im.Rebase(o); err != nil {
		if o.Backing != nil {
			err = errors.Join(err, o.Backing.Close())
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
