package qcow2

import (
	"errors"
	"testing"
	"time"
)

// smallImages are seeds: whole images of a few KiB, one feature each.
func smallImages(f *testing.F) [][]byte {
	f.Helper()
	var seeds [][]byte
	for _, o := range []CreateOptions{
		{Size: 64 * kib, ClusterSize: 512},
		{Size: 64 * kib, ClusterSize: 512, Version: 2},
		{Size: 8 * kib, ClusterSize: 1024, RefcountBits: 1},
		{Size: 8 * kib, ClusterSize: 512, RefcountBits: 64, LazyRefcounts: true},
		{Size: 8 * kib, ClusterSize: 512, Compression: CompressionZstd},
		{Size: 8 * kib, ClusterSize: 4096, BackingFile: "base", BackingFormat: "raw"},
	} {
		seeds = append(seeds, newImage(f, o).data)
	}
	m := &memFile{data: newImage(f, CreateOptions{Size: 64 * kib, ClusterSize: 512}).data}
	im, err := Open(m, Options{})
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range []string{"some", "all"} {
		if err := im.AddBitmap(name, BitmapOptions{Granularity: 512}); err != nil {
			f.Fatal(err)
		}
	}
	im.findBitmap("all").bits.mark(0, im.Size())
	im.findBitmap("some").bits.mark(1000, 1)
	if err := im.Close(); err != nil {
		f.Fatal(err)
	}
	return append(seeds, m.data)
}

// FuzzHeader parses what may be a header: no panic, and what is accepted is
// written back without loss.
func FuzzHeader(f *testing.F) {
	for _, seed := range smallImages(f) {
		f.Add(seed[:min(len(seed), 4096)])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := parseHeader(data)
		if err != nil {
			return
		}
		b, err := h.marshal()
		if err != nil {
			return // there was room only because something overlapped
		}
		b = append(b, make([]byte, 1<<h.clusterBits-len(b))...)
		again, err := parseHeader(b)
		if err != nil {
			t.Fatalf("what was written back is refused: %v", err)
		}
		c, err := again.marshal()
		if err != nil || string(c) != string(b[:len(c)]) {
			t.Fatalf("writing back twice differs: %v", err)
		}
	})
}

// FuzzOpen uses what may be an image: whatever is in it, requests return, and
// errors are errors.
func FuzzOpen(f *testing.F) {
	for _, seed := range smallImages(f) {
		f.Add(seed, int64(1000), int64(3000))
	}
	f.Fuzz(func(t *testing.T, data []byte, off, n int64) {
		watchdog := time.AfterFunc(patience, func() { panic("a request does not return") })
		defer watchdog.Stop()
		m := &limitedFile{memFile{data: data}}
		im, err := Open(m, Options{NoBacking: true})
		if err != nil {
			return
		}
		off, n = off&0x3fff, n&0x3fff
		_ = im.ReadV(pattern(0, n), off)
		_ = im.WriteV(pattern(1, n), off)
		if _, lo, hi := im.wholeClusters(off, n); lo < hi {
			_ = im.WriteCompressed(squeezable(byte(n), min(hi-lo, mib)), lo)
		}
		_ = im.WriteZeroes(off/2, n, off%2 == 0)
		_ = im.Discard(off/3, n)
		list, _ := im.Bitmaps()
		for i, b := range list {
			sum := int64(0)
			if err := im.DirtyRanges(b.Name, func(_, n int64) bool { sum += n; return true }); err == nil && (sum < 0 || sum > im.Size()) {
				t.Fatalf("%d bytes of %d are dirty", sum, im.Size())
			}
			switch i {
			case 0:
				_ = im.MergeBitmap(b.Name, im, list[len(list)-1].Name)
			case 1:
				_ = im.RemoveBitmap(b.Name)
			}
		}
		_ = im.Flush()
		if im.Size() < gib {
			report := func(s string) { t.Log(s) }
			if _, err := im.Check(CheckOptions{Repair: RepairAll, Report: report}); err == nil {
				t.Log("again")
				res, err := im.Check(CheckOptions{Report: report})
				if err != nil {
					t.Fatalf("check after repair: %v", err)
				}
				if res.Leaks != 0 {
					t.Fatalf("leaks after repair: %+v", res)
				}
			}
		}
		_ = im.Close()
	})
}

// limitedFile is a memFile that does not grow without bounds.
type limitedFile struct{ memFile }

func (l *limitedFile) WriteV(bufs [][]byte, off int64) error {
	if off+vecLen(bufs) > 4*mib {
		return errors.New("no space left")
	}
	return l.memFile.WriteV(bufs, off)
}

func (l *limitedFile) Truncate(size int64) error {
	if size > 4*mib {
		return errors.New("no space left")
	}
	return l.memFile.Truncate(size)
}

// FuzzBitmapDirectory reads what may be a directory of bitmaps: what is accepted
// is written back without loss.
func FuzzBitmapDirectory(f *testing.F) {
	var dir []byte
	for _, e := range []bitmapEntry{
		{table: 512, entries: 1, flags: bitmapAuto, granularity: 9, name: "a"},
		{table: 1 << 40, entries: 1 << 20, flags: bitmapInUse | bitmapCompatible, granularity: 31, name: "another", extra: []byte("later")},
	} {
		dir = e.marshal(dir)
		f.Add(dir)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, n, err := parseBitmapEntry(data)
		if err != nil {
			return
		}
		b := e.marshal(nil)
		if len(b) != n || n != e.size() {
			t.Fatalf("%d bytes of %d became %d", n, len(data), len(b))
		}
		again, _, err := parseBitmapEntry(b)
		if err != nil || again.name != e.name || string(again.extra) != string(e.extra) || again.table != e.table || again.flags != e.flags {
			t.Fatalf("%+v became %+v, %v", e, again, err)
		}
	})
}
