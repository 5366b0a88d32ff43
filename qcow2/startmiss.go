package qcow2

// A read that was started and finds its table missing starts to read that, too, and goes on
// when it has come. So a miss takes no goroutine either.

// startTable starts to read the page at off of an L2 table for a request, whose transfer is
// begun when it is there. It reports false if nothing was done: also where others are
// reading that page.
func (im *Image) startTable(file Starter, rq *request, at int64) bool {
	if im.g.dataFile || !file.Starts() || !im.mu.TryLock() {
		return false // the table is in another file, or it would wait
	}
	defer im.mu.Unlock()
	c := im.l2
	if c.pages[at] != nil || c.loads[at] != nil {
		return false
	}
	l, buf := c.newLoad(), c.buffer()
	rq.table = tableRead{rq: rq, l: l, at: at, buf: buf}
	rq.table.vec[0] = buf
	c.loads[at] = l
	if len(rq.kept) == 0 { // the list itself is the caller's again
		rq.kept = append(rq.kept, rq.vec.bufs...)
		rq.vec.bufs = rq.kept
	}
	if file.StartReadV(rq.table.vec[:], at, &rq.table) {
		return true
	}
	delete(c.loads, at)
	c.recycle(buf)
	c.endLoad(l, nil) // nobody waits: mu was held throughout
	rq.table = tableRead{}
	return false
}

// tableRead is a page of an L2 table on its way in for a request that was started.
type tableRead struct {
	rq  *request
	l   *load
	at  int64
	buf []byte
	vec [1][]byte
}

// Ended implements Ended: the page is here, and what it was read for begins.
func (t *tableRead) Ended(err error) {
	im := t.rq.started.im
	if !im.mu.TryLock() {
		go func() {
			im.mu.Lock()
			t.arrived(err)
		}()
		return
	}
	t.arrived(err)
}

// arrived enters the page in the cache and goes on with the request. Preconditions: mu is
// held exclusively; it is released.
func (t *tableRead) arrived(err error) {
	rq := t.rq
	im := rq.started.im
	im.endFetch(t.at, t.l, t.buf, err)
	im.mu.Unlock()
	*t = tableRead{}
	if file, ok := im.data.(Starter); ok && err == nil && im.startAt(file, rq, rq.off, rq.n) {
		im.Submit()
		return
	}
	// It needs more than one transfer, or the page could not be read.
	rq.vec.bufs, rq.vec.skip = rq.kept, 0
	go func() {
		err := im.read(rq, rq.off, rq.n)
		if e := rq.aside.wait(); err == nil {
			err = e
		}
		rq.ended(im.note(err))
	}()
}
