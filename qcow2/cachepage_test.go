package qcow2

import (
	"math/rand/v2"
	"testing"
)

// TestProgression maps every range of a condensed page as the page in full does,
// and gets the same page back.
func TestProgression(t *testing.T) {
	g := newGeometry(&header{version: 3, clusterBits: 12, refcountOrder: 4})
	const n = 512
	fill := func(first, step uint64) []byte {
		buf := make([]byte, n*8)
		for i := range int64(n) {
			storeEntry(buf, i, first+uint64(i)*step)
		}
		return buf
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for name, first := range map[string]uint64{
		"unallocated": 0,
		"zero":        entryZero,
		"normal":      entryCopied | 0x10000,
		"shared":      0x7000,
		"zero, kept":  entryCopied | entryZero | 0x1000,
	} {
		step := uint64(0)
		if first&entryOffset != 0 {
			step = 4096
		}
		buf := fill(first, step)
		p := &page{buf: fill(first, step)}
		if p.condense(&g) == nil {
			t.Errorf("%s: not a progression", name)
			continue
		}
		for range 1000 {
			i := rng.Int64N(n)
			off, length := i<<12+rng.Int64N(4096), 1+rng.Int64N(600<<12)
			want, err := g.run(buf, i, off, length)
			got, err2 := g.progression(p, i, off, length)
			if err != nil || err2 != nil || got != want {
				t.Fatalf("%s: entry %d, %d bytes: %+v, %v, want %+v, %v", name, i, length, got, err2, want, err)
			}
		}
		back := make([]byte, n*8)
		p.expand(back)
		if string(p.buf) != string(buf) {
			t.Errorf("%s: something else came back", name)
		}
	}
	odd := fill(entryCopied|0x10000, 4096)
	storeEntry(odd, n-1, 0)
	for name, buf := range map[string][]byte{
		"one is missing":        odd,
		"all at one place":      fill(entryCopied|0x10000, 0),
		"not at cluster bounds": fill(0x10200, 4096),
		"compressed":            fill(entryCompressed|0x10000, 4096),
		"from zero":             fill(0, 4096),
	} {
		if (&page{buf: buf}).condense(&g) != nil {
			t.Errorf("%s: a progression", name)
		}
	}
}

// TestCacheOfConsecutiveClusters maps a disk whose L2 tables are far larger than
// the cache, and reads no table twice, as its clusters are consecutive. Then it is
// written to, and what is no progression any more is no loss.
func TestCacheOfConsecutiveClusters(t *testing.T) {
	const size = 16 * gib // 512 pages
	f := &readCounter{File: &memFile{}}
	if err := Create(f.File, CreateOptions{Size: size}); err != nil {
		t.Fatal(err)
	}
	im, err := Open(f, Options{L2CacheSize: minCachePages * 4096})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	all := func() {
		for off := int64(0); off < size; off += 32 * mib {
			if err := im.ReadV(pattern(1, 512), off); err != nil {
				t.Fatal(err)
			}
		}
	}
	for off := int64(0); off < size; off += 512 * mib { // an L2 table each
		if err := im.WriteZeroes(off, 512*mib, true); err != nil {
			t.Fatal(err)
		}
	}
	if err := im.Flush(); err != nil {
		t.Fatal(err)
	}
	all()
	f.reads = 0
	all()
	if f.reads != 0 {
		t.Errorf("%d reads of tables that were read before", f.reads)
	}
	im.checkCache(t)
	for off := int64(0); off < size; off += 64 * mib {
		if err := im.WriteV(pattern(2, 512), off+5*mib); err != nil {
			t.Fatal(err)
		}
	}
	if err := im.Flush(); err != nil {
		t.Fatal(err)
	}
	all()
	im.checkCache(t)
	for off := int64(0); off < size; off += 64 * mib {
		got := pattern(1, 512)
		if err := im.ReadV(got, off+5*mib); err != nil || got[0][511] != 2 {
			t.Fatalf("read %d at %#x, %v", got[0][511], off, err)
		}
	}
}

// checkCache compares what the L2 cache thinks that it holds with what it does.
func (im *Image) checkCache(t *testing.T) {
	t.Helper()
	units := 0
	for _, p := range im.l2.ring {
		units += p.units()
	}
	if units != im.l2.units || units > im.l2.limit*pageUnits {
		t.Errorf("%d units, %d counted, %d allowed", units, im.l2.units, im.l2.limit*pageUnits)
	}
	if len(im.l2.ring) != len(im.l2.pages) {
		t.Errorf("%d pages in the ring, %d in the map", len(im.l2.ring), len(im.l2.pages))
	}
}

// readCounter counts reads.
type readCounter struct {
	File
	reads int
}

func (f *readCounter) ReadV(bufs [][]byte, off int64) error {
	f.reads++
	return f.File.ReadV(bufs, off)
}
