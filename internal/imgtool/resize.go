package imgtool

import (
	"errors"
	"fmt"
	"math"
	"syscall"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/internal/blockopt"
	"github.com/govmm/govmm/qcow2"
)

var resizeCommand = command{
	name: "resize", synopsis: "[-f FMT] [--preallocation=PREALLOC] [-q] [--shrink] FILE [+ | -]SIZE",
	about: "make a disk larger or smaller",
	flags: []flag{
		flagFormat, flagQuiet, flagObject, flagImageOpts,
		{0, "preallocation", "PREALLOC", "what to do with what is added: off, metadata, falloc or full"},
		{0, "shrink", "", "permit a smaller size"},
	},
	lastOperand: true, // -N takes away
	run:         runResize,
}

func runResize(t *Tool, a *arguments) (err error) {
	name := a.get("preallocation", "off")
	mode, ok := qcow2.ParsePreallocation(name)
	if !ok {
		return fmt.Errorf("Invalid preallocation mode '%s'", name)
	}
	if len(a.operands) < 2 {
		return usage("Not enough arguments")
	}
	if len(a.operands) > 2 {
		return usage("Expecting image file name and size")
	}
	text := a.operands[1]
	sign := int64(0)
	switch text[:min(1, len(text))] {
	case "+":
		sign, text = 1, text[1:]
	case "-":
		sign, text = -1, text[1:]
	}
	blockopt.WarnSize(text, a.warn)
	n, err := blockopt.ParseUnsignedSize(text)
	if errors.Is(err, syscall.ERANGE) {
		return fmt.Errorf("Value '%s' is out of range for parameter 'size'", text)
	}
	if err != nil {
		return blockopt.SizeError("size")
	}
	d, s, err := t.open(a.operands[0], a, openOptions{format: a.get("f", ""), write: true, resizes: true})
	if err != nil {
		return err
	}
	defer closing(d, &err)
	was := d.Size()
	size := int64(n) // what is beyond its range counts as below 0
	if sign != 0 {
		size = was + sign*int64(n)
	}
	if size <= 0 {
		return errors.New("New image size must be positive")
	}
	if size > maxSize {
		return fmt.Errorf("offset(%d) exceeds maximum(%d)", size, int64(maxSize))
	}
	if size <= was && mode != qcow2.PreallocateOff {
		return errors.New("Preallocation can only be used for growing images")
	}
	if size < was && !a.has("shrink") {
		t.complain(errors.New("Use the --shrink option to perform a shrink operation."))
		t.warn("Shrinking an image will delete all data beyond the shrunken image's end. " +
			"Before performing such an operation, make sure there is no important data there.")
		return &statusError{code: 1}
	}
	if err := resizeDevice(d, s, size, mode); err != nil {
		return err
	}
	if !a.has("q") {
		t.printf("Image resized.\n")
	}
	return nil
}

// resizeDevice changes the size of a disk: raw and LUKS ones to any, which is rounded up
// to sectors when it is used.
func resizeDevice(d block.Device, s source, size int64, mode qcow2.Preallocation) error {
	if s.spec.Format != block.FormatRaw && s.spec.Format != block.FormatLUKS && size%sectorSize != 0 {
		return fmt.Errorf("The new size must be a multiple of %d", sectorSize)
	}
	if im, ok := d.(*qcow2.Image); ok {
		if err := mayResize(im); err != nil {
			return err
		}
	}
	r, ok := d.(block.Preallocator)
	if !ok {
		return errors.New("Image format driver does not support resize")
	}
	err := block.ResizeBytes(r, size, qcow2.ResizeOptions{Preallocation: mode})
	if errors.Is(err, qcow2.ErrTooLarge) {
		return errGrowL1
	}
	if s.spec.Format == block.FormatRaw && errors.As(err, new(syscall.Errno)) {
		what := "Could not resize file"
		if mode == qcow2.PreallocateFalloc {
			what = "Could not preallocate new data"
		}
		return fmt.Errorf("%s: %s", what, reason(err))
	}
	if err != nil {
		return errors.New(reason(err))
	}
	return nil
}

// errGrowL1 is that a disk gets larger than its clusters allow.
var errGrowL1 = errors.New("Failed to grow the L1 table: File too large")

// mayResize refuses a change of the size that version 2 can't have.
func mayResize(im *qcow2.Image) error {
	if im.Info().Version < 3 && len(im.Snapshots()) > 0 {
		return errors.New("Can't resize a v2 image which has snapshots")
	}
	return nil
}

const sectorSize = 512

// maxSize is that of the largest disk that QEMU has, in bytes.
const maxSize = math.MaxInt64 &^ (1<<30 - 1)

// sectors rounds a size up to whole sectors.
func sectors(n int64) int64 { return (n + sectorSize - 1) &^ (sectorSize - 1) }
