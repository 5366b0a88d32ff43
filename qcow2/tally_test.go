package qcow2

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestTally counts references at random, also far beyond the end of the file, and
// more of them than a byte holds.
func TestTally(t *testing.T) {
	const end = 1000
	rng := rand.New(rand.NewPCG(1, 2))
	got := newTally(end)
	want := make(map[int64]uint64)
	for range 20000 {
		c := rng.Int64N(2 * end)
		if rng.IntN(10) == 0 {
			c = 1<<40 + rng.Int64N(300)
		}
		switch n := rng.Uint32N(3); {
		case rng.IntN(5) == 0:
			got.sub(c)
			if want[c] > 0 {
				want[c]--
			}
		case rng.IntN(50) == 0 && c < end-20:
			got.addRun(c, 20)
			for i := range int64(20) {
				want[c+i] = min(want[c+i]+1, math.MaxUint32)
			}
		default:
			if rng.IntN(500) == 0 {
				n = math.MaxUint32 - 5
			}
			got.add(c, n)
			want[c] = min(want[c]+uint64(n), math.MaxUint32)
		}
	}
	maps.DeleteFunc(want, func(_ int64, n uint64) bool { return n == 0 })
	for c := range int64(3 * end) {
		if n := got.count(c); uint64(n) != want[c] {
			t.Fatalf("cluster %d has %d references, want %d", c, n, want[c])
		}
	}
	clusters := slices.Sorted(maps.Keys(want))
	if last := got.last(); last != clusters[len(clusters)-1] {
		t.Errorf("the last cluster is %d, want %d", last, clusters[len(clusters)-1])
	}
	for _, bits := range []uint{3, 6, 7, 12} {
		var groups []int64
		for _, c := range clusters {
			groups = append(groups, c>>bits)
		}
		if groups = slices.Compact(groups); !slices.Equal(got.groups(bits), groups) {
			t.Errorf("groups of 2^%d: %d, want %d", bits, got.groups(bits), groups)
		}
	}
	if !got.shared {
		t.Error("no cluster seems to be shared")
	}
}

// TestCheckReadsOnce checks a large clean disk: each table is read once, and
// memory follows the number of clusters by a byte for each.
func TestCheckReadsOnce(t *testing.T) {
	f := new(memFile)
	if err := Create(f, CreateOptions{Size: 2 * mib, ClusterSize: 512}); err != nil {
		t.Fatal(err)
	}
	im, err := Open(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := im.WriteV(pattern(1, 2*mib), 0); err != nil {
		t.Fatal(err)
	}
	if err := im.Flush(); err != nil {
		t.Fatal(err)
	}
	before := f.reads
	res, err := im.Check(CheckOptions{})
	if err != nil || !res.Clean() || res.AllocatedClusters != 4096 {
		t.Fatalf("%+v, %v", res, err)
	}
	blocks := 0
	for _, e := range im.refTable {
		blocks += int(b2i(e != 0))
	}
	if reads := f.reads - before; reads > len(im.l1)+blocks+2 {
		t.Errorf("%d reads, for %d L2 tables and %d refcount blocks", reads, len(im.l1), blocks)
	}
}

// TestCheckKeepsNoListOfErrors checks and repairs an image in which more
// refcounts are wrong than are kept in memory.
func TestCheckKeepsNoListOfErrors(t *testing.T) {
	f := newImage(t, CreateOptions{})
	clear(f.data[atRefBlock : atRefBlock+64*kib])
	im, err := Open(f, Options{ForRepair: true})
	if err != nil {
		t.Fatal(err)
	}
	c := &checker{f: f, h: im.hdr, g: &im.g, l1: im.l1, refTable: im.refTable, end: int64(len(f.data)) >> im.g.clusterBits, manyWrong: true}
	if err := c.run(); err != nil {
		t.Fatal(err)
	}
	few, err := im.Check(CheckOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if c.res != few {
		t.Errorf("with the refcounts on disk %+v, with those in memory %+v", c.res, few)
	}
}
