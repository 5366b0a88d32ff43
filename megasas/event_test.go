package megasas

import (
	"strings"
	"testing"
	"time"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
)

// eventWaitFrame is an EVENT_WAIT as Linux sends it.
func eventWaitFrame(g *guest, first uint32) mfi.Fields {
	return mfi.Fields{
		Cmd: mfi.CmdDCMD, Opcode: mfi.OpCtrlEventWait, DataLen: 256, Flags: mfi.FlagRead,
		Mailbox: mfi.Mailbox(append(logged(first, 0xfe00ffff), 0, 0, 0, 0)),
		SGL:     []mfi.SGE{{Addr: g.alloc(256), Len: 256}},
	}
}

func newest(g *guest) uint32 { return memory(g.mustDCMD(mfi.OpCtrlEventGetInfo, 20)).u32(0) }

// TestEventWait has events arrive one by one at a driver that asks for the next
// one each time, none missing.
func TestEventWait(t *testing.T) {
	cfg, _ := oneDisk()
	g := running(t, cfg, 1008)
	next := newest(g) + 1
	x := eventWaitFrame(g, next)
	addr, _ := g.submit(x)
	g.await("EVENT_WAIT", func() bool { return len(g.c.heldWaits()) == 1 })
	if s := g.status(addr); s != mfi.StatusPending {
		t.Fatalf("EVENT_WAIT ended without an event: %v", s)
	}
	if err := g.c.Drives().SetDriveState(0, raid.AnySequence, raid.Offline); err != nil {
		t.Fatal(err)
	}
	// A drive that goes offline takes its volume with it: three events.
	want := []mfi.EventCode{mfi.EventPDStateChange, mfi.EventLDStateChange, mfi.EventLDOffline}
	for i, code := range want {
		g.collect(1)
		e := memory(g.mem[x.SGL[0].Addr:][:256])
		if e.u32(0) != next+uint32(i) || mfi.EventCode(e.u32(8)) != code {
			t.Fatalf("event %d has code %#x, want %d with %#x", e.u32(0), e.u32(8), next+uint32(i), code)
		}
		if !strings.Contains(string(e[0x80:]), "offline") {
			t.Errorf("description %q", e[0x80:])
		}
		x = eventWaitFrame(g, next+uint32(i)+1)
		g.submit(x)
	}
	g.await("EVENT_WAIT", func() bool { return len(g.c.heldWaits()) == 1 })
}

// TestEventsWaitAfterAReset has a driver post EVENT_WAIT right after an adapter
// reset, which logged events: it is answered a while later, when Linux's driver has
// noted that its recovery is over, and at once from then on.
func TestEventsWaitAfterAReset(t *testing.T) {
	onFakeClock(t, func() Config { cfg, _ := oneDisk(); return cfg }, func(t *testing.T, g *guest) {
		next := newest(g) + 1
		g.unlock()
		g.write(0xf8, 0x84)
		g.await("READY", func() bool { return g.state() == mfi.StateReady })
		g.initialize(1008)
		for i, want := range []time.Duration{quietTime, 0} {
			begun := time.Now()
			g.submit(eventWaitFrame(g, next+uint32(i)))
			g.collect(1)
			if took := time.Since(begun); took < want-time.Millisecond || took > want+time.Millisecond {
				t.Errorf("event %d was told after %v, want %v", i, took, want)
			}
		}
	})
}

// TestAbortEventWait aborts as Linux does at shutdown: the wait must complete,
// and first.
func TestAbortEventWait(t *testing.T) {
	cfg, _ := oneDisk()
	g := running(t, cfg, 1008)
	x := eventWaitFrame(g, newest(g)+1)
	wait, waitCtx := g.submit(x)
	g.await("EVENT_WAIT", func() bool { return len(g.c.heldWaits()) == 1 })
	for what, y := range map[string]mfi.Fields{
		"context": {Cmd: mfi.CmdAbort, AbortContext: waitCtx + 1, AbortAddr: wait},
		"address": {Cmd: mfi.CmdAbort, AbortContext: waitCtx, AbortAddr: wait + 64},
	} {
		if _, s := g.poll(y); s != mfi.StatusAbortNotPossible {
			t.Errorf("ABORT with a wrong %s: %v", what, s)
		}
	}
	abort, abortCtx := g.submit(mfi.Fields{Cmd: mfi.CmdAbort, AbortContext: waitCtx, AbortAddr: wait})
	if got := g.collect(2); got[0] != waitCtx || got[1] != abortCtx {
		t.Errorf("replies %v, want the wait %d and then the abort %d", got, waitCtx, abortCtx)
	}
	if s := g.status(abort); s != mfi.StatusOK {
		t.Errorf("ABORT: %v", s)
	}
	if g.status(wait) == mfi.StatusPending {
		t.Error("the wait has no status")
	}
	if code := g.mem.u32(x.SGL[0].Addr + 8); code != 0 {
		t.Errorf("the event buffer was written: code %#x", code)
	}
	if _, s := g.poll(mfi.Fields{Cmd: mfi.CmdAbort, AbortContext: waitCtx, AbortAddr: wait}); s != mfi.StatusAbortNotPossible {
		t.Errorf("second ABORT: %v", s)
	}
}

// TestManyEventWaits holds as many as there is room for, one of them polled. An
// event completes them all.
func TestManyEventWaits(t *testing.T) {
	cfg, _ := oneDisk()
	g := running(t, cfg, 1008)
	first := newest(g) + 1
	var addrs []uint64
	for i := range maxWaits {
		x := eventWaitFrame(g, first)
		if i == 3 {
			x.Flags |= mfi.FlagDontPost
		}
		addr, _ := g.submit(x)
		addrs = append(addrs, addr)
	}
	g.await("EVENT_WAITs", func() bool { return len(g.c.heldWaits()) == maxWaits })
	if _, s := g.poll(eventWaitFrame(g, first)); s != mfi.StatusInvalidParameter {
		t.Errorf("one EVENT_WAIT too many: %v", s)
	}
	if _, s := g.poll(eventWaitFrame(g, first-1)); s != mfi.StatusOK {
		t.Errorf("EVENT_WAIT for an event that there is: %v", s)
	}
	g.c.logShutdown()
	g.collect(maxWaits - 1)
	for i, addr := range addrs {
		g.await("the status", func() bool { return g.status(addr) != mfi.StatusPending })
		if s := g.status(addr); s != mfi.StatusOK {
			t.Errorf("EVENT_WAIT %d: %v", i, s)
		}
	}
}

// TestEventLog reads the log as management tools do, until NOT_FOUND.
func TestEventLog(t *testing.T) {
	cfg, _ := oneDisk()
	g := newGuest(t, cfg)
	g.mustDCMD(mfi.OpCtrlShutdown, 0)
	info := memory(g.mustDCMD(mfi.OpCtrlEventGetInfo, 20))
	last, oldest, shutdown, boot := info.u32(0), info.u32(4), info.u32(12), info.u32(16)
	if oldest != 1 || shutdown != last || boot != 1 {
		t.Errorf("newest %d, oldest %d, shutdown %d, boot %d", last, oldest, shutdown, boot)
	}
	var codes []mfi.EventCode
	next := uint32(0)
	for {
		p, s := g.dcmd(mfi.OpCtrlEventGet, 8+3*256, logged(next, 0xfe00ffff)...)
		if s == mfi.StatusNotFound {
			break
		}
		if s != mfi.StatusOK {
			t.Fatal(s)
		}
		m := memory(p)
		for i := range uint64(m.u32(0)) {
			e := m[8+256*i:]
			codes = append(codes, mfi.EventCode(e.u32(8)))
			next = e.u32(0) + 1
		}
	}
	want := []mfi.EventCode{mfi.EventFWInitStarted, mfi.EventFWVersion, mfi.EventPDInserted,
		mfi.EventPDStateChange, mfi.EventLDCreated, mfi.EventShutdownReceived}
	if len(codes) != len(want) {
		t.Fatalf("codes %x, want %x", codes, want)
	}
	for i := range want {
		if codes[i] != want[i] {
			t.Errorf("event %d: %#x, want %#x", i, codes[i], want[i])
		}
	}
	if n := memory(g.mustDCMD(mfi.OpCtrlEventCount, 4, logged(0, 0xfe00ffff)...)).u32(0); int(n) != len(want) {
		t.Errorf("EVENT_COUNT: %d", n)
	}
	if n := memory(g.mustDCMD(mfi.OpCtrlEventCount, 4, logged(0, mfi.Filter(mfi.ClassInfo, mfi.LocaleLD))...)).u32(0); n != 1 {
		t.Errorf("%d events about logical drives, want 1", n)
	}
	g.mustDCMD(mfi.OpCtrlEventClear, 0)
	info = memory(g.mustDCMD(mfi.OpCtrlEventGetInfo, 20))
	if info.u32(0) != last+1 || info.u32(4) != last+1 || info.u32(8) != last+1 {
		t.Errorf("after clearing: % x", info)
	}
}

// TestEventLogForgets keeps the numbers going when old events fall out.
func TestEventLogForgets(t *testing.T) {
	cfg, _ := oneDisk()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 * eventLogSize {
		c.logShutdown()
	}
	info := c.events.logInfo()
	if info.Newest-info.Oldest != eventLogSize-1 {
		t.Errorf("newest %d, oldest %d", info.Newest, info.Oldest)
	}
	e, ok := c.events.next(0, 0xfe00ffff)
	if !ok || e.Sequence != info.Oldest {
		t.Errorf("first event %d, want %d", e.Sequence, info.Oldest)
	}
	if _, ok := c.events.next(info.Newest+1, 0xfe00ffff); ok {
		t.Error("an event from the future")
	}
}
