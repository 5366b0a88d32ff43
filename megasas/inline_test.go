package megasas

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
)

// promptGuest is a running guest with a write-back volume on which nothing has to
// wait. Every transfer that is tried calls try, if that is not nil.
func promptGuest(t testing.TB, try func()) (*guest, *disk) {
	t.Helper()
	cfg, d := oneDisk()
	cfg.Drives[0].Cache = raid.WriteBack
	for i := range d.data {
		d.data[i] = byte(i / 512)
	}
	d.prompt = func() bool {
		if try != nil {
			try()
		}
		return true
	}
	return running(t, cfg, 1008), d
}

// unhurried has the next frame come in no rush, however fast this host is.
func (g *guest) unhurried() { g.c.inlining.last.Store(-int64(time.Hour)) }

// inlined is how many frames vCPUs have carried out.
func (g *guest) inlined() uint64 { return g.c.Stats().Inline }

// What need not wait is over when the store into the queue port is: data, status,
// reply and interrupt.
func TestInlineIsOverWithTheStore(t *testing.T) {
	g, d := promptGuest(t, nil)
	before := g.c.Stats()
	r, bufs := g.blocks(mfi.CmdLDRead, 3, 512, 1024)
	addr, context := g.submit(r)
	if s := g.status(addr); s != mfi.StatusOK {
		t.Fatalf("status %v after the store", s)
	}
	if got := g.replies(); len(got) != 1 || got[0] != context {
		t.Errorf("replies %v, want %d", got, context)
	}
	if !bytes.Equal(append(bufs[0], bufs[1]...), d.data[3*512:6*512]) {
		t.Error("the data is not there")
	}
	w, bufs := g.blocks(mfi.CmdLDWrite, 100, 512)
	copy(bufs[0], bytes.Repeat([]byte{0xab}, 512))
	if _, s := g.pollNow(w); s != mfi.StatusOK || d.data[100*512] != 0xab {
		t.Errorf("the write: %v, %#x", s, d.data[100*512])
	}
	after := g.c.Stats()
	if after.Inline-before.Inline != 2 || after.Posted-before.Posted != 2 || after.Completed-before.Completed != 2 || after.Interrupts-before.Interrupts != 1 {
		t.Errorf("counts before %+v, after %+v", before, after)
	}
}

// pollNow is poll for a frame that is over with the store.
func (g *guest) pollNow(x mfi.Fields) (uint64, mfi.Status) {
	x.Flags |= mfi.FlagDontPost
	addr := g.put(x)
	g.post(addr)
	return addr, g.status(addr)
}

// An observer sees each frame once, whoever fetches it and carries it out.
func TestInlineIsSeenByTheObserver(t *testing.T) {
	var w watcher
	cfg, d := oneDisk()
	cfg.Observer = &w
	wait := false
	d.prompt = func() bool { return !wait }
	g := running(t, cfg, 1008)
	x, _ := g.blocks(mfi.CmdLDRead, 0, 512)
	for _, wait = range []bool{false, true} {
		if _, s := g.poll(x); s != mfi.StatusOK {
			t.Fatal(s)
		}
	}
	if err := g.c.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := g.inlined(); n != 1 || d.tries.Load() != 2 {
		t.Fatalf("%d frames on the vCPU's thread of %d that were tried, want 1 of 2", n, d.tries.Load())
	}
	isRead := MatchCommand(mfi.CmdLDRead)
	w.fetched = slices.DeleteFunc(w.fetched, func(f FrameFetched) bool { return !isRead(f.Frame) })
	w.done = slices.DeleteFunc(w.done, func(f FrameDone) bool { return !isRead(f.Frame) })
	if len(w.fetched) != 2 || len(w.done) != 2 || len(w.lost) != 0 {
		t.Fatalf("%d frames fetched, %d done and %q lost, want 2, 2 and none", len(w.fetched), len(w.done), w.lost)
	}
	for i, f := range w.done {
		if f.Addr != w.fetched[i].Addr || f.Posted.IsZero() || f.Status != mfi.StatusOK {
			t.Errorf("frame %d: %+v", i, f)
		}
	}
}

// Everything else is a worker's, with the answer that it always had.
func TestInlineLeavesTheRest(t *testing.T) {
	cfg, d := oneDisk() // write-through
	d.prompt = func() bool { return true }
	g := running(t, cfg, 1008)
	long, _ := g.blocks(mfi.CmdLDRead, 0, inlineLimit, 512)
	fua, _ := g.blocks(mfi.CmdLDRead, 0, 512)
	fua.LUN = mfi.AccessFUA
	write, _ := g.blocks(mfi.CmdLDWrite, 0, 512)
	absent, _ := g.blocks(mfi.CmdLDRead, 0, 512)
	absent.Target = 5
	beyond, _ := g.blocks(mfi.CmdLDRead, 1<<40, 512)
	short, _ := g.blocks(mfi.CmdLDRead, 0, 512)
	short.DataLen = 2
	outside, _ := g.blocks(mfi.CmdLDRead, 0, 512)
	outside.SGL[0].Addr = ramSize - 256
	before := g.inlined()
	for name, c := range map[string]struct {
		x    mfi.Fields
		want mfi.Status
	}{
		"more than is copied on a vCPU's thread": {long, mfi.StatusOK},
		"FUA":                                    {fua, mfi.StatusOK},
		"a write that is to be durable":          {write, mfi.StatusOK},
		"no such volume":                         {absent, mfi.StatusDeviceNotFound},
		"beyond the end":                         {beyond, mfi.StatusSCSIDoneWithError},
		"a list that is too short":               {short, mfi.StatusInvalidSGL},
		"outside of memory":                      {outside, mfi.StatusInvalidSGL},
		"management":                             {mfi.Fields{Cmd: mfi.CmdDCMD, Opcode: mfi.OpCtrlCacheFlush}, mfi.StatusOK},
	} {
		if _, s := g.poll(c.x); s != c.want {
			t.Errorf("%s: %v, want %v", name, s, c.want)
		}
	}
	if n := g.inlined() - before; n != 0 {
		t.Errorf("%d frames were carried out on the vCPU's thread", n)
	}
	if d.flushes.Load() == 0 {
		t.Error("the write was not flushed")
	}
}

// Faults that were asked for hit frames whoever carries them out.
func TestInlineSuffersFaults(t *testing.T) {
	g, _ := promptGuest(t, nil)
	g.c.Faults().Complete(MatchCommand(mfi.CmdLDRead), 1, Answer{Status: mfi.StatusLDOffline})
	r, _ := g.blocks(mfi.CmdLDRead, 0, 512)
	if _, s := g.poll(r); s != mfi.StatusLDOffline {
		t.Errorf("status %v, want that of the fault", s)
	}
	if _, s := g.pollNow(r); s != mfi.StatusOK {
		t.Errorf("status %v after the fault", s)
	}
}

// A frame that goes to a worker after all is not fetched again: what the guest
// makes of it after the store does not count.
func TestFrameIsFetchedOnceOnItsWayToAWorker(t *testing.T) {
	cfg, d := oneDisk()
	cfg.Workers = 1
	d.data[0], d.data[512] = 0x11, 0x22
	entered, gate := make(chan struct{}, 2), make(chan struct{})
	d.prompt = func() bool { return false }
	d.gate = func() { entered <- struct{}{}; <-gate }
	g := running(t, cfg, 1008)
	other, _ := g.blocks(mfi.CmdLDWrite, 8, 512)
	g.submit(other)
	<-entered // the worker is busy
	g.unhurried()
	x, bufs := g.blocks(mfi.CmdLDRead, 0, 512)
	addr, _ := g.submit(x)
	if d.tries.Load() != 1 {
		t.Fatal("the read was not tried")
	}
	x.LBA = 1
	copy(g.mem[addr:], x.Marshal())
	close(gate)
	g.collect(2)
	if bufs[0][0] != 0x11 {
		t.Errorf("block with %#x was read, want the one that was posted", bufs[0][0])
	}
}

// held is a guest whose vCPU is in the middle of a read that it carries out itself,
// until release is called.
func held(t *testing.T) (g *guest, x mfi.Fields, release func() mfi.Status) {
	t.Helper()
	entered, gate := make(chan struct{}), make(chan struct{})
	first := true
	g, _ = promptGuest(t, func() {
		if first {
			first = false
			close(entered)
			<-gate
		}
	})
	x, _ = g.blocks(mfi.CmdLDRead, 1, 512)
	x.Flags |= mfi.FlagDontPost
	addr := g.put(x)
	returned := make(chan struct{})
	go func() {
		var p [4]byte
		copy(p[:], le32(uint32(addr)|1))
		g.regs.Write(0x40, p[:]) // g.word is the other vCPU's
		close(returned)
	}()
	<-entered
	g.unhurried()
	return g, x, func() mfi.Status { close(gate); <-returned; return g.status(addr) }
}

// READY must not show before a vCPU has stopped touching memory, and what it did is
// forgotten.
func TestResetDuringInline(t *testing.T) {
	g, x, release := held(t)
	g.unlock()
	g.write(0xf8, 0x84)
	g.awaitWriter()
	if s := g.state(); s == mfi.StateReady {
		t.Fatal("READY while a vCPU carries out a frame")
	}
	if s := release(); s != mfi.StatusPending {
		t.Errorf("the read was completed after the reset: %v", s)
	}
	g.await("READY", func() bool { return g.state() == mfi.StateReady })
	if n := g.c.Stats().Abandoned; n != 1 {
		t.Errorf("%d frames were abandoned, want 1", n)
	}
	if _, s := g.poll(x); s != mfi.StatusOK {
		t.Errorf("a read after the reset: %v", s)
	}
}

func TestPauseDuringInline(t *testing.T) {
	g, x, release := held(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := g.c.Pause(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a pause while a vCPU carries out a frame: %v", err)
	}
	if s := release(); s != mfi.StatusOK {
		t.Errorf("the read: %v", s)
	}
	if err := g.c.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := g.inlined()
	if addr, s := g.pollNow(x); s != mfi.StatusPending {
		t.Error("a frame was carried out during a pause")
	} else {
		g.c.Resume()
		g.await("the read", func() bool { return g.status(addr) == mfi.StatusOK })
	}
	if g.inlined() != before {
		t.Error("the frame was not a worker's")
	}
}

func TestCloseDuringInline(t *testing.T) {
	g, x, release := held(t)
	closed := make(chan error, 1)
	go func() { closed <- g.c.Close(t.Context()) }()
	g.await("the close", g.c.closed.Load)
	g.awaitWriter()
	if len(closed) != 0 {
		t.Error("closed while a vCPU carries out a frame")
	}
	release()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if _, s := g.pollNow(x); s != mfi.StatusPending {
		t.Errorf("a frame after the close: %v", s)
	}
}

func TestPullDriveDuringInline(t *testing.T) {
	g, x, release := held(t)
	pulled := make(chan error, 1)
	go func() { pulled <- g.c.RemoveDrive(0) }()
	g.await("LD_OFFLINE", func() bool { _, s := g.poll(x); return s == mfi.StatusLDOffline })
	if len(pulled) != 0 {
		t.Error("the drive is out while a vCPU reads it")
	}
	if s := release(); s != mfi.StatusOK {
		t.Errorf("the read: %v", s)
	}
	if err := <-pulled; err != nil {
		t.Error(err)
	}
}

// vCPUs do not wait for each other.
func TestVCPUsInlineAtTheSameTime(t *testing.T) {
	g, x, release := held(t)
	before := g.inlined()
	if _, s := g.pollNow(x); s != mfi.StatusOK {
		t.Errorf("another vCPU's read: %v", s)
	}
	if n := g.inlined() - before; n != 1 {
		t.Errorf("%d frames were carried out by it", n)
	}
	release()
}

// Frames that come faster than they are carried out are the workers', once the
// guest has left something undone.
func TestRushGoesToWorkers(t *testing.T) {
	g, _ := promptGuest(t, nil)
	now := func() { g.c.inlining.last.Store(int64(time.Hour)) } // nothing comes later than that
	x, _ := g.blocks(mfi.CmdLDRead, 0, 512)
	g.idle()
	before := g.inlined()
	for i, want := range []uint64{1, 1, 2} {
		if i == 2 {
			g.replies()
		}
		now()
		g.submit(x)
		if n := g.inlined() - before; n != want {
			t.Errorf("%d frames on the vCPU's thread after %d, want %d", n, i+1, want)
		}
		g.await("replies", func() bool { return g.c.Stats().Completed >= uint64(i)+2 && g.c.outstanding.Load() == 0 })
		g.idle()
	}
}

// A system drive is read by CDBs.
func TestInlineReadsSystemDrives(t *testing.T) {
	d := newDisk(1 << 20)
	d.data[512] = 0x42
	d.prompt = func() bool { return true }
	g := running(t, Config{Drives: []DriveConfig{{Drive: drive(d, 0), System: true}}}, 1008)
	x, bufs := g.blocks(mfi.CmdPDSCSIIO, 0, 512)
	x.DataLen = 512
	for _, c := range []struct {
		name   string
		cdb    []byte
		inline uint64
		want   mfi.Status
	}{
		{"READ(10)", []byte{0x28, 0, 0, 0, 0, 1, 0, 0, 1, 0}, 1, mfi.StatusOK},
		{"READ(16)", []byte{0x88, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0}, 1, mfi.StatusOK},
		{"WRITE(10)", []byte{0x2a, 0, 0, 0, 0, 9, 0, 0, 1, 0}, 1, mfi.StatusOK},
		{"READ(10) with FUA", []byte{0x28, 8, 0, 0, 0, 1, 0, 0, 1, 0}, 0, mfi.StatusOK},
		{"READ(10) with a reserved bit", []byte{0x28, 2, 0, 0, 0, 1, 0, 0, 1, 0}, 0, mfi.StatusSCSIDoneWithError},
		{"READ(10) cut off", []byte{0x28, 0, 0, 0, 0, 1, 0}, 0, mfi.StatusSCSIDoneWithError},
		{"READ(10) beyond the end", []byte{0x28, 0, 9, 0, 0, 1, 0, 0, 1, 0}, 0, mfi.StatusSCSIDoneWithError},
		{"TEST UNIT READY", make([]byte, 6), 0, mfi.StatusOK},
	} {
		bufs[0][0] = 0
		x.CDB = c.cdb
		before := g.inlined()
		_, s := g.poll(x)
		if n := g.inlined() - before; s != c.want || n != c.inline {
			t.Errorf("%s: %v, %d frames on the vCPU's thread; want %v, %d", c.name, s, n, c.want, c.inline)
		}
		if want := byte(0x42); c.cdb[0]&0x0f == 8 && s == mfi.StatusOK && bufs[0][0] != want {
			t.Errorf("%s: read %#x, want %#x", c.name, bufs[0][0], want)
		}
	}
	x.CDB, x.LUN = []byte{0x28, 0, 0, 0, 0, 1, 0, 0, 1, 0}, 3
	before := g.inlined()
	if _, s := g.poll(x); s != mfi.StatusSCSIDoneWithError || g.inlined() != before {
		t.Errorf("a LUN that is not there: %v", s)
	}
}

// What does not pay off is not tried again and again, but it is tried.
func TestInlineIsTriedLessWhenItFails(t *testing.T) {
	g, d := promptGuest(t, nil)
	prompt := false
	d.prompt = func() bool { return prompt }
	x, _ := g.blocks(mfi.CmdLDRead, 0, 512)
	for range 1000 {
		g.poll(x)
	}
	if n := d.tries.Load(); n < 10 || n > 30 {
		t.Errorf("%d tries for 1000 reads", n)
	}
	prompt = true
	before := g.inlined()
	for range 2 << maxFailures {
		g.poll(x)
	}
	if n := g.inlined() - before; n < 1<<maxFailures {
		t.Errorf("%d of %d reads on the vCPU's thread when they succeed again", n, 2<<maxFailures)
	}
}

// Frames that find no room in the queue must not take what they were fetched into
// with them.
func TestDroppedFramesGiveTheirRequestsBack(t *testing.T) {
	gate := make(chan struct{})
	cfg, d := oneDisk()
	cfg.Workers = 1 // one after another: all frames have the same buffer
	d.prompt = func() bool { return false }
	d.gate = func() { <-gate }
	g := running(t, cfg, 1008)
	x, _ := g.blocks(mfi.CmdLDRead, 0, 512)
	x.Flags |= mfi.FlagDontPost
	addr := g.put(x)
	for range queueDepth + 10 + 64*inlineRequests {
		g.post(addr)
	}
	if n := g.c.Stats().Dropped; n < 64*inlineRequests {
		t.Fatalf("%d frames were dropped", n)
	}
	close(gate)
	g.await("the queue", func() bool { return g.c.outstanding.Load() == 0 })
	if n := len(g.c.inlining.spare); n != inlineRequests {
		t.Errorf("%d requests are left of %d", n, inlineRequests)
	}
}

// Nor do reads of a system drive allocate, inline or by a worker.
func TestSystemDriveReadsDoNotAllocate(t *testing.T) {
	for _, prompt := range []bool{true, false} {
		d := newDisk(1 << 20)
		d.prompt = func() bool { return prompt }
		g := running(t, Config{Drives: []DriveConfig{{Drive: drive(d, 0), System: true}}}, 1008)
		x, _ := g.blocks(mfi.CmdPDSCSIIO, 0, 512)
		x.DataLen, x.CDB = 512, []byte{0x28, 0, 0, 0, 0, 1, 0, 0, 1, 0}
		addr := g.put(x)
		g.keepBusy([]uint64{addr}, 200)
		if n := testing.AllocsPerRun(100, func() { g.keepBusy([]uint64{addr}, 10) }); n > 0 {
			t.Errorf("prompt %v: %v allocations for 10 reads", prompt, n)
		}
	}
}
