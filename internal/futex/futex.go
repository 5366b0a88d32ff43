// Package futex has a semaphore on which threads wait (futex(2)).
//
// A goroutine that waits on a channel or a condition is woken by way of the
// scheduler: somebody makes it runnable, wakes a thread that looks for work, which
// finds it after a while, and wakes another thread to look for more. That takes
// tens of microseconds where threads come and go, as vCPUs' do. Here the thread
// waits with its goroutine, as in any system call, and one call wakes it.
//
// The price is a thread for each goroutine that waits. It suits a few goroutines
// that others' latency depends on.
package futex

import "sync/atomic"

// Semaphore counts tokens. The zero value has none. It must not be copied.
type Semaphore struct {
	tokens  atomic.Uint32
	waiters atomic.Int32
}

// Release adds a token, and wakes a thread that waits for one. It does not wait.
func (s *Semaphore) Release() {
	s.tokens.Add(1)
	if s.waiters.Load() > 0 {
		wake(&s.tokens, 1)
	}
}

// Acquire waits for a token and takes it.
func (s *Semaphore) Acquire() {
	for !s.TryAcquire() {
		s.waiters.Add(1)
		wait(&s.tokens, 0) // not if there is a token by now
		s.waiters.Add(-1)
	}
}

// TryAcquire takes a token if there is one.
func (s *Semaphore) TryAcquire() bool {
	for n := s.tokens.Load(); n > 0; n = s.tokens.Load() {
		if s.tokens.CompareAndSwap(n, n-1) {
			return true
		}
	}
	return false
}
