package qcow2

import (
	"fmt"
	"time"
)

// commitReader reads what the images above a base hold, ahead of who writes it
// there. What goes from one to the other is a batch, so that they don't wait for
// each other at every extent.
type commitReader struct {
	im    *Image
	depth int   // of the base
	had   int64 // size of the base before

	empty, full chan *commitBatch
	stop        chan struct{} // closed: nobody takes batches any more
	batch       *commitBatch  // what is being filled
}

// commitBatch is a part of the disk, in order: ranges of zeroes, and of data,
// which lie in memory one behind the other.
type commitBatch struct {
	pieces []commitPiece
	data   []byte
	err    error // why there is no more
}

// commitPiece is a range of the disk that the base gets.
type commitPiece struct {
	off, n int64
	zero   bool
}

const (
	commitBatches     = 2
	commitBatchBytes  = 1 << 20
	commitBatchPieces = 256
	// commitWriteback is how many batches are written before the host is asked to
	// begin with them, so that the flush at the end does not wait for all.
	commitWriteback = 8
)

// writebackStarter is a base, or a File, as OSFile is one.
type writebackStarter interface{ StartWriteback() }

// StartWriteback asks the host to begin writing the guest's data to the disk, see
// OSFile.StartWriteback.
func (im *Image) StartWriteback() {
	if f, ok := im.data.(writebackStarter); ok {
		f.StartWriteback()
	}
}

// copyTo writes all of it to base.
func (c *commitReader) copyTo(base CommitTarget, o *CommitOptions) error {
	c.empty, c.full = make(chan *commitBatch, commitBatches), make(chan *commitBatch, commitBatches)
	for range commitBatches {
		c.empty <- &commitBatch{data: make([]byte, 0, commitBatchBytes)}
	}
	c.stop = make(chan struct{})
	go c.read()
	defer func() {
		close(c.stop)
		for range c.full { // until the reader has ended
		}
	}()
	total, err := int64(0), error(nil)
	if o.Progress != nil {
		if total, err = c.total(); err != nil {
			return err
		}
	}
	written := 0
	bytes, began := int64(0), time.Now()
	host, _ := base.(writebackStarter)
	for b := range c.full {
		if err := b.writeTo(base); err != nil {
			return fmt.Errorf("base: %w", err)
		}
		if b.err != nil {
			return b.err
		}
		if written++; written%commitWriteback == 0 && host != nil {
			host.StartWriteback()
		}
		if bytes += b.bytes(); o.Rate > 0 {
			time.Sleep(time.Until(began.Add(time.Duration(float64(bytes) / float64(o.Rate) * float64(time.Second)))))
		}
		o.Progress.report(bytes, total)
		c.empty <- b
	}
	return nil
}

// total is how much of the disk the base gets.
func (c *commitReader) total() (n int64, err error) {
	for e, err := range Extents(c.im, 0, c.im.Size()) {
		if err != nil {
			return 0, err
		}
		n += max(0, c.part(e).Length)
	}
	return n, nil
}

// bytes is how much of the disk the batch writes.
func (b *commitBatch) bytes() (n int64) {
	for _, p := range b.pieces {
		n += p.n
	}
	return n
}

func (b *commitBatch) writeTo(base CommitTarget) error {
	data := b.data
	for _, p := range b.pieces {
		if p.zero {
			if err := base.WriteZeroes(p.off, p.n, true); err != nil {
				return err
			}
			continue
		}
		if err := base.WriteV([][]byte{data[:p.n]}, p.off); err != nil {
			return err
		}
		data = data[p.n:]
	}
	return nil
}

// read hands over batches until the end of the disk, an error, or the end of the
// interest in them.
func (c *commitReader) read() {
	defer close(c.full)
	if !c.next() {
		return
	}
	for e, err := range Extents(c.im, 0, c.im.Size()) {
		more := true
		if err == nil {
			more, err = c.take(e)
		}
		if !more {
			return
		}
		if c.batch.err = err; err != nil {
			break
		}
	}
	c.full <- c.batch
}

// next takes an empty batch, and reports whether anybody wants it filled.
func (c *commitReader) next() bool {
	select {
	case <-c.stop:
		return false
	case c.batch = <-c.empty:
		c.batch.pieces, c.batch.data = c.batch.pieces[:0], c.batch.data[:0]
		return true
	}
}

// part is what of an extent the images above the base say: from its start on, if not nothing.
func (c *commitReader) part(e Extent) Extent {
	switch {
	case !e.Present:
		// The image at this depth leaves it to a backing file, which is too
		// short. If that is the base there is nothing to say; if it is an image
		// above, that hides what the base has.
		if e.Length = min(e.Length, c.had-e.Offset); e.Depth+1 >= c.depth {
			e.Length = 0
		}
	case e.Depth >= c.depth:
		e.Length = 0
	}
	return e
}

// take puts an extent into batches if the images above the base say what is
// there. It reports whether anybody wants more.
func (c *commitReader) take(e Extent) (more bool, err error) {
	for e = c.part(e); e.Length > 0; {
		b := c.batch
		if len(b.data) == cap(b.data) || len(b.pieces) == commitBatchPieces {
			c.full <- b
			if !c.next() {
				return false, nil
			}
			b = c.batch
		}
		n := e.Length
		if !e.Zero {
			have := len(b.data)
			n = min(n, int64(cap(b.data)-have))
			p := b.data[have : int64(have)+n]
			if err := c.im.ReadV([][]byte{p}, e.Offset); err != nil {
				return true, err
			}
			b.data = b.data[:int64(have)+n]
		}
		b.add(commitPiece{e.Offset, n, e.Zero})
		e.Offset, e.Length = e.Offset+n, e.Length-n
	}
	return true, nil
}

// add appends a piece, or makes the last one longer by it.
func (b *commitBatch) add(p commitPiece) {
	if last := len(b.pieces) - 1; last >= 0 {
		if q := &b.pieces[last]; q.zero == p.zero && q.off+q.n == p.off {
			q.n += p.n
			return
		}
	}
	b.pieces = append(b.pieces, p)
}
