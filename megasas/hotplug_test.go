package megasas

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/govmm/govmm/megasas/mfi"
)

// listener is a driver that always has an EVENT_WAIT outstanding.
type listener struct {
	g    *guest
	next uint32
	buf  uint64
	addr uint64
}

func newListener(g *guest) *listener {
	l := &listener{g: g, next: newest(g) + 1}
	l.listen()
	return l
}

func (l *listener) listen() {
	x := eventWaitFrame(l.g, l.next)
	l.buf = x.SGL[0].Addr
	l.addr, _ = l.g.submit(x)
}

// expect takes the next event, which must have the given code, and returns its
// arguments.
func (l *listener) expect(code mfi.EventCode) memory {
	l.g.t.Helper()
	l.g.collect(1)
	e := memory(l.g.mem[l.buf:][:256])
	if s := l.g.status(l.addr); s != mfi.StatusOK || e.u32(0) != l.next || mfi.EventCode(e.u32(8)) != code {
		l.g.t.Fatalf("%v: event %d has code %#x, want %d with %#x", s, e.u32(0), e.u32(8), l.next, code)
	}
	args := append(memory{e[0x10]}, e[0x20:0x2c]...)
	l.next++
	l.listen()
	return args
}

// args checks an event's kind of arguments and its first word.
func (l *listener) expectArgs(code mfi.EventCode, kind byte, word uint32) {
	l.g.t.Helper()
	if a := l.expect(code); a[0] != kind || a.u32(1) != word {
		l.g.t.Errorf("event %#x has arguments of kind %d, % x; want kind %d, %#x", code, a[0], a[1:], kind, word)
	}
}

// targets is LD_LIST_QUERY as Linux asks when an event tells it to.
func (g *guest) targets() []byte {
	g.t.Helper()
	p := g.mustDCMD(mfi.OpLDListQuery, 268, byte(mfi.LDQueryExposedToHost))
	return p[11:][:memory(p).u32(4)]
}

// systemDrives is PD_LIST_QUERY as Linux asks.
func (g *guest) systemDrives() int {
	g.t.Helper()
	return int(memory(g.mustDCMD(mfi.OpPDListQuery, 8192, byte(mfi.PDQueryExposedToHost))).u32(4))
}

// TestHotPlugVolume adds a drive with a volume, deletes the volume and removes
// the drive, and hears of each step.
func TestHotPlugVolume(t *testing.T) {
	cfg, _ := oneDisk()
	g := running(t, cfg, 1008)
	l := newListener(g)
	id, err := g.c.AddDrive(DriveConfig{Drive: drive(newDisk(1<<20), 5), Name: "new"})
	if err != nil || id != 1 {
		t.Fatalf("drive %d: %v", id, err)
	}
	const pd = 5<<24 | 1
	l.expectArgs(mfi.EventPDInserted, 10, pd)
	l.expectArgs(mfi.EventPDStateChange, 15, pd)
	l.expectArgs(mfi.EventLDCreated, 2, 1<<16|1)
	if got := g.targets(); string(got) != "\x00\x01" {
		t.Errorf("targets %v after the volume was created", got)
	}
	if _, s, _, _ := g.scsi(mfi.CmdLDSCSIIO, 1, 36, 0x12, 0, 0, 0, 36, 0); s != mfi.StatusOK {
		t.Errorf("INQUIRY to the new volume: %v", s)
	}
	if err := g.c.DeleteVolume(1); err != nil {
		t.Fatal(err)
	}
	l.expectArgs(mfi.EventLDDeleted, 2, 1<<16|1)
	l.expectArgs(mfi.EventPDStateChange, 15, pd)
	if got := g.targets(); string(got) != "\x00" {
		t.Errorf("targets %v after the volume was deleted", got)
	}
	if _, s, _, _ := g.scsi(mfi.CmdLDSCSIIO, 1, 36, 0x12, 0, 0, 0, 36, 0); s != mfi.StatusDeviceNotFound {
		t.Errorf("INQUIRY to the deleted volume: %v", s)
	}
	if _, s := g.dcmd(mfi.OpLDGetInfo, 384, 1); s != mfi.StatusDeviceNotFound {
		t.Errorf("LD_GET_INFO of the deleted volume: %v", s)
	}
	if err := g.c.RemoveDrive(id); err != nil {
		t.Fatal(err)
	}
	l.expectArgs(mfi.EventPDRemoved, 10, pd)
	if _, s := g.dcmd(mfi.OpPDGetInfo, 512, byte(id)); s != mfi.StatusDeviceNotFound {
		t.Errorf("PD_GET_INFO of the removed drive: %v", s)
	}
	if err := g.c.RemoveDrive(id); err == nil {
		t.Error("the drive was removed twice")
	}
	if err := g.c.DeleteVolume(1); err == nil {
		t.Error("the volume was deleted twice")
	}
}

// TestHotPlugSystemDrive does the same with a drive that the guest sees as it is.
func TestHotPlugSystemDrive(t *testing.T) {
	g := running(t, nullDisk(), 1008)
	l := newListener(g)
	id, err := g.c.AddDrive(DriveConfig{Drive: drive(newDisk(1<<20), 7), System: true})
	if err != nil {
		t.Fatal(err)
	}
	l.expect(mfi.EventPDInserted)
	l.expect(mfi.EventPDStateChange)
	l.expect(mfi.EventHostBusScanRequest)
	if n := g.systemDrives(); n != 1 {
		t.Errorf("%d system drives, want 1", n)
	}
	if _, s, _, _ := g.scsi(mfi.CmdPDSCSIIO, uint8(id), 0, 0, 0, 0, 0, 0, 0); s != mfi.StatusOK {
		t.Errorf("TEST UNIT READY: %v", s)
	}
	if err := g.c.RemoveDrive(id); err != nil {
		t.Fatal(err)
	}
	l.expect(mfi.EventPDRemoved)
	if n := g.systemDrives(); n != 0 {
		t.Errorf("%d system drives, want none", n)
	}
	if _, s, _, _ := g.scsi(mfi.CmdPDSCSIIO, uint8(id), 0, 0, 0, 0, 0, 0, 0); s != mfi.StatusDeviceNotFound {
		t.Errorf("TEST UNIT READY to the removed drive: %v", s)
	}
}

// TestPullMember pulls the drive from under a volume while a write is under way.
func TestPullMember(t *testing.T) {
	cfg, d := oneDisk()
	entered, gate := make(chan struct{}), make(chan struct{})
	d.gate = func() { entered <- struct{}{}; <-gate }
	g := running(t, cfg, 1008)
	x, _ := g.blocks(mfi.CmdLDWrite, 0, 512)
	first, _ := g.submit(x)
	<-entered
	pulled := make(chan error, 1)
	go func() { pulled <- g.c.RemoveDrive(0) }()
	g.await("LD_OFFLINE", func() bool {
		if len(pulled) != 0 {
			t.Fatal("the drive is out while it is being written to")
		}
		_, s, _, _ := g.scsi(mfi.CmdLDSCSIIO, 0, 0, 0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0) // SYNCHRONIZE CACHE
		return s == mfi.StatusLDOffline
	})
	close(gate)
	if err := <-pulled; err != nil {
		t.Fatal(err)
	}
	g.await("the write", func() bool { return g.status(first) != mfi.StatusPending })
	if s := g.status(first); s != mfi.StatusOK && s != mfi.StatusLDOffline {
		t.Errorf("the write that was under way: %v", s)
	}
	if _, s := g.poll(x); s != mfi.StatusLDOffline {
		t.Errorf("a write afterwards: %v", s)
	}
	if got := g.targets(); len(got) != 0 {
		t.Errorf("the host sees targets %v", got)
	}
	list := memory(g.mustDCMD(mfi.OpLDGetList, 1032))
	if list.u32(0) != 1 || list[12] != byte(mfi.LDOffline) {
		t.Errorf("LD list % x: want one that is offline", list[:24])
	}
	if row := memory(g.mustDCMD(mfi.OpCfgRead, 4096)).u16(32 + 32); row != mfi.NoDevice {
		t.Errorf("the array's row has drive %#x, want none", row)
	}
	if err := g.c.DeleteVolume(0); err != nil {
		t.Fatal(err)
	}
	if _, s := g.poll(x); s != mfi.StatusDeviceNotFound {
		t.Errorf("a write to the deleted volume: %v", s)
	}
}

// TestAddDriveFails leaves nothing behind.
func TestAddDriveFails(t *testing.T) {
	g := running(t, nullDisk(), 16)
	for name, cfg := range map[string]DriveConfig{
		"no drive":      {},
		"slot taken":    {Drive: drive(newDisk(1<<20), 0)},
		"name too long": {Drive: drive(newDisk(1<<20), 1), Name: "sixteen letters!"},
	} {
		if _, err := g.c.AddDrive(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	v := g.c.Drives().View()
	if len(v.Drives) != 1 || len(v.Volumes) != 1 || g.c.physicals[1].Load() != nil || g.c.logicals[1].Load() != nil {
		t.Errorf("something was left behind: %+v", v)
	}
}

// TestHotPlugAThousandTimes plugs a drive in and out under a driver that looks at
// the lists after every event, with commands always under way. Nothing may pile
// up, and no event may be missed.
func TestHotPlugAThousandTimes(t *testing.T) {
	const times = 1000
	g := running(t, nullDisk(), 1008)
	l := newListener(g)
	before := runtime.NumGoroutine()
	free := g.free
	var alive atomic.Int64
	sequence := uint16(0)
	for i := range times {
		d := newDisk(64 << 10)
		alive.Add(1)
		runtime.AddCleanup(d, func(int) { alive.Add(-1) }, 0)
		id, err := g.c.AddDrive(DriveConfig{Drive: drive(d, 1), Name: fmt.Sprint("v", i)})
		if err != nil {
			t.Fatal(err)
		}
		l.expect(mfi.EventPDInserted)
		l.expect(mfi.EventPDStateChange)
		l.expect(mfi.EventLDCreated)
		x, _ := g.blocks(mfi.CmdLDWrite, 0, 512)
		x.Target = 1
		if _, s := g.poll(x); s != mfi.StatusOK {
			t.Fatalf("write %d: %v", i, s)
		}
		v := g.c.Drives().View()
		now, _ := v.Volume(1)
		if i > 0 && now.Sequence <= sequence {
			t.Fatalf("round %d: sequence number %d after %d", i, now.Sequence, sequence)
		}
		sequence = now.Sequence
		x.Flags |= mfi.FlagDontPost
		racing := g.put(x)
		g.post(racing) // on its way while the volume leaves
		if i%2 == 0 {
			err = g.c.DeleteVolume(1)
		}
		if e := g.c.RemoveDrive(id); err == nil {
			err = e
		}
		if i%2 == 0 {
			l.expect(mfi.EventLDDeleted)
			l.expect(mfi.EventPDStateChange)
			l.expect(mfi.EventPDRemoved)
		} else {
			l.expect(mfi.EventPDRemoved)
			l.expect(mfi.EventPDStateChange)
			l.expect(mfi.EventLDStateChange)
			l.expect(mfi.EventLDOffline)
			err = g.c.DeleteVolume(1)
			l.expect(mfi.EventLDDeleted)
		}
		if err != nil {
			t.Fatal(err)
		}
		g.await("the racing write", func() bool { return g.status(racing) != mfi.StatusPending })
		switch s := g.status(racing); s {
		case mfi.StatusOK, mfi.StatusDeviceNotFound, mfi.StatusLDOffline:
		default:
			t.Fatalf("racing write %d: %v", i, s)
		}
		if l.buf > free+8<<20 {
			g.free = free // frames long done; the one that is held is above
		}
	}
	v := g.c.Drives().View()
	if len(v.Drives) != 1 || len(v.Arrays) != 1 || len(v.Volumes) != 1 {
		t.Errorf("left behind: %+v", v)
	}
	g.await("one EVENT_WAIT", func() bool { return len(g.c.heldWaits()) == 1 })
	g.await("goroutines to end", func() bool { return runtime.NumGoroutine() <= before+2 })
	g.await("the disks to be let go", func() bool { runtime.GC(); return alive.Load() <= 1 })
	if g.c.logicals[1].Load() != nil || g.c.physicals[1].Load() != nil {
		t.Error("a SCSI target is left")
	}
}
