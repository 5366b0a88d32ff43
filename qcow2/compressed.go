package qcow2

import (
	"fmt"
	"slices"
	"sync"
)

// readCompressed fills dst from offset within of the compressed cluster that
// entry names.
func (im *Image) readCompressed(dst [][]byte, entry uint64, within int64) error {
	whole := len(dst) == 1 && int64(len(dst[0])) == im.g.clusterSize
	// Who is told of events is told of each request's.
	s, done := im.decoded.read(entry, dst, within, !whole, im.event == nil)
	switch {
	case done:
		return nil
	case whole:
		return im.decompress(entry, dst[0]) // nothing of it is left to be read next
	case s != nil:
		err := im.inflate(entry, s.data, true)
		im.decoded.filled(s, err, dst, within)
		return err
	}
	b := im.clusterBuffer()
	defer im.buffers.Put(b)
	if err := im.decompress(entry, *b); err != nil {
		return err
	}
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
	return im.inflate(entry, buf, false)
}

// inflate is decompress which, with spare, may overwrite codecSpare bytes behind buf.
func (im *Image) inflate(entry uint64, buf []byte, spare bool) error {
	off, n, err := im.g.compressed(entry)
	if err != nil {
		return err
	}
	in := im.packedInputs.Get().(*packedInput)
	defer im.packedInputs.Put(in)
	if int64(len(in.mem)) < n {
		in.mem = make([]byte, n)
	}
	in.vec[0] = in.mem[:n]
	im.at(EventReadCompressed)
	if err := im.f.ReadV(in.vec[:], off); err != nil {
		return fmt.Errorf("read compressed cluster at %#x: %w", off, err)
	}
	if err := im.codec.decode(buf, in.mem[:n], spare); err != nil {
		return fmt.Errorf("%w: compressed cluster at %#x (%d bytes): %w", ErrInvalid, off, n, err)
	}
	return nil
}

// packedInput is memory for a compressed cluster to be read into.
type packedInput struct {
	mem []byte
	vec [1][]byte // of what is read
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
