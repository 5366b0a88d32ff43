package scsi

import (
	"slices"
	"sync"
	"sync/atomic"
)

// attentions is the queue of unit attention conditions (SAM-5). A
// condition that is pending is not queued again, so the queue is no longer than
// there are kinds of conditions.
type attentions struct {
	pending atomic.Int32 // len(queue), to be read without mu

	mu    sync.Mutex
	queue []ASC // guarded by mu
}

// raise queues code. A power-on or reset condition takes the place of all that
// are pending, since it says more.
func (a *attentions) raise(code ASC) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case code.Code() == ASCPowerOnOrReset.Code():
		a.queue = append(a.queue[:0], code)
	case !slices.Contains(a.queue, code):
		a.queue = append(a.queue, code)
	}
	a.pending.Store(int32(len(a.queue)))
}

// take removes the oldest condition and returns it.
func (a *attentions) take() (ASC, bool) {
	if a.pending.Load() == 0 {
		return 0, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.queue) == 0 {
		return 0, false
	}
	code := a.queue[0]
	a.queue = slices.Delete(a.queue, 0, 1)
	a.pending.Store(int32(len(a.queue)))
	return code, true
}

// drop removes code if it is pending.
func (a *attentions) drop(code ASC) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.queue = slices.DeleteFunc(a.queue, func(q ASC) bool { return q == code })
	a.pending.Store(int32(len(a.queue)))
}

// clear removes all conditions.
func (a *attentions) clear() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.queue = nil
	a.pending.Store(0)
}
