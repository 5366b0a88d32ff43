package imgtool

import (
	"errors"
	"fmt"
	"strings"
)

var ddCommand = command{
	name: "dd", synopsis: "[-f FMT] [-O OUTPUT_FMT] [-U] [bs=BLOCK_SIZE] [count=BLOCKS] [skip=BLOCKS] if=INPUT of=OUTPUT",
	about: "copy blocks of an image to a new one",
	flags: []flag{flagFormat, {'O', "", "OUTPUT_FMT", "format of the output (raw)"}, flagShare, flagObject, flagImageOpts},
	run:   runDD,
}

// ddJob is what the operands of dd say.
type ddJob struct {
	bs, count, skip int64 // count -1: all
	in, out         *string
}

func parseDD(a *arguments) (j ddJob, err error) {
	j = ddJob{bs: sectorSize, count: -1}
	for _, o := range a.operands {
		name, value, ok := strings.Cut(o, "=")
		if !ok {
			return j, fmt.Errorf("unrecognized operand %s", o)
		}
		switch name {
		case "bs":
			if j.bs, err = a.imageSize(value, "bs"); err == nil && (j.bs == 0 || j.bs > 1<<31-1) {
				err = fmt.Errorf("Invalid bs specified. Must be between %d and %d.", 1, int64(1<<31-1))
			}
		case "count":
			j.count, err = a.imageSize(value, "count")
		case "skip":
			j.skip, err = a.imageSize(value, "skip")
		case "if":
			j.in = &value
		case "of":
			j.out = &value
		default:
			return j, fmt.Errorf("unrecognized operand %s", name)
		}
		if err != nil {
			return j, err
		}
	}
	if j.in == nil || j.out == nil {
		return j, errors.New("Must specify both input and output files")
	}
	return j, nil
}

func runDD(t *Tool, a *arguments) (err error) {
	j, err := parseDD(a)
	if err != nil {
		return err
	}
	if a.has("image-opts") && a.has("f") {
		return errors.New("--image-opts and --format are mutually exclusive")
	}
	in, _, err := t.open(*j.in, a, openOptions{format: a.get("f", ""), inOrder: true})
	if err != nil {
		return err
	}
	defer in.Close()
	format := a.get("O", t.DefaultFormat)
	if createOptionsOf(format) == nil {
		return errors.New("Unknown file format")
	}
	if err := creatable(*j.out); err != nil {
		return err
	}
	size := in.Size()
	end := size
	if j.count >= 0 && j.count <= size/j.bs {
		end = min(end, j.count*j.bs)
	}
	// As in qemu-img, count is of the blocks from the beginning: those skipped are
	// among them.
	start, beyond := int64(0), j.skip > end/j.bs
	if !beyond {
		start = j.skip * j.bs
	}
	length := end - start
	if beyond {
		length = 0
	}
	n := newImage{format: format, file: *j.out, size: length, values: formatValues{}, quiet: true}
	if err := t.create(&n); err != nil {
		return fmt.Errorf("%s: error while creating output image: %w", *j.out, errors.Unwrap(err))
	}
	if beyond {
		t.complain(fmt.Errorf("%s: cannot skip to specified offset", *j.in))
		return nil
	}
	s, err := t.locate(*j.out, false, openOptions{format: format, write: true, inOrder: true})
	if err != nil {
		return err
	}
	out, err := t.openSource(s, openOptions{write: true})
	if err != nil {
		return err
	}
	defer closing(out, &err)
	buf := make([]byte, min(max(j.bs, 64<<10), 2<<20))
	for off := start; off < end; {
		b := buf[:min(int64(len(buf)), end-off)]
		if err := in.ReadV([][]byte{b}, off); err != nil {
			return fmt.Errorf("error while reading from input image file: %s", reason(err))
		}
		if err := out.WriteV([][]byte{b}, off-start); err != nil {
			return fmt.Errorf("error while writing to output image file: %s", reason(err))
		}
		off += int64(len(b))
	}
	return nil
}
