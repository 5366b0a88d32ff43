package payloadtests

import (
	"testing"

	"github.com/govmm/govmm/internal/payload"
	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/vmm"
)

const (
	vector = 0x51
	// line is where pin A of the controller's slot arrives at the I/O APIC: pins
	// of PCI slots go round pins 16 to 23, each slot beginning one further.
	line = 16 + slot%8
)

// msix is what a driver knows of the MSI-X capability.
type msix struct {
	control int    // register in configuration space
	table   uint64 // address of the entry of message 0
	pending uint64 // address of the pending bits
}

// Bits of the control register, and of an entry's last word.
const (
	msixEnable     = 1 << 15
	msixMask       = 1 << 14
	msixVectorMask = 1 << 0
)

func (g *guest) findMSIX() msix {
	at := g.capability(0x11)
	return msix{
		control: at + 2,
		table:   regsBase + uint64(g.config(at+4)&^7),
		pending: regsBase + uint64(g.config(at+8)&^7),
	}
}

// enableMSIX points message 0 at the vector and turns MSI-X on.
func (g *guest) enableMSIX(m msix) {
	g.begin("enable MSI-X")
	for i, v := range []uint32{payload.LAPIC, 0, vector, 0} {
		g.Store32(m.table+4*uint64(i), v)
	}
	g.ConfigWrite16(slot, 0, m.control, msixEnable)
}

// handler installs the interrupt handler of a driver that uses messages, of which
// none is for anybody else, and lets interrupts in. It counts them in a word.
//
// Preconditions: the ring is there.
func (g *guest) handler() (count uint64) {
	count = g.Word()
	g.OnInterrupt(vector, func() {
		g.Increment32(count)
		g.read(regStatus)
		g.If32(replyPosted, replyPosted, func() { g.Save32(regsBase + regClear) })
		g.read(regStatus)
		g.drain()
	})
	g.EnableInterrupts()
	return count
}

// machineStats checks the machine's figures at the end.
func (g *guest) machineStats(f func(s vmm.Stats)) {
	g.check(func() { f(g.machine.Stats()) })
}

// TestMessageForEachReply has a driver sleep until its message comes.
func TestMessageForEachReply(t *testing.T) {
	g := newGuest(t)
	g.drive()
	g.enableMSIX(g.findMSIX())
	g.initialize(3)
	count := g.handler()
	g.write(regMask, maskNone)
	g.submit(g.writing(50, 40, 4096, 512), mfi.StatusOK)
	g.haltForReplies()
	g.submit(g.reading(39, 8192), mfi.StatusOK)
	g.haltForReplies()
	g.submit(g.reading(4000, 512), mfi.StatusOK)
	g.haltForReplies()
	g.wantWord("interrupts", count, 0xffffffff, 3)
	g.machineStats(func(s vmm.Stats) {
		if s.Messages != 3 || s.Undelivered != 0 || s.LineChanges != 0 {
			t.Errorf("%d messages, %d of them undelivered, %d line changes; want 3, 0, 0", s.Messages, s.Undelivered, s.LineChanges)
		}
	})
	g.run()
}

// TestMessagesForManyReplies keeps the ring full; a message may stand for several
// replies, but none may be left over without one.
func TestMessagesForManyReplies(t *testing.T) {
	const depth, rounds = 8, 4
	g := newGuest(t)
	g.drive()
	g.enableMSIX(g.findMSIX())
	g.initialize(depth + 1)
	count := g.handler()
	g.write(regMask, maskNone)
	for range rounds {
		for i := range uint64(depth) {
			g.submit(g.reading(16*i, 4096, 512), mfi.StatusOK)
		}
		g.haltForReplies()
		g.AllowInterrupts() // as in a driver that posts while replies come in
	}
	g.check(func() {
		if n := g.word(count); n < rounds || n > rounds*depth {
			t.Errorf("%d interrupts for %d replies in %d rounds", n, rounds*depth, rounds)
		}
		if s := g.machine.Stats(); s.Undelivered != 0 {
			t.Errorf("%d messages undelivered", s.Undelivered)
		}
	})
	g.run()
}

func TestMaskedMessageIsKept(t *testing.T) {
	tests := []struct {
		name         string
		mask, unmask func(g *guest, m msix)
	}{
		{
			"vector",
			func(g *guest, m msix) { g.Store32(m.table+12, msixVectorMask) },
			func(g *guest, m msix) { g.Store32(m.table+12, 0) },
		},
		{
			"function",
			func(g *guest, m msix) { g.ConfigWrite16(slot, 0, m.control, msixEnable|msixMask) },
			func(g *guest, m msix) { g.ConfigWrite16(slot, 0, m.control, msixEnable) },
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGuest(t)
			m := g.findMSIX()
			g.drive()
			g.enableMSIX(m)
			g.initialize(4)
			count := g.handler()
			g.write(regMask, maskNone)

			g.begin("mask")
			tt.mask(g, m)
			g.Load32(m.pending)
			g.wantSaved("pending bit before the read", 1, 0)
			g.submit(g.reading(0, 4096), mfi.StatusOK)
			g.begin("wait for the pending bit")
			g.Wait32(m.pending, 1, 1)
			g.Load32(count)
			g.wantSaved("interrupts while masked", 0xffffffff, 0)
			g.Load32(g.ring.producer)
			g.wantSaved("producer index while masked", 0xffffffff, 1)

			g.begin("unmask")
			tt.unmask(g, m)
			g.haltForReplies()
			g.Load32(m.pending)
			g.wantSaved("pending bit afterwards", 1, 0)
			g.wantWord("interrupts in the end", count, 0xffffffff, 1)
			g.run()
		})
	}
}

// TestLineInterrupt drives the controller's pin through the I/O APIC. The handler
// takes an interrupt for its own only if the status says so: there are KVMs that
// end a level-triggered interrupt when they deliver it, and so deliver it again.
func TestLineInterrupt(t *testing.T) {
	g := newGuest(t)
	g.drive()
	g.initialize(4)
	acked := g.Word()
	g.OnInterrupt(vector, func() {
		g.read(regStatus)
		g.If32(replyPosted, replyPosted, func() {
			g.Save32(regsBase + regClear)
			g.Increment32(acked)
			g.drain()
		})
	})
	g.EnableInterrupts()
	g.RouteIOAPIC(line, vector, true)
	quiet := func(when string) {
		g.read(regStatus)
		g.wantSaved("interrupt status "+when, 0xffffffff, 0)
		g.ConfigRead32(slot, 0, regCommand)
		g.wantSaved("Interrupt Status bit "+when, statusInterrupt, 0)
	}
	pending := func(when string) {
		g.begin("wait for the interrupt status")
		g.Wait32(regsBase+regStatus, replyPosted, replyPosted)
		g.ConfigRead32(slot, 0, regCommand)
		g.wantSaved("Interrupt Status bit "+when, statusInterrupt, statusInterrupt)
	}

	// What is posted while the mask is closed interrupts when it opens.
	g.submit(g.writing(60, 100, 512), mfi.StatusOK)
	g.begin("wait for the reply to be in the ring")
	g.Wait32(g.ring.producer, 0xffffffff, 1)
	g.Load32(acked)
	g.wantSaved("interrupts while masked", 0xffffffff, 0)
	quiet("while masked")
	g.write(regMask, maskNone)
	g.haltForReplies()
	quiet("after the first interrupt")

	// The processor looks on, with its own interrupts off, while the line is up.
	g.submit(g.reading(99, 1024), mfi.StatusOK)
	pending("before the second interrupt")
	g.haltForReplies()
	quiet("after the second interrupt")

	g.submit(g.reading(0, 1024), mfi.StatusOK)
	g.haltForReplies()
	quiet("after the third interrupt")
	g.wantWord("interrupts", acked, 0xffffffff, 3)
	g.machineStats(func(s vmm.Stats) {
		if s.LineChanges != 6 || s.Messages != 0 {
			t.Errorf("%d line changes and %d messages, want 6 (up and down three times) and none", s.LineChanges, s.Messages)
		}
	})
	g.run()
}
