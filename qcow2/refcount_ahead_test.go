package qcow2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

// readRecorder is a File that remembers what was read, and can't read a range.
type readRecorder struct {
	File
	reads  []extentRead
	bad    extentRead
	failed int
}

type extentRead struct{ off, n int64 }

func (r extentRead) overlaps(o extentRead) bool { return r.off < o.off+o.n && o.off < r.off+r.n }

func (f *readRecorder) ReadV(bufs [][]byte, off int64) error {
	r := extentRead{off: off}
	for _, b := range bufs {
		r.n += int64(len(b))
	}
	f.reads = append(f.reads, r)
	if r.overlaps(f.bad) {
		f.failed++
		return errInjected
	}
	return f.File.ReadV(bufs, off)
}

// countedBlocks is how many refcount blocks countedImage has.
const countedBlocks = 3

// countedImage is an image with clusters of a size, whose first refcount blocks have counts of all
// sizes, with a cache for them.
func countedImage(t *testing.T, clusterSize, cache int64) (*Image, *readRecorder, *memFile) {
	t.Helper()
	m := new(memFile)
	if err := Create(m, CreateOptions{Size: mib, ClusterSize: clusterSize}); err != nil {
		t.Fatal(err)
	}
	m = m.reopened()
	f := &readRecorder{File: m}
	im, err := Open(f, Options{RefcountCacheSize: cache})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { im.Close() })
	random := rand.NewChaCha8([32]byte{})
	im.mu.Lock()
	defer im.mu.Unlock()
	at := (int64(len(m.data)) + clusterSize - 1) &^ (clusterSize - 1)
	m.data = append(m.data, make([]byte, at+countedBlocks*clusterSize-int64(len(m.data)))...)
	_, _ = random.Read(m.data[at:]) // never fails
	for i := range countedBlocks {
		im.refTable[i] = uint64(at + int64(i)*clusterSize)
	}
	im.refs.reset()
	f.reads = nil
	return im, f, m
}

// counted is the count of cluster c in the file.
func (m *memFile) counted(im *Image, c int64) uint64 {
	per := im.g.clusterSize / 2
	off := int64(im.refTable[c/per]) + c%per*2
	if off+2 > int64(len(m.data)) {
		return 0
	}
	return uint64(binary.BigEndian.Uint16(m.data[off:]))
}

// lookUp is the count of cluster c.
func (im *Image) lookUp(c int64) (uint64, error) {
	im.mu.Lock()
	defer im.mu.Unlock()
	return im.refcount(c)
}

// checkRead holds that a read is of whole pages inside a refcount block, and of no more of
// them than are allowed.
func (im *Image) checkRead(t *testing.T, r extentRead) {
	t.Helper()
	page := im.g.pageSize
	if r.off%page != 0 || r.n%page != 0 || r.n > maxRefAhead*page || r.off/im.g.clusterSize != (r.off+r.n-1)/im.g.clusterSize {
		t.Errorf("%d bytes at %#x are read", r.n, r.off)
	}
}

// Whoever goes through the refcounts finds what is in the file. Each page of it is read once, and
// many of them at a time.
func TestRefcountsAreReadAhead(t *testing.T) {
	for _, tt := range []struct{ clusterSize, reads int64 }{
		{512, 1},                  // for each block, as it is a page
		{4 * kib, 1},              // the same
		{64 * kib, 2},             // the first page, and the 15 others
		{2 * mib, 1 + 511/16 + 1}, // the first, and 16 at a time
	} {
		t.Run(fmt.Sprint(tt.clusterSize), func(t *testing.T) {
			im, f, m := countedImage(t, tt.clusterSize, 0)
			for c := range countedBlocks * im.g.clusterSize / 2 {
				got, err := im.lookUp(c)
				if want := m.counted(im, c); err != nil || got != want {
					t.Fatalf("cluster %d: count %d, %v, want %d", c, got, err, want)
				}
			}
			// Of more than the cache holds, a few leave before they are used.
			fits := countedBlocks*tt.clusterSize <= defaultRefcountCache
			if n, want := int64(len(f.reads)), countedBlocks*tt.reads; n < want || n > want && fits || n > want*5/4 {
				t.Errorf("%d reads of %d refcount blocks, want %d of each", n, countedBlocks, tt.reads)
			}
			for i, r := range f.reads {
				if im.checkRead(t, r); !fits {
					continue
				}
				for _, o := range f.reads[:i] {
					if r.overlaps(o) {
						t.Errorf("%d bytes at %#x are read again", r.n, r.off)
					}
				}
			}
		})
	}
}

// Whoever looks here and there reads a page each time.
func TestRefcountsHereAndThereAreNotReadAhead(t *testing.T) {
	im, f, m := countedImage(t, 64*kib, 1)
	per := im.countsPerPage()
	for c := 40 * per; c >= 0; c -= 2 * per {
		if got, err := im.lookUp(c); err != nil || got != m.counted(im, c) {
			t.Errorf("cluster %d: count %d, %v", c, got, err)
		}
	}
	for _, r := range f.reads {
		if r.n != im.g.pageSize {
			t.Errorf("%d bytes at %#x are read", r.n, r.off)
		}
	}
	if len(f.reads) == 0 {
		t.Error("nothing is read")
	}
}

// A page that was changed and is not in the file yet stays as it is when those around it are read,
// and is not read over.
func TestRefcountsReadAheadSpareChangedPages(t *testing.T) {
	im, f, m := countedImage(t, 64*kib, 1)
	per := im.countsPerPage()
	changed := 6*per + 17
	im.mu.Lock()
	p, i, err := im.refPage(changed)
	if err != nil {
		t.Fatal(err)
	}
	storeRefcount(im.refs.change(p), i, im.g.refcountOrder, 9)
	im.mu.Unlock()
	f.reads = nil
	for c := range 16 * per {
		want := m.counted(im, c)
		if c == changed {
			want = 9
		}
		if got, err := im.lookUp(c); err != nil || got != want {
			t.Fatalf("cluster %d: count %d, %v, want %d", c, got, err, want)
		}
	}
	page := extentRead{int64(im.refTable[0]) + 6*im.g.pageSize, im.g.pageSize}
	for _, r := range f.reads {
		if im.checkRead(t, r); r.overlaps(page) {
			t.Errorf("%d bytes at %#x are read over a page that has changed", r.n, r.off)
		}
	}
	im.mu.Lock() // the image is as it was
	storeRefcount(im.refs.change(p), i, im.g.refcountOrder, 1)
	im.mu.Unlock()
}

// A page that can't be read costs its own counts and no others, and is read when it can be again.
func TestRefcountsReadAheadPastABadPage(t *testing.T) {
	im, f, m := countedImage(t, 64*kib, 1)
	per, page := im.countsPerPage(), im.g.pageSize
	const bad = 7
	f.bad = extentRead{int64(im.refTable[1]) + bad*page + 100, 1}
	first := im.g.clusterSize / 2 // that the second block counts
	for range 2 {
		for c := range 2 * first {
			got, err := im.lookUp(c)
			if c >= first+bad*per && c < first+(bad+1)*per {
				if !errors.Is(err, errInjected) {
					t.Fatalf("cluster %d: %v", c, err)
				}
				continue
			}
			if want := m.counted(im, c); err != nil || got != want {
				t.Fatalf("cluster %d: count %d, %v, want %d", c, got, err, want)
			}
		}
	}
	f.bad = extentRead{}
	for c := range 2 * first {
		if got, err := im.lookUp(c); err != nil || got != m.counted(im, c) {
			t.Fatalf("cluster %d, which can be read again: count %d, %v", c, got, err)
		}
	}
}

// A file that ends inside of a refcount block counts nothing behind its end, and an entry of the
// refcount table that can't be is an error for its own clusters only.
func TestRefcountsReadAheadOfDamagedTables(t *testing.T) {
	im, f, m := countedImage(t, 64*kib, 1)
	per := im.g.clusterSize / 2
	im.mu.Lock()
	last := int64(im.refTable[countedBlocks-1])
	m.data = m.data[:last+2*im.g.pageSize+100]
	im.refTable[1] += 512
	im.mu.Unlock()
	for c := range countedBlocks * per {
		got, err := im.lookUp(c)
		if c/per == 1 {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("cluster %d, whose refcount block is not aligned: %v", c, err)
			}
			continue
		}
		if want := m.counted(im, c); err != nil || got != want {
			t.Fatalf("cluster %d: count %d, %v, want %d", c, got, err, want)
		}
	}
	for _, r := range f.reads {
		im.checkRead(t, r)
	}
}
