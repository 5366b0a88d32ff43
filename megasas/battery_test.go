package megasas

import (
	"bytes"
	"testing"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
)

// withBattery is a guest with a volume that is write-back while the battery is good.
func withBattery(t *testing.T, b Battery) (*guest, *disk) {
	t.Helper()
	cfg, d := oneDisk()
	cfg.Drives[0].Cache = raid.WriteBackWithBattery
	cfg.Battery = b
	return running(t, cfg, 1008), d
}

// cacheBitsOf are the default and the current cache policy of volume 0.
func cacheBitsOf(g *guest) (def, current byte) {
	g.t.Helper()
	p := g.mustDCMD(mfi.OpLDGetProp, 32)
	if info := g.mustDCMD(mfi.OpLDGetInfo, 384); string(info[:32]) != string(p[:32]) {
		g.t.Errorf("LD_GET_INFO and LD_GET_PROP differ: % x, % x", info[:32], p[:32])
	}
	return p[20], p[23]
}

// TestBatteryRulesTheCache changes the battery and looks at what a completed write is:
// flushed, unless the battery is good. With the battery's end everything is made
// durable.
func TestBatteryRulesTheCache(t *testing.T) {
	g, d := withBattery(t, BatteryGood)
	l := newListener(g)
	write := func() (flushes int64) {
		t.Helper()
		before := d.flushes.Load()
		x, _ := g.blocks(mfi.CmdLDWrite, 0, 512)
		if _, s := g.poll(x); s != mfi.StatusOK {
			t.Fatalf("write: %v", s)
		}
		return d.flushes.Load() - before
	}
	if n := write(); n != 0 {
		t.Errorf("with a good battery a write costs %d flushes", n)
	}
	if def, current := cacheBitsOf(g); def&1 == 0 || current != def {
		t.Errorf("cache policy %#x, in force %#x", def, current)
	}
	before := d.flushes.Load()
	if err := g.c.SetBattery(BatteryFailed); err != nil {
		t.Fatal(err)
	}
	if d.flushes.Load() == before {
		t.Error("the battery failed, and what was accepted is not durable")
	}
	l.expect(mfi.EventBBUDisabled)
	if n := write(); n != 1 {
		t.Errorf("without a good battery a write costs %d flushes", n)
	}
	if def, current := cacheBitsOf(g); def&1 == 0 || current != def&^1 {
		t.Errorf("cache policy %#x, in force %#x", def, current)
	}
	for _, step := range []struct {
		battery Battery
		events  []mfi.EventCode
		flushes int64
	}{
		{BatteryCharging, []mfi.EventCode{mfi.EventBatteryCharging}, 1},
		{BatteryGood, []mfi.EventCode{mfi.EventBBUEnabled}, 0},
		{BatteryGood, nil, 0},
		{NoBattery, []mfi.EventCode{mfi.EventBatteryAbsent, mfi.EventBBUDisabled}, 1},
		{BatteryGood, []mfi.EventCode{mfi.EventBatteryPresent, mfi.EventBBUEnabled}, 0},
	} {
		if err := g.c.SetBattery(step.battery); err != nil {
			t.Fatal(err)
		}
		for _, code := range step.events {
			l.expect(code)
		}
		if n := write(); n != step.flushes {
			t.Errorf("%v: %d flushes a write, want %d", step.battery, n, step.flushes)
		}
	}
	if err := g.c.SetBattery(BatteryFailed + 1); err == nil {
		t.Error("a state that there is not was accepted")
	}
}

// A volume that is made, or whose policy is set, while there is no good battery is
// write-through from its start.
func TestBatteryAndNewPolicies(t *testing.T) {
	g, d := withBattery(t, BatteryCharging)
	write := func(want int64) {
		t.Helper()
		before := d.flushes.Load()
		x, _ := g.blocks(mfi.CmdLDWrite, 0, 512)
		if _, s := g.poll(x); s != mfi.StatusOK {
			t.Fatalf("write: %v", s)
		}
		if n := d.flushes.Load() - before; n != want {
			t.Errorf("%d flushes, want %d", n, want)
		}
	}
	set := func(cache byte) {
		t.Helper()
		p := g.mustDCMD(mfi.OpLDGetProp, 32)
		p[20] = cache
		if s := g.send(mfi.OpLDSetProp, p, 0, 0, p[2], p[3]); s != mfi.StatusOK {
			t.Fatalf("LD_SET_PROP: %v", s)
		}
	}
	write(1)
	set(0x60 | mfi.CacheWriteBack | mfi.CacheWriteBackBadBBU)
	write(0)
	set(0x60 | mfi.CacheWriteBack)
	write(1)
	if err := g.c.SetBattery(BatteryGood); err != nil {
		t.Fatal(err)
	}
	write(0)
	set(0x60)
	write(1)
}

// TestBatteryCommands compares what the commands about the battery say with each other,
// with the controller's information and with the battery's state.
func TestBatteryCommands(t *testing.T) {
	commands := map[mfi.Opcode]uint32{
		mfi.OpBBUGetStatus: mfi.BBUStatusLen, mfi.OpBBUGetCapacity: mfi.BBUCapacityLen,
		mfi.OpBBUGetDesign: mfi.BBUDesignLen, mfi.OpBBUGetProp: mfi.BBUPropertiesLen,
	}
	g, _ := withBattery(t, NoBattery)
	for op, n := range commands {
		if _, s := g.dcmd(op, n); s != mfi.StatusNoHWPresent {
			t.Errorf("%v without a battery: %v", op, s)
		}
	}
	for _, op := range []mfi.Opcode{mfi.OpBBUStartLearn, mfi.OpBBUSetProp} {
		if s := g.send(op, make([]byte, mfi.BBUPropertiesLen)); s != mfi.StatusNoHWPresent {
			t.Errorf("%v without a battery: %v", op, s)
		}
	}
	if info := memory(g.mustDCMD(mfi.OpCtrlGetInfo, 2048)); info.u32(0x5b0)&1 != 0 || info.u32(0x5e0)&0x80 != 0 {
		t.Error("the controller tells of a battery that is not there")
	}
	for b, want := range map[Battery]struct {
		firmware uint32
		low      uint16 // relative charge
		high     uint16
	}{
		BatteryGood:     {0, 95, 100},
		BatteryCharging: {mfi.BBUCharging, 10, 60},
		BatteryFailed:   {mfi.BBUVoltageLow, 0, 0},
	} {
		if err := g.c.SetBattery(b); err != nil {
			t.Fatal(err)
		}
		if info := memory(g.mustDCMD(mfi.OpCtrlGetInfo, 2048)); info.u32(0x5b0)&1 == 0 || info.u32(0x5e0)&0x80 == 0 {
			t.Errorf("%v: the controller does not tell of its battery", b)
		}
		status := memory(g.mustDCMD(mfi.OpBBUGetStatus, 64))
		capacity := memory(g.mustDCMD(mfi.OpBBUGetCapacity, 48))
		design := memory(g.mustDCMD(mfi.OpBBUGetDesign, 67))
		charge := status.u16(34)
		if status[0] != mfi.BBUIntelligent || status.u32(8) != want.firmware || charge < want.low || charge > want.high {
			t.Errorf("%v: status % x", b, status)
		}
		if capacity.u16(0) != charge || capacity.u16(2) != status.u16(42) || capacity.u16(4) > capacity.u16(6) || capacity.u16(6) > design.u16(4) ||
			uint32(capacity.u16(4))*100/uint32(design.u16(4)) != uint32(capacity.u16(2)) {
			t.Errorf("%v: capacity % x does not go with status % x and design % x", b, capacity, status, design)
		}
		if soon := capacity.u16(12) != mfi.BBUNever; soon != (b == BatteryCharging) {
			t.Errorf("%v: full in %d minutes", b, capacity.u16(12))
		}
		// 13 March 2013, as a smart battery packs it.
		if design.u32(0) != 13|3<<5|33<<9 || string(design[14:19]) != "GOVMM" || string(design[34:38]) != "LION" {
			t.Errorf("%v: design % x", b, design)
		}
	}
	props := g.mustDCMD(mfi.OpBBUGetProp, 32)
	if s := g.send(mfi.OpBBUSetProp, props); s != mfi.StatusOK {
		t.Errorf("BBU_SET_PROP of what is so: %v", s)
	}
	for at, bad := range map[int]byte{8: 169, 9: 3, 10: 1} {
		x := bytes.Clone(props)
		x[at] = bad
		if s := g.send(mfi.OpBBUSetProp, x); s != mfi.StatusInvalidParameter {
			t.Errorf("BBU_SET_PROP with %d at %d: %v", bad, at, s)
		}
	}
	if s := g.send(mfi.OpBBUSetProp, props[:31]); s != mfi.StatusInvalidParameter {
		t.Errorf("BBU_SET_PROP that is too short: %v", s)
	}
	// A short buffer gets what it has room for.
	if p, s := g.dcmd(mfi.OpBBUGetStatus, 12); s != mfi.StatusOK || len(p) != 12 {
		t.Errorf("BBU_GET_STATUS with 12 bytes: %v", s)
	}
}

// The boot of a card with a battery tells of it.
func TestBatteryAtBoot(t *testing.T) {
	for b, want := range map[Battery]mfi.EventCode{BatteryGood: mfi.EventBBUEnabled, BatteryCharging: mfi.EventBBUDisabled, BatteryFailed: mfi.EventBBUDisabled} {
		g, _ := withBattery(t, b)
		var codes []mfi.EventCode
		g.c.events.each(0, mfi.Filter(mfi.ClassDebug, mfi.LocaleAll), func(e *mfi.Event) bool {
			if e.Filter.Locale()&(mfi.LocaleBBU) != 0 || e.Code == mfi.EventBBUEnabled || e.Code == mfi.EventBBUDisabled {
				codes = append(codes, e.Code)
			}
			return true
		})
		if len(codes) < 2 || codes[0] != mfi.EventBatteryPresent || codes[len(codes)-1] != want {
			t.Errorf("%v: events %x", b, codes)
		}
	}
}
