package imgtool

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/qcow2"
)

var amendCommand = command{
	name: "amend", synopsis: "[-p] [-q] [-f FMT] [-t CACHE] [--force] -o OPTIONS FILE",
	about: "change options of an image",
	flags: []flag{
		flagFormat, {'o', "", "OPTIONS", "what to change; help lists it"}, flagProgress, flagQuiet, flagCache,
		{0, "force", "", "permit what may destroy data"}, flagObject, flagImageOpts,
	},
	run: runAmend,
}

func runAmend(t *Tool, a *arguments) (err error) {
	if !a.has("o") {
		return usage("Must specify options (-o)")
	}
	p := t.newProgress(a.has("p") && !a.has("q"), 1)
	defer p.end()
	format := a.get("f", "")
	if wantsHelp(a.all("o")) && format != "" {
		if createOptionsOf(format) == nil && !isOtherDriver(format) {
			return fmt.Errorf("Unknown file format '%s'", format)
		}
		if amendOptionsOf(format) == nil {
			return fmt.Errorf("Format driver '%s' does not support option amendment", format)
		}
		t.printf("%s", amendHelp(format))
		return nil
	}
	if len(a.operands) != 1 {
		return errors.New("Expecting one image file name")
	}
	name := a.operands[0]
	d, s, err := t.open(name, a, openOptions{format: format, write: true, cache: a.get("t", "")})
	if err != nil {
		return err
	}
	defer closing(d, &err)
	known := amendOptionsOf(s.opts.Driver())
	if known == nil {
		return fmt.Errorf("Format driver '%s' does not support option amendment", s.opts.Driver())
	}
	if wantsHelp(a.all("o")) {
		t.printf("%s", amendHelp(s.opts.Driver()))
		return nil
	}
	v, err := readOptions(known, a.all("o"), a.warn)
	if err != nil {
		if _, e := readOptions(slices.Concat(known, createOptionsOf(s.opts.Driver())), a.all("o"), nil); e == nil {
			err = fmt.Errorf("%w\nThis option is only supported for image creation", err)
		}
		return err
	}
	p.set(0, 1)
	if im, ok := d.(*qcow2.Image); ok {
		err = t.amend(im, v, a.has("force"), p.set)
	} else {
		err = t.amendLUKS(d, v, a.has("force"))
	}
	p.set(1, 1) // whatever came of it, as with qemu-img
	return err
}

// amendLUKS changes the key slots of a LUKS disk.
func (t *Tool) amendLUKS(d block.Device, v formatValues, force bool) error {
	c, err := t.keyChange(v, "", force)
	if err != nil {
		return err
	}
	return block.ChangeKeys(d, c.apply)
}

// amend changes an image.
func (t *Tool) amend(im *qcow2.Image, v formatValues, force bool, progress qcow2.Progress) error {
	info := im.Info()
	o := qcow2.AmendOptions{Progress: progress}
	switch c, ok := v["compat"]; {
	case !ok:
	case c == "0.10" || c == "v2":
		o.Version = 2
	case c == "1.1" || c == "v3":
		o.Version = 3
	default:
		return fmt.Errorf("Unknown compatibility level %s", c)
	}
	version := info.Version
	if o.Version != 0 {
		version = o.Version
	}
	if _, ok := v["refcount_bits"]; ok {
		o.RefcountBits = int(v.number("refcount_bits", 0))
		if r := o.RefcountBits; r < 1 || r > 64 || r&(r-1) != 0 {
			return errors.New("Refcount width must be a power of two and may not exceed 64 bits")
		}
		if version < 3 && o.RefcountBits != 16 {
			return errors.New("Refcount widths other than 16 bits require compatibility level 1.1 or above (use compat=1.1 or greater)")
		}
	}
	if _, ok := v["lazy_refcounts"]; ok {
		on := v.on("lazy_refcounts")
		if on && version < 3 {
			return errors.New("Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 or greater)")
		}
		o.LazyRefcounts = &on
	}
	if file, ok := v["data_file"]; ok {
		if !info.HasDataFile {
			return errors.New("data-file can only be set for images that use an external data file")
		}
		o.DataFile = &file
	}
	if _, ok := v["data_file_raw"]; ok {
		switch on := v.on("data_file_raw"); {
		case on && !info.RawData:
			return errors.New("data-file-raw cannot be set on existing images")
		case info.RawData && !on:
			o.NotRaw = true
		}
	}
	if _, ok := v["size"]; ok {
		if err := mayResize(im); err != nil && o.Version < 3 {
			return err
		}
		size := v.size("size", 0)
		if size < 0 {
			return errors.New("Image size cannot be negative")
		} else if size > maxSize {
			return fmt.Errorf("offset(%d) exceeds maximum(%d)", size, int64(maxSize))
		}
		if size%sectorSize != 0 {
			return fmt.Errorf("The new size must be a multiple of %d", sectorSize)
		}
		o.Size = &size
	}
	// Both must be given as they are, one that there is not left out.
	same := v["backing_file"] == info.BackingFile && v["backing_fmt"] == info.BackingFormat &&
		v.given("backing_file") == (info.BackingFile != "") && v.given("backing_fmt") == (info.BackingFormat != "")
	if (v.given("backing_file") || v.given("backing_fmt")) && !same {
		return fmt.Errorf("Cannot amend the backing file\nYou can use '%s rebase' instead%s", t.Name, ".")
	}
	if err := t.amendKeys(im, v, force); err != nil {
		return err
	}
	if err := im.Amend(o); errors.Is(err, qcow2.ErrExpandZeroes) {
		return t.notExpanded(err)
	} else if errors.Is(err, qcow2.ErrTooLarge) && !errors.As(err, new(*qcow2.ImageError)) {
		return errGrowL1
	} else if err != nil {
		return errors.New(reason(err))
	}
	return nil
}

// notExpanded is why zero clusters are still there. What is wrong with a table is said before.
func (t *Tool) notExpanded(err error) error {
	why := reason(err)
	if image := (*qcow2.ImageError)(nil); errors.As(err, &image) && !errors.Is(err, qcow2.ErrCorrupt) {
		t.complain(errors.New(why))
		why = errnoText(syscall.EINVAL)
		if strings.HasSuffix(image.Problem, "too large") {
			why = errnoText(syscall.EFBIG)
		}
	}
	return errors.New("Failed to turn zero into data clusters: " + why)
}
