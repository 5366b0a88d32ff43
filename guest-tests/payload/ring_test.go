package payloadtests

import (
	"fmt"

	"github.com/govmm/govmm/megasas/mfi"
)

// maxContexts bounds how many frames of a program are answered through rings.
const maxContexts = 64

// ring is the reply queue, and the guest's books about it. A frame's context is
// its number among those that were submitted.
type ring struct {
	entries            uint32
	base               uint64
	producer, consumer uint64

	submitted uint32 // as the program is made
	done      uint64 // array: how often each context came back
	total     uint64 // word: how many contexts came back
}

// initialize hands a new ring to the controller.
func (g *guest) initialize(entries uint32) {
	r := &g.ring
	r.entries = entries
	r.base, r.producer, r.consumer = g.alloc(4*uint64(entries)), g.alloc(4), g.alloc(4)
	info := g.alloc(mfi.QueueInfoLen)
	g.put(info, mfi.QueueInfo{Entries: entries, Base: r.base, Producer: r.producer, Consumer: r.consumer}.Marshal())
	g.poll(mfi.Fields{Cmd: mfi.CmdInit, QueueInfo: info}, mfi.StatusOK)
	g.awaitState(mfi.StateOperational)
}

// submit posts a frame that is answered through the ring, and checks that it is
// answered once.
func (g *guest) submit(x mfi.Fields, want mfi.Status) (frame uint64) {
	frame, context := g.postNext(x)
	name := fmt.Sprintf("frame %d, %s", context, describe(x))
	g.wantStatus(name, frame, want)
	g.wantWord("replies to "+name, g.doneWord(context), 0xffffffff, 1)
	return frame
}

// postNext posts a frame with the next context.
func (g *guest) postNext(x mfi.Fields) (frame uint64, context uint32) {
	x.Context = g.ring.submitted
	g.ring.submitted++
	if g.ring.submitted > maxContexts {
		panic("too many frames")
	}
	frame = g.frame(x)
	g.begin("post " + describe(x))
	g.post(frame)
	return frame, x.Context
}

func (g *guest) doneWord(context uint32) uint64 { return g.ring.done + 4*uint64(context) }

// drain takes everything out of the ring, as drivers do: each context by itself,
// up to the producer index.
func (g *guest) drain() {
	r := &g.ring
	if r.entries == 0 {
		panic("there is no ring yet")
	}
	g.UntilEqual32(r.consumer, r.producer, func() {
		g.Load32(r.consumer)
		g.LoadIndexed32(r.base)
		g.IncrementIndexed32(r.done)
		g.Increment32(r.total)
		g.Load32(r.consumer)
		g.Add(1)
		g.If32(0xffffffff, r.entries, func() { g.Set(0) })
		g.Save32(r.consumer)
	})
}

// pollReplies waits for the replies to all frames that were submitted, by looking
// at the producer index.
func (g *guest) pollReplies() {
	g.begin(fmt.Sprintf("poll the producer index until %d replies came", g.ring.submitted))
	g.Until32(g.ring.total, 0xffffffff, g.ring.submitted, g.drain)
}

// haltForReplies waits for the replies to all frames that were submitted, asleep.
// An interrupt handler has to drain the ring.
func (g *guest) haltForReplies() {
	g.begin(fmt.Sprintf("sleep until %d replies came", g.ring.submitted))
	g.HaltUntil32(g.ring.total, 0xffffffff, g.ring.submitted)
}
