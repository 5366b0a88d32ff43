package imgio

import (
	"math"
	"time"
)

// asyncRequest is a request on a goroutine of its own. It waits for those before
// it that touch the same bytes, so that the outcome does not depend on luck.
type asyncRequest struct {
	off, n int64
	writes bool
	ended  chan struct{}
}

// start begins a request. report is called on the goroutine of the session when
// it has ended, with what do returned and how long that took.
func (s *Session) start(r *asyncRequest, do func() error, report func(err error, took time.Duration)) {
	r.ended = make(chan struct{})
	var before []*asyncRequest
	for _, b := range s.busy {
		if (b.writes || r.writes) && b.off < r.off+r.n && r.off < b.off+b.n {
			before = append(before, b)
		}
	}
	s.busy = append(s.busy, r)
	s.running++
	go func() {
		for _, b := range before {
			<-b.ended
		}
		begin := time.Now()
		err := do()
		took := time.Since(begin)
		close(r.ended)
		s.done <- func() {
			report(err, took)
			s.running--
			for i, b := range s.busy {
				if b == r {
					s.busy = append(s.busy[:i], s.busy[i+1:]...)
					break
				}
			}
		}
	}()
}

// deliver lets requests that have ended report.
func (s *Session) deliver() {
	for {
		select {
		case report := <-s.done:
			report()
		default:
			return
		}
	}
}

// wait returns when all requests have ended and reported.
func (s *Session) wait() {
	for s.running > 0 {
		(<-s.done)()
	}
}

func (s *Session) aioFlush(*command, []string) bool {
	s.wait()
	return true
}

func (s *Session) aioRead(c *command, words []string) bool {
	f, fill, ok := s.vectored(c, words, 0)
	if !ok {
		return false
	}
	if f.has('i') {
		s.printf("injecting invalid read request\n")
		return true
	}
	off, ok := s.offset(c, &f)
	if !ok {
		return false
	}
	p, bufs, ok := s.vector(f.args[1:], 0)
	if !ok {
		return false
	}
	dev, n := s.disk.dev, int64(len(p))
	s.start(&asyncRequest{off: off, n: n}, func() error { return dev.ReadV(bufs, off) }, func(err error, took time.Duration) {
		if err != nil {
			s.printf("readv failed: %s\n", text(err))
			return
		}
		s.judge(&f, p, off, took, fill, 0, n)
	})
	return true
}

func (s *Session) aioWrite(c *command, words []string) bool {
	f, fill, ok := s.vectored(c, words, 0xcd)
	if !ok {
		return false
	}
	if f.has('i') {
		s.printf("injecting invalid write request\n")
		return true
	}
	switch {
	case len(f.args) < 2:
		s.usage(c)
		return false
	case f.has('z') && len(f.args) != 2:
		s.printf("-z supports only a single length parameter\n")
		return false
	case f.has('u') && !f.has('z'):
		s.printf("-u requires -z to be specified\n")
		return false
	}
	off, ok := s.number(f.args[0])
	if !ok {
		return false
	}
	d := s.disk // -P is without effect beside -z
	var n int64
	var do func() error
	if f.has('z') {
		if n, ok = s.number(f.args[1]); !ok {
			return false
		}
		do = func() error { return d.writeZeroes(off, n, f.has('u'), false, f.has('f')) }
	} else {
		p, bufs, ok := s.vector(f.args[1:], fill)
		if !ok {
			return false
		}
		n = int64(len(p))
		do = func() error { return d.write(bufs, off, f.has('f')) }
	}
	s.start(&asyncRequest{off: off, n: min(n, math.MaxInt64-off), writes: true}, do, func(err error, took time.Duration) {
		switch {
		case err != nil:
			s.printf("aio_write failed: %s\n", text(err))
		case !f.has('q'):
			s.report("wrote", took, off, n, n, f.has('C'))
		}
	})
	return true
}
