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

// drains reports whether a WRITE goes through a conduit.
func (c *conn) drains(rq *request) bool { return c.conduits.to != nil && rq.length >= drainFrom }

// writeDrained carries out a WRITE through a conduit, as far as the device can do so.
func (w *worker) writeDrained(rq request) {
	c := w.c
	w.flush() // the client may want to hear of these first
	c.srv.breadth.carriedOut()
	done, failed, err := w.writeReceived(rq)
	rest := &payload{in: c.in}
	if d := c.conduits.take(); d != nil {
		defer func() { c.conduits.settle(d, rest.left) }()
		rest.pipe = d.r
		for more := true; more && failed == nil && err == nil; {
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
		n, err := c.sip.take(c.out.mover.sock, d, left-rest.left)
		if err != nil {
			return before, false, nil, err
		}
		rest.left += n
	}
	n, failed := c.conduits.to.WritePipe(d.r, int64(rq.off)+before, rest.left)
	rest.left -= n
	return before + n, n > 0 || rest.left < left, failed, nil
}

// writeReceived writes the beginning of a WRITE that was received with its header, up to a
// multiple of the receive buffer, which clusters seldom are larger than. The results are how
// much that was, and what the device or the connection had against it.
func (w *worker) writeReceived(rq request) (done int64, failed, err error) {
	c := w.c
	for n := int64(rq.length); done < n && c.in.Buffered() > 0; {
		at := int64(rq.off) + done
		b, err := c.in.Peek(int(min(n-done, receiveBuffer-at%receiveBuffer)))
		if err != nil {
			return done, failed, err
		}
		if failed == nil {
			w.vec[0] = b
			failed = c.export.Device.WriteV(w.vec[:], at)
		}
		done += int64(len(b))
		if _, err := c.in.Discard(len(b)); err != nil {
			return done, failed, err
		}
	}
	return done, failed, nil
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

// sip moves what a client sent from its socket to a conduit. It is used by one goroutine at
// a time.
type sip struct {
	step func(fd uintptr) bool // bound once, so that take does not allocate

	to   int
	want int64
	got  int64
	err  error
}

// take moves what there is, want bytes at most, and waits if there is nothing. The conduit has
// room.
func (s *sip) take(sock syscall.RawConn, d *conduit, want int64) (int64, error) {
	s.to, s.want, s.got, s.err = d.w, min(want, d.room), 0, nil
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
			return false
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
