package megasas

import "sync/atomic"

// Stats counts what happened since the controller was made.
type Stats struct {
	Posted      uint64 // frames taken from the guest
	Inline      uint64 // those of them that were carried out on the vCPU's thread
	Dropped     uint64 // frames not taken: wrong state, queue full, no bus mastering
	Unreadable  uint64 // frames whose header is not in guest memory
	Completed   uint64 // frames whose status was stored
	Abandoned   uint64 // frames forgotten by a reset while they were carried out
	Batches     uint64 // batches of replies that were posted
	Interrupts  uint64 // interrupts raised: messages, and edges of the pin
	BadAccesses uint64 // register accesses of a wrong size, alignment or place
}

type counters struct {
	queued, inline, dropped, unreadable, completed, abandoned, batches, badAccesses atomic.Uint64
}

// Stats returns the counts.
func (c *Controller) Stats() Stats {
	inline := c.stats.inline.Load()
	return Stats{
		Posted:      c.stats.queued.Load() + inline,
		Inline:      inline,
		Dropped:     c.stats.dropped.Load(),
		Unreadable:  c.stats.unreadable.Load(),
		Completed:   c.stats.completed.Load(),
		Abandoned:   c.stats.abandoned.Load(),
		Batches:     c.stats.batches.Load(),
		Interrupts:  c.irq.count(),
		BadAccesses: c.stats.badAccesses.Load(),
	}
}

// warn logs something that the guest did.
func (c *Controller) warn(msg string, args ...any) {
	if c.quiet.Allow(c.now()) {
		c.log.Warn(msg, append([]any{"controller", c.name}, args...)...)
	}
}
