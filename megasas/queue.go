package megasas

import (
	"sync/atomic"
	"time"

	"github.com/govmm/govmm/internal/futex"
)

// frameCountMask is the part of a queue port value that is not the frame's
// address: the count of extra frames, which is never right, and bit 0, which is
// always set.
const frameCountMask = 0x1f

// queueDepth is how many frames can wait for a worker. It is more than a guest
// may have outstanding, so that only one that breaks the rules loses frames.
const queueDepth = 1024

// defaultWorkers is the number of frames that are carried out at a time. Workers
// do file I/O and so spend their time waiting: with fewer of them than a busy
// guest has commands outstanding, writes that could have shared a flush wait for
// the next one. More cost only memory, about 10 KiB each: with a medium that does
// not wait at all, 4 workers and 64 are equally fast.
const defaultWorkers = 32

// post is a frame's address on its way to a worker. epoch 0 tells the worker to
// end.
type post struct {
	addr    uint64
	epoch   uint64
	at      time.Time // zero if nobody wants to know
	fetched *request  // with the frame, if it was fetched already

	again    bool // it was carried out before, and failed
	orphaned bool // the drive that it was for is gone
}

// post takes a frame from the guest. It runs on the vCPU thread: it neither
// waits nor allocates. What can be done at once is done here.
func (c *Controller) post(addr uint64) {
	p := post{addr: addr, epoch: c.fw.epoch.Load()}
	if !c.fw.accepting() || c.closed.Load() || !c.fn.BusMaster() {
		c.lose(addr, "the firmware takes no frames")
		return
	}
	if c.observer != nil {
		p.at = c.now()
	}
	if c.pausing.on.Load() && c.pausing.keep(p) {
		return
	}
	rushed := c.inlining.rushed()
	if c.inline(&p, rushed) {
		c.stats.inline.Add(1)
		return
	}
	c.outstanding.Add(1) // before pausing is looked at: Pause does it the other way round
	if c.pausing.on.Load() && c.pausing.keep(p) {
		c.outstanding.Add(-1)
		return
	}
	c.dispatch(p, rushed)
}

// dispatch hands a frame that counts as outstanding to a worker.
func (c *Controller) dispatch(p post, rushed bool) {
	if c.hand(p, rushed) {
		c.stats.queued.Add(1)
		return
	}
	c.outstanding.Add(-1)
	if p.fetched != nil {
		c.inlining.put(p.fetched)
	}
	c.lose(p.addr, "more frames than may be outstanding")
}

// lose counts a frame that is not taken.
func (c *Controller) lose(addr uint64, reason string) {
	c.stats.dropped.Add(1)
	if c.observer != nil {
		c.observer.FrameLost(addr, reason)
	}
}

// hand gives a frame to a worker. It reports false if none is free and there is no
// room in the queue.
func (c *Controller) hand(p post, rushed bool) bool {
	// In a rush all workers are about: waking a thread for each frame would take
	// longer than carrying it out.
	if !rushed && c.first.give(p) {
		return true
	}
	select {
	case c.queue <- p:
		return true
	default:
		return false
	}
}

// work carries out frames from the queue until it is told to end.
func (c *Controller) work() {
	r := newRequest(c)
	for p := range c.queue {
		if p.epoch == 0 {
			return
		}
		r = c.carryOut(p, r)
	}
}

// queueWorkers is how many workers take frames from the queue: all but the first,
// unless there is only one.
func (c *Controller) queueWorkers() int { return max(c.workers-1, 1) }

// workFirst carries out frames that are given to c.first until it is told to end.
func (c *Controller) workFirst() {
	r := newRequest(c)
	for p := c.first.take(); p.epoch != 0; p = c.first.take() {
		r = c.carryOut(p, r)
	}
}

// carryOut carries out a frame by way of r, or of what it was fetched into. What
// it returns is to be used for the next frame.
func (c *Controller) carryOut(p post, r *request) *request {
	c.life.RLock()
	if p.fetched != nil {
		c.inlining.put(r)
		r = p.fetched
	} else {
		r.begin(p)
	}
	exclusive := r.run()
	c.life.RUnlock()
	if exclusive {
		c.life.Lock()
		r.runExclusive()
		c.life.Unlock()
	}
	c.outstanding.Add(-1)
	return r
}

// first is how frames get to the one worker that sleeps as a thread does: it is
// woken by one system call, past the Go scheduler, which takes a third of the time.
// A guest with few commands outstanding waits for none of the others.
type first struct {
	waiting atomic.Bool
	p       post // belongs to who has made waiting false, then to the worker
	wake    futex.Semaphore
	ending  atomic.Bool
}

// give gives the worker a frame if it waits for one.
func (f *first) give(p post) bool {
	if !f.waiting.CompareAndSwap(true, false) {
		return false
	}
	f.p = p
	f.wake.Release()
	return true
}

// take waits for a frame. After end it is the zero post.
func (f *first) take() post {
	f.waiting.Store(true)
	if f.ending.Load() && f.waiting.CompareAndSwap(true, false) {
		return post{}
	}
	f.wake.Acquire()
	return f.p
}

// end lets the worker end when it has carried out what it has.
func (f *first) end() {
	f.ending.Store(true)
	f.give(post{})
}
