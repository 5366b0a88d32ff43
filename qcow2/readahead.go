package qcow2

import "sync"

// readAhead has compressed clusters decompressed into the cache of decoded clusters before
// they are read, on another goroutine, for who reads them in order and one request at a
// time. There is one at most for an image, and only where Image.helpers has room for it.
type readAhead struct {
	run func()         // Image.runAhead, bound once
	wg  sync.WaitGroup // of the goroutine; what is added is added by requests

	mu      sync.Mutex // guards all below; that of the cache is taken under it
	end     int64      // guest offset where the last read ended
	inOrder int        // how many reads began where the one before had ended, which was over
	reading int        // requests for compressed clusters that are in progress
	next    int64      // guest offset of the cluster to decompress next
	limit   int64      // what to decompress ends before that
	running bool       // the goroutine is there
}

const (
	// aheadAfter is how many reads in a row, of one at a time, are followed by what was
	// not asked for.
	aheadAfter = 8
	// aheadClusters is how many clusters are decompressed ahead at most. With three, neither
	// the goroutine nor who reads has to wait for the other.
	aheadClusters = 3
	// aheadSpare is how many slots of the cache are left to others: one for the cluster that is
	// being read, and one more.
	aheadSpare = 2
)

// readInSequence is readMapped for all of a request, in one compressed cluster.
func (im *Image) readInSequence(rq *request, m *mapping, off int64) error {
	a := &im.ahead
	a.mu.Lock()
	a.reading++
	if off == a.end && a.reading == 1 {
		a.inOrder++
	} else {
		a.inOrder = 0
	}
	a.end = off + m.length
	if a.inOrder >= aheadAfter && im.goAhead(off) && im.decoded.isFilling(m.entry) {
		im.stepAhead() // rather than to wait
	}
	a.mu.Unlock()
	err := im.readMapped(rq, m, off)
	a.mu.Lock()
	a.reading--
	a.mu.Unlock()
	return err
}

// goAhead has the clusters decompressed after that of guest offset off, and reports
// whether there is a goroutine that does so. Preconditions: ahead.mu is held.
func (im *Image) goAhead(off int64) bool {
	a := &im.ahead
	count := min(aheadClusters, int64(len(im.decoded.slots)-aheadSpare))
	if im.event != nil || count <= 0 {
		return false
	}
	first := (off>>im.g.clusterBits + 1) << im.g.clusterBits
	a.limit = first + count<<im.g.clusterBits
	if a.next < first || a.next > a.limit {
		a.next = first
	}
	if a.running || a.next == a.limit {
		return a.running
	}
	select {
	case im.helpers <- struct{}{}:
		a.running = true
		a.wg.Add(1)
		go a.run()
	default:
	}
	return a.running
}

// runAhead decompresses until there is nothing left to do.
func (im *Image) runAhead() {
	a := &im.ahead
	defer a.wg.Done()
	a.mu.Lock()
	defer a.mu.Unlock()
	for im.stepAhead() {
	}
	a.running = false
	<-im.helpers
}

// stepAhead decompresses the next cluster, and reports whether there was one to do.
// Preconditions: ahead.mu is held; it is released meanwhile.
func (im *Image) stepAhead() bool {
	a := &im.ahead
	if a.next >= a.limit {
		return false
	}
	off := a.next
	a.next += im.g.clusterSize
	a.mu.Unlock()
	ok := im.decodeAhead(off)
	a.mu.Lock()
	if !ok && a.next > off && a.next < a.limit {
		a.next = a.limit // who reads on finds out what is there
	}
	return true
}

// decodeAhead decompresses the cluster at guest offset off if it is a compressed one whose
// mapping is in memory, and reports whether it was. It takes part in the order of requests.
func (im *Image) decodeAhead(off int64) bool {
	t, ok := im.epochs.tryEnter()
	if !ok {
		return false
	}
	defer im.epochs.exit(t)
	n := min(im.g.clusterSize, im.Size()-off)
	if n <= 0 {
		return false
	}
	im.mu.RLock()
	m, miss, err := im.lookup(off, n)
	im.mu.RUnlock()
	if err != nil || miss != 0 || m.kind != kindCompressed {
		return false
	}
	s := im.decoded.reserve(m.entry)
	if s == nil {
		return true
	}
	err = im.inflate(m.entry, s.data, true)
	im.decoded.filled(s, err, nil, 0)
	return err == nil
}
