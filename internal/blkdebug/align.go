package blkdebug

import (
	"sync"

	"github.com/govmm/govmm/qcow2"
)

// aligned is a qcow2.File whose transfers are of whole units, as of storage that has no smaller
// ones. Others are widened: a write reads the rest of its first and its last unit before, with
// the events pwritev_rmw_head, pwritev_rmw_after_head, pwritev_rmw_tail and
// pwritev_rmw_after_tail, and meanwhile nothing else is written there.
type aligned struct {
	*file
	unit int64 // bytes, a power of two

	mu   sync.Mutex
	busy map[*span]bool // the writes that are running; guarded by mu
	free *sync.Cond     // one of them has ended
}

// span is what a write changes, in whole units.
type span struct {
	lo, hi  int64
	widened bool
}

func newAligned(f *file, unit int64) *aligned {
	a := &aligned{file: f, unit: unit, busy: make(map[*span]bool)}
	a.free = sync.NewCond(&a.mu)
	return a
}

// around is the whole units that n bytes at off lie in.
func (a *aligned) around(off, n int64) *span {
	s := &span{lo: off &^ (a.unit - 1), hi: (off + n + a.unit - 1) &^ (a.unit - 1)}
	s.widened = s.lo != off || s.hi != off+n
	return s
}

// enter waits until no running write is in the way of s, which runs then.
func (a *aligned) enter(s *span) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.blocked(s) {
		a.free.Wait()
	}
	a.busy[s] = true
}

// blocked reports whether s must wait. Preconditions: mu is held.
func (a *aligned) blocked(s *span) bool {
	for o := range a.busy {
		if (s.widened || o.widened) && s.lo < o.hi && o.lo < s.hi {
			return true
		}
	}
	return false
}

func (a *aligned) leave(s *span) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.busy, s)
	a.free.Broadcast()
}

func (a *aligned) ReadV(bufs [][]byte, off int64) error {
	n := length(bufs)
	s := a.around(off, n)
	if !s.widened || n == 0 {
		return a.file.ReadV(bufs, off)
	}
	all := append([][]byte{make([]byte, off-s.lo)}, bufs...)
	return a.file.ReadV(append(all, make([]byte, s.hi-off-n)), s.lo)
}

func (a *aligned) WriteV(bufs [][]byte, off int64) error {
	n := length(bufs)
	s := a.around(off, n)
	a.enter(s)
	defer a.leave(s)
	if !s.widened || n == 0 {
		return a.file.WriteV(bufs, off)
	}
	head, tail := make([]byte, off-s.lo), make([]byte, s.hi-off-n)
	if err := a.edges(s, head, tail); err != nil {
		return err
	}
	all := append([][]byte{head}, bufs...)
	return a.file.WriteV(append(all, tail), s.lo)
}

// edges reads what a widened write leaves as it is, in one piece where there is nothing else
// between.
func (a *aligned) edges(s *span, head, tail []byte) error {
	units := (s.hi - s.lo) / a.unit
	if units == 1 || units == 2 && len(head) > 0 && len(tail) > 0 {
		return a.edge(make([]byte, s.hi-s.lo), s.lo, head, tail)
	}
	if len(head) > 0 {
		if err := a.edge(make([]byte, a.unit), s.lo, head, nil); err != nil {
			return err
		}
	}
	if len(tail) > 0 {
		return a.edge(make([]byte, a.unit), s.hi-a.unit, nil, tail)
	}
	return nil
}

// edge fills buf from off on, and takes its first and last bytes for head and tail.
func (a *aligned) edge(buf []byte, off int64, head, tail []byte) error {
	pass := func(part []byte, e qcow2.Event) {
		if len(part) > 0 {
			a.d.Event(e)
		}
	}
	pass(head, qcow2.EventPwritevRmwHead)
	pass(tail, qcow2.EventPwritevRmwTail)
	if err := a.file.ReadV([][]byte{buf}, off); err != nil {
		return err
	}
	copy(head, buf)
	copy(tail, buf[len(buf)-len(tail):])
	pass(head, qcow2.EventPwritevRmwAfterHead)
	pass(tail, qcow2.EventPwritevRmwAfterTail)
	return nil
}
