package qcow2

import "sync/atomic"

// page is a cached piece of an L2 table or refcount block, in disk order.
type page struct {
	off   int64 // in the file
	buf   []byte
	dirty bool // memory is newer than the disk
	fresh bool // of a table that nothing on disk refers to yet
	busy  bool // a commit is writing it
	lent  bool // what the commit writes is buf itself: change it in a copy
	pins  int  // an allocation in flight will change it
	used  atomic.Bool
}

// evictable reports whether dropping the page loses nothing.
func (p *page) evictable() bool { return !p.dirty && !p.busy && p.pins == 0 }

// cache holds pages of metadata. Dirty ones stay until a commit wrote them, so
// that it may exceed its limit for a while. Guarded by Image.mu: get needs it
// shared, everything else exclusively.
type cache struct {
	pages    map[int64]*page
	ring     []*page // all pages, in the order that eviction looks at them
	hand     int
	limit    int // pages
	pageSize int64
	dirty    []*page         // pages that became dirty; some may be clean again
	loads    map[int64]*load // reads in progress
	spare    [][]byte
}

// maxSpare is how many buffers of evicted pages are kept for the next ones.
const maxSpare = 64

// load is a page on its way in. Waiters read err after done is closed.
type load struct {
	done chan struct{}
	err  error
}

func newCache(bytes, pageSize int64, minPages int) *cache {
	return &cache{
		pages:    make(map[int64]*page),
		loads:    make(map[int64]*load),
		limit:    max(int(bytes/pageSize), minPages),
		pageSize: pageSize,
	}
}

// get returns the page at off, nil if it is not here.
func (c *cache) get(off int64) *page {
	p := c.pages[off]
	if p != nil && !p.used.Load() {
		p.used.Store(true)
	}
	return p
}

// insert adds a page with the contents of buf, which the cache then owns.
func (c *cache) insert(off int64, buf []byte) *page {
	c.drop(off)
	for i := 0; i < 2 && len(c.ring) >= c.limit; i++ {
		c.evict()
	}
	p := &page{off: off, buf: buf}
	p.used.Store(true)
	c.pages[off] = p
	c.ring = append(c.ring, p)
	return p
}

// insertTable adds the pages of a new table of n bytes that is not yet referred
// to: table, or zeroes if that is nil.
func (c *cache) insertTable(off, n int64, table []byte) {
	for i := int64(0); i < n; i += c.pageSize {
		buf := c.buffer()
		if table != nil {
			copy(buf, table[i:])
		} else {
			clear(buf)
		}
		p := c.insert(off+i, buf)
		p.fresh = true
		c.markDirty(p)
	}
}

// dropTable forgets the pages of a table of n bytes at off.
func (c *cache) dropTable(off, n int64) {
	for i := int64(0); i < n; i += c.pageSize {
		c.drop(off + i)
	}
}

// reset forgets all pages.
func (c *cache) reset() {
	clear(c.pages)
	c.ring, c.dirty, c.hand = nil, nil, 0
}

// change returns the contents of p, to be changed: a copy, if a commit is writing
// them as they are.
func (c *cache) change(p *page) []byte {
	if p.lent {
		buf := c.buffer()
		copy(buf, p.buf)
		p.buf, p.lent = buf, false
	}
	c.markDirty(p)
	return p.buf
}

// recycle takes back a buffer that nobody uses any more.
func (c *cache) recycle(buf []byte) {
	if len(c.spare) < maxSpare {
		c.spare = append(c.spare, buf)
	}
}

// markDirty records that p is newer than the disk.
func (c *cache) markDirty(p *page) {
	if !p.dirty {
		p.dirty = true
		c.dirty = append(c.dirty, p)
	}
}

// buffer returns memory for a page, with any contents.
func (c *cache) buffer() []byte {
	if n := len(c.spare); n > 0 {
		b := c.spare[n-1]
		c.spare = c.spare[:n-1]
		return b
	}
	return make([]byte, c.pageSize)
}

// drop forgets the page at off, whatever state it is in.
func (c *cache) drop(off int64) {
	p := c.pages[off]
	if p == nil {
		return
	}
	for i, q := range c.ring {
		if q == p {
			c.remove(i)
			break
		}
	}
	p.dirty = false
}

// evict drops one page by the clock algorithm, if it finds one soon.
func (c *cache) evict() {
	const patience = 128
	for range patience {
		if c.hand >= len(c.ring) {
			c.hand = 0
		}
		p := c.ring[c.hand]
		if p.evictable() && !p.used.Swap(false) {
			c.recycle(p.buf)
			c.remove(c.hand)
			return
		}
		c.hand++
	}
}

// remove takes element i out of the ring.
func (c *cache) remove(i int) {
	delete(c.pages, c.ring[i].off)
	last := len(c.ring) - 1
	c.ring[i] = c.ring[last]
	c.ring[last] = nil
	c.ring = c.ring[:last]
}
