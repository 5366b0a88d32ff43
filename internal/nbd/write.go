package nbd

import (
	"io"

	"github.com/govmm/govmm/internal/nbdproto"
)

const (
	// partsFrom is the length from which on a WRITE is started in parts, as they come from
	// the client: the disk has begun with it when its last bytes arrive.
	partsFrom = 256 << 10
	// partSize is how long parts are.
	partSize = 128 << 10
	// partsBeside is beside how many other requests that is worth while: with more, the
	// disk has work anyway.
	partsBeside = 2
)

// write carries out WRITE, or reads its payload and refuses it.
func (w *worker) write(rq request, code uint32, text string) {
	c := w.c
	switch n := int64(rq.length); {
	case code != 0:
		if int64(c.in.Buffered()) < n {
			w.flush()
		}
		if _, err := io.CopyN(io.Discard, c.in, n); err != nil {
			c.over, w.done = err, true
			return
		}
		w.fail(rq, code, text)
	case c.drains(&rq):
		w.writeDrained(rq)
	case c.starter == nil && n > 0 && n <= int64(c.in.Buffered()) && !c.slow(&rq):
		w.writeBuffered(rq)
	case n <= pieceSize:
		w.writePiece(rq)
	default:
		w.writePieces(rq, &payload{in: c.in}, 0, nil)
	}
}

// writeBuffered carries out a WRITE that was received, and that is thought to be quick, from
// the receive buffer.
func (w *worker) writeBuffered(rq request) {
	c := w.c
	c.srv.breadth.carriedOut()
	watch := c.watch(&rq)
	b, _ := c.in.Peek(int(rq.length)) // it has as many
	w.vec[0] = b
	err := c.export.Device.WriteV(w.vec[:], int64(rq.off))
	_, _ = c.in.Discard(len(b))
	c.learn(nbdproto.CmdWrite, watch)
	w.finish(rq, err)
}

// writePiece carries out a WRITE of one piece.
func (w *worker) writePiece(rq request) {
	c := w.c
	b := w.room(int64(rq.length))
	s, done, err := w.receiveParts(rq, b)
	if err != nil {
		c.over, w.done = err, true
	}
	switch {
	case s != nil:
		c.hasStarted()
		w.endParts(s, done, err)
		return
	case err != nil:
		c.budget.give(b)
		return
	case w.start(rq, b):
		return
	}
	c.srv.breadth.carriedOut()
	w.submit()
	if c.slow(&rq) {
		w.release()
	}
	watch := c.watch(&rq)
	err = c.export.Device.WriteV(w.vectored(b), int64(rq.off))
	c.budget.give(b)
	if err == nil && rq.flags&nbdproto.CmdFlagFUA != 0 {
		err = c.export.Device.Flush()
	} else {
		c.learn(nbdproto.CmdWrite, watch)
	}
	w.finish(rq, err)
}

// writePieces carries out a WRITE in pieces, one after the other, from the byte at done on.
// What was before that may have failed.
func (w *worker) writePieces(rq request, from *payload, done int64, failed error) {
	c := w.c
	off, left := int64(rq.off)+done, int64(rq.length)-done
	for left > 0 {
		n := min(left, pieceSize)
		b := w.room(n)
		if err := from.fill(b.mem); err != nil {
			c.budget.give(b)
			c.over, w.done = err, true
			return
		}
		left -= n
		c.srv.breadth.carriedOut()
		w.submit()
		if left == 0 && (c.drains(&rq) || c.slow(&rq)) { // what is not drained is no simple write
			w.release()
		}
		if failed == nil {
			failed = c.export.Device.WriteV(w.vectored(b), off)
		}
		c.budget.give(b)
		off += n
	}
	if failed == nil && rq.flags&nbdproto.CmdFlagFUA != 0 {
		w.release()
		failed = c.export.Device.Flush()
	}
	w.finish(rq, failed)
}

// room is a buffer for n bytes that are about to be received. The client may want to hear
// of what was done before them first.
func (w *worker) room(n int64) *buffer {
	c := w.c
	if !c.budget.has(n) {
		w.flush()
	}
	b := c.budget.take(n)
	if int64(c.in.Buffered()) < n {
		w.flush()
	}
	return b
}

// receiveParts receives the payload of a WRITE of one piece into b. If that is long it
// starts parts of the transfer meanwhile: the first done bytes. If it did, the result is the
// request, to which a reply is due when all parts have ended, one of which is the caller's.
func (w *worker) receiveParts(rq request, b *buffer) (s *started, done int, err error) {
	c, rest := w.c, b.mem
	for c.starter != nil && len(b.mem) >= partsFrom && len(rest) > 0 {
		part := rest[:min(len(rest), partSize)]
		if _, err := io.ReadFull(c.in, part); err != nil {
			return s, done, err
		}
		rest = rest[len(part):]
		if s == nil {
			if c.underway.Load() >= partsBeside || !c.out.oweUnlessFull() {
				break
			}
			s = c.newStarted(rq, b)
		}
		w.vec[0] = part
		s.left.Add(1)
		if !c.starter.StartWriteV(w.vec[:], int64(rq.off)+int64(done), s) {
			s.left.Add(-1)
			break
		}
		done += len(part)
		c.starter.Submit()
	}
	if s != nil && done == 0 {
		s.dismiss()
		s = nil
	}
	_, err = io.ReadFull(c.in, rest)
	return s, done, err
}

// endParts carries out what was not started of a WRITE, unless its payload did not come.
func (w *worker) endParts(s *started, done int, err error) {
	if rest := s.b.mem[done:]; err == nil && len(rest) > 0 {
		w.release()
		w.vec[0] = rest
		err = w.c.export.Device.WriteV(w.vec[:], int64(s.rq.off)+int64(done))
	}
	s.Ended(err)
}
