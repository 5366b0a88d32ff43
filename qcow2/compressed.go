package qcow2

import (
	"fmt"
	"slices"
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

// readCompressed fills dst from offset within of the compressed cluster that
// entry names.
func (im *Image) readCompressed(dst [][]byte, entry uint64, within int64) error {
	if im.decoded.copyOut(entry, dst, within) {
		return nil
	}
	if len(dst) == 1 && int64(len(dst[0])) == im.g.clusterSize {
		return im.decompress(entry, dst[0]) // nothing of it is left to be read next
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

// aside is what goroutines beside that of a request do for it.
type aside struct {
	wg  sync.WaitGroup
	mu  sync.Mutex
	err error // guarded by mu: the first
}

// wait returns when all have ended, with the first error.
func (a *aside) wait() error {
	a.wg.Wait()
	err := a.err
	a.err = nil
	return err
}

func (a *aside) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err == nil {
		a.err = err
	}
}

// readAside does readCompressed for the next n bytes of rq on another
// goroutine, so that the request can go on with its next cluster. It reports
// false, and does nothing, if as many of them as there are cores are at work.
func (im *Image) readAside(rq *request, entry uint64, within, n int64) bool {
	select {
	case im.helpers <- struct{}{}:
	default:
		return false
	}
	dst := slices.Clone(rq.vec.next(n))
	rq.aside.wg.Go(func() {
		if err := im.readCompressed(dst, entry, within); err != nil {
			rq.aside.fail(err)
		}
		<-im.helpers
	})
	return true
}

// decompress fills buf, a whole cluster, from the compressed cluster that entry
// names. Input after a full cluster of output is ignored; less output is an
// error.
func (im *Image) decompress(entry uint64, buf []byte) error {
	off, n, err := im.g.compressed(entry)
	if err != nil {
		return err
	}
	in := im.scratch(n)
	defer im.packed.Put(in)
	im.at(EventReadCompressed)
	if err := readFull(im.f, (*in)[:n], off); err != nil {
		return fmt.Errorf("read compressed cluster at %#x: %w", off, err)
	}
	if err := im.codec.decode(buf, (*in)[:n]); err != nil {
		return fmt.Errorf("%w: compressed cluster at %#x (%d bytes): %w", ErrInvalid, off, n, err)
	}
	return nil
}

// scratch returns memory of at least n bytes, with any contents, for compressed
// data; the caller puts it back into im.packed.
func (im *Image) scratch(n int64) *[]byte {
	b, _ := im.packed.Get().(*[]byte)
	if b == nil {
		b = new([]byte)
	}
	if int64(len(*b)) < n {
		*b = make([]byte, n)
	}
	return b
}
