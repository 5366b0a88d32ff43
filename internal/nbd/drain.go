package nbd

import (
	"errors"
	"io"
	"syscall"

	"golang.org/x/sys/unix"
)

// PipeWriter is a Device that can write what is in a pipe; qcow2.PipeWriter, which is the
// same, says what the methods promise.
type PipeWriter interface {
	WritesPipes() bool
	WritePipe(pipe int, off, n int64) (taken int64, err error)
}

// drainFrom is the length from which on a WRITE goes through a conduit: what the client sent
// is copied once, into the host's cache.
const drainFrom = 64 << 10

// briefDrain is up to what length a WRITE that is drained, and did not come with its header,
// lets the client wait for the replies to those before it.
const briefDrain = 128 << 10

// drains reports whether a WRITE goes through a conduit.
func (c *conn) drains(rq *request) bool { return c.conduits.to != nil && rq.length >= drainFrom }

// writeDrained carries out a WRITE through a conduit, as far as the device can do so.
func (w *worker) writeDrained(rq request) {
	c := w.c
	if c.in.Buffered() > 0 || rq.length > briefDrain {
		w.flush() // the client may want to hear of these first
	}
	c.srv.breadth.carriedOut()
	var done int64
	var failed, err error
	rest := &payload{in: c.in}
	if d := c.conduits.take(); d != nil {
		defer func() { c.conduits.settle(d, rest.left) }()
		rest.pipe, rest.left = d.r, c.lendReceived(d, int64(rq.length))
		for more := c.in.Buffered() == 0 || rest.left == int64(rq.length); more && failed == nil && err == nil; {
			done, more, failed, err = w.drain(rq, done, d, rest)
		}
	}
	if err != nil {
		c.over, w.done = err, true
		return
	}
	w.writePieces(rq, rest, done, failed)
}

// drain receives what there is of a WRITE into a conduit, and writes it from there, as far as
// that goes: what was there before may be left, too. The results are how much of the WRITE is
// done, whether it goes on like this, and what the device or the connection had against it.
func (w *worker) drain(rq request, before int64, d *conduit, rest *payload) (done int64, more bool, failed, err error) {
	c, left := w.c, int64(rq.length)-before
	if left == 0 || rest.left >= receiveBuffer || rest.left > 0 && !d.writable() {
		return before, false, nil, nil
	}
	if rest.left < left {
		n, err := w.sip(d, left-rest.left)
		if err != nil {
			return before, false, nil, err
		}
		rest.left += n
	}
	n, failed := c.conduits.to.WritePipe(d.r, int64(rq.off)+before, rest.left)
	rest.left -= n
	return before + n, n > 0 || rest.left < left, failed, nil
}

// lendReceived puts the beginning of a WRITE that was received with its header into a conduit,
// as far as there is room, and returns how much that was. It is not copied: nothing is received
// into the buffer before it was taken out of there.
func (c *conn) lendReceived(d *conduit, n int64) (lent int64) {
	for n = min(n, int64(c.in.Buffered())); lent < n; {
		b, _ := c.in.Peek(int(n - lent)) // it has as many
		iov := [1]unix.Iovec{{Base: &b[0]}}
		iov[0].SetLen(len(b))
		m, err := unix.Vmsplice(d.w, iov[:], unix.SPLICE_F_NONBLOCK)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || m <= 0 {
			break
		}
		lent += int64(m)
		_, _ = c.in.Discard(m)
	}
	return lent
}

// payload is what is left of a WRITE's: some in a pipe, and then what in has.
type payload struct {
	in   io.Reader
	pipe int
	left int64 // in the pipe
}

// fill receives the next bytes.
func (p *payload) fill(b []byte) error {
	for len(b) > 0 && p.left > 0 {
		n, err := unix.Read(p.pipe, b[:min(int64(len(b)), p.left)])
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case n == 0:
			return io.ErrUnexpectedEOF
		default:
			b, p.left = b[n:], p.left-int64(n)
		}
	}
	_, err := io.ReadFull(p.in, b)
	return err
}

// sip moves to a conduit what the client has sent, n bytes at most. If that is nothing it waits,
// and tells the client before what was done. The conduit has room.
func (w *worker) sip(d *conduit, n int64) (int64, error) {
	c := w.c
	if len(w.replies) > 0 {
		got, err := c.sip.take(c.out.mover.sock, d, n, false)
		if got > 0 || err != nil {
			return got, err
		}
		w.flush()
	}
	return c.sip.take(c.out.mover.sock, d, n, true)
}

// sip moves what a client sent from its socket to a conduit. It is used by one goroutine at
// a time.
type sip struct {
	step func(fd uintptr) bool // bound once, so that take does not allocate
	look func(fd uintptr) bool // the same for tryRead

	to    int
	want  int64
	waits bool
	got   int64
	err   error
	head  []byte // where tryRead reads to
}

// take moves what there is, want bytes at most. If there is nothing it may wait for it. The
// conduit has room.
func (s *sip) take(sock syscall.RawConn, d *conduit, want int64, wait bool) (int64, error) {
	s.to, s.want, s.waits, s.got, s.err = d.w, min(want, d.room), wait, 0, nil
	if err := sock.Read(s.step); err != nil {
		return 0, err
	}
	return s.got, s.err
}

// some reports whether take has ended; else it waits for the client.
func (s *sip) some(fd uintptr) bool {
	for {
		n, err := unix.Splice(int(fd), nil, s.to, nil, int(s.want), unix.SPLICE_F_NONBLOCK)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return !s.waits
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			s.err = err
		case n == 0:
			s.err = io.ErrUnexpectedEOF
		}
		s.got = max(n, 0)
		return true
	}
}

// tryRead reads what there is into b, and returns how much that was. It does not wait. An end
// or an error is nothing, and left to who waits for more.
func (s *sip) tryRead(sock syscall.RawConn, b []byte) int {
	s.head, s.got = b, 0
	if sock.Read(s.look) != nil {
		return 0
	}
	return int(s.got)
}

// glance is a step of tryRead, the only one.
func (s *sip) glance(fd uintptr) bool {
	if n, err := unix.Read(int(fd), s.head); err == nil {
		s.got = int64(n)
	}
	return true
}
