package futex

import (
	"sync"
	"testing"
	"time"
)

// Every token wakes one waiter, whenever it comes.
func TestEveryTokenIsTaken(t *testing.T) {
	const workers, each = 8, 2000
	var s Semaphore
	var done sync.WaitGroup
	for range workers {
		done.Go(func() {
			for range each {
				s.Acquire()
			}
		})
	}
	for range 4 {
		done.Go(func() {
			for range workers * each / 4 {
				s.Release()
			}
		})
	}
	over := make(chan struct{})
	go func() { done.Wait(); close(over) }()
	select {
	case <-over:
	case <-time.After(time.Minute):
		t.Fatalf("%d tokens are left, and %d threads wait", s.tokens.Load(), s.waiters.Load())
	}
	if s.TryAcquire() {
		t.Error("a token is left")
	}
}

func TestTryAcquireTakesOne(t *testing.T) {
	var s Semaphore
	if s.TryAcquire() {
		t.Error("a token from nowhere")
	}
	s.Release()
	if !s.TryAcquire() || s.TryAcquire() {
		t.Error("one token was not taken once")
	}
}
