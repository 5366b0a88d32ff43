package megasas

import "time"

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
	if c.inline(&p) {
		c.stats.inline.Add(1)
		return
	}
	select {
	case c.queue <- p:
		c.outstanding.Add(1)
		c.stats.queued.Add(1)
	default:
		if p.fetched != nil {
			c.inlining.put(p.fetched)
		}
		c.lose(addr, "more frames than may be outstanding")
	}
}

// lose counts a frame that is not taken.
func (c *Controller) lose(addr uint64, reason string) {
	c.stats.dropped.Add(1)
	if c.observer != nil {
		c.observer.FrameLost(addr, reason)
	}
}

// work carries out frames until it is told to end.
func (c *Controller) work() {
	r := newRequest(c)
	for p := range c.queue {
		if p.epoch == 0 {
			return
		}
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
	}
}
