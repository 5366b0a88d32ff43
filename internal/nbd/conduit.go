package nbd

import (
	"errors"
	"net"
	"sync"
	"syscall"

	"github.com/govmm/govmm/internal/nbdproto"
	"golang.org/x/sys/unix"
)

// PipeReader is a Device that can read from the disk into a pipe; qcow2.PipeReader, which
// is the same, says what the methods promise.
type PipeReader interface {
	ReadsPipes() bool
	ReadPipe(pipe int, off, n int64) (moved int64)
}

const (
	// conduitFrom is the length from which on a READ goes through conduits, and
	// conduitAlone that for a READ without company. Less is read sooner into memory,
	// together with others, and copied.
	conduitFrom  = 256 << 10
	conduitAlone = 64 << 10
	// conduitSize is how much goes through one at a time: while the client takes a
	// piece, the next is read.
	conduitSize = 512 << 10
	// lastPiece is how much the last of several pieces has.
	lastPiece = 128 << 10
	// maxConduits is how many a connection has.
	maxConduits = connectionBudget / conduitSize
)

// conduit is a pipe that carries a piece of the disk to a client without its being copied:
// into new pages, and from there into the Unix socket.
type conduit struct {
	r, w int
	room int64 // in bytes
}

// conduits are those of a connection.
type conduits struct {
	from PipeReader // nil: no READ goes through them
	to   PipeWriter // nil: no WRITE does

	mu   sync.Mutex
	free []*conduit // guarded by mu
	made int        // guarded by mu
}

// open finds out whether a connection has conduits. Simple replies can't be in pieces that
// others get between.
func (k *conduits) open(c *conn) {
	if c.secure || c.out.mover.sock == nil {
		return
	}
	if from, ok := c.export.Device.(PipeReader); ok && c.structured && from.ReadsPipes() {
		k.from = from
	}
	if to, ok := c.export.Device.(PipeWriter); ok && to.WritesPipes() {
		k.to = to
		c.sip.step, c.sip.look = c.sip.some, c.sip.glance
	}
}

// take returns a conduit that is empty, nil if there is none. It does not wait.
func (k *conduits) take() *conduit {
	k.mu.Lock()
	defer k.mu.Unlock()
	if last := len(k.free) - 1; last >= 0 {
		d := k.free[last]
		k.free = k.free[:last]
		return d
	}
	if k.made == maxConduits {
		return nil
	}
	var ends [2]int
	if unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK) != nil {
		return nil
	}
	size, err := unix.FcntlInt(uintptr(ends[1]), unix.F_SETPIPE_SZ, conduitSize)
	if err != nil { // others have used up what the user may have
		size, err = unix.FcntlInt(uintptr(ends[1]), unix.F_GETPIPE_SZ, 0)
	}
	d := &conduit{ends[0], ends[1], int64(size)}
	if err != nil {
		d.close()
		return nil
	}
	k.made++
	return d
}

// give takes a conduit back, which is empty unless the connection has failed.
func (k *conduits) give(d *conduit) {
	k.mu.Lock()
	k.free = append(k.free, d)
	k.mu.Unlock()
}

// settle takes a conduit back that has so many bytes left, which nobody wants any more.
func (k *conduits) settle(d *conduit, left int64) {
	if left == 0 {
		k.give(d)
		return
	}
	k.mu.Lock()
	k.made--
	k.mu.Unlock()
	d.close()
}

// close ends them. Preconditions: all were given back.
func (k *conduits) close() {
	for _, d := range k.free {
		d.close()
	}
}

// writable reports whether there is room for something more.
func (d *conduit) writable() bool {
	p := [1]unix.PollFd{{Fd: int32(d.w), Events: unix.POLLOUT}}
	n, err := unix.Poll(p[:], 0)
	return err == nil && n == 1 && p[0].Revents&unix.POLLOUT != 0
}

func (d *conduit) close() {
	_ = unix.Close(d.r)
	_ = unix.Close(d.w)
}

// pours reports whether a READ goes through conduits, as far as they are free.
// Preconditions: recv is held.
func (c *conn) pours(rq *request) bool {
	if c.conduits.from == nil || rq.length < conduitAlone || rq.flags&nbdproto.CmdFlagDF != 0 {
		return false
	}
	return rq.length >= conduitFrom || !c.starts()
}

// poured is a piece of the disk in a conduit.
type poured struct {
	conduit *conduit
	n       int64 // bytes; 0: there is none
}

// pour reads a piece of at most n bytes at off into a conduit.
func (w *worker) pour(off, n int64) poured {
	n = min(n, conduitSize)
	if len(w.replies) > 0 && !w.c.budget.has(n) {
		w.flush()
	}
	w.c.budget.reserve(n)
	return w.c.pour(off, n)
}

// pour is worker.pour with n bytes of the budget, of which it gives back what the piece
// does not need.
func (c *conn) pour(off, n int64) poured {
	d := c.conduits.take()
	if d == nil {
		c.budget.restore(n)
		return poured{}
	}
	m := c.conduits.from.ReadPipe(d.w, off, min(n, d.room))
	c.budget.restore(n - m)
	if m == 0 {
		c.conduits.give(d)
		return poured{}
	}
	return poured{d, m}
}

// passOn sends a piece of a READ of which so many bytes are left, from off on, and has
// the next poured meanwhile, if there are more: unless others are at work, the disk goes on
// while the client takes this one. The result is where that will be told.
func (w *worker) passOn(rq request, p poured, off, left int64) (ahead chan poured) {
	c := w.c
	r := dataChunkHeader(rq.cookie, off, int(p.n), left == p.n)
	r.lent, r.conduit = p.n, p.conduit
	w.add(r)
	off, left = off+p.n, left-p.n
	if n := pieceAhead(left); n > 0 && c.out.lonely() && c.budget.tryReserve(n) {
		ahead = make(chan poured, 1)
		go func() { ahead <- c.pour(off, n) }()
	}
	w.flush()
	return ahead
}

// pieceAhead is how long the next piece is of a READ of which so much is left: the last one
// is short, since the disk has nothing to do while the client takes it.
func pieceAhead(left int64) int64 {
	if left > lastPiece && left <= conduitSize {
		return left - lastPiece
	}
	return min(left, conduitSize)
}

// mover moves bytes from pipes to a socket. It is used by one goroutine at a time.
type mover struct {
	sock syscall.RawConn
	step func(fd uintptr) bool // bound once, so that move does not allocate

	from int
	left int64
	err  error
}

// open prepares a mover for a Unix socket.
func (m *mover) open(raw net.Conn) {
	if sock, ok := raw.(*net.UnixConn); ok {
		m.sock, _ = sock.SyscallConn()
		m.step = m.some
	}
}

// move sends n bytes from the pipe whose end is from.
func (m *mover) move(from int, n int64) error {
	m.from, m.left, m.err = from, n, nil
	if err := m.sock.Write(m.step); err != nil {
		return err
	}
	return m.err
}

// some reports whether move has ended; else it waits for room in the socket.
func (m *mover) some(fd uintptr) bool {
	for m.left > 0 {
		n, err := unix.Splice(m.from, nil, int(fd), nil, int(m.left), unix.SPLICE_F_NONBLOCK)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return false
		case errors.Is(err, unix.EINTR):
		case err != nil:
			m.err = err
			return true
		case n == 0:
			m.err = errors.New("the pipe has less than was put there")
			return true
		default:
			m.left -= n
		}
	}
	return true
}
