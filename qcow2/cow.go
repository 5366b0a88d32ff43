package qcow2

import "fmt"

// fill writes the next n bytes of rq to guest offset off in the new clusters of
// a, along with what the rest of these clusters held before: one vectored write
// for all.
func (im *Image) fill(rq *request, a *allocation, off, n int64) error {
	start := a.first << im.g.clusterBits
	head := off - start
	tail := start + a.count<<im.g.clusterBits - (off + n)

	headBuf, err := im.oldContents(a.head, start, head, 0)
	if err != nil {
		return err
	}
	defer im.putBuffer(headBuf)
	tailBuf, err := im.oldContents(a.tail, off+n, tail, im.g.clusterSize-tail)
	if err != nil {
		return err
	}
	defer im.putBuffer(tailBuf)

	at, guest := a.host, start
	v := &rq.vec
	v.begin()
	switch {
	case headBuf != nil:
		v.out = append(v.out, (*headBuf)[:head])
	case a.clean:
		at, guest = at+head, off // nothing was ever written there
	default:
		v.zero(head)
	}
	v.take(n)
	switch {
	case tailBuf != nil:
		v.out = append(v.out, (*tailBuf)[im.g.clusterSize-tail:])
	case !a.clean:
		v.zero(tail)
	}
	if headBuf != nil || tailBuf != nil {
		im.at(EventCowWrite)
	}
	return im.writeData(v.piece(), at, guest)
}

// oldContents reads n bytes, at guest offset off, of the cluster that entry
// maps, into the same place, within, of a cluster buffer. It returns nil if
// they are zeroes, or none.
func (im *Image) oldContents(entry uint64, off, n, within int64) (*[]byte, error) {
	if n == 0 {
		return nil, nil
	}
	kind, err := im.g.classify(entry)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	backed := int64(0)
	switch kind {
	case kindZero, kindZeroAlloc:
		return nil, nil
	case kindUnallocated:
		if backed = im.backed(off, min(n, im.Size()-off)); backed == 0 {
			return nil, nil
		}
	}
	buf := im.clusterBuffer()
	dst := (*buf)[within : within+n]
	im.at(EventCowRead)
	switch kind {
	case kindNormal:
		err = im.readData([][]byte{dst}, int64(entry&entryOffset)+within, off)
	case kindCompressed:
		err = im.decompress(entry, *buf)
	case kindUnallocated:
		clear(dst[backed:])
		if err = im.backing.ReadV([][]byte{dst[:backed]}, off); err != nil {
			err = &backingError{err}
		}
	}
	if err != nil {
		im.buffers.Put(buf)
		return nil, fmt.Errorf("copy on write: %w", err)
	}
	return buf, nil
}

func (im *Image) putBuffer(b *[]byte) {
	if b != nil {
		im.buffers.Put(b)
	}
}
