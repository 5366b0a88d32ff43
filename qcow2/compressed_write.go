package qcow2

import "fmt"

// WriteCompressed stores p at offset off in compressed clusters, several of
// them in a host cluster where they fit. It is meant for tools that fill an
// image; a guest's later writes replace whole compressed clusters by plain ones.
//
// The range must be whole clusters, of which the last may be cut off by the end
// of the disk. A cluster that does not get smaller is written as WriteV does.
// What was mapped there before is given back, as with any other write. Calls
// may be concurrent: clusters are compressed in parallel, and only their place
// in the file is chosen under a lock.
func (im *Image) WriteCompressed(p []byte, off int64) error {
	return im.WriteCompressedAhead(nil, p, off)
}

// Ahead is what was compressed ahead of its writes, in the order of Compress. The zero
// value is empty.
type Ahead struct {
	buf  []byte // all of it
	ends []int  // of each cluster in buf; one that does not get smaller has none there
	next int    // which cluster is written next
}

// grow makes room for n bytes more. Of new memory, only what is used becomes any.
func (a *Ahead) grow(n int) {
	if cap(a.buf)-len(a.buf) < n {
		buf := make([]byte, len(a.buf), max(len(a.buf)+n, 2*cap(a.buf)))
		copy(buf, a.buf)
		a.buf = buf
	}
}

// Reset makes a empty.
func (a *Ahead) Reset() { a.buf, a.ends, a.next = a.buf[:0], a.ends[:0], 0 }

// take returns the next cluster, nil if it is to be stored as it is. ok is false if
// there is none.
func (a *Ahead) take() (data []byte, ok bool) {
	if a == nil || a.next == len(a.ends) {
		return nil, false
	}
	start := 0
	if a.next > 0 {
		start = a.ends[a.next-1]
	}
	end := a.ends[a.next]
	a.next++
	if start == end {
		return nil, true
	}
	return a.buf[start:end:end], true
}

// Compress adds the clusters of p to a. It changes nothing in the image, takes no part
// in the order of requests, and may be called concurrently for different a.
func (im *Image) Compress(a *Ahead, p []byte) {
	a.grow(int(im.g.roundUp(int64(len(p)))))
	for len(p) > 0 {
		n := min(im.g.clusterSize, int64(len(p)))
		start := len(a.buf)
		free := a.buf[start:start:cap(a.buf)]
		a.buf = append(a.buf[:start], im.compress(&free, p[:n])...)
		a.ends = append(a.ends, len(a.buf))
		p = p[n:]
	}
}

// WriteCompressedAhead is WriteCompressed of what Compress was called for in the same
// pieces and the same order: only the writes are left to do.
func (im *Image) WriteCompressedAhead(a *Ahead, p []byte, off int64) error {
	n := int64(len(p))
	rq, err := im.begin("write compressed", nil, off, n, true)
	if err != nil {
		return err
	}
	if im.encrypted() {
		err = fmt.Errorf("%w: compressed clusters in an encrypted image", ErrUnsupported)
	} else if im.g.dataFile {
		err = fmt.Errorf("%w: compressed clusters in an image with an external data file", ErrUnsupported)
	} else if _, lo, hi := im.wholeClusters(off, n); lo != off || hi != off+n {
		err = fmt.Errorf("%w: compressed write of %d bytes at %d, clusters have %d bytes", ErrAlignment, n, off, im.g.clusterSize)
	} else {
		err = im.writeCompressed(rq, a, p, off)
	}
	return im.finishWrite(rq, err)
}

func (im *Image) writeCompressed(rq *request, a *Ahead, p []byte, off int64) error {
	packed := im.scratch(im.g.clusterSize)
	defer im.packed.Put(packed)
	for len(p) > 0 {
		n := min(im.g.clusterSize, int64(len(p)))
		data, ok := a.take()
		if !ok {
			data = im.compress(packed, p[:n])
		}
		done, err := im.writePacked(data, off)
		if err == nil && !done {
			rq.vec.bufs, rq.vec.skip = [][]byte{p[:n]}, 0
			err = im.write(rq, off, n)
		}
		if err != nil {
			return err
		}
		p, off = p[n:], off+n
		if len(p) > 0 && im.changes.pressing.Load() {
			im.writes.Add(1)
			if err := im.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// compress returns a cluster compressed, in the memory of buf as long as it is
// used for nothing else; nil if it does not get smaller. The part of a cluster
// beyond the end of the disk is zeroes.
func (im *Image) compress(buf *[]byte, p []byte) []byte {
	if int64(len(p)) < im.g.clusterSize {
		whole := im.clusterBuffer()
		defer im.buffers.Put(whole)
		clear((*whole)[copy(*whole, p):])
		p = *whole
	}
	return im.codec.encode(*buf, p)
}

// writePacked writes compressed data and maps the cluster at guest offset off
// to it. It reports false, and does nothing, without data and when no place is
// left that the entry of a compressed cluster can name.
func (im *Image) writePacked(data []byte, off int64) (done bool, err error) {
	if data == nil {
		return false, nil
	}
	n := int64(len(data))
	a, entry, err := im.reservePacked(off, n)
	if a == nil || err != nil {
		return false, err
	}
	im.at(EventWriteCompressed)
	err = im.f.WriteV([][]byte{data}, a.host)
	im.settlePacked(a, entry, n, err)
	return true, err
}

// reservePacked takes a place for n bytes of compressed data and enters the
// guest cluster at off in the in-flight list. It waits for requests in flight
// to the same cluster. entry is the L2 entry for the place.
func (im *Image) reservePacked(off, n int64) (a *allocation, entry uint64, err error) {
	first := off >> im.g.clusterBits
	for {
		p, index, err := im.writablePage(off)
		if err != nil {
			return nil, 0, err
		}
		count, gone := im.conflict(first, 1)
		if count == 0 {
			im.mu.Unlock()
			<-gone
			continue
		}
		defer im.mu.Unlock()
		if _, err := im.checkEntry(im.g.entry(p.buf, index), first); err != nil {
			return nil, 0, fmt.Errorf("%w (guest offset %#x)", err, off)
		}
		host, err := im.pack(n)
		if err != nil {
			return nil, 0, allocationOf("compressed cluster", err)
		}
		entry, ok := im.g.compressedEntry(host, n)
		if !ok {
			im.unpack(host, n)
			return nil, 0, nil
		}
		a = &allocation{first: first, count: 1, host: host, page: p, index: index}
		im.fly(a)
		return a, entry, nil
	}
}

// settlePacked ends what reservePacked began: with the data written, by linking
// it; after a failure, by giving its place back.
func (im *Image) settlePacked(a *allocation, entry uint64, n int64, failed error) {
	im.mu.Lock()
	defer im.mu.Unlock()
	defer im.land(a)
	if failed != nil {
		im.unpack(a.host, n)
		return
	}
	old := im.g.word(a.page.buf, a.index)
	im.at(EventL2UpdateCompressed)
	im.setL2(a.page, a.index, l2Entry{word: entry})
	im.releaseEntry(old, im.passes(PassOther))
	im.alloc.dataEnd = max(im.alloc.dataEnd, (a.host+n+sectorSize-1)&^(sectorSize-1))
	im.changes.barrier = true
	im.weigh()
}
