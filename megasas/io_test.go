package megasas

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
)

// blocks describes an LD_READ or LD_WRITE of sectors at lba, with an IEEE element for
// each of the given sizes of memory.
func (g *guest) blocks(cmd mfi.Cmd, lba uint64, sizes ...uint32) (mfi.Fields, [][]byte) {
	x := mfi.Fields{Cmd: cmd, LBA: lba, Flags: mfi.FlagIEEE | mfi.FlagSGL64, SenseLen: 96, SenseAddr: g.alloc(128)}
	var bufs [][]byte
	total := uint32(0)
	for _, n := range sizes {
		at := g.alloc(uint64(n))
		x.SGL = append(x.SGL, mfi.SGE{Addr: at, Len: n})
		bufs = append(bufs, g.mem[at:][:n])
		total += n
	}
	x.DataLen = total / 512
	return x, bufs
}

// running is a guest after the driver's initialisation, with MSI-X.
func running(t testing.TB, cfg Config, entries uint32) *guest {
	t.Helper()
	g := newGuest(t, cfg)
	g.enableMSIX()
	g.initialize(entries)
	g.write(0xa0, 0xffffffff)
	g.openMask()
	return g
}

func TestReadWriteScattered(t *testing.T) {
	cfg, d := oneDisk()
	g := running(t, cfg, 1008)
	rng := rand.New(rand.NewPCG(1, 2))
	w, bufs := g.blocks(mfi.CmdLDWrite, 100, 512, 4096, 1024, 512)
	for _, b := range bufs {
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
	}
	want := bytes.Join(bufs, nil)
	addr, _ := g.submit(w)
	g.collect(1)
	if s := g.status(addr); s != mfi.StatusOK {
		t.Fatalf("write: %v", s)
	}
	if !bytes.Equal(d.data[100*512:][:len(want)], want) {
		t.Error("the disk does not hold what was written")
	}
	if d.flushes.Load() == 0 {
		t.Error("a write-through write was not flushed")
	}
	for _, kind := range []mfi.Flags{0, mfi.FlagSGL64, mfi.FlagIEEE, mfi.FlagIEEE | mfi.FlagSGL64} {
		r, bufs := g.blocks(mfi.CmdLDRead, 100, 1024, 512, 512, 2048, 2048)
		r.Flags = kind
		r.SGL = slices.Insert(r.SGL, 2, mfi.SGE{Addr: 0xffffffff, Len: 0}) // empty: skipped
		r.SGL = append(r.SGL, mfi.SGE{Addr: 0xfffff000, Len: 0xfff})       // beyond the data: not looked at
		addr, _ := g.submit(r)
		g.collect(1)
		if s := g.status(addr); s != mfi.StatusOK || !bytes.Equal(bytes.Join(bufs, nil), want) {
			t.Errorf("read with flags %v: %v, or the data is not what was written", kind, s)
		}
	}
}

func TestForceUnitAccessInWriteBack(t *testing.T) {
	d := newDisk(1 << 20)
	g := running(t, Config{Drives: []DriveConfig{{Drive: drive(d, 0), Cache: raid.WriteBack}}}, 1008)
	w, _ := g.blocks(mfi.CmdLDWrite, 0, 512)
	g.poll(w)
	if n := d.flushes.Load(); n != 0 {
		t.Errorf("%d flushes after a write-back write", n)
	}
	w.LUN = mfi.AccessFUA | mfi.AccessDPO
	if _, s := g.poll(w); s != mfi.StatusOK {
		t.Errorf("write with FUA: %v", s)
	}
	if n := d.flushes.Load(); n != 1 {
		t.Errorf("%d flushes after a write with FUA, want 1", n)
	}
	if _, s := g.dcmd(mfi.OpCtrlCacheFlush, 0, 3); s != mfi.StatusOK || d.flushes.Load() != 2 {
		t.Errorf("CACHE_FLUSH: %v, %d flushes, want 2", s, d.flushes.Load())
	}
	if _, s := g.dcmd(mfi.OpCtrlShutdown, 0); s != mfi.StatusOK || d.flushes.Load() != 3 {
		t.Errorf("SHUTDOWN: %v, %d flushes, want 3", s, d.flushes.Load())
	}
	d.failing.Store(true)
	if _, s := g.dcmd(mfi.OpCtrlCacheFlush, 0, 3); s != mfi.StatusFlushFailed {
		t.Errorf("CACHE_FLUSH of a broken disk: %v", s)
	}
	d.failing.Store(false)
}

// TestShortRing runs many commands through a ring of the length that FreeBSD
// uses, and watches what lies behind it.
func TestShortRing(t *testing.T) {
	cfg := nullDisk()
	g := newGuest(t, cfg)
	g.initialize(129)
	guard := g.mem[g.ring+4*129 : g.producer]
	for i := range guard {
		guard[i] = 0xa5
	}
	seen := map[uint32]bool{}
	r, _ := g.blocks(mfi.CmdLDRead, 0, 512)
	for round := range 20 {
		var want []uint32
		for range 50 {
			_, ctx := g.submit(r)
			want = append(want, ctx)
		}
		got := g.collect(50)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("round %d: contexts %v, want %v", round, got, want)
		}
		for _, ctx := range got {
			if seen[ctx] {
				t.Fatalf("context %d was posted twice", ctx)
			}
			seen[ctx] = true
		}
		g.free = 1 << 20
	}
	if bytes.Count(guard, []byte{0xa5}) != len(guard) {
		t.Error("memory behind the ring was written")
	}
	if n := g.c.Stats().Completed; n != 1001 { // and INIT
		t.Errorf("%d frames completed, want 1001", n)
	}
}

// TestWideContexts uses reply entries of 64 bits.
func TestWideContexts(t *testing.T) {
	cfg, _ := oneDisk()
	g := newGuest(t, cfg)
	ring, index := g.alloc(8*16), g.alloc(8)
	if s := g.init(mfi.QueueInfo{Flags: mfi.QueueWide, Entries: 16, Base: ring, Producer: index, Consumer: index + 4}); s != mfi.StatusOK {
		t.Fatal(s)
	}
	r, _ := g.blocks(mfi.CmdLDRead, 0, 512)
	r.Context = 0x11223344
	addr := g.put(r)
	copy(g.mem[addr+12:], le32(0x55667788))
	g.post(addr)
	g.await("reply", func() bool { n, _ := g.mem.Load32(index); return n == 1 })
	if ctx := g.mem.u64(ring); ctx != 0x5566778811223344 {
		t.Errorf("context %#x", ctx)
	}
}

// TestSystemDrive exposes a drive as it is.
func TestSystemDrive(t *testing.T) {
	d := newDisk(1 << 20)
	d.data[3] = 42
	g := newGuest(t, Config{Drives: []DriveConfig{{Drive: drive(d, 0), System: true}}})
	list := memory(g.mustDCMD(mfi.OpPDListQuery, 8192, byte(mfi.PDQueryExposedToHost)))
	if list.u32(4) != 1 || list.u16(8) != 0 {
		t.Errorf("system drives: % x", list[:32])
	}
	data, s, _, _ := g.scsi(mfi.CmdPDSCSIIO, 0, 512, 0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0)
	if s != mfi.StatusOK || data[3] != 42 {
		t.Errorf("READ(10): %v", s)
	}
	if _, s, _, _ := g.scsi(mfi.CmdPDSCSIIO, 0, 0, 0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0); s != mfi.StatusOK || d.flushes.Load() != 1 {
		t.Errorf("SYNCHRONIZE CACHE: %v, %d flushes", s, d.flushes.Load())
	}
	if _, s, _, _ := g.scsi(mfi.CmdLDSCSIIO, 0, 36, 0x12, 0, 0, 0, 36, 0); s != mfi.StatusDeviceNotFound {
		t.Errorf("INQUIRY to a volume that there is not: %v", s)
	}
}

// TestMemberDrive passes commands to a drive under a volume: it tells about
// itself, and its data cannot be reached.
func TestMemberDrive(t *testing.T) {
	cfg, d := oneDisk()
	g := newGuest(t, cfg)
	inq, s, _, _ := g.scsi(mfi.CmdPDSCSIIO, 0, 36, 0x12, 0, 0, 0, 36, 0)
	if s != mfi.StatusOK || string(inq[16:25]) != "TEST DISK" {
		t.Errorf("INQUIRY: %v, %q", s, inq)
	}
	for name, cdb := range map[string][]byte{
		"READ(10)":        {0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0},
		"WRITE(10)":       {0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0},
		"START STOP UNIT": {0x1b, 0, 0, 0, 0, 0},
		"UNMAP":           {0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0},
	} {
		_, s, status, sense := g.scsi(mfi.CmdPDSCSIIO, 0, 512, cdb...)
		if s != mfi.StatusSCSIDoneWithError || status != 2 || len(sense) != 18 || sense[2] != 5 || sense[12] != 0x20 {
			t.Errorf("%s: %v, %#x, % x: want 5/20/00", name, s, status, sense)
		}
	}
	if d.writes.Load() != 0 {
		t.Error("a member drive was written to")
	}
	if _, s, _, _ := g.scsi(mfi.CmdPDSCSIIO, 1, 36, 0x12, 0, 0, 0, 36, 0); s != mfi.StatusDeviceNotFound {
		t.Errorf("INQUIRY to an absent drive: %v", s)
	}
}

// TestDriveFails reports a drive that cannot do I/O, and one that is taken out
// of service.
func TestDriveFails(t *testing.T) {
	cfg, d := oneDisk()
	g := newGuest(t, cfg)
	d.failing.Store(true)
	r, _ := g.blocks(mfi.CmdLDRead, 0, 512)
	addr, s := g.poll(r)
	sense := g.mem[r.SenseAddr:][:18]
	if s != mfi.StatusSCSIDoneWithError || g.scsiStatus(addr) != 2 || g.mem[addr+1] != 18 || sense[2]&0xf != 3 {
		t.Errorf("read from a broken disk: %v, % x: want MEDIUM ERROR", s, sense)
	}
	list := memory(g.mustDCMD(mfi.OpCtrlEventGet, 8+256, logged(0, mfi.Filter(mfi.ClassWarning, mfi.LocalePD))...))
	if list.u32(0) != 1 || mfi.EventCode(list.u32(8+8)) != mfi.EventPDError {
		t.Errorf("event log: % x: want an error of the drive", list[:32])
	}
	d.failing.Store(false)

	if err := g.c.Drives().SetDriveState(0, raid.AnySequence, raid.Offline); err != nil {
		t.Fatal(err)
	}
	if _, s := g.poll(r); s != mfi.StatusLDOffline {
		t.Errorf("read from an offline volume: %v", s)
	}
	if list := memory(g.mustDCMD(mfi.OpLDListQuery, 268, byte(mfi.LDQueryExposedToHost))); list.u32(4) != 0 {
		t.Error("an offline volume is exposed to the host")
	}
	if err := g.c.Drives().SetDriveState(0, raid.AnySequence, raid.Online); err != nil {
		t.Fatal(err)
	}
	if _, s := g.poll(r); s != mfi.StatusOK {
		t.Errorf("read from a volume that is online again: %v", s)
	}
}
