package qcow2

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

// granules is a model of a bitmap: which granules are dirty.
type granules struct {
	size int64
	gran int64
	set  []bool
}

func newGranules(size, gran int64) *granules {
	return &granules{size, gran, make([]bool, (size+gran-1)/gran)}
}

func (g *granules) mark(off, n int64) {
	for i := off / g.gran; n > 0 && i <= (off+n-1)/g.gran; i++ {
		g.set[i] = true
	}
}

// dirties is what an operation marks in bitmaps.
func (op operation) dirties(im *Image) (off, n int64) {
	switch op.kind {
	case "read", "flush":
		return 0, 0
	case "compress":
		_, lo, hi := im.wholeClusters(op.off, op.n)
		return lo, max(0, hi-lo)
	}
	return op.off, op.n
}

// ranges lists the dirty bytes the way dirtyBits.ranges does.
func (g *granules) ranges() [][2]int64 {
	var list [][2]int64
	for i, dirty := range g.set {
		if !dirty {
			continue
		}
		off := int64(i) * g.gran
		end := min(off+g.gran, g.size)
		if n := len(list); n > 0 && list[n-1][0]+list[n-1][1] == off {
			list[n-1][1] += end - off
		} else {
			list = append(list, [2]int64{off, end - off})
		}
	}
	return list
}

// dirtyRanges lists what Image.DirtyRanges visits.
func dirtyRanges(t testing.TB, im *Image, name string) [][2]int64 {
	t.Helper()
	var list [][2]int64
	if err := im.DirtyRanges(name, func(off, n int64) bool {
		list = append(list, [2]int64{off, n})
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

// TestDirtyBits compares the sparse bitmap with a plain one, over chunk borders
// and through what is stored and loaded again.
func TestDirtyBits(t *testing.T) {
	rng := seeded(t)
	const chunk = 1 << chunkBits << 9
	for _, size := range []int64{0, 512, 512 * 65, chunk - 512, chunk, chunk + 512, 3*chunk + 700*512} {
		b, m := newDirtyBits(9, size), newGranules(size, 512)
		for range 30 {
			if size == 0 {
				break
			}
			off := rng.Int64N(size)
			n := rng.Int64N(min(size-off, []int64{1000, 100 << 10, size}[rng.IntN(3)])) + 1
			b.mark(off, n)
			m.mark(off, n)
			var got [][2]int64
			b.ranges(func(off, n int64) bool { got = append(got, [2]int64{off, n}); return true })
			if want := m.ranges(); !slices.Equal(got, want) {
				t.Fatalf("size %d: dirty is %v, want %v", size, got, want)
			}
			at := rng.Int64N(size)
			dirty, length := b.status(at, size-at)
			if dirty != m.set[at/512] || length <= 0 || length > size-at {
				t.Fatalf("status at %d: %v, %d", at, dirty, length)
			}
		}
		for _, step := range []int64{64, 512, 4096, 65536} {
			c := newDirtyBits(9, size)
			p := make([]byte, step)
			for at := int64(0); at < b.bytes(); at += step {
				switch b.store(p, at) {
				case bitsFull:
					c.set(at*8, min((at+step)*8, c.granules))
				default:
					c.load(p, at)
				}
			}
			if b.count() != c.count() {
				t.Fatalf("size %d: %d bytes are dirty after storing and loading, %d before", size, c.count(), b.count())
			}
		}
		for _, other := range []int64{0, 512, chunk / 2, chunk + 1024, 5 * chunk} {
			r := b.resized(other)
			m2 := newGranules(other, 512)
			copy(m2.set, m.set)
			var got [][2]int64
			r.ranges(func(off, n int64) bool { got = append(got, [2]int64{off, n}); return true })
			if want := m2.ranges(); !slices.Equal(got, want) {
				t.Fatalf("resized from %d to %d: dirty is %v, want %v", size, other, got, want)
			}
		}
	}
}

// TestDirtyBitsFromManyGoroutines sets bits of the same words and chunks at the
// same time: none is lost.
func TestDirtyBitsFromManyGoroutines(t *testing.T) {
	const size = 3<<chunkBits<<9 + 512
	b, m := newDirtyBits(9, size), newGranules(size, 512)
	var wg sync.WaitGroup
	for worker := range int64(8) {
		for off := worker * 512; off < size; off += 8 * 512 * 3 {
			m.mark(off, 512)
		}
		m.mark(1<<chunkBits<<9, 1<<chunkBits<<9)
		wg.Go(func() {
			for off := worker * 512; off < size; off += 8 * 512 * 3 {
				b.mark(off, 512)
				if off > size/2 && worker == 3 {
					b.mark(1<<chunkBits<<9, 1<<chunkBits<<9) // a whole chunk
				}
			}
		})
	}
	wg.Wait()
	var got [][2]int64
	b.ranges(func(off, n int64) bool { got = append(got, [2]int64{off, n}); return true })
	if !slices.Equal(got, m.ranges()) {
		t.Fatal("bits were lost")
	}
}

// TestBitmapsRecordWrites compares bitmaps with a model: random writes, random
// changes of the list, and sessions in between.
func TestBitmapsRecordWrites(t *testing.T) {
	for i, c := range configs() {
		if c.o.Version < 3 {
			continue
		}
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(uint64(i), rand.Uint64()))
			d := newDisk(t, c, rng)
			models := map[string]*granules{}
			enabled := map[string]bool{}
			for range scale(150, 1500) {
				name := fmt.Sprint("bitmap-", rng.IntN(4))
				m := models[name]
				var err error
				switch k := rng.IntN(12); {
				case k < 6:
					op := randomOperation(rng, c.o.Size, c.o.ClusterSize)
					if err = op.run(d.im, rng); err == nil {
						op.apply(d.im, d.model)
						for n, m := range models {
							if enabled[n] {
								m.mark(op.dirties(d.im))
							}
						}
					}
				case k == 6 && m == nil:
					gran := int64(512) << rng.IntN(8)
					off := rng.IntN(4) == 0
					err = d.im.AddBitmap(name, BitmapOptions{Granularity: gran, Disabled: off})
					models[name], enabled[name] = newGranules(c.o.Size&^511, gran), !off
				case m == nil:
					if err := d.im.ClearBitmap(name); !errors.Is(err, ErrNoBitmap) {
						t.Fatalf("clear a bitmap that is not there: %v", err)
					}
				case k == 7:
					err = d.im.RemoveBitmap(name)
					delete(models, name)
				case k == 8:
					err = d.im.ClearBitmap(name)
					clear(m.set)
				case k == 9:
					if enabled[name] = !enabled[name]; enabled[name] {
						err = d.im.EnableBitmap(name)
					} else {
						err = d.im.DisableBitmap(name)
					}
				case k == 10:
					for source, from := range models {
						if err = d.im.MergeBitmap(name, d.im, source); err == nil {
							for _, r := range from.ranges() {
								m.mark(r[0], r[1])
							}
						}
						break
					}
				default:
					d.reopen()
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			d.reopen()
			infos, err := d.im.Bitmaps()
			if err != nil || len(infos) != len(models) {
				t.Fatalf("bitmaps: %+v, %v; want %d", infos, err, len(models))
			}
			for _, info := range infos {
				m := models[info.Name]
				if info.Enabled != enabled[info.Name] || info.Granularity != m.gran || info.Inconsistent {
					t.Errorf("%+v, want enabled=%v", info, enabled[info.Name])
				}
				if got, want := dirtyRanges(t, d.im, info.Name), m.ranges(); !slices.Equal(got, want) {
					t.Errorf("%s: dirty is %v, want %v", info.Name, got, want)
				}
			}
			d.reopen()
		})
	}
}

// TestBitmapsAreInUse opens an image with bitmaps again without closing it: its
// bitmaps are inconsistent then, can't be used, and can be removed.
func TestBitmapsAreInUse(t *testing.T) {
	f := newImage(t, CreateOptions{})
	im, err := Open(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		if err := im.AddBitmap(name, BitmapOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := im.AddBitmap("passing", BitmapOptions{Transient: true}); err != nil {
		t.Fatal(err)
	}
	if err := im.AddBitmap("a", BitmapOptions{}); !errors.Is(err, ErrBitmapExists) {
		t.Fatalf("a second bitmap of one name: %v", err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	f = f.reopened()
	if _, err = Open(f, Options{}); err != nil {
		t.Fatal(err)
	}
	crashed := f.reopened()
	if im, err = Open(crashed, Options{}); err != nil {
		t.Fatal(err)
	}
	list, err := im.Bitmaps()
	if err != nil || len(list) != 2 || !list[0].Inconsistent || !list[1].InUse {
		t.Fatalf("after a crash: %+v, %v", list, err)
	}
	for what, err := range map[string]error{
		"clear":  im.ClearBitmap("a"),
		"enable": im.EnableBitmap("a"),
		"merge":  im.MergeBitmap("a", im, "b"),
		"read":   im.DirtyRanges("a", nil),
	} {
		if !errors.Is(err, ErrBitmapInconsistent) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := im.RemoveBitmap("a"); err != nil {
		t.Fatal(err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	crashed = crashed.reopened()
	if im, err = Open(crashed, Options{}); err != nil {
		t.Fatal(err)
	}
	if list, err := im.Bitmaps(); err != nil || len(list) != 1 || list[0].Name != "b" || !list[0].Inconsistent {
		t.Fatalf("after another session: %+v, %v", list, err)
	}
	if err := im.RemoveBitmap("b"); err != nil {
		t.Fatal(err)
	}
	if res, err := im.Check(CheckOptions{}); err != nil || !res.Clean() {
		t.Fatalf("check: %+v, %v", res, err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	if h, err := readHeader(crashed.reopened()); err != nil || h.autoclear != 0 || h.extension(extBitmaps) != nil {
		t.Fatalf("the header still speaks of bitmaps: %+v, %v", h, err)
	}
}

// TestBitmapsAndSnapshots takes and deletes snapshots of a disk with bitmaps;
// going back to one is refused.
func TestBitmapsAndSnapshots(t *testing.T) {
	f := bitmapImage(t, 512)
	im, err := Open(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"one", "two"} {
		if err := im.WriteV(pattern(7, mib), 4*mib); err != nil {
			t.Fatal(err)
		}
		if _, err := im.CreateSnapshot(SnapshotOptions{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	if err := im.ApplySnapshot("one"); !errors.Is(err, ErrUnsupported) {
		t.Fatalf("apply: %v", err)
	}
	if err := im.DeleteSnapshot("one"); err != nil {
		t.Fatal(err)
	}
	if res, err := im.Check(CheckOptions{}); err != nil || !res.Clean() {
		t.Fatalf("check: %+v, %v", res, err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	if im, err = Open(f.reopened(), Options{}); err != nil {
		t.Fatal(err)
	}
	if n, err := im.DirtyBytes("even"); err != nil || n != 32*mib+mib/2 {
		t.Fatalf("%d bytes are dirty, %v", n, err)
	}
	if res, err := im.Check(CheckOptions{}); err != nil || !res.Clean() {
		t.Fatalf("check: %+v, %v", res, err)
	}
}

// TestMarkingDoesNotAllocate asserts that bitmaps cost no allocation per write.
func TestMarkingDoesNotAllocate(t *testing.T) {
	f := bitmapImage(t, 65536)
	im, err := Open(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	for _, name := range []string{"x", "y"} {
		if err := im.AddBitmap(name, BitmapOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	off := int64(0)
	write := func() { im.markDirty(off, 4096); off = (off + 12288) % (32 * mib) }
	write()
	if n := testing.AllocsPerRun(1000, write); n != 0 {
		t.Errorf("%v allocations per write", n)
	}
}

// TestBitmapsFollowTheSize changes the size of a disk with bitmaps.
func TestBitmapsFollowTheSize(t *testing.T) {
	f := bitmapImage(t, 512)
	im, err := Open(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ size, all, even int64 }{
		{64*mib + 512, 64 * mib, 32 * mib},
		{mib + 1024, mib + 1024, mib/2 + 1024},
		{512, 512, 512},
		{900 * mib, 4096, 4096}, // of the granule that was dirty in part
	} {
		if err := im.Resize(step.size); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			all, _ := im.DirtyBytes("all")
			even, err := im.DirtyBytes("even")
			if all != step.all || even != step.even || err != nil {
				t.Fatalf("size %d: %d and %d bytes are dirty, want %d and %d (%v)", step.size, all, even, step.all, step.even, err)
			}
			if res, err := im.Check(CheckOptions{}); err != nil || !res.Clean() {
				t.Fatalf("check: %+v, %v", res, err)
			}
			if err := im.Close(); err != nil {
				t.Fatal(err)
			}
			f = f.reopened()
			if im, err = Open(f, Options{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Left in use by somebody who is gone: nobody knows what is dirty.
	if im, err = Open(f.reopened(), Options{}); err != nil {
		t.Fatal(err)
	}
	if err := im.Resize(mib); !errors.Is(err, ErrUnsupported) {
		t.Fatalf("resize with inconsistent bitmaps: %v", err)
	}
}
