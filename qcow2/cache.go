package qcow2

// cache holds pages of metadata. Dirty ones stay until a commit wrote them, so
// that it may exceed its limit for a while. Guarded by Image.mu: get needs it
// shared, everything else exclusively.
type cache struct {
	pages    map[int64]*page
	ring     []*page // all pages, in the order that eviction looks at them
	hand     int
	limit    int // pages in full
	units    int // what all pages cost
	pageSize int64
	g        *geometry       // of the L2 tables; nil: pages stay as they are
	dirty    []*page         // pages that became dirty; some may be clean again
	last     *page           // that again found; nil: none is known
	loads    map[int64]*load // reads in progress
	spare    [][]byte
	idle     []*page // what evicted pages were
	idleLoad *load   // one that nobody waited for
	noReads  bool    // what is not here is an error, for who must not wait
}

// maxSpare is how many evicted pages and buffers are kept for the next ones.
const maxSpare = 256

// load is a page on its way in. Waiters read err after done is closed.
type load struct {
	done chan struct{} // made by the first who waits
	err  error
}

// newLoad returns a load that nobody waits for.
func (c *cache) newLoad() *load {
	l := c.idleLoad
	if l == nil {
		return new(load)
	}
	c.idleLoad = nil
	return l
}

// endLoad wakes those who wait.
func (c *cache) endLoad(l *load, err error) {
	if l.done != nil {
		l.err = err
		close(l.done)
		return
	}
	c.idleLoad = l
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

// again is get for who asks for the same page many times in a row. It needs
// Image.mu exclusively.
func (c *cache) again(off int64) *page {
	if c.last == nil || c.last.off != off {
		c.last = c.get(off)
	} else if !c.last.used.Load() {
		c.last.used.Store(true)
	}
	return c.last
}

// insert adds a page with the contents of buf, which the cache then owns.
func (c *cache) insert(off int64, buf []byte) *page {
	c.drop(off)
	c.units += pageUnits
	c.shrink() // before the new page is there: it must stay until it was used
	p := c.newPage()
	p.off, p.buf = off, buf
	p.used.Store(true)
	c.pages[off] = p
	c.ring = append(c.ring, p)
	return p
}

// insertRead adds a page that was read from the file.
func (c *cache) insertRead(off int64, buf []byte) {
	p := c.insert(off, buf)
	if c.g != nil && p.evictable() {
		c.condense(p)
	}
}

// cleaned makes a page smaller that a commit has written, if it is one of this
// cache's.
func (c *cache) cleaned(p *page) {
	if c.g != nil && p.evictable() && c.pages[p.off] == p {
		c.condense(p)
	}
}

// condense makes a page smaller if that can be.
func (c *cache) condense(p *page) bool {
	buf := p.condense(c.g)
	if buf == nil {
		return false
	}
	c.units -= pageUnits - 1
	c.recycle(buf)
	return true
}

// full returns a page with its entries in its buffer; nil stays nil.
func (c *cache) full(p *page) *page {
	if p != nil && p.buf == nil {
		p.expand(c.buffer())
		c.units += pageUnits - 1
	}
	return p
}

// shrink makes room, but not for long: it looks at some pages only, and when most
// are dirty the cache grows.
func (c *cache) shrink() {
	const most = pageUnits + 2 // progressions that go for a page in full
	for i := 0; i < most && c.units > c.limit*pageUnits; i++ {
		c.evict()
	}
}

// newPage returns an empty page.
func (c *cache) newPage() *page {
	last := len(c.idle) - 1
	if last < 0 {
		return new(page)
	}
	p := c.idle[last]
	c.idle = c.idle[:last]
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
	c.ring, c.dirty, c.hand, c.units, c.last = nil, nil, 0, 0, nil
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

// evict drops one page, or condenses one, by the clock algorithm, if it finds one
// soon.
func (c *cache) evict() {
	const patience = 128
	for range patience {
		if c.hand >= len(c.ring) {
			c.hand = 0
		}
		p := c.ring[c.hand]
		if p.evictable() && !p.used.Swap(false) {
			if c.g != nil && c.condense(p) {
				return
			}
			if p.buf != nil {
				c.recycle(p.buf)
			}
			c.remove(c.hand)
			c.retire(p)
			return
		}
		c.hand++
	}
}

// retire keeps an evicted page for the next one. Nobody has it: whoever looked it
// up did so under the lock, or pinned it.
func (c *cache) retire(p *page) {
	if len(c.idle) < maxSpare {
		p.buf, p.first, p.step, p.fresh, p.lent = nil, 0, 0, false, false
		c.idle = append(c.idle, p)
	}
}

// remove takes element i out of the ring.
func (c *cache) remove(i int) {
	delete(c.pages, c.ring[i].off)
	c.last = nil
	c.units -= c.ring[i].units()
	last := len(c.ring) - 1
	c.ring[i] = c.ring[last]
	c.ring[last] = nil
	c.ring = c.ring[:last]
}
