package imgtool

import (
	"bytes"
	"errors"
	"fmt"
	"math"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/qcow2"
)

var compareCommand = command{
	name: "compare", synopsis: "[-f FMT] [-F FMT] [-T SRC_CACHE] [-p] [-q] [-s] [-U] FILE1 FILE2",
	about: "say whether two images hold the same disk",
	flags: []flag{
		flagFormat, {'F', "", "FMT", "format of the second image"}, {'T', "", "CACHE", "cache mode of both images"},
		flagProgress, flagQuiet, {'s', "", "", "strict: sizes and allocation must agree, too"},
		flagShare, flagObject, flagImageOpts,
	},
	run: runCompare,
}

// Exit statuses of compare above 1.
const (
	exitCompareOpen   = 2
	exitCompareStatus = 3
	exitCompareRead   = 4
)

func runCompare(t *Tool, a *arguments) error {
	if len(a.operands) != 2 {
		return usage("Expecting two image file names")
	}
	p := t.newProgress(a.has("p") && !a.has("q"), 2)
	defer p.end()
	var disk [2]block.Device
	var names [2]string
	for i, format := range []string{a.get("f", ""), a.get("F", "")} {
		d, s, err := t.open(a.operands[i], a, openOptions{format: format, cache: a.get("T", ""), source: true, inOrder: true})
		if err != nil {
			return &statusError{exitCompareOpen, err}
		}
		defer d.Close()
		disk[i], names[i] = d, s.name
	}
	c := comparison{t: t, a: disk[0], b: disk[1], nameA: names[0], nameB: names[1], strict: a.has("s"), quiet: a.has("q")}
	p.set(0, 1)
	c.progress, c.total = p, max(disk[0].Size(), disk[1].Size())
	c.span = min(statusSpan(c.a), statusSpan(c.b))
	return c.run()
}

// statusSpan is for how many bytes QEMU knows the status of a disk at a time, from a multiple of
// that on: as many as a part of an L2 table maps that it reads.
func statusSpan(d block.Device) int64 {
	im, ok := d.(*qcow2.Image)
	if !ok {
		return math.MaxInt64
	}
	info := im.Info()
	entry := int64(8)
	if info.ExtendedL2 {
		entry = 16
	}
	return min(info.ClusterSize, 64<<10) / entry * info.ClusterSize
}

// comparison compares two disks.
type comparison struct {
	t             *Tool
	a, b          block.Device
	nameA, nameB  string
	strict, quiet bool
	progress      *progress
	total         int64 // size of the larger disk
	span          int64 // at how many bytes qemu-img looks at a time, for the progress
	bufA, bufB    []byte
}

func (c *comparison) say(format string, args ...any) {
	if !c.quiet {
		c.t.printf(format, args...)
	}
}

// differs is the outcome that the disks are not the same.
func (c *comparison) differs(format string, args ...any) error {
	c.say(format, args...)
	return &statusError{code: 1}
}

func (c *comparison) run() error {
	sizeA, sizeB := c.a.Size(), c.b.Size()
	if c.strict && sizeA != sizeB {
		return c.differs("Strict mode: Image size mismatch!\n")
	}
	common := min(sizeA, sizeB)
	c.bufA, c.bufB = make([]byte, compareStep), make([]byte, compareStep)
	for off := int64(0); off < common; {
		ea, err := status(c.a, off, common-off)
		if err != nil {
			return &statusError{exitCompareStatus, fmt.Errorf("Sector allocation test failed for %s", c.nameA)}
		}
		eb, err := status(c.b, off, common-off)
		if err != nil {
			return &statusError{exitCompareStatus, fmt.Errorf("Sector allocation test failed for %s", c.nameB)}
		}
		n := min(ea.Length, eb.Length)
		// As in qemu-img, reaching the end of the disk is part of the status.
		endA, endB := off+ea.Length == sizeA, off+eb.Length == sizeB
		if c.strict && (ea.Data != eb.Data || ea.Zero != eb.Zero || ea.Present != eb.Present || endA != endB) {
			return c.differs("Strict mode: Offset %d block status mismatch!\n", off)
		}
		n = min(n, c.span-off%c.span)
		if !ea.Zero || !eb.Zero {
			n = min(n, shownStep)
		}
		switch {
		case ea.Zero && eb.Zero:
		case ea.Zero:
			err = c.mustBeZero(c.b, off, n)
		case eb.Zero:
			err = c.mustBeZero(c.a, off, n)
		default:
			err = c.same(off, n)
		}
		if err != nil {
			return err
		}
		off += n
		c.progress.add(n, c.total)
	}
	if sizeA != sizeB {
		if !c.quiet {
			c.say("Warning: Image size mismatch!\n")
		}
		longer := c.a
		if sizeB > sizeA {
			longer = c.b
		}
		if err := c.tail(longer, common); err != nil {
			return err
		}
	}
	c.say("Images are identical.\n")
	return nil
}

const compareStep = 1 << 20

// tail checks that what one disk has more is zeroes.
func (c *comparison) tail(d block.Device, off int64) error {
	for off < d.Size() {
		e, err := status(d, off, d.Size()-off)
		if err != nil {
			return &statusError{exitCompareStatus, fmt.Errorf("Sector allocation test failed for %s", c.name(d))}
		}
		span := statusSpan(d)
		e.Length = min(e.Length, span-off%span)
		if !e.Zero {
			e.Length = min(e.Length, shownStep)
			if err := c.mustBeZero(d, off, e.Length); err != nil {
				return err
			}
		}
		off += e.Length
		c.progress.add(e.Length, c.total)
	}
	return nil
}

// name is what messages call one of the disks.
func (c *comparison) name(d block.Device) string {
	if d == c.b {
		return c.nameB
	}
	return c.nameA
}

func (c *comparison) read(d block.Device, buf []byte, off int64) error {
	if err := d.ReadV([][]byte{buf}, off); err != nil {
		name := c.name(d)
		return &statusError{exitCompareRead, fmt.Errorf("Error while reading offset %d of %s: %s", off, name, reason(err))}
	}
	return nil
}

func (c *comparison) mustBeZero(d block.Device, off, n int64) error {
	for n > 0 {
		buf := c.bufA[:min(n, compareStep)]
		if err := c.read(d, buf, off); err != nil {
			return err
		}
		if i := firstNonZero(buf); i >= 0 {
			return c.differs("Content mismatch at offset %d!\n", off+int64(i)&^(sectorSize-1))
		}
		off, n = off+int64(len(buf)), n-int64(len(buf))
	}
	return nil
}

func (c *comparison) same(off, n int64) error {
	for n > 0 {
		step := min(n, compareStep)
		x, y := c.bufA[:step], c.bufB[:step]
		if err := errors.Join(c.read(c.a, x, off), c.read(c.b, y, off)); err != nil {
			return err
		}
		if !bytes.Equal(x, y) {
			i := 0
			for x[i] == y[i] {
				i++
			}
			return c.differs("Content mismatch at offset %d!\n", off+int64(i)&^(sectorSize-1))
		}
		off, n = off+step, n-step
	}
	return nil
}

// status is the extent of a device at off; all of it is data if the device
// can't tell.
func status(d block.Device, off, n int64) (qcow2.Extent, error) {
	if m, ok := d.(block.Mapper); ok {
		return m.Status(off, n)
	}
	return qcow2.Extent{Offset: off, Length: n, Present: true, Data: true, Host: -1}, nil
}

// firstNonZero is the index of the first byte that is not zero, -1 if all are.
func firstNonZero(b []byte) int {
	for i := 0; i < len(b); {
		if n := min(len(zeroes), len(b)-i); bytes.Equal(b[i:i+n], zeroes[:n]) {
			i += n
			continue
		}
		for b[i] == 0 {
			i++
		}
		return i
	}
	return -1
}

var zeroes [4096]byte
