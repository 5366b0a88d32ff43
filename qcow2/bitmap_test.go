package qcow2

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
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

// bitmapImage returns an image of 64 MiB with bitmaps "even" and "all", of 4 KiB
// granules: every other one is dirty, or all.
func bitmapImage(t testing.TB, clusterSize int64) *memFile {
	t.Helper()
	f := new(memFile)
	if err := Create(f, CreateOptions{Size: 64 * mib, ClusterSize: clusterSize}); err != nil {
		t.Fatal(err)
	}
	im, err := Open(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"even", "all"} {
		if err := im.AddBitmap(name, BitmapOptions{Granularity: 4096}); err != nil {
			t.Fatal(err)
		}
	}
	im.findBitmap("all").bits.mark(0, 64*mib)
	for off := int64(0); off < 64*mib; off += 8192 {
		im.findBitmap("even").bits.mark(off, 1)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	return f.reopened()
}

// extensionOffset is where marshal puts the data of the first extension of a
// kind.
func (h *header) extensionOffset(kind uint32) int64 {
	at := int64(headerSizeV3)
	for _, e := range h.extensions {
		if e.kind == kind {
			return at + 8
		}
		at += 8 + (int64(len(e.data))+7)&^7
	}
	return -1
}

// TestHostileBitmaps opens images whose bitmaps can't be right: for writing each
// is refused by name; what does not need bitmaps can still be read; and a repair
// makes the image whole.
func TestHostileBitmaps(t *testing.T) {
	base := bitmapImage(t, 4096)
	h, err := readHeader(base)
	if err != nil {
		t.Fatal(err)
	}
	ext, err := h.bitmapExt()
	if err != nil {
		t.Fatal(err)
	}
	at, dir := h.extensionOffset(extBitmaps), int64(ext.off)
	table := int64(base.get64(dir))
	second := dir + 32 // entries have 24 bytes and a name of up to 8
	tests := []struct {
		name, want string
		make       func(*memFile)
	}{
		{"reserved field", "reserved", func(f *memFile) { f.put32(at+4, 1) }},
		{"no bitmaps", "0 bitmaps", func(f *memFile) { f.put32(at, 0) }},
		{"too many bitmaps", "65536 bitmaps", func(f *memFile) { f.put32(at, 65536) }},
		{"more than there are", "directory", func(f *memFile) { f.put32(at, 3) }},
		{"less than there are", "goes on", func(f *memFile) { f.put32(at, 1) }},
		{"huge directory", "too large", func(f *memFile) { f.put64(at+8, 1<<40) }},
		{"directory unaligned", "offset invalid", func(f *memFile) { f.put64(at+16, ext.off+8) }},
		{"directory nowhere", "offset invalid", func(f *memFile) { f.put64(at+16, 1<<62) }},
		{"directory beyond the end", "", func(f *memFile) { f.put64(at+16, 1<<40) }},
		{"directory in the header", "", func(f *memFile) { f.put64(at+16, 0) }},
		{"directory in the refcount table", "", func(f *memFile) { f.put64(at+16, h.refTable) }},
		{"no table", "no table", func(f *memFile) { f.put64(dir, 0) }},
		{"table without entries", "no table", func(f *memFile) { f.put32(dir+8, 0) }},
		{"huge table", "", func(f *memFile) { f.put32(dir+8, 0x8000001) }},
		{"table too long", "table entries", func(f *memFile) { f.put32(dir+8, 2) }},
		{"unknown flags", "flags", func(f *memFile) { f.put32(dir+12, 8) }},
		{"unknown type", "type 2", func(f *memFile) { f.data[dir+16] = 2 }},
		{"tiny granules", "granularity", func(f *memFile) { f.data[dir+17] = 8 }},
		{"huge granules", "granularity", func(f *memFile) { f.data[dir+17] = 64 }},
		{"no name", "name of 0", func(f *memFile) { f.data[dir+18], f.data[dir+19] = 0, 0 }},
		{"name too long", "", func(f *memFile) { f.data[dir+18], f.data[dir+19] = 0xff, 0xff }},
		{"extra data beyond the directory", "exceeds", func(f *memFile) { f.put32(dir+20, 0xffffffff) }},
		{"two of one name", "two bitmaps", func(f *memFile) { copy(f.data[second+16:], f.data[dir+16:dir+32]) }},
		{"reserved bits in the table", "entry 0", func(f *memFile) { f.data[table] = 0x80 }},
		{"data unaligned", "entry 0", func(f *memFile) { f.put64(table, f.get64(table)+512) }},
		{"data and all ones", "entry 0", func(f *memFile) { f.put64(table, f.get64(table)+1) }},
		{"data beyond the end", "beyond", func(f *memFile) { f.put64(table, 1<<40) }},
		{"data in the refcount table", "refcount table", func(f *memFile) { f.put64(table, h.refTable) }},
		{"data is the table", "twice", func(f *memFile) { f.put64(table, uint64(table)) }},
		{"two tables in one place", "twice", func(f *memFile) { f.put64(second, uint64(table)) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := base.reopened()
			tt.make(f)
			before := slices.Clone(f.data)
			if _, err := Open(f.reopened(), Options{}); err == nil || !strings.Contains(err.Error(), tt.want) || !errors.Is(err, ErrInvalid) {
				t.Errorf("open for writing: %v; want ErrInvalid with %q", err, tt.want)
			}
			im, err := Open(f, Options{ReadOnly: true})
			if err != nil {
				t.Fatalf("open for reading: %v", err)
			}
			if err := im.ReadV(pattern(0, 1000), 0); err != nil {
				t.Errorf("read: %v", err)
			}
			if err := im.DirtyRanges("even", func(int64, int64) bool { return true }); err == nil && !strings.Contains(tt.name, "two") {
				t.Error("a broken bitmap can be read")
			}
			if !slices.Equal(f.data, before) {
				t.Error("an open for reading changed the file")
			}
			im, err = Open(f, Options{ForRepair: true})
			if err != nil {
				t.Fatal(err)
			}
			if res, err := im.Check(CheckOptions{}); err != nil || res.Corruptions == 0 {
				t.Errorf("check: %+v, %v", res, err)
			}
			if res, err := im.Check(CheckOptions{Repair: RepairAll}); err != nil || !res.Clean() {
				t.Fatalf("repair: %+v, %v", res, err)
			}
			if err := im.WriteV(pattern(9, 100), 0); err != nil {
				t.Fatalf("write after the repair: %v", err)
			}
			if err := im.Close(); err != nil {
				t.Fatal(err)
			}
			if im, err = Open(f.reopened(), Options{}); err != nil {
				t.Fatalf("open after the repair: %v", err)
			}
			if res, err := im.Check(CheckOptions{}); err != nil || !res.Clean() {
				t.Errorf("check after the repair: %+v, %v", res, err)
			}
		})
	}
}

// TestBitmapExtraData keeps the extra data of later versions of the format, and
// uses a bitmap that has some only if its flag allows that.
func TestBitmapExtraData(t *testing.T) {
	for _, compatible := range []bool{false, true} {
		f := bitmapImage(t, 4096)
		h, _ := readHeader(f)
		ext, _ := h.bitmapExt()
		e, n, err := parseBitmapEntry(f.data[ext.off:][:ext.size])
		if err != nil {
			t.Fatal(err)
		}
		rest := slices.Clone(f.data[ext.off:][n:ext.size])
		e.extra = []byte("later!")
		if compatible {
			e.flags |= bitmapCompatible
		}
		dir := append(e.marshal(nil), rest...)
		copy(f.data[ext.off:], dir)
		f.put64(h.extensionOffset(extBitmaps)+8, uint64(len(dir)))
		im, err := Open(f, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := im.ClearBitmap("even"); errors.Is(err, ErrBitmapInconsistent) == compatible {
			t.Errorf("compatible=%v, clear: %v", compatible, err)
		}
		if err := im.Close(); err != nil {
			t.Fatal(err)
		}
		if im, err = Open(f.reopened(), Options{ReadOnly: true}); err != nil {
			t.Fatal(err)
		}
		got := im.findBitmap("even").entry
		if string(got.extra) != "later!" || got.flags&bitmapCompatible != 0 != compatible || got.flags&bitmapInUse == 0 != compatible {
			t.Errorf("compatible=%v: it was written back as %+v", compatible, got)
		}
	}
}

// TestStaleBitmaps opens an image whose last writer did not know bitmaps: they
// go, and what they used is a leak that a repair frees.
func TestStaleBitmaps(t *testing.T) {
	f := bitmapImage(t, 65536)
	f.put64(hdrAutoclear, 1<<33)
	im, err := Open(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if list, err := im.Bitmaps(); err != nil || len(list) != 0 {
		t.Fatalf("stale bitmaps are listed: %+v, %v", list, err)
	}
	if err := im.AddBitmap("new", BitmapOptions{}); err != nil {
		t.Fatal(err)
	}
	if res, err := im.Check(CheckOptions{Repair: RepairLeaks}); err != nil || res.LeaksFixed != 4 || !res.Clean() {
		t.Fatalf("check: %+v, %v", res, err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	if im, err = Open(f.reopened(), Options{}); err != nil {
		t.Fatal(err)
	}
	if list, err := im.Bitmaps(); err != nil || len(list) != 1 || list[0].Name != "new" || list[0].Inconsistent {
		t.Fatalf("bitmaps: %+v, %v", list, err)
	}
	if h, _ := readHeader(f.reopened()); h.autoclear != autoclearBitmaps {
		t.Fatalf("autoclear bits are %#x", h.autoclear)
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
