package megasas

import (
	"testing"

	"github.com/govmm/govmm/megasas/mfi"
)

func TestINTx(t *testing.T) {
	cfg := nullDisk()
	g := newGuest(t, cfg)
	g.initialize(1008)
	g.write(0xa0, 0xffffffff)
	g.openMask()
	r, _ := g.blocks(mfi.CmdLDRead, 0, 512)
	for range 3 {
		g.submit(r)
		<-g.m.rise
		if s := g.read(0x30); s != g.c.p.layout.replyBit {
			t.Fatalf("interrupt status %#x, want %#x", s, g.c.p.layout.replyBit)
		}
		g.write(0xa0, g.c.p.layout.replyBit)
		if g.m.asserted() || g.read(0x30) != 0 {
			t.Error("the interrupt is still there after its acknowledgement")
		}
		g.collect(1)
	}
}

func TestMSI(t *testing.T) {
	cfg := nullDisk()
	g := newGuest(t, cfg)
	g.enableMSI()
	g.initialize(1008)
	g.openMask()
	r, _ := g.blocks(mfi.CmdLDRead, 0, 512)
	for range 3 {
		g.submit(r)
		g.submit(r)
		if data := <-g.m.msi; data != 0x42 {
			t.Errorf("message %#x", data)
		}
		g.collect(2)
		g.idle()
		if s := g.read(0x30); s != g.c.p.layout.replyBit {
			t.Errorf("interrupt status %#x, want %#x", s, g.c.p.layout.replyBit)
		}
		if n := len(g.m.msi); n != 0 {
			t.Errorf("%d more messages before the acknowledgement", n)
		}
		g.write(0xa0, g.c.p.layout.replyBit)
	}
	if g.m.asserted() {
		t.Error("the pin is asserted although MSI is on")
	}
}

// TestMask closes the mask while replies are posted: none may be lost, nor the
// interrupt for them.
func TestMask(t *testing.T) {
	for name, enable := range map[string]func(*guest){
		"INTx":  func(*guest) {},
		"MSI":   (*guest).enableMSI,
		"MSI-X": (*guest).enableMSIX,
	} {
		t.Run(name, func(t *testing.T) {
			cfg := nullDisk()
			g := newGuest(t, cfg)
			enable(g)
			g.initialize(1008)
			g.write(0x34, 0xffffffff)
			r, _ := g.blocks(mfi.CmdLDRead, 0, 512)
			g.submit(r)
			g.submit(r)
			g.collect(2)
			g.idle()
			if n := g.c.Stats().Interrupts; n != 0 || g.m.asserted() || g.read(0x30) != 0 {
				t.Fatalf("%d interrupts, status %#x, while masked", n, g.read(0x30))
			}
			if g.state() != mfi.StateOperational {
				t.Errorf("masking left state %v", g.state())
			}
			g.openMask()
			if n := g.c.Stats().Interrupts; n != 1 {
				t.Errorf("%d interrupts after unmasking, want 1", n)
			}
			if name == "INTx" != g.m.asserted() {
				t.Errorf("pin asserted: %v", g.m.asserted())
			}
		})
	}
}

// TestBatch holds up the posting of replies until 32 commands are done: one
// message has to do for those that waited.
func TestBatch(t *testing.T) {
	cfg := nullDisk()
	g := running(t, cfg, 1008)
	q := &g.c.replies
	q.mu.Lock()
	q.posting = true // as if another worker were posting
	q.mu.Unlock()
	r, _ := g.blocks(mfi.CmdLDRead, 0, 512)
	for range 31 {
		g.submit(r)
	}
	g.await("pending replies", func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		return len(q.pending) == 31
	})
	q.mu.Lock()
	q.posting = false
	q.mu.Unlock()
	g.submit(r)
	g.collect(32)
	g.idle()
	if n := len(g.m.msi); n != 1 {
		t.Errorf("%d messages for 32 replies that were ready together, want 1", n)
	}
}

// TestFaultInterrupt is seen with bit 2, with MSI-X too.
func TestFaultInterrupt(t *testing.T) {
	cfg := nullDisk()
	g := running(t, cfg, 1008)
	g.c.Faults().Fault(0x123, 0x45, true)
	<-g.m.msi
	if s := g.read(0x30); s != 4 {
		t.Errorf("interrupt status %#x, want 4", s)
	}
	if w := g.read(0xb0); w != 0xf1234500 {
		t.Errorf("state word %#x", w)
	}
	g.write(0xa0, 4)
	if s := g.read(0x30); s != 0 {
		t.Errorf("interrupt status %#x after its acknowledgement", s)
	}
	before := g.c.Stats().Dropped
	g.post(0x1000)
	if n := g.c.Stats().Dropped; n != before+1 {
		t.Error("a frame was taken in FAULT")
	}
}
