package megasas

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/govmm/govmm/megasas/mfi"
)

// stuck is a running guest with a read that the disk does not finish until
// release is called.
func stuck(t *testing.T) (g *guest, addr uint64, buf []byte, release func()) {
	t.Helper()
	cfg, d := oneDisk()
	for i := range d.data {
		d.data[i] = 0x77
	}
	entered, gate := make(chan struct{}), make(chan struct{})
	d.gate = func() { entered <- struct{}{}; <-gate }
	g = running(t, cfg, 1008)
	x, bufs := g.blocks(mfi.CmdLDRead, 0, 512)
	addr, _ = g.submit(x)
	<-entered
	return g, addr, bufs[0], func() { d.gate = nil; close(gate) }
}

// unlock writes the sequence that opens the diagnostic register.
func (g *guest) unlock() {
	for _, v := range []uint32{0x00, 0x04, 0x0b, 0x02, 0x07, 0x0d} {
		g.write(0xfc, v)
	}
}

// TestResetInFlight resets in every way while a read is under way: READY must
// not show before the read has stopped touching memory, and its result must not
// appear anywhere.
func TestResetInFlight(t *testing.T) {
	for name, reset := range map[string]func(*guest){
		"doorbell": func(g *guest) { g.write(0x34, 0xffffffff); g.write(0x20, 7) },
		"diagnostic": func(g *guest) {
			g.unlock()
			if d := g.read(0xf8); d != 0x80 {
				g.t.Fatalf("DIAG is %#x after the unlock sequence", d)
			}
			g.write(0xf8, 0x84)
		},
		"function": func(g *guest) { g.resetFunction() },
	} {
		t.Run(name, func(t *testing.T) {
			g, addr, buf, release := stuck(t)
			held, _ := g.submit(eventWaitFrame(g, 1<<30))
			g.await("EVENT_WAIT", func() bool { return len(g.c.heldWaits()) == 1 })
			reset(g)
			g.place()
			g.awaitWriter()
			if s := g.state(); s == mfi.StateReady || s == mfi.StateOperational {
				t.Fatalf("state %v while a frame is being carried out", s)
			}
			if name == "diagnostic" && g.read(0xf8)&4 == 0 {
				t.Error("DIAG bit 2 is clear during the reset")
			}
			g.post(addr) // not taken: the firmware is busy
			release()
			g.await("READY", func() bool { return g.state() == mfi.StateReady })
			if name == "diagnostic" && g.read(0xf8) != 0 {
				t.Errorf("DIAG is %#x after the reset", g.read(0xf8))
			}
			if name != "doorbell" && g.read(0x34) != 0xffffffff {
				t.Errorf("mask is %#x after the reset", g.read(0x34))
			}
			if n := len(g.c.heldWaits()); n != 0 {
				t.Errorf("%d EVENT_WAIT frames are still held", n)
			}
			for what, a := range map[string]uint64{"read": addr, "EVENT_WAIT": held} {
				if s := g.status(a); s != mfi.StatusPending {
					t.Errorf("the %s was completed: %v", what, s)
				}
			}
			oldRing := g.ring
			if name == "function" {
				g.enableMSIX()
			}
			g.initialize(1008)
			g.openMask()
			clear(buf)
			x, _ := g.blocks(mfi.CmdLDRead, 0, 512)
			_, ctx := g.submit(x)
			if got := g.collect(1); got[0] != ctx {
				t.Errorf("context %d in the new ring, want %d", got[0], ctx)
			}
			if g.mem.u32(oldRing) != 0 || bytes.Count(buf, []byte{0}) != len(buf) {
				t.Error("the old command was completed, or still moved data")
			}
		})
	}
}

// awaitWriter waits until something waits for the frames that are being carried
// out.
func (g *guest) awaitWriter() {
	g.t.Helper()
	g.await("somebody to wait for the frames", func() bool {
		if !g.c.life.TryRLock() {
			return true
		}
		g.c.life.RUnlock()
		return false
	})
}

// heldWaits is the EVENT_WAIT frames that are held.
func (c *Controller) heldWaits() []*wait {
	c.waits.mu.Lock()
	defer c.waits.mu.Unlock()
	return c.waits.held
}

// TestInitAgain hands over another ring while a command is under way.
func TestInitAgain(t *testing.T) {
	g, addr, _, release := stuck(t)
	at := g.alloc(mfi.QueueInfoLen)
	ring, producer, consumer := g.alloc(4*16), g.alloc(4), g.alloc(4)
	copy(g.mem[at:], mfi.QueueInfo{Entries: 16, Base: ring, Producer: producer, Consumer: consumer}.Marshal())
	init := g.put(mfi.Fields{Cmd: mfi.CmdInit, QueueInfo: at, Flags: mfi.FlagDontPost})
	g.post(init)
	g.awaitWriter()
	if s := g.status(init); s != mfi.StatusPending {
		t.Errorf("INIT ended while a frame was being carried out: %v", s)
	}
	release()
	g.await("INIT", func() bool { return g.status(init) == mfi.StatusOK })
	// The read was carried out before INIT got its turn, and answered through the
	// ring of its time.
	if s := g.status(addr); s != mfi.StatusOK || g.mem.u32(producer) != 0 {
		t.Errorf("read: %v; new producer index %d", s, g.mem.u32(producer))
	}
	g.ring, g.producer, g.consumer, g.entries, g.tail = ring, producer, consumer, 16, 0
	x, _ := g.blocks(mfi.CmdLDRead, 0, 512)
	_, ctx := g.submit(x)
	if got := g.collect(1); got[0] != ctx {
		t.Errorf("context %d, want %d", got[0], ctx)
	}
}

func TestDoorbell(t *testing.T) {
	cfg, _ := oneDisk()
	g := running(t, cfg, 1008)
	g.write(0x20, 0x02) // FreeBSD's
	g.await("READY", func() bool { return g.state() == mfi.StateReady })
	x, _ := g.blocks(mfi.CmdLDRead, 0, 512)
	addr, _ := g.submit(x)
	g.await("the read", func() bool { return g.status(addr) != mfi.StatusPending })
	g.idle()
	if s := g.status(addr); s != mfi.StatusOK || len(g.replies()) != 0 {
		t.Errorf("read without a reply queue: %v, and the old one may have been used", s)
	}
	g.write(0x20, 0x18) // nothing to leave
	if g.state() != mfi.StateReady {
		t.Errorf("state %v", g.state())
	}
	g.write(0x20, 0x20)
	if g.state() != mfi.StateFault {
		t.Errorf("state %v after STOP_ADP", g.state())
	}
	g.write(0x20, 0x07)
	if g.state() != mfi.StateFault {
		t.Errorf("state %v: only a reset ends a fault", g.state())
	}
	g.write(0xf8, 0x04)
	if g.state() != mfi.StateFault {
		t.Error("DIAG takes writes while locked")
	}
	g.unlock()
	g.write(0xf8, 0x84)
	g.await("READY", func() bool { return g.state() == mfi.StateReady })
}

// TestStopDuringReset declares the adapter dead while a reset waits for a
// command: that must not bring it back to life.
func TestStopDuringReset(t *testing.T) {
	g, _, _, release := stuck(t)
	g.write(0x20, 0x07)
	g.awaitWriter()
	if g.state() != mfi.StateFlushCache {
		t.Errorf("state %v during the reset", g.state())
	}
	g.write(0x20, 0x20)
	release()
	g.c.awaitSettled()
	if g.state() != mfi.StateFault {
		t.Errorf("state %v after STOP_ADP", g.state())
	}
	g.c.Reset()
	if g.state() != mfi.StateReady {
		t.Errorf("state %v after a reset", g.state())
	}
}

func TestUnlockSequence(t *testing.T) {
	for name, tt := range map[string]struct {
		values []uint32
		opens  bool
	}{
		"right":             {[]uint32{0, 4, 0xb, 2, 7, 0xd}, true},
		"short":             {[]uint32{0, 4, 0xb, 2, 7}, false},
		"wrong in between":  {[]uint32{0, 4, 0xb, 1, 2, 7, 0xd}, false},
		"started again":     {[]uint32{0, 4, 0, 4, 0xb, 2, 7, 0xd}, true},
		"first value twice": {[]uint32{0, 0, 4, 0xb, 2, 7, 0xd}, true},
		"no start":          {[]uint32{4, 0xb, 2, 7, 0xd}, false},
		"wild values":       {[]uint32{0xffffffff, 0x80000000, 0, 4, 0xb, 2, 7, 0xd, 0xd, 0xd, 0xd}, true},
	} {
		t.Run(name, func(t *testing.T) {
			fw := firmware{face: newFace()}
			for _, v := range tt.values {
				fw.unlock(v)
			}
			if opens := fw.diag&diagWriteEnable != 0; opens != tt.opens {
				t.Errorf("opens: %v, want %v", opens, tt.opens)
			}
		})
	}
}

// TestBootSteps goes through states that wait for the guest.
func TestBootSteps(t *testing.T) {
	p := SAS9260()
	p.Boot = []BootStep{
		{State: mfi.StateBBInit, Delay: time.Millisecond},
		{State: mfi.StateWaitHandshake},
		{State: mfi.StateFWInit2},
		{State: mfi.StateBootMessagePending},
		{State: mfi.StateDeviceScan},
	}
	c, err := New(Config{Profile: p})
	if err != nil {
		t.Fatal(err)
	}
	g := &guest{t: t, c: c, mem: newMemory(ramSize), regs: window{c}}
	c.Attach(g.mem)
	g.await("WAIT_HANDSHAKE", func() bool { return g.state() == mfi.StateWaitHandshake })
	g.write(0x20, 0x10)
	if g.state() != mfi.StateWaitHandshake {
		t.Errorf("state %v: the wrong doorbell bit was taken", g.state())
	}
	g.write(0x20, 0x18)
	g.await("BOOT_MESSAGE_PENDING", func() bool { return g.state() == mfi.StateBootMessagePending })
	g.write(0x20, 0x10)
	g.await("READY", func() bool { return g.state() == mfi.StateReady })
	if err := c.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// TestReset is the machine's reset: when it returns, nothing touches memory.
func TestReset(t *testing.T) {
	g, addr, _, release := stuck(t)
	done := make(chan struct{})
	go func() { g.c.Reset(); close(done) }()
	g.awaitWriter()
	select {
	case <-done:
		t.Error("Reset returned while a frame was being carried out")
	default:
	}
	release()
	<-done
	if g.state() != mfi.StateReady || g.status(addr) != mfi.StatusPending {
		t.Errorf("state %v, old frame %v", g.state(), g.status(addr))
	}
}

func TestClose(t *testing.T) {
	g, addr, _, release := stuck(t)
	ctx, cancel := context.WithCancelCause(context.Background())
	because := errors.New("no time left")
	cancel(because)
	if err := g.c.Close(ctx); !errors.Is(err, because) {
		t.Errorf("Close with a command under way: %v", err)
	}
	dropped := g.c.Stats().Dropped
	g.post(addr)
	if g.c.Stats().Dropped != dropped+1 {
		t.Error("a frame was taken after Close")
	}
	release()
	g.await("the read", func() bool { return g.status(addr) == mfi.StatusOK })
}
