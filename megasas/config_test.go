package megasas

import (
	"bytes"
	"testing"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
)

// TestCachePolicy switches a volume between write-through and write-back, as
// tools do, and watches the disk.
func TestCachePolicy(t *testing.T) {
	cfg, d := oneDisk()
	g := running(t, cfg, 1008)
	l := newListener(g)
	set := func(bits byte) []byte {
		t.Helper()
		p := bytes.Clone(g.mustDCMD(mfi.OpLDGetProp, 32, 0))
		p[20] = bits
		if s := g.send(mfi.OpLDSetProp, p, 0, 0, p[2], p[3]); s != mfi.StatusOK {
			t.Fatalf("LD_SET_PROP to %#x: %v", bits, s)
		}
		l.expectArgs(mfi.EventLDPropertiesSet, 2, 0)
		return g.mustDCMD(mfi.OpLDGetProp, 32, 0)
	}
	flushes := func() int64 {
		before := d.flushes.Load()
		w, _ := g.blocks(mfi.CmdLDWrite, 0, 512)
		if _, s := g.poll(w); s != mfi.StatusOK {
			t.Fatalf("write: %v", s)
		}
		return d.flushes.Load() - before
	}
	if n := flushes(); n != 1 {
		t.Errorf("write-through at first: %d flushes", n)
	}
	if p := set(0x71); p[20] != 0x71 || p[23] != 0x71 || flushes() != 0 {
		t.Errorf("write-back: policy %#x, in force %#x", p[20], p[23])
	}
	before := d.flushes.Load()
	if p := set(0x60); p[20] != 0x60 || p[23] != 0x60 || d.flushes.Load() != before+1 || flushes() != 1 {
		t.Errorf("write-through: policy %#x, in force %#x, %d flushes by the change", p[20], p[23], d.flushes.Load()-before)
	}
	// Without a battery, write-back that asks for one is not in force.
	if p := set(0x61); p[20] != 0x61 || p[23] != 0x60 || flushes() != 1 {
		t.Errorf("write-back with battery: policy %#x, in force %#x", p[20], p[23])
	}
	set(0x71)
	d.failing.Store(true)
	p := bytes.Clone(g.mustDCMD(mfi.OpLDGetProp, 32, 0))
	p[20] = 0x60
	if s := g.send(mfi.OpLDSetProp, p, 0, 0, p[2], p[3]); s != mfi.StatusFlushFailed {
		t.Errorf("write-through on a broken disk: %v", s)
	}
	d.failing.Store(false)
}

func TestSetLDPropertiesRefused(t *testing.T) {
	g := running(t, threeDrives(), 16)
	before := bytes.Clone(g.mustDCMD(mfi.OpLDGetProp, 32, 1))
	seq := before[2]
	for name, tt := range map[string]struct {
		box    []byte
		change func([]byte) []byte
		want   mfi.Status
	}{
		"stale":           {[]byte{1, 0, seq + 1, 0}, nil, mfi.StatusInvalidSequenceNumber},
		"absent":          {[]byte{5, 0, seq, 0}, nil, mfi.StatusDeviceNotFound},
		"target differs":  {[]byte{1, 0, seq, 0}, func(p []byte) []byte { p[0] = 0; return p }, mfi.StatusInvalidParameter},
		"read-ahead":      {[]byte{1, 0, seq, 0}, func(p []byte) []byte { p[20] |= 4; return p }, mfi.StatusInvalidParameter},
		"read-only":       {[]byte{1, 0, seq, 0}, func(p []byte) []byte { p[21] = 2; return p }, mfi.StatusInvalidParameter},
		"disk cache":      {[]byte{1, 0, seq, 0}, func(p []byte) []byte { p[22] = 1; return p }, mfi.StatusInvalidParameter},
		"no NUL in name":  {[]byte{1, 0, seq, 0}, func(p []byte) []byte { copy(p[4:20], "sixteen letters!"); return p }, mfi.StatusInvalidParameter},
		"too little data": {[]byte{1, 0, seq, 0}, func(p []byte) []byte { return p[:31] }, mfi.StatusInvalidParameter},
	} {
		p := bytes.Clone(before)
		if tt.change != nil {
			p = tt.change(p)
		}
		if s := g.send(mfi.OpLDSetProp, p, tt.box...); s != tt.want {
			t.Errorf("%s: %v, want %v", name, s, tt.want)
		}
	}
	if now := g.mustDCMD(mfi.OpLDGetProp, 32, 1); !bytes.Equal(now, before) {
		t.Errorf("properties changed: % x, before % x", now, before)
	}
}

// freeDrives is a controller with one volume and three free drives.
func freeDrives(t *testing.T) *guest {
	g := running(t, nullDisk(), 1008)
	for slot := range uint8(3) {
		id, err := g.c.AddDrive(DriveConfig{Drive: drive(newDisk(1<<20), slot+1), System: true})
		if err == nil {
			err = g.c.Drives().SetDriveState(id, raid.AnySequence, raid.UnconfiguredGood)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return g
}

// newConfig describes volumes on the drives 1 and 2, as a tool would that has
// read the configuration.
func newConfig(g *guest) mfi.Config {
	var x mfi.Config
	v := g.c.Drives().View()
	for i := range uint16(2) {
		d, _ := v.Drive(i + 1)
		x.Arrays = append(x.Arrays, mfi.Array{
			Blocks: 2048, Ref: i + 1,
			Drives: []mfi.ArrayDrive{{DeviceID: i + 1, Sequence: d.Sequence}},
		})
		x.LDs = append(x.LDs, mfi.LDConfig{
			Properties: mfi.LDProperties{Target: uint8(i + 5), Name: "new", DefaultCache: 0x60},
			Parameters: mfi.LDParameters{StripeSize: 8, DrivesPerSpan: 1, SpanDepth: 1},
			Spans:      []mfi.Span{{Blocks: 1024, Array: i + 1}},
		})
	}
	return x
}

// TestConfigAdd makes two volumes at once, uses them, deletes one, and clears the
// rest.
func TestConfigAdd(t *testing.T) {
	g := freeDrives(t)
	l := newListener(g)
	x := newConfig(g)
	if s := g.send(mfi.OpCfgAdd, x.Marshal()); s != mfi.StatusOK {
		t.Fatalf("CFG_ADD: %v", s)
	}
	for i := range uint32(2) {
		l.expectArgs(mfi.EventPDStateChange, 15, (i+1)<<24|(i+1))
		l.expectArgs(mfi.EventLDCreated, 2, (i+5)<<16|(i+5))
	}
	if got := g.targets(); string(got) != "\x00\x05\x06" {
		t.Errorf("targets %v", got)
	}
	info := memory(g.mustDCMD(mfi.OpLDGetInfo, 384, 6))
	if info.u64(0x100) != 1024 || info[0x23] != 8 || string(info[4:8]) != "new\x00" || info.u16(0x50) != 2 {
		t.Errorf("volume 6: % x", info[:0x58])
	}
	capacity, s, _, _ := g.scsi(mfi.CmdLDSCSIIO, 6, 8, 0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	if s != mfi.StatusOK || !bytes.Equal(capacity[:4], []byte{0, 0, 3, 0xff}) {
		t.Errorf("READ CAPACITY(10): %v, % x", s, capacity)
	}
	seq := info[2]
	for _, tt := range []struct {
		target, seq byte
		want        mfi.Status
	}{
		{6, seq + 1, mfi.StatusInvalidSequenceNumber},
		{7, 0, mfi.StatusDeviceNotFound},
		{255, 0, mfi.StatusDeviceNotFound},
		{6, seq, mfi.StatusOK},
		{6, seq, mfi.StatusDeviceNotFound},
	} {
		if s := g.send(mfi.OpLDDelete, nil, tt.target, 0, tt.seq, 0); s != tt.want {
			t.Errorf("LD_DELETE of %d #%d: %v, want %v", tt.target, tt.seq, s, tt.want)
		}
	}
	l.expect(mfi.EventLDDeleted)
	l.expect(mfi.EventPDStateChange)
	if s := g.send(mfi.OpCfgClear, nil); s != mfi.StatusOK {
		t.Fatalf("CFG_CLEAR: %v", s)
	}
	for range 2 {
		l.expect(mfi.EventLDDeleted)
		l.expect(mfi.EventPDStateChange)
	}
	l.expect(mfi.EventConfigCleared)
	if p := memory(g.mustDCMD(mfi.OpCfgRead, 32)); p.u32(0) != 32 || p.u16(4) != 0 || p.u16(8) != 0 {
		t.Errorf("configuration after clearing: % x", p)
	}
}

// TestConfigAddRefused changes one thing each about a good configuration. None of
// its two volumes may be made then.
func TestConfigAddRefused(t *testing.T) {
	g := freeDrives(t)
	before := g.c.Drives().View()
	for name, tt := range map[string]struct {
		change func(*mfi.Config)
		raw    func([]byte) []byte
		want   mfi.Status
	}{
		"array taken":       {change: func(x *mfi.Config) { x.Arrays[1].Ref, x.LDs[1].Spans[0].Array = 0, 0 }, want: mfi.StatusConfigConflict},
		"array twice":       {change: func(x *mfi.Config) { x.Arrays[1].Ref = 1 }, want: mfi.StatusConfigConflict},
		"array unknown":     {change: func(x *mfi.Config) { x.LDs[1].Spans[0].Array = 9 }, want: mfi.StatusConfigConflict},
		"array unused":      {change: func(x *mfi.Config) { x.LDs = x.LDs[:1] }, want: mfi.StatusInvalidParameter},
		"target taken":      {change: func(x *mfi.Config) { x.LDs[1].Properties.Target = 0 }, want: mfi.StatusConfigConflict},
		"target twice":      {change: func(x *mfi.Config) { x.LDs[1].Properties.Target = 5 }, want: mfi.StatusConfigConflict},
		"target too high":   {change: func(x *mfi.Config) { x.LDs[1].Properties.Target = 64 }, want: mfi.StatusLDMaxConfigured},
		"drive absent":      {change: func(x *mfi.Config) { x.Arrays[1].Drives[0].DeviceID = 99 }, want: mfi.StatusDeviceNotFound},
		"drive missing":     {change: func(x *mfi.Config) { x.Arrays[1].Drives[0].DeviceID = mfi.NoDevice }, want: mfi.StatusDeviceNotFound},
		"drive stale":       {change: func(x *mfi.Config) { x.Arrays[1].Drives[0].Sequence++ }, want: mfi.StatusInvalidSequenceNumber},
		"drive twice":       {change: func(x *mfi.Config) { x.Arrays[1].Drives = x.Arrays[0].Drives }, want: mfi.StatusConfigConflict},
		"drive in use":      {change: func(x *mfi.Config) { x.Arrays[1].Drives[0] = mfi.ArrayDrive{Sequence: before.Drives[0].Sequence} }, want: mfi.StatusWrongState},
		"drive too small":   {change: func(x *mfi.Config) { x.Arrays[1].Blocks, x.LDs[1].Spans[0].Blocks = 4096, 4096 }, want: mfi.StatusDriveTooSmall},
		"beyond the array":  {change: func(x *mfi.Config) { x.LDs[1].Spans[0].Blocks = 2049 }, want: mfi.StatusDriveTooSmall},
		"not at its start":  {change: func(x *mfi.Config) { x.LDs[1].Spans[0].Start = 1 }, want: mfi.StatusDriveTooSmall},
		"level 1":           {change: func(x *mfi.Config) { x.LDs[1].Parameters.PrimaryLevel = 1 }, want: mfi.StatusLDWrongRAIDLevel},
		"two drives":        {change: func(x *mfi.Config) { x.Arrays[1].Drives = append(x.Arrays[1].Drives, mfi.ArrayDrive{DeviceID: 3}) }, want: mfi.StatusLDWrongRAIDLevel},
		"no drives":         {change: func(x *mfi.Config) { x.Arrays[1].Drives = nil }, want: mfi.StatusLDWrongRAIDLevel},
		"span depth 0":      {change: func(x *mfi.Config) { x.LDs[1].Parameters.SpanDepth = 0 }, want: mfi.StatusLDWrongRAIDLevel},
		"stripe of 4 KiB":   {change: func(x *mfi.Config) { x.LDs[1].Parameters.StripeSize = 3 }, want: mfi.StatusInvalidParameter},
		"read-ahead":        {change: func(x *mfi.Config) { x.LDs[1].Properties.DefaultCache |= 4 }, want: mfi.StatusInvalidParameter},
		"read-only":         {change: func(x *mfi.Config) { x.LDs[1].Properties.Access = 2 }, want: mfi.StatusInvalidParameter},
		"nothing":           {change: func(x *mfi.Config) { *x = mfi.Config{} }, want: mfi.StatusInvalidParameter},
		"a spare":           {raw: func(p []byte) []byte { p[12] = 1; return p }, want: mfi.StatusInvalidParameter},
		"wrong stride":      {raw: func(p []byte) []byte { p[6]++; return p }, want: mfi.StatusInvalidParameter},
		"size too small":    {raw: func(p []byte) []byte { p[0]--; return p }, want: mfi.StatusInvalidParameter},
		"cut off":           {raw: func(p []byte) []byte { return p[:len(p)-1] }, want: mfi.StatusInvalidParameter},
		"header only":       {raw: func(p []byte) []byte { return p[:32] }, want: mfi.StatusInvalidParameter},
		"less than that":    {raw: func(p []byte) []byte { return p[:31] }, want: mfi.StatusInvalidParameter},
		"65535 of all":      {raw: func(p []byte) []byte { p[4], p[5], p[8], p[9] = 255, 255, 255, 255; return p }, want: mfi.StatusLDMaxConfigured},
		"64 that are not":   {raw: func(p []byte) []byte { p[4], p[8] = 64, 64; return p }, want: mfi.StatusInvalidParameter},
		"name without NUL":  {raw: func(p []byte) []byte { copy(p[32+2*288+256+4:], "sixteen letters!"); return p }, want: mfi.StatusInvalidParameter},
		"255 drives in row": {raw: func(p []byte) []byte { p[32+8] = 255; return p }, want: mfi.StatusLDWrongRAIDLevel},
	} {
		x := newConfig(g)
		if tt.change != nil {
			tt.change(&x)
		}
		p := x.Marshal()
		if tt.raw != nil {
			p = tt.raw(p)
		}
		if s := g.send(mfi.OpCfgAdd, p); s != tt.want {
			t.Errorf("%s: %v, want %v", name, s, tt.want)
		}
		if v := g.c.Drives().View(); len(v.Volumes) != 1 || len(v.Arrays) != 1 {
			t.Fatalf("%s: something was made: %+v", name, v)
		}
	}
	x := newConfig(g)
	if s := g.send(mfi.OpCfgAdd, x.Marshal()); s != mfi.StatusOK {
		t.Errorf("the good configuration: %v", s)
	}
}

// TestCacheOfAVolumeIsNotTheInitiators asks which bits of the caching page a
// MODE SELECT can change: the write cache is ruled by the volume's property, and
// one that were turned on behind it would make writes less durable than it says.
func TestCacheOfAVolumeIsNotTheInitiators(t *testing.T) {
	cfg, _ := oneDisk()
	g := running(t, cfg, 1008)
	const dbd, changeable, caching, wce = 0x08, 0x40, 0x08, 0x04
	page, s, _, _ := g.scsi(mfi.CmdLDSCSIIO, 0, 24, 0x1a, dbd, changeable|caching, 0, 24, 0)
	if s != mfi.StatusOK || page[4]&0x3f != caching {
		t.Fatalf("MODE SENSE: %v, % x", s, page)
	}
	if page[6]&wce != 0 {
		t.Errorf("WCE is changeable: % x", page)
	}
}
