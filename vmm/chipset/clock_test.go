package chipset_test

import (
	"slices"
	"sync"
	"time"

	"github.com/govmm/govmm/vmm/chipset"
)

// fakeClock is a Clock that stands still until Advance moves it.
type fakeClock struct {
	mu     sync.Mutex
	now    time.Time
	timers []*fakeTimer
}

type fakeTimer struct {
	c    *fakeClock
	when time.Time
	f    func()
}

func newClock() *fakeClock {
	return &fakeClock{now: time.Date(2026, time.February, 3, 14, 5, 6, 0, time.UTC)}
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) AfterFunc(d time.Duration, f func()) chipset.Timer {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &fakeTimer{c, c.now.Add(d), f}
	c.timers = append(c.timers, t)
	return t
}

func (t *fakeTimer) Stop() bool {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	i := slices.Index(t.c.timers, t)
	if i >= 0 {
		t.c.timers = slices.Delete(t.c.timers, i, i+1)
	}
	return i >= 0
}

// Advance moves the clock on and runs what is due on the way, in order.
func (c *fakeClock) Advance(d time.Duration) {
	c.mu.Lock()
	end := c.now.Add(d)
	for {
		var next *fakeTimer
		for _, t := range c.timers {
			if !t.when.After(end) && (next == nil || t.when.Before(next.when)) {
				next = t
			}
		}
		if next == nil {
			break
		}
		c.timers = slices.Delete(c.timers, slices.Index(c.timers, next), slices.Index(c.timers, next)+1)
		if next.when.After(c.now) {
			c.now = next.when
		}
		c.mu.Unlock()
		next.f()
		c.mu.Lock()
	}
	c.now = end
	c.mu.Unlock()
}

// waiting is the number of timers.
func (c *fakeClock) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.timers)
}

// wire is an interrupt line.
type wire struct {
	mu    sync.Mutex
	level bool
	edges int // low to high
}

func (w *wire) set(asserted bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if asserted && !w.level {
		w.edges++
	}
	w.level = asserted
}

func (w *wire) high() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.level
}

// rose is the number of rising edges since the last call.
func (w *wire) rose() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.edges
	w.edges = 0
	return n
}

func in(h chipset.Handler, off uint64) byte {
	var p [1]byte
	h.Read(off, p[:])
	return p[0]
}

func out(h chipset.Handler, off uint64, v byte) { h.Write(off, []byte{v}) }
