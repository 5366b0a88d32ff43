package qcow2

import (
	"fmt"
	"math/bits"
)

// An image with extended L2 entries (incompatible bit 4) divides each cluster
// into 32 subclusters. The second word of an entry has two bits for each: the
// low half says which are allocated, that is, have their data in the host
// cluster, the high half which read as zeroes. One with neither bit is
// unallocated, and reads from the backing file, with or without a host cluster
// under it. Copy on write, zeroes and allocation all work on subclusters.
const (
	subclusters            = 32
	subBits                = 5 // log2 of that
	minExtendedBits        = minClusterBits + subBits
	bitmapZeroes    uint64 = 0xffffffff00000000 // the bitmap of a cluster of zeroes
)

// l2Entry is an entry of an L2 table. The bitmap is 0 in images without
// subclusters.
type l2Entry struct{ word, bitmap uint64 }

// entriesPerPage is the number of L2 entries in a page.
func (g *geometry) entriesPerPage() int64 { return g.pageSize >> g.entryBits }

// extended reports whether clusters have subclusters.
func (g *geometry) extended() bool { return g.entryBits == 4 }

// word is the first word of L2 entry i in b.
func (g *geometry) word(b []byte, i int64) uint64 { return loadEntry(b, i<<(g.entryBits-3)) }

// setWord changes the first word of L2 entry i in b.
func (g *geometry) setWord(b []byte, i int64, v uint64) { storeEntry(b, i<<(g.entryBits-3), v) }

// entry is L2 entry i in b.
func (g *geometry) entry(b []byte, i int64) l2Entry {
	if g.extended() {
		return l2Entry{loadEntry(b, 2*i), loadEntry(b, 2*i+1)}
	}
	return l2Entry{word: loadEntry(b, i)}
}

// setEntry changes L2 entry i in b.
func (g *geometry) setEntry(b []byte, i int64, e l2Entry) {
	if g.extended() {
		storeEntry(b, 2*i, e.word)
		storeEntry(b, 2*i+1, e.bitmap)
		return
	}
	storeEntry(b, i, e.word)
}

// subSize is the unit of allocation within a cluster, in bytes: a subcluster or,
// without those, the cluster.
func (g *geometry) subSize() int64 {
	if g.extended() {
		return g.clusterSize / subclusters
	}
	return g.clusterSize
}

// sub is the number of the subcluster, in its cluster, of guest offset off.
func (g *geometry) sub(off int64) uint {
	return uint(off & (g.clusterSize - 1) >> (g.clusterBits - subBits))
}

// subMask has a bit for each of the subclusters [from, to) of a cluster.
func subMask(from, to uint) uint32 { return uint32(1<<to - 1<<from) }

// alloc and zero are the halves of a bitmap.
func (e l2Entry) alloc() uint32 { return uint32(e.bitmap) }
func (e l2Entry) zero() uint32  { return uint32(e.bitmap >> 32) }

func bitmapOf(alloc, zero uint32) uint64 { return uint64(zero)<<32 | uint64(alloc) }

// checkBitmap refuses a bitmap that contradicts itself or its entry, which is of
// the given kind.
func (e l2Entry) checkBitmap(kind clusterKind) error {
	switch {
	case kind == kindNormal && e.alloc()&e.zero() != 0:
		return fmt.Errorf("subclusters are allocated and zero at once: bitmap %#x", e.bitmap)
	case kind == kindUnallocated && e.alloc() != 0:
		return fmt.Errorf("subclusters are allocated without a cluster: bitmap %#x", e.bitmap)
	}
	return nil
}

// subKind is the kind of a subcluster, and how many from it on, in the cluster,
// are of that kind. kind is that of the entry; a subcluster without data is
// kindUnallocated whether it has storage or not.
// Preconditions: the entry is valid, and no compressed cluster.
func (e l2Entry) subKind(kind clusterKind, sub uint) (clusterKind, uint) {
	alloc, zero := e.alloc(), e.zero()
	same := ^(alloc | zero)
	switch {
	case alloc>>sub&1 != 0:
		kind, same = kindNormal, alloc
	case zero>>sub&1 == 0:
		kind = kindUnallocated
	case kind == kindNormal:
		kind, same = kindZeroAlloc, zero
	default:
		kind, same = kindZero, zero
	}
	return kind, uint(bits.TrailingZeros32(^(same >> sub)))
}

// extendedRun is run for images with subclusters.
func (g *geometry) extendedRun(page []byte, i, off, n int64) (mapping, error) {
	e := g.entry(page, i)
	cluster, err := g.classify(e.word)
	if err == nil {
		err = e.checkBitmap(cluster)
	}
	if err == nil && cluster == kindNormal {
		err = g.misplaced(e.word, off>>g.clusterBits)
	}
	if err != nil {
		return mapping{}, err
	}
	within := off & (g.clusterSize - 1)
	if cluster == kindCompressed {
		return mapping{kind: kindCompressed, entry: e.word, length: min(n, g.clusterSize-within)}, nil
	}
	sub := g.sub(off)
	kind, count := e.subKind(cluster, sub)
	m := mapping{kind: kind, copied: e.word&entryCopied != 0, entry: e.word}
	placed := cluster == kindNormal
	if placed {
		m.host = int64(e.word&entryOffset) + within
	}
	m.length = int64(sub+count)*g.subSize() - within
	next := e.word
	for i++; m.length < n && sub+count == subclusters && i < g.entriesPerPage(); i++ {
		e = g.entry(page, i)
		next += uint64(g.clusterSize)
		cluster, err := g.classify(e.word)
		if err != nil || cluster == kindCompressed || e.checkBitmap(cluster) != nil {
			break
		}
		var k clusterKind
		k, count = e.subKind(cluster, 0)
		if k != kind || placed && e.word != next || !placed && cluster == kindNormal {
			break
		}
		sub = 0
		m.length += int64(count) * g.subSize()
	}
	m.length = min(n, m.length)
	return m, nil
}

// fillRange is the range of guest bytes, [lo, hi), that a write of [off, end) to
// clusters whose entries were head and tail before has to fill: what it writes,
// the rest of the subclusters of that, and what has to move to a new cluster
// along with them.
func (g *geometry) fillRange(a *allocation, off, end int64) (lo, hi int64) {
	lo, hi = a.first<<g.clusterBits, (a.first+a.count)<<g.clusterBits
	if !g.extended() {
		// Clusters of data between those of zeroes keep what is not written.
		if a.keepsData(a.head) {
			lo = off
		}
		if a.keepsData(a.tail) {
			hi = end
		}
		return lo, hi
	}
	return max(lo, g.fillFrom(a, off)), min(hi, g.fillTo(a, end))
}

func (g *geometry) fillFrom(a *allocation, off int64) int64 {
	start, sub, size := off&^(g.clusterSize-1), g.sub(off), g.subSize()
	kind, _ := g.classify(a.head.word) // it is valid
	switch {
	case kind == kindCompressed:
		return start
	case a.kept && a.head.alloc()>>sub&1 != 0:
		return off
	case !a.kept && kind == kindNormal:
		sub = min(sub, uint(bits.TrailingZeros32(a.head.alloc())))
	}
	return start + int64(sub)*size
}

func (g *geometry) fillTo(a *allocation, end int64) int64 {
	start, sub, size := (end-1)&^(g.clusterSize-1), g.sub(end-1), g.subSize()
	kind, _ := g.classify(a.tail.word)
	switch {
	case kind == kindCompressed:
		return start + g.clusterSize
	case a.kept && a.tail.alloc()>>sub&1 != 0:
		return end
	case !a.kept && kind == kindNormal:
		sub = max(sub, uint(subclusters-1-min(bits.LeadingZeros32(a.tail.alloc()), subclusters-1)))
	}
	return start + int64(sub+1)*size
}

// filled is what the entry of guest cluster c becomes when the allocation has
// been filled: old was there before.
func (g *geometry) filled(a *allocation, c int64, old l2Entry) l2Entry {
	e := l2Entry{word: uint64(a.host+(c-a.first)<<g.clusterBits) | entryCopied}
	if !g.extended() {
		return e
	}
	start := c << g.clusterBits
	lo, hi := max(a.lo, start), min(a.hi, start+g.clusterSize)
	mask := subMask(g.sub(lo), g.sub(hi-1)+1)
	if old.word&entryCompressed == 0 {
		e.bitmap = bitmapOf(old.alloc()|mask, old.zero()&^mask)
	} else {
		e.bitmap = bitmapOf(mask, 0)
	}
	return e
}

// dataEntry is the entry of a cluster of which all is data, where word says.
func (g *geometry) dataEntry(word uint64) l2Entry {
	if g.extended() {
		return l2Entry{word, bitmapOf(1<<subclusters-1, 0)}
	}
	return l2Entry{word: word}
}

// zeroPart is what an entry of the given kind becomes when some of its
// subclusters become zero; not ok if it can't, being compressed.
func (e l2Entry) zeroPart(kind clusterKind, mask uint32) (_ l2Entry, ok bool) {
	e.bitmap = bitmapOf(e.alloc()&^mask, e.zero()|mask)
	return e, kind != kindCompressed
}
