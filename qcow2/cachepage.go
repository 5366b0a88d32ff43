package qcow2

import "sync/atomic"

// page is a cached piece of an L2 table or refcount block, in disk order.
//
// An L2 page whose entries follow from the first is kept as such a progression,
// in a thirtieth of the memory: clusters that are consecutive on the host, or all
// without any. So is most of an image that was preallocated, or written in order,
// and the cache then maps much more of it than its size says.
type page struct {
	off   int64  // in the file
	buf   []byte // nil in a progression
	first uint64 // in a progression: entry 0
	step  uint64 // in a progression: from one entry to the next
	dirty bool   // memory is newer than the disk
	fresh bool   // of a table that nothing on disk refers to yet
	busy  bool   // a commit is writing it
	lent  bool   // what the commit writes is buf itself: change it in a copy
	pins  int    // an allocation in flight will change it
	used  atomic.Bool
}

// pageUnits is what a page in full costs, a progression being one.
const pageUnits = 30

// units is what a page costs of the cache's limit.
func (p *page) units() int {
	if p.buf == nil {
		return 1
	}
	return pageUnits
}

// evictable reports whether dropping the page loses nothing.
func (p *page) evictable() bool { return !p.dirty && !p.busy && p.pins == 0 }

// condense makes a page a progression, if it is one, and returns the buffer that it
// needs no more, or nil. Preconditions: the page is evictable.
func (p *page) condense(g *geometry) (spare []byte) {
	if p.buf == nil || !g.condensable() {
		return nil
	}
	e := loadEntry(p.buf, 0)
	if _, err := g.classify(e); err != nil || e&entryCompressed != 0 {
		return nil
	}
	step := uint64(0)
	if e&entryOffset != 0 {
		step = uint64(g.clusterSize)
	}
	for i, want := int64(1), e; i < g.entriesPerPage(); i++ {
		if want += step; loadEntry(p.buf, i) != want {
			return nil
		}
	}
	spare, p.buf, p.first, p.step = p.buf, nil, e, step
	return spare
}

// expand writes a progression into buf, which then is the page's.
func (p *page) expand(buf []byte) {
	for i, e := int64(0), p.first; i < int64(len(buf)/8); i++ {
		storeEntry(buf, i, e)
		e += p.step
	}
	p.buf = buf
}

// progression is run for a page that is one.
func (g *geometry) progression(p *page, i, off, n int64) (mapping, error) {
	e := p.first + uint64(i)*p.step
	kind, err := g.classify(e)
	if err != nil {
		return mapping{}, err
	}
	within := off & (g.clusterSize - 1)
	m := mapping{kind: kind, copied: e&entryCopied != 0, entry: e}
	if p.step != 0 {
		m.host = int64(e&entryOffset) + within
	}
	m.length = min(n, (g.entriesPerPage()-i)<<g.clusterBits-within)
	return m, nil
}

// condensable reports whether L2 pages may be kept as progressions: entries of
// subclusters and of data files are not told by one number.
func (g *geometry) condensable() bool { return g.entryBits == 3 && !g.dataFile }
