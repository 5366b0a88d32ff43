package imgtool

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"syscall"

	"github.com/govmm/govmm/internal/blockopt"
	"github.com/govmm/govmm/qcow2"
)

var bitmapCommand = command{
	name: "bitmap",
	synopsis: "(--merge SOURCE | --add | --remove | --clear | --enable | --disable)... " +
		"[-b SOURCE_FILE [-F SOURCE_FMT]] [-g GRANULARITY] [-f FMT] FILE BITMAP",
	about: "change persistent dirty bitmaps",
	flags: []flag{
		flagFormat, {'b', "", "SOURCE_FILE", "image that the bitmaps of --merge are in"}, {'F', "", "SOURCE_FMT", "its format"},
		{'g', "granularity", "GRANULARITY", "of a bitmap that is added"},
		{0, "add", "", "add the bitmap"}, {0, "remove", "", "remove it"}, {0, "clear", "", "clear its bits"},
		{0, "enable", "", "let it record writes"}, {0, "disable", "", "let it record no writes"},
		{0, "merge", "SOURCE", "add the bits of another"}, flagObject, flagImageOpts,
	},
	run: runBitmap,
}

func runBitmap(t *Tool, a *arguments) (err error) {
	var actions []option
	add, merge := false, false
	for _, o := range a.options {
		switch o.name {
		case "add", "remove", "clear", "enable", "disable", "merge":
			actions = append(actions, o)
			add = add || o.name == "add"
			merge = merge || o.name == "merge"
		}
	}
	switch {
	case len(actions) == 0:
		return errors.New("Need at least one of --add, --remove, --clear, --enable, --disable, or --merge")
	case len(a.operands) != 2:
		return errors.New("Expecting filename and bitmap name")
	case a.has("granularity") && !add:
		return errors.New("granularity only supported with --add")
	case a.has("F") && !a.has("b"):
		return errors.New("-F only supported with -b")
	case a.has("b") && !merge:
		return errors.New("Merge bitmap source file only supported with --merge")
	}
	var granularity int64
	if a.has("granularity") {
		if granularity, err = a.imageSize(a.get("granularity", ""), "granularity"); err != nil {
			return err
		}
	}
	file, name := a.operands[0], a.operands[1]
	d, _, err := t.open(file, a, openOptions{format: a.get("f", ""), write: true, noBacking: true})
	if err != nil {
		return err
	}
	defer closing(d, &err)
	source := d
	if a.has("b") {
		if source, _, err = t.open(a.get("b", ""), &arguments{}, openOptions{format: a.get("F", ""), noBacking: true}); err != nil {
			return err
		}
		defer source.Close()
	}
	im, ok := d.(*qcow2.Image)
	switch {
	case ok && name != "":
	case name == "":
		return fmt.Errorf("Operation %s on bitmap %s failed: %s", actions[0].name, name, noName(actions[0]))
	case actions[0].name == "add":
		return fmt.Errorf("Operation add on bitmap %s failed: Can't store persistent bitmaps to %s: %s", name, blockopt.NodeName, errnoText(syscall.ENOTSUP))
	default:
		return fmt.Errorf("Operation %s on bitmap %s failed: Dirty bitmap '%s' not found", actions[0].name, name, name)
	}
	from, _ := source.(*qcow2.Image)
	for _, act := range actions {
		switch act.name {
		case "add":
			if g := granularity; g != 0 && (g < 512 || g > math.MaxUint32 || g&(g-1) != 0) {
				return fmt.Errorf("Operation add on bitmap %s failed: Granularity must be power of 2 and at least 512", name)
			}
			err = im.AddBitmap(name, qcow2.BitmapOptions{Granularity: granularity})
		case "remove":
			err = im.RemoveBitmap(name)
		case "clear":
			err = im.ClearBitmap(name)
		case "enable":
			err = im.EnableBitmap(name)
		case "disable":
			err = im.DisableBitmap(name)
		case "merge":
			if err = hasBitmap(im, name); err == nil {
				err = qcow2.ErrNoBitmap
				if from != nil {
					err = im.MergeBitmap(name, from, act.value)
				}
			} else if errors.Is(err, qcow2.ErrNoBitmap) {
				act.value = name // that is what is missing
			}
		}
		if err != nil {
			return fmt.Errorf("Operation %s on bitmap %s failed: %s", act.name, name, bitmapReason(err, name, act))
		}
	}
	return nil
}

// hasBitmap is ErrNoBitmap if an image has no such bitmap.
func hasBitmap(im *qcow2.Image, name string) error {
	list, err := im.Bitmaps()
	if err == nil && !slices.ContainsFunc(list, func(b qcow2.BitmapInfo) bool { return b.Name == name }) {
		err = qcow2.ErrNoBitmap
	}
	return err
}

// noName is why a bitmap without a name can't be had.
func noName(act option) string {
	if act.name == "add" {
		return "Bitmap name cannot be empty"
	}
	return "Dirty bitmap '' not found"
}

func bitmapReason(err error, name string, act option) string {
	switch {
	case errors.Is(err, qcow2.ErrBitmapExists):
		return fmt.Sprintf("Bitmap already exists: %s", name)
	case errors.Is(err, qcow2.ErrNoBitmap) && act.name == "merge":
		return fmt.Sprintf("Dirty bitmap '%s' not found", act.value)
	case errors.Is(err, qcow2.ErrNoBitmap):
		return fmt.Sprintf("Dirty bitmap '%s' not found", name)
	case errors.Is(err, qcow2.ErrBitmapInconsistent):
		return fmt.Sprintf("Bitmap '%s' is inconsistent and cannot be used\nTry block-dirty-bitmap-remove to delete this bitmap from disk", name)
	}
	switch {
	case act.name == "add" && errors.Is(err, qcow2.ErrUnsupported): // version 2
		return fmt.Sprintf("Can't make bitmap '%s' persistent in '%s': Cannot store dirty bitmaps in qcow2 v2 files", name, blockopt.NodeName)
	case act.name == "add" && len(name) > maxBitmapName:
		return "Bitmap name too long: " + name
	}
	return reason(err)
}

// maxBitmapName is how long the name of a bitmap may be, in bytes.
const maxBitmapName = 1023
