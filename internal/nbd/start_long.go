package nbd

import (
	"sync/atomic"

	"github.com/govmm/govmm/internal/nbdproto"
)

// startedPiece is what a long READ that has no company is cut into: one piece is sent
// while the device reads the next.
const startedPiece = 256 << 10

// longRead is a READ whose pieces were started. They are replied to in any order, by a
// chunk each, and a chunk without data ends the reply.
type longRead struct {
	c    *conn
	rq   request
	left atomic.Int32 // pieces, and the worker while it begins them
	err  atomic.Pointer[error]
}

// longPiece is one of its pieces.
type longPiece struct {
	read *longRead
	off  int64
	b    *buffer
}

// startLong is read for a READ of several pieces that is the only request there is. If
// the result is false nothing was done.
func (w *worker) startLong(rq request) bool {
	c, n := w.c, int64(rq.length)
	if n <= startedPiece || n > pieceSize || !c.structured || rq.flags&nbdproto.CmdFlagDF != 0 || c.starter == nil ||
		c.underway.Load() > 0 || c.in.Buffered() >= nbdproto.RequestSize || !c.budget.has(n) {
		return false
	}
	if hole, part, err := c.hole(int64(rq.off), n); hole || part < n || err != nil {
		return false // see read
	}
	if !c.out.oweUnlessFull() {
		return false
	}
	c.crew.Add(1)
	c.underway.Add(1)
	l := &longRead{c: c, rq: rq}
	l.left.Store(1)
	for off := int64(0); off < n; off += startedPiece {
		p := &longPiece{l, int64(rq.off) + off, c.budget.take(min(n-off, startedPiece))}
		l.left.Add(1)
		if c.starter.StartReadV(w.vectored(p.b), p.off, p) {
			w.unsubmitted = true
			continue
		}
		if off == 0 { // it is not a device that starts this
			c.budget.give(p.b)
			c.out.settle()
			c.underway.Add(-1)
			c.crew.Done()
			return false
		}
		go func() { p.Ended(c.export.Device.ReadV([][]byte{p.b.mem}, p.off)) }()
	}
	c.startSender()
	l.ended()
	return true
}

// Ended implements Ended.
func (p *longPiece) Ended(err error) {
	l := p.read
	if err != nil {
		l.c.budget.give(p.b)
		l.err.CompareAndSwap(nil, &err)
	} else {
		l.c.out.owe()
		l.c.out.post(dataChunk(l.rq.cookie, p.off, p.b, false))
	}
	l.ended()
}

// ended ends the reply when nothing of it is left.
func (l *longRead) ended() {
	if l.left.Add(-1) > 0 {
		return
	}
	var err error
	if e := l.err.Load(); e != nil {
		err = *e
	}
	c := l.c
	c.underway.Add(-1)
	c.out.post(c.outcome(l.rq, err))
	c.crew.Done()
}
