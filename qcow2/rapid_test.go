package qcow2

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// drawn is an operation as rapid draws and shrinks it: places and lengths are
// relative to the disk that it meets, so that any sequence makes sense.
type drawn struct {
	kind       string
	at, length int
	fill       byte
}

func (d drawn) String() string { return fmt.Sprintf("%s %d+%d (%d)", d.kind, d.at, d.length, d.fill) }

// drawOperation draws one operation.
func drawOperation(t *rapid.T) drawn {
	return drawn{
		kind: rapid.SampledFrom([]string{
			"write", "write", "compress", "read", "zero", "unmap", "discard", "flush",
			"snapshot", "apply", "delete", "resize", "reopen",
		}).Draw(t, "kind"),
		at:     rapid.IntRange(0, 1<<16).Draw(t, "at"),
		length: rapid.IntRange(1, 1<<16).Draw(t, "length"),
		fill:   rapid.ByteRange(1, 255).Draw(t, "fill"),
	}
}

// concrete is the operation on the disk of w; ok is false if it means nothing
// there.
func (d drawn) concrete(w *world, c config) (op operation, ok bool) {
	size := int64(len(w.disk))
	op = operation{kind: d.kind, fill: d.fill}
	switch d.kind {
	case "snapshot":
		op.fill = 1 + byte(len(w.snaps))
		for _, s := range w.snaps {
			if n, _ := strconv.Atoi(s.name[1:]); n >= int(op.fill) {
				op.fill = byte(n) + 1
			}
		}
		return op, c.o.DataFile == "" && len(w.snaps) < 4
	case "apply", "delete":
		if len(w.snaps) == 0 {
			return op, false
		}
		n, _ := strconv.Atoi(w.snaps[d.at%len(w.snaps)].name[1:])
		op.fill = byte(n)
		return op, true
	case "resize":
		op.n = (1 + int64(d.length)%(c.o.Size*2/sectorSize)) * sectorSize
		return op, c.o.Version > 2 || len(w.snaps) == 0
	}
	op.off = int64(d.at) * size >> 16
	if d.at&1 == 0 {
		op.off &^= sectorSize - 1
	}
	op.off = min(op.off, size-1)
	op.n = 1 + int64(d.length)%min(size-op.off, 3*c.o.ClusterSize)
	return op, true
}

// cycle closes the image, opens it again and checks it.
func (d *disk) cycle() error {
	if err := d.im.Close(); err != nil {
		return err
	}
	d.f = d.f.reopened()
	if d.data != nil {
		d.data = d.data.reopened()
		d.data.main = d.f
	}
	im, err := Open(d.f, d.opts)
	if err != nil {
		return err
	}
	d.im = im
	r, err := im.Check(CheckOptions{})
	if err == nil && !r.Clean() {
		err = fmt.Errorf("image is not clean: %+v", r)
	}
	return err
}

// TestShrinkingModel holds images against a plain model as TestRandomOperations
// and its like do, by sequences that rapid shrinks to the shortest which fails.
func TestShrinkingModel(t *testing.T) {
	checks := scale(1000, 50000)
	if raceDetector {
		checks = scale(100, 5000)
	}
	if err := flag.Set("rapid.checks", strconv.Itoa(checks)); err != nil {
		t.Fatal(err)
	}
	images := allConfigs()
	rapid.Check(t, func(rt *rapid.T) {
		i := rapid.IntRange(0, len(images)-1).Draw(rt, "image")
		c := images[i]
		c.o.Size = min(c.o.Size, 512*kib)
		rng := rand.New(rand.NewPCG(1, uint64(i)))
		d := newDisk(t, c, rng)
		d.opts.L2CacheSize, d.opts.RefcountCacheSize = 1, 1
		w := world{disk: d.model}
		for _, x := range rapid.SliceOfN(rapid.Custom(drawOperation), 1, 60).Draw(rt, "operations") {
			if x.kind == "reopen" {
				if err := d.cycle(); err != nil {
					rt.Fatalf("%s: %v: %v", c, x, err)
				}
			} else if op, ok := x.concrete(&w, c); ok {
				err := w.do(d.im, op, rng)
				if op.kind == "snapshot" && errors.Is(err, ErrTooLarge) && c.o.RefcountBits < 16 {
					continue
				}
				if err != nil {
					rt.Fatalf("%s: %v: %v", c, op, err)
				}
				w.apply(d.im, op)
			}
			if err := errors.Join(w.sameSnapshots(d.im), compareWith(d.im, w.disk)); err != nil {
				rt.Fatalf("%s: after %v: %v", c, x, err)
			}
		}
		if err := d.cycle(); err != nil {
			rt.Fatalf("%s: in the end: %v", c, err)
		}
	})
}
