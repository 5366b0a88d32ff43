package qcow2

import (
	"sync"
	"sync/atomic"
)

// epochs tells when every request that began before some moment has ended,
// without a lock on the way in or out. Time is a counter; a request belongs to
// the epoch in which it began, and the counter moves only when the epoch before
// the present one has no requests left. So once it has moved twice from e, all
// requests that began in e or earlier have ended.
//
// It is also the gate at which requests wait while the image is paused.
type epochs struct {
	now    atomic.Uint64
	active [2]struct {
		n atomic.Int64
		_ [56]byte // the two counters live on cache lines of their own
	}

	shut   atomic.Bool // paused or closed; changes under mu
	mu     sync.Mutex
	cond   sync.Cond
	closed bool // guarded by mu: for good
}

func (e *epochs) init() { e.cond.L = &e.mu }

// enter begins a request; its result goes to exit. It waits while the image is
// paused, and fails once it is closed.
func (e *epochs) enter() (uint64, error) {
	for {
		if t, ok := e.tryEnter(); ok {
			return t, nil
		}
		if e.shut.Load() {
			e.mu.Lock()
			for e.shut.Load() && !e.closed {
				e.cond.Wait()
			}
			closed := e.closed
			e.mu.Unlock()
			if closed {
				return 0, ErrClosed
			}
		}
	}
}

// tryEnter is enter for a request that must not wait.
func (e *epochs) tryEnter() (t uint64, ok bool) {
	t = e.now.Load()
	e.active[t&1].n.Add(1)
	if e.now.Load() == t && !e.shut.Load() {
		return t, true
	}
	e.exit(t)
	return 0, false
}

// exit ends a request.
func (e *epochs) exit(t uint64) {
	if e.active[t&1].n.Add(-1) == 0 && e.shut.Load() {
		e.mu.Lock()
		e.cond.Broadcast()
		e.mu.Unlock()
	}
}

// advance moves the counter if it may. Preconditions: the image's mu is held.
func (e *epochs) advance() {
	t := e.now.Load()
	if e.active[(t+1)&1].n.Load() == 0 {
		e.now.Store(t + 1)
	}
}

// over reports whether all requests that began in epoch t have ended.
func (e *epochs) over(t uint64) bool { return e.now.Load() >= t+2 }

// pause keeps requests out and returns when none is left inside. With forever,
// those outside fail from now on. It fails if the image is closed already.
func (e *epochs) pause(forever bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for e.shut.Load() && !e.closed {
		e.cond.Wait()
	}
	if e.closed {
		return ErrClosed
	}
	e.shut.Store(true)
	e.closed = forever
	e.cond.Broadcast()
	for e.active[0].n.Load() != 0 || e.active[1].n.Load() != 0 {
		e.cond.Wait()
	}
	return nil
}

// resume ends a pause.
func (e *epochs) resume() {
	e.mu.Lock()
	e.shut.Store(false)
	e.cond.Broadcast()
	e.mu.Unlock()
}

// isClosed reports whether requests fail now.
func (e *epochs) isClosed() bool {
	if !e.shut.Load() {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.closed
}
