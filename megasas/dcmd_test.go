package megasas

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
)

// threeDrives is a controller with two volumes and a system drive.
func threeDrives() Config {
	return Config{
		Clock: func() time.Time { return time.Date(2026, time.March, 4, 5, 6, 7, 0, time.UTC) },
		Drives: []DriveConfig{
			{Drive: drive(newDisk(1<<20), 0), Name: "one"},
			{Drive: drive(newDisk(3<<20), 1), System: true},
			{Drive: drive(newDisk(2<<20), 2), Name: "two", Cache: raid.WriteBack},
		},
	}
}

// TestSizeSweep gives every command every size of buffer: nothing may be written
// beyond it, and what is written must be the start of the whole reply.
func TestSizeSweep(t *testing.T) {
	boxes := map[mfi.Opcode][]byte{
		mfi.OpCtrlEventGet:   logged(0, 0xfe00ffff),
		mfi.OpCtrlEventCount: logged(0, 0xfe00ffff),
		mfi.OpCtrlEventWait:  logged(0, 0xfe00ffff),
		mfi.OpPDGetInfo:      {2, 0},
		mfi.OpLDGetInfo:      {1},
		mfi.OpLDGetProp:      {1},
	}
	destructive := []mfi.Opcode{mfi.OpCtrlEventClear, mfi.OpCtrlShutdown, mfi.OpCfgClear, mfi.OpLDDelete, mfi.OpCtrlFactoryDefaults,
		mfi.OpPDClearStart, mfi.OpLDInitStart}
	var ops []mfi.Opcode
	for _, c := range commands {
		if !slices.Contains(destructive, c.op) {
			ops = append(ops, c.op)
		}
	}
	g := newGuest(t, threeDrives())
	at := g.alloc(1 << 20)
	start := g.free
	for _, op := range ops {
		t.Run(op.String(), func(t *testing.T) {
			whole := g.reply(op, boxes[op], at, 1<<20)
			if whole == nil {
				whole = []byte{}
			}
			n := uint32(len(whole))
			for _, size := range []uint32{0, 1, n - 1, n, n + 1, 1 << 20, 1 << 31, 0xffffffff} {
				g.free = start
				got := g.reply(op, boxes[op], at, size)
				if want := whole[:min(size, n)]; got != nil && op != mfi.OpCtrlEventGet && !bytes.Equal(got, want) {
					t.Errorf("buffer of %d: %d bytes that are not the start of the whole reply", size, len(got))
				}
			}
		})
	}
}

// reply sends a command with one SGE of size bytes at addr, in front of which
// and behind which nothing may change, and returns what was written, or nil if
// the command failed. It takes a run of 0xa5 at the end for not written, and no
// reply for longer than 64 KiB.
func (g *guest) reply(op mfi.Opcode, box []byte, addr uint64, size uint32) []byte {
	g.t.Helper()
	room := min(size, 64<<10)
	area := g.mem[addr-16 : addr+64<<10+4096]
	for i := range area {
		area[i] = 0xa5
	}
	x := mfi.Fields{Cmd: mfi.CmdDCMD, Opcode: op, DataLen: size, SGL: []mfi.SGE{{Addr: addr, Len: size}}}
	copy(x.Mailbox[:], box)
	_, s := g.poll(x)
	before, data, after := area[:16], area[16:16+room], area[16+room:]
	for _, p := range [][]byte{before, after} {
		if len(bytes.Trim(p, "\xa5")) != 0 {
			g.t.Errorf("%v with a buffer of %d wrote beyond it", op, size)
		}
	}
	data = bytes.TrimRight(data, "\xa5")
	if s != mfi.StatusOK {
		if len(data) != 0 {
			g.t.Errorf("%v with a buffer of %d: %v, and %d bytes of data", op, size, s, len(data))
		}
		return nil
	}
	return bytes.Clone(data)
}

// TestListsAgree compares what different commands say of the same things.
func TestListsAgree(t *testing.T) {
	g := newGuest(t, threeDrives())
	info := memory(g.mustDCMD(mfi.OpCtrlGetInfo, 2048))
	pds := memory(g.mustDCMD(mfi.OpPDGetList, 1024))
	lds := memory(g.mustDCMD(mfi.OpLDGetList, 4104))
	cfg := memory(g.mustDCMD(mfi.OpCfgRead, 65536))
	props := memory(g.mustDCMD(mfi.OpCtrlGetProperties, 64))

	if got := fmt.Sprint(info.u16(0x5c0), info.u16(0x5c8), pds.u32(4), lds.u32(0), cfg.u16(8)); got != "2 3 3 2 2" {
		t.Errorf("counts of volumes and drives: %s", got)
	}
	if !bytes.Equal(props, info[0x600:0x640]) {
		t.Error("controller properties differ from those in the controller information")
	}
	if props.u32(0x20)&(1<<13) == 0 || info.u32(0x7a4)&(1<<11) == 0 {
		t.Error("JBOD is not announced")
	}
	if got := string(bytes.TrimRight(info[0x540:0x590], "\x00")); got != g.c.p.Product {
		t.Errorf("product %q", got)
	}
	if size, n := cfg.u32(0), uint32(32+2*288+2*256); size != n || cfg.u16(6) != 288 || cfg.u16(10) != 256 || cfg.u16(14) != 40 {
		t.Errorf("configuration of %d bytes, want %d; strides %d, %d, %d", size, n, cfg.u16(6), cfg.u16(10), cfg.u16(14))
	}
	for i := range uint64(2) {
		entry := lds[8+16*i:]
		target := entry[0]
		ld := memory(g.mustDCMD(mfi.OpLDGetInfo, 384, target))
		config := cfg[32+2*288+256*i:]
		array := cfg[32+288*i:]
		if !bytes.Equal(ld[:256], config[:256]) {
			t.Errorf("volume %d: information and configuration differ", target)
		}
		if !bytes.Equal(ld[:32], g.mustDCMD(mfi.OpLDGetProp, 32, target)) {
			t.Errorf("volume %d: information and properties differ", target)
		}
		if ld.u64(0x100) != entry.u64(8) || ld.u64(0x48) != entry.u64(8) || ld.u16(2) != entry.u16(2) || ld[0x26] != entry[4] {
			t.Errorf("volume %d: information % x and list % x differ", target, ld[:0x58], entry[:16])
		}
		if name := string(bytes.TrimRight(ld[4:20], "\x00")); name != []string{"one", "two"}[i] {
			t.Errorf("volume %d is called %q", target, name)
		}
		if policy := ld[20]; policy != []byte{0x60, 0x71}[i] || ld[23] != policy {
			t.Errorf("volume %d: cache policy %#x, in force %#x", target, policy, ld[23])
		}
		_, _, _, _ = g.scsi(mfi.CmdLDSCSIIO, target, 0, 0)
		vpd, s, _, _ := g.scsi(mfi.CmdLDSCSIIO, target, 64, 0x12, 1, 0x83, 0, 64, 0)
		if s != mfi.StatusOK || !bytes.Equal(vpd, ld[0x130:0x170]) {
			t.Errorf("volume %d: VPD 83 differs: %v", target, s)
		}
		pd := memory(g.mustDCMD(mfi.OpPDGetInfo, 512, byte(array.u16(32)), 0))
		if array.u16(10) != ld.u16(0x50) || pd.u16(2) != array.u16(34) || pd.u16(0xb8) != array.u16(36) || pd.u64(0xf8) != array.u64(0) {
			t.Errorf("array %d and its drive differ", i)
		}
		if pd.u16(0xb8) != 0x18 || pd.u16(0xbc) != 0x2002 {
			t.Errorf("member drive: state %#x, DDF type %#x", pd.u16(0xb8), pd.u16(0xbc))
		}
	}
	for i := range uint64(3) {
		entry := pds[8+24*i:]
		pd := memory(g.mustDCMD(mfi.OpPDGetInfo, 512, byte(entry.u16(0)), 0))
		inq, _, _, _ := g.scsi(mfi.CmdPDSCSIIO, byte(entry.u16(0)), 96, 0x12, 0, 0, 0, 96, 0)
		if pd.u16(0) != entry.u16(0) || pd[0x103] != entry[5] || pd.u64(0xc8) != entry.u64(8) || !bytes.Equal(pd[4:40], inq[:36]) {
			t.Errorf("drive %d: information, list and INQUIRY differ", i)
		}
	}
	if pd := memory(g.mustDCMD(mfi.OpPDGetInfo, 512, 1, 0)); pd.u16(0xb8) != 0x40 {
		t.Errorf("system drive: state %#x", pd.u16(0xb8))
	}
}

func TestAbsentAndUnsupported(t *testing.T) {
	g := newGuest(t, threeDrives())
	for _, tt := range []struct {
		op   mfi.Opcode
		box  []byte
		want mfi.Status
	}{
		{mfi.OpPDGetInfo, []byte{3, 0}, mfi.StatusDeviceNotFound},
		{mfi.OpPDGetInfo, []byte{0, 1}, mfi.StatusDeviceNotFound}, // 256: ids have 16 bits here
		{mfi.OpPDGetInfo, []byte{0xff, 0xff}, mfi.StatusDeviceNotFound},
		{mfi.OpLDGetInfo, []byte{2}, mfi.StatusDeviceNotFound},
		{mfi.OpLDGetInfo, []byte{0xff}, mfi.StatusDeviceNotFound},
		{mfi.OpLDListQuery, []byte{9}, mfi.StatusInvalidParameter},
		{mfi.OpPDListQuery, []byte{9}, mfi.StatusInvalidParameter},
		{mfi.OpBBUGetStatus, nil, mfi.StatusNoHWPresent},
		{mfi.OpCfgMakeSpare, nil, mfi.StatusInvalidDCMD},
		{mfi.OpClusterResetLD, nil, mfi.StatusInvalidDCMD},
		{0xdeadbeef, nil, mfi.StatusInvalidDCMD},
	} {
		if _, s := g.dcmd(tt.op, 4096, tt.box...); s != tt.want {
			t.Errorf("%v % x: %v, want %v", tt.op, tt.box, s, tt.want)
		}
	}
}

func TestTime(t *testing.T) {
	g := newGuest(t, threeDrives())
	if p := g.mustDCMD(mfi.OpCtrlTimeGet, 8); !bytes.Equal(p, []byte{0xea, 0x07, 3, 4, 5, 6, 7, 0}) {
		t.Errorf("time % x", p)
	}
	want := uint32(time.Date(2026, time.March, 4, 5, 6, 7, 0, time.UTC).Unix() - 946684800)
	if s := memory(g.mustDCMD(mfi.OpCtrlTimeSecsGet, 4)).u32(0); s != want {
		t.Errorf("%d seconds, want %d", s, want)
	}
}

func TestBadConfig(t *testing.T) {
	bad := drive(newDisk(1<<20), 0)
	for want, cfg := range map[string]Config{
		"no drive given":                 {Drives: []DriveConfig{{}}},
		"100 bytes: at least 512":        {Drives: []DriveConfig{{Drive: drive(newDisk(100), 0)}}},
		"slot 0 is taken":                {Drives: []DriveConfig{{Drive: bad}, {Drive: bad}}},
		"at most 15 characters":          {Drives: []DriveConfig{{Drive: bad, Name: strings.Repeat("x", 16)}}},
		"megasas: drive 0: drive vendor": {Drives: []DriveConfig{{Drive: raid.NewDrive(newDisk(1<<20), raid.DriveIdentity{Vendor: "much too long"})}}},
	} {
		_, err := New(cfg)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("New: %v, want a line with %q", err, want)
		}
	}
}

// TestForeign asks for configurations of other controllers: there are none.
func TestForeign(t *testing.T) {
	g := newGuest(t, threeDrives())
	if p := g.mustDCMD(mfi.OpCfgForeignScan, 4096); !bytes.Equal(p, make([]byte, 4096)) {
		t.Errorf("found % x", p[:196])
	}
	for op, want := range map[mfi.Opcode]mfi.Status{
		mfi.OpCfgForeignDisplay: mfi.StatusNotFound, mfi.OpCfgForeignPreview: mfi.StatusNotFound,
		mfi.OpCfgForeignImport: mfi.StatusNotFound, mfi.OpCfgForeignClear: mfi.StatusOK,
	} {
		if _, s := g.dcmd(op, 4096, 0xff); s != want {
			t.Errorf("%v: %v, want %v", op, s, want)
		}
	}
	if _, s := g.dcmd(mfi.OpCfgForeignClear, 0, 3); s != mfi.StatusNotFound {
		t.Errorf("CFG_FOREIGN_CLEAR of configuration 3: %v", s)
	}
}

// TestProgress asks how far a drive is with nothing, and with its lamp on.
func TestProgress(t *testing.T) {
	g := newGuest(t, threeDrives())
	if p := g.mustDCMD(mfi.OpPDGetProgress, 32, 1, 0); !bytes.Equal(p, make([]byte, 32)) {
		t.Errorf("% x", p)
	}
	if _, s := g.dcmd(mfi.OpPDLocateStart, 0, 1, 0); s != mfi.StatusOK {
		t.Fatal(s)
	}
	progress, info := memory(g.mustDCMD(mfi.OpPDGetProgress, 32, 1, 0)), memory(g.mustDCMD(mfi.OpPDGetInfo, 512, 1, 0))
	if progress.u32(0) != 1<<5 || progress.u32(0) != info.u32(0x104) {
		t.Errorf("active operations %#x, in the information %#x", progress.u32(0), info.u32(0x104))
	}
	if _, s := g.dcmd(mfi.OpPDGetProgress, 32, 9, 0); s != mfi.StatusDeviceNotFound {
		t.Errorf("of no drive: %v", s)
	}
}

// TestFactoryDefaults undoes what was set; who has read it before is refused.
func TestFactoryDefaults(t *testing.T) {
	g := newGuest(t, threeDrives())
	before := bytes.Clone(g.mustDCMD(mfi.OpCtrlGetProperties, 64))
	p := bytes.Clone(before)
	p[8] = 77
	if s := g.send(mfi.OpCtrlSetProperties, p); s != mfi.StatusOK {
		t.Fatal(s)
	}
	stale := bytes.Clone(g.mustDCMD(mfi.OpCtrlGetProperties, 64))
	if _, s := g.dcmd(mfi.OpCtrlFactoryDefaults, 0); s != mfi.StatusOK {
		t.Fatal(s)
	}
	if now := g.mustDCMD(mfi.OpCtrlGetProperties, 64); !bytes.Equal(now[2:], before[2:]) {
		t.Errorf("properties are % x, were % x", now, before)
	}
	if s := g.send(mfi.OpCtrlSetProperties, stale); s != mfi.StatusInvalidSequenceNumber {
		t.Errorf("properties of before: %v", s)
	}
}
