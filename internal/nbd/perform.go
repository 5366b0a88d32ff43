package nbd

import (
	"errors"
	"fmt"

	"github.com/govmm/govmm/internal/nbdproto"
)

// carryOut carries out a request that was received. The worker holds the receive
// lock; it passes it on before anything that may take long.
func (w *worker) carryOut(rq request) {
	c := w.c
	code, text := w.check(&rq)
	c.bulk = rq.cmd == nbdproto.CmdWrite && c.drains(&rq)
	if rq.cmd == nbdproto.CmdWrite {
		w.write(rq, code, text)
		return
	}
	if code != 0 {
		w.fail(rq, code, text)
		return
	}
	pours := rq.cmd == nbdproto.CmdRead && c.pours(&rq)
	if rq.cmd == nbdproto.CmdRead && !pours && w.startRead(rq) {
		return
	}
	c.srv.breadth.carriedOut()
	if rq.cmd == nbdproto.CmdRead && !pours && w.lendRead(rq) {
		return
	}
	w.submit()
	if c.slow(&rq) && (rq.cmd != nbdproto.CmdRead || rq.length <= pieceSize) {
		w.release()
	}
	watch := c.watch(&rq)
	switch rq.cmd {
	case nbdproto.CmdRead:
		w.read(rq, pours)
	case nbdproto.CmdBlockStatus:
		w.blockStatus(rq)
	case nbdproto.CmdCache:
		w.finish(rq, c.warm(rq))
	default:
		w.finish(rq, c.change(rq))
	}
	c.learn(rq.cmd, watch)
}

// release sends what was collected and passes the receive lock on.
func (w *worker) release() {
	if w.holds {
		if w.lent {
			w.flush() // the next to be in the pipe is of another worker
		}
		w.pass()
		w.flush()
	}
}

// check finds what forbids a request. The result is an error code, 0 for none,
// and a text for people.
func (w *worker) check(rq *request) (code uint32, text string) {
	e := w.c.export
	size := uint64(e.Device.Size())
	inside := rq.off <= size && uint64(rq.length) <= size-rq.off
	switch {
	case rq.cmd >= commands || rq.cmd == nbdproto.CmdDisconnect:
		return nbdproto.ErrnoInval, fmt.Sprintf("command %d is not known", rq.cmd)
	case rq.flags&^allowedFlags[rq.cmd] != 0:
		return nbdproto.ErrnoInval, fmt.Sprintf("flags %#x are not allowed", rq.flags)
	case rq.cmd == nbdproto.CmdFlush:
		return 0, ""
	case (rq.cmd == nbdproto.CmdRead || rq.cmd == nbdproto.CmdWrite) && rq.length > MaxRequest:
		return nbdproto.ErrnoInval, fmt.Sprintf("%d bytes (at most %d are allowed)", rq.length, MaxRequest)
	case rq.cmd == nbdproto.CmdWrite && e.readOnly(), rq.cmd == nbdproto.CmdTrim && e.readOnly(), rq.cmd == nbdproto.CmdWriteZeroes && e.readOnly():
		return nbdproto.ErrnoPerm, "export is read-only"
	case !inside && (rq.cmd == nbdproto.CmdWrite || rq.cmd == nbdproto.CmdWriteZeroes):
		return nbdproto.ErrnoNoSpace, "beyond the end of the export"
	case !inside:
		return nbdproto.ErrnoInval, "beyond the end of the export"
	case rq.cmd == nbdproto.CmdTrim && !e.Device.CanDiscard():
		return nbdproto.ErrnoInval, "TRIM is not offered"
	case rq.flags&nbdproto.CmdFlagFastZero != 0 && !e.FastZero && !canFastZero(e.Device):
		return nbdproto.ErrnoNotSup, "zeroes can't be written quickly"
	case rq.flags&nbdproto.CmdFlagDF != 0 && !w.c.structured:
		return nbdproto.ErrnoInval, "DF without structured replies"
	case rq.flags&nbdproto.CmdFlagDF != 0 && rq.length > pieceSize:
		return nbdproto.ErrnoOverflow, "too long for one chunk"
	case rq.cmd == nbdproto.CmdBlockStatus && (len(w.c.contexts) == 0 || rq.length == 0):
		return nbdproto.ErrnoInval, "no metadata context was selected, or nothing asked for"
	}
	return 0, ""
}

func canFastZero(d Device) bool {
	_, ok := d.(FastZeroer)
	return ok
}

// change carries out the commands without data.
func (c *conn) change(rq request) error {
	d := c.export.Device
	var err error
	switch rq.cmd {
	case nbdproto.CmdFlush:
		if c.export.readOnly() {
			return nil
		}
		return d.Flush()
	case nbdproto.CmdTrim:
		if !c.export.KeepDiscarded {
			err = d.Discard(int64(rq.off), int64(rq.length))
		}
	case nbdproto.CmdWriteZeroes:
		zero := d.WriteZeroes
		if f, ok := d.(FastZeroer); ok && rq.flags&nbdproto.CmdFlagFastZero != 0 && !c.export.FastZero {
			zero = f.WriteZeroesFast
		}
		err = zero(int64(rq.off), int64(rq.length), rq.flags&nbdproto.CmdFlagNoHole == 0)
	}
	if err == nil && rq.flags&nbdproto.CmdFlagFUA != 0 {
		err = d.Flush()
	}
	return err
}

// warm reads a range and throws it away, so that the host has it in its cache.
func (c *conn) warm(rq request) error {
	b := c.budget.take(min(int64(rq.length), pieceSize))
	defer c.budget.give(b)
	off, n := int64(rq.off), int64(rq.length)
	for n > 0 && !c.ended.Load() {
		part := min(n, int64(len(b.mem)))
		if err := c.export.Device.ReadV([][]byte{b.mem[:part]}, off); err != nil {
			return err
		}
		off, n = off+part, n-part
	}
	return nil
}

// read carries out READ, through conduits if it pours: in pieces if it is long, of which the
// last one ends the reply. The budget is taken from before the lock is passed on wherever possible,
// so that a client that takes no replies is not read from either.
func (w *worker) read(rq request, pours bool) {
	off, left := int64(rq.off), int64(rq.length)
	if left == 0 {
		w.finish(rq, nil)
		return
	}
	if !w.c.structured && left > pieceSize {
		// Its pieces don't say whose they are: no other reply may get between them.
		w.flush()
		w.c.out.settled()
	}
	begun := false           // a simple reply was begun: an error can't be said any more
	long := left > pieceSize // of a long reply, nothing stays behind when others may reply
	var ahead chan poured    // the next piece is on its way
	for left > 0 {
		if ahead != nil {
			next := <-ahead
			if ahead = nil; next.n > 0 {
				ahead = w.passOn(rq, next, off, left)
				off, left = off+next.n, left-next.n
				continue
			}
		}
		n := min(left, pieceSize)
		if w.lend(off, n, w.pieceHeader(rq, off, n, begun, left == n)) {
			begun = begun || !w.c.structured
			if off, left = off+n, left-n; long {
				w.flush()
			}
			continue
		}
		if w.c.structured && n >= holeSearch && rq.flags&nbdproto.CmdFlagDF == 0 {
			hole, part, err := w.c.hole(off, n)
			if err != nil {
				w.abandon(rq, err, begun)
				return
			}
			if n = part; hole {
				left -= n
				w.add(holeChunk(rq.cookie, off, n, left == 0))
				off += n
				continue
			}
		}
		if pours {
			if p := w.pour(off, n); p.n > 0 {
				ahead = w.passOn(rq, p, off, left)
				off, left = off+p.n, left-p.n
				continue
			}
		}
		if len(w.replies) > 0 && !w.c.budget.has(n) {
			w.flush()
		}
		b := w.c.budget.take(n)
		if err := w.c.export.Device.ReadV(w.vectored(b), off); err != nil {
			w.c.budget.give(b)
			w.abandon(rq, err, begun)
			return
		}
		left -= n
		r := w.pieceHeader(rq, off, n, begun, left == 0)
		r.payload = b
		w.add(r)
		begun = begun || !w.c.structured
		off += n
		if long {
			w.flush()
		}
	}
}

// pieceHeader is the reply with a piece of a READ, without its payload.
func (w *worker) pieceHeader(rq request, off, n int64, begun, last bool) reply {
	switch {
	case w.c.structured:
		return dataChunkHeader(rq.cookie, off, int(n), last)
	case begun:
		return reply{}
	}
	return simpleReply(rq.cookie, 0)
}

// startRead is read for a READ of one piece that is not waited for.
func (w *worker) startRead(rq request) bool {
	c, n := w.c, int64(rq.length)
	if n == 0 || n > pieceSize || !c.starts() || !c.budget.has(n) {
		return false
	}
	if c.structured && n >= holeSearch && rq.flags&nbdproto.CmdFlagDF == 0 {
		if hole, part, err := c.hole(int64(rq.off), n); hole || part < n || err != nil {
			return false // see read
		}
	}
	b := c.budget.take(n)
	if !w.start(rq, b) {
		c.budget.give(b)
		return false
	}
	return true
}

// abandon ends a READ that failed.
func (w *worker) abandon(rq request, err error, begun bool) {
	if !begun {
		w.finish(rq, err)
		return
	}
	// The client waits for bytes that don't exist.
	w.flush()
	w.c.out.fail(fmt.Errorf("read in the middle of a reply: %w", err))
}

// holeSearch is the length from which on a READ looks for holes first.
const holeSearch = 64 << 10

// hole reports whether the bytes at off are a hole that reads as zeroes, and how
// many of the n bytes share the answer.
func (c *conn) hole(off, n int64) (bool, int64, error) {
	alloc := c.export.allocation()
	if alloc == nil {
		return false, n, nil
	}
	flags, length, err := alloc.Status(off, n)
	if err != nil {
		return false, 0, err
	}
	if length = min(length, n); length <= 0 {
		return false, 0, errors.New("status of no bytes")
	}
	if flags&StatusZero == 0 {
		// Short extents of data are not worth a chunk each.
		return false, n, nil
	}
	return true, length, nil
}

// vectored is a buffer as devices take it.
func (w *worker) vectored(b *buffer) [][]byte {
	w.vec[0] = b.mem
	return w.vec[:]
}

// finish replies to a request without data.
func (w *worker) finish(rq request, err error) { w.add(w.c.outcome(rq, err)) }

// fail replies with an error.
func (w *worker) fail(rq request, code uint32, text string) { w.add(w.c.failure(rq, code, text)) }

// outcome is the reply to a request without data.
func (c *conn) outcome(rq request, err error) reply {
	switch {
	case err != nil:
		return c.failure(rq, errno(err), err.Error())
	case c.structured && rq.cmd == nbdproto.CmdRead:
		return doneChunk(rq.cookie) // a READ may not get a simple reply any more
	}
	return simpleReply(rq.cookie, 0)
}

// failure is the reply that is an error.
func (c *conn) failure(rq request, code uint32, text string) reply {
	if c.structured {
		return errorChunk(rq.cookie, code, text)
	}
	return simpleReply(rq.cookie, code)
}
