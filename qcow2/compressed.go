package qcow2

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"sync"
)

// decodedCache keeps the clusters that were decompressed last, so that small
// sequential reads inflate each cluster once. The key is the L2 entry: it is
// forgotten before the host clusters it names can be used for something else.
type decodedCache struct {
	mu    sync.Mutex
	slots []decoded // guarded by mu
	next  int       // guarded by mu: the slot to use next
}

type decoded struct {
	entry uint64 // 0: empty
	data  []byte
}

// decodedBytes bounds the memory of the cache, though one cluster always fits.
const decodedBytes = 1 << 20

func (d *decodedCache) init(clusterSize int64) {
	d.slots = make([]decoded, max(1, min(16, decodedBytes/clusterSize)))
}

// copyOut fills dst from offset off of the cluster that entry names, if it is
// here.
func (d *decodedCache) copyOut(entry uint64, dst [][]byte, off int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.slots {
		if s := &d.slots[i]; s.entry == entry {
			for _, b := range dst {
				off += int64(copy(b, s.data[off:]))
			}
			return true
		}
	}
	return false
}

// put stores a copy of data.
func (d *decodedCache) put(entry uint64, data []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := &d.slots[d.next]
	d.next = (d.next + 1) % len(d.slots)
	s.entry = entry
	s.data = append(s.data[:0], data...)
}

// forget empties the cache.
func (d *decodedCache) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.slots {
		d.slots[i].entry = 0
	}
}

// readCompressed fills the next n bytes of rq from offset within of the
// compressed cluster that entry names.
func (im *Image) readCompressed(rq *request, entry uint64, within, n int64) error {
	dst := rq.vec.next(n)
	if im.decoded.copyOut(entry, dst, within) {
		return nil
	}
	b := im.clusterBuffer()
	defer im.buffers.Put(b)
	if err := im.decompress(entry, *b); err != nil {
		return err
	}
	im.decoded.put(entry, *b)
	for _, p := range dst {
		within += int64(copy(p, (*b)[within:]))
	}
	return nil
}

// decompress inflates the cluster that entry names into buf, a whole cluster.
// Input after a full cluster of output is ignored, as in QEMU; less output is
// an error.
func (im *Image) decompress(entry uint64, buf []byte) error {
	off, n, err := im.g.compressed(entry)
	if err != nil {
		return err
	}
	in := make([]byte, n)
	if err := readFull(im.f, in, off); err != nil {
		return fmt.Errorf("read compressed cluster at %#x: %w", off, err)
	}
	if _, err := io.ReadFull(flate.NewReader(bytes.NewReader(in)), buf); err != nil {
		return fmt.Errorf("%w: compressed cluster at %#x (%d bytes): %w", ErrInvalid, off, n, err)
	}
	return nil
}
