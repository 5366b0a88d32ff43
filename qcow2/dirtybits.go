package qcow2

import (
	"encoding/binary"
	"math/bits"
	"sync"
	"sync/atomic"
)

// dirtyBits is the contents of a bitmap: a bit for each granule of the disk,
// set when something in it was written. Bits may be set from any number of
// goroutines without a lock; whatever clears bits needs the image to be paused.
//
// It is sparse: chunks without a set bit take no memory, those with all bits
// set share one.
type dirtyBits struct {
	shift    uint  // log2 of the granularity in bytes
	size     int64 // of the disk, bytes
	granules int64
	chunks   []atomic.Pointer[bitChunk]
	changed  atomic.Bool // since it was loaded or stored
}

const (
	chunkBits  = 15
	chunkBytes = 1 << chunkBits / 8
)

// bitChunk holds the bits of 1<<chunkBits granules: bit n is bit n%64 of word
// n/64. Bits behind the end of the disk have no meaning.
type bitChunk [1 << chunkBits / 64]uint64

// fullChunk stands for every chunk in which all bits are set. It is never
// written.
var fullChunk = &fullBits

var fullBits bitChunk

// fillFull makes fullChunk what it is called, before there is anything that it may be in.
var fillFull = sync.OnceFunc(func() {
	for i := range fullChunk {
		fullChunk[i] = ^uint64(0)
	}
})

// newDirtyBits returns the bitmap of a disk of size bytes, all of it clean.
func newDirtyBits(shift uint, size int64) *dirtyBits {
	fillFull()
	granules := granulesOf(size, shift)
	return &dirtyBits{
		shift:    shift,
		size:     size,
		granules: granules,
		chunks:   make([]atomic.Pointer[bitChunk], (granules+1<<chunkBits-1)>>chunkBits),
	}
}

// resized returns the bitmap of a disk of another size. What is added is clean.
// Preconditions: the image is paused.
func (b *dirtyBits) resized(size int64) *dirtyBits {
	r := newDirtyBits(b.shift, size)
	for i := range min(len(r.chunks), len(b.chunks)) {
		r.chunks[i].Store(b.chunks[i].Load())
	}
	keep := min(r.granules, b.granules)
	if last := keep >> chunkBits; keep&(1<<chunkBits-1) != 0 {
		// The end of the smaller disk: what lies behind it has no meaning yet.
		if c := r.chunks[last].Load(); c != nil {
			own := *c
			clearBits(&own, keep&(1<<chunkBits-1))
			r.chunks[last].Store(&own)
		}
	}
	r.changed.Store(true)
	return r
}

// clearBits clears the bits from bit i on.
func clearBits(c *bitChunk, i int64) {
	c[i/64] &= 1<<(i%64) - 1
	clear(c[i/64+1:])
}

func granulesOf(size int64, shift uint) int64 {
	return size>>shift + b2i(size&(1<<shift-1) != 0)
}

// mark sets the bits of n bytes at off.
func (b *dirtyBits) mark(off, n int64) {
	if n > 0 {
		b.set(off>>b.shift, (off+n-1)>>b.shift+1)
	}
}

// set sets bits [lo, hi).
func (b *dirtyBits) set(lo, hi int64) {
	for lo < hi {
		i := lo >> chunkBits
		first := i << chunkBits
		end := min(hi, first+1<<chunkBits)
		c := b.chunks[i].Load()
		switch {
		case c == fullChunk:
		case lo == first && (end == first+1<<chunkBits || end == b.granules):
			b.chunks[i].Store(fullChunk)
			b.changed.Store(true)
		default:
			b.setBits(b.chunk(i), lo-first, end-first)
		}
		lo = end
	}
}

// chunk returns chunk i, and makes it if there is none.
func (b *dirtyBits) chunk(i int64) *bitChunk {
	if c := b.chunks[i].Load(); c != nil {
		return c
	}
	b.chunks[i].CompareAndSwap(nil, new(bitChunk))
	return b.chunks[i].Load()
}

// setBits sets bits [lo, hi) of a chunk. If somebody makes the chunk a full one
// meanwhile, that has these bits, too.
func (b *dirtyBits) setBits(c *bitChunk, lo, hi int64) {
	if c == fullChunk {
		return
	}
	for lo < hi {
		n := min(hi-lo, 64-lo%64)
		mask := ^uint64(0) >> (64 - n) << (lo % 64)
		if w := &c[lo/64]; atomic.LoadUint64(w)&mask != mask {
			atomic.OrUint64(w, mask)
			b.changed.Store(true)
		}
		lo += n
	}
}

// clear clears all bits. Preconditions: the image is paused.
func (b *dirtyBits) clear() {
	for i := range b.chunks {
		b.chunks[i].Store(nil)
	}
	b.changed.Store(true)
}

// next returns the first granule from i on whose bit has the given value; the
// number of granules if there is none.
func (b *dirtyBits) next(i int64, value bool) int64 {
	for i < b.granules {
		c := b.chunks[i>>chunkBits].Load()
		if c == nil || c == fullChunk {
			if value == (c != nil) {
				return i
			}
			i = (i>>chunkBits + 1) << chunkBits
			continue
		}
		w := atomic.LoadUint64(&c[i&(1<<chunkBits-1)/64])
		if !value {
			w = ^w
		}
		if w = w >> (i % 64); w != 0 {
			return min(i+int64(bits.TrailingZeros64(w)), b.granules)
		}
		i = (i/64 + 1) * 64
	}
	return b.granules
}

// status reports whether the byte at off is dirty, and how many bytes from
// there on are the same, at most n. Preconditions: the range is in the disk.
func (b *dirtyBits) status(off, n int64) (dirty bool, length int64) {
	i := off >> b.shift
	dirty = b.next(i, true) == i
	end := b.next(i, !dirty)
	if end == b.granules || end<<b.shift-off > n {
		return dirty, n
	}
	return dirty, end<<b.shift - off
}

// ranges calls visit for each run of dirty bytes, until it returns false.
func (b *dirtyBits) ranges(visit func(off, n int64) bool) {
	for i := b.next(0, true); i < b.granules; {
		end := b.next(i, false)
		off := i << b.shift
		if !visit(off, min(end<<b.shift, b.size)-off) {
			return
		}
		i = b.next(end, true)
	}
}

// count is the number of dirty bytes.
func (b *dirtyBits) count() int64 {
	sum := int64(0)
	b.ranges(func(_, n int64) bool {
		sum += n
		return true
	})
	return sum
}

// bytes is the length of the bitmap as a string of bytes, bit n of it being bit
// n%8 of byte n/8.
func (b *dirtyBits) bytes() int64 { return (b.granules + 7) / 8 }

// What store finds in a piece of a bitmap.
type bitsKind uint8

const (
	bitsClear bitsKind = iota // no bit is set
	bitsFull                  // all are
	bitsMixed
)

// store copies the bytes from byte at on, a multiple of 8, to p, and says what
// they are. Bits behind the end of the disk are 0. p is a multiple of 8 long.
func (b *dirtyBits) store(p []byte, at int64) bitsKind {
	first, last := at*8, min(at*8+int64(len(p))*8, b.granules)
	if b.next(first, true) >= last {
		clear(p)
		return bitsClear
	}
	if b.next(first, false) >= last {
		return bitsFull
	}
	for j := 0; j < len(p); j, first = j+8, first+64 {
		w := uint64(0)
		if first < last {
			if c := b.chunks[first>>chunkBits].Load(); c != nil {
				w = atomic.LoadUint64(&c[first&(1<<chunkBits-1)/64])
			}
			if rest := last - first; rest < 64 {
				w &= 1<<rest - 1
			}
		}
		binary.LittleEndian.PutUint64(p[j:], w)
	}
	return bitsMixed
}

// load sets the bits that are set in p, which is what store makes for byte at.
// It returns how much memory that took.
func (b *dirtyBits) load(p []byte, at int64) int64 {
	took := int64(0)
	for i := at * 8; i < b.granules && len(p) >= 8; i, p = i+64, p[8:] {
		w := binary.LittleEndian.Uint64(p)
		if w == 0 {
			continue
		}
		took += chunkBytes * b2i(b.chunks[i>>chunkBits].Load() == nil)
		if c := b.chunk(i >> chunkBits); c != fullChunk {
			c[i&(1<<chunkBits-1)/64] |= w
		}
	}
	return took
}
