package megasas

import (
	"github.com/govmm/govmm/megasas/mfi"
)

// initialize is INIT: the guest hands over its reply queue, and the firmware
// becomes OPERATIONAL. What was posted before, to be answered through an
// earlier queue, is forgotten.
//
// Preconditions: c.life is held for writing, so that no other frame is being
// carried out.
func (r *request) initialize() mfi.Status {
	c := r.c
	var p [mfi.QueueInfoLen]byte
	if err := c.dma.ReadAt(p[:], r.frame.QueueInfoAddr()); err != nil {
		return r.refuse(err)
	}
	q, err := openRing(c.dma, mfi.ParseQueueInfo(&p), c.p.Limits.MaxCommands)
	if err != nil {
		return r.refuse(err)
	}
	c.fw.mu.Lock()
	defer c.fw.mu.Unlock()
	if r.stale() {
		return mfi.StatusOK // it is not completed any more
	}
	if c.fw.state() == mfi.StateOperational {
		c.abandon(mfi.StateOperational)
		r.epoch = c.fw.epoch.Load()
	}
	c.replies.ring = q
	c.initialized()
	c.setState(c.p.Limits.Word(mfi.StateOperational, c.p.IEEE))
	return mfi.StatusOK
}
