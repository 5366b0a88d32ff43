package qcow2

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestRefcountWidths stores and loads counts of every width, next to others.
func TestRefcountWidths(t *testing.T) {
	for order := uint(0); order <= maxRefcountOrder; order++ {
		rng := rand.New(rand.NewPCG(1, uint64(order)))
		g := geometry{refcountOrder: order}
		page := make([]byte, 64)
		n := int64(len(page)) * 8 >> order
		want := make([]uint64, n)
		for range 10 * n {
			i := rng.Int64N(n)
			want[i] = rng.Uint64() & g.maxRefcount()
			storeRefcount(page, i, order, want[i])
		}
		for i, w := range want {
			if got := loadRefcount(page, int64(i), order); got != w {
				t.Errorf("order %d: entry %d is %#x, want %#x", order, i, got, w)
			}
		}
	}
}

// TestRefcountLayout holds the place of an entry against the specification:
// entries narrower than a byte start at its lowest bits, wider ones are
// big-endian.
func TestRefcountLayout(t *testing.T) {
	for order, want := range [][]byte{
		{0b10, 0}, {0b0100, 0}, {0x10, 0}, {0, 1}, {0, 0, 0, 1},
		{0, 0, 0, 0, 0, 0, 0, 1}, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1},
	} {
		got := make([]byte, len(want))
		storeRefcount(got, 1, uint(order), 1)
		if !bytes.Equal(got, want) {
			t.Errorf("order %d: count 1 of entry 1 is stored as %v, want %v", order, got, want)
		}
	}
}

// TestCompressedEntry decodes the numbers of offset bits that the specification
// lists by cluster size.
func TestCompressedEntry(t *testing.T) {
	for clusterBits, x := range map[uint]uint{9: 61, 10: 60, 12: 58, 14: 56, 16: 54, 18: 52, 20: 50, 21: 49} {
		g := geometry{clusterBits: clusterBits}
		off, n, err := g.compressed(entryCompressed | 1<<x | 0x12345)
		if err != nil || off != 0x12345 || n != 2*512-0x12345%512 {
			t.Errorf("cluster bits %d: offset %#x, %d bytes, %v", clusterBits, off, n, err)
		}
		most := entryCompressed | (1<<62-1)&^(1<<x-1)
		if _, n, err = g.compressed(most); err != nil || n != 1<<(clusterBits-8)*512 {
			t.Errorf("cluster bits %d: at most %d bytes, %v", clusterBits, n, err)
		}
	}
}

// TestGeometry computes table sizes without overflow at the limits.
func TestGeometry(t *testing.T) {
	for _, tt := range []struct {
		bits      uint32
		size      int64
		clusters  int64
		l1Entries int64
	}{
		{16, 0, 0, 0},
		{16, 1, 1, 1},
		{16, 512 * mib, 8192, 1},
		{16, 512*mib + 1, 8193, 2},
		{9, 1<<63 - 1, 1 << 54, 1 << 48},
		{21, 1<<63 - 1, 1 << 42, 1 << 24},
	} {
		g := newGeometry(&header{version: 3, clusterBits: tt.bits, refcountOrder: 4})
		if c, l := g.clusters(tt.size), g.l1Entries(tt.size); c != tt.clusters || l != tt.l1Entries {
			t.Errorf("%d bytes, cluster bits %d: %d clusters, %d L1 entries; want %d, %d", tt.size, tt.bits, c, l, tt.clusters, tt.l1Entries)
		}
	}
}

// TestEntriesInRow counts entries that go on where the one before ends, by the same flags.
func TestEntriesInRow(t *testing.T) {
	const host, size = 5 << 16, 1 << 16
	last := uint64(maxHostOffset) &^ (size - 1)
	for _, c := range []struct {
		name    string
		entries []uint64
		want    int64
	}{
		{"data", []uint64{host | entryCopied, host + size | entryCopied, host + 2*size | entryCopied}, 3},
		{"zeroes with a host cluster", []uint64{host | entryZero, host + size | entryZero, host + 2*size}, 2},
		{"another flag", []uint64{host | entryCopied, host + size}, 1},
		{"a gap", []uint64{host, host + 2*size}, 1},
		{"compressed", []uint64{host | entryCompressed, host + size | entryCompressed}, 1},
		{"unallocated", []uint64{0, size}, 1},
		{"zeroes", []uint64{entryZero, entryZero + size}, 1},
		{"unaligned", []uint64{host + 512, host + size + 512}, 1},
		{"the end of what an entry can hold", []uint64{last - size, last, last + size}, 2},
	} {
		g := geometry{version: 3, clusterBits: 16, clusterSize: size, l2Bits: 13, entryBits: 3}
		table := make([]byte, size)
		for i, e := range c.entries {
			storeEntry(table, int64(i), e)
		}
		if got := g.inRow(table, 0); got != c.want {
			t.Errorf("%s: %d entries in a row, want %d", c.name, got, c.want)
		}
	}
}
