package megasas

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/govmm/govmm/megasas/mfi"
)

// onFakeClock runs a test in a bubble in which time passes only while everything
// waits, which a thread that sleeps does not count as. A lone worker does not.
func onFakeClock(t *testing.T, cfg func() Config, test func(t *testing.T, g *guest)) {
	synctest.Test(t, func(t *testing.T) {
		c := cfg()
		c.Workers = 1
		test(t, running(t, c, 1008))
	})
}

// resetAsLinux is Linux's way to reset the controller, with its waits, up to the
// next INIT. It reports false where Linux gives up.
func (g *guest) resetAsLinux() bool {
	g.write(0x34, 0xffffffff)
	g.unlock()
	time.Sleep(time.Second)
	for range 100 { // and goes on without it
		if g.read(0xf8)&0x80 != 0 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	g.write(0xf8, g.read(0xf8)|0x04)
	time.Sleep(10 * time.Second)
	for range 1000 {
		if g.read(0xf8)&0x04 == 0 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	time.Sleep(30 * time.Second)
	since, word := time.Now(), g.read(0xb0)
	for g.state() != mfi.StateReady {
		if now := g.read(0xb0); now != word {
			since, word = time.Now(), now
		}
		if time.Since(since) > 180*time.Second {
			return false
		}
		time.Sleep(20 * time.Millisecond)
	}
	g.initialize(1008)
	g.write(0xa0, 0xffffffff)
	g.openMask()
	return true
}

// TestRecovery has the firmware fail in every way while a read does not end, and
// recovers as Linux does: reset, INIT, the same frame again.
func TestRecovery(t *testing.T) {
	for name, tt := range map[string]struct {
		fail      func(*Faults)
		interrupt bool
		recovers  bool
		atLeast   time.Duration
		atMost    time.Duration
	}{
		"fault":         {func(f *Faults) { f.Fault(0xabc, 0xde, true) }, true, true, 41 * time.Second, 42 * time.Second},
		"silent fault":  {func(f *Faults) { f.Fault(0xabc, 0xde, false) }, false, true, 41 * time.Second, 42 * time.Second},
		"hangs only":    {func(*Faults) {}, false, true, 41 * time.Second, 42 * time.Second},
		"100 s longer":  {func(f *Faults) { f.Fault(1, 0, true); f.StayInFault(100 * time.Second) }, true, true, 100 * time.Second, 102 * time.Second},
		"300 s longer":  {func(f *Faults) { f.Fault(1, 0, true); f.StayInFault(300 * time.Second) }, true, false, 180 * time.Second, 230 * time.Second},
		"DIAG is stuck": {func(f *Faults) { f.Fault(1, 0, true); f.LockDiagnostic(true) }, true, false, 180 * time.Second, 240 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := func() Config { c, d := oneDisk(); copy(d.data, "first sector"); return c }
			onFakeClock(t, cfg, func(t *testing.T, g *guest) {
				f := g.c.Faults()
				f.Hold(MatchCommand(mfi.CmdLDRead), 1)
				x, bufs := g.blocks(mfi.CmdLDRead, 0, 512)
				addr, ctx := g.submit(x)
				synctest.Wait()
				before := newest(g)
				tt.fail(f)
				if told := len(g.m.msi) != 0; told != tt.interrupt {
					t.Errorf("the guest was told: %v", told)
				}
				if tt.interrupt {
					if g.read(0x30)&4 == 0 || g.state() != mfi.StateFault {
						t.Errorf("interrupt status %#x, state %v", g.read(0x30), g.state())
					}
					g.write(0xa0, g.read(0x30))
				}
				start := time.Now()
				ok := g.resetAsLinux()
				if took := time.Since(start); ok != tt.recovers || took < tt.atLeast || took > tt.atMost {
					t.Fatalf("recovers: %v, after %v", ok, took)
				}
				if !ok {
					return
				}
				if s := g.status(addr); s != mfi.StatusPending {
					t.Errorf("the read ended without being posted again: %v", s)
				}
				g.post(addr)
				if got := g.collect(1); got[0] != ctx || !bytes.HasPrefix(bufs[0], []byte("first sector")) {
					t.Errorf("replies %v, data %q", got, bufs[0][:12])
				}
				l := newListener(g)
				if newest(g) <= before {
					t.Error("event sequence numbers went back")
				}
				if _, err := g.c.AddDrive(DriveConfig{Drive: drive(newDisk(1<<20), 4)}); err != nil {
					t.Fatal(err)
				}
				l.expect(mfi.EventPDInserted)
			})
		})
	}
}

// TestResetWhileInFault has a reset leave the firmware in FAULT for ten minutes. The
// driver gives up, is loaded anew and resets it once more: that reset does not wait for
// the end of the ten minutes.
func TestResetWhileInFault(t *testing.T) {
	onFakeClock(t, nullDisk, func(t *testing.T, g *guest) {
		f := g.c.Faults()
		f.StayInFault(10 * time.Minute)
		f.Fault(1, 0, true)
		if g.resetAsLinux() {
			t.Fatal("the firmware is ready")
		}
		begun := time.Now()
		if ok, took := g.resetAsLinux(), time.Since(begun); !ok || took > 42*time.Second {
			t.Errorf("after the second reset: ready %v, after %v", ok, took)
		}
		g.alive()
	})
}

// TestDropInterrupt loses the interrupt of the second of three reads.
func TestDropInterrupt(t *testing.T) {
	onFakeClock(t, nullDisk, func(t *testing.T, g *guest) {
		g.c.Faults().DropInterrupt(2)
		for i, want := range []int{1, 0, 1} {
			x, _ := g.blocks(mfi.CmdLDRead, 0, 512)
			g.submit(x)
			synctest.Wait()
			if n := len(g.m.msi); n != want {
				t.Errorf("read %d: %d interrupts, want %d", i+1, n, want)
			}
			for len(g.m.msi) > 0 {
				<-g.m.msi
			}
			if n := len(g.replies()); n != 1 {
				t.Errorf("read %d: %d replies in the ring, want 1", i+1, n)
			}
		}
	})
}

// TestCompleteWith answers commands with what a failing card answers.
func TestCompleteWith(t *testing.T) {
	onFakeClock(t, nullDisk, func(t *testing.T, g *guest) {
		f := g.c.Faults()
		x, _ := g.blocks(mfi.CmdLDRead, 0, 512)
		for _, s := range []mfi.Status{mfi.StatusSCSIIOFailed, mfi.StatusLDOffline} {
			f.Complete(MatchCommand(mfi.CmdLDRead), 1, Answer{Status: s})
			if _, got := g.poll(x); got != s {
				t.Errorf("read: %v, want %v", got, s)
			}
		}
		sense := []byte{0x70, 0, 3, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x11, 0, 0, 0, 0, 0} // unrecovered read error
		f.Complete(MatchCommand(mfi.CmdLDRead), 1, Answer{Status: mfi.StatusSCSIDoneWithError, SCSIStatus: 2, Sense: sense})
		addr, s := g.poll(x)
		if n := g.mem[addr+1]; s != mfi.StatusSCSIDoneWithError || g.scsiStatus(addr) != 2 || !bytes.Equal(g.mem[x.SenseAddr:][:n], sense) {
			t.Errorf("read: %v, SCSI status %#x, %d bytes of sense data", s, g.scsiStatus(addr), n)
		}
		if _, s := g.poll(x); s != mfi.StatusOK {
			t.Errorf("the read after: %v", s)
		}
	})
}

// TestHoldDCMD holds one management command; others, and I/O, go on. Clear lets
// the next through.
func TestHoldDCMD(t *testing.T) {
	onFakeClock(t, nullDisk, func(t *testing.T, g *guest) {
		f := g.c.Faults()
		f.Hold(MatchOpcode(mfi.OpLDGetList), 2)
		at := g.alloc(1032)
		x := mfi.Fields{Cmd: mfi.CmdDCMD, Opcode: mfi.OpLDGetList, DataLen: 1032, SGL: []mfi.SGE{{Addr: at, Len: 1032}}}
		addr, _ := g.submit(x)
		time.Sleep(time.Hour)
		if s := g.status(addr); s != mfi.StatusPending {
			t.Errorf("the command that is held: %v", s)
		}
		g.mustDCMD(mfi.OpPDGetList, 1024)
		read, _ := g.blocks(mfi.CmdLDRead, 0, 512)
		if _, s := g.poll(read); s != mfi.StatusOK {
			t.Errorf("read: %v", s)
		}
		f.Clear()
		g.mustDCMD(mfi.OpLDGetList, 1032)
	})
}
