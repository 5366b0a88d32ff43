package nbd

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Splicer is a Device that can put bytes into a pipe without copying them;
// qcow2.Splicer, which is the same, says what the method promises.
type Splicer interface {
	Splice(pipe int, off, n int64) (moved int64, held Held)
}

// Held is what was spliced from a device. It is released when the client has taken
// it.
type Held = interface{ Release() }

const (
	// lendFrom is the length from which on a READ is answered with the pages of the
	// host's cache: copying less than that costs less than three system calls do.
	lendFrom = 32 << 10
	// pipeSize is how much a pipe has room for, in bytes, if the host allows it.
	pipeSize = 1 << 20
	// heldTick is how often it is looked at what the client has taken, where nothing
	// else does; after heldTicks of them it is not waited for any longer.
	heldTick  = 100 * time.Millisecond
	heldTicks = 300
)

// pipe carries pages of the host's cache to a client on a Unix socket: the pages
// themselves, which the client copies from. What the kernel still has of them in the
// client's queue is held.
//
// Payloads are in the pipe in the order of their replies: they get there with the
// connection's receive lock held, and their replies are handed to the sender before
// it is passed on.
type pipe struct {
	from Splicer
	r, w int // its ends
	room int // in pages
	sock syscall.RawConn

	mu     sync.Mutex
	passed int64 // bytes that were written to the socket since; guarded by mu, with all below
	holds  []hold
	timer  *time.Timer
	armed  bool
	ticks  int
	unread int // what the kernel said last; -1 if it can't
	query  func(fd uintptr)
}

// hold is a payload that the client may not have taken yet.
type hold struct {
	held Held
	end  int64 // of passed
	tick int
}

// newPipe returns a pipe for the replies of a connection, nil if it can't have one.
func newPipe(c *conn) *pipe {
	from, ok := c.export.Device.(Splicer)
	sock, unixSocket := c.raw.(*net.UnixConn)
	if !ok || !unixSocket || c.secure || c.out.mover.sock == nil {
		return nil
	}
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil
	}
	p := &pipe{from: from, r: ends[0], w: ends[1], sock: c.out.mover.sock}
	size, err := unix.FcntlInt(uintptr(p.w), unix.F_SETPIPE_SZ, pipeSize)
	if err != nil { // as much as others have left
		size, err = unix.FcntlInt(uintptr(p.w), unix.F_GETPIPE_SZ, 0)
	}
	if err != nil {
		p.close()
		return nil
	}
	p.room = size / pageSize
	_ = sock.SetWriteBuffer(pipeSize) // or what the host allows: each time it is full costs a wake-up
	p.query = p.ask
	p.timer = time.AfterFunc(time.Hour, p.tick)
	p.timer.Stop()
	return p
}

func (p *pipe) close() {
	_ = unix.Close(p.r)
	_ = unix.Close(p.w)
}

// pages is how many pages n bytes at off take in the pipe at most, if they are
// aligned on the host as they are for the client.
func pages(off, n int64) int {
	if (off|n)&(pageSize-1) == 0 {
		return int(n / pageSize)
	}
	return int(n/pageSize) + 2
}

// lend answers a READ of n bytes at off, or a piece of one, with pages of the host's
// cache. head is the reply without them. It reports false if nothing was done.
// Preconditions: the receive lock is held.
func (w *worker) lend(off, n int64, head reply) bool {
	p, out := w.c.out.pipe, &w.c.out
	if p == nil || n < lendFrom || !w.holds {
		return false
	}
	k := pages(off, n)
	if k > p.room {
		return false
	}
	if !out.takeRoom(k, false) {
		w.flush()
		if !out.takeRoom(k, true) {
			return false
		}
	}
	moved, held := p.from.Splice(p.w, off, n)
	if moved < n {
		out.giveRoom(k)
		if moved > 0 {
			w.flush()
			if out.takeRoom(p.room, true) { // all before it has left
				p.throwAway(moved)
				out.giveRoom(p.room)
			}
		}
		return false
	}
	head.lent, head.pages, head.held = n, k, held
	w.add(head)
	w.lent = true
	return true
}

// lendRead is read for a READ of one piece that lend answers.
func (w *worker) lendRead(rq request) bool {
	n := int64(rq.length)
	if n > pieceSize {
		return false // see read
	}
	if w.c.structured {
		return w.lend(int64(rq.off), n, dataChunkHeader(rq.cookie, int64(rq.off), int(n), true))
	}
	return w.lend(int64(rq.off), n, simpleReply(rq.cookie, 0))
}

// takeRoom takes room for k pages in the pipe and reports whether it did. With wait it
// waits as long as somebody is writing replies.
func (s *sender) takeRoom(k int, wait bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for wait && s.writing && s.err == nil && s.lent+k > s.pipe.room {
		s.changed.Wait()
	}
	if s.err != nil || s.lent+k > s.pipe.room {
		return false
	}
	s.lent += k
	return true
}

func (s *sender) giveRoom(k int) {
	s.mu.Lock()
	s.lent -= k
	s.mu.Unlock()
}

// throwAway takes n bytes out of the pipe, which has no others.
func (p *pipe) throwAway(n int64) {
	buf := make([]byte, 64<<10)
	for n > 0 {
		got, err := unix.Read(p.r, buf[:min(n, int64(len(buf)))])
		if err != nil && !errors.Is(err, unix.EINTR) || err == nil && got == 0 {
			return
		}
		n -= int64(max(got, 0))
	}
}

// sent enters replies as written, or, after an error, as never to be taken.
func (p *pipe) sent(out []reply, failed error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range out {
		r := &out[i]
		p.passed += int64(r.n+len(r.tail)) + r.lent
		if r.payload != nil {
			p.passed += int64(len(r.payload.mem))
		}
		if r.held != nil {
			p.holds = append(p.holds, hold{r.held, p.passed, p.ticks})
		}
	}
	if failed != nil {
		p.release(len(p.holds))
		return
	}
	p.review()
	if len(p.holds) > 0 && !p.armed {
		p.armed = true
		p.timer.Reset(heldTick)
	}
}

// review releases what the client has taken. Preconditions: mu is held.
func (p *pipe) review() {
	if len(p.holds) == 0 {
		return
	}
	if err := p.sock.Control(p.query); err != nil || p.unread < 0 {
		p.release(len(p.holds)) // the socket is closed: nobody can tell
		return
	}
	n := 0
	for n < len(p.holds) && p.holds[n].end <= p.passed-int64(p.unread) {
		n++
	}
	p.release(n)
}

// ask asks the kernel how much is in the client's queue: no fewer bytes than there
// are.
func (p *pipe) ask(fd uintptr) {
	n, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
	if err != nil {
		n = -1
	}
	p.unread = n
}

// release releases the first n of what is held. Preconditions: mu is held.
func (p *pipe) release(n int) {
	for i := range n {
		p.holds[i].held.Release()
	}
	kept := copy(p.holds, p.holds[n:])
	clear(p.holds[kept:])
	p.holds = p.holds[:kept]
}

// tick looks at what is held while the connection is idle.
func (p *pipe) tick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ticks++
	p.review()
	n := 0
	for n < len(p.holds) && p.ticks-p.holds[n].tick >= heldTicks {
		n++
	}
	p.release(n)
	if p.armed = len(p.holds) > 0; p.armed {
		p.timer.Reset(heldTick)
	}
}

// finish waits until the client has taken what is held, but not for ever, and closes
// the pipe. Preconditions: nothing is written any more.
func (p *pipe) finish() {
	const pause = 2 * time.Millisecond
	for until := time.Now().Add(farewellTime); ; time.Sleep(pause) {
		p.mu.Lock()
		p.review()
		if time.Now().After(until) {
			p.release(len(p.holds))
		}
		over := len(p.holds) == 0
		p.mu.Unlock()
		if over {
			break
		}
	}
	p.timer.Stop()
	p.close()
}
