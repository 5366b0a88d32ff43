package megasas

import (
	"fmt"
	"runtime"
	"sync"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/pci"
)

// ring is the reply queue in guest memory, as INIT described it. The consumer
// index is the guest's business: a guest that obeys the limit of outstanding
// commands cannot overrun the ring, and one that does not harms itself.
type ring struct {
	entries  uint32 // 0: there is none
	base     uint64
	producer uint64 // address of the index
	consumer uint64 // address of the guest's index
	next     uint32 // the index
	wide     bool   // contexts of 64 bits
}

// openRing checks INIT's description and takes the index from guest memory.
func openRing(dma pci.DMA, q mfi.QueueInfo, max uint16) (ring, error) {
	r := ring{entries: q.Entries, base: q.Base, producer: q.Producer, consumer: q.Consumer, wide: q.Flags&mfi.QueueWide != 0}
	switch {
	case q.Entries == 0 || q.Entries > uint32(max):
		return ring{}, fmt.Errorf("reply queue of %d entries: 1 to %d", q.Entries, max)
	case q.Base%4 != 0 || q.Producer%4 != 0 || q.Consumer%4 != 0:
		return ring{}, fmt.Errorf("reply queue at %#x, indices at %#x and %#x: not aligned", q.Base, q.Producer, q.Consumer)
	}
	if _, err := dma.Append(nil, q.Base, uint64(q.Entries)*r.stride()); err != nil {
		return ring{}, fmt.Errorf("reply queue: %w", err)
	}
	if _, err := dma.Load32(q.Consumer); err != nil {
		return ring{}, fmt.Errorf("reply queue consumer index: %w", err)
	}
	next, err := dma.Load32(q.Producer)
	if err != nil {
		return ring{}, fmt.Errorf("reply queue producer index: %w", err)
	}
	if next >= q.Entries {
		return ring{}, fmt.Errorf("reply queue producer index %d of %d entries", next, q.Entries)
	}
	r.next = next
	return r, nil
}

func (r *ring) stride() uint64 {
	if r.wide {
		return 8
	}
	return 4
}

// put writes contexts into the ring and then publishes them by the producer
// index.
func (r *ring) put(dma pci.DMA, contexts []uint64) error {
	for _, ctx := range contexts {
		at := r.base + uint64(r.next)*r.stride()
		if err := dma.Store32(at, uint32(ctx)); err != nil {
			return err
		}
		if r.wide {
			if err := dma.Store32(at+4, uint32(ctx>>32)); err != nil {
				return err
			}
		}
		if r.next++; r.next == r.entries {
			r.next = 0
		}
	}
	return dma.Store32(r.producer, r.next)
}

// replies collects the contexts of finished frames and posts together what is
// ready together: the first to come posts, and goes on as long as others left
// something while it was at it.
type replies struct {
	mu      sync.Mutex
	room    sync.Cond // on mu: pending was emptied
	pending []uint64  // guarded by mu
	spare   []uint64  // guarded by mu: the buffer that pending takes turns with
	posting bool      // guarded by mu: somebody posts
	ring    ring      // changed with Controller.life held; the poster moves next
}

// pendingLimit bounds what can wait while somebody posts.
const pendingLimit = 1024

func (q *replies) init() {
	q.room.L = &q.mu
	q.pending = make([]uint64, 0, pendingLimit)
	q.spare = make([]uint64, 0, pendingLimit)
}

// reply posts the context of a finished frame. Its status is in guest memory
// already. With inline, it is called on a vCPU's thread.
//
// Preconditions: c.life is held for reading, and the frame is of this epoch.
func (c *Controller) reply(context uint64, inline bool) {
	q := &c.replies
	if q.ring.entries == 0 {
		return // before INIT: the guest can only poll
	}
	q.mu.Lock()
	for len(q.pending) == cap(q.pending) {
		q.room.Wait()
	}
	q.pending = append(q.pending, context)
	if q.posting {
		q.mu.Unlock()
		return
	}
	q.posting = true
	for len(q.pending) > 0 {
		if !inline {
			c.gather()
		}
		batch := q.pending
		q.pending = q.spare[:0]
		q.mu.Unlock()
		q.room.Broadcast()
		c.postBatch(batch)
		q.mu.Lock()
		q.spare = batch
	}
	q.posting = false
	q.mu.Unlock()
}

// gather gives way once to workers that are about to finish, so that they can
// add their replies. With nothing else under way it does not: a single command
// is answered at once.
//
// Preconditions: c.replies.mu is held.
func (c *Controller) gather() {
	q := &c.replies
	if c.outstanding.Load() <= int64(len(q.pending)) {
		return
	}
	q.mu.Unlock()
	runtime.Gosched()
	q.mu.Lock()
}

// postBatch puts contexts into the ring and interrupts once.
func (c *Controller) postBatch(contexts []uint64) {
	if err := c.replies.ring.put(c.dma, contexts); err != nil {
		c.warn("reply queue is out of reach", "err", err)
		return
	}
	c.stats.batches.Add(1)
	if !c.faults.dropped(len(contexts)) {
		c.irq.replied()
	}
}
