package megasas

import (
	"slices"
	"sync"
	"time"

	"github.com/govmm/govmm/megasas/mfi"
)

// maxWaits is how many EVENT_WAIT frames can be held. Drivers hold one.
const maxWaits = 8

// quietTime is how long events wait after an adapter reset, from INIT on. A reset
// logs events of its own, so that the EVENT_WAIT which ends a driver's recovery
// could complete while it is still being posted. Linux's driver forgets such an
// event, and asks for no other: it notes that the recovery is over after the post.
const quietTime = time.Second

// wait is an EVENT_WAIT frame that no event has come for.
type wait struct {
	request // with its own copy of the frame
	first   uint32
	filter  mfi.EventFilter
}

// waits are the EVENT_WAIT frames that are held.
type waits struct {
	mu    sync.Mutex
	held  []*wait     // guarded by mu
	quiet bool        // guarded by mu: no event is told
	noise *time.Timer // guarded by mu: ends quiet; nil until INIT
	until time.Time   // guarded by mu: when noise does that
}

// forget drops all frames.
func (w *waits) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held = nil
}

// silence has no event told until a while after the next INIT.
func (w *waits) silence() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.quiet = true
	if w.noise != nil {
		w.noise.Stop()
		w.noise = nil
	}
}

// initialized is called at INIT. Events that wait are told by the courier.
func (c *Controller) initialized() {
	w := &c.waits
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.quiet || w.noise != nil {
		return
	}
	c.speakIn(quietTime)
}

// speakIn has events told after a while.
//
// Preconditions: c.waits.mu is held.
func (c *Controller) speakIn(d time.Duration) {
	w := &c.waits
	var noise *time.Timer
	noise = time.AfterFunc(d, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.noise == noise {
			w.quiet, w.noise = false, nil
			c.wakeCourier()
		}
	})
	w.noise, w.until = noise, time.Now().Add(d)
}

// take removes the frame of the given context and address; nil if it is not
// held.
func (w *waits) take(context uint32, addr uint64) *wait {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, x := range w.held {
		if x.frame.Context() == context && x.addr == addr {
			w.held = slices.Delete(w.held, i, i+1)
			return x
		}
	}
	return nil
}

// eventWait is CTRL_EVENT_WAIT: it completes with the oldest event that the
// guest asks for, and is held until there is one and it may be told.
func eventWait(c *Controller, r *request) (mfi.Status, bool) {
	box := r.frame.Mailbox()
	first, filter := box.W(0), mfi.EventFilter(box.W(1))
	c.waits.mu.Lock()
	defer c.waits.mu.Unlock()
	// An event that comes from here on has the courier look at what is held.
	if e, ok := c.events.next(first, filter); ok && !c.waits.quiet {
		return r.putOrRefuse(e.Marshal()), true
	}
	if r.stale() {
		return 0, false // a reset came, and has emptied the list
	}
	if len(c.waits.held) == maxWaits {
		return mfi.StatusInvalidParameter, true
	}
	c.waits.held = append(c.waits.held, newWait(r))
	return 0, false
}

// newWait holds a frame that is an EVENT_WAIT, by a copy.
func newWait(r *request) *wait {
	box := r.frame.Mailbox()
	w := &wait{first: box.W(0), filter: mfi.EventFilter(box.W(1))}
	w.c, w.addr, w.epoch, w.posted = r.c, r.addr, r.epoch, r.posted
	w.senseLen, w.scsiStatus = r.senseLen, r.scsiStatus
	w.frame = slices.Clone(r.frame)
	return w
}

// courier completes held frames whenever there was a new event. It is a
// goroutine of its own, since events happen anywhere.
func (c *Controller) courier() {
	for {
		select {
		case <-c.news:
			c.life.RLock()
			c.deliver()
			c.life.RUnlock()
		case <-c.done:
			return
		}
	}
}

// wakeCourier tells the courier of a new event.
func (c *Controller) wakeCourier() {
	select {
	case c.news <- struct{}{}:
	default: // it will look anyway
	}
}

// deliver completes the held frames that there is an event for.
//
// Preconditions: c.life is held for reading.
func (c *Controller) deliver() {
	type delivery struct {
		w *wait
		e mfi.Event
	}
	var ready []delivery
	c.waits.mu.Lock()
	c.waits.held = slices.DeleteFunc(c.waits.held, func(w *wait) bool {
		e, ok := c.events.next(w.first, w.filter)
		if ok = ok && !c.waits.quiet; ok {
			ready = append(ready, delivery{w, e})
		}
		return ok
	})
	c.waits.mu.Unlock()
	for _, d := range ready {
		if !d.w.stale() {
			d.w.complete(d.w.putOrRefuse(d.e.Marshal()))
		}
	}
}
