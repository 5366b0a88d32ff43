package qcow2

import "fmt"

// ReadV fills bufs, in order, from the disk at offset off.
func (im *Image) ReadV(bufs [][]byte, off int64) error {
	n := vecLen(bufs)
	rq, err := im.begin("read", bufs, off, n, false)
	if err != nil {
		return err
	}
	err = im.read(rq, off, n)
	if e := rq.aside.wait(); err == nil {
		err = e
	}
	im.end(rq)
	return im.note(err)
}

func (im *Image) read(rq *request, off, n int64) error {
	for n > 0 {
		im.mu.RLock()
		m, miss, err := im.lookup(off, n)
		im.mu.RUnlock()
		if err != nil {
			return err
		}
		if miss != 0 {
			if err := im.fetch(miss); err != nil {
				return fmt.Errorf("read L2 table: %w", err)
			}
			continue
		}
		within := off & (im.g.clusterSize - 1)
		if m.kind == kindCompressed && m.length == rq.n {
			return im.readInSequence(rq, &m, off)
		}
		if m.kind == kindCompressed && m.length < n && im.readAside(rq, m.entry, within, m.length) {
			off, n = off+m.length, n-m.length
			continue
		}
		if err := im.readMapped(rq, &m, off); err != nil {
			return err
		}
		off, n = off+m.length, n-m.length
	}
	return nil
}

// readMapped fills the next m.length bytes of rq with what is at guest offset
// off according to m.
func (im *Image) readMapped(rq *request, m *mapping, off int64) error {
	switch m.kind {
	case kindNormal:
		return im.readData(rq.vec.next(m.length), m.host, off)
	case kindCompressed:
		return im.readCompressed(rq.vec.next(m.length), m.entry, off&(im.g.clusterSize-1))
	case kindUnallocated:
		return im.readBacking(rq, off, m.length)
	}
	clearVec(rq.vec.next(m.length), 0)
	return nil
}
