package chipset

import (
	"context"
	"fmt"
	"io"
	"sync"
)

// Limits of what waits for an output that is slower than the guest, in bytes.
const (
	// sinkFull is where a device should tell the guest to wait.
	sinkFull = 64 << 10
	// sinkMax is where what a guest sends all the same is lost.
	sinkMax = 1 << 20
)

// sink writes bytes to an io.Writer in its own goroutine, in order, so that
// nobody who sends them waits. After an error of the writer it discards.
type sink struct {
	out   io.Writer
	ready func() // called without a lock when the sink is not full any more

	mu      sync.Mutex
	changed sync.Cond
	queue   []byte // guarded by mu: not handed to out yet
	writing int    // guarded by mu: bytes handed to out
	lost    int    // guarded by mu: bytes beyond sinkMax
	err     error  // guarded by mu: out's first
	closed  bool   // guarded by mu: nothing is accepted any more
}

// newSink returns a sink for out, which may be nil to discard. ready may be nil.
func newSink(out io.Writer, ready func()) *sink {
	s := &sink{out: out, ready: ready}
	s.changed.L = &s.mu
	if out == nil {
		s.closed = true
		return s
	}
	go s.run()
	return s
}

// put sends a byte. It does not wait.
func (s *sink) put(b byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed || s.err != nil:
	case len(s.queue) >= sinkMax:
		s.lost++
	default:
		s.queue = append(s.queue, b)
		if len(s.queue) == 1 {
			s.changed.Broadcast()
		}
	}
}

// full reports whether the guest should wait before it sends more.
func (s *sink) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue) >= sinkFull
}

// flush waits until everything sent so far has been written, or ctx is done.
func (s *sink) flush(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.changed.Broadcast()
	})
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue)+s.writing > 0 && ctx.Err() == nil {
		s.changed.Wait()
	}
	if s.err != nil {
		return s.err
	}
	if n := len(s.queue) + s.writing; n > 0 {
		return fmt.Errorf("%d bytes of output not written: %w", n, context.Cause(ctx))
	}
	if s.lost > 0 {
		return fmt.Errorf("%d bytes of output lost: the guest sent faster than they were written", s.lost)
	}
	return nil
}

// close accepts nothing more and flushes. If ctx ends first, the rest is lost.
func (s *sink) close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.changed.Broadcast()
	s.mu.Unlock()

	err := s.flush(ctx)

	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = nil
	return err
}

func (s *sink) run() {
	var chunk []byte
	for {
		s.mu.Lock()
		for len(s.queue) == 0 && !s.closed {
			s.changed.Wait()
		}
		if len(s.queue) == 0 {
			s.mu.Unlock()
			return
		}
		chunk, s.queue = s.queue, chunk[:0]
		s.writing = len(chunk)
		s.mu.Unlock()
		if len(chunk) >= sinkFull && s.ready != nil {
			s.ready()
		}

		_, err := s.out.Write(chunk)

		s.mu.Lock()
		s.writing = 0
		if err != nil && s.err == nil {
			s.err = err
		}
		if s.err != nil {
			s.queue = s.queue[:0]
		}
		s.changed.Broadcast()
		s.mu.Unlock()
		if cap(chunk) > sinkFull {
			chunk = nil // do not keep what a burst needed
		}
	}
}
