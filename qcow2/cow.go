package qcow2

import "fmt"

// fill writes the next n bytes of rq to guest offset off in the new clusters of
// a, along with what the rest of the range to fill held before: one vectored
// write for all.
func (im *Image) fill(rq *request, a *allocation, off, n int64) error {
	head := off - a.lo
	tail := a.hi - (off + n)
	headBuf, err := im.oldContents(a.head, a.lo, head)
	if err != nil {
		return err
	}
	defer im.putBuffer(headBuf)
	tailBuf, err := im.oldContents(a.tail, off+n, tail)
	if err != nil {
		return err
	}
	defer im.putBuffer(tailBuf)

	if headBuf != nil || tailBuf != nil {
		im.at(EventCowWrite)
	}
	piece, host, guest := im.assemble(rq, a, off, n, headBuf, tailBuf)
	return im.writeData(piece, host, guest)
}

// assemble puts together what fill writes, with what of a's first and last cluster is written
// again in cluster buffers, nil for zeroes: from which host and guest offset on.
func (im *Image) assemble(rq *request, a *allocation, off, n int64, headBuf, tailBuf *[]byte) (piece [][]byte, host, guest int64) {
	head := off - a.lo
	tail := a.hi - (off + n)
	cluster := im.g.clusterSize - 1
	guest = a.lo
	v := &rq.vec
	v.begin()
	switch {
	case headBuf != nil:
		v.out = append(v.out, (*headBuf)[a.lo&cluster:][:head])
	case a.clean:
		guest = off // nothing was ever written before that
	default:
		v.zero(head)
	}
	v.take(n)
	switch {
	case tailBuf != nil:
		v.out = append(v.out, (*tailBuf)[(off+n)&cluster:][:tail])
	case !a.clean:
		v.zero(tail)
	}
	return v.piece(), a.host + guest - a.first<<im.g.clusterBits, guest
}

// oldContents reads n bytes, at guest offset off, of the cluster that e maps,
// into the same place of a cluster buffer. It returns nil if they are zeroes, or
// none.
func (im *Image) oldContents(e l2Entry, off, n int64) (*[]byte, error) {
	if n == 0 {
		return nil, nil
	}
	kind, err := im.g.classify(e.word)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	var buf *[]byte
	if im.g.extended() && kind != kindCompressed {
		buf, err = im.oldSubclusters(e, kind, off, n)
	} else {
		buf, err = im.oldRun(nil, kind, e.word, off, n)
	}
	if err != nil {
		im.putBuffer(buf)
		return nil, fmt.Errorf("copy on write: %w", err)
	}
	return buf, nil
}

// oldSubclusters is oldContents for a cluster with subclusters: it reads those
// that hold something, and nothing in between.
func (im *Image) oldSubclusters(e l2Entry, cluster clusterKind, off, n int64) (buf *[]byte, err error) {
	g := &im.g
	start := off &^ (g.clusterSize - 1)
	for end := off + n; off < end && err == nil; {
		sub := g.sub(off)
		kind, count := e.subKind(cluster, sub)
		next := min(end, start+int64(sub+count)*g.subSize())
		had := buf != nil
		if buf, err = im.oldRun(buf, kind, e.word, off, next-off); !had && buf != nil {
			clear((*buf)[end-n-start : off-start]) // zeroes came before
		}
		off = next
	}
	return buf, err
}

// oldRun reads n bytes at guest offset off, all of one kind, into the same place
// of the cluster buffer buf. If that is nil it takes a new one, unless they are
// zeroes.
func (im *Image) oldRun(buf *[]byte, kind clusterKind, word uint64, off, n int64) (*[]byte, error) {
	backed := int64(0)
	if kind == kindUnallocated {
		backed = im.backed(off, min(n, im.Size()-off))
	}
	within := off & (im.g.clusterSize - 1)
	if kind == kindZero || kind == kindZeroAlloc || kind == kindUnallocated && backed <= 0 {
		if buf != nil {
			clear((*buf)[within : within+n])
		}
		return buf, nil
	}
	if buf == nil {
		buf = im.clusterBuffer()
	}
	dst := (*buf)[within : within+n]
	im.at(EventCowRead)
	switch kind {
	case kindNormal:
		return buf, im.readData([][]byte{dst}, int64(word&entryOffset)+within, off)
	case kindCompressed:
		return buf, im.decompress(word, *buf)
	}
	clear(dst[backed:])
	if err := im.backing.ReadV([][]byte{dst[:backed]}, off); err != nil {
		return buf, &backingError{err}
	}
	return buf, nil
}

func (im *Image) putBuffer(b *[]byte) {
	if b != nil {
		im.buffers.Put(b)
	}
}
