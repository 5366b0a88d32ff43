package qcow2

import "fmt"

// request is one call of ReadV, WriteV, WriteZeroes or Discard. They are pooled.
type request struct {
	vec    cursor
	aside  aside
	epoch  uint64
	off, n int64 // what it was called for

	started startedRequest // if nobody waits for it
	table   tableRead      // that it waits for
	kept    [][]byte       // a copy of the caller's list meanwhile
}

// begin waits until requests may run, checks the range of a request, and
// returns the request, which ends with end.
func (im *Image) begin(op string, bufs [][]byte, off, n int64, write bool) (*request, error) {
	t, err := im.epochs.enter()
	if err != nil {
		return nil, err
	}
	// Only inside is the size what it will be until the end of the request.
	if err := im.admit(op, off, n, write); err != nil {
		im.epochs.exit(t)
		return nil, err
	}
	return im.newRequest(t, bufs, off, n), nil
}

func (im *Image) newRequest(epoch uint64, bufs [][]byte, off, n int64) *request {
	rq := im.requests.Get().(*request)
	rq.epoch = epoch
	rq.off, rq.n = off, n
	rq.vec.bufs, rq.vec.skip = bufs, 0
	return rq
}

// admit refuses requests that the image can't serve.
func (im *Image) admit(op string, off, n int64, write bool) error {
	if size := im.Size(); off < 0 || n < 0 || off > size-n {
		return fmt.Errorf("%w: %s of %d bytes at %d, size %d", ErrRange, op, n, off, size)
	}
	if err := im.locked(); err != nil {
		return err
	}
	if write {
		if im.readOnly {
			return fmt.Errorf("%s at %d: %w", op, off, ErrReadOnly)
		}
		if im.corrupt.Load() {
			return fmt.Errorf("%s at %d: %w", op, off, ErrCorrupt)
		}
	}
	return nil
}

func (im *Image) end(rq *request) {
	im.epochs.exit(rq.epoch)
	rq.vec.release()
	rq.started = startedRequest{}
	clear(rq.kept)
	rq.kept = rq.kept[:0]
	im.requests.Put(rq)
}

// finishWrite ends a request that may have changed something. When much has
// collected in memory it commits first.
func (im *Image) finishWrite(rq *request, err error) error {
	im.changed(rq)
	if err == nil && im.changes.pressing.Load() {
		err = im.flush()
	}
	im.end(rq)
	return im.note(err)
}

// changed records that a request may have changed something.
func (im *Image) changed(rq *request) {
	im.markDirty(rq.off, rq.n)
	im.writes.Add(1)
}

// clusterBuffer returns memory of one cluster, with any contents; the caller
// puts it back into im.buffers.
func (im *Image) clusterBuffer() *[]byte { return im.buffers.Get().(*[]byte) }
