package megasas

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
	"github.com/govmm/govmm/pci"
)

// saved is the state of a guest's controller, which stays paused.
func (g *guest) saved() []byte {
	g.t.Helper()
	if !g.c.pausing.on.Load() {
		if err := g.c.Pause(context.Background()); err != nil {
			g.t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if err := g.c.Save(&b); err != nil {
		g.t.Fatal(err)
	}
	return b.Bytes()
}

// move saves the guest's controller and puts another in its place, made by cfg. What
// becomes of the old one is not to be noticed any more.
func (g *guest) move(cfg Config) {
	g.t.Helper()
	old, from := g.c, g.m
	state := g.saved()
	c, err := Restore(cfg, bytes.NewReader(state))
	if err != nil {
		g.t.Fatal(err)
	}
	m := newMachine()
	m.line = from.asserted()
	for len(from.msi) > 0 {
		m.msi <- <-from.msi
	}
	for len(from.rise) > 0 {
		m.rise <- <-from.rise
	}
	if err := pci.NewBus(m, func(int, int) int { return 16 }).Attach(5, 0, c.Function()); err != nil {
		g.t.Fatal(err)
	}
	g.c, g.m = c, m
	if g.regs, g.io = m.mmio[mmioBase], m.port[portBase]; g.regs == nil || g.io == nil {
		g.t.Fatal("the BARs are not where they were")
	}
	if was, is := timeless(g.stateOf(state)), timeless(must(c.saveAnyhow())); !reflect.DeepEqual(was, is) {
		g.t.Errorf("what was restored is another state (-was +is):\n%s", cmp.Diff(was, is))
	}
	before := checksum(g.mem)
	if err := old.Close(context.Background()); err != nil {
		g.t.Error(err)
	}
	if len(from.msi)+len(from.rise) > 0 || before != checksum(g.mem) {
		g.t.Error("the old controller was noticed after it was saved")
	}
	c.Attach(g.mem)
	g.t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			g.t.Errorf("close: %v", err)
		}
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (g *guest) stateOf(p []byte) *savedState {
	g.t.Helper()
	x, err := parseState(p)
	if err != nil {
		g.t.Fatal(err)
	}
	return x
}

// saveAnyhow is save of a controller that nothing uses yet, by way of JSON.
func (c *Controller) saveAnyhow() (*savedState, error) {
	c.pausing.held = true
	defer func() { c.pausing.held = false }()
	x, err := c.save()
	if err != nil {
		return nil, err
	}
	if c.restored != nil { // it has not gone on with these
		x.Posted, x.Waits.Left = c.restored.posted, c.restored.quiet
		for _, z := range c.restored.works {
			s, _ := z.on.save(c)
			s.Full, s.Done, s.Elapsed = z.work.Full, z.done, z.work.Status().Elapsed
			x.Works = append(x.Works, s)
		}
	}
	p, err := json.Marshal(x)
	if err != nil {
		return nil, err
	}
	x = new(savedState)
	return x, json.Unmarshal(p, x)
}

// timeless leaves out of a state what goes on between two looks, and what the NVRAM has
// of that.
func timeless(x *savedState) *savedState {
	x.Up, x.NVRAM, x.Waits.Left, x.Learning.Since = 0, nil, 0, 0
	for i := range x.Drives {
		x.Drives[i].On, x.Drives[i].Measured = 0, 0
	}
	for i := range x.Works {
		x.Works[i].Elapsed = 0
	}
	for i := range x.Firmware.Boot {
		x.Firmware.Boot[i].Delay = 0
	}
	return x
}

// checksum is quick, also under the race detector.
func checksum(m memory) uint32 { return crc32.Checksum(m, castagnoli()) }

// lab is a guest with two volumes and a system drive, whose clock moves only when
// the test says so.
type lab struct {
	*guest
	cfg   Config
	disks []*disk
	now   *atomic.Int64
}

func newLab(t *testing.T) *lab {
	l := &lab{now: new(atomic.Int64)}
	l.now.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano())
	for slot := range uint8(3) {
		d := newDisk(4 << 20)
		d.prompt = func() bool { return true }
		l.disks = append(l.disks, d)
		l.cfg.Drives = append(l.cfg.Drives, DriveConfig{Drive: drive(d, slot), System: slot == 2, Name: fmt.Sprint("v", slot)})
	}
	l.cfg.Battery = BatteryGood
	l.cfg.Drives[1].Cache = raid.WriteBackWithBattery
	l.cfg.Clock = func() time.Time { return time.Unix(0, l.now.Load()).UTC() }
	l.guest = running(t, l.cfg, 64)
	return l
}

// command is what a driver does, and what it sees of it.
func (l *lab) command(r *rand.Rand) string {
	g := l.guest
	l.now.Add(int64(r.IntN(1000)) * int64(time.Millisecond))
	target := uint8(r.IntN(4))
	cdb := func(cmd mfi.Cmd, n uint32, cdb ...byte) string {
		data, s, status, sense := g.scsi(cmd, target, n, cdb...)
		return fmt.Sprintf("%v %d %x: %v %x % x % x", cmd, target, cdb, s, status, sense, data)
	}
	dcmd := func(op mfi.Opcode, n uint32, box ...byte) string {
		p, s := g.dcmd(op, n, box...)
		return fmt.Sprintf("%v: %v % x", op, s, p)
	}
	io := func(cmd mfi.Cmd) string {
		x, bufs := g.blocks(cmd, uint64(r.IntN(8<<10)), 512*uint32(1+r.IntN(4)), 512)
		x.Target = uint8(r.IntN(3))
		for _, b := range bufs {
			for i := range b {
				b[i] = byte(r.Uint32())
			}
		}
		addr, ctx := g.submit(x)
		got := g.collect(1)
		g.idle()
		return fmt.Sprintf("%v %d %d: %v %v %x", cmd, x.Target, x.LBA, g.status(addr), got[0] == ctx, bufs)
	}
	switch r.IntN(24) {
	case 0, 1, 2, 3:
		return io(mfi.CmdLDRead)
	case 4, 5, 6, 7:
		return io(mfi.CmdLDWrite)
	case 8:
		return cdb(mfi.CmdLDSCSIIO, 4096, 0x2a, 0, 0, 0, byte(r.IntN(16)), 0, 0, 0, 8, 0)
	case 9:
		target = 2
		return cdb(mfi.CmdPDSCSIIO, 255, 0x1a, 0, 0x3f|byte(r.IntN(3))<<6, 0, 255, 0)
	case 10:
		target = uint8(1 + r.IntN(2))
		return cdb(mfi.CmdPDSCSIIO, 252, 0x4d, 0, []byte{0x40, 0x42, 0x43, 0x46, 0x4d, 0x4e, 0x50, 0x55, 0x6f}[r.IntN(9)], 0, 0, 0, 0, 0, 252, 0)
	case 11:
		target = 2
		return cdb(mfi.CmdPDSCSIIO, 0, 0x1b, 0, 0, 0, byte(r.IntN(2)), 0)
	case 12: // PERSISTENT RESERVE OUT: register, ignoring the key, of both kinds of targets
		at := g.alloc(24)
		g.mem[at+15] = byte(r.IntN(3))
		x := mfi.Fields{
			Cmd: mfi.CmdLDSCSIIO, Target: target, CDB: []byte{0x5f, 6, 0, 0, 0, 0, 0, 0, 24, 0}, DataLen: 24,
			SGL: []mfi.SGE{{Addr: at, Len: 24}}, Flags: mfi.FlagIEEE | mfi.FlagSGL64 | mfi.FlagWrite,
		}
		addr, s := g.poll(x)
		return fmt.Sprintf("PR OUT %d: %v %x", target, s, g.scsiStatus(addr))
	case 13:
		return cdb(mfi.CmdLDSCSIIO, 64, 0x5e, byte(r.IntN(2)), 0, 0, 0, 0, 0, 0, 64, 0)
	case 14:
		return cdb(mfi.CmdPDSCSIIO, 0, 0x1d, []byte{0x04, 0x20, 0xa0}[r.IntN(3)], 0, 0, 0, 0)
	case 15:
		p := bytes.Clone(g.mustDCMD(mfi.OpCtrlGetProperties, 64))
		p[0x08] = byte(r.IntN(101))
		return fmt.Sprint("properties: ", g.send(mfi.OpCtrlSetProperties, p))
	case 16:
		p := bytes.Clone(g.mustDCMD(mfi.OpLDGetProp, 32, 1))
		copy(p[4:], fmt.Sprintf("n%d\x00", r.IntN(100)))
		return fmt.Sprint("volume: ", g.send(mfi.OpLDSetProp, p, append([]byte{1, 0}, p[2:4]...)...))
	case 17:
		return dcmd([]mfi.Opcode{mfi.OpLDGetList, mfi.OpPDGetList, mfi.OpCfgRead, mfi.OpCtrlGetInfo, mfi.OpBBUGetStatus}[r.IntN(5)], 4096)
	case 18:
		return dcmd(mfi.OpPDGetInfo, 512, target, 0)
	case 19:
		return fmt.Sprintf("% x", eventsOf(g))
	case 20:
		return dcmd(mfi.OpPDLocateStart+mfi.Opcode(r.IntN(2))<<8, 0, byte(r.IntN(3)), 0)
	case 21: // an EVENT_WAIT for an event to come, held
		if len(g.c.heldWaits()) > 2 {
			n := len(g.c.heldWaits())
			g.c.events.add(mfi.Event{Code: 0xffff, Filter: mfi.Filter(mfi.ClassDead, mfi.LocaleAll)})
			got := g.collect(n)
			slices.Sort(got)
			g.idle()
			return fmt.Sprint("events: ", got)
		}
		n := len(g.c.heldWaits())
		x := eventWaitFrame(g, newest(g)+1)
		copy(x.Mailbox[4:], le32(uint32(mfi.Filter(mfi.ClassDead, mfi.LocaleAll)))) // of which there is no other
		g.submit(x)
		g.await("EVENT_WAIT", func() bool { return len(g.c.heldWaits()) == n+1 })
		return "wait"
	case 22: // the mask, and the unlock sequence a part of the way
		g.write(0x34, 0xffffffff)
		g.write(0xfc, []uint32{0, 4, 0xb, 2}[r.IntN(4)])
		s := fmt.Sprintf("%x %x %x %x", g.read(0x30), g.read(0x34), g.read(0xf8), g.read(0xb0))
		s += io(mfi.CmdLDRead)
		g.openMask()
		return s
	default:
		b := []Battery{BatteryGood, BatteryCharging}[r.IntN(2)]
		return fmt.Sprint("battery ", b, g.c.SetBattery(b))
	}
}

// TestSavedControllerGoesOn runs the same random commands on two controllers, one of
// which is replaced at random moments by another that was restored from its state.
// What the guest sees is the same: every answer, every interrupt, all memory, the
// drives' contents, and in the end the whole state.
func TestSavedControllerGoesOn(t *testing.T) {
	seeds := uint64(4)
	if os.Getenv("GOVMM_TEST_LONG") != "" {
		seeds = 40
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			a, b := newLab(t), newLab(t)
			ra, rb := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 1))
			moments := rand.New(rand.NewPCG(seed, 2))
			for i := range 300 {
				if moments.IntN(12) == 0 {
					b.move(b.cfg)
				}
				was, is := a.command(ra), b.command(rb)
				if was != is {
					t.Fatalf("command %d: without interruption\n%s\nwith it\n%s", i, was, is)
				}
				if len(a.m.msi) != len(b.m.msi) {
					t.Fatalf("command %d: %d messages without interruption, %d with it", i, len(a.m.msi), len(b.m.msi))
				}
			}
			if !bytes.Equal(a.mem, b.mem) {
				t.Error("guest memory differs")
			}
			for i := range a.disks {
				if !bytes.Equal(a.disks[i].data, b.disks[i].data) {
					t.Errorf("disk %d differs", i)
				}
			}
			x, y := a.stateOf(a.saved()), b.stateOf(b.saved())
			if diff := cmp.Diff(x, y); diff != "" {
				t.Errorf("the state differs in the end (-without +with interruption):\n%s", diff)
			}
		})
	}
}

// TestSaveUnderLoad saves and restores while many commands are outstanding, some of
// them posted during the pause: each is answered once, and the data is there.
func TestSaveUnderLoad(t *testing.T) {
	cfg, d := oneDisk()
	d.prompt = func() bool { return false }
	g := running(t, cfg, 1008)
	want := map[uint32]bool{}
	blocks := make([]byte, 4<<20)
	var got []uint32
	for round := range 20 {
		for i := range 40 {
			lba := uint64(round*40 + i)
			x, bufs := g.blocks(mfi.CmdLDWrite, lba, 512)
			for k := range bufs[0] {
				bufs[0][k] = byte(lba) ^ byte(k)
			}
			copy(blocks[lba*512:], bufs[0])
			if i == 30 { // the rest comes while it is paused
				if err := g.c.Pause(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
			_, ctx := g.submit(x)
			want[ctx] = true
		}
		g.c.pausing.mu.Lock()
		kept := len(g.c.pausing.posts)
		g.c.pausing.mu.Unlock()
		if kept != 10 {
			t.Fatalf("%d frames wait for the end of the pause, want 10", kept)
		}
		g.move(cfg)
		got = append(got, g.replies()...)
	}
	g.await("all replies", func() bool {
		got = append(got, g.replies()...)
		return len(got) >= len(want)
	})
	for _, ctx := range got {
		if !want[ctx] {
			t.Errorf("frame %d was answered twice, or never posted", ctx)
		}
		delete(want, ctx)
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	if !bytes.Equal(d.data, blocks) {
		t.Error("the data is not what was written")
	}
}

// TestSaveNeedsPause saves a controller that runs.
func TestSaveNeedsPause(t *testing.T) {
	g := newGuest(t, Config{})
	if err := g.c.Save(new(bytes.Buffer)); err == nil || !strings.Contains(err.Error(), "not paused") {
		t.Error(err)
	}
}

// TestSaveDuringReset saves at every step of a boot that takes its time, and in the
// states that wait for the guest or for ever.
func TestSaveDuringReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // time passes only between the looks at it
		p := SAS9260()
		p.Boot = []BootStep{
			{State: mfi.StateBBInit}, {State: mfi.StateFWInit, Delay: 40 * time.Millisecond},
			{State: mfi.StateWaitHandshake}, {State: mfi.StateDeviceScan, Delay: 40 * time.Millisecond},
		}
		cfg, _ := oneDisk()
		cfg.Profile, cfg.Workers = p, 1
		c, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		g := &guest{t: t, c: c, m: newMachine(), mem: newMemory(ramSize), free: 0x1000}
		if err := pci.NewBus(g.m, func(int, int) int { return 16 }).Attach(5, 0, c.Function()); err != nil {
			t.Fatal(err)
		}
		g.place()
		c.Attach(g.mem)
		seen := map[mfi.State]bool{}
		g.await("READY", func() bool {
			s := g.state()
			seen[s] = true
			g.move(cfg)
			if s == mfi.StateWaitHandshake {
				g.write(0x20, mfi.DoorbellClearHandshake)
			}
			time.Sleep(10 * time.Millisecond)
			return s == mfi.StateReady
		})
		for _, s := range []mfi.State{mfi.StateFWInit, mfi.StateWaitHandshake, mfi.StateDeviceScan} {
			if !seen[s] {
				t.Errorf("never saved in the state %v: the test is not what it says", s)
			}
		}
		g.c.Faults().Fault(0x123, 4, false)
		word := g.read(0xb0)
		g.move(cfg)
		if now := g.read(0xb0); now != word || mfi.State(now)&mfi.StateMask != mfi.StateFault {
			t.Errorf("state word %#x, was %#x", now, word)
		}
	})
}

// TestSaveAfterReset saves in the second after INIT in which no event is told: the
// EVENT_WAIT of the driver's recovery completes after it, not before.
func TestSaveAfterReset(t *testing.T) {
	var cfg Config
	onFakeClock(t, func() Config { cfg, _ = oneDisk(); cfg.Workers = 1; return cfg }, func(t *testing.T, g *guest) {
		first := newest(g) + 1
		g.unlock()
		g.write(0xf8, 0x84)
		g.await("READY", func() bool { return g.state() == mfi.StateReady })
		g.move(cfg) // before INIT
		g.initialize(64)
		begun := time.Now()
		g.submit(eventWaitFrame(g, first))
		g.await("EVENT_WAIT", func() bool { return len(g.c.heldWaits()) == 1 })
		time.Sleep(quietTime / 2)
		g.move(cfg)
		if len(g.c.heldWaits()) != 1 {
			t.Error("an event was told at once")
		}
		g.collect(1)
		if took := time.Since(begun); took < quietTime-time.Millisecond || took > quietTime+time.Millisecond {
			t.Errorf("an event was told after %v", took)
		}
	})
}

// TestSavedWorkGoesOn saves while a drive is cleared and while a volume is
// initialized: all is zeroed in the end, nothing twice, and the events are told once.
func TestSavedWorkGoesOn(t *testing.T) {
	for _, volume := range []bool{false, true} {
		t.Run(fmt.Sprintf("volume %v", volume), func(t *testing.T) {
			d := newStepped(64)
			cfg := Config{Drives: []DriveConfig{{Drive: drive(d, 0), System: !volume}}}
			g := running(t, cfg, 64)
			begin, ref, end := mfi.OpLDInitStart, append(g.volumeRef(0), 1), mfi.EventLDInitComplete
			if !volume {
				if err := g.c.Drives().SetDriveState(0, raid.AnySequence, raid.UnconfiguredGood); err != nil {
					t.Fatal(err)
				}
				begin, ref, end = mfi.OpPDClearStart, g.driveRef(0), mfi.EventPDClearComplete
			}
			first := newest(g) + 1
			g.mustDCMD(begin, 0, ref...)
			d.step(t, 0)
			if off := <-d.at; off != 16<<20 {
				t.Fatalf("zeroes at %#x", off)
			}
			go func() { // the piece that is under way ends, and no other begins
				g.awaitWriter()
				d.let <- nil
			}()
			g.move(cfg)
			d.step(t, 32<<20)
			d.step(t, 48<<20)
			g.await("the end", func() bool { return slices.Contains(g.codes(first), end) })
			if got := d.zeroes(); got != strings.Repeat("0", 64) {
				t.Errorf("%s are zeroes", got)
			}
			if n := len(g.codes(first)); n != 2 {
				t.Errorf("events %x, want the start and the end", g.codes(first))
			}
			if volume && g.c.Drives().View().Volumes[0].Init != raid.InitFull {
				t.Error("the volume is not initialized")
			}
		})
	}
}
