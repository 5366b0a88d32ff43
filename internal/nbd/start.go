package nbd

import (
	"sync"
	"sync/atomic"

	"github.com/govmm/govmm/internal/nbdproto"
)

// Starter is a Device that can carry out transfers while a worker goes on with
// the next request; qcow2.Starter, which is the same, says what the methods promise.
type Starter interface {
	Starts() bool
	StartReadV(bufs [][]byte, off int64, end Ended) bool
	StartWriteV(bufs [][]byte, off int64, end Ended) bool
	Submit()
}

// Ended is told that a transfer has ended, by a goroutine that must not wait.
type Ended = interface{ Ended(err error) }

// started is a request whose transfer was started, in one part or several.
type started struct {
	c  *conn
	rq request
	b  *buffer

	left   atomic.Int32          // parts that have not ended, and whoever starts more
	failed atomic.Pointer[error] // of the first part that did
}

var startedPool = sync.Pool{New: func() any { return new(started) }}

// start begins a request for one piece if the device can do so, and if there is
// company: a lone one is done sooner by waiting for it. The worker goes on with the
// receive lock, and the reply is left to the sender. If the result is false
// nothing was done.
func (w *worker) start(rq request, b *buffer) bool {
	c := w.c
	if !c.starts() || !c.out.oweUnlessFull() {
		return false
	}
	s := c.newStarted(rq, b)
	begin := c.starter.StartReadV
	if rq.cmd == nbdproto.CmdWrite {
		begin = c.starter.StartWriteV
	}
	if begin(w.vectored(b), int64(rq.off), s) {
		w.unsubmitted = true
		c.hasStarted()
		return true
	}
	s.dismiss()
	return false
}

// newStarted is a request that is about to be started, in one part so far. A reply to it is
// owed.
func (c *conn) newStarted(rq request, b *buffer) *started {
	c.crew.Add(1)
	c.underway.Add(1)
	s := startedPool.Get().(*started)
	s.c, s.rq, s.b = c, rq, b
	s.left.Store(1)
	return s
}

// dismiss takes back newStarted: nothing was started, and no reply is owed.
func (s *started) dismiss() {
	c := s.c
	s.recycle()
	c.out.settle()
	c.underway.Add(-1)
	c.crew.Done()
}

func (s *started) recycle() {
	*s = started{}
	startedPool.Put(s)
}

// hasStarted enters that a request was started. Preconditions: recv is held.
func (c *conn) hasStarted() {
	if c.secure {
		c.srv.breadth.carriedOut() // ciphers are work for a second processor
	} else {
		c.srv.breadth.begun()
	}
	c.startSender()
}

// starts reports whether start may do something. Preconditions: recv is held.
func (c *conn) starts() bool {
	n := c.underway.Load()
	return c.starter != nil && n < maxUnderway && (n > 0 || c.in.Buffered() >= nbdproto.RequestSize)
}

// maxUnderway is how many requests of a connection are started at a time: each may take a
// goroutine at its end, to make durable what it wrote.
const maxUnderway = 256

// submit makes the device begin with what was started.
func (w *worker) submit() {
	if w.unsubmitted {
		w.unsubmitted = false
		w.c.starter.Submit()
	}
}

// Ended implements Ended: after the last part it queues the reply, or, as it must not wait,
// leaves that to who makes durable what was written.
func (s *started) Ended(err error) {
	if err != nil {
		failed := err // else each err would be on the heap
		s.failed.CompareAndSwap(nil, &failed)
	}
	if s.left.Add(-1) > 0 {
		return
	}
	if failed := s.failed.Load(); failed != nil {
		err = *failed
	}
	if err == nil && s.rq.cmd == nbdproto.CmdWrite && s.rq.flags&nbdproto.CmdFlagFUA != 0 {
		go func() { s.reply(s.c.export.Device.Flush()) }()
		return
	}
	s.reply(err)
}

func (s *started) reply(err error) {
	c, b := s.c, s.b
	r := c.outcome(s.rq, err)
	switch {
	case s.rq.cmd == nbdproto.CmdWrite || err != nil:
		c.budget.give(b)
	case c.structured:
		r = dataChunk(s.rq.cookie, int64(s.rq.off), b, true)
	default:
		r.payload = b
	}
	s.recycle()
	c.underway.Add(-1)
	c.out.post(r)
	c.crew.Done()
}

// startSender makes sure that there is a goroutine that sends the replies of
// requests which no worker waits for. Preconditions: recv is held.
func (c *conn) startSender() {
	if c.sending == nil {
		c.sending = make(chan struct{})
		go func() {
			c.out.run(c)
			close(c.sending)
		}()
	}
}
