package qcow2

import "sync"

// decodedCache keeps clusters that were decompressed for reads of parts of them, or
// ahead of reads, so that each is decompressed once. The key is the L2 entry: it is
// forgotten before the host clusters it names can be used for something else.
//
// Who fills a slot is in an epoch, and has looked the entry up in that epoch.
type decodedCache struct {
	clusterSize int64

	mu    sync.Mutex
	done  sync.Cond // a slot is not being filled any more
	slots []decoded // guarded by mu
	next  int       // guarded by mu: the slot to use next
}

// decoded is a slot.
type decoded struct {
	entry   uint64 // 0: empty
	data    []byte // one cluster, with codecSpare bytes behind it
	filling bool   // data is somebody's, who decompresses into it without mu
	used    bool   // it was read as a whole: nobody is likely to want it again
}

// decodedBytes bounds the memory of the cache, though one cluster always fits.
const decodedBytes = 1 << 20

func (d *decodedCache) init(clusterSize int64) {
	d.clusterSize = clusterSize
	d.done.L = &d.mu
	d.slots = make([]decoded, max(1, min(16, decodedBytes/clusterSize)))
}

// read fills dst from offset off of the cluster that entry names, and reports whether
// it could: if it is here, with wait perhaps after waiting for who is filling its slot. If
// not, and with fill, the result is a slot for it, if one is free: the caller fills it, and
// calls filled.
func (d *decodedCache) read(entry uint64, dst [][]byte, off int64, fill, wait bool) (s *decoded, done bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		s := d.find(entry)
		switch {
		case s == nil && fill:
			return d.take(entry), false
		case s == nil:
			return nil, false
		case !s.filling:
			s.copyOut(dst, off)
			return nil, true
		case !wait:
			return nil, false
		}
		d.done.Wait()
	}
}

// reserve returns a slot for the cluster that entry names, as read does; nil if it is
// here, or somebody fills a slot with it.
func (d *decodedCache) reserve(entry uint64) *decoded {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.find(entry) != nil {
		return nil
	}
	return d.take(entry)
}

// isFilling reports whether somebody fills a slot with the cluster that entry names.
func (d *decodedCache) isFilling(entry uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.find(entry)
	return s != nil && s.filling
}

// filled ends the filling of a slot, and fills dst from it unless that failed.
func (d *decodedCache) filled(s *decoded, err error, dst [][]byte, off int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s.filling = false
	if err != nil {
		s.entry = 0
	} else {
		s.copyOut(dst, off)
	}
	d.done.Broadcast()
}

// find returns the slot with a cluster, nil if there is none. Preconditions: mu is held.
func (d *decodedCache) find(entry uint64) *decoded {
	for i := range d.slots {
		if s := &d.slots[i]; s.entry == entry {
			return s
		}
	}
	return nil
}

// take takes a slot for a cluster: one of which nothing more is wanted, since that is in
// the processor's cache, or the oldest. The result is nil if all are being filled.
// Preconditions: mu is held.
func (d *decodedCache) take(entry uint64) *decoded {
	var s *decoded
	for i := range d.slots {
		if d.slots[i].used {
			s = &d.slots[i]
			break
		}
	}
	for range d.slots {
		if s != nil {
			break
		}
		if !d.slots[d.next].filling {
			s = &d.slots[d.next]
		}
		d.next = (d.next + 1) % len(d.slots)
	}
	if s == nil {
		return nil
	}
	if s.data == nil {
		s.data = make([]byte, d.clusterSize, d.clusterSize+codecSpare)
	}
	s.entry, s.filling, s.used = entry, true, false
	return s
}

// copyOut fills dst from offset off. Preconditions: mu is held; it is not being filled.
func (s *decoded) copyOut(dst [][]byte, off int64) {
	s.used = off == 0
	for _, b := range dst {
		off += int64(copy(b, s.data[off:]))
	}
	s.used = s.used && off == int64(len(s.data))
}

// forget empties the cache. A slot that is being filled keeps its cluster: that was looked
// up in an epoch that is not over, so nothing of it can be used for something else yet.
func (d *decodedCache) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.slots {
		if s := &d.slots[i]; !s.filling {
			s.entry, s.used = 0, s.data != nil
		}
	}
}
