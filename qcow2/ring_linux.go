package qcow2

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// ring carries out transfers of one file by io_uring: a goroutine hands its
// transfer in and sleeps, or goes on and is told of the end. The runtime's poller
// watches the ring, so that waiting takes no thread.
//
// It serves direct I/O. What the page cache holds is copied sooner by a system
// call than a ring is asked for it.
type ring struct {
	file int      // what is read and written
	self *os.File // the ring, in the poller
	fd   int      // of self
	mem  ringMemory

	mu         sync.Mutex
	free       []*transfer // guarded by mu: slots that are not in use
	waiting    uint32      // guarded by mu: entries that the kernel has not taken
	submitting bool        // guarded by mu: somebody hands entries to the kernel

	slots   []*transfer  // all of them, by index
	reaping sync.Mutex   // held by who takes completions
	telling atomic.Bool  // whose ends are being told
	asked   atomic.Bool  // submit was called meanwhile
	active  atomic.Int64 // transfers of the file, in the ring or not
	watched chan struct{}
}

// transfer is a slot of the ring.
type transfer struct {
	index uint64
	iov   []unix.Iovec // what the kernel reads while the transfer is in flight
	done  chan int32   // the result, once, unless there is then
	then  transferEnd  // nil: somebody waits for done
	begun atomic.Bool  // orders what is above before the completion, which passes through the kernel
}

// transferEnd is told the result of a transfer for which nobody waits: the bytes
// moved, or the negative error number. It must not wait for anything.
type transferEnd interface{ transferred(res int32) }

// ringEntries is how many transfers of a file the ring holds. What is beyond
// that is done by system calls.
const ringEntries = 128

// newRing makes a ring for the transfers of a file. It fails where the host has
// no io_uring, or forbids it.
func newRing(file int) (*ring, error) {
	fd, mem, err := setupRing(ringEntries)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil { // or os.NewFile keeps it out of the poller
		mem.unmap()
		unix.Close(fd)
		return nil, err
	}
	r := &ring{file: file, fd: fd, mem: mem, self: os.NewFile(uintptr(fd), "io_uring"), watched: make(chan struct{})}
	for i := range uint64(len(mem.sqes)) {
		r.slots = append(r.slots, &transfer{index: i, done: make(chan int32, 1)})
	}
	r.free = append(r.free, r.slots...)
	conn, err := r.self.SyscallConn()
	if err != nil {
		mem.unmap()
		return nil, errors.Join(err, r.self.Close())
	}
	go r.watch(conn)
	return r, nil
}

// close ends the ring, which nobody uses any more.
func (r *ring) close() error {
	err := r.self.Close()
	<-r.watched
	r.mem.unmap()
	return err
}

// watch takes completions whenever the poller finds some.
func (r *ring) watch(conn syscall.RawConn) {
	defer close(r.watched)
	for {
		// It asks before it waits, and again whenever there is news.
		if err := conn.Read(func(uintptr) bool { r.reap(); return false }); err != nil {
			return // closed
		}
	}
}

// reap wakes those whose transfers have completed. When two meet here, one does
// the work of both: it looks again after it has let go.
func (r *ring) reap() {
	head, tail := r.mem.cqHead, r.mem.cqTail
	for head.Load() != tail.Load() && r.reaping.TryLock() {
		r.telling.Store(true)
		h := head.Load()
		for end := tail.Load(); h != end; h++ {
			c := &r.mem.cqes[h&r.mem.cqMask]
			r.ended(r.slots[c.userData], c.res)
		}
		head.Store(h)
		r.telling.Store(false)
		r.reaping.Unlock()
		if r.asked.Swap(false) {
			r.submitNow()
		}
	}
}

// ended passes on the result of a transfer.
func (r *ring) ended(t *transfer, res int32) {
	t.begun.Swap(false)
	then := t.then
	if then == nil {
		t.done <- res // has room for it
		return
	}
	r.put(t)
	then.transferred(res)
}

// put gives a slot back.
func (r *ring) put(t *transfer) {
	clear(t.iov) // the slot must not keep the caller's memory alive
	t.then = nil
	r.mu.Lock()
	r.free = append(r.free, t)
	r.mu.Unlock()
}

// enqueue adds an entry for one read or write from bufs, after the first skip
// bytes, at off, whose end then is told unless that is nil. The result is nil if
// there is no room. Preconditions: mu is held.
func (r *ring) enqueue(write bool, bufs [][]byte, skip int, off int64, then transferEnd) *transfer {
	last := len(r.free) - 1
	if last < 0 {
		return nil
	}
	t := r.free[last]
	r.free = r.free[:last]
	t.iov, t.then = appendIovecs(t.iov[:0], bufs, skip), then
	t.begun.Store(true)
	tail := r.mem.sqTail.Load()
	e := &r.mem.sqes[tail&r.mem.sqMask] // free: there are as many as slots
	*e = ringSQE{fd: int32(r.file), off: uint64(off), userData: t.index}
	e.target(write, t.iov)
	r.mem.sqTail.Store(tail + 1)
	r.waiting++
	return t
}

// start is transfer for who does not wait, but goes on and calls submit before
// long. Then end is told the result. It reports false if nothing was done.
func (r *ring) start(write bool, bufs [][]byte, off int64, end transferEnd) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.enqueue(write, bufs, 0, off, end) != nil
}

// submit hands to the kernel what was started. While ends are being told, it leaves that to
// the one who tells them: what they start goes in together.
func (r *ring) submit() {
	r.asked.Store(true)
	if r.telling.Load() {
		return // it looks after it has stopped telling
	}
	r.asked.Store(false)
	r.submitNow()
	r.reap()
}

func (r *ring) submitNow() {
	r.mu.Lock()
	if !r.submitting {
		r.submitting = true
		r.handIn()
	}
	r.mu.Unlock()
}

// transfer does one read or write from bufs, after the first skip bytes, at off.
// If ok is false nothing was done, and a system call is to do it.
func (r *ring) transfer(write bool, bufs [][]byte, skip int, off int64) (n int, err error, ok bool) {
	r.mu.Lock()
	t := r.enqueue(write, bufs, skip, off, nil)
	if t == nil {
		r.mu.Unlock()
		return 0, nil, false
	}
	if !r.submitting {
		// Those go first who are ready to run: what they have for the ring costs no
		// system call of its own then.
		r.submitting = true
		r.mu.Unlock()
		runtime.Gosched()
		r.mu.Lock()
		r.handIn()
	}
	r.mu.Unlock()

	r.reap()
	res := <-t.done
	runtime.KeepAlive(bufs)
	r.put(t)
	switch errno := unix.Errno(-res); {
	case res >= 0:
		return int(res), nil, true
	case ringRefused(res):
		return 0, nil, false
	default:
		return 0, errno, true
	}
}

// ringRefused reports whether a result says that the ring did nothing, and a
// system call may.
func ringRefused(res int32) bool {
	errno := unix.Errno(-res)
	return res < 0 && (errno == unix.ECANCELED || errno == unix.EAGAIN || errno == unix.EINTR)
}

// handIn hands all that waits to the kernel, also what others add meanwhile.
//
// Preconditions: mu is held, but not throughout; submitting is set, and cleared at
// the end.
func (r *ring) handIn() {
	for r.waiting > 0 {
		n := r.waiting
		r.mu.Unlock()
		taken, err := enterRing(r.fd, n)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EBUSY) {
			r.reap()
			runtime.Gosched()
		}
		r.mu.Lock()
		r.waiting -= uint32(taken)
		if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.EINTR) {
			r.cancel()
		}
	}
	r.submitting = false
}

// cancel takes back what the kernel did not take.
// Preconditions: mu is held, but not throughout.
func (r *ring) cancel() {
	head, tail := r.mem.sqHead.Load(), r.mem.sqTail.Load()
	var list []*transfer
	for i := head; i != tail; i++ {
		list = append(list, r.slots[r.mem.sqes[i&r.mem.sqMask].userData])
	}
	r.mem.sqTail.Store(head)
	r.waiting = 0
	r.mu.Unlock()
	for _, t := range list {
		r.ended(t, -int32(unix.ECANCELED))
	}
	r.mu.Lock()
}
